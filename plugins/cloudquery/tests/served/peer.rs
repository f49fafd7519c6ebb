//! A destination in memory, served on a port of its own.

use std::sync::Arc;

use api::testing::{Faults, FaultyDestination, Replica};
use api::{BuildContext, Destination, DestinationOptions, Registry, SpecError, WriteMode};
use cloudquery::serve::{Listener, Role, Served, serve};
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

pub struct Peer {
    pub address: String,
    pub replica: Replica,
    /// What goes wrong in it.
    pub faults: Faults,
    _stop: DropGuard,
}

impl Peer {
    /// Upserting where there is a key.
    pub async fn start() -> Peer {
        let replica = Replica::new();
        let listener = Listener::tcp("127.0.0.1:0").await.unwrap();
        let address = listener.address();
        let stop = CancellationToken::new();
        let (made, faults) = (replica.clone(), Faults::none());
        let faulty = faults.clone();
        let served = Served {
            name: "replica".to_owned(),
            version: "v1.2.3".to_owned(),
            spec_schema: Some(json!({"type": "object"})),
            pipeline: "cloudquery".to_owned(),
            role: Role::Destination(Arc::new(move |spec| match spec.get("refuse") {
                Some(_) => Err(SpecError::at("/refuse", "it was asked to").hint("leave it out")),
                None => {
                    let destination = made.destination(DestinationOptions::default());
                    Ok(Box::new(FaultyDestination::new(destination, &faulty)))
                }
            })),
        };
        tokio::spawn(serve(served, listener, stop.clone().cancelled_owned()));
        Peer {
            address,
            replica,
            faults,
            _stop: stop.drop_guard(),
        }
    }

    /// Our own role, dialling it.
    pub fn destination(&self, options: DestinationOptions) -> Result<Box<dyn Destination>, SpecError> {
        let mut registry = Registry::default();
        cloudquery::register(&mut registry);
        let spec = json!({"plugin": {"registry": "grpc", "path": self.address, "timeout": "20s"}});
        let cx = BuildContext {
            base_dir: std::env::temp_dir(),
        };
        registry.destinations["cloudquery"].build(spec, options, &cx)
    }

    pub fn upserting(&self) -> Box<dyn Destination> {
        self.destination(DestinationOptions::default()).unwrap()
    }

    pub fn mirroring(&self) -> Box<dyn Destination> {
        let options = DestinationOptions {
            write: Some(WriteMode::Mirror),
            ..DestinationOptions::default()
        };
        self.destination(options).unwrap()
    }
}

//! Serving: from the arguments to the end of the process.
//!
//! - Nothing is contacted before the caller says what to: it waits five seconds for us to listen.
//! - stdout has log lines and nothing else; the caller counts those that warn.
//! - INT and TERM end it with 0, within the five seconds that the caller waits.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use cloudquery::serve::Listener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::{LogFormat, Network, Plugin, ServeArgs, log};

/// Where plugins listen if nobody says.
const ADDRESS: &str = "localhost:7777";

/// Why a plugin cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The process cannot start threads, or be told of signals.
    #[error("cannot start")]
    Start(#[source] io::Error),
    /// The address is taken, or is none.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Listening ended.
    #[error("cannot serve on `{address}`")]
    Serve {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl ServeError {
    /// With its causes.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}

/// Serves until INT or TERM, and returns at most three and a half seconds later. Logging starts here, if nothing has started it yet.
pub async fn serve(mut plugin: Plugin, args: ServeArgs, format: LogFormat) -> Result<(), ServeError> {
    // From now on a signal ends us in peace.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Start)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Start)?;
    log::start(
        args.log_level,
        format,
        format!("{}-{}", plugin.name(), plugin.kind().name()),
    );
    let address = args.address.unwrap_or_else(|| ADDRESS.to_owned());
    let listener = match args.network {
        Network::Tcp => Listener::tcp(&address).await,
        Network::Unix => Listener::unix(PathBuf::from(&address)),
    };
    let listener = match listener {
        Ok(listener) => listener,
        Err(source) => return Err(ServeError::Listen { address, source }),
    };
    info!(
        address = listener.address(),
        plugin = plugin.name(),
        "plugin server listening"
    );
    plugin.served.pipeline = args.pipeline;
    let serving = cloudquery::serve::serve(plugin.served, listener, async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    });
    serving.await.map_err(|source| ServeError::Serve {
        address,
        source: Box::new(source),
    })
}

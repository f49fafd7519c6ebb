//! A plugin that is asked to end while a call is open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::conformance::sample;
use api::testing::{Call, Fault, Faults, FaultySource, Script, Transaction, When};
use cloudquery::serve::{Listener, Role, Served, serve};
use proto::plugin_v3::plugin_client::PluginClient;
use proto::plugin_v3::{init, sync};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::broken::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_hangs_is_broken_off_and_leaves_nothing_at_the_source() {
    let items = sample::items();
    let script = Script::new([items.clone()]);
    script.commit(Transaction::new().insert(items.stream(), json!({"id": 1, "name": "x"})));
    let faults = Faults::none();
    faults.arm(Call::Next, When::Always, Fault::Hang);
    let (made, faulty) = (script.clone(), faults.clone());
    let served = Served {
        name: "scripted".to_owned(),
        version: "v1.2.3".to_owned(),
        spec_schema: None,
        pipeline: "cloudquery".to_owned(),
        role: Role::Source(Arc::new(move |_| {
            Ok(Box::new(FaultySource::new(Box::new(made.source()), &faulty)))
        })),
    };
    let listener = Listener::tcp("127.0.0.1:0").await.unwrap();
    let address = listener.address();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(served, listener, stop.clone().cancelled_owned()));
    let mut client = PluginClient::connect(format!("http://{address}")).await.unwrap();
    client.init(init::Request::default()).await.unwrap();
    let request = sync::Request {
        tables: vec!["*".to_owned()],
        ..sync::Request::default()
    };
    let mut answers = client.sync(request).await.unwrap().into_inner();
    until("the source is read", || faults.count(Call::Next) > 0).await;
    assert_eq!(faults.count(Call::Forget), 0);
    let asked = Instant::now();
    stop.cancel();
    let told = loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a sync that was broken off ended as if it were whole"),
            Err(status) => break status,
        }
    };
    assert!(told.message().contains("the plugin is stopping"), "{told}");
    serving.await.unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    assert_eq!(faults.count(Call::Forget), 1, "its triggers or its slot are removed");
}

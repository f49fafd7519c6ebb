//! How a plugin's process behaves toward whoever started it.

use std::process::Command;
use std::time::{Duration, Instant};

use proto::plugin_v3::write::request::Message;
use proto::plugin_v3::{get_name, get_spec_schema, get_version, init, test_connection, write};
use rustix::process::Signal;
use serde_json::{Value, json};
use tonic::Code;

use crate::caller::Caller;
use crate::process::Process;
use crate::table::{column, insert, migrate, not_null, table};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_listens_at_once_and_says_so_in_json() {
    let started = Instant::now();
    let process = Process::start("highwater-destination-sqlite");
    let caller = Caller::dial(&process.socket()).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    let line = process.line("plugin server listening");
    assert_eq!(
        (&line["level"], &line["module"], &line["plugin"]),
        (&json!("info"), &json!("sqlite-destination"), &json!("sqlite"))
    );
    assert_eq!(line["address"], json!(process.socket()));
    caller.init(&json!({"path": "x.db"})).await.unwrap();
    let line = process.line("plugin initialized");
    assert_eq!(line["invocation_id"], "00112233-4455-6677-8899-aabbccddeeff");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupt_ends_it_with_zero_in_time_also_while_a_write_is_open() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut process = Process::start("highwater-destination-sqlite");
        let caller = Caller::dial(&process.socket()).await;
        caller.init(&json!({"path": "x.db"})).await.unwrap();
        let (send, messages) = tokio::sync::mpsc::channel::<write::Request>(1);
        let mut client = caller.0.clone();
        let open = tokio::spawn(async move {
            client
                .write(tokio_stream::wrappers::ReceiverStream::new(messages))
                .await
        });
        let cities = table(
            "cities",
            vec![not_null("id", arrow::datatypes::DataType::Int64).key(true)],
        );
        let message = Some(migrate(&cities));
        send.send(write::Request { message }).await.unwrap();
        process.signal(signal);
        let status = process.wait(Duration::from_secs(5));
        assert_eq!(status.code(), Some(0), "{signal:?}: {status:?}");
        assert!(!process.socket().exists(), "the socket is gone");
        drop(send);
        open.await.unwrap().unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_init_is_answered_before_it() {
    let process = Process::start("highwater-destination-sqlite");
    let mut client = Caller::dial(&process.socket()).await.0;
    let name = client.get_name(get_name::Request {}).await.unwrap().into_inner();
    assert_eq!(name.name, "sqlite");
    let version = client.get_version(get_version::Request {}).await.unwrap().into_inner();
    assert!(version.version.starts_with('v'), "{}", version.version);
    let schema = client
        .get_spec_schema(get_spec_schema::Request {})
        .await
        .unwrap()
        .into_inner();
    let schema: Value = serde_json::from_str(&schema.json_schema.unwrap()).unwrap();
    assert!(schema["properties"]["path"].is_object(), "{schema}");
    let mut test = async |spec: Value| {
        let spec = spec.to_string().into();
        client
            .test_connection(test_connection::Request { spec })
            .await
            .unwrap()
            .into_inner()
    };
    assert!(test(json!({"path": "x.db"})).await.success);
    let refused = test(json!({"path": "/no/such/folder/x.db"})).await;
    assert!(
        !refused.success && refused.failure_code != "INVALID_SPEC",
        "{refused:?}"
    );
    assert_eq!(test(json!({})).await.failure_code, "INVALID_SPEC");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_spec_is_refused_with_its_field_and_a_good_one_after_it_is_taken() {
    let process = Process::start("highwater-destination-sqlite");
    let caller = Caller::dial(&process.socket()).await;
    for spec in ["null", "", "{}"] {
        let refused = caller.init_bytes(spec).await.unwrap_err();
        assert_eq!(refused.code(), Code::Internal);
        assert!(
            refused.message().starts_with("failed to init plugin:") && refused.message().contains("`path`"),
            "{refused}"
        );
    }
    assert!(
        caller.init(&json!({"path": "x.db"})).await.unwrap(),
        "flush is supported"
    );
    let no_connection = init::Request {
        spec: json!({"path": "/no/such/folder/x.db"}).to_string().into(),
        no_connection: true,
        invocation_id: String::new(),
    };
    caller.0.clone().init(no_connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_on_a_port_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start_with(
        "highwater-destination-ndjson",
        folder,
        &["--network", "tcp", "--address", "127.0.0.1:0"],
    );
    let line = process.line("plugin server listening");
    let address = line["address"].as_str().unwrap();
    let mut client = proto::plugin_v3::plugin_client::PluginClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    assert_eq!(
        client.get_name(get_name::Request {}).await.unwrap().into_inner().name,
        "ndjson"
    );
}

/// Files append; what a caller cannot have of them it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_get_rows_when_the_write_is_answered() {
    let process = Process::start("highwater-destination-ndjson");
    let caller = Caller::dial(&process.socket()).await;
    let out = process.folder.path().join("out");
    caller.init(&json!({"path": out.join("{stream}")})).await.unwrap();
    let rows = table("rows", vec![column("id", arrow::datatypes::DataType::Int64)]);
    let ids: arrow::array::ArrayRef = std::sync::Arc::new(arrow::array::Int64Array::from(vec![1, 2]));
    caller
        .write(vec![migrate(&rows), insert(&rows, vec![ids])])
        .await
        .unwrap();
    let folder = std::fs::read_dir(out.join("rows")).unwrap();
    let texts: Vec<String> = folder
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert_eq!(texts.concat().matches("\"id\":").count(), 2, "{texts:?}");
    assert_eq!(caller.read(&rows).await.unwrap_err().code(), Code::Unimplemented);
}

#[test]
fn what_cannot_be_served_is_said() {
    for (arguments, expected) in [
        (&["nothing"][..], "cannot serve `nothing`: there is no such connector"),
        (&["sqlite"], "cannot serve `sqlite`: it can be several things"),
        (
            &["select", "--as", "source"],
            "cannot serve `select` as `source`: it is none",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_highwater"))
            .args(["plugin", "serve"])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{said}");
    }
}

/// The largest insert that a caller makes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insert_of_150_mib_is_taken() {
    let process = Process::start("highwater-destination-sqlite");
    let caller = Caller::dial(&process.socket()).await;
    caller.init(&json!({"path": "x.db"})).await.unwrap();
    let large = table(
        "large",
        vec![
            not_null("id", arrow::datatypes::DataType::Int64).key(true),
            column("text", arrow::datatypes::DataType::Utf8),
        ],
    );
    let text = "x".repeat(1 << 20);
    let ids: arrow::array::ArrayRef = std::sync::Arc::new(arrow::array::Int64Array::from_iter_values(0..150));
    let texts = std::sync::Arc::new(arrow::array::StringArray::from_iter_values(
        (0..150).map(|_| text.as_str()),
    ));
    let message = insert(&large, vec![ids, texts]);
    let Message::Insert(inserted) = &message else {
        panic!("an insert")
    };
    assert!(inserted.record.len() > 150 << 20);
    caller.write(vec![migrate(&large), message]).await.unwrap();
    let conn = rusqlite::Connection::open(process.folder.path().join("x.db")).unwrap();
    let sum: i64 = conn
        .query_row("SELECT sum(length(text)) FROM large", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sum, 150 << 20);
}

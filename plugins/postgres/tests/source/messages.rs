//! Logical messages: inside their transactions and at places of their own, each once.

use api::conformance::Row;
use api::testing::Replica;
use api::{BuildContext, PlannedStream, SourceConnector};
use highwater_plugin_postgres::PostgresSourceConnector;
use model::StreamId;

use crate::changes::app;
use crate::driver::{App, Run, public};

fn stream() -> StreamId {
    StreamId::new("_messages")
}

/// Asks for messages.
fn with_messages(app: &mut App, messages: serde_json::Value) {
    app.spec["messages"] = messages;
    app.streams.push(PlannedStream::new(stream()));
}

/// What the destination has of them, in the order of the log.
fn messages(run: &Run) -> Vec<Row> {
    let mut rows = run.replica.rows(&stream()).unwrap_or_default();
    let place = |row: &Row| {
        let (high, low) = row["lsn"].as_deref().unwrap().split_once('/').unwrap();
        (u64::from_str_radix(high, 16).unwrap() << 32) | u64::from_str_radix(low, 16).unwrap()
    };
    rows.sort_by_key(place);
    rows
}

fn contents(run: &Run) -> Vec<String> {
    let content = |row: &Row| row["content"].clone().unwrap();
    messages(run).iter().map(content).collect()
}

/// The server's own text of a bytea that holds this text.
fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_with_their_transaction_or_alone_and_only_those_asked_for() {
    let mut app = app!("CREATE TABLE t(id int PRIMARY KEY, v text)", ["t"]);
    with_messages(&mut app, serde_json::json!({"prefixes": ["outbox", "audit.*"]}));
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    app.run(
        "BEGIN; INSERT INTO t VALUES (1, 'one'); SELECT pg_logical_emit_message(true, 'outbox', 'with one');
         SAVEPOINT s; SELECT pg_logical_emit_message(true, 'outbox', 'rolled back to the savepoint'); ROLLBACK TO s;
         SELECT pg_logical_emit_message(true, 'other', 'not asked for'); COMMIT;
         BEGIN; SELECT pg_logical_emit_message(true, 'outbox', 'rolled back'); SELECT pg_logical_emit_message(false, 'audit.try', 'alone'); ROLLBACK;
         SELECT pg_logical_emit_message(false, 'audit', 'not asked for')",
    )
    .await;
    app.run("SELECT pg_logical_emit_message(true, 'outbox', 'in a transaction without rows')")
        .await;
    app.run("SELECT pg_logical_emit_message(false, 'outbox', '')").await;
    app.run("INSERT INTO t VALUES (2, 'two')").await;
    run.until(|run| {
        let has = |id: &str| {
            let rows = run.replica.rows(&public("t")).unwrap_or_default();
            rows.iter().any(|row| row["id"].as_deref() == Some(id))
        };
        // What belongs to a transaction shows with it.
        assert_eq!(has("1"), contents(run).contains(&hex("with one")));
        has("2")
    })
    .await;
    let told: Vec<(String, String, String)> = messages(&run)
        .into_iter()
        .map(|mut row| {
            let mut take = |name: &str| row.remove(name).unwrap().unwrap();
            (take("prefix"), take("transactional"), take("content"))
        })
        .collect();
    let expected = [
        ("outbox", "true", "with one"),
        ("audit.try", "false", "alone"),
        ("outbox", "true", "in a transaction without rows"),
        ("outbox", "false", ""),
    ];
    let expected = expected.map(|(prefix, kind, text)| (prefix.to_owned(), kind.to_owned(), hex(text)));
    assert_eq!(told, expected);
    assert_eq!(run.replica.violations(), Vec::<String>::new());
}

/// Kills after every few changesets, with a destination that would show what comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn each_message_arrives_once_wherever_the_runtime_is_killed() {
    let mut app = app!("CREATE TABLE t(id int PRIMARY KEY, v text)", ["t"]);
    with_messages(&mut app, serde_json::json!({}));
    app.changeset_bytes_max = 4 << 10;
    let replica = Replica::new();
    let mut run = Run::appending(&app, &replica).await;
    run.until(|run| run.count("end_read _messages") == 1 && run.count("end_read public.t") == 1)
        .await;
    let mut expected = Vec::new();
    for i in 0..32 {
        // Larger than a changeset now and then.
        let text = format!("{i} {}", "x".repeat(if i % 7 == 3 { 6_000 } else { 300 }));
        let (alone, message) = (i % 3 != 0, |alone: bool, text: &str| {
            format!("SELECT pg_logical_emit_message({}, 'm', '{text}');", !alone)
        });
        app.run(&match i % 4 {
            0 => format!("{} INSERT INTO t VALUES ({i}, repeat('v', 900));", message(alone, &text)),
            1 => format!("INSERT INTO t VALUES ({i}, 'v'); {}", message(alone, &text)),
            // In the middle of a transaction that commits later, between the parts of one, and in one that does not commit.
            2 => format!("BEGIN; INSERT INTO t SELECT {i} * 1000 + g, repeat('v', 500) FROM generate_series(1, 20) g; {} COMMIT;", message(alone, &text)),
            _ => format!("BEGIN; INSERT INTO t VALUES ({i}, 'no'); {} ROLLBACK;", message(true, &text)),
        })
        .await;
        expected.push(hex(&text));
    }
    app.run("INSERT INTO t VALUES (-1, 'last')").await;
    let is_done = |run: &Run| {
        let rows = run.replica.rows(&public("t")).unwrap_or_default();
        rows.iter().any(|row| row["id"].as_deref() == Some("-1"))
    };
    let mut kills = 0;
    while !is_done(&run) {
        for _ in 0..=kills % 3 {
            if !is_done(&run) {
                assert!(run.step().await.unwrap());
            }
        }
        drop(run);
        kills += 1;
        run = Run::appending(&app, &replica).await;
        // With what the slot knows, and with what the destination alone does.
        run.acknowledges = kills % 2 == 0;
    }
    assert!(kills > 10, "only {kills} kills");
    assert_eq!(contents(&run), expected);
    assert_eq!(replica.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_while_existing_rows_are_read() {
    let mut app = app!(
        "CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' FROM generate_series(1, 1500) g",
        ["t"]
    );
    with_messages(&mut app, serde_json::json!({}));
    app.spec["window_max"] = "1ms".into();
    let mut run = Run::appending(&app, &Replica::new()).await;
    let mut expected = Vec::new();
    for i in 0..15 {
        let rows = run.replica.row_count(&public("t"));
        let kind = i % 2 == 0;
        app.run(&format!(
            "SELECT pg_logical_emit_message({kind}, 'm', 'message {i:02}'); INSERT INTO t VALUES ({}, 'new')",
            10_000 + i
        ))
        .await;
        expected.push(hex(&format!("message {i:02}")));
        if run.count("end_read public.t") == 0 {
            run.until(|run| run.replica.row_count(&public("t")) > rows).await;
        }
    }
    run.until(|run| contents(run).len() >= expected.len() && run.count("end_read public.t") == 1)
        .await;
    assert_eq!(contents(&run), expected);
    assert_eq!(run.replica.violations(), Vec::<String>::new());
}

/// Why `streaming` is refused beside `messages`.
#[tokio::test(flavor = "multi_thread")]
async fn server_does_not_say_to_which_savepoint_a_streamed_message_belongs() {
    let mut app = app!("CREATE TABLE t(id int PRIMARY KEY, v text)", ["t"]);
    app.run("SELECT pg_create_logical_replication_slot('peeked', 'pgoutput')")
        .await;
    app.run(
        "BEGIN; INSERT INTO t VALUES (0, 'x'); SAVEPOINT s; SELECT pg_logical_emit_message(true, 'm', 'rolled back');
         INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 1500) g; ROLLBACK TO s; INSERT INTO t VALUES (-1, 'y'); COMMIT",
    )
    .await;
    let text = "SELECT chr(get_byte(data, 0)), substr(data, 2, 4), substr(data, 6, 4)
                FROM pg_logical_slot_peek_binary_changes('peeked', NULL, NULL, 'proto_version', '2', 'publication_names', 'highwater_shop',
                                                         'messages', 'true', 'streaming', 'on')
                WHERE get_byte(data, 0) IN (ascii('S'), ascii('M'), ascii('A'))";
    let told = app.database.client().await.query(text, &[]).await.unwrap();
    let of = |kind: &str| {
        let row = told.iter().find(|row| row.get::<_, String>(0) == kind).unwrap();
        (row.get::<_, Vec<u8>>(1), row.get::<_, Vec<u8>>(2))
    };
    let ((transaction, _), (whose, _), (_, rolled_back)) = (of("S"), of("M"), of("A"));
    assert_eq!(whose, transaction);
    assert_ne!(whose, rolled_back, "which is what the message should name");
    app.run("SELECT pg_drop_replication_slot('peeked')").await;
    app.spec["messages"] = serde_json::json!({});
    app.spec["streaming"] = true.into();
    let spec = serde_json::from_value(app.spec.clone()).unwrap();
    let cx = BuildContext { base_dir: "/".into() };
    let refused = PostgresSourceConnector::build(spec, &cx).err().unwrap();
    assert_eq!(refused.pointer, "/streaming");
}

//! What comes out of the log: every kind of message, in text and in binary.

use highwater_plugin_postgres::replication::pgoutput::{Cell, Decoder, Message, Old, ReplicaIdentity, Tuple};
use highwater_plugin_postgres::replication::{Frame, Lsn, Marks, Stream, StreamOptions};

use crate::world::{Database, PATIENCE, next, server};

fn show_tuple(tuple: &Tuple<'_>) -> String {
    let cell = |cell| match cell {
        Cell::Null => "null".to_owned(),
        Cell::Unchanged => "unchanged".to_owned(),
        Cell::Text(text) => format!("'{}'", String::from_utf8_lossy(text)),
        Cell::Binary(bytes) => format!(
            "x{}",
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        ),
    };
    let cells: Vec<String> = tuple.cells().map(cell).collect();
    format!("({})", cells.join(", "))
}

fn show(message: &Message<'_>) -> String {
    let old = |old: &Old<'_>| match old {
        Old::Key(row) => format!("key {}", show_tuple(row)),
        Old::Row(row) => format!("row {}", show_tuple(row)),
    };
    match message {
        Message::Begin(_) => "begin".to_owned(),
        Message::Commit(_) => "commit".to_owned(),
        Message::Relation(relation) => {
            let columns = relation.columns().map(|column| {
                let key = if column.is_key { " key" } else { "" };
                format!("{} {}/{}{key}", column.name, column.type_oid, column.type_modifier)
            });
            let columns: Vec<String> = columns.collect();
            let identity = match relation.replica_identity {
                ReplicaIdentity::Default => "",
                ReplicaIdentity::Full => " full",
                ReplicaIdentity::Nothing => " nothing",
                ReplicaIdentity::Index => " index",
            };
            format!(
                "relation {}.{}{identity} ({})",
                relation.schema,
                relation.name,
                columns.join(", ")
            )
        }
        Message::Type(name) => format!("type {}.{}", name.schema, name.name),
        Message::Insert(insert) => format!("insert {}", show_tuple(&insert.new)),
        Message::Update(update) => {
            let before = update.old.as_ref().map(|o| old(o) + " -> ").unwrap_or_default();
            format!("update {before}{}", show_tuple(&update.new))
        }
        Message::Delete(delete) => format!("delete {}", old(&delete.old)),
        Message::Truncate(truncate) => format!(
            "truncate {}{}{}",
            truncate.relations().len(),
            if truncate.cascade { " cascade" } else { "" },
            if truncate.restart_identity { " restart" } else { "" }
        ),
        Message::Logical(logical) => format!(
            "logical {} {} {}",
            logical.prefix,
            logical.is_transactional,
            String::from_utf8_lossy(logical.content)
        ),
        Message::BeginPrepare(prepare) => format!("begin prepare {}", prepare.gid),
        Message::Prepare(prepare) => format!("prepare {}", prepare.gid),
        Message::CommitPrepared(commit) => format!("commit prepared {}", commit.gid),
        Message::RollbackPrepared(rollback) => format!("rollback prepared {}", rollback.gid),
        other => format!("{other:?}"),
    }
}

/// Reads until as many messages have come that are worth showing.
async fn read(stream: &mut Stream, count: usize) -> Vec<String> {
    let mut decoder = Decoder::new();
    let mut shown = Vec::new();
    while shown.len() < count {
        if let Frame::Data(data) = next(stream).await {
            let message = decoder.decode(&data.bytes).unwrap();
            shown.push(show(&message));
        }
    }
    shown
}

#[tokio::test]
async fn inserts_updates_deletes_truncates_and_messages_arrive_in_order() {
    let Some(server) = server() else { return };
    let db = Database::create(server).await;
    db.run(
        "CREATE TYPE mood AS ENUM ('sad', 'ok');
         CREATE SCHEMA \"Odd \"\"one\";
         CREATE TABLE \"Odd \"\"one\".\"Täble\" (id bigint PRIMARY KEY, \"Nä me\" varchar(20), big text, m mood);
         ALTER TABLE \"Odd \"\"one\".\"Täble\" ALTER big SET STORAGE EXTERNAL;
         CREATE TABLE whole (a int, b text);
         ALTER TABLE whole REPLICA IDENTITY FULL;",
    )
    .await;
    let options = |options: &mut StreamOptions| {
        options.binary = false;
        options.messages = true;
    };
    let mut stream = db.stream(options).await;
    db.run("INSERT INTO \"Odd \"\"one\".\"Täble\" VALUES (1, 'é', repeat('x', 4000), 'ok'), (2, NULL, '', NULL)")
        .await;
    db.run(
        "BEGIN;
         UPDATE \"Odd \"\"one\".\"Täble\" SET \"Nä me\" = 'f' WHERE id = 1;
         UPDATE \"Odd \"\"one\".\"Täble\" SET id = 3 WHERE id = 2;
         SELECT pg_logical_emit_message(true, 'app', 'hello');
         DELETE FROM \"Odd \"\"one\".\"Täble\" WHERE id = 3;
         COMMIT;",
    )
    .await;
    db.run("BEGIN; INSERT INTO whole VALUES (1, 'a'); UPDATE whole SET b = 'b'; DELETE FROM whole; COMMIT")
        .await;
    db.run("SELECT pg_logical_emit_message(false, 'alone', 'now')").await;
    db.run("TRUNCATE whole, \"Odd \"\"one\".\"Täble\" RESTART IDENTITY CASCADE")
        .await;
    let long = "x".repeat(4000);
    let table = "relation Odd \"one.Täble (id 20/-1 key, Nä me 1043/24, big 25/-1, m OID/-1)";
    let oid = db.value("SELECT 'mood'::regtype::oid").await;
    let shown = read(&mut stream, 24).await;
    let expected = [
        "begin".to_owned(),
        "type public.mood".to_owned(),
        table.replace("OID", &oid),
        format!("insert ('1', 'é', '{long}', 'ok')"),
        "insert ('2', null, '', null)".to_owned(),
        "commit".to_owned(),
        "begin".to_owned(),
        "update ('1', 'f', unchanged, 'ok')".to_owned(),
        "update key ('2', null, null, null) -> ('3', null, '', null)".to_owned(),
        "logical app true hello".to_owned(),
        "delete key ('3', null, null, null)".to_owned(),
        "commit".to_owned(),
        "begin".to_owned(),
        "relation public.whole full (a 23/-1 key, b 25/-1 key)".to_owned(),
        "insert ('1', 'a')".to_owned(),
        "update row ('1', 'a') -> ('1', 'b')".to_owned(),
        "delete row ('1', 'b')".to_owned(),
        "commit".to_owned(),
        "logical alone false now".to_owned(),
        "begin".to_owned(),
    ];
    assert_eq!(shown[..expected.len()], expected);
    // The server sends each relation of a TRUNCATE again, because it took an exclusive lock.
    assert!(
        shown[20..].contains(&"truncate 2 cascade restart".to_owned()),
        "{:?}",
        &shown[20..]
    );
    drop(stream);
    db.drop_slot().await;
}

#[tokio::test]
async fn binary_values_arrive_where_asked_for() {
    let Some(server) = server() else { return };
    let db = Database::create(server).await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, b bytea)").await;
    let mut stream = db.stream(|options| options.binary = true).await;
    db.run("INSERT INTO t VALUES (258, '\\x00ff')").await;
    let shown = read(&mut stream, 4).await;
    assert_eq!(shown[2], "insert (x00000102, x00ff)");
    stream.stop(PATIENCE).await.unwrap();
    db.drop_slot().await;
}

#[tokio::test]
async fn prepared_transactions_arrive_in_two_phases() {
    let Some(server) = server() else { return };
    let db = Database::create(server).await;
    if db.major < 15 {
        return eprintln!("skipped: PostgreSQL {} sends no two-phase transactions", db.major);
    }
    db.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let options = |options: &mut StreamOptions| {
        options.two_phase = true;
        options.binary = false;
    };
    let mut stream = db.stream(options).await;
    db.run("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'one'")
        .await;
    db.run("COMMIT PREPARED 'one'").await;
    db.run("BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'two'")
        .await;
    db.run("ROLLBACK PREPARED 'two'").await;
    let shown = read(&mut stream, 9).await;
    let expected = [
        "begin prepare one",
        "relation public.t (id 23/-1 key)",
        "insert ('1')",
        "prepare one",
        "commit prepared one",
        "begin prepare two",
        "insert ('2')",
        "prepare two",
        "rollback prepared two",
    ];
    assert_eq!(shown, expected);
    drop(stream);
    db.drop_slot().await;
}

#[tokio::test]
async fn slot_moves_to_what_was_confirmed_and_the_stream_goes_on_from_there() {
    let Some(server) = server() else { return };
    let db = Database::create(server).await;
    db.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut stream = db.stream(|options| options.binary = false).await;
    db.run("INSERT INTO t VALUES (1)").await;
    db.run("INSERT INTO t VALUES (2)").await;
    let mut decoder = Decoder::new();
    let mut ends = Vec::new();
    while ends.len() < 2 {
        if let Frame::Data(data) = next(&mut stream).await
            && let Message::Commit(commit) = decoder.decode(&data.bytes).unwrap()
        {
            ends.push(commit.end_lsn);
        }
    }
    stream.status(
        Marks {
            received: ends[1],
            flushed: ends[0],
            applied: ends[0],
        },
        true,
    );
    let confirmed = format!(
        "SELECT confirmed_flush_lsn = '{}' FROM pg_replication_slots WHERE slot_name = '{}'",
        ends[0], db.name
    );
    db.wait_for(&confirmed).await;
    stream.stop(PATIENCE).await.unwrap();
    let mut replication = db.settings.replicate().await.unwrap();
    let rows = replication.query("SELECT 1, NULL, 'x'").await.unwrap();
    assert_eq!(rows, [[Some("1".to_owned()), None, Some("x".to_owned())]]);
    let identity = replication.identify_system().await.unwrap();
    assert!(identity.at >= ends[1] && identity.timeline == 1, "{identity:?}");
    assert_eq!(
        identity.system_id,
        db.value("SELECT system_identifier FROM pg_control_system()").await
    );
    db.wait_for(&format!(
        "SELECT NOT active FROM pg_replication_slots WHERE slot_name = '{}'",
        db.name
    ))
    .await;
    let options = StreamOptions {
        binary: false,
        ..StreamOptions::newest(db.major, vec![db.name.clone()])
    };
    let mut stream = replication.start(&db.name, Lsn::ZERO, &options).await.unwrap();
    let shown = read(&mut stream, 3).await;
    assert_eq!(
        shown[2], "insert ('2')",
        "the first is confirmed, the second comes again"
    );
    drop(stream);
    db.drop_slot().await;
}

#[tokio::test]
async fn position_moves_on_an_idle_database_by_keepalives() {
    let Some(server) = server() else { return };
    let db = Database::create(server).await;
    let mut stream = db.stream(|_| {}).await;
    // Work elsewhere in the cluster.
    let elsewhere = Database::create(server).await;
    elsewhere
        .run("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 1000)")
        .await;
    let written: Lsn = elsewhere.value("SELECT pg_current_wal_lsn()").await.parse().unwrap();
    loop {
        stream.status(Marks::default(), true);
        match next(&mut stream).await {
            Frame::Keepalive(keepalive) if keepalive.wal_end >= written => break,
            _ => {}
        }
    }
    drop(stream);
    db.drop_slot().await;
}

//! Servers that have too little of something: each finding, and the statement that mends it.

use test_systems::{Postgres, PostgresOptions};

use crate::driver::{App, DEADLINE};

fn server(options: &PostgresOptions) -> Option<Postgres> {
    match Postgres::start_with(options) {
        Ok(server) => Some(server),
        Err(missing) => {
            println!("skipped: {missing}");
            None
        }
    }
}

/// `code: message, hint`, without what is said of the superuser.
async fn found(app: &App) -> Vec<String> {
    let found = app.source().check(&app.plan()).await.unwrap();
    let told = |error: &api::Error| format!("{} {error}; {}", error.code(), error.remedy().unwrap_or("no hint"));
    found.iter().filter(|error| error.code() != "N0275").map(told).collect()
}

const LOOK: &str = "SELECT slot_name, active, restart_lsn FROM pg_replication_slots;";

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_are_not_free_or_not_ours_or_lost_are_told_before_anything_is_read() {
    let mut options = PostgresOptions::default()
        .set("fsync", "off")
        .set("max_replication_slots", "2")
        .set("max_slot_wal_keep_size", "12MB")
        .set("min_wal_size", "2MB")
        .set("max_wal_size", "4MB");
    options.initdb.push("--wal-segsize=1".to_owned());
    let Some(server) = server(&options) else { return };
    let app = App::on(&server, "postgres", &["t"]);
    app.run("CREATE TABLE t(id int PRIMARY KEY)").await;
    app.run("CREATE DATABASE other").await;
    let make = |slot: &str, plugin: &str| format!("SELECT pg_create_logical_replication_slot('{slot}', '{plugin}')");
    let drop = |slot: &str| format!("SELECT pg_drop_replication_slot('{slot}')");
    assert_eq!(found(&app).await, Vec::<String>::new());

    app.run(&make("theirs", "test_decoding")).await;
    let expected = "W0274 existing rows will wait: of 2 replication slots none is left for their snapshots; raise max_replication_slots \
                    and restart the server, or drop slots that nobody needs: ";
    assert_eq!(found(&app).await, [format!("{expected}{LOOK}")]);

    app.run(&make("theirs_too", "test_decoding")).await;
    let told = found(&app).await;
    let expected = "E0254 cannot create replication slot `shop`: all 2 slots of the server are taken; ";
    assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
    let refused = app.open(&[], &api::Share::alone(1 << 20)).await.err().unwrap();
    assert_eq!(refused.code(), "E0254");

    app.run(&format!("{}; {}", drop("theirs"), drop("theirs_too"))).await;
    app.run(&make("shop", "test_decoding")).await;
    let expected = "E0260 cannot read changes: replication slot `shop` belongs to the output plugin `test_decoding`, expected `pgoutput`; \
                    set `slot` to another name";
    assert_eq!(found(&app).await, [expected]);
    app.run(&drop("shop")).await;
    let other = App::on(&server, "other", &[]);
    other.run(&make("shop", "pgoutput")).await;
    let expected =
        "E0260 cannot read changes: replication slot `shop` belongs to database `other`; set `slot` to another name";
    assert_eq!(found(&app).await[0], expected);
    other.run(&drop("shop")).await;

    app.run(&make("shop", "pgoutput")).await;
    let mut codes = Vec::new();
    let deadline = std::time::Instant::now() + DEADLINE;
    while codes.last().is_none_or(|code| code != "E0262") {
        assert!(std::time::Instant::now() < deadline, "so far: {codes:?}");
        app.run("SELECT pg_logical_emit_message(false, 'fills', repeat('x', 700000)); CHECKPOINT")
            .await;
        let told = found(&app).await;
        let of_slot = told
            .iter()
            .find(|told| ["N0260", "W0258", "E0262"].iter().any(|code| told.starts_with(code)));
        let of_slot = of_slot.unwrap_or_else(|| panic!("{told:?}"));
        match &of_slot[..5] {
            "W0258" => assert!(
                of_slot.contains("ALTER SYSTEM SET max_slot_wal_keep_size = '24MB'; SELECT pg_reload_conf();"),
                "{of_slot}"
            ),
            "E0262" => assert!(
                of_slot.contains("SELECT pg_drop_replication_slot('shop'); then run `highwater resync`"),
                "{of_slot}"
            ),
            _ => {}
        }
        codes.push(of_slot[..5].to_owned());
    }
    codes.dedup();
    assert_eq!(codes, ["N0260", "W0258", "E0262"]);
    let refused = app.open(&[], &api::Share::alone(1 << 20)).await.err().unwrap();
    assert_eq!(refused.code(), "E0262");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_writes_too_little_into_its_log_is_told_the_setting() {
    let Some(server) = server(&PostgresOptions::default().set("wal_level", "replica")) else {
        return;
    };
    let app = App::on(&server, "postgres", &["t"]);
    app.run("CREATE TABLE t(id int PRIMARY KEY)").await;
    let expected = "E0251 cannot read changes: `wal_level` is `replica`, expected `logical`; \
                    ALTER SYSTEM SET wal_level = 'logical'; then restart the server (on a managed service, set the parameter there)";
    assert_eq!(found(&app).await, [expected]);
    let refused = app.open(&[], &api::Share::alone(1 << 20)).await.err().unwrap();
    assert_eq!(refused.code(), "E0251");
}

//! Several hosts: the first that is what was asked for.

use std::fs;

use highwater_plugin_postgres::connect::{Settings, What};
use test_systems::{Postgres, PostgresOptions, Shutdown, free_port};

use crate::world;

/// A server that takes no writes, because its sessions are read-only.
fn read_only() -> Option<Postgres> {
    let options = PostgresOptions::default().set("default_transaction_read_only", "on");
    Postgres::start_with(&options).ok()
}

#[tokio::test]
async fn dead_and_standby_and_read_only_hosts_are_passed_over() {
    let Some(primary) = world::server() else { return };
    let (Some(read_only), Some(mut standby)) = (read_only(), Postgres::start().ok()) else {
        return;
    };
    standby.stop(Shutdown::Fast);
    fs::write(standby.data().join("standby.signal"), "").unwrap();
    standby.start_again();
    let dead = free_port().unwrap();
    let hosts = |ports: &[u16]| {
        ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let all = hosts(&[dead, standby.port(), read_only.port(), primary.port()]);
    let settings =
        |hosts: &str, query: &str| Settings::parse(&format!("postgres://postgres@{hosts}/postgres?{query}")).unwrap();
    for (hosts, query, expected) in [
        (&all, "target_session_attrs=read-write", primary.port()),
        // The default of several hosts: read-only sessions of a primary will do.
        (&all, "", read_only.port()),
        (&all, "target_session_attrs=any", standby.port()),
        (&hosts(&[standby.port()]), "", standby.port()),
    ] {
        let connection = settings(hosts, query).connect().await.unwrap();
        assert_eq!(connection.host().port, expected, "{query}");
        let replication = settings(hosts, query).replicate().await.unwrap();
        assert_eq!(replication.host().port, expected, "{query}");
    }
    let error = settings(&hosts(&[dead, standby.port()]), "")
        .connect()
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.what(), error.retry()),
        ("E0249", &What::Standby, api::Retry::After)
    );
    let expected = format!(
        "cannot connect to `postgres@127.0.0.1:{dead},127.0.0.1:{0}/postgres`: `127.0.0.1:{0}`: it is a standby; `127.0.0.1:{dead}`: \
         nobody listens there",
        standby.port()
    );
    assert_eq!(error.to_string(), expected);
    let error = settings(&hosts(&[read_only.port()]), "target_session_attrs=read-write")
        .connect()
        .await
        .unwrap_err();
    assert_eq!(error.what(), &What::ReadOnly);
}

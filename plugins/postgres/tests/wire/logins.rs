//! Passwords, where they come from, and what is said when they or the login are wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use highwater_plugin_postgres::connect::{Settings, What};
use test_systems::free_port;

use crate::tls::{guarded, outcome};
use crate::world;

#[tokio::test]
async fn scram_md5_and_clear_passwords_open_both_kinds_of_connection() {
    let Some(guarded) = guarded() else { return };
    for (login, query, expected) in [
        ("scram:s3cret%20pass", "sslmode=disable", "plain"),
        ("scram:s3cret%20pass", "sslmode=require", "tls"),
        ("scram:s3cret%20pass", "sslmode=require&channel_binding=require", "tls"),
        (
            "scram:s3cret%20pass",
            "sslmode=disable&channel_binding=require",
            "E0244",
        ),
        ("md5:s3cret", "sslmode=disable", "plain"),
        ("md5:s3cret", "sslmode=require&channel_binding=require", "E0244"),
        ("clear:s3cret", "sslmode=require", "tls"),
        ("scram:wrong", "sslmode=disable", "E0243"),
        ("scram:wrong", "sslmode=require", "E0243"),
        ("md5:wrong", "sslmode=prefer", "E0243"),
        ("clear:wrong", "sslmode=prefer", "E0243"),
        ("scram", "sslmode=disable&passfile=/no/such/file", "E0243"),
        ("rejected", "sslmode=disable", "E0244"),
        ("no_such_role", "sslmode=disable", "E0244"),
    ] {
        let settings = guarded.settings(login, "127.0.0.1", query);
        let outcome = outcome(&settings).await;
        assert_eq!(outcome, expected, "{login} {query}");
    }
}

#[tokio::test]
async fn missing_password_is_told_from_a_wrong_one() {
    let Some(guarded) = guarded() else { return };
    let missing = guarded
        .settings("scram", "127.0.0.1", "passfile=/no/such/file")
        .connect()
        .await
        .unwrap_err();
    assert_eq!(missing.what(), &What::NoPassword);
    let missing = guarded
        .settings("scram", "127.0.0.1", "passfile=/no/such/file")
        .replicate()
        .await
        .unwrap_err();
    assert!(missing.to_string().contains("there is none"), "{missing}");
    let wrong = guarded
        .settings("scram:wr0ng", "127.0.0.1", "")
        .connect()
        .await
        .unwrap_err();
    assert_eq!(wrong.what(), &What::WrongPassword);
    let mut shown = format!("{wrong} {wrong:?}");
    shown += &format!("{:?}", api::Error::from(wrong));
    assert!(!shown.contains("wr0ng"), "{shown}");
    assert!(
        shown.contains("password authentication failed"),
        "the server's own words are the cause: {shown}"
    );
}

#[tokio::test]
async fn password_is_found_in_the_password_file_unless_others_may_read_it() {
    let Some(guarded) = guarded() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pgpass");
    let port = guarded.server.port();
    fs::write(
        &path,
        format!("other:*:*:*:no\n127.0.0.1:{port}:postgres:scram:s3cret pass\n"),
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let settings = guarded.settings("scram", "127.0.0.1", &format!("passfile={}", path.display()));
    assert_eq!(outcome(&settings).await, "tls");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(settings.connect().await.unwrap_err().what(), &What::NoPassword);
}

#[tokio::test]
async fn each_failure_has_its_code_and_says_what_to_do() {
    let Some(server) = world::server() else { return };
    let free = free_port().unwrap();
    for (url, code, says) in [
        (
            format!("postgres://postgres@127.0.0.1:{free}/postgres"),
            "E0240",
            "nobody listens there",
        ),
        (
            format!("postgres://postgres@/postgres?host=/no/such/directory&port={free}"),
            "E0240",
            "nobody listens there",
        ),
        (
            "postgres://postgres@no-such-host.invalid/postgres".to_owned(),
            "E0241",
            "the name has no address",
        ),
        (server.url("no_such_database"), "E0245", "the database is not there"),
    ] {
        let error = Settings::parse(&url).unwrap().connect().await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.hint().is_empty());
    }
}

#[tokio::test]
async fn server_that_never_answers_is_given_up_in_time() {
    // Takes connections, and says nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for mode in ["disable", "require"] {
        let url = format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=1&sslmode={mode}");
        let settings = Settings::parse(&url).unwrap();
        let error = settings.connect().await.unwrap_err();
        assert_eq!(
            (error.code(), error.to_string().contains("no session after 1 s")),
            ("E0242", true),
            "{error}"
        );
    }
}

#[tokio::test]
async fn something_else_on_the_port_is_said_to_be_something_else() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            let _ = peer
                .write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                .await;
        }
    });
    for mode in ["disable", "require"] {
        let settings = Settings::parse(&format!(
            "postgres://u@127.0.0.1:{port}/d?connect_timeout=5&sslmode={mode}"
        ))
        .unwrap();
        assert_eq!(outcome_code(&settings).await, "E0240", "{mode}");
    }
    answering.abort();
}

async fn outcome_code(settings: &Settings) -> String {
    let replication = settings.replicate().await.unwrap_err().code().to_owned();
    let sql = settings.connect().await.unwrap_err().code().to_owned();
    assert_eq!(replication, sql);
    sql
}

#[tokio::test]
async fn unix_socket_is_reached_and_every_session_has_the_fixed_settings() {
    let Some(server) = world::server() else { return };
    let directory = server.socket_directory().display();
    let text = format!("host={directory} port={} user=postgres dbname=postgres", server.port());
    let settings = Settings::parse(&text).unwrap();
    let connection = settings.connect().await.unwrap();
    let mut replication = settings.replicate().await.unwrap();
    for (name, expected) in [
        ("TimeZone", "UTC"),
        ("DateStyle", "ISO, YMD"),
        ("IntervalStyle", "iso_8601"),
        ("extra_float_digits", "3"),
        ("bytea_output", "hex"),
        ("row_security", "off"),
        ("statement_timeout", "0"),
        ("idle_session_timeout", "0"),
        ("application_name", "highwater"),
    ] {
        let row = connection.query_one(&format!("SHOW {name}"), &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), expected, "{name}");
        let rows = replication.query(&format!("SHOW {name}")).await.unwrap();
        assert_eq!(rows[0][0].as_deref(), Some(expected), "{name}");
    }
}

#[tokio::test]
async fn statement_is_cancelled_from_elsewhere_and_the_session_lives_on() {
    let Some(guarded) = guarded() else { return };
    for query in ["sslmode=disable", "sslmode=require"] {
        let connection = guarded
            .settings("postgres", "127.0.0.1", query)
            .connect()
            .await
            .unwrap();
        let cancel = connection.cancel_handle();
        let sleeping = connection.simple_query("SELECT pg_sleep(60)");
        let cancelling = async {
            // Until the statement runs, a cancellation says nothing.
            loop {
                cancel.cancel().await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let answer = tokio::select! { answer = sleeping => answer, () = cancelling => unreachable!() };
        let code = answer.unwrap_err().code().unwrap().code().to_owned();
        assert_eq!(code, "57014");
    }
}

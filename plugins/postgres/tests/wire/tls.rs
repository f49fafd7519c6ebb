//! Every `sslmode`, against a server with TLS, one without, and one with a self-signed certificate.

use std::sync::OnceLock;

use highwater_plugin_postgres::connect::Settings;
use test_systems::{Postgres, PostgresOptions};

use crate::certificates::{Certificates, is_there};
use crate::world;

/// A server that demands or refuses encryption by user, and its certificates.
pub struct Guarded {
    pub server: Postgres,
    pub certificates: Certificates,
}

pub fn guarded() -> Option<&'static Guarded> {
    static GUARDED: OnceLock<Option<Guarded>> = OnceLock::new();
    GUARDED.get_or_init(start).as_ref()
}

fn start() -> Option<Guarded> {
    if !is_there("openssl") {
        eprintln!("skipped: no `openssl` to make certificates with");
        return None;
    }
    let hba = [
        "host all scram 127.0.0.1/32 scram-sha-256",
        "host all md5 127.0.0.1/32 md5",
        "host all clear 127.0.0.1/32 password",
        "host all rejected 127.0.0.1/32 reject",
        "hostssl all tls_only 127.0.0.1/32 trust",
        "hostnossl all tls_only 127.0.0.1/32 reject",
        "hostnossl all plain_only 127.0.0.1/32 trust",
        "hostssl all plain_only 127.0.0.1/32 reject",
        "hostssl all with_certificate 127.0.0.1/32 cert",
    ];
    let options = PostgresOptions {
        hba: hba.iter().map(|line| (*line).to_owned()).collect(),
        ..PostgresOptions::default()
    };
    let server = match Postgres::start_with(&options) {
        Ok(server) => server,
        Err(missing) => {
            eprintln!("skipped: {missing}");
            return None;
        }
    };
    let certificates = Certificates::new();
    certificates.self_signed("authority", "Authority");
    certificates.self_signed("stranger", "Stranger");
    certificates.signed(
        "server",
        "authority",
        "ignored.example",
        Some("DNS:localhost"),
        "sha384",
    );
    certificates.signed("client", "authority", "with_certificate", None, "sha256");
    certificates.install("server.crt", &server, "server.crt");
    certificates.install("server.key", &server, "server.key");
    certificates.install("authority.crt", &server, "root.crt");
    sql(
        &server,
        &[
            "CREATE ROLE scram LOGIN REPLICATION PASSWORD 's3cret pass'",
            "SET password_encryption = 'md5'; CREATE ROLE md5 LOGIN REPLICATION PASSWORD 's3cret'",
            "CREATE ROLE clear LOGIN REPLICATION PASSWORD 's3cret'",
            "CREATE ROLE rejected LOGIN",
            "CREATE ROLE tls_only LOGIN REPLICATION",
            "CREATE ROLE plain_only LOGIN REPLICATION",
            "CREATE ROLE with_certificate LOGIN REPLICATION",
            "ALTER SYSTEM SET ssl_ca_file = 'root.crt'",
            "ALTER SYSTEM SET ssl = on",
            "SELECT pg_reload_conf()",
        ],
    );
    Some(Guarded { server, certificates })
}

/// Runs statements on a thread with a runtime of its own, and waits until the server has TLS.
fn sql(server: &Postgres, statements: &[&str]) {
    let url = server.url("postgres");
    let statements: Vec<String> = statements.iter().map(|text| (*text).to_owned()).collect();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let connection = Settings::parse(&url).unwrap().connect().await.unwrap();
            for statement in &statements {
                connection.batch_execute(statement).await.unwrap();
            }
            let with_tls = Settings::parse(&format!("{url}?sslmode=require")).unwrap();
            let deadline = std::time::Instant::now() + world::PATIENCE;
            while let Err(error) = with_tls.connect().await {
                assert!(std::time::Instant::now() < deadline, "no TLS: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
    };
    std::thread::spawn(work).join().unwrap();
}

impl Guarded {
    /// A URL for a user; `%ca` and `%other` in the query become files.
    pub fn settings(&self, user: &str, host: &str, query: &str) -> Settings {
        let path = |name: &str| self.certificates.path(name).display().to_string();
        let query = query
            .replace("%ca", &path("authority.crt"))
            .replace("%other", &path("stranger.crt"))
            .replace("%cert", &path("client.crt"))
            .replace("%key", &path("client.key"));
        Settings::parse(&format!(
            "postgres://{user}@{host}:{}/postgres?{query}",
            self.server.port()
        ))
        .unwrap()
    }
}

/// `tls`, `plain`, or the code: the same for both kinds of connection.
pub async fn outcome(settings: &Settings) -> String {
    let sql = match settings.connect().await {
        Ok(connection) => {
            let row = connection
                .query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[])
                .await
                .unwrap();
            let is_encrypted: bool = row.get(0);
            assert_eq!(is_encrypted, connection.is_encrypted());
            if is_encrypted { "tls" } else { "plain" }.to_owned()
        }
        Err(error) => error.code().to_owned(),
    };
    let replication = match settings.replicate().await {
        Ok(mut replication) => {
            let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let rows = replication.query(sql).await.unwrap();
            if rows[0][0].as_deref() == Some("t") {
                "tls"
            } else {
                "plain"
            }
            .to_owned()
        }
        Err(error) => error.code().to_owned(),
    };
    assert_eq!(sql, replication, "queries and replication connect alike: {settings:?}");
    sql
}

#[tokio::test]
async fn every_sslmode_means_what_it_means_in_libpq() {
    let Some(guarded) = guarded() else { return };
    let cases = [
        // user, host, query, outcome
        ("postgres", "127.0.0.1", "sslmode=disable", "plain"),
        ("postgres", "127.0.0.1", "sslmode=allow", "plain"),
        ("postgres", "127.0.0.1", "sslmode=prefer", "tls"),
        ("postgres", "127.0.0.1", "", "tls"),
        ("postgres", "127.0.0.1", "sslmode=require", "tls"),
        ("tls_only", "127.0.0.1", "sslmode=disable", "E0244"),
        ("tls_only", "127.0.0.1", "sslmode=allow", "tls"),
        ("plain_only", "127.0.0.1", "sslmode=prefer", "plain"),
        ("plain_only", "127.0.0.1", "sslmode=require", "E0244"),
        // `require` with a file of authorities checks the chain.
        ("postgres", "127.0.0.1", "sslmode=require&sslrootcert=%ca", "tls"),
        ("postgres", "127.0.0.1", "sslmode=require&sslrootcert=%other", "E0247"),
        ("postgres", "127.0.0.1", "sslmode=prefer&sslrootcert=%other", "tls"),
        ("postgres", "127.0.0.1", "sslmode=verify-ca&sslrootcert=%ca", "tls"),
        ("postgres", "localhost", "sslmode=verify-ca&sslrootcert=%other", "E0247"),
        ("postgres", "localhost", "sslmode=verify-full&sslrootcert=%ca", "tls"),
        ("postgres", "127.0.0.1", "sslmode=verify-full&sslrootcert=%ca", "E0248"),
        (
            "postgres",
            "localhost",
            "sslmode=verify-full&sslrootcert=%other",
            "E0247",
        ),
        (
            "postgres",
            "localhost",
            "sslmode=verify-full&sslrootcert=/no/such/file",
            "E0247",
        ),
        (
            "postgres",
            "localhost",
            "sslmode=verify-full&sslrootcert=system",
            "E0247",
        ),
        // Client certificates.
        (
            "with_certificate",
            "127.0.0.1",
            "sslmode=require&sslcert=%cert&sslkey=%key",
            "tls",
        ),
        ("with_certificate", "127.0.0.1", "sslmode=require", "E0244"),
        (
            "with_certificate",
            "127.0.0.1",
            "sslmode=require&sslcert=%cert&sslkey=%cert",
            "E0247",
        ),
    ];
    for (user, host, query, expected) in cases {
        let settings = guarded.settings(user, host, query);
        assert_eq!(outcome(&settings).await, expected, "{user} {host} {query}");
    }
}

#[tokio::test]
async fn key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let Some(guarded) = guarded() else { return };
    let open = guarded.certificates.path("open.key");
    std::fs::copy(guarded.certificates.path("client.key"), &open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let query = format!("sslmode=require&sslcert=%cert&sslkey={}", open.display());
    let error = guarded
        .settings("with_certificate", "127.0.0.1", &query)
        .connect()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("accessible to others"), "{error}");
}

#[tokio::test]
async fn server_without_tls_is_refused_or_taken_by_sslmode() {
    let Some(server) = world::server() else { return };
    for (mode, expected) in [
        ("disable", "plain"),
        ("allow", "plain"),
        ("prefer", "plain"),
        ("require", "E0246"),
    ] {
        let settings = Settings::parse(&format!("{}?sslmode={mode}", server.url("postgres"))).unwrap();
        assert_eq!(outcome(&settings).await, expected, "{mode}");
    }
}

#[tokio::test]
async fn self_signed_certificate_is_trusted_if_it_is_the_file_itself_and_its_common_name_counts() {
    if !is_there("openssl") {
        return eprintln!("skipped: no `openssl` to make certificates with");
    }
    let server = match Postgres::start() {
        Ok(server) => server,
        Err(missing) => return eprintln!("skipped: {missing}"),
    };
    let certificates = Certificates::new();
    certificates.self_signed("server", "localhost");
    certificates.self_signed("twin", "localhost");
    certificates.install("server.crt", &server, "server.crt");
    certificates.install("server.key", &server, "server.key");
    sql(&server, &["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"]);
    let cases = [
        ("localhost", "verify-full", "server", "tls"),
        ("127.0.0.1", "verify-ca", "server", "tls"),
        ("127.0.0.1", "verify-full", "server", "E0248"),
        ("localhost", "verify-ca", "twin", "E0247"),
    ];
    for (host, mode, file, expected) in cases {
        let file = certificates.path(&format!("{file}.crt"));
        let query = format!("sslmode={mode}&sslrootcert={}", file.display());
        let url = format!("postgres://postgres@{host}:{}/postgres?{query}", server.port());
        assert_eq!(
            outcome(&Settings::parse(&url).unwrap()).await,
            expected,
            "{host} {query}"
        );
    }
}

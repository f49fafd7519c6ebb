//! Behind a real pooler in transaction mode.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api::DestinationOptions;
use api::conformance::sample;
use model::{Control, StreamId};
use serde_json::json;
use tempfile::TempDir;

use crate::database::Database;
use crate::fencing::insert;

/// A pgbouncer of our own, in transaction mode with one server connection.
struct Pooler {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Pooler {
    /// `None` where the machine has none.
    fn start(server_port: u16) -> Option<Pooler> {
        let places = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
        let Some(program) = places.map(PathBuf::from).into_iter().find(|path| path.exists()) else {
            println!("skipped: no pgbouncer: install `pgbouncer`");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let port = test_systems::free_port().unwrap();
        let users = directory.path().join("users.txt");
        std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let config = directory.path().join("pgbouncer.ini");
        std::fs::write(
            &config,
            format!(
                "[databases]\n* = host=127.0.0.1 port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nauth_type = trust\nauth_file = {}\npool_mode = transaction\n\
                 default_pool_size = 1\nunix_socket_dir =\nlogfile = {}\n\
                 ignore_startup_parameters = extra_float_digits\n",
                users.display(),
                directory.path().join("log").display()
            ),
        )
        .unwrap();
        let mut command = Command::new(program);
        // It refuses to run as root.
        if Command::new("id").arg("-u").output().unwrap().stdout == b"0\n" {
            for path in [directory.path(), &users, &config] {
                std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
            }
            command.args(["-u", "nobody"]);
        }
        let child = command
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "pgbouncer does not start");
        }
        Some(Pooler {
            child,
            port,
            _directory: directory,
        })
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pipelines_share_one_server_connection_of_a_transaction_pooler() {
    let Some(database) = Database::new().await else { return };
    let Some(pooler) = Pooler::start(database.port()) else {
        return;
    };
    let spec = |schema: &str| json!({ "url": database.url_at(pooler.port), "pooler": "transaction", "schema": schema });
    let options = DestinationOptions::default();
    let other = api::Lane {
        pipeline: "other".into(),
        ..sample::lane()
    };
    let mut one = database.open_with(spec("one"), options, &sample::lane()).await.unwrap();
    let mut two = database.open_with(spec("two"), options, &other).await.unwrap();
    for id in 1..=20 {
        one.apply(insert(id)).await.unwrap();
        two.apply(insert(id)).await.unwrap();
        let change = |id| {
            sample::changes(&sample::items())
                .at(id + 100)
                .update(json!({"id": id, "amount": id}))
                .without(["name"])
                .delete(json!({"id": id - 1}))
                .batch()
        };
        one.write(sample::changeset(Some(id), id, [change(id)])).await.unwrap();
        two.write(sample::changeset(Some(id), id, [change(id)])).await.unwrap();
        one.commit().await.unwrap();
        two.commit().await.unwrap();
    }
    let truncate = Control::Truncate {
        stream: StreamId::new("items"),
    };
    two.apply(sample::control(Some(20), 21, truncate)).await.unwrap();
    one.close().await.unwrap();
    two.close().await.unwrap();
    assert_eq!(database.lines("SELECT id, amount FROM one.items").await, ["20, 20"]);
    assert_eq!(database.lines("SELECT count(*) FROM two.items").await, ["0"]);
}

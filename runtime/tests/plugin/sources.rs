//! Sources, served: a sync ends at the head, and the next one goes on from the caller's state.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use proto::plugin_v3::sync::response::Message;
use proto::plugin_v3::{get_tables, sync};
use proto::{Decoder, Table};
use serde_json::json;

use crate::caller::Caller;
use crate::place::Place;
use crate::process::Process;

/// A shop, its source, and what a sync said of it.
struct Shop {
    process: Process,
    caller: Caller,
}

impl Shop {
    async fn open() -> Shop {
        let process = Process::start("highwater-source-sqlite");
        let shop = Shop {
            caller: Caller::dial(&process.socket()).await,
            process,
        };
        shop.sql(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT);
             CREATE TABLE lines (a INTEGER, b TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
             INSERT INTO orders VALUES (1, 'pen'), (2, 'ink');
             INSERT INTO lines VALUES (1, 'x'), (1, 'y');",
        );
        shop.caller.init(&json!({"path": shop.path()})).await.unwrap();
        shop
    }

    fn path(&self) -> std::path::PathBuf {
        self.process.folder.path().join("shop.db")
    }

    fn sql(&self, text: &str) {
        let conn = rusqlite::Connection::open(self.path()).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        conn.execute_batch(text).unwrap();
    }

    /// What the source leaves in its database: triggers and tables that are not the shop's.
    fn left_behind(&self) -> i64 {
        let conn = rusqlite::Connection::open(self.path()).unwrap();
        let count = "SELECT count(*) FROM sqlite_schema WHERE type <> 'index' AND name NOT IN ('orders', 'lines')
                     AND name NOT LIKE 'sqlite_%'";
        conn.query_row(count, [], |row| row.get(0)).unwrap()
    }

    async fn sync(&self, request: sync::Request) -> Vec<Message> {
        let mut answers = self.caller.0.clone().sync(request).await.unwrap().into_inner();
        let mut messages = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            messages.push(answer.message.unwrap());
        }
        messages
    }
}

fn request(backend: Option<&Place>) -> sync::Request {
    sync::Request {
        tables: vec!["*".to_owned()],
        with_error_messages: true,
        backend: backend.map(|place| sync::BackendOptions {
            table_name: "cq_state".to_owned(),
            connection: format!("unix://{}", place.process.socket().display()),
        }),
        ..sync::Request::default()
    }
}

/// Messages as one line each.
fn told(messages: &[Message]) -> Vec<String> {
    let mut decoder = Decoder::default();
    let mut lines = Vec::new();
    for message in messages {
        match message {
            Message::MigrateTable(message) => {
                let table = Table::of_schema(&decoder.schema(&message.table).unwrap()).unwrap();
                let keys = table.columns.iter().filter(|column| column.is_key).count();
                lines.push(format!(
                    "table {} keys {keys} incremental {}",
                    table.name, table.is_incremental
                ));
            }
            Message::Insert(message) => {
                let rows = decoder.record(&message.record).unwrap();
                let name = Table::of_schema(rows.schema_ref()).unwrap().name;
                for row in 0..rows.num_rows() {
                    let number = rows.column(0).as_primitive::<Int64Type>().value(row);
                    let text = rows.column(1).as_string::<i32>();
                    let text = if text.is_null(row) { "NULL" } else { text.value(row) };
                    lines.push(format!("{name} {number} {text}"));
                }
            }
            Message::DeleteRecord(message) => {
                let mut conditions = Vec::new();
                for predicate in message.where_clause.iter().flat_map(|group| &group.predicates) {
                    let value = decoder.record(&predicate.record).unwrap();
                    let text = api::conformance::text_of(value.column(0).as_ref(), 0).unwrap();
                    conditions.push(format!("{}={text}", predicate.column));
                }
                lines.push(format!("delete {} {}", message.table_name, conditions.join(" ")));
            }
            Message::Checkpoint(_) => lines.push("checkpoint".to_owned()),
            Message::Error(message) => lines.push(format!("error {}", message.error)),
        }
    }
    lines
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

const TABLES: [&str; 2] = [
    "table lines keys 2 incremental true",
    "table orders keys 1 incremental true",
];
const ROWS: [&str; 4] = ["lines 1 x", "lines 1 y", "orders 1 pen", "orders 2 ink"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_backend_every_sync_reads_everything_and_leaves_nothing_behind() {
    let shop = Shop::open().await;
    for _ in 0..2 {
        let lines = told(&shop.sync(request(None)).await);
        assert_eq!(sorted(lines[..2].to_vec()), TABLES, "tables come before rows");
        assert_eq!(sorted(lines[2..].to_vec()), ROWS);
        assert_eq!(shop.left_behind(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_backend_the_next_sync_has_what_changed_in_order() {
    let shop = Shop::open().await;
    let backend = Place::sqlite().await.unwrap();
    let lines = told(&shop.sync(request(Some(&backend))).await);
    assert_eq!(sorted(lines[2..].to_vec()), ROWS);
    let lines = told(&shop.sync(request(Some(&backend))).await);
    assert_eq!(sorted(lines), TABLES, "nothing changed");
    shop.sql(
        "UPDATE orders SET item = 'cup' WHERE id = 1; DELETE FROM orders WHERE id = 2;
         INSERT INTO orders VALUES (3, NULL); UPDATE orders SET id = 9 WHERE id = 3;
         DELETE FROM lines WHERE b = 'y';",
    );
    let lines = told(&shop.sync(request(Some(&backend))).await);
    let of_orders: Vec<&str> = lines[2..]
        .iter()
        .map(String::as_str)
        .filter(|line| line.contains("orders"))
        .collect();
    assert_eq!(
        of_orders,
        [
            "orders 1 cup",
            "delete orders id=2",
            "orders 3 NULL",
            "delete orders id=3",
            "orders 9 NULL"
        ]
    );
    assert!(lines.contains(&"delete lines a=1 b=y".to_owned()), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_are_the_callers_to_keep() {
    let shop = Shop::open().await;
    let backend = Place::sqlite().await.unwrap();
    let asks = |backend| sync::Request {
        supports_checkpoints: true,
        ..request(Some(backend))
    };
    let first = shop.sync(asks(&backend)).await;
    let lines = told(&first);
    assert_eq!(lines.last().unwrap(), "checkpoint");
    let again = told(&shop.sync(asks(&backend)).await);
    assert_eq!(
        sorted(again[2..again.len() - 1].to_vec()),
        ROWS,
        "nobody kept the checkpoint"
    );
    // As the caller does once everything before it is committed.
    let Some(Message::Checkpoint(checkpoint)) = shop.sync(asks(&backend)).await.pop() else {
        panic!("a checkpoint comes last");
    };
    let record = checkpoint.record;
    let insert = proto::plugin_v3::write::request::Message::Insert(proto::plugin_v3::write::MessageInsert { record });
    backend.caller.write(vec![insert]).await.unwrap();
    assert_eq!(sorted(told(&shop.sync(asks(&backend)).await)), TABLES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_listed_and_chosen_by_patterns() {
    let shop = Shop::open().await;
    let list = async |tables: &[&str], skip: &[&str]| {
        let request = get_tables::Request {
            tables: tables.iter().map(|&text| text.to_owned()).collect(),
            skip_tables: skip.iter().map(|&text| text.to_owned()).collect(),
            skip_dependent_tables: false,
        };
        let found = shop.caller.0.clone().get_tables(request).await?.into_inner();
        let mut decoder = Decoder::default();
        let mut name = |payload| Table::of_schema(&decoder.schema(payload).unwrap()).unwrap().name;
        Ok::<_, tonic::Status>(found.tables.iter().map(&mut name).collect::<Vec<_>>())
    };
    assert_eq!(list(&["*"], &["l*"]).await.unwrap(), ["orders"]);
    let error = list(&["nothing*"], &[]).await.unwrap_err();
    assert!(error.message().contains("`nothing*` matches no table"), "{error}");
    let tables = vec!["orders".to_owned()];
    let some = told(
        &shop
            .sync(sync::Request {
                tables,
                ..request(None)
            })
            .await,
    );
    assert!(
        some.iter().all(|line| line.contains("orders")) && some.len() == 3,
        "{some:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_share_the_tables_and_half_a_backend_is_refused() {
    let shop = Shop::open().await;
    let mut rows = Vec::new();
    for num in 1..=3 {
        let shard = Some(sync::request::Shard { num, total: 3 });
        let lines = told(&shop.sync(sync::Request { shard, ..request(None) }).await);
        assert_eq!(sorted(lines[..2].to_vec()), TABLES);
        // Of three shards two have a table each.
        assert_eq!(lines.len() - 2, if num == 1 { 0 } else { 2 }, "shard {num}: {lines:?}");
        rows.extend(lines[2..].to_vec());
    }
    assert_eq!(sorted(rows), ROWS);
    let shard = Some(sync::request::Shard { num: 4, total: 3 });
    let none = sync::Request { shard, ..request(None) };
    let mut answers = shop.caller.0.clone().sync(none).await.unwrap().into_inner();
    let error = answers.message().await.unwrap_err();
    assert!(error.message().contains("there is no shard 4 of 3"), "{error}");
    let backend = request(None);
    let half = sync::BackendOptions {
        table_name: "t".to_owned(),
        connection: String::new(),
    };
    let refused = sync::Request {
        backend: Some(half),
        ..backend
    };
    let mut answers = shop.caller.0.clone().sync(refused).await.unwrap().into_inner();
    let error = answers.message().await.unwrap_err();
    assert!(error.message().starts_with("failed to sync records:"), "{error}");
}

//! How fast the source reads, and how soon. Run by hand:
//! `cargo test --release -p highwater-plugin-sqlite --test source speed -- --ignored --nocapture`

use std::time::{Duration, Instant};

use api::{ReadExisting, Share};
use model::StreamId;

use crate::driver::App;

const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, customer INT, amount REAL, status TEXT, note TEXT, a INT, b INT, c TEXT, d REAL, e TEXT)";

fn rows(count: usize, from: usize) -> String {
    format!(
        "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {from} + {count} - 1)
         INSERT INTO t SELECT i, i % 1000, i * 0.01, 'paid', 'note for order ' || i, i, NULL, 'c' || (i % 50), 1.5, NULL FROM n"
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn reading_speed() {
    const ROWS: usize = 1_000_000;
    let mut app = App::new(TABLE, &["t"]);
    app.changeset_bytes_max = 8 << 20;
    app.spec["page_rows"] = 1_000_000.into();
    app.run(&rows(ROWS, 1));
    let (opened, _scratch) = app.open(&[], &Share::alone(64 << 20)).await.unwrap();
    let mut reader = opened.reader;
    let request = ReadExisting {
        streams: vec![StreamId::new("t")],
        destinations: None,
        empty_first: true,
    };
    opened.control.read_existing(request).await.unwrap();
    let begun = Instant::now();
    let mut count = 0;
    while count < ROWS {
        count += reader.next().await.unwrap().unwrap().changeset.row_count();
    }
    println!(
        "existing rows: {:.0} rows/s",
        ROWS as f64 / begun.elapsed().as_secs_f64()
    );
    for (what, sql) in [
        ("inserts, one transaction", rows(ROWS, ROWS + 1)),
        (
            "updates, one transaction",
            format!("UPDATE t SET amount = amount + 1 WHERE id <= {ROWS}"),
        ),
        ("deletes, one transaction", format!("DELETE FROM t WHERE id <= {ROWS}")),
    ] {
        // The writer is not part of what is measured, so it is done before the source reads on.
        let begun = Instant::now();
        app.run(&sql);
        let written = begun.elapsed();
        let begun = Instant::now();
        let mut count = 0;
        while count < ROWS {
            count += reader.next().await.unwrap().unwrap().changeset.row_count();
        }
        println!(
            "{what}: written at {:.0} rows/s, read at {:.0} rows/s",
            ROWS as f64 / written.as_secs_f64(),
            ROWS as f64 / begun.elapsed().as_secs_f64()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn time_from_commit_to_changeset() {
    let app = App::new(TABLE, &["t"]);
    let (opened, _scratch) = app.open(&[], &Share::alone(64 << 20)).await.unwrap();
    let mut reader = opened.reader;
    for pause in [Duration::from_millis(5), Duration::from_millis(200)] {
        let mut took = Vec::new();
        for i in 0..200 {
            tokio::time::sleep(pause).await;
            let begun = Instant::now();
            app.run(&rows(1, 1_000_000 + i + took.capacity() * 1_000));
            app.run("DELETE FROM t");
            let mut seen = 0;
            while seen < 2 {
                seen += reader.next().await.unwrap().unwrap().changeset.row_count();
            }
            took.push(begun.elapsed());
        }
        took.sort();
        println!(
            "commit to changeset, a commit every {pause:?}: p50 {:?} p99 {:?}",
            took[100], took[198]
        );
    }
}

#[test]
#[ignore = "measures"]
fn cost_of_the_triggers() {
    const ROWS: usize = 300_000;
    let time = |app: &App| {
        let mut figures = Vec::new();
        for sql in [
            rows(ROWS, 1),
            "UPDATE t SET amount = amount + 1".to_owned(),
            "UPDATE t SET id = id + 10000000".to_owned(),
            "DELETE FROM t".to_owned(),
        ] {
            let begun = Instant::now();
            app.run(&sql);
            figures.push(begun.elapsed().as_secs_f64());
        }
        figures
    };
    let plain = App::new(TABLE, &["t"]);
    let captured = App::new(TABLE, &["t"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    drop(runtime.block_on(captured.open(&[], &Share::alone(1 << 20))).unwrap());
    time(&plain);
    let (without, with) = (time(&plain), time(&captured));
    for (i, what) in ["insert", "update", "update of the key", "delete"]
        .into_iter()
        .enumerate()
    {
        println!(
            "{what}: {:.2} us a row, {:.1} x without triggers",
            with[i] * 1e6 / ROWS as f64,
            with[i] / without[i]
        );
    }
}

//! How fast the log is decoded and existing rows are read, into batches that are thrown away. Prints; run it alone, with
//! `--ignored --nocapture --test-threads 1`.

use std::time::{Duration, Instant};

use api::Share;
use api::testing::Replica;
use model::Body;

use crate::changes::app;
use crate::driver::{App, Run};

const ROWS: usize = 500_000;

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

const TABLE: &str =
    "CREATE TABLE t(id bigint PRIMARY KEY, customer int, name text, at timestamptz, price numeric(10, 2), paid bool)";

fn rows(from: usize, to: usize) -> String {
    format!(
        "INSERT INTO t SELECT g, g / 7, 'customer number ' || g, now(), g % 10000 / 7.0, g % 3 = 0 FROM generate_series({from}, {to}) g"
    )
}

/// Takes changesets until so many rows were in them, and throws them away.
async fn measure(run: &mut Run, what: &str) {
    let (since, before) = (Instant::now(), cpu());
    let mut count = 0;
    while count < ROWS {
        let changeset = run.next().await.unwrap().unwrap();
        if matches!(changeset.body, Body::Rows(_)) {
            count += changeset.row_count();
        }
    }
    let (wall, used) = (since.elapsed(), cpu() - before);
    println!(
        "{what}: {:.0} rows/s, {:.2} us of CPU a row",
        ROWS as f64 / wall.as_secs_f64(),
        used.as_micros() as f64 / ROWS as f64
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn decode_of_a_backlog_is_measured() {
    let mut app = app!(TABLE, ["t"]);
    app.changeset_bytes_max = 4 << 20;
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["t"]).await;
    drop(run);
    for block in 0..ROWS / 1000 {
        app.run(&rows(block * 1000 + 1, (block + 1) * 1000)).await;
    }
    for round in 0..3 {
        let mut run = Run::with_memory(&app, &replica, &Share::alone(256 << 20)).await;
        measure(&mut run, &format!("decode, round {round}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn read_of_existing_rows_is_measured() {
    let mut app = app!(TABLE, ["t"]);
    app.changeset_bytes_max = 4 << 20;
    app.spec["page_rows"] = 50_000.into();
    app.run(&rows(1, ROWS)).await;
    app.run("VACUUM ANALYZE t").await;
    for (connections, order) in [(1, "key"), (1, "disk"), (4, "key"), (4, "disk")] {
        app.spec["connections"] = connections.into();
        app.spec["read_order"] = order.into();
        let mut run = Run::with_memory(&app, &Replica::new(), &Share::alone(256 << 20)).await;
        measure(
            &mut run,
            &format!("existing rows, {connections} connections, by {order}"),
        )
        .await;
        drop(run);
        app.source().forget(&"shop".into()).await.unwrap();
    }
}

//! Memory of a large transaction, and, on request, speed.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use api::conformance::{Session, sample};
use api::{DestinationOptions, WriteMode};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};
use highwater_plugin_sqlite::destination::SqliteDestination;
use model::{Batch, ChangeSet, Commit, Delta, Op, Ops, Part, StreamId, StreamSchema};

const VICTIM: &str = "HIGHWATER_TEST_LARGE_TRANSACTION";

/// Ten columns, as the facts' figures have them.
fn wide() -> Arc<StreamSchema> {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        field("customer", DataType::Int64),
        field("quantity", DataType::Int64),
        field("price", DataType::Float64),
        field("discount", DataType::Float64),
        field("is_paid", DataType::Boolean),
        field("name", DataType::Utf8),
        field("email", DataType::Utf8),
        field("note", DataType::Utf8),
        field("created_at", DataType::Utf8),
    ];
    sample::schema(StreamId::new("wide"), fields, ["id"])
}

fn batch(schema: &Arc<StreamSchema>, first: i64, rows: i64, op: Op, note: usize) -> Batch {
    let ids = first..first + rows;
    let note = "n".repeat(note);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(Int64Array::from_iter_values(ids.clone().map(|id| id % 1_000))),
        Arc::new(Int64Array::from_iter(
            ids.clone().map(|id| (id % 10 > 0).then_some(id % 10)),
        )),
        Arc::new(Float64Array::from_iter_values(ids.clone().map(|id| id as f64 / 100.0))),
        Arc::new(Float64Array::from_iter_values(
            ids.clone().map(|id| (id % 50) as f64 / 10.0),
        )),
        Arc::new(BooleanArray::from_iter(ids.clone().map(|id| Some(id % 3 == 0)))),
        Arc::new(StringArray::from_iter_values(
            ids.clone().map(|id| format!("customer {id}")),
        )),
        Arc::new(StringArray::from_iter_values(
            ids.clone().map(|id| format!("c{id}@example.com")),
        )),
        Arc::new(StringArray::from_iter_values(ids.clone().map(|_| note.as_str()))),
        Arc::new(StringArray::from_iter_values(ids.map(|_| "2026-01-02 03:04:05"))),
    ];
    let order = sample::position(1).order;
    Batch {
        partition: sample::log(),
        page: 0,
        schema: Arc::clone(schema),
        rows: RecordBatch::try_new(Arc::clone(schema.arrow()), columns).unwrap(),
        ops: Ops::all(op, rows as usize),
        before: None,
        unavailable: None,
        commits: vec![Commit {
            row_end: rows as usize,
            order,
            time: sample::time_of(order),
        }],
        page_tags: Vec::new(),
    }
}

async fn open(path: &Path, write: WriteMode) -> Session {
    let options = DestinationOptions {
        write: Some(write),
        ..DestinationOptions::default()
    };
    Session::open(
        Box::new(SqliteDestination::new(path.to_owned(), options)),
        &sample::lane(),
    )
    .await
    .unwrap()
}

/// One field of `/proc/self/status`, in KiB.
fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// No test: what the measured process runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn measured_process_writes_one_large_transaction() {
    let Some(path) = std::env::var_os(VICTIM) else {
        return;
    };
    const PARTS: i64 = 48;
    const ROWS: i64 = 4_000;
    let schema = wide();
    let mut session = open(Path::new(&path), WriteMode::Upsert).await;
    let before = status_kib("VmRSS");
    let mut bytes = 0;
    for part in 0..PARTS {
        // Keys far apart, so that pages are read again after they were spilled.
        let batch = batch(&schema, part % 2 * 1_000_000 + part * ROWS, ROWS, Op::Insert, 600);
        let changeset = match part {
            0 => ChangeSet::part(Part::First, Delta::none(), vec![batch]),
            part if part == PARTS - 1 => ChangeSet::part(Part::Last, sample::delta(None, 1), vec![batch]),
            _ => ChangeSet::part(Part::Middle, Delta::none(), vec![batch]),
        };
        bytes += changeset.size_bytes;
        session.write(changeset).await.unwrap();
    }
    session.commit().await.unwrap();
    let peak = status_kib("VmHWM");
    println!(
        "transaction {} MiB, resident {} KiB before, {} KiB at most",
        bytes >> 20,
        before,
        peak
    );
    assert!(bytes > 128 << 20, "{bytes}");
    assert!(peak < before + (40 << 10), "{peak} KiB at most, {before} KiB before");
    session.close().await.unwrap();
}

#[test]
fn transaction_larger_than_the_cache_stays_out_of_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy.db");
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "speed::measured_process_writes_one_large_transaction",
            "--nocapture",
        ])
        .env(VICTIM, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let conn = rusqlite::Connection::open(&path).unwrap();
    let count: i64 = conn
        .query_row("SELECT count(*) FROM wide", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 48 * 4_000, "{said}");
}

/// CPU time of this process, all threads.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(") ").next().unwrap();
    let ticks: Vec<f64> = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|t| t.parse().unwrap())
        .collect();
    (ticks[0] + ticks[1]) / 100.0
}

/// Prints figures; run with `cargo test --release -- --ignored --nocapture speed::rows_per_second`.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "prints figures and takes a while"]
async fn rows_per_second() {
    const ROWS: i64 = 400_000;
    const BATCH: i64 = 8_192;
    let schema = wide();
    let batches: Vec<Batch> = (0..ROWS / BATCH)
        .map(|at| batch(&schema, at * BATCH, BATCH, Op::Insert, 40))
        .collect();
    let rows = ROWS / BATCH * BATCH;
    let report = |what: &str, cpu: f64, wall: f64| {
        println!(
            "{what:<28} {:.2} us CPU a row, {:.0} rows/s",
            cpu * 1e6 / rows as f64,
            rows as f64 / wall
        );
    };
    let directory = tempfile::tempdir().unwrap();
    for (name, write) in [("upsert", WriteMode::Upsert), ("append", WriteMode::Append)] {
        let path = directory.path().join(format!("{name}.db"));
        for again in ["new rows", "the same rows"] {
            let mut session = open(&path, write).await;
            let (cpu, started) = (cpu_seconds(), Instant::now());
            for (at, batch) in (1..).zip(&batches) {
                let from = (at > 1).then_some(at - 1);
                session
                    .apply(sample::changeset(from, at, [batch.clone()]))
                    .await
                    .unwrap();
            }
            report(
                &format!("{name}, {again}"),
                cpu_seconds() - cpu,
                started.elapsed().as_secs_f64(),
            );
            session.close().await.unwrap();
        }
    }
    let mut session = open(&directory.path().join("small.db"), WriteMode::Upsert).await;
    let (cpu, started) = (cpu_seconds(), Instant::now());
    for (at, batch) in (1..).zip(&batches) {
        let from = (at > 1).then_some(at - 1);
        let pieces = (0..batch.len())
            .step_by(31)
            .map(|row| batch.slice(row..(row + 31).min(batch.len())));
        session.apply(sample::changeset(from, at, pieces)).await.unwrap();
    }
    report(
        "upsert, 31 rows a batch",
        cpu_seconds() - cpu,
        started.elapsed().as_secs_f64(),
    );
    session.close().await.unwrap();
    let mut session = open(&directory.path().join("upsert.db"), WriteMode::Mirror).await;
    let (cpu, started) = (cpu_seconds(), Instant::now());
    session.apply(sample::begin_read(&schema, 2, false)).await.unwrap();
    for (number, batch) in (1..).zip(&batches) {
        let page = model::Page::new(0, number);
        let page_batch = sample::page(&schema, 2, page, 1, &[]);
        let page_batch = Batch {
            rows: batch.rows.clone(),
            ops: Ops::all(Op::Read, batch.len()),
            commits: batch.commits.clone(),
            ..page_batch
        };
        let delta = sample::page_delta(schema.stream(), 2, page);
        session.apply(ChangeSet::rows(delta, vec![page_batch])).await.unwrap();
    }
    report(
        "mirror, the same rows",
        cpu_seconds() - cpu,
        started.elapsed().as_secs_f64(),
    );
    let (cpu, started) = (cpu_seconds(), Instant::now());
    session.apply(sample::end_read(schema.stream(), 2)).await.unwrap();
    report(
        "mirror, end of the read",
        cpu_seconds() - cpu,
        started.elapsed().as_secs_f64(),
    );
    session.close().await.unwrap();
    let conn = rusqlite::Connection::open(directory.path().join("select.db")).unwrap();
    let create = "PRAGMA journal_mode = wal; PRAGMA synchronous = FULL; CREATE TABLE wide (id INTEGER PRIMARY KEY, customer INTEGER, \
        quantity INTEGER, price REAL, discount REAL, is_paid BOOLEAN, name TEXT, email TEXT, note TEXT, created_at TEXT)";
    conn.execute_batch(create).unwrap();
    let attach = format!("ATTACH '{}' AS source", directory.path().join("upsert.db").display());
    conn.execute_batch(&attach).unwrap();
    let (cpu, started) = (cpu_seconds(), Instant::now());
    conn.execute_batch("INSERT INTO wide SELECT * FROM source.wide")
        .unwrap();
    report(
        "INSERT ... SELECT",
        cpu_seconds() - cpu,
        started.elapsed().as_secs_f64(),
    );
    let (cpu, started) = (cpu_seconds(), Instant::now());
    conn.execute_batch("DELETE FROM wide; INSERT INTO wide SELECT * FROM source.wide WHERE true")
        .unwrap();
    report(
        "DELETE; INSERT ... SELECT",
        cpu_seconds() - cpu,
        started.elapsed().as_secs_f64(),
    );
}

//! Figures beside the limit that each is measured against, in one run: `cargo run --release -p highwater-benches -- all`.
//!
//! | command | figure | limit |
//! |---|---|---|
//! | `hop` | one and three hops with credit | ractor's own cast; a bounded tokio channel |
//! | `changesets` | generated rows to `null`, checkpoints on disk | the same, checkpoints in memory |
//! | `sqlite` | SQLite to SQLite rows a second | `INSERT ... SELECT` between the two files in one process |
//! | `parquet` | SQLite to Parquet rows a second | a plain read-and-write loop on the same crates |
//! | `latency` | commit at the source to visible at the destination, p50 and p99 at a steady rate | 30 ms |
//! | `memory` | resident set with one destination throttled | the budget + 64 MiB |
//! | `process` | start to first row, idle resident set of the built binary | 0.3 s, 40 MiB |
//! | `pg-decode` | PostgreSQL's change stream to `null` | `pg_recvlogical`, and a client that reads and discards, each on a copy of the slot |
//! | `pg-snapshot` | PostgreSQL's existing rows to `null`, one and four connections | the same queries, read and discarded |
//! | `pg-apply` | a backlog into a second server | PostgreSQL's own subscription |
//! | `pg-fan-out` | a backlog into three destinations | into one |
//! | `pg-latency` | commit at the source to visible at the destination, 5,000 rows a second | 50 ms |
//! | `cq-records` | from plugin to plugin, CPU per million rows at 1, 50 and 10,000 rows a record, and 50 columns | CloudQuery's runtime |
//! | `cq-fan-out` | the same into four destinations | into one |
//! | `cq-guard` | a payload checked and read | Arrow's reader, unchecked |
//! | `cq-empty` | a sync without rows | 0.3 s |
//!
//! Absolute times on a shared machine mean little: look at the ratios. Each figure is the median of three runs.

mod changesets;
mod cloudquery;
mod copy;
mod figure;
mod generator;
mod hop;
mod latency;
mod memory;
mod postgres;
mod process;
mod rig;

use std::process::{Command, ExitCode};

type Bench = fn() -> rig::Result<()>;

const BENCHES: &[(&str, Bench)] = &[
    ("hop", hop::run),
    ("changesets", changesets::run),
    ("sqlite", copy::to_sqlite),
    ("parquet", copy::to_parquet),
    ("latency", latency::run),
    ("memory", memory::run),
    ("process", process::run),
    ("pg-decode", postgres::decode),
    ("pg-snapshot", postgres::snapshot),
    ("pg-apply", postgres::apply),
    ("pg-fan-out", postgres::fan_out),
    ("pg-latency", postgres::latency),
    ("cq-records", cloudquery::records),
    ("cq-fan-out", cloudquery::fan_out),
    ("cq-guard", cloudquery::guard),
    ("cq-empty", cloudquery::empty),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.iter().any(|w| w == name || w == "all");
    if !BENCHES.iter().any(|(name, _)| is_wanted(name)) {
        let names: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        eprintln!("usage: highwater-bench all | {}", names.join(" | "));
        return ExitCode::from(2);
    }
    let is_alone = wanted.len() == 1 && wanted[0] != "all";
    for (name, run) in BENCHES.iter().filter(|(name, _)| is_wanted(name)) {
        // A process for each, so that none measures what another one left in memory.
        let outcome = if is_alone {
            alone(name, *run)
        } else {
            in_a_process(name)
        };
        if let Err(error) = outcome {
            eprintln!("  {name} failed: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn alone(name: &str, run: Bench) -> rig::Result<()> {
    println!("\n{name}");
    run()
}

fn in_a_process(name: &str) -> rig::Result<()> {
    let status = Command::new(std::env::current_exe()?).arg(name).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("ended with {status}").into()),
    }
}

//! The change stream to `null`, against clients that only read and discard, each on a copy of the same slot.

use std::process::Stdio;
use std::time::{Duration, Instant};

use postgres::replication::{Frame, Lsn, StreamOptions};
use serde_json::json;

use super::cpu_micros;
use super::server::{Backlog, NAME, rows, settings};
use crate::figure;
use crate::memory::resident_bytes;
use crate::rig::{Result, Rig, block_on, until_rows};

const ROWS: i64 = 1_000_000;
const TRANSACTION_ROWS: i64 = 1_000;

pub(crate) fn run() -> Result<()> {
    let write: Vec<String> = (0..ROWS / TRANSACTION_ROWS)
        .map(|at| rows(at * TRANSACTION_ROWS + 1, (at + 1) * TRANSACTION_ROWS))
        .collect();
    // The backlog's own connection lives on it.
    let runtime = crate::rig::tokio_runtime()?;
    let backlog = runtime.block_on(Backlog::make(vec![("sink", Rig::new("null", json!({})))], &write))?;
    let (mut cpu, mut resident) = (Vec::new(), 0);
    let [ours, theirs, minimal] = figure::medians([
        &mut || {
            let (rate, micros, bytes) = ours(&backlog)?;
            cpu.push(micros);
            resident = resident.max(bytes);
            Ok(rate)
        },
        &mut || pg_recvlogical(&backlog),
        &mut || minimal(&backlog),
    ])?;
    let limit = if theirs > minimal {
        ("pg_recvlogical > /dev/null", theirs)
    } else {
        ("read and discard", minimal)
    };
    figure::print(
        "PostgreSQL change stream to null",
        ours,
        "rows/s",
        limit.0,
        limit.1,
        ">= 0.95",
    );
    let other = if theirs > minimal {
        ("read and discard", minimal)
    } else {
        ("pg_recvlogical > /dev/null", theirs)
    };
    figure::print(
        "PostgreSQL change stream to null",
        ours,
        "rows/s",
        other.0,
        other.1,
        "beside it",
    );
    cpu.sort_by(f64::total_cmp);
    println!(
        "  our CPU per change row {:>33.2} us  (aim <= 4); resident {} MiB",
        cpu[cpu.len() / 2],
        resident >> 20
    );
    Ok(())
}

fn ours(backlog: &Backlog) -> Result<(f64, f64, usize)> {
    block_on(async {
        let state = backlog.state()?;
        let (started, cpu) = (Instant::now(), cpu_micros()?);
        let runtime = backlog
            .runtime(state.path(), vec![("sink", Rig::new("null", json!({})))])
            .await?;
        until_rows(&runtime, ROWS).await?;
        let (took, cpu) = (started.elapsed(), cpu_micros()? - cpu);
        let resident = resident_bytes()?;
        runtime.drain(Duration::from_secs(60)).await;
        Ok((ROWS as f64 / took.as_secs_f64(), cpu / ROWS as f64, resident))
    })
}

fn pg_recvlogical(backlog: &Backlog) -> Result<f64> {
    const SLOT: &str = "bench_recvlogical";
    block_on(backlog.slot(SLOT))?;
    let mut command = backlog
        .server
        .program("pg_recvlogical")
        .ok_or("pg_recvlogical is not installed")?;
    command
        .args([
            "-d",
            &backlog.server.url("postgres"),
            "-S",
            SLOT,
            "--start",
            "--no-loop",
            "-f",
            "/dev/null",
        ])
        .args([
            "-o",
            "proto_version=1",
            "-o",
            &format!("publication_names={NAME}"),
            "-o",
            "binary=true",
        ])
        .args(["--endpos", &backlog.end])
        .stdout(Stdio::null());
    let started = Instant::now();
    let status = command.status()?;
    let took = started.elapsed();
    if !status.success() {
        return Err(format!("pg_recvlogical ended with {status}").into());
    }
    block_on(backlog.drop_slot(SLOT))?;
    Ok(ROWS as f64 / took.as_secs_f64())
}

fn minimal(backlog: &Backlog) -> Result<f64> {
    const SLOT: &str = "bench_minimal";
    block_on(async {
        backlog.slot(SLOT).await?;
        let end: Lsn = backlog.end.parse()?;
        let started = Instant::now();
        let connection = settings(&backlog.server)?.replicate().await?;
        let options = StreamOptions {
            streaming: postgres::replication::Streaming::Off,
            ..StreamOptions::newest(connection.major(), vec![NAME.to_owned()])
        };
        let mut stream = connection.start(SLOT, Lsn::ZERO, &options).await?;
        let mut commits = 0;
        while commits < ROWS / TRANSACTION_ROWS {
            match stream.next().await? {
                Frame::Data(data) if data.bytes.first() == Some(&b'C') => commits += 1,
                Frame::Keepalive(keepalive) if keepalive.wal_end >= end => break,
                Frame::Data(_) | Frame::Keepalive(_) => {}
            }
        }
        let took = started.elapsed();
        drop(stream);
        tokio::time::sleep(Duration::from_millis(200)).await;
        backlog.drop_slot(SLOT).await?;
        Ok(ROWS as f64 / took.as_secs_f64())
    })
}

//! From plugin to plugin through the built binary: what it needs for a million rows, beside what CloudQuery's own runtime needs.
//!
//! That one's figures are of two cores, taken once; what matters is the ratio of CPU, not of time.

mod guard;
mod peer;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::figure;
use crate::rig::Result;
use peer::{Peer, Records};

pub(crate) use guard::run as guard;

/// What a sync took.
#[derive(Clone, Copy)]
struct Took {
    seconds: f64,
    /// Of our process alone.
    cpu_seconds: f64,
}

fn binary() -> Result<Option<PathBuf>> {
    let binary = std::env::current_exe()?.with_file_name("highwater");
    if binary.exists() {
        return Ok(Some(binary));
    }
    println!("  skipped: build the binary first with `cargo build --release`");
    Ok(None)
}

/// The CPU of all children that have ended.
fn children_cpu_seconds() -> Result<f64> {
    // The kernel's own unit, whatever the clock is.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name may have spaces in it, and ends with a bracket; `cutime` and `cstime` are the fields 16 and 17.
    let behind_name = stat.rsplit(") ").next().unwrap_or_default();
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).ok_or("a field is missing");
    Ok((field(16)?.parse::<f64>()? + field(17)?.parse::<f64>()?) / TICKS_PER_SECOND)
}

/// One sync into so many destinations, which must get every row.
fn sync(binary: &Path, records: &Records, rows: u64, destinations: usize) -> Result<Took> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let peer = Peer::new(records.clone());
    let written = peer.written.clone();
    let address = runtime.block_on(peer.serve())?;
    let dir = tempfile::tempdir()?;
    let plugin = format!("{{ plugin: {{ registry: grpc, path: \"{address}\" }}");
    let mut config = format!(
        "version: 1
pipelines:
  bench:
    source: {{ connector: cloudquery, spec: {plugin}, name: bench }}, streams: [\"*\"] }}
    destinations:
"
    );
    for number in 0..destinations {
        config.push_str(&format!(
            "      copy{number}: {{ connector: cloudquery, spec: {plugin} }} }}\n"
        ));
    }
    let file = dir.path().join("highwater.yaml");
    std::fs::write(&file, config)?;
    let before = children_cpu_seconds()?;
    let started = Instant::now();
    let output = Command::new(binary)
        .args(["sync", "-q", "-c"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    let took = Took {
        seconds: started.elapsed().as_secs_f64(),
        cpu_seconds: children_cpu_seconds()? - before,
    };
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    let (got, expected) = (written.load(Ordering::Relaxed), rows * destinations as u64);
    match got == expected {
        true => Ok(took),
        false => Err(format!("{got} rows arrived of {expected}").into()),
    }
}

/// The median by CPU of three.
fn median(mut measure: impl FnMut() -> Result<Took>) -> Result<Took> {
    let mut all = [measure()?, measure()?, measure()?];
    all.sort_by(|a, b| a.cpu_seconds.total_cmp(&b.cpu_seconds));
    Ok(all[1])
}

/// One, 50 and 10,000 rows a record, and 50 columns.
pub(crate) fn records() -> Result<()> {
    let Some(binary) = binary()? else { return Ok(()) };
    // Columns, rows a record, records, what CloudQuery's runtime needs for a million rows, and the part of it that we aim at.
    for (columns, rows, count, theirs, part) in [
        (5, 1, 300_000, 219.0, 20.0),
        (5, 50, 40_000, 5.3, 4.0),
        (5, 10_000, 1_000, 0.77, 2.0),
        (50, 50, 10_000, 23.0, 4.0),
    ] {
        let records = Records::new(columns, rows, count)?;
        let all = rows as u64 * count;
        let took = median(|| sync(&binary, &records, all, 1))?;
        let millions = all as f64 / 1e6;
        println!(
            "  {columns:>2} columns, {rows:>6} rows a record      {:>10.0} rows/s, CPU {:>7.3} s per million rows | CloudQuery's runtime \
             {theirs:>6.2} s | ratio 1/{:<5.1} (aim 1/{part})",
            all as f64 / took.seconds,
            took.cpu_seconds / millions,
            theirs / (took.cpu_seconds / millions),
        );
    }
    Ok(())
}

/// One destination against four.
pub(crate) fn fan_out() -> Result<()> {
    let Some(binary) = binary()? else { return Ok(()) };
    for (rows, count) in [(50, 40_000), (10_000, 500)] {
        let records = Records::new(5, rows, count)?;
        let all = rows as u64 * count;
        let one = median(|| sync(&binary, &records, all, 1))?;
        let four = median(|| sync(&binary, &records, all, 4))?;
        let millions = all as f64 / 1e6;
        figure::print(
            &format!("four destinations, {rows} rows a record, CPU"),
            four.cpu_seconds / millions * 1e3,
            "ms/M",
            "one",
            one.cpu_seconds / millions * 1e3,
            "< 4, as the bytes are made once",
        );
    }
    Ok(())
}

/// A sync of a table without rows.
pub(crate) fn empty() -> Result<()> {
    let Some(binary) = binary()? else { return Ok(()) };
    let records = Records::new(5, 1, 0)?;
    let seconds = figure::median(|| Ok(sync(&binary, &records, 0, 1)?.seconds))?;
    println!(
        "  an empty sync, plugins running                    {:.0} ms  (aim < 300 ms)",
        seconds * 1e3
    );
    Ok(())
}

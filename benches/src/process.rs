//! The built binary from outside: start to first row, and what it holds when idle.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::figure;
use crate::rig::{Result, database};

pub(crate) fn run() -> Result<()> {
    let binary = std::env::current_exe()?.with_file_name("highwater");
    if !binary.exists() {
        println!("  skipped: build the binary first with `cargo build --release`");
        return Ok(());
    }
    let start = figure::median(|| Ok(start_to_first_row(&binary)?.0 * 1e3))?;
    println!("  start to first row                                {start:.0} ms  (aim < 300 ms)");
    let (_, idle) = start_to_first_row(&binary)?;
    println!(
        "  idle resident set                                 {} MiB  (aim <= 40 MiB)",
        idle >> 20
    );
    Ok(())
}

/// Ends the process whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_to_first_row(binary: &PathBuf) -> Result<(f64, usize)> {
    let dir = tempfile::tempdir()?;
    database(&dir.path().join("source.db"), 1_000)?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    std::fs::write(
        dir.path().join("highwater.yaml"),
        format!(
            "version: 1
runtime: {{ admin: {{ listen: \"127.0.0.1:{port}\" }} }}
pipelines:
  bench:
    source: {{ connector: sqlite, spec: {{ path: ./source.db }}, streams: [items] }}
    destinations: {{ copy: {{ connector: sqlite, spec: {{ path: ./copy.db }} }} }}
"
        ),
    )?;
    let started = Instant::now();
    let child = Command::new(binary)
        .args(["run", "-q", "-c"])
        .arg(dir.path().join("highwater.yaml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let running = Running(child);
    let copy = dir.path().join("copy.db");
    let first_row = loop {
        if started.elapsed() > Duration::from_secs(30) {
            return Err("no row after 30 s".into());
        }
        let count = rusqlite::Connection::open_with_flags(&copy, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .and_then(|db| db.query_row("SELECT count(*) FROM items", [], |row| row.get::<_, i64>(0)));
        if count.is_ok_and(|count| count > 0) {
            break started.elapsed().as_secs_f64();
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    std::thread::sleep(Duration::from_secs(3));
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.0.id()))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .ok_or("no VmRSS")?;
    let kib: usize = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok((first_row, kib * 1024))
}

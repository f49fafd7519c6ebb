//! How far a SQLite destination is behind, measured from outside: by looking at both databases.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use crate::shop::Table;

/// How often the two are looked at; the measure's resolution.
const EVERY: Duration = Duration::from_millis(20);

/// Looks at source and destination until `is_over`; the lags that were seen, smallest first.
///
/// The lag is the age of the oldest transaction that the source shows and the destination does not.
pub fn watch(source: &Path, destination: &Path, mut is_over: impl FnMut() -> bool) -> rusqlite::Result<Lags> {
    let open = |path| -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        Ok(connection)
    };
    let (source, destination) = (open(source)?, open(destination)?);
    let mut pending: VecDeque<(i64, Instant)> = VecDeque::new();
    let mut newest = last_mark(&source)?;
    let mut lags = Vec::new();
    while !is_over() {
        let at_source = last_mark(&source)?;
        let now = Instant::now();
        if at_source > newest {
            pending.push_back((newest + 1, now));
            newest = at_source;
        }
        let shown = last_mark(&destination)?;
        // An entry stands for the transactions from its number to the next entry's.
        while pending.get(1).map_or(newest, |(next, _)| next - 1) <= shown && pending.pop_front().is_some() {}
        lags.push(pending.front().map_or(Duration::ZERO, |(_, since)| since.elapsed()));
        std::thread::sleep(EVERY);
    }
    lags.sort();
    Ok(Lags(lags))
}

fn last_mark(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = format!("SELECT coalesce(max(txn), 0) FROM {}", Table::Mark);
    connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))
}

/// Lags that were seen, smallest first.
#[derive(Debug)]
pub struct Lags(Vec<Duration>);

impl Lags {
    /// The lag that this share of the looks did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share) as usize).copied().unwrap_or_default()
    }

    /// How many looks there were.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

//! Commits a workload to a real SQLite file, at a given pace, and notes where in the change log each transaction lies.
//!
//! It runs in a process of its own (`chaos-writer`), as a user's application would. Killed at any moment and started
//! again, it goes on after the last transaction that the database has.
//!
//! # What is stored
//!
//! `LOG`: one record of 24 bytes for each transaction, little-endian: its number (`u64`), and the newest `seq` of the change
//! table when it began and when it was about to commit (`i64` each; 0 while nothing is captured). The database has one writer
//! at a time, so all change rows of the transaction lie in between. Written before the commit: the last record may be
//! one of a transaction that did not happen.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::shop::Table;
use crate::state::{BATCH_ROWS_MAX, Statement};
use crate::value::Value;
use crate::workload::{Profile, Transaction, Workload};

/// What the writer is told.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The database.
    pub database: PathBuf,
    /// Where positions are noted.
    pub log: PathBuf,
    /// What is written.
    pub profile: Profile,
    /// Transactions a second; 0 for as fast as it goes.
    pub rate: f64,
    /// After which transaction to stop; `None` to go on for ever.
    pub until: Option<u64>,
    /// The pipeline whose change table says where a transaction lies.
    pub pipeline: String,
}

impl Orders {
    /// As command line arguments.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            self.database.display().to_string(),
            self.log.display().to_string(),
            self.pipeline.clone(),
        ];
        let Profile {
            seed,
            rows_at_start,
            bulk_every,
            bulk_rows,
        } = self.profile;
        arguments.extend([
            seed.to_string(),
            rows_at_start.to_string(),
            bulk_every.to_string(),
            bulk_rows.to_string(),
        ]);
        arguments.extend([self.rate.to_string(), self.until.unwrap_or(u64::MAX).to_string()]);
        arguments
    }

    /// Reads back what [`Orders::arguments`] wrote.
    pub fn from_arguments(arguments: &[String]) -> Option<Self> {
        let [database, log, pipeline, seed, rows, every, bulk, rate, until] = arguments else {
            return None;
        };
        Some(Orders {
            database: database.into(),
            log: log.into(),
            pipeline: pipeline.clone(),
            profile: Profile {
                seed: seed.parse().ok()?,
                rows_at_start: rows.parse().ok()?,
                bulk_every: every.parse().ok()?,
                bulk_rows: bulk.parse().ok()?,
            },
            rate: rate.parse().ok()?,
            until: until.parse().ok().filter(|&until| until != u64::MAX),
        })
    }

    /// Writes in this process until `is_over` or the last transaction that was ordered.
    pub fn carry_out(&self, is_over: impl Fn() -> bool) -> rusqlite::Result<u64> {
        let mut connection = open(&self.database)?;
        let mut workload = Workload::new(self.profile);
        let committed = last_mark(&connection)?;
        while workload.committed() < committed {
            workload.next_transaction();
        }
        let mut log = PositionLog::open(&self.log, committed).map_err(as_sqlite)?;
        let changes = format!("_highwater_{}_changes", self.pipeline);
        let started = Instant::now();
        let mut done: u32 = 0;
        while !is_over() && self.until.is_none_or(|until| workload.committed() < until) {
            let transaction = workload.next_transaction();
            execute(&mut connection, &transaction, &changes, &mut log)?;
            done += 1;
            if self.rate > 0.0 {
                let due = started + Duration::from_secs_f64(f64::from(done) / self.rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        Ok(workload.committed())
    }

    /// Starts the writer as a process of its own.
    pub fn start(&self, program: &Path) -> io::Result<Writer> {
        let mut command = Command::new(program);
        command
            .args(self.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        Writer::spawn(command)
    }
}

/// A running writer. It stops when this is dropped, or when the process that holds this dies.
pub struct Writer {
    child: Child,
    leash: Option<ChildStdin>,
}

/// Whether the one who started this process let go of its standard input, or is gone.
pub fn leash() -> impl Fn() -> bool {
    let is_over = Arc::new(AtomicBool::new(false));
    let held = is_over.clone();
    // Ends with the process.
    std::thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        held.store(true, Ordering::Relaxed);
    });
    move || is_over.load(Ordering::Relaxed)
}

impl Writer {
    /// Starts a writer that stops when its standard input, a pipe, is closed.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let leash = child.stdin.take();
        Ok(Writer { child, leash })
    }

    /// Lets it finish its transaction and waits for it.
    pub fn stop(mut self) -> io::Result<()> {
        self.leash.take();
        self.wait()
    }

    /// Waits until it has written what it was ordered to.
    pub fn wait(&mut self) -> io::Result<()> {
        let status = self.child.wait()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("the writer ended with {status}"))),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.leash.take();
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Opens a database as an application would, and makes the tables that are missing.
pub fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(60))?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // Statements by name: each table has few of them.
    connection.set_prepared_statement_cache_capacity(128);
    for table in Table::ALL {
        let ddl = table
            .definition()
            .ddl
            .replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1);
        connection.execute_batch(&ddl)?;
    }
    Ok(connection)
}

/// The number of the last transaction that the database has.
pub fn last_mark(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT coalesce(max(txn), 0) FROM txn_mark", [], |row| {
        Ok(row.get::<_, i64>(0)? as u64)
    })
}

fn execute(
    connection: &mut Connection,
    transaction: &Transaction,
    changes: &str,
    log: &mut PositionLog,
) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let before = newest_seq(connection, changes)?;
    for statement in &transaction.statements {
        run(connection, statement)?;
    }
    if transaction.is_rolled_back {
        return connection.execute_batch("ROLLBACK");
    }
    let record = Lies {
        number: transaction.number,
        after: before,
        until: newest_seq(connection, changes)?,
    };
    log.append(record).map_err(as_sqlite)?;
    connection.execute_batch("COMMIT")
}

fn newest_seq(connection: &Connection, changes: &str) -> rusqlite::Result<i64> {
    let exists = "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'";
    let exists = connection
        .prepare_cached(exists)?
        .query_row([], |_| Ok(()))
        .optional()?;
    if exists.is_none() {
        return Ok(0);
    }
    let mut newest = connection.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = ?1")?;
    Ok(newest.query_row([changes], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn run(connection: &Connection, statement: &Statement) -> rusqlite::Result<()> {
    let (sql, values) = render_sql(statement);
    connection.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    Ok(())
}

fn render_sql(statement: &Statement) -> (String, Vec<Value>) {
    let insert = |verb: &str, table: &Table| {
        let columns = table.definition().columns;
        let places = vec!["?"; columns.len()].join(", ");
        format!("{verb} INTO {table} ({}) VALUES ({places})", columns.join(", "))
    };
    let by_key = |table: &Table| {
        let definition = table.definition();
        let tests = definition
            .identity
            .iter()
            .map(|&i| format!("{} = ?", definition.columns[i]));
        tests.collect::<Vec<_>>().join(" AND ")
    };
    let update = |verb: &str, table: &Table, set: &[(usize, Value)]| {
        let columns = set
            .iter()
            .map(|(i, _)| format!("{} = ?", table.definition().columns[*i]));
        format!(
            "{verb} {table} SET {} WHERE {}",
            columns.collect::<Vec<_>>().join(", "),
            by_key(table)
        )
    };
    let set_then_key = |set: &[(usize, Value)], key: &[Value]| {
        set.iter()
            .map(|(_, value)| value)
            .chain(key)
            .cloned()
            .collect::<Vec<_>>()
    };
    match statement {
        Statement::Insert(table, row) => (insert("INSERT", table), row.to_vec()),
        Statement::InsertOrIgnore(table, row) => (insert("INSERT OR IGNORE", table), row.to_vec()),
        Statement::Replace(table, row) => (insert("INSERT OR REPLACE", table), row.to_vec()),
        Statement::Upsert(table, row) => {
            let definition = table.definition();
            let key = definition
                .identity
                .iter()
                .map(|&i| definition.columns[i])
                .collect::<Vec<_>>()
                .join(", ");
            let set = (0..definition.columns.len()).filter(|i| !definition.identity.contains(i));
            let set = set
                .map(|i| format!("{0} = excluded.{0}", definition.columns[i]))
                .collect::<Vec<_>>()
                .join(", ");
            (
                format!("{} ON CONFLICT ({key}) DO UPDATE SET {set}", insert("INSERT", table)),
                row.to_vec(),
            )
        }
        Statement::Update(table, key, set) => (update("UPDATE", table, set), set_then_key(set, key)),
        Statement::UpdateOrReplace(table, key, set) => {
            (update("UPDATE OR REPLACE", table, set), set_then_key(set, key))
        }
        Statement::Delete(table, key) => (format!("DELETE FROM {table} WHERE {}", by_key(table)), key.to_vec()),
        Statement::FillBatch { batch, rows, rev } => {
            let sql = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1) \
                       INSERT INTO bulk (id, batch, payload, rev) \
                       SELECT ?2 * ?3 + i, ?2, printf('row %d of batch %d, and some words to give it weight', i, ?2), ?4 + i FROM n";
            (
                sql.to_owned(),
                [*rows, *batch, BATCH_ROWS_MAX, *rev].map(Value::Int).to_vec(),
            )
        }
        Statement::DropBatch { batch } => {
            let sql = "DELETE FROM bulk WHERE id >= ?1 * ?2 AND id < (?1 + 1) * ?2";
            (sql.to_owned(), [*batch, BATCH_ROWS_MAX].map(Value::Int).to_vec())
        }
    }
}

fn as_sqlite(error: io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

/// Where a transaction lies in the change log: its rows have `seq` in `(after, until]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lies {
    /// The transaction.
    pub number: u64,
    /// The newest `seq` when it began; exclusive.
    pub after: i64,
    /// The newest `seq` when it was about to commit; inclusive.
    pub until: i64,
}

impl Lies {
    const BYTES: usize = 24;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.after.to_le_bytes());
        bytes[16..].copy_from_slice(&self.until.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let part = |at: usize| bytes.get(at..at + 8)?.try_into().ok();
        Some(Lies {
            number: u64::from_le_bytes(part(0)?),
            after: i64::from_le_bytes(part(8)?),
            until: i64::from_le_bytes(part(16)?),
        })
    }
}

struct PositionLog(File);

impl PositionLog {
    /// Opens the log and cuts off what lies after the last transaction that was committed.
    fn open(path: &Path, committed: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.set_len(committed * Lies::BYTES as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok(PositionLog(file))
    }

    fn append(&mut self, record: Lies) -> io::Result<()> {
        // A transaction whose commit failed is tried again under the same number.
        self.0.seek(SeekFrom::Start((record.number - 1) * Lies::BYTES as u64))?;
        self.0.write_all(&record.to_bytes())
    }
}

/// Reads the log, from its record number `skip` on. What is being written at its end is left out.
pub fn read_positions(path: &Path, skip: usize) -> io::Result<Vec<Lies>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start((skip * Lies::BYTES) as u64))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes.chunks_exact(Lies::BYTES).filter_map(Lies::from_bytes).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::copy::read_rows;
    use crate::view::View;

    fn orders(dir: &Path, until: u64) -> Orders {
        Orders {
            database: dir.join("shop.db"),
            log: dir.join("positions"),
            profile: Profile {
                bulk_every: 50,
                bulk_rows: 300,
                ..Profile::small(3)
            },
            rate: 0.0,
            until: Some(until),
            pipeline: "shop".to_owned(),
        }
    }

    #[test]
    fn sqlite_ends_where_the_written_down_semantics_end() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(orders(dir.path(), 1_500).carry_out(|| false).unwrap(), 1_500);
        let mut workload = Workload::new(orders(dir.path(), 0).profile);
        while workload.committed() < 1_500 {
            workload.next_transaction();
        }
        let connection = open(&dir.path().join("shop.db")).unwrap();
        for table in Table::ALL {
            let mut found = read_rows(&connection, View::whole().of(table).unwrap()).unwrap();
            found.sort();
            let mut expected: Vec<_> = workload.state().rows(table).map(|(_, row)| row.clone()).collect();
            expected.sort();
            assert_eq!(found.len(), expected.len(), "{table}");
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "{table}");
            }
        }
    }

    #[test]
    fn writer_goes_on_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        for until in [40, 41, 90] {
            assert_eq!(orders(dir.path(), until).carry_out(|| false).unwrap(), until);
        }
        let positions = read_positions(&dir.path().join("positions"), 0).unwrap();
        assert_eq!(positions.len(), 90);
        assert!(positions.iter().zip(1..).all(|(lies, number)| lies.number == number));
    }

    #[test]
    fn transaction_is_found_between_the_seqs_of_its_change_rows() {
        let dir = tempfile::tempdir().unwrap();
        let connection = open(&dir.path().join("shop.db")).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE _highwater_shop_changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, txn);
                 CREATE TRIGGER t AFTER INSERT ON txn_mark BEGIN INSERT INTO _highwater_shop_changes(txn) VALUES (NEW.txn); END",
            )
            .unwrap();
        orders(dir.path(), 20).carry_out(|| false).unwrap();
        for lies in read_positions(&dir.path().join("positions"), 0).unwrap() {
            assert_eq!((lies.after, lies.until), (lies.number as i64 - 1, lies.number as i64));
        }
    }
}

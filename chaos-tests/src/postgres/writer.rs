//! Commits the history to a PostgreSQL server, and survives its restarts.
//!
//! Each transaction inserts its number into `chaos_position`, for [`Positions`](super::positions::Positions).

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::client::{Client, is_refusal};
use super::tables::{DDL, by_key, literal};
use crate::shop::Table;
use crate::state::{BATCH_ROWS_MAX, Change, Statement};
use crate::workload::{Profile, Transaction, Workload};
use crate::writer::Writer;

/// What the writer is told.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The database.
    pub url: String,
    /// What is written.
    pub profile: Profile,
    /// Transactions a second; 0 for as fast as it goes.
    pub rate: f64,
    /// After which transaction to stop; `None` to go on for ever.
    pub until: Option<u64>,
}

/// A server that is started again is back by then.
const BACK_WITHIN: Duration = Duration::from_secs(60);

impl Orders {
    /// As command line arguments.
    pub fn arguments(&self) -> Vec<String> {
        let Profile {
            seed,
            rows_at_start,
            bulk_every,
            bulk_rows,
        } = self.profile;
        let until = self.until.unwrap_or(u64::MAX);
        let mut arguments = vec![self.url.clone(), self.rate.to_string(), until.to_string()];
        arguments.extend([
            seed.to_string(),
            rows_at_start.to_string(),
            bulk_every.to_string(),
            bulk_rows.to_string(),
        ]);
        arguments
    }

    /// Reads back what [`Orders::arguments`] wrote.
    pub fn from_arguments(arguments: &[String]) -> Option<Self> {
        let [url, rate, until, seed, rows, every, bulk] = arguments else {
            return None;
        };
        Some(Orders {
            url: url.clone(),
            rate: rate.parse().ok()?,
            until: until.parse().ok().filter(|&until| until != u64::MAX),
            profile: Profile {
                seed: seed.parse().ok()?,
                rows_at_start: rows.parse().ok()?,
                bulk_every: every.parse().ok()?,
                bulk_rows: bulk.parse().ok()?,
            },
        })
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

    /// Writes in this process until `is_over` or the last transaction that was ordered.
    pub fn carry_out(&self, is_over: impl Fn() -> bool) -> io::Result<u64> {
        let (mut client, mut committed) = self.connect(&is_over)?;
        let mut workload = Workload::new(self.profile);
        let started = Instant::now();
        let mut done: u32 = 0;
        while !is_over() && self.until.is_none_or(|until| workload.committed() < until) {
            let transaction = workload.next_transaction();
            let is_new = |committed: u64| transaction.number > committed;
            while is_new(committed) {
                match execute(&client, &transaction) {
                    Ok(()) if transaction.is_rolled_back => break,
                    Ok(()) => committed = transaction.number,
                    Err(error) if is_refusal(&error) => return Err(error),
                    // Whether it was committed is seen in the database.
                    Err(_) => (client, committed) = self.connect(&is_over)?,
                }
                done += 1;
            }
            if self.rate > 0.0 {
                let due = started + Duration::from_secs_f64(f64::from(done) / self.rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        Ok(workload.committed())
    }

    fn connect(&self, is_over: &impl Fn() -> bool) -> io::Result<(Client, u64)> {
        let deadline = Instant::now() + BACK_WITHIN;
        loop {
            let attempt = Client::connect(&self.url).and_then(|client| {
                client.rows(DDL)?;
                let last = last_mark(&client)?;
                Ok((client, last))
            });
            match attempt {
                Err(_) if Instant::now() < deadline && !is_over() => std::thread::sleep(Duration::from_millis(20)),
                attempt => return attempt,
            }
        }
    }
}

/// The number of the last transaction that the database has.
pub fn last_mark(client: &Client) -> io::Result<u64> {
    let last = client.value("SELECT coalesce(max(txn), 0) FROM public.txn_mark")?;
    last.and_then(|text| text.parse().ok())
        .ok_or_else(|| io::Error::other("txn_mark has no number"))
}

/// Whether a batch goes by TRUNCATE, and not by DELETE.
fn is_truncated(batch: i64) -> bool {
    batch % 4 == 1
}

fn execute(client: &Client, transaction: &Transaction) -> io::Result<()> {
    let number = transaction.number;
    let mut statements = vec!["BEGIN".to_owned()];
    if number.is_multiple_of(5) {
        // A subtransaction that does not happen. Of large tables a part: all of one, time after time, fills the log with nothing else.
        let lost = "SAVEPOINT s; UPDATE account SET balance = balance + 1 WHERE id IN (SELECT id FROM account LIMIT 1000); \
                    DELETE FROM churn WHERE id IN (SELECT id FROM churn LIMIT 1000); ROLLBACK TO s";
        statements.push(lost.to_owned());
    }
    let is_batch =
        |statement: &&Statement| matches!(statement, Statement::FillBatch { .. } | Statement::DropBatch { .. });
    match transaction.statements.iter().find(is_batch) {
        Some(&Statement::FillBatch { batch, rows, rev }) => statements.push(format!(
            "INSERT INTO bulk SELECT {} + i, {batch}, format('row %s of batch %s, and some words to give it weight', i, {batch}), \
             {rev} + i FROM generate_series(0, {rows} - 1) i",
            batch * BATCH_ROWS_MAX
        )),
        // Batches follow each other: when one goes, the table is empty.
        Some(&Statement::DropBatch { batch }) if is_truncated(batch) => statements.push("TRUNCATE bulk".to_owned()),
        Some(Statement::DropBatch { .. }) => statements.push("DELETE FROM bulk".to_owned()),
        _ => {}
    }
    let one_by_one = transaction.changes.iter().filter(|change| change.table != Table::Bulk);
    statements.extend(one_by_one.map(render_sql));
    if transaction.is_rolled_back {
        statements.push("ROLLBACK".to_owned());
        return client.rows(&statements.join(";\n")).map(drop);
    }
    statements.push(format!("INSERT INTO chaos_position VALUES ({number});\nCOMMIT"));
    client.rows(&statements.join(";\n")).map(drop)
}

/// The statement that does one change, and touches no column that stays.
fn render_sql(change: &Change) -> String {
    let table = change.table;
    let columns = table.definition().columns;
    match (&change.before, &change.after) {
        (None, Some(after)) => {
            let values: Vec<String> = after.iter().map(literal).collect();
            format!("INSERT INTO {table} VALUES ({})", values.join(", "))
        }
        (Some(before), Some(after)) => {
            let set = (0..columns.len())
                .filter(|&i| before[i] != after[i])
                .map(|i| format!("\"{}\" = {}", columns[i], literal(&after[i])));
            let set = set.collect::<Vec<_>>().join(", ");
            format!("UPDATE {table} SET {set} WHERE {}", by_key(table, before))
        }
        (Some(before), None) => format!("DELETE FROM {table} WHERE {}", by_key(table, before)),
        (None, None) => String::new(),
    }
}

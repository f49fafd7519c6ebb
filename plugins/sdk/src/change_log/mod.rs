//! A source out of a system that keeps its tables and a log of their changes: implement [`ChangeLog`], and [`LogSource`] makes
//! the reads, the positions and the parts of large transactions of it.
//!
//! - A transaction has a number, and numbers grow. The number of the newest is the head of the log.
//! - Every table has a key. The rows of a table as they are now are read in one piece, so they have to fit into memory.
//! - While a destination lacks the rows of a table, changes of it say in which page of that read their row falls: the only one.

mod cut;
mod reader;
mod source;

use std::sync::Arc;

use api::Result;
use async_trait::async_trait;
use model::{Op, StreamId, StreamSchema, Timestamp};
use serde_json::Value;

pub use source::LogSource;

/// A system with tables and a log of their changes. Rows are JSON objects, as [Arrow's JSON reader](arrow::json) wants them for
/// the types of the table.
#[async_trait]
pub trait ChangeLog: Send + Sync + 'static {
    /// What must not change while checkpoints are kept: a system that was replaced has another one.
    async fn identity(&self) -> Result<String>;

    /// The tables. Each has a key. Changes nothing.
    async fn tables(&self) -> Result<Vec<Arc<StreamSchema>>>;

    /// The number of the newest transaction; 0 if there is none. Cheap; called every few milliseconds while nothing happens.
    async fn head(&self) -> Result<u64>;

    /// The newest transaction that is gone from the log; 0 if all are there.
    async fn gone(&self) -> Result<u64> {
        Ok(0)
    }

    /// The rows of these tables, all as of one transaction, and the number of that.
    async fn rows(&self, tables: &[StreamId]) -> Result<(u64, Vec<Vec<Value>>)>;

    /// The transactions after a number, oldest first: about so many bytes of them, and at least one if there is any.
    async fn after(&self, number: u64, bytes_max: usize) -> Result<Vec<Transaction>>;

    /// Everything up to this transaction is durable at every destination, so the log may forget it. Never goes back.
    async fn release(&self, _number: u64) -> Result<()> {
        Ok(())
    }
}

/// What was committed at once.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Greater than that of every earlier one.
    pub number: u64,
    /// When.
    pub time: Timestamp,
    /// In order. Those of tables that nobody asked for are left out.
    pub changes: Vec<Change>,
}

/// A change of one row.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its table.
    pub table: StreamId,
    /// What happened. `Op::Read` is none of it.
    pub op: Op,
    /// The row as it is; of a deleted one, as it was.
    pub row: Value,
    /// Of an update: the row as it was, at least its key.
    pub old: Option<Value>,
}

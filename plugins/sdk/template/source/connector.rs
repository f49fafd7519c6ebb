//! What this plugin reads: a folder with tables and a log of their changes. Put your own system in its place: whatever can say
//! what its tables are, what rows they have now, and what has changed since.
//!
//! | file | has |
//! |---|---|
//! | `id` | a name of the log that a new folder does not share |
//! | `tables.json` | the names of the tables; each has a key `id`, a number, and a text `name` |
//! | `log.jsonl` | one transaction a line: when it was committed, and its changes. Its number is that of its line |

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use highwater_plugin_sdk::arrow::datatypes::{DataType, Field};
use highwater_plugin_sdk::change_log::{Change, ChangeLog, LogSource, Transaction};
use highwater_plugin_sdk::model::{Op, StreamId, StreamSchema, Timestamp};
use highwater_plugin_sdk::serde_json::{self, Value};
use highwater_plugin_sdk::{
    BuildContext, Error, Result, Retry, Source, SourceCapabilities, SourceConnector, SpecError, async_trait,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The spec: its JSON Schema, its checks and its documentation come from this type.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The folder to read.
    pub path: PathBuf,
}

pub struct Connector;

impl SourceConnector for Connector {
    const NAME: &'static str = "sample";
    const ABOUT: &'static str = "Reads tables and their changes out of a folder.";
    type Spec = Spec;

    /// Refuses what the JSON Schema cannot. Touches no system.
    fn build(spec: Spec, cx: &BuildContext) -> Result<Box<dyn Source>, SpecError> {
        let folder = cx.path(spec.path);
        Ok(Box::new(LogSource::new(Folder { folder })))
    }

    fn capabilities(spec: &Spec) -> SourceCapabilities {
        let folder = spec.path.clone();
        LogSource::new(Folder { folder }).capabilities()
    }
}

/// A transaction as it lies in the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Committed {
    /// Microseconds since 1970.
    pub time: i64,
    pub changes: Vec<Logged>,
}

/// A change as it lies there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Logged {
    Insert { table: String, row: Value },
    Update { table: String, row: Value, old: Value },
    Delete { table: String, row: Value },
}

pub struct Folder {
    pub folder: PathBuf,
}

impl Folder {
    fn read(&self, file: &str) -> Result<String> {
        let path = self.folder.join(file);
        fs::read_to_string(&path).map_err(|error| {
            Error::new("SAMPLE1", Retry::After, format!("cannot read `{}`", path.display())).caused_by(error)
        })
    }

    /// The transactions of the log. A line that has no end is one that somebody is writing.
    fn transactions(&self) -> Result<Vec<Committed>> {
        let text = self.read("log.jsonl")?;
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let parsed = whole.lines().enumerate().map(|(at, line)| {
            serde_json::from_str(line).map_err(|error| {
                let message = format!("cannot read line {} of the log", at + 1);
                Error::new("SAMPLE2", Retry::Operator, message).caused_by(error)
            })
        });
        parsed.collect()
    }
}

#[async_trait]
impl ChangeLog for Folder {
    async fn identity(&self) -> Result<String> {
        Ok(format!("sample:{}", self.read("id")?.trim()))
    }

    async fn tables(&self) -> Result<Vec<Arc<StreamSchema>>> {
        let refused = |table: &str| Error::new("SAMPLE2", Retry::Operator, format!("cannot read table `{table}`"));
        let names: Vec<String> =
            serde_json::from_str(&self.read("tables.json")?).map_err(|error| refused("?").caused_by(error))?;
        let tables = names.iter().map(|name| {
            let fields = vec![
                Field::new("id", DataType::Int64, false),
                Field::new("name", DataType::Utf8, true),
            ];
            let table = StreamSchema::new(StreamId::new(name.as_str()), fields, ["id"]);
            table.map(Arc::new).map_err(|error| refused(name).caused_by(error))
        });
        tables.collect()
    }

    async fn head(&self) -> Result<u64> {
        Ok(self.transactions()?.len() as u64)
    }

    /// The rows of the tables: what the log has made of them.
    async fn rows(&self, tables: &[StreamId]) -> Result<(u64, Vec<Vec<Value>>)> {
        let transactions = self.transactions()?;
        let mut rows: Vec<BTreeMap<String, Value>> = vec![BTreeMap::new(); tables.len()];
        for logged in transactions.iter().flat_map(|transaction| &transaction.changes) {
            let (Logged::Insert { table, .. } | Logged::Update { table, .. } | Logged::Delete { table, .. }) = logged;
            let Some(at) = tables.iter().position(|wanted| wanted.name() == table.as_str()) else {
                continue;
            };
            match logged {
                Logged::Insert { row, .. } => {
                    rows[at].insert(row["id"].to_string(), row.clone());
                }
                Logged::Update { row, old, .. } => {
                    rows[at].remove(&old["id"].to_string());
                    rows[at].insert(row["id"].to_string(), row.clone());
                }
                Logged::Delete { row, .. } => {
                    rows[at].remove(&row["id"].to_string());
                }
            }
        }
        let rows = rows.into_iter().map(|rows| rows.into_values().collect());
        Ok((transactions.len() as u64, rows.collect()))
    }

    async fn after(&self, number: u64, bytes_max: usize) -> Result<Vec<Transaction>> {
        let mut bytes = 0;
        let transactions = self.transactions()?.into_iter().enumerate().skip(number as usize);
        let after = transactions.map_while(|(at, committed)| {
            let is_enough = bytes > bytes_max;
            bytes += committed.changes.len() * 32;
            (!is_enough).then(|| Transaction {
                number: at as u64 + 1,
                time: Timestamp(committed.time),
                changes: committed.changes.into_iter().map(change).collect(),
            })
        });
        Ok(after.collect())
    }
}

fn change(logged: Logged) -> Change {
    let (table, op, row, old) = match logged {
        Logged::Insert { table, row } => (table, Op::Insert, row, None),
        Logged::Update { table, row, old } => (table, Op::Update, row, Some(old)),
        Logged::Delete { table, row } => (table, Op::Delete, row, None),
    };
    Change {
        table: StreamId::new(table.as_str()),
        op,
        row,
        old,
    }
}

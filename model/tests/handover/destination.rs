//! A destination: tables, and for the appending one the history of everything that was written.

use std::collections::BTreeMap;

use model::{Batch, Body, ChangeSet, Checkpoint, Control, DestinationId, Op};

use crate::Failure;
use crate::rows::{rows_of, table_of};
use crate::world::TABLES;

/// One table as a destination has it. Rows carry the run by which they came: those of an earlier run stay until the read
/// that is going on ends, unless it emptied the table first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    run: u32,
    rows: BTreeMap<i64, (u32, i64)>,
}

/// What the appending destination writes down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Row {
        table: usize,
        op: Op,
        row: (i64, i64),
        old: Option<(i64, i64)>,
    },
    Begin {
        table: usize,
        run: u32,
        empty_first: bool,
    },
    End {
        table: usize,
    },
    Truncate {
        table: usize,
    },
}

/// What a kill leaves alone.
pub(crate) struct Destination {
    pub(crate) id: DestinationId,
    pub(crate) appends: bool,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) tables: [Held; 3],
    pub(crate) history: Vec<Entry>,
}

impl Destination {
    pub(crate) fn new(name: &str, appends: bool) -> Self {
        Destination {
            id: DestinationId::from(name),
            appends,
            checkpoint: Checkpoint::default(),
            tables: Default::default(),
            history: Vec::new(),
        }
    }

    /// Folds the appended history from its first entry.
    pub(crate) fn replay_history(&self) -> Result<[Held; 3], Failure> {
        let mut tables: [Held; 3] = Default::default();
        for entry in &self.history {
            write(&mut tables, entry, Strictness::Strict)?;
        }
        Ok(tables)
    }
}

impl Held {
    /// The rows that came by the read that is going on, or was the last, and by the log since.
    pub(crate) fn current(&self) -> BTreeMap<i64, i64> {
        let current = self.rows.iter().filter(|(_, (run, _))| *run == self.run);
        current.map(|(&key, &(_, value))| (key, value)).collect()
    }

    pub(crate) fn has_stale_rows(&self) -> bool {
        self.rows.values().any(|&(run, _)| run != self.run)
    }

    fn has(&self, key: i64) -> Option<i64> {
        let row = self.rows.get(&key).filter(|(run, _)| *run == self.run);
        row.map(|&(_, value)| value)
    }
}

/// Whether a write must find exactly what it expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// A row that comes twice, or a change of a row that is not there, is a failure: an upsert would hide both.
    Strict,
    /// Whatever happens is made to fit.
    Lenient,
}

/// The entries of a changeset, rows of one stream in their order.
pub(crate) fn entries(changeset: &ChangeSet) -> Vec<Entry> {
    match &changeset.body {
        Body::Rows(batches) => batches.iter().flat_map(entries_of_batch).collect(),
        Body::Control(control) => {
            let table = table_of(control.stream());
            match control {
                Control::BeginRead { run, empty_first, .. } => vec![Entry::Begin {
                    table,
                    run: *run,
                    empty_first: *empty_first,
                }],
                Control::EndRead { .. } => vec![Entry::End { table }],
                Control::Truncate { .. } => vec![Entry::Truncate { table }],
                Control::DeleteWhere { .. } | Control::Schema { .. } => Vec::new(),
            }
        }
    }
}

fn entries_of_batch(batch: &Batch) -> Vec<Entry> {
    let table = table_of(batch.schema.stream());
    let entry = |(op, row, old)| Entry::Row { table, op, row, old };
    rows_of(batch).map(entry).collect()
}

/// Writes one entry.
pub(crate) fn write(tables: &mut [Held; 3], entry: &Entry, strictness: Strictness) -> Result<(), Failure> {
    match entry {
        Entry::Begin {
            table,
            run,
            empty_first,
        } => {
            let held = &mut tables[*table];
            held.run = *run;
            if *empty_first {
                held.rows.clear();
            }
            Ok(())
        }
        Entry::End { table } => {
            let held = &mut tables[*table];
            let run = held.run;
            held.rows.retain(|_, (of, _)| *of == run);
            Ok(())
        }
        Entry::Truncate { table } => {
            tables[*table].rows.clear();
            Ok(())
        }
        Entry::Row { table, op, row, old } => {
            let held = &mut tables[*table];
            let name = TABLES[*table];
            let is_strict = strictness == Strictness::Strict;
            let gone = match op {
                Op::Read | Op::Insert => None,
                Op::Update => *old,
                Op::Delete => Some(*row),
            };
            if let Some((key, value)) = gone {
                if is_strict && held.has(key) != Some(value) {
                    let has = held.has(key);
                    let message = format!("{} of `{name}` row {key}: expected {value}, has {has:?}", op.name());
                    return Err(Failure::new(message));
                }
                held.rows.remove(&key);
            }
            if *op != Op::Delete {
                let (key, value) = *row;
                if is_strict && held.has(key).is_some() {
                    let message = format!("{} of `{name}` row {key}: it is there already", op.name());
                    return Err(Failure::new(message));
                }
                held.rows.insert(key, (held.run, value));
            }
            Ok(())
        }
    }
}

//! Log entries as changesets.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::BooleanArray;
use model::{
    Batch, Before, ChangeSet, Commit, Control, Delta, Op, Ops, Order, PageTags, Part, Partition, Place, Position,
    StreamId, StreamSchema, Timestamp,
};
use serde_json::{Map, Value};

use super::reads::StreamRead;
use super::{Entry, Kind, Logged};
use crate::conformance::sample;

/// What a changeset of the log is cut out of.
pub(super) struct Cut<'a> {
    pub(super) log: &'a Partition,
    /// The planned streams, in their planned shape.
    pub(super) schemas: &'a BTreeMap<StreamId, Arc<StreamSchema>>,
    /// For each stream, the reads that have begun and not ended.
    pub(super) reading: BTreeMap<StreamId, Vec<(u32, &'a StreamRead)>>,
    pub(super) bytes_max: usize,
}

/// A changeset of the log, and where the reader stands after it.
pub(super) struct Piece {
    pub(super) changeset: ChangeSet,
    pub(super) position: u64,
    /// Changes of the entry after `position` that were handed out already.
    pub(super) change_at: usize,
}

impl Cut<'_> {
    /// The next piece of the log after `position`, of which `change_at` changes of the next entry are out already.
    /// `entries` are those after `position`.
    pub(super) fn next(&self, position: u64, change_at: usize, entries: &[Entry]) -> Option<Piece> {
        let first = entries.first()?;
        let is_cut = size_of(&first.changes) > self.bytes_max || first.changes.iter().any(Logged::is_truncate);
        if change_at > 0 || (is_cut && first.changes.len() > 1) {
            return Some(self.part(position, change_at, first));
        }
        if let [
            Logged {
                stream,
                kind: Kind::Truncate,
            },
        ] = first.changes.as_slice()
        {
            let control = Control::Truncate { stream: stream.clone() };
            return Some(Piece {
                changeset: ChangeSet::control(self.delta(position, first.order), control),
                position: first.order,
                change_at: 0,
            });
        }
        let mut rows = Vec::new();
        let (mut bytes, mut to) = (0, position);
        for entry in entries {
            let size = size_of(&entry.changes);
            let is_alone = entry.changes.iter().any(Logged::is_truncate);
            if to > position && (bytes + size > self.bytes_max || is_alone) {
                break;
            }
            bytes += size;
            to = entry.order;
            rows.extend(entry.changes.iter().map(|change| (entry.order, entry.time, change)));
        }
        Some(Piece {
            changeset: ChangeSet::rows(self.delta(position, to), self.batches(&rows)),
            position: to,
            change_at: 0,
        })
    }

    fn part(&self, position: u64, change_at: usize, entry: &Entry) -> Piece {
        let first = &entry.changes[change_at];
        let mut end = change_at + 1;
        let mut bytes = size_of(&entry.changes[change_at..end]);
        let goes_on = |next: &Logged| !first.is_truncate() && !next.is_truncate();
        while entry.changes.get(end).is_some_and(goes_on) && bytes < self.bytes_max {
            bytes += size_of(&entry.changes[end..=end]);
            end += 1;
        }
        let is_last = end == entry.changes.len();
        let part = match (change_at, is_last) {
            (0, true) => Part::Whole,
            (0, false) => Part::First,
            (_, true) => Part::Last,
            (_, false) => Part::Middle,
        };
        let rows: Vec<_> = entry.changes[change_at..end]
            .iter()
            .map(|change| (entry.order, entry.time, change))
            .collect();
        let delta = if is_last {
            self.delta(position, entry.order)
        } else {
            Delta::none()
        };
        let changeset = match first.is_truncate() {
            true => {
                let stream = first.stream.clone();
                let place = Place {
                    log: self.log.clone(),
                    order: Order::new(0, entry.order, 0),
                };
                ChangeSet::control_part(part, delta, Control::Truncate { stream }, place)
            }
            false => ChangeSet::part(part, delta, self.batches(&rows)),
        };
        Piece {
            changeset,
            position: if is_last { entry.order } else { position },
            change_at: if is_last { 0 } else { end },
        }
    }

    fn delta(&self, from: u64, to: u64) -> Delta {
        Delta::of(
            self.log.clone(),
            Some(Order::new(0, from, 0)),
            Position::at(Order::new(0, to, 0)),
        )
    }

    fn batches(&self, changes: &[(u64, Timestamp, &Logged)]) -> Vec<Batch> {
        let planned = self.schemas.values();
        planned
            .filter_map(|schema| {
                let of_stream: Vec<_> = changes
                    .iter()
                    .filter(|(_, _, change)| change.stream == *schema.stream())
                    .collect();
                (!of_stream.is_empty()).then(|| self.batch(schema, &of_stream))
            })
            .collect()
    }

    fn batch(&self, schema: &Arc<StreamSchema>, changes: &[&(u64, Timestamp, &Logged)]) -> Batch {
        let mut rows = Vec::new();
        let mut olds = Vec::new();
        let mut ops = Vec::new();
        let mut commits: Vec<Commit> = Vec::new();
        for (order, time, change) in changes.iter().copied() {
            let Kind::Row { op, old, row } = &change.kind else {
                continue;
            };
            ops.push(*op);
            rows.push(row.clone());
            olds.push(old.clone());
            let (row_end, order) = (rows.len(), Order::new(0, *order, 0));
            match commits.last_mut() {
                Some(last) if last.order == order => last.row_end = row_end,
                _ => commits.push(Commit {
                    row_end,
                    order,
                    time: *time,
                }),
            }
        }
        let tags = |(run, read): &(u32, &StreamRead)| {
            let at = rows.iter().map(|row| read.page_of(row)).collect();
            let was = |(row, old): (&Value, &Option<Value>)| read.page_of(old.as_ref().unwrap_or(row));
            PageTags::new(*run, at, Some(rows.iter().zip(&olds).map(was).collect()))
        };
        let reading = self.reading.get(schema.stream()).map(Vec::as_slice).unwrap_or_default();
        Batch {
            partition: self.log.clone(),
            page: 0,
            rows: sample::record_batch(schema, &projected(schema, rows.iter())),
            before: before(schema, &ops, &olds),
            ops: Ops::each(ops.iter().copied()),
            unavailable: None,
            commits,
            page_tags: reading.iter().map(tags).collect(),
            schema: Arc::clone(schema),
        }
    }
}

fn before(schema: &StreamSchema, ops: &[Op], olds: &[Option<Value>]) -> Option<Before> {
    if !ops.contains(&Op::Update) {
        return None;
    }
    let nothing = Value::Object(Map::new());
    let images: Vec<Value> = olds
        .iter()
        .map(|old| old.clone().unwrap_or_else(|| nothing.clone()))
        .collect();
    let rows = sample::nullable_record_batch(schema, &projected(schema, images.iter()));
    let present: BooleanArray = olds.iter().map(|old| Some(old.is_some())).collect();
    Some(Before {
        rows,
        present: present.values().clone(),
        unavailable: None,
    })
}

/// The columns that the schema has.
pub(super) fn projected<'a>(schema: &StreamSchema, rows: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let is_planned = |name: &str| schema.arrow().field_with_name(name).is_ok();
    rows.map(|row| {
        let columns = row.as_object().into_iter().flatten();
        let planned = columns.filter(|(name, _)| is_planned(name));
        Value::Object(planned.map(|(name, value)| (name.clone(), value.clone())).collect())
    })
    .collect()
}

/// About the Arrow bytes of changes: the length of their values' text.
fn size_of(changes: &[Logged]) -> usize {
    let size = |value: &Value| match value {
        Value::Object(columns) => columns
            .values()
            .map(|v| v.as_str().map_or(8, |text| text.len() + 4))
            .sum(),
        _ => 0,
    };
    let of_change = |change: &Logged| match &change.kind {
        Kind::Row { old, row, .. } => size(row) + old.as_ref().map_or(0, size),
        Kind::Truncate => 0,
    };
    changes.iter().map(of_change).sum()
}

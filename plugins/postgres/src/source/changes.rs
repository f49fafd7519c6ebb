//! Changes on their way into a changeset: one batch for each shape, in the order in which the shapes came.

use std::sync::Arc;

use model::{Batch, Op, Order, Partition, Timestamp};

use super::key::KeyValue;
use super::reads::Read;
use super::rows::{Change, ChangeBatch, Image};
use super::shape::StreamShape;
use crate::replication::pgoutput::{Cell, Old, Tuple};

/// What a RELATION message made known.
#[derive(Debug)]
pub(crate) struct Relation {
    pub(crate) shape: Arc<StreamShape>,
    /// For each column that is sent whether it belongs to the replica identity.
    pub(crate) identity: Arc<[bool]>,
}

/// A change of a row, as it was sent.
#[derive(Clone, Copy)]
pub(crate) enum Row<'a> {
    Insert(Tuple<'a>),
    Update(Option<Old<'a>>, Tuple<'a>),
    Delete(Old<'a>),
}

/// Rows that wait for their changeset.
#[derive(Default)]
pub(crate) struct Pending {
    /// Rows that can take no more neighbours; they come first.
    finished: Vec<Batch>,
    batches: Vec<ChangeBatch>,
    bytes: usize,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.finished.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a change. `reads` are those that go on, which do not change while rows wait.
    pub(crate) fn push(
        &mut self,
        relation: &Arc<Relation>,
        row: Row<'_>,
        order: Order,
        time: Timestamp,
        reads: &[Read],
    ) -> api::Result<()> {
        let shape = &relation.shape;
        let stream = shape.stream();
        let its_reads = || reads.iter().filter(|read| &read.stream == stream);
        // Rows of one stream keep their order, so only its newest batch is open.
        let newest = self.batches.iter().rposition(|batch| batch.shape().stream() == stream);
        let at = match newest {
            Some(at) if Arc::ptr_eq(self.batches[at].shape(), shape) => at,
            _ => {
                let runs = its_reads().map(|read| read.run);
                self.batches.push(ChangeBatch::new(shape, &relation.identity, runs)?);
                self.batches.len() - 1
            }
        };
        let batch = &mut self.batches[at];
        let (op, image, tuple, old) = match row {
            Row::Insert(new) => (Op::Insert, Image::Whole, new, None),
            Row::Update(old, new) => (Op::Update, Image::Whole, new, old),
            Row::Delete(old) => (Op::Delete, image_of(old), tuple_of(old), None),
        };
        let change = Change {
            op,
            row: tuple,
            image,
            old: old.map(|old| (tuple_of(old), image_of(old))),
            order,
            time,
        };
        self.bytes += batch.push(&change)?;
        if its_reads().next().is_none() {
            return Ok(());
        }
        let key = key_of(shape, tuple);
        let old_key = old.map(|old| key_of(shape, tuple_of(old)));
        for (i, read) in its_reads().enumerate() {
            let (page, before) = read.pages_of(key.as_deref(), old_key.as_ref().map(|key| key.as_deref()));
            batch.tag(i, page, before);
        }
        Ok(())
    }

    pub(crate) fn finish(self, log: &Partition) -> api::Result<Vec<Batch>> {
        let mut finished = self.finished;
        for batch in self.batches {
            finished.push(batch.finish(log)?);
        }
        Ok(finished)
    }

    /// Rows that were taken out, put back.
    pub(crate) fn of_finished(finished: Vec<Batch>) -> Self {
        Pending {
            bytes: finished.iter().map(Batch::size_bytes).sum(),
            finished,
            batches: Vec::new(),
        }
    }
}

/// Whether a change moves its key to another page of this read without saying the whole row: whoever holds the new page and
/// not the old one could not make a row of it.
pub(crate) fn moves_in_part(shape: &StreamShape, row: Row<'_>, read: &Read) -> bool {
    let Row::Update(Some(Old::Key(old)), new) = row else {
        return false;
    };
    let is_in_part = || {
        let mut cells = new.cells().enumerate();
        cells.any(|(at, cell)| cell == Cell::Unchanged && shape.columns.iter().any(|column| column.at == at))
    };
    let (at, before) = read.pages_of(key_of(shape, new).as_deref(), Some(key_of(shape, old).as_deref()));
    at != before && is_in_part()
}

fn tuple_of(old: Old<'_>) -> Tuple<'_> {
    match old {
        Old::Key(tuple) | Old::Row(tuple) => tuple,
    }
}

fn image_of(old: Old<'_>) -> Image {
    match old {
        Old::Key(_) => Image::Key,
        Old::Row(_) => Image::Whole,
    }
}

/// The values by which pages are cut; `None` where the shape has no such order, or a value cannot be read.
fn key_of(shape: &StreamShape, tuple: Tuple<'_>) -> Option<Vec<KeyValue>> {
    let order = shape.order.as_ref()?;
    let value = |at: usize| match tuple.cells().nth(at) {
        Some(Cell::Binary(bytes)) => Some(bytes),
        _ => None,
    };
    order.iter().map(|column| column.kind.read(value(column.at)?)).collect()
}

//! Reading the change table into batches, inside one view.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Op, StreamId, Timestamp};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::position;
use super::reads::Read;
use super::rows::{Change, ChangeBatch};
use super::shape::StreamShape;
use crate::capture::marks::Mark;
use crate::capture::names::Names;
use crate::capture::triggers::{ChangeOp, columns_of};
use crate::error::{Result, sql};

/// Decodes change rows by the layouts they were written under.
pub(crate) struct LogReader {
    text: String,
    width: usize,
    /// Layout number to shape; layouts of streams that are not in the plan are missing.
    shapes: HashMap<i64, Arc<StreamShape>>,
    incarnation: u32,
}

/// The part of the log that is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Exclusive.
    pub(crate) from: i64,
    /// Inclusive; a consistent point.
    pub(crate) upto: i64,
    pub(crate) bytes_max: usize,
    /// Up to here somebody may stand at any row, so each keeps an order of its own.
    pub(crate) known_upto: i64,
}

/// A piece of the log.
pub(crate) struct Chunk {
    pub(crate) batches: Vec<ChangeBatch>,
    /// Where it ends, inclusive.
    pub(crate) upto: i64,
    /// Whether that is a consistent point.
    pub(crate) is_consistent: bool,
    /// The newest mark in it.
    pub(crate) mark: Option<Mark>,
}

impl LogReader {
    pub(crate) fn new(names: &Names, shapes: HashMap<i64, Arc<StreamShape>>, width: usize, incarnation: u32) -> Self {
        let text = format!(
            "SELECT seq, layout, op, at, {}, {} FROM main.{} WHERE seq > ?1 AND seq <= ?2 ORDER BY seq",
            columns_of("n", width),
            columns_of("o", width),
            names.changes()
        );
        LogReader {
            text,
            width,
            shapes,
            incarnation,
        }
    }

    /// The shape that rows of this layout have.
    pub(crate) fn shape(&self, layout: i64) -> Option<&Arc<StreamShape>> {
        self.shapes.get(&layout)
    }

    /// About how many bytes a row's images have.
    fn bytes_of(&self, row: &Row<'_>) -> Result<usize> {
        let mut bytes = 0;
        for column in 4..4 + 2 * self.width {
            bytes += match row.get_ref(column).map_err(sql("read the change table"))? {
                ValueRef::Null => 0,
                ValueRef::Integer(_) | ValueRef::Real(_) => 8,
                ValueRef::Text(value) | ValueRef::Blob(value) => value.len(),
            };
        }
        Ok(bytes)
    }

    /// Reads from `wanted.from` until `wanted.upto`, or until enough bytes are gathered.
    ///
    /// | when enough is gathered | the chunk ends |
    /// |---|---|
    /// | a quarter of `bytes_max`, at a mark | at the mark, which is a consistent point |
    /// | `bytes_max`, a mark was passed | at the newest mark; what follows it is read again |
    /// | `bytes_max`, no mark was passed | where it stands, inside a transaction for all we know |
    pub(crate) fn read(&self, conn: &Connection, reads: &[Read], wanted: Wanted) -> Result<Chunk> {
        let mut gathered = Gathered {
            reader: self,
            reads,
            wanted,
            batches: Vec::new(),
            bytes: 0,
        };
        let mut mark = None;
        let mut at_mark: Option<(i64, Vec<usize>)> = None;
        let mut statement = conn.prepare_cached(&self.text).map_err(sql("read the change table"))?;
        let mut rows = statement
            .query([wanted.from, wanted.upto])
            .map_err(sql("read the change table"))?;
        while let Some(row) = rows.next().map_err(sql("read the change table"))? {
            let (seq, layout) = (|| Ok((row.get(0)?, row.get(1)?)))().map_err(sql("read the change table"))?;
            if layout == 0 {
                mark = Some(Mark {
                    seq,
                    nonce: row.get(4).map_err(sql("read a mark"))?,
                });
                if gathered.bytes >= wanted.bytes_max / 4 {
                    return Ok(gathered.end(seq, true, mark));
                }
                at_mark = Some((seq, gathered.batches.iter().map(|(_, batch)| batch.len()).collect()));
                continue;
            }
            gathered.push(row, seq, layout)?;
            if gathered.bytes >= wanted.bytes_max && seq < wanted.upto {
                return Ok(match at_mark {
                    Some((seq, lens)) => {
                        gathered.cut(&lens, position::order(self.incarnation, seq));
                        gathered.end(seq, true, mark)
                    }
                    None => gathered.end(seq, false, mark),
                });
            }
        }
        Ok(gathered.end(wanted.upto, true, mark))
    }
}

struct Gathered<'a> {
    reader: &'a LogReader,
    reads: &'a [Read],
    wanted: Wanted,
    batches: Vec<(i64, ChangeBatch)>,
    bytes: usize,
}

impl Gathered<'_> {
    fn push(&mut self, row: &Row<'_>, seq: i64, layout: i64) -> Result<()> {
        let Some(shape) = self.reader.shapes.get(&layout) else {
            // Not in the plan. It takes its time all the same, and the view must not stay open for ever.
            self.bytes += self.reader.bytes_of(row)?;
            return Ok(());
        };
        let at = match self.batches.iter().rposition(|(of, _)| *of == layout) {
            Some(at) => at,
            None => {
                let runs = self.reads_of(shape.stream()).map(|read| read.run);
                self.batches.push((layout, ChangeBatch::new(shape, runs)));
                self.batches.len() - 1
            }
        };
        let (op, days): (i64, f64) = (|| Ok((row.get(2)?, row.get(3)?)))().map_err(sql("read the change table"))?;
        let change = Change {
            op: op_of(op),
            order: position::order(self.reader.incarnation, seq),
            time: time_of(days),
            is_alone: seq <= self.wanted.known_upto,
            new_at: 4,
            old_at: 4 + self.reader.width,
        };
        let batch = &mut self.batches[at].1;
        self.bytes += batch.push(row, &change)?;
        self.tag(at, row, &change)
    }

    fn tag(&mut self, at: usize, row: &Row<'_>, change: &Change) -> Result<()> {
        let shape = Arc::clone(self.batches[at].1.shape());
        let order = shape.order.as_deref().unwrap_or_default();
        let (new, old) = match change.op {
            Op::Delete => (change.old_at, change.old_at),
            Op::Update => (change.new_at, change.old_at),
            _ => (change.new_at, change.new_at),
        };
        for (i, read) in self
            .reads
            .iter()
            .filter(|read| &read.stream == shape.stream())
            .enumerate()
        {
            let page_at = |first: usize| {
                read.page_of(|bound| {
                    let values = order
                        .iter()
                        .map(|&column| row.get_ref(first + column).unwrap_or(ValueRef::Null));
                    bound.compare_with(values).is_lt()
                })
            };
            let (page, before) = (page_at(new), page_at(old));
            self.batches[at].1.tag(i, page, before);
        }
        Ok(())
    }

    fn reads_of(&self, stream: &StreamId) -> impl Iterator<Item = &Read> {
        self.reads.iter().filter(move |read| &read.stream == stream)
    }

    /// Takes back what came after a mark.
    fn cut(&mut self, lens: &[usize], end: model::Order) {
        self.batches.truncate(lens.len());
        for ((_, batch), len) in self.batches.iter_mut().zip(lens) {
            batch.truncate(*len, end);
        }
    }

    fn end(self, upto: i64, is_consistent: bool, mark: Option<Mark>) -> Chunk {
        let batches = self
            .batches
            .into_iter()
            .map(|(_, batch)| batch)
            .filter(|batch| batch.len() > 0)
            .collect();
        Chunk {
            batches,
            upto,
            is_consistent,
            mark: mark.filter(|mark| mark.seq <= upto),
        }
    }
}

fn op_of(op: i64) -> Op {
    if op == ChangeOp::Insert as i64 {
        Op::Insert
    } else if op == ChangeOp::Delete as i64 {
        Op::Delete
    } else {
        Op::Update
    }
}

/// Days since noon of -4713-11-24, as `julianday` counts them, at the start of 1970.
const EPOCH_IN_DAYS: f64 = 2_440_587.5;

/// Milliseconds are all that SQLite's clock has.
pub(crate) fn time_of(days: f64) -> Timestamp {
    let millis = ((days - EPOCH_IN_DAYS) * 86_400_000.0).round();
    Timestamp((millis as i64).saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::install::{self, Occasion};
    use crate::capture::marks;

    #[test]
    fn rows_outside_the_plan_count_towards_the_end_of_a_chunk() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut conn = Connection::open(dir.path().join("app.db")).expect("a database");
        conn.execute_batch("CREATE TABLE unplanned(id INTEGER PRIMARY KEY, v TEXT)")
            .expect("a table");
        let names = Names::of_pipeline("shop");
        install::ensure(&mut conn, &names, &["unplanned".to_owned()], Occasion::Opening).expect("captured");
        let from = marks::head(&conn, &names).expect("a head");
        conn.execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             INSERT INTO unplanned(v) SELECT printf('%01000d', i) FROM n",
        )
        .expect("written");
        let upto = marks::head(&conn, &names).expect("a head");
        let reader = LogReader::new(&names, HashMap::new(), 2, 0);
        let wanted = Wanted {
            from,
            upto,
            bytes_max: 100_000,
            known_upto: 0,
        };
        let chunk = reader.read(&conn, &[], wanted).expect("read");
        assert!(chunk.batches.is_empty());
        assert!(
            !chunk.is_consistent && (from + 50..from + 150).contains(&chunk.upto),
            "from {from} to {} of {upto}",
            chunk.upto
        );
    }
}

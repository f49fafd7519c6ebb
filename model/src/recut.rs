//! Putting operations, commits, masks and old images back on what a transformer returned.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use arrow::compute::interleave;
use arrow::datatypes::FieldRef;
use arrow::error::ArrowError;

use crate::pick::{gather_commits, gather_unavailable, null_rows, nullable};
use crate::{Batch, Before, Op, Ops, StreamId, StreamSchema, Unavailable};

/// Rows of one output stream, and which input row each came from.
#[derive(Debug, Clone)]
pub struct OutRows {
    /// The shape of the rows.
    pub schema: Arc<StreamSchema>,
    /// The rows.
    pub rows: RecordBatch,
    /// For each row, the input row that it came from; does not decrease.
    pub input_rows: Vec<u32>,
    /// Values that depend on an input value that was not sent.
    pub unavailable: Option<Unavailable>,
}

/// Why a transformer's answer does not fit its input.
#[derive(Debug, thiserror::Error)]
pub enum RecutError {
    /// Row numbers out of range, out of order, or not one for each row.
    #[error("cannot use the output for `{stream}`: its input row numbers do not fit ({what})")]
    InputRows {
        /// The output stream.
        stream: StreamId,
        /// What is wrong with them.
        what: &'static str,
    },
    /// Columns that are not those of the schema, or several answers for one stream.
    #[error("cannot use the output for `{stream}`: {what}")]
    Shape {
        /// The output stream.
        stream: StreamId,
        /// What is wrong.
        what: &'static str,
    },
    /// A row that did not pass before passes now, so that it has to be inserted, but some of its values were not sent.
    #[error("cannot insert a row of `{stream}` that begins to pass: some of its values were not sent")]
    NotWhole {
        /// The output stream.
        stream: StreamId,
    },
    /// An update or a delete became several rows, so that nobody could say which of them a later change means.
    #[error("cannot use the output for `{stream}`: one {op} became several rows")]
    Multiplied {
        /// The output stream.
        stream: StreamId,
        /// The operation's name.
        op: &'static str,
    },
    /// Arrow refused to build the rows.
    #[error("cannot build the output for `{stream}`")]
    Arrow {
        /// The output stream.
        stream: StreamId,
        /// What Arrow said.
        #[source]
        source: ArrowError,
    },
}

/// What a transformer made of the row images of one batch.
#[derive(Debug, Default)]
pub struct Transformed {
    /// Of the rows: those that passed.
    pub after: Vec<OutRows>,
    /// Of the old images: those that passed, where the image was whole; all of them, projected but not filtered, where some
    /// of its values were not sent. Row numbers are those of the batch.
    pub before: Vec<OutRows>,
    /// Of [`gone`] rows: projected but not filtered.
    pub gone: Vec<OutRows>,
}

/// Updates that passed nowhere and came without an old image: whoever holds the row must delete it by its key.
pub fn gone(input: &Batch, after: &[OutRows]) -> Vec<u32> {
    let was_sent = |row: usize| input.before.as_ref().is_some_and(|before| before.present.value(row));
    let passed = |row: u32| after.iter().any(|out| out.input_rows.binary_search(&row).is_ok());
    (0..input.len())
        .filter(|&row| input.ops.get(row) == Op::Update && !was_sent(row))
        .map(|row| row as u32)
        .filter(|&row| !passed(row))
        .collect()
}

/// Re-cuts `input` around what a transformer made of its images.
///
/// A transformer is a function of row images: it never sees operations or positions. What became of a change follows from
/// which of its two images passed:
///
/// | operation | new image passed | old image | becomes |
/// |---|---|---|---|
/// | read, insert, delete | yes | | itself |
/// | read, insert, delete | no | | nothing |
/// | update | yes | passed, or was not sent | update |
/// | update | yes | did not pass | insert, which must be whole |
/// | update | no | passed | delete of the old image |
/// | update | no | was not sent | delete by the key |
/// | update | no | did not pass | nothing |
pub fn recut(input: &Batch, made: Transformed) -> Result<Vec<Batch>, RecutError> {
    let mut streams: BTreeMap<StreamId, Images> = BTreeMap::new();
    for (outs, place) in [(made.after, AFTER), (made.before, BEFORE), (made.gone, GONE)] {
        for out in outs {
            check(&out, input.len())?;
            let stream = out.schema.stream().clone();
            let images = streams.entry(stream.clone()).or_default();
            if images.0.iter().flatten().any(|other| other.schema != out.schema) {
                let what = "its images differ in schema";
                return Err(RecutError::Shape { stream, what });
            }
            if images.0[place].replace(out).is_some() {
                let what = "one stream came twice";
                return Err(RecutError::Shape { stream, what });
            }
        }
    }
    streams
        .into_iter()
        .filter_map(|(stream, images)| images.assemble(input, stream).transpose())
        .collect()
}

/// Where an output row's image is taken from.
const AFTER: usize = 0;
const BEFORE: usize = 1;
const GONE: usize = 2;
const NULLS: usize = 3;

/// The answers for one output stream, by `AFTER`, `BEFORE`, `GONE`.
#[derive(Default)]
struct Images([Option<OutRows>; 3]);

struct OutRow {
    input: usize,
    op: Op,
    image: (usize, usize),
    old: Option<usize>,
}

impl Images {
    fn assemble(self, input: &Batch, stream: StreamId) -> Result<Option<Batch>, RecutError> {
        let schema = match self.0.iter().flatten().next() {
            Some(out) => Arc::clone(&out.schema),
            None => return Ok(None),
        };
        let out_rows = self.plan(input, &stream)?;
        if out_rows.is_empty() {
            return Ok(None);
        }
        let arrow = |source| RecutError::Arrow {
            stream: stream.clone(),
            source,
        };
        let rows: Vec<usize> = out_rows.iter().map(|row| row.input).collect();
        let images: Vec<_> = out_rows.iter().map(|row| row.image).collect();
        let olds: Vec<_> = out_rows
            .iter()
            .map(|row| row.old.map_or((NULLS, 0), |at| (BEFORE, at)))
            .collect();
        let has_old = out_rows.iter().any(|row| row.old.is_some());
        let before = has_old
            .then(|| -> Result<Before, ArrowError> {
                Ok(Before {
                    rows: self.gather(&schema, &olds)?,
                    present: out_rows.iter().map(|row| row.old.is_some()).collect(),
                    unavailable: self.gather_masks(&schema, &olds),
                })
            })
            .transpose()
            .map_err(arrow)?;
        Ok(Some(Batch {
            partition: input.partition.clone(),
            page: input.page,
            rows: self.gather(&schema, &images).map_err(arrow)?,
            ops: Ops::each(out_rows.iter().map(|row| row.op)),
            before,
            unavailable: self.gather_masks(&schema, &images),
            commits: gather_commits(&input.commits, &rows),
            page_tags: input
                .page_tags
                .iter()
                .map(|tags| tags.gather(out_rows.iter().map(|row| (row.input, row.image.0 == BEFORE))))
                .collect(),
            schema,
        }))
    }

    fn plan(&self, input: &Batch, stream: &StreamId) -> Result<Vec<OutRow>, RecutError> {
        let mut planned = Vec::new();
        let [mut after, mut before, mut gone] = [AFTER, BEFORE, GONE].map(|place| Cursor::over(self.0[place].as_ref()));
        for row in 0..input.len() {
            let op = input.ops.get(row);
            let (new, old, key) = (after.rows_of(row), before.rows_of(row), gone.rows_of(row));
            if matches!(op, Op::Update | Op::Delete) && [&new, &old, &key].iter().any(|rows| rows.len() > 1) {
                return Err(RecutError::Multiplied {
                    stream: stream.clone(),
                    op: op.name(),
                });
            }
            let mut put = |op, image, old| {
                planned.push(OutRow {
                    input: row,
                    op,
                    image,
                    old,
                })
            };
            if op != Op::Update {
                new.for_each(|at| put(op, (AFTER, at), None));
                continue;
            }
            let was_sent = input.before.as_ref().is_some_and(|before| before.present.value(row));
            match (new.into_iter().next(), old.into_iter().next(), key.into_iter().next()) {
                (Some(new), Some(old), _) => put(Op::Update, (AFTER, new), Some(old)),
                (Some(new), None, _) if was_sent => {
                    if self.is_partial(AFTER, new) {
                        return Err(RecutError::NotWhole { stream: stream.clone() });
                    }
                    put(Op::Insert, (AFTER, new), None);
                }
                (Some(new), None, _) => put(Op::Update, (AFTER, new), None),
                (None, Some(old), _) => put(Op::Delete, (BEFORE, old), None),
                (None, None, Some(key)) => put(Op::Delete, (GONE, key), None),
                (None, None, None) => {}
            }
        }
        Ok(planned)
    }

    fn is_partial(&self, place: usize, row: usize) -> bool {
        let mask = self.0[place].as_ref().and_then(|out| out.unavailable.as_ref());
        mask.is_some_and(|mask| mask.any_in_row(row))
    }

    fn gather(&self, schema: &StreamSchema, at: &[(usize, usize)]) -> Result<RecordBatch, ArrowError> {
        if let Some(after) = self.whole_after(at) {
            return Ok(after);
        }
        let shape = nullable(schema.arrow());
        let nulls = null_rows(&shape, 1)?;
        let part = |out: &Option<OutRows>| out.as_ref().map_or_else(|| nulls.clone(), |out| out.rows.clone());
        let parts = [
            part(&self.0[AFTER]),
            part(&self.0[BEFORE]),
            part(&self.0[GONE]),
            nulls.clone(),
        ];
        let columns = (0..shape.fields().len())
            .map(|column| {
                let arrays: Vec<_> = parts.iter().map(|rows| rows.column(column).as_ref()).collect();
                interleave(&arrays, at)
            })
            .collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(shape, columns)
    }

    /// The common case: all new images, in order, none missing. No copy.
    fn whole_after(&self, at: &[(usize, usize)]) -> Option<RecordBatch> {
        let after = self.0[AFTER].as_ref()?;
        let is_whole =
            at.len() == after.rows.num_rows() && at.iter().enumerate().all(|(i, &image)| image == (AFTER, i));
        is_whole.then(|| after.rows.clone())
    }

    fn gather_masks(&self, schema: &StreamSchema, at: &[(usize, usize)]) -> Option<Unavailable> {
        let masks = [AFTER, BEFORE, GONE].map(|place| self.0[place].as_ref().and_then(|out| out.unavailable.as_ref()));
        if masks.iter().all(Option::is_none) {
            return None;
        }
        if at.iter().enumerate().all(|(i, &image)| image == (AFTER, i)) {
            let rows: Vec<usize> = (0..at.len()).collect();
            return gather_unavailable(masks[AFTER], &rows);
        }
        let columns = (0..schema.arrow().fields().len()).map(|column| {
            let set = |&(part, row): &(usize, usize)| {
                masks
                    .get(part)
                    .copied()
                    .flatten()
                    .is_some_and(|mask| mask.is_set(row, column))
            };
            Some(at.iter().map(set).collect::<BooleanBuffer>())
        });
        Unavailable::new(columns.collect())
    }
}

/// Walks an output's rows input row by input row.
struct Cursor<'a> {
    input_rows: &'a [u32],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn over(out: Option<&'a OutRows>) -> Self {
        Cursor {
            input_rows: out.map_or(&[], |out| &out.input_rows),
            at: 0,
        }
    }

    fn rows_of(&mut self, input_row: usize) -> std::ops::Range<usize> {
        let start = self.at;
        while self
            .input_rows
            .get(self.at)
            .is_some_and(|&row| row as usize <= input_row)
        {
            self.at += 1;
        }
        start..self.at
    }
}

fn check(out: &OutRows, input_len: usize) -> Result<(), RecutError> {
    let refuse = |what| {
        Err(RecutError::InputRows {
            stream: out.schema.stream().clone(),
            what,
        })
    };
    let refuse_shape = |what| {
        Err(RecutError::Shape {
            stream: out.schema.stream().clone(),
            what,
        })
    };
    let (got, wanted) = (out.rows.schema(), out.schema.arrow().fields());
    let is_same =
        |(got, wanted): (&FieldRef, &FieldRef)| got.name() == wanted.name() && got.data_type() == wanted.data_type();
    if got.fields().len() != wanted.len() || !got.fields().iter().zip(wanted).all(is_same) {
        return refuse_shape("its columns differ from its schema");
    }
    if out
        .unavailable
        .as_ref()
        .is_some_and(|mask| mask.column_count() != wanted.len())
    {
        return refuse_shape("its mask and its columns differ in number");
    }
    if out.input_rows.len() != out.rows.num_rows() {
        return refuse("not one for each row");
    }
    if out.input_rows.windows(2).any(|w| w[0] > w[1]) {
        return refuse("they decrease");
    }
    if out.input_rows.last().is_some_and(|&last| last as usize >= input_len) {
        return refuse("beyond the input");
    }
    Ok(())
}

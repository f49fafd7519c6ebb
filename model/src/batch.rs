//! Rows of one stream and one partition, with what was done to each and which transaction it belongs to.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};

use crate::{Order, Page, Partition, StreamSchema, Timestamp};

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Op {
    /// It existed when its page was read.
    Read = 0,
    /// It was inserted.
    Insert = 1,
    /// It was changed; also when its key changed.
    Update = 2,
    /// It was deleted.
    Delete = 3,
}

impl Op {
    /// The word used in config, metrics and appended rows.
    pub const fn name(self) -> &'static str {
        match self {
            Op::Read => "read",
            Op::Insert => "insert",
            Op::Update => "update",
            Op::Delete => "delete",
        }
    }

    const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Op::Read,
            1 => Op::Insert,
            2 => Op::Update,
            _ => Op::Delete,
        }
    }
}

/// One [`Op`] for each row, without a byte per row where all rows share one.
#[derive(Clone)]
pub struct Ops(Repr);

#[derive(Clone)]
enum Repr {
    All(Op, usize),
    Each(ScalarBuffer<u8>),
}

impl Ops {
    /// `len` rows with one operation.
    pub fn all(op: Op, len: usize) -> Self {
        Ops(Repr::All(op, len))
    }

    /// One operation for each row.
    pub fn each(ops: impl IntoIterator<Item = Op>) -> Self {
        let bytes: Vec<u8> = ops.into_iter().map(|op| op as u8).collect();
        match bytes.first() {
            Some(&first) if bytes.iter().all(|&b| b == first) => Ops(Repr::All(Op::from_byte(first), bytes.len())),
            None => Ops(Repr::All(Op::Read, 0)),
            Some(_) => Ops(Repr::Each(bytes.into())),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::All(_, len) => *len,
            Repr::Each(bytes) => bytes.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The operation of a row. Panics beyond the end, as indexing does.
    pub fn get(&self, row: usize) -> Op {
        match &self.0 {
            Repr::All(op, len) => {
                assert!(row < *len, "row {row} of {len}");
                *op
            }
            Repr::Each(bytes) => Op::from_byte(bytes[row]),
        }
    }

    /// The one operation that all rows share, if they do.
    pub fn uniform(&self) -> Option<Op> {
        match &self.0 {
            Repr::All(op, _) => Some(*op),
            Repr::Each(_) => None,
        }
    }

    /// The operations in row order.
    pub fn iter(&self) -> impl Iterator<Item = Op> + '_ {
        (0..self.len()).map(|row| self.get(row))
    }

    /// Rows `range`, without a copy.
    pub fn slice(&self, range: Range<usize>) -> Self {
        match &self.0 {
            Repr::All(op, _) => Ops(Repr::All(*op, range.len())),
            Repr::Each(bytes) => Ops(Repr::Each(bytes.slice(range.start, range.len()))),
        }
    }
}

impl fmt::Debug for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::All(op, len) => write!(f, "{len}x{}", op.name()),
            Repr::Each(bytes) => bytes
                .iter()
                .try_for_each(|&b| f.write_str(&Op::from_byte(b).name()[..1])),
        }
    }
}

/// Which values the source did not send. Not NULL: an upserting destination leaves such a column alone.
#[derive(Debug, Clone)]
pub struct Unavailable {
    /// One entry for each column of the batch; a set bit means that the row's value was not sent. `None`: all were.
    columns: Vec<Option<BooleanBuffer>>,
}

impl Unavailable {
    /// From one optional mask for each column; `None` if every value was sent.
    pub fn new(columns: Vec<Option<BooleanBuffer>>) -> Option<Self> {
        let columns: Vec<_> = columns
            .into_iter()
            .map(|mask| mask.filter(|mask| mask.count_set_bits() > 0))
            .collect();
        columns.iter().any(Option::is_some).then_some(Unavailable { columns })
    }

    /// Whether the value at `row`, `column` was not sent.
    pub fn is_set(&self, row: usize, column: usize) -> bool {
        self.columns
            .get(column)
            .and_then(Option::as_ref)
            .is_some_and(|mask| mask.value(row))
    }

    /// The mask of a column, if any of its values was not sent.
    pub fn column(&self, column: usize) -> Option<&BooleanBuffer> {
        self.columns.get(column).and_then(Option::as_ref)
    }

    /// Whether any value of the row was not sent.
    pub fn any_in_row(&self, row: usize) -> bool {
        (0..self.columns.len()).any(|column| self.is_set(row, column))
    }

    /// Number of columns covered.
    pub fn column_count(&self) -> usize {
        self.columns.len()
    }

    /// Rows `range`, without a copy.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        Self::new(
            self.columns
                .iter()
                .map(|mask| mask.as_ref().map(|m| m.slice(range.start, range.len())))
                .collect(),
        )
    }
}

/// The rows as they were before: for each row of the batch its old image, where the source sent one.
#[derive(Debug, Clone)]
pub struct Before {
    /// Same columns as the batch's rows, all nullable; a row without an old image holds nulls.
    pub rows: RecordBatch,
    /// Which rows have an old image. Only updates do; a delete's old image is the row itself.
    pub present: BooleanBuffer,
    /// Which values of the old images were not sent (an old *key* leaves all others unset).
    pub unavailable: Option<Unavailable>,
}

impl Before {
    /// Rows `range`, without a copy.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Before {
            rows: self.rows.slice(range.start, range.len()),
            present: self.present.slice(range.start, range.len()),
            unavailable: self.unavailable.as_ref().and_then(|u| u.slice(range)),
        }
    }
}

/// One entry of the run-length commit index: rows from the previous entry's end up to `row_end` belong to the
/// transaction that ends at `order`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Exclusive end of the run of rows.
    pub row_end: usize,
    /// Where the transaction ends, on the *log's* axis; existing rows carry their window's position.
    pub order: Order,
    /// When the source committed it, or the window was opened.
    pub time: Timestamp,
}

/// While a stream is being read, says for each change row in which page of that read its key falls.
#[derive(Debug, Clone)]
pub struct PageTags {
    /// The read that the pages belong to.
    pub run: u32,
    at: ScalarBuffer<u64>,
    before: Option<ScalarBuffer<u64>>,
}

impl PageTags {
    /// One page for each row's key (a delete's key is the deleted one), and for the old key of each update where any
    /// key changed.
    pub fn new(run: u32, at: Vec<Page>, before: Option<Vec<Page>>) -> Self {
        let pack = |pages: Vec<Page>| {
            pages
                .into_iter()
                .map(|p| (u64::from(p.range) << 32) | u64::from(p.number))
                .collect::<Vec<_>>()
                .into()
        };
        PageTags {
            run,
            at: pack(at),
            before: before.map(pack),
        }
    }

    /// The page of the row's key.
    pub fn at(&self, row: usize) -> Page {
        unpack(self.at[row])
    }

    /// The page of the row's old key.
    pub fn before(&self, row: usize) -> Page {
        self.before
            .as_ref()
            .map_or_else(|| self.at(row), |before| unpack(before[row]))
    }

    /// Number of rows tagged.
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether no rows are tagged.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// Rows `range`, without a copy.
    pub fn slice(&self, range: Range<usize>) -> Self {
        PageTags {
            run: self.run,
            at: self.at.slice(range.start, range.len()),
            before: self.before.as_ref().map(|b| b.slice(range.start, range.len())),
        }
    }

    /// The tags of the given rows, in that order. Rows that became deletes of their old image are told by `true`: their
    /// key is the old one.
    pub(crate) fn gather(&self, rows: impl Iterator<Item = (usize, bool)> + Clone) -> Self {
        let old = self.before.as_ref().unwrap_or(&self.at);
        let at = |(row, is_old): (usize, bool)| if is_old { old[row] } else { self.at[row] };
        PageTags {
            run: self.run,
            at: rows.clone().map(at).collect::<Vec<_>>().into(),
            before: self
                .before
                .as_ref()
                .map(|before| rows.map(|(row, _)| before[row]).collect::<Vec<_>>().into()),
        }
    }
}

fn unpack(tag: u64) -> Page {
    Page::new((tag >> 32) as u16, tag as u32)
}

/// Rows of one stream and one partition.
///
/// | part | shape | meaning |
/// |---|---|---|
/// | `rows` | n rows, columns of `schema` | insert, update, read: the row as it is after; delete: the row that went |
/// | `ops` | n | what happened to each |
/// | `before` | n rows | old images of updates |
/// | `unavailable` | n x columns | values of `rows` that were not sent; the value there is null and means nothing |
/// | `commits` | runs over n | which transaction each row belongs to |
/// | `page_tags` | n each | for each read of the stream that is going on: the pages of the keys |
///
/// `rows` has the names and types of `schema`; a column may be nullable there although the schema says it is not,
/// because an unavailable value is carried as null.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Where the rows come from: a log, or a range of a read.
    pub partition: Partition,
    /// For a range: the number of the page that the rows are in. 0 on a log.
    pub page: u32,
    /// The shape of the rows. One batch, one schema.
    pub schema: Arc<StreamSchema>,
    /// The rows.
    pub rows: RecordBatch,
    /// What happened to each row.
    pub ops: Ops,
    /// Old images.
    pub before: Option<Before>,
    /// Values that were not sent.
    pub unavailable: Option<Unavailable>,
    /// The commit index; orders increase, and the last `row_end` is the row count.
    pub commits: Vec<Commit>,
    /// Page tags, one entry for each read of the stream that is going on. Empty for existing rows.
    pub page_tags: Vec<PageTags>,
}

impl Batch {
    /// A batch of existing rows of one page: all `read`, one commit entry (the window's position and time).
    pub fn of_page(
        partition: Partition,
        page: u32,
        schema: Arc<StreamSchema>,
        rows: RecordBatch,
        window: Order,
        time: Timestamp,
    ) -> Self {
        let len = rows.num_rows();
        Batch {
            partition,
            page,
            schema,
            ops: Ops::all(Op::Read, len),
            rows,
            before: None,
            unavailable: None,
            commits: vec![Commit {
                row_end: len,
                order: window,
                time,
            }],
            page_tags: Vec::new(),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The commit entry that a row belongs to.
    pub fn commit_of(&self, row: usize) -> Commit {
        let at = self.commits.partition_point(|commit| commit.row_end <= row);
        self.commits[at]
    }

    /// Bytes of Arrow memory that the rows and their old images take, slices counted by what they show.
    pub fn size_bytes(&self) -> usize {
        let rows = rows_bytes(&self.rows) + self.before.as_ref().map_or(0, |before| rows_bytes(&before.rows));
        let per_row = match self.ops.uniform() {
            Some(_) => 0,
            None => 1,
        } + 16 * self.page_tags.len();
        rows + per_row * self.len() + self.commits.len() * size_of::<Commit>()
    }

    /// Rows `range`, without a copy.
    pub fn slice(&self, range: Range<usize>) -> Batch {
        let mut commits = Vec::new();
        for commit in &self.commits {
            if commit.row_end > range.start && !range.is_empty() {
                let row_end = commit.row_end.min(range.end) - range.start;
                commits.push(Commit { row_end, ..*commit });
                if commit.row_end >= range.end {
                    break;
                }
            }
        }
        Batch {
            partition: self.partition.clone(),
            page: self.page,
            schema: Arc::clone(&self.schema),
            rows: self.rows.slice(range.start, range.len()),
            ops: self.ops.slice(range.clone()),
            before: self.before.as_ref().map(|before| before.slice(range.clone())),
            unavailable: self.unavailable.as_ref().and_then(|u| u.slice(range.clone())),
            commits,
            page_tags: self.page_tags.iter().map(|tags| tags.slice(range.clone())).collect(),
        }
    }

    /// What must hold of every batch. Sources are checked by the conformance suite; hostile ones by their adapter.
    pub fn check(&self) -> Result<(), String> {
        let n = self.len();
        let fields = self.schema.arrow().fields();
        let same_shape = |rows: &RecordBatch| {
            let got = rows.schema();
            got.fields().len() == fields.len()
                && got
                    .fields()
                    .iter()
                    .zip(fields)
                    .all(|(g, w)| g.name() == w.name() && g.data_type() == w.data_type())
        };
        let refuse = |what: &str| Err(format!("batch of `{}`: {what}", self.schema.stream()));
        if !same_shape(&self.rows) {
            return refuse("columns differ from the schema");
        }
        if self.ops.len() != n {
            return refuse("operations and rows differ in number");
        }
        if self.commits.last().map_or(0, |commit| commit.row_end) != n {
            return refuse("the commit index does not end at the last row");
        }
        if self
            .commits
            .windows(2)
            .any(|w| w[0].row_end >= w[1].row_end || w[0].order >= w[1].order)
        {
            return refuse("the commit index does not increase");
        }
        if let Some(before) = &self.before
            && (!same_shape(&before.rows) || before.rows.num_rows() != n || before.present.len() != n)
        {
            return refuse("old images differ in shape");
        }
        if self.page_tags.iter().any(|tags| tags.len() != n) {
            return refuse("page tags and rows differ in number");
        }
        let is_page = |page: Page| page.number > 0;
        if self
            .page_tags
            .iter()
            .any(|tags| !(0..n).all(|row| is_page(tags.at(row)) && is_page(tags.before(row))))
        {
            return refuse("a page tag without a page: they count from 1");
        }
        if self
            .unavailable
            .as_ref()
            .is_some_and(|u| u.column_count() != fields.len())
        {
            return refuse("the unavailable mask and the columns differ in number");
        }
        if self.partition.is_log() != (self.page == 0) {
            return refuse("page number and partition do not fit");
        }
        for (column, field) in fields.iter().enumerate() {
            let mask = self.unavailable.as_ref().and_then(|u| u.column(column));
            if !field.is_nullable() && mask.is_none() && self.rows.column(column).null_count() > 0 {
                return refuse("a null in a column that has none");
            }
        }
        Ok(())
    }
}

/// Bytes that the rows take, slices counted by what they show.
pub(crate) fn rows_bytes(rows: &RecordBatch) -> usize {
    rows.columns()
        .iter()
        .map(|column| {
            let data = column.to_data();
            data.get_slice_memory_size()
                .unwrap_or_else(|_| column.get_array_memory_size())
        })
        .sum()
}

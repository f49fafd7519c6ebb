//! The algebra, rule by rule. Batches are written and shown as text:
//!
//! ```text
//! 10: i 5 a              order 10 inserts row 5 with value `a`; u, d and r are update, delete and read
//! 10: u 5 b < 4 a @7<2   row 4 becomes 5: old image (4, `a`), new key in page 7, old key in page 2
//! 10: u 5 ? < 4 ? @-     `?` was not sent, `~` is null, `@-` is a page that nobody has read
//! ```

#![allow(clippy::unwrap_used)]

mod admit;
mod admit_control;
mod admit_pages;
mod batch;
mod checkpoint;
mod comparison;
mod everywhere;
mod example;
mod fingerprint;
mod golden;
mod history;
mod pick;
mod position;
mod recut;
mod stream;

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Int64Type};

use crate::{
    Batch, Before, ChangeSet, Checkpoint, Commit, Delta, Op, Ops, Order, Page, PageTags, Partition, Position, StreamId,
    StreamSchema, StreamState, Timestamp, Unavailable,
};

pub(crate) fn orders() -> StreamId {
    StreamId::new("orders")
}

pub(crate) fn schema_of(stream: &StreamId) -> Arc<StreamSchema> {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("value", DataType::Utf8, true),
    ];
    Arc::new(StreamSchema::new(stream.clone(), fields, ["id"]).unwrap())
}

pub(crate) fn log() -> Partition {
    Partition::log("log")
}

pub(crate) fn range(run: u32, range: u16) -> Partition {
    Partition::Range {
        stream: orders(),
        run,
        range,
    }
}

pub(crate) fn at(key: u64) -> Order {
    Order::new(0, key, 0)
}

pub(crate) fn moves(partition: Partition, from: impl Into<Option<u64>>, to: u64) -> Delta {
    Delta::of(partition, from.into().map(at), Position::at(at(to)))
}

/// A checkpoint at `log` that is in `state` with orders, and holds pages `1..=n` of the given ranges of its run.
pub(crate) fn holds(log_mark: u64, state: StreamState, pages: &[(u16, u64)]) -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    checkpoint.marks.insert(log(), Position::at(at(log_mark)));
    for &(r, page) in pages {
        checkpoint.marks.insert(range(state.run(), r), Position::at(at(page)));
    }
    checkpoint.streams.insert(orders(), state);
    checkpoint
}

pub(crate) fn reading(run: u32) -> StreamState {
    StreamState::reading(run, Vec::new())
}

pub(crate) fn live(run: u32) -> StreamState {
    StreamState::Live { run }
}

pub(crate) fn gave_up(run: u32, pages: &[Page]) -> StreamState {
    StreamState::Reading {
        run,
        ranges: Vec::new().into(),
        given_up: pages.to_vec(),
    }
}

/// A changeset of whole transactions of the log.
pub(crate) fn changes(from: u64, to: u64, rows: &str) -> Arc<ChangeSet> {
    Arc::new(ChangeSet::rows(moves(log(), from, to), vec![log_batch(rows)]))
}

/// A page of orders, as of order `window` of the log.
pub(crate) fn page(run: u32, r: u16, number: u32, rows: &str) -> Arc<ChangeSet> {
    let batch = Batch {
        partition: range(run, r),
        page: number,
        ..log_batch(rows)
    };
    let from = (number > 1).then(|| u64::from(number) - 1);
    Arc::new(ChangeSet::rows(
        moves(range(run, r), from, u64::from(number)),
        vec![batch],
    ))
}

type Image = (Option<i64>, Option<Option<String>>);

/// A batch of orders on the log, tagged for run 1 if the text has pages.
pub(crate) fn log_batch(text: &str) -> Batch {
    batch_of(&orders(), text)
}

pub(crate) fn batch_of(stream: &StreamId, text: &str) -> Batch {
    let schema = schema_of(stream);
    let (mut images, mut olds, mut ops) = (Vec::new(), Vec::new(), Vec::new());
    let (mut commits, mut tags): (Vec<Commit>, Vec<(Page, Page)>) = (Vec::new(), Vec::new());
    let lines = text.split(['|', '\n']).map(str::trim).filter(|line| !line.is_empty());
    for (row, line) in lines.enumerate() {
        let (order, line) = line.split_once(':').unwrap();
        let (change, tag) = line.split_once('@').map_or((line, None), |(c, tag)| (c, Some(tag)));
        let (new, old) = change.split_once('<').map_or((change, None), |(n, o)| (n, Some(o)));
        let (op, new) = new.trim().split_once(' ').unwrap();
        ops.push(match op {
            "r" => Op::Read,
            "i" => Op::Insert,
            "u" => Op::Update,
            "d" => Op::Delete,
            other => panic!("`{other}` is no operation"),
        });
        images.push(parse_image(new));
        olds.push(old.map(parse_image));
        let order = at(order.parse().unwrap());
        match commits.last_mut() {
            Some(last) if last.order == order => last.row_end = row + 1,
            _ => commits.push(Commit {
                row_end: row + 1,
                order,
                time: Timestamp(order.key() as i64),
            }),
        }
        if let Some(tag) = tag {
            let (new, old) = tag.split_once('<').unwrap_or((tag, tag));
            tags.push((parse_page(new), parse_page(old)));
        }
    }
    let before = olds.iter().any(Option::is_some).then(|| {
        let present: BooleanBuffer = olds.iter().map(Option::is_some).collect();
        let images: Vec<Image> = olds.into_iter().map(|old| old.unwrap_or((None, Some(None)))).collect();
        Before {
            rows: record_batch(&schema, &images, true),
            present,
            unavailable: mask(&images),
        }
    });
    let page_tags = if tags.is_empty() {
        Vec::new()
    } else {
        let (new, old): (Vec<Page>, Vec<Page>) = tags.into_iter().unzip();
        vec![PageTags::new(1, new, Some(old))]
    };
    Batch {
        partition: log(),
        page: 0,
        rows: record_batch(&schema, &images, false),
        ops: Ops::each(ops),
        before,
        unavailable: mask(&images),
        commits,
        page_tags,
        schema,
    }
}

fn parse_image(text: &str) -> Image {
    let mut words = text.split_whitespace();
    let id = words.next().unwrap().parse().unwrap();
    let value = match words.next().unwrap_or("~") {
        "?" => None,
        "~" => Some(None),
        value => Some(Some(value.to_owned())),
    };
    (Some(id), value)
}

fn parse_page(text: &str) -> Page {
    let text = text.trim();
    let (r, number) = text.split_once('/').unwrap_or(("0", text));
    let number = if number == "-" {
        Page::UNREAD
    } else {
        number.parse().unwrap()
    };
    Page::new(r.parse().unwrap(), number)
}

fn record_batch(schema: &StreamSchema, images: &[Image], all_nullable: bool) -> RecordBatch {
    let ids: Int64Array = images.iter().map(|(id, _)| *id).collect();
    let values: StringArray = images.iter().map(|(_, value)| value.clone().flatten()).collect();
    let shape = match all_nullable {
        true => crate::pick::nullable(schema.arrow()),
        false => Arc::clone(schema.arrow()),
    };
    RecordBatch::try_new(shape, vec![Arc::new(ids), Arc::new(values)]).unwrap()
}

fn mask(images: &[Image]) -> Option<Unavailable> {
    Unavailable::new(vec![
        None,
        Some(images.iter().map(|(_, value)| value.is_none()).collect()),
    ])
}

/// The text of a batch, one row a line; what `log_batch` reads.
pub(crate) fn show(batch: &Batch) -> String {
    batch.check().unwrap();
    let lines = (0..batch.len()).map(|row| {
        let mut line = format!("{}: {} ", batch.commit_of(row).order, &batch.ops.get(row).name()[..1]);
        line += &show_image(&batch.rows, batch.unavailable.as_ref(), row);
        if let Some(before) = batch.before.as_ref().filter(|before| before.present.value(row)) {
            line += " < ";
            line += &show_image(&before.rows, before.unavailable.as_ref(), row);
        }
        if let Some(tags) = batch.page_tags.first() {
            line += &format!(" @{}", show_page(tags.at(row)));
            if tags.before(row) != tags.at(row) {
                line += &format!("<{}", show_page(tags.before(row)));
            }
        }
        line
    });
    lines.collect::<Vec<_>>().join(" | ")
}

fn show_page(page: Page) -> String {
    let number = match page.number {
        Page::UNREAD => "-".to_owned(),
        number => number.to_string(),
    };
    match page.range {
        0 => number,
        r => format!("{r}/{number}"),
    }
}

fn show_image(rows: &RecordBatch, mask: Option<&Unavailable>, row: usize) -> String {
    let id = rows.column(0).as_primitive::<Int64Type>();
    let value = rows.column(1).as_string::<i32>();
    let value = match mask.is_some_and(|mask| mask.is_set(row, 1)) {
        true => "?",
        false if value.is_null(row) => "~",
        false => value.value(row),
    };
    let id = if id.is_null(row) {
        "~".to_owned()
    } else {
        id.value(row).to_string()
    };
    format!("{id} {value}")
}

/// The text of all rows of a changeset; empty if there is none.
pub(crate) fn shown(changeset: Option<&Arc<ChangeSet>>) -> String {
    let batches = changeset.map_or(&[][..], |changeset| changeset.batches());
    batches.iter().map(show).collect::<Vec<_>>().join(" || ")
}

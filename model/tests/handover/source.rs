//! A source with windows: it emits the log up to S, then the window's pages as of S in any order, then the log goes on.

use std::collections::{BTreeMap, VecDeque};

use model::{
    ChangeSet, Checkpoint, Control, Delta, DestinationId, Mark, Page, PageTags, Part, Partition, Place, Position,
    StreamState,
};
use rand::Rng;

use crate::rows::{SCHEMAS, change_batch, log, order, page_batch, stream, table_of};
use crate::sabotage::Sabotage;
use crate::seen::Seen;
use crate::world::{Change, Transaction, Work, World};
use crate::{Failure, Rng8};

/// One numbered read of one table.
pub(crate) struct Read {
    pub(crate) table: usize,
    run: u32,
    destinations: Option<Vec<DestinationId>>,
    empty_first: bool,
    has_begun: bool,
    ranges: Vec<Range>,
}

/// Keys in `(lower, upper]`.
struct Range {
    lower: i64,
    upper: i64,
    /// The upper bounds of the pages that are known: those read here, and those that a destination holds.
    bounds: BTreeMap<u32, i64>,
    /// The last page that was sent, or that everyone who reads this run holds.
    sent: u32,
}

impl Range {
    fn is_done(&self) -> bool {
        self.sent > 0 && self.bounds.get(&self.sent) == Some(&self.upper)
    }

    /// The page that a key falls in: the first whose bound is known and not below it. That may be a later page than the
    /// one that will be read, but never a wrong answer: everyone who holds more than the pages below holds up to there.
    fn page_of(&self, key: i64) -> u32 {
        let known = self.bounds.iter().find(|&(_, &bound)| key <= bound);
        known.map_or(Page::UNREAD, |(&page, _)| page)
    }
}

struct Window {
    s: u64,
    /// What is left to read: index into `reads`, and of the range.
    pages: Vec<(usize, usize)>,
}

/// What a naive source remembers of a chunk: rows of these keys up to this order are in it.
struct Chunk {
    table: usize,
    lower: i64,
    upper: i64,
    s: u64,
}

pub(crate) struct Source {
    cursor: u64,
    reads: Vec<Read>,
    window: Option<Window>,
    queue: VecDeque<ChangeSet>,
    chunks: Vec<Chunk>,
    sabotage: Sabotage,
}

impl Source {
    /// Opens at the smallest position of all, and resumes every read that some checkpoint says is going on.
    pub(crate) fn open(
        world: &World,
        held: &[(DestinationId, Checkpoint)],
        sabotage: Sabotage,
        seen: &mut Seen,
    ) -> Result<Self, Failure> {
        let log_mark = |checkpoint: &Checkpoint| match checkpoint.mark(&log()) {
            Mark::At(mark) => Some(mark.key()),
            _ => None,
        };
        let begins = held.iter().filter_map(|(_, checkpoint)| log_mark(checkpoint)).min();
        let cursor = begins.unwrap_or_else(|| world.head());
        if cursor < world.pruned {
            return Err(Failure::new(format!(
                "position {cursor} is lost: the log begins at {}",
                world.pruned
            )));
        }
        let mut reads: Vec<Read> = Vec::new();
        for (_, checkpoint) in held {
            for (id, state) in &checkpoint.streams {
                if let StreamState::Reading { run, ranges, .. } = state {
                    let known = reads.iter().any(|read| read.run == *run && stream(read.table) == id);
                    if !known {
                        let read = resume(held, table_of(id), *run, ranges, sabotage, seen);
                        reads.push(read);
                    }
                }
            }
        }
        Ok(Source {
            cursor,
            reads,
            window: None,
            queue: VecDeque::new(),
            chunks: Vec::new(),
            sabotage,
        })
    }

    /// Asks for a read; its begin follows.
    pub(crate) fn read_existing(
        &mut self,
        rng: &mut Rng8,
        table: usize,
        run: u32,
        destinations: Option<Vec<DestinationId>>,
        empty_first: bool,
    ) {
        let mut uppers: Vec<i64> = (0..rng.random_range(0..3)).map(|_| rng.random_range(2..22)).collect();
        uppers.sort_unstable();
        uppers.dedup();
        uppers.push(i64::MAX);
        self.reads.push(Read {
            table,
            run,
            destinations,
            empty_first,
            has_begun: false,
            ranges: ranges_of(&uppers),
        });
    }

    /// Whether there is nothing to emit before the world changes.
    pub(crate) fn is_idle(&self, world: &World) -> bool {
        self.queue.is_empty() && self.reads.is_empty() && self.window.is_none() && self.cursor >= world.head()
    }

    /// The next changeset; `None` while there is nothing.
    pub(crate) fn next(
        &mut self,
        world: &World,
        rng: &mut Rng8,
        seen: &mut Seen,
    ) -> Result<Option<ChangeSet>, Failure> {
        if let Some(changeset) = self.queue.pop_front() {
            return Ok(Some(changeset));
        }
        if let Some(window) = &self.window {
            let s = window.s;
            if self.cursor < s && !self.sabotage.reads_ahead_of_the_log() {
                return self.next_of_log(world, s, rng, seen).map(Some);
            }
            if let Some(page) = self.next_page(world, s, rng, seen) {
                return Ok(Some(page));
            }
            self.window = None;
        }
        if let Some(at) = self.reads.iter().position(|read| !read.has_begun)
            && rng.random_bool(0.6)
        {
            return Ok(Some(self.begin_read(at)));
        }
        let is_over = |read: &Read| {
            let left = read.ranges.iter().filter(|range| !range.is_done()).count();
            read.has_begun && (left == 0 || left == 1 && self.sabotage == Sabotage::EndBeforeTheLastPage)
        };
        if let Some(at) = self.reads.iter().position(is_over)
            && rng.random_bool(0.5)
        {
            return Ok(Some(self.end_read(at)));
        }
        let is_behind = self.cursor < world.head();
        if self.reads.iter().any(|read| read.has_begun) && (!is_behind || rng.random_bool(0.4)) {
            self.open_window(world, rng);
        }
        if is_behind {
            return self.next_of_log(world, world.head(), rng, seen).map(Some);
        }
        Ok(None)
    }

    fn begin_read(&mut self, at: usize) -> ChangeSet {
        let read = &mut self.reads[at];
        read.has_begun = true;
        let here = Position::at(order(self.cursor));
        let uppers: Vec<u8> = read.ranges.iter().flat_map(|range| range.upper.to_le_bytes()).collect();
        // The place in the log comes along: a fresh destination begins its log here.
        let delta = Delta::of(log(), Some(here.order), here)
            .with_stream(stream(read.table).clone(), StreamState::reading(read.run, uppers));
        let control = Control::BeginRead {
            schema: SCHEMAS[read.table].clone(),
            run: read.run,
            destinations: read.destinations.clone(),
            empty_first: read.empty_first,
        };
        ChangeSet::control(delta, control)
    }

    fn end_read(&mut self, at: usize) -> ChangeSet {
        let read = self.reads.remove(at);
        let mut delta = Delta::none().with_stream(stream(read.table).clone(), StreamState::Live { run: read.run });
        // The last pages come along: a destination that lacks one finds a hole.
        for (r, range) in read.ranges.iter().enumerate().filter(|(_, range)| range.sent > 0) {
            let last = order(u64::from(range.sent));
            let whole = Delta::of(range_of(&read, r), Some(last), Position::at(last));
            if self.sabotage != Sabotage::EndBeforeTheLastPage {
                delta.then(&whole);
            }
        }
        let (stream, run) = (stream(read.table).clone(), read.run);
        ChangeSet::control(delta, Control::EndRead { stream, run })
    }

    fn open_window(&mut self, world: &World, rng: &mut Rng8) {
        let mut pages = Vec::new();
        for (i, read) in self.reads.iter().enumerate().filter(|(_, read)| read.has_begun) {
            for r in (0..read.ranges.len()).filter(|&r| !read.ranges[r].is_done()) {
                pages.extend(std::iter::repeat_n((i, r), rng.random_range(0..4)));
            }
        }
        if !pages.is_empty() {
            let s = world.head();
            self.window = Some(Window { s, pages });
        }
    }

    /// One page of the window, sometimes several of one range in one changeset.
    fn next_page(&mut self, world: &World, s: u64, rng: &mut Rng8, seen: &mut Seen) -> Option<ChangeSet> {
        let window = self.window.as_mut()?;
        let (mut delta, mut batches) = (Delta::none(), Vec::new());
        let at = rng.random_range(0..window.pages.len().max(1));
        let (i, r) = *window.pages.get(at)?;
        loop {
            let at = window.pages.iter().position(|&page| page == (i, r));
            let Some(at) = at else { break };
            window.pages.swap_remove(at);
            let read = &mut self.reads[i];
            if read.ranges[r].is_done() {
                continue;
            }
            let (table, partition) = (read.table, range_of(read, r));
            let range = &mut read.ranges[r];
            let (lower, rows) = read_page(range, world.tables_at(s)[table].as_ref(), rng, seen);
            let (number, bound) = (range.sent, range.bounds[&range.sent]);
            if self.sabotage == Sabotage::SkipWhatTheChunkSaw {
                self.chunks.push(Chunk {
                    table,
                    lower,
                    upper: bound,
                    s,
                });
            }
            let to = Position::with_token(order(u64::from(number)), bound.to_le_bytes().to_vec());
            let from = (number > 1).then(|| order(u64::from(number) - 1));
            delta.then(&Delta::of(partition.clone(), from, to));
            if !rows.is_empty() {
                batches.push(page_batch(table, partition, number, &rows, s));
            }
            if rng.random_bool(0.8) {
                break;
            }
        }
        if delta.is_empty() {
            return self.next_page(world, s, rng, seen);
        }
        seen.pages += 1;
        Some(ChangeSet::rows(delta, batches))
    }

    /// Some of the log after the cursor, up to `limit`.
    fn next_of_log(
        &mut self,
        world: &World,
        limit: u64,
        rng: &mut Rng8,
        seen: &mut Seen,
    ) -> Result<ChangeSet, Failure> {
        if self.cursor < world.pruned {
            let message = format!("log after {} is lost: it begins at {}", self.cursor, world.pruned);
            return Err(Failure::new(message));
        }
        let ahead = world.log_after(self.cursor);
        let first = &ahead[0];
        if first.order > self.cursor + 1 && rng.random_bool(0.2) {
            seen.progress += 1;
            return Ok(self.rows(first.order - 1, &[]));
        }
        if let Work::Truncate(table) = first.work {
            seen.truncates += 1;
            let delta = self.moved_to(first.order);
            let stream = stream(table).clone();
            return Ok(ChangeSet::control(delta, Control::Truncate { stream }));
        }
        if let Work::Refill { before, table, after } = &first.work {
            seen.truncates_between_rows += 1;
            return Ok(self.refill(first.order, before, *table, after));
        }
        let is_next =
            |transaction: &&Transaction| transaction.order <= limit && matches!(transaction.work, Work::Rows(_));
        let count = rng.random_range(1..5);
        let transactions: Vec<&Transaction> = ahead.iter().take_while(is_next).take(count).collect();
        let mut rows: Vec<(u64, usize, Change)> = Vec::new();
        for transaction in &transactions {
            if let Work::Rows(changes) = &transaction.work {
                rows.extend(
                    changes
                        .iter()
                        .map(|&(table, change)| (transaction.order, table, change)),
                );
            }
        }
        let to = transactions.last().map_or(self.cursor, |transaction| transaction.order);
        if self.sabotage == Sabotage::SkipWhatTheChunkSaw {
            rows.retain(|row| !self.chunks.iter().any(|chunk| chunk.saw(row)));
        }
        if transactions.len() == 1 && rows.len() > 2 && rng.random_bool(0.6) {
            return Ok(self.cut_in_parts(to, &rows, rng, seen));
        }
        Ok(self.rows(to, &rows))
    }

    fn moved_to(&mut self, to: u64) -> Delta {
        let from = std::mem::replace(&mut self.cursor, to);
        Delta::of(log(), Some(order(from)), Position::at(order(to)))
    }

    fn rows(&mut self, to: u64, rows: &[(u64, usize, Change)]) -> ChangeSet {
        let batches = self.batches(rows);
        ChangeSet::rows(self.moved_to(to), batches)
    }

    /// One transaction in pieces; the last one moves.
    fn cut_in_parts(&mut self, to: u64, rows: &[(u64, usize, Change)], rng: &mut Rng8, seen: &mut Seen) -> ChangeSet {
        seen.cut_transactions += 1;
        let delta = self.moved_to(to);
        let pieces: Vec<_> = rows.chunks(rng.random_range(1..rows.len())).collect();
        for (i, piece) in pieces.iter().enumerate() {
            let is_last = i + 1 == pieces.len();
            let part = match i {
                0 => Part::First,
                _ if is_last => Part::Last,
                _ => Part::Middle,
            };
            let delta = if is_last { delta.clone() } else { Delta::none() };
            let batches = self.batches(piece);
            self.queue.push_back(ChangeSet::part(part, delta, batches));
        }
        self.queue.pop_front().expect("there are at least two pieces")
    }

    /// One transaction with a truncate between its rows; a side without rows has no part of its own.
    fn refill(&mut self, to: u64, before: &[(usize, Change)], table: usize, after: &[(usize, Change)]) -> ChangeSet {
        let of = |changes: &[(usize, Change)]| -> Vec<(u64, usize, Change)> {
            changes.iter().map(|&(table, change)| (to, table, change)).collect()
        };
        let delta = self.moved_to(to);
        let place = Place {
            log: log(),
            order: order(to),
        };
        let stream = stream(table).clone();
        let first = match before.is_empty() {
            true => Part::First,
            false => {
                let batches = self.batches(&of(before));
                self.queue
                    .push_back(ChangeSet::part(Part::First, Delta::none(), batches));
                Part::Middle
            }
        };
        self.queue.push_back(ChangeSet::control_part(
            first,
            Delta::none(),
            Control::Truncate { stream },
            place,
        ));
        let batches = self.batches(&of(after));
        self.queue.push_back(ChangeSet::part(Part::Last, delta, batches));
        self.queue.pop_front().expect("there are at least two parts")
    }

    fn batches(&self, rows: &[(u64, usize, Change)]) -> Vec<model::Batch> {
        let mut batches = Vec::new();
        for table in 0..3 {
            let rows = rows.iter().filter(|row| row.1 == table);
            let changes: Vec<(u64, Change)> = rows.map(|&(at, _, change)| (at, change)).collect();
            if changes.is_empty() {
                continue;
            }
            let reads = self.reads.iter().filter(|read| read.table == table && read.has_begun);
            let tags = reads.map(|read| page_tags(read, &changes)).collect();
            batches.push(change_batch(table, &changes, tags));
        }
        batches
    }
}

impl Chunk {
    fn saw(&self, &(at, table, change): &(u64, usize, Change)) -> bool {
        let key = match change {
            Change::Insert { new } | Change::Update { new, .. } => new.0,
            Change::Delete { old } => old.0,
        };
        table == self.table && at <= self.s && key > self.lower && key <= self.upper
    }
}

fn range_of(read: &Read, r: usize) -> Partition {
    Partition::Range {
        stream: stream(read.table).clone(),
        run: read.run,
        range: r as u16,
    }
}

fn ranges_of(uppers: &[i64]) -> Vec<Range> {
    let lowers = std::iter::once(i64::MIN).chain(uppers.iter().copied());
    let ranges = uppers.iter().zip(lowers).map(|(&upper, lower)| Range {
        lower,
        upper,
        bounds: BTreeMap::new(),
        sent: 0,
    });
    ranges.collect()
}

/// The range upper bounds that a read fixed when it began.
pub(crate) fn uppers(ranges: &[u8]) -> Vec<i64> {
    ranges.chunks_exact(8).map(bound).collect()
}

/// A bound, as a token carries it.
pub(crate) fn bound(token: &[u8]) -> i64 {
    i64::from_le_bytes(token.try_into().expect("eight bytes"))
}

/// A read as the checkpoints show it: everyone's last page with its bound, and the page from which the furthest behind
/// goes on. Pages that are read again must end at every known bound, because it is by these that the others hold theirs.
fn resume(
    held: &[(DestinationId, Checkpoint)],
    table: usize,
    run: u32,
    ranges: &[u8],
    sabotage: Sabotage,
    seen: &mut Seen,
) -> Read {
    let mut read = Read {
        table,
        run,
        destinations: None,
        empty_first: false,
        has_begun: true,
        ranges: ranges_of(&uppers(ranges)),
    };
    let readers = held.iter().filter(|(_, checkpoint)| {
        checkpoint
            .streams
            .get(stream(table))
            .is_some_and(|state| state.reads(run))
    });
    let readers: Vec<_> = readers.map(|(_, checkpoint)| checkpoint).collect();
    for r in 0..read.ranges.len() {
        let partition = range_of(&read, r);
        let marks: Vec<Option<&Position>> = readers.iter().map(|reader| reader.marks.get(&partition)).collect();
        let range = &mut read.ranges[r];
        for mark in marks.iter().flatten() {
            range.bounds.insert(mark.order.key() as u32, bound(&mark.token));
        }
        range.sent = marks
            .iter()
            .map(|mark| mark.map_or(0, |mark| mark.order.key() as u32))
            .min()
            .unwrap_or(0);
        let furthest = range.bounds.keys().next_back().copied().unwrap_or(0);
        if furthest > range.sent {
            seen.uneven_resumes += 1;
        }
        if sabotage == Sabotage::ForgetTheBoundsOfOthers {
            range.bounds.retain(|&page, _| page <= range.sent);
        }
    }
    read
}

/// Reads the next page of a range: its lower bound, and its rows.
fn read_page(range: &mut Range, table: &BTreeMap<i64, i64>, rng: &mut Rng8, seen: &mut Seen) -> (i64, Vec<(i64, i64)>) {
    let number = range.sent + 1;
    let lower = range.bounds.get(&range.sent).copied().unwrap_or(range.lower);
    let known = range.bounds.range(number..).next().map(|(&page, &bound)| (page, bound));
    let limit = known.map_or(range.upper, |(_, bound)| bound);
    let ahead = |upper: i64| {
        let rows = table
            .range(lower.saturating_add(1)..)
            .take_while(move |&(&key, _)| key <= upper);
        rows.map(|(&key, &value)| (key, value))
    };
    let mut rows: Vec<(i64, i64)> = ahead(limit).collect();
    let size = rng.random_range(1..4);
    let upper = match known {
        Some((page, bound)) if page == number => bound,
        _ if rows.len() <= size && (known.is_none() || rng.random_bool(0.5)) => limit,
        _ => {
            rows.truncate(size);
            // A bound lies anywhere before the next row; it need not be a key.
            let last = rows.last().map_or(lower, |&(key, _)| key);
            let next = ahead(limit)
                .find(|&(key, _)| key > last)
                .map_or(last.saturating_add(1), |(key, _)| key);
            let highest = (next - 1).clamp(last, limit);
            if highest > last && rng.random_bool(0.5) {
                highest
            } else {
                last
            }
        }
    };
    rows.retain(|&(key, _)| key <= upper);
    if rows.is_empty() {
        seen.empty_pages += 1;
    }
    range.bounds.insert(number, upper);
    range.sent = number;
    (lower, rows)
}

fn page_tags(read: &Read, changes: &[(u64, Change)]) -> PageTags {
    let page_of = |key: i64| {
        let r = read
            .ranges
            .iter()
            .position(|range| key <= range.upper)
            .expect("the last range ends nowhere");
        Page::new(r as u16, read.ranges[r].page_of(key))
    };
    let new = |change: &Change| match *change {
        Change::Insert { new } | Change::Update { new, .. } => new.0,
        Change::Delete { old } => old.0,
    };
    let old = |change: &Change| match *change {
        Change::Update { old, .. } => old.0,
        _ => new(change),
    };
    let at = changes.iter().map(|(_, change)| page_of(new(change))).collect();
    let before = changes.iter().map(|(_, change)| page_of(old(change))).collect();
    PageTags::new(read.run, at, Some(before))
}

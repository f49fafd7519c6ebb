//! The pages of one window, read on several connections at once.
//!
//! ```text
//! tables that wait ──► a reader takes one: waits for room, locks, checks, finds where its next page ends ──► announces it
//!        ▲                     │
//!        └─────────────────────┘ puts the table back, and reads the page while others go on
//!
//! engine: takes the pages in the order in which they were announced, each with its rows as they come
//! ```
//!
//! - Every reader imports the window's snapshot, and reads each page in a transaction of its own, so that DDL gets its turn.
//! - A page is about as large as a changeset, by what the pages before it were like: then every page waits whole, and its
//!   reader has gone on to the next.
//! - No lock is held while a page waits for room, as long as pages are no larger than a changeset; and the window closes when
//!   its time is over, even if nobody takes what was read.
//! - Memory: the page whose turn it is may wait for some; those behind it take what is spare ([`Room::spare`]) or
//!   wait for their turn, so that they never keep from the first what it needs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use api::{Pages, Reservation};
use model::StreamId;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::catalogue::Table;
use super::emitter::Ended;
use super::key::Key;
use super::page_copy::{Page, PageParts, Room};
use super::pages::{condition_of_blocks, condition_of_keys, copy_statement, end_of_page};
use super::position::{Bound, nameless};
use super::reads::Cut;
use super::shape::StreamShape;
use super::window::{Door, Standing, WindowReader};

/// A page is meant to fill so much of a changeset; one that becomes larger is handed on in parts.
const PAGE_FILL: f64 = 0.7;

/// Blocks of a range of a table that is read as it lies, at least: less is not worth a transaction.
const RANGE_BLOCKS_MIN: u64 = 64;

/// A table of which pages are missing.
pub(crate) struct Task {
    pub(crate) stream: StreamId,
    pub(crate) run: u32,
    pub(crate) shape: Arc<StreamShape>,
    pub(crate) table: Table,
    pub(crate) frontier: Frontier,
    /// Rows of the next page.
    pub(crate) page_rows: Arc<AtomicU64>,
    /// Whether somebody was told that it is locked.
    pub(crate) is_known_to_be_locked: bool,
}

/// Up to where pages are announced.
pub(crate) enum Frontier {
    Keys(Pages<Key>),
    /// Blocks of the table; how many there are is known once it is locked.
    Blocks {
        next: u64,
        count: Option<u64>,
    },
}

impl Task {
    fn cut(&self) -> Cut {
        match self.frontier {
            Frontier::Keys(_) => Cut::ByKey,
            Frontier::Blocks { .. } => Cut::OneWindow,
        }
    }

    /// Whether it has to be read to its end in this window.
    fn is_bound_to_window(&self) -> bool {
        matches!(self.frontier, Frontier::Blocks { next, .. } if next > 0)
    }
}

/// What a reader tells the engine.
pub(crate) enum Turn {
    Page(Announced),
    /// The window does not show the table as it is.
    Changed {
        stream: StreamId,
        run: u32,
    },
    Failed(Ended),
}

/// A page that is being read.
pub(crate) struct Announced {
    pub(crate) stream: StreamId,
    pub(crate) run: u32,
    pub(crate) cut: Cut,
    /// Its number, for a page by key.
    pub(crate) number: u32,
    pub(crate) end: Bound,
    pub(crate) shape: Arc<StreamShape>,
    pub(crate) parts: PageParts,
    _is_under_way: UnderWay,
}

/// Where a page lies, and whether the table ends with it.
struct Cutting {
    number: u32,
    end: Bound,
    condition: String,
    is_last: bool,
}

/// What the readers of a window work on.
pub(crate) struct Work {
    tables: Arc<Mutex<Tables>>,
    /// Told whenever `tables` changed.
    moved: Notify,
    turns: mpsc::Sender<Turn>,
    /// Held by the one who waits for room.
    seating: tokio::sync::Mutex<()>,
    under_way: Arc<UnderWayCount>,
    room: Room,
    page_rows_max: u64,
    connections: usize,
    /// No page is begun any more.
    closing: CancellationToken,
    deadline: Instant,
}

struct Tables {
    waiting: VecDeque<Task>,
    /// Tables whose next page somebody is looking for.
    taken: usize,
    /// How often one was taken.
    taken_count: u64,
    /// Reads of which nothing more is wanted.
    let_go: Vec<(StreamId, u32)>,
}

/// How a window is read.
pub(crate) struct Manner {
    pub(crate) connections: usize,
    pub(crate) page_rows_max: u64,
    pub(crate) room: Room,
    pub(crate) closing: CancellationToken,
    /// When no further page by key is begun.
    pub(crate) deadline: Instant,
}

/// The readers; aborted when dropped.
pub(crate) struct Readers {
    turns: mpsc::Receiver<Turn>,
    tasks: JoinSet<()>,
    /// Not the whole of their work, which would keep `turns` from its end.
    tables: Arc<Mutex<Tables>>,
}

impl Readers {
    /// The first reader's connection has to come about; with fewer than were asked for it takes longer.
    pub(crate) async fn start(door: Door, tables: Vec<Task>, manner: Manner) -> api::Result<Self> {
        let connections = manner.connections.max(1);
        let (turns, receiver) = mpsc::channel(2 * connections);
        let mut waiting: VecDeque<Task> = tables.into();
        // Those that have to be read to their end go first, so that others use the time.
        waiting.make_contiguous().sort_by_key(|task| task.cut() == Cut::ByKey);
        let work = Arc::new(Work {
            tables: Arc::new(Mutex::new(Tables {
                waiting,
                taken: 0,
                taken_count: 0,
                let_go: Vec::new(),
            })),
            moved: Notify::new(),
            turns,
            seating: tokio::sync::Mutex::new(()),
            under_way: Arc::default(),
            room: manner.room,
            page_rows_max: manner.page_rows_max,
            connections,
            closing: manner.closing,
            deadline: manner.deadline,
        });
        let tables = Arc::clone(&work.tables);
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&work).read(door.clone().reader().await?));
        for _ in 1..connections {
            let (work, door) = (Arc::clone(&work), door.clone());
            tasks.spawn(async move {
                match door.reader().await {
                    Ok(reader) => work.read(reader).await,
                    Err(error) => tracing::warn!(
                        code = error.code(),
                        error = error.chain(),
                        "existing rows are read on fewer connections than `connections` says"
                    ),
                }
            });
        }
        Ok(Readers {
            turns: receiver,
            tasks,
            tables,
        })
    }

    /// Reads nothing more of a table. Pages of it that are announced come to nothing.
    pub(crate) fn let_go(&self, stream: &StreamId, run: u32) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.let_go.push((stream.clone(), run));
    }

    /// What is next; `None` if nothing is left to read in this window.
    pub(crate) async fn next(&mut self) -> Option<Turn> {
        self.turns.recv().await
    }

    /// Waits for the readers, all of which are at their end; whether one of them came to it by a panic.
    pub(crate) async fn has_panicked(mut self) -> bool {
        while let Some(ended) = self.tasks.join_next().await {
            if ended.is_err() {
                return true;
            }
        }
        false
    }
}

/// A table on whose next page a reader works. Dropped: nothing more of it is read in this window.
struct Taken<'a> {
    task: Option<Task>,
    work: &'a Work,
}

impl Taken<'_> {
    fn put_back(mut self) {
        if let Some(task) = self.task.take() {
            self.work.tables().waiting.push_back(task);
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.work.tables().taken -= 1;
        self.work.moved.notify_waiters();
    }
}

impl Work {
    /// Nothing is left half-done by a panic inside these short sections.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a table's next page can as well be read in another window. However short they are, each brings something.
    fn may_wait_for_next_window(&self, task: &Task) -> bool {
        self.tables().taken_count > 1 && !task.is_bound_to_window()
    }

    /// Takes a table, as soon as one is there; `None` if none will come any more.
    async fn take(&self) -> Option<Taken<'_>> {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Registered before the look, so that a move in between is not missed.
            moved.as_mut().enable();
            {
                let mut tables = self.tables();
                // However short windows are, each brings something.
                let is_late = tables.taken_count > 0 && Instant::now() >= self.deadline;
                while let Some(task) = tables.waiting.pop_front() {
                    let is_let_go = tables
                        .let_go
                        .iter()
                        .any(|(stream, run)| (stream, *run) == (&task.stream, task.run));
                    if is_let_go || self.closing.is_cancelled() || (is_late && !task.is_bound_to_window()) {
                        continue;
                    }
                    tables.taken += 1;
                    tables.taken_count += 1;
                    return Some(Taken {
                        task: Some(task),
                        work: self,
                    });
                }
                if tables.taken == 0 {
                    return None;
                }
            }
            moved.await;
        }
    }

    /// One reader. Ends when nothing is left, or at the first failure, of which it tells.
    async fn read(self: Arc<Self>, mut reader: WindowReader) {
        if let Err(ended) = self.read_pages(&mut reader).await {
            // If nobody listens any more, nobody needs to know.
            let _ = self.turns.send(Turn::Failed(ended)).await;
        }
    }

    async fn read_pages(&self, reader: &mut WindowReader) -> Result<(), Ended> {
        while let Some(taken) = reader.unlocked_while(self.take()).await? {
            self.read_page(reader, taken).await?;
        }
        Ok(())
    }

    async fn read_page(&self, reader: &mut WindowReader, mut taken: Taken<'_>) -> Result<(), Ended> {
        let Some(task) = taken.task.as_mut() else { return Ok(()) };
        let may_wait = self.may_wait_for_next_window(task);
        let seat = async {
            tokio::select! {
                biased;
                seat = self.seat() => seat.map(Some),
                // The window closes in time, however long nobody takes what is read.
                () = tokio::time::sleep_until(self.deadline.into()), if may_wait => Ok(None),
            }
        };
        let Some(seat) = reader.unlocked_while(seat).await?? else {
            return Ok(());
        };
        let columns: Vec<String> = task
            .shape
            .columns
            .iter()
            .map(|column| task.shape.sent[column.at].name.clone())
            .collect();
        match reader.begin(&task.table, &columns).await? {
            Standing::Same => {}
            Standing::Changed => {
                reader.end().await?;
                let (stream, run) = (task.stream.clone(), task.run);
                seat.turn.send(Turn::Changed { stream, run });
                return Ok(());
            }
            Standing::Locked => {
                reader.end().await?;
                if !std::mem::replace(&mut task.is_known_to_be_locked, true) {
                    tracing::warn!(code = "W0255", stream = %task.stream, "existing rows wait: the table is locked");
                }
                taken.put_back();
                return Ok(());
            }
        }
        let Some(cutting) = self.cut(reader, task).await? else {
            return Ok(reader.end().await?);
        };
        let statement = copy_statement(&task.shape, &task.table, &cutting.condition);
        let (shape, page_rows) = (Arc::clone(&task.shape), Arc::clone(&task.page_rows));
        let page = seat.announce(task, cutting.number, cutting.end);
        match cutting.is_last {
            true => drop(taken),
            false => taken.put_back(),
        }
        fail::fail_point!("postgres.source.before_page");
        if let Some(bytes_per_row) = page.copy(reader, &shape, &statement).await? {
            let rows = self.room.page_bytes as f64 * PAGE_FILL / bytes_per_row.max(1.0);
            page_rows.store((rows as u64).clamp(1, self.page_rows_max), Ordering::Relaxed);
        }
        Ok(reader.end_in_time().await?)
    }

    /// Finds where the table's next page lies; `None` if all are announced.
    async fn cut(&self, reader: &WindowReader, task: &mut Task) -> api::Result<Option<Cutting>> {
        match &mut task.frontier {
            Frontier::Keys(pages) => {
                let Some(next) = pages.next() else { return Ok(None) };
                let order = task.shape.order.as_deref().unwrap_or_default();
                let rows = task.page_rows.load(Ordering::Relaxed);
                let end = end_of_page(&reader.connection, &task.table, order, &next, rows).await?;
                let condition = condition_of_keys(order, next.after.as_ref(), Some(&end));
                pages.passed(next.number, end.clone());
                Ok(Some(Cutting {
                    number: next.number,
                    condition,
                    is_last: end == Bound::End,
                    end,
                }))
            }
            Frontier::Blocks { next, count } => {
                let whole = match *count {
                    Some(count) => count,
                    None => *count.insert(reader.block_count(&task.table).await?),
                };
                let share = whole / (4 * self.connections as u64);
                let range = (self.room.page_bytes as u64 / BLOCK_BYTES)
                    .min(share)
                    .max(RANGE_BLOCKS_MIN);
                let from = *next;
                *next += range;
                let is_last = *next >= whole;
                Ok(Some(Cutting {
                    number: 0,
                    condition: condition_of_blocks(from, (!is_last).then_some(*next)),
                    end: if is_last { Bound::End } else { nameless() },
                    is_last,
                }))
            }
        }
    }

    /// Waits until there is room for one more page.
    async fn seat(&self) -> Result<Seat, Ended> {
        let _one_by_one = self.seating.lock().await;
        let memory = loop {
            let finished = self.under_way.finished.notified();
            tokio::pin!(finished);
            finished.as_mut().enable();
            if self.under_way.pages.load(Ordering::Acquire) == 0 {
                break self.room.reserve().await;
            }
            if let Some(spare) = self.room.spare() {
                break spare;
            }
            finished.await;
        };
        let turn = self.turns.clone().reserve_owned().await;
        Ok(Seat {
            room: self.room.clone(),
            memory,
            turn: turn.map_err(|_| Ended::Stopped)?,
            is_under_way: UnderWay::new(&self.under_way),
        })
    }
}

/// What a block of a table has; a server that was built with larger ones gets larger ranges.
const BLOCK_BYTES: u64 = 8192;

/// Room for a page: memory for its beginning, and a place among those that wait for their turn.
struct Seat {
    room: Room,
    memory: Reservation,
    turn: mpsc::OwnedPermit<Turn>,
    is_under_way: UnderWay,
}

impl Seat {
    /// Tells the engine of the page that is read now.
    fn announce(self, task: &Task, number: u32, end: Bound) -> Page {
        let (page, parts) = Page::new(self.room, self.memory);
        self.turn.send(Turn::Page(Announced {
            stream: task.stream.clone(),
            run: task.run,
            cut: task.cut(),
            number,
            end,
            shape: Arc::clone(&task.shape),
            parts,
            _is_under_way: self.is_under_way,
        }));
        page
    }
}

#[derive(Default)]
struct UnderWayCount {
    pages: AtomicUsize,
    finished: Notify,
}

/// Counts a page that has memory and is not handed on yet.
struct UnderWay(Arc<UnderWayCount>);

impl UnderWay {
    fn new(count: &Arc<UnderWayCount>) -> Self {
        count.pages.fetch_add(1, Ordering::AcqRel);
        UnderWay(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.pages.fetch_sub(1, Ordering::AcqRel);
        self.0.finished.notify_waiters();
    }
}

/// Rows that fill a page, by how large the table is thought to be.
pub(crate) fn first_page_rows(table: &Table, page_bytes: usize, page_rows_max: u64) -> u64 {
    if table.row_count_estimated < 1.0 || table.block_count_estimated < 1 {
        return page_rows_max;
    }
    let row_bytes = table.block_count_estimated as f64 * BLOCK_BYTES as f64 / table.row_count_estimated;
    ((page_bytes as f64 * PAGE_FILL / row_bytes) as u64).clamp(1, page_rows_max)
}

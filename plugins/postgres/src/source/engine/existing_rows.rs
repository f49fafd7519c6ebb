//! Reads of existing rows: when they begin and end, the windows between, and handing on what is read in one.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use api::{PlannedStream, ReadProgress, Snapshot};
use model::{Batch, ChangeSet, Control, Delta, Order, Page, Part, StreamId, StreamSchema, StreamState, Timestamp};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use super::{Engine, STATUS_EVERY, Setup};
use crate::replication::Lsn;
use crate::source::catalogue::{Table, now_and_end_of_log};
use crate::source::choice::{Why, choose};
use crate::source::emitter::Ended;
use crate::source::error::Error;
use crate::source::page_copy::{PagePart, Room};
use crate::source::position::{self, Bound, nameless, order_before};
use crate::source::publication::{self, Publication};
use crate::source::readers::{Announced, Frontier, Manner, Readers, Task, Turn, first_page_rows};
use crate::source::reads::{Cut, Incarnation, Read, Request};
use crate::source::shape::StreamShape;
use crate::source::spec::ReadOrder;
use crate::source::window::Window;

/// How long to wait after a window could not be opened.
const WINDOW_RETRY: Duration = Duration::from_secs(5);

pub(super) enum WindowState {
    None,
    /// It is being opened; the log may be read up to the barrier.
    Opening {
        barrier: Lsn,
        opened: AbortOnDropHandle<api::Result<Window>>,
    },
    /// It is open; the log may be read up to its S.
    Open(Box<Window>),
}

impl Engine {
    pub(super) async fn begin_read(&mut self, stream: &StreamId, request: &Request) -> Result<(), Ended> {
        let Some(planned) = self.planned(stream).cloned() else {
            return Ok(());
        };
        if let Some(messages) = self.setup.messages.as_ref().filter(|messages| messages.is(stream)) {
            let schema = Arc::clone(&messages.relation.shape.schema);
            // What a destination has of them cannot be read again.
            let request = Request {
                empty_first: false,
                ..request.clone()
            };
            let read = Read::of_nothing(stream.clone(), request.run);
            return self.announce(read, schema, &request).await;
        }
        let Some(table) = Table::find(&self.setup.client, stream.schema().unwrap_or_default(), stream.name()).await?
        else {
            tracing::warn!(
                code = "W0250",
                pipeline = self.setup.names.pipeline,
                %stream,
                "existing rows cannot be read: there is no such table now"
            );
            return Ok(());
        };
        let publication = self.publication_with(stream).await?;
        let shape = self.shape_of(&planned, &table, publication.as_ref()).await?;
        let mut choice = choose(&self.setup.client, &table, &shape, &self.setup.spec).await;
        if request.by_key && shape.order.is_some() {
            (choice.cut, choice.why) = (Cut::ByKey, Why::Outlasted);
        }
        let cut = choice.cut;
        let of = Incarnation {
            oid: table.oid,
            filenode: table.filenode,
        };
        let mut read = Read::new(stream.clone(), request.run, cut, of);
        if planned.snapshot == Snapshot::Skip && !request.empty_first {
            read = Read {
                of,
                ..Read::of_nothing(stream.clone(), request.run)
            };
        } else {
            tracing::debug!(
                pipeline = self.setup.names.pipeline,
                %stream,
                in_one_window = cut == Cut::OneWindow,
                why = %choice.why,
                "existing rows are to be read"
            );
            read.row_count_estimated = choice.row_count_estimated;
        }
        self.announce(read, Arc::clone(&shape.schema), request).await
    }

    /// Says that a read begins.
    async fn announce(&mut self, mut read: Read, schema: Arc<StreamSchema>, request: &Request) -> Result<(), Ended> {
        let (stream, state) = (read.stream.clone(), read.cut.encode(read.of));
        if request.destinations.is_none() {
            self.reads.retain(|read| read.stream != stream);
        }
        read.destinations.clone_from(&request.destinations);
        self.reads.push(read);
        let control = Control::BeginRead {
            schema,
            run: request.run,
            destinations: request.destinations.clone(),
            empty_first: request.empty_first,
        };
        let to = position::log_position(self.upto, self.setup.timeline);
        let delta = self
            .moved_to(to)
            .with_stream(stream, StreamState::reading(request.run, state));
        self.emit_control(delta, control).await?;
        self.publish_reads();
        Ok(())
    }

    pub(super) async fn end_read(&mut self, i: usize) -> Result<(), Ended> {
        let read = self.reads.remove(i);
        tracing::info!(
            pipeline = self.setup.names.pipeline,
            stream = %read.stream,
            run = read.run,
            rows = read.row_count,
            bytes = read.byte_count,
            "existing rows are read"
        );
        self.publish_reads();
        let delta = Delta::none().with_stream(read.stream.clone(), StreamState::Live { run: read.run });
        let control = Control::EndRead {
            stream: read.stream,
            run: read.run,
        };
        self.emit_control(delta, control).await
    }

    /// The publication, with a table in it that was dropped and made anew, and lost its place there.
    async fn publication_with(&self, stream: &StreamId) -> api::Result<Option<Publication>> {
        let Setup {
            client, names, spec, ..
        } = &self.setup;
        let found = Publication::find(client, &names.publication).await?;
        if found.as_ref().is_none_or(|found| found.table(stream).is_some()) {
            return Ok(found);
        }
        publication::ensure(client, names, spec.create, std::slice::from_ref(stream)).await?;
        Publication::find(client, &names.publication).await
    }

    /// The shape of a table as the catalogue describes it.
    pub(super) async fn shape_of(
        &mut self,
        planned: &PlannedStream,
        table: &Table,
        publication: Option<&Publication>,
    ) -> api::Result<Arc<StreamShape>> {
        for column in &table.columns {
            self.type_of(column.type_oid, &planned.id, &column.name).await?;
        }
        let published = publication.and_then(|publication| publication.table(&planned.id));
        StreamShape::of_table(planned, table, published, &self.setup.types).map(Arc::new)
    }

    /// What is done about the next window; whether something was.
    pub(super) async fn step_window(&mut self) -> Result<bool, Ended> {
        match &mut self.window {
            WindowState::None if self.window_after.is_none_or(|after| after <= Instant::now()) => {
                self.begin_window().await?;
                Ok(true)
            }
            WindowState::None => Ok(false),
            // While the log keeps coming nobody waits for it.
            WindowState::Opening { opened, .. } if opened.is_finished() => {
                let result = opened.await;
                self.window_opened(result)?;
                Ok(true)
            }
            WindowState::Opening { .. } => Ok(false),
            WindowState::Open(window) if self.upto >= window.at => {
                self.flush().await?;
                if self.upto > position::end_of(self.announced) {
                    self.emit_progress().await?;
                }
                if let WindowState::Open(window) = std::mem::replace(&mut self.window, WindowState::None) {
                    self.read_window(*window).await?;
                }
                Ok(true)
            }
            WindowState::Open(_) => Ok(false),
        }
    }

    /// A window was opened, or could not be.
    pub(super) fn window_opened(&mut self, result: Result<api::Result<Window>, JoinError>) -> Result<(), Ended> {
        self.window = WindowState::None;
        match result {
            Ok(Ok(window)) => self.window = WindowState::Open(Box::new(window)),
            Ok(Err(error)) => {
                tracing::warn!(
                    code = error.code(),
                    pipeline = self.setup.names.pipeline,
                    error = error.chain(),
                    "existing rows wait for a snapshot"
                );
                self.window_after = Some(Instant::now() + WINDOW_RETRY);
            }
            Err(_) => return Err(self.task_gone()),
        }
        Ok(())
    }

    async fn begin_window(&mut self) -> Result<(), Ended> {
        let (_, barrier) = now_and_end_of_log(&self.setup.client).await?;
        self.window_count += 1;
        let slot = format!(
            "highwater_window_{}_{}",
            uuid::Uuid::new_v4().simple(),
            self.window_count
        );
        let opening = Window::open(self.setup.settings.clone(), slot, self.setup.spec.window_wait);
        self.window = WindowState::Opening {
            // What is read already may lie beyond, if the server's view of its end is a moment old.
            barrier: barrier.max(self.upto),
            opened: AbortOnDropHandle::new(tokio::spawn(opening)),
        };
        Ok(())
    }

    /// Reads pages from a window until all are read, or it has been open for long enough.
    async fn read_window(&mut self, window: Window) -> Result<(), Ended> {
        let tasks = self.tasks(&window).await?;
        if tasks.is_empty() {
            return Ok(());
        }
        let shared = Arc::clone(&self.setup.shared);
        let spec = &self.setup.spec;
        let manner = Manner {
            connections: spec.connections,
            page_rows_max: spec.page_rows,
            room: Room {
                memory: self.setup.emitter.memory(),
                page_bytes: self.changeset_max(),
            },
            closing: shared.closing.clone(),
            deadline: window.opened_at + spec.window_max,
        };
        let (order, time, opened_at) = (order_before(window.at), window.time, window.opened_at);
        // Of these the rest can be read in other windows, if it has to be.
        let divisible: Vec<(StreamId, u32)> = tasks
            .iter()
            .filter(|task| task.shape.order.is_some() && spec.read_order == ReadOrder::Auto)
            .map(|task| (task.stream.clone(), task.run))
            .collect();
        let window_max = spec.window_max;
        let mut readers = Readers::start(window.into_door(), tasks, manner).await?;
        while !shared.closing.is_cancelled() {
            self.tell_status();
            let turn = tokio::select! {
                biased;
                () = shared.stop.cancelled() => return Err(Ended::Stopped),
                () = self.setup.emitter.closed() => return Err(Ended::Stopped),
                () = shared.closing.cancelled() => return Ok(()),
                turn = readers.next() => turn,
                // The server is told what is flushed meanwhile.
                () = tokio::time::sleep(STATUS_EVERY) => continue,
            };
            for (stream, run) in &divisible {
                self.cut_by_key_if_it_outlasts(&readers, stream, *run, opened_at.elapsed(), window_max);
            }
            match turn {
                Some(Turn::Page(page)) => self.hand_on(page, order, time).await?,
                Some(Turn::Changed { stream, run }) => self.begin_again(&stream, run),
                Some(Turn::Failed(ended)) => return Err(ended),
                None if readers.has_panicked().await => return Err(self.task_gone()),
                None => break,
            }
        }
        self.tell_progress();
        Ok(())
    }

    /// While a table is read in one window the log waits. One that will not end in time is read by key instead.
    fn cut_by_key_if_it_outlasts(
        &mut self,
        readers: &Readers,
        stream: &StreamId,
        run: u32,
        elapsed: Duration,
        window_max: Duration,
    ) {
        let is_it = |read: &Read| &read.stream == stream && read.run == run && read.cut == Cut::OneWindow;
        let Some(i) = self
            .reads
            .iter()
            .position(|read| is_it(read) && read.next_page().is_some() && read.outlasts(elapsed, window_max))
        else {
            return;
        };
        readers.let_go(stream, run);
        let read = self.reads.remove(i);
        tracing::warn!(
            code = "W0278",
            pipeline = self.setup.names.pipeline,
            %stream,
            run,
            rows = read.row_count,
            rows_estimated = read.row_count_estimated,
            seconds = elapsed.as_secs(),
            "in one piece the table would hold the log back for longer than `window_max`: the read begins again, by key"
        );
        self.restarts.push(Request {
            by_key: true,
            ..read.into_request()
        });
        self.publish_reads();
    }

    /// How far the reads are that go on in another window.
    fn tell_progress(&self) {
        for read in self.reads.iter().filter(|read| read.next_page().is_some()) {
            tracing::info!(
                pipeline = self.setup.names.pipeline,
                stream = %read.stream,
                rows = read.row_count,
                rows_estimated = read.row_count_estimated,
                bytes = read.byte_count,
                seconds = read.since.elapsed().as_secs(),
                seconds_left = read.left().map(|left| left.as_secs()),
                "existing rows go on in another snapshot"
            );
        }
    }

    /// The tables of which pages are missing, as they are in the window.
    async fn tasks(&mut self, window: &Window) -> Result<Vec<Task>, Ended> {
        let missing: Vec<(StreamId, u32)> = self
            .reads
            .iter()
            .filter(|read| read.next_page().is_some())
            .map(|read| (read.stream.clone(), read.run))
            .collect();
        let streams: Vec<StreamId> = missing.iter().map(|(stream, _)| stream.clone()).collect();
        let tables = window.tables(&streams).await?;
        let publication = Publication::find(&self.setup.client, &self.setup.names.publication).await?;
        let mut tasks = Vec::new();
        for (stream, run) in missing {
            let planned = self.planned(&stream).cloned();
            let table = tables.iter().find(|table| table.is(&stream));
            let Some(read) = self.reads.iter().find(|read| read.stream == stream && read.run == run) else {
                continue;
            };
            let of = read.of;
            let frontier = match read.cut {
                Cut::ByKey => Frontier::Keys(read.pages.clone()),
                Cut::Nothing => continue,
                Cut::OneWindow => Frontier::Blocks { next: 0, count: None },
            };
            match (planned, table) {
                (Some(planned), Some(table)) if (table.oid, table.filenode) == (of.oid, of.filenode) => {
                    let shape = self.shape_of(&planned, table, publication.as_ref()).await?;
                    let rows = first_page_rows(table, self.changeset_max(), self.setup.spec.page_rows);
                    tasks.push(Task {
                        stream,
                        run,
                        shape,
                        table: table.clone(),
                        frontier,
                        page_rows: Arc::new(AtomicU64::new(rows)),
                        is_known_to_be_locked: false,
                    });
                }
                _ => self.begin_again(&stream, run),
            }
        }
        Ok(tasks)
    }

    /// Hands a page on as it is read. It is one step, however large: by key, rows beyond a changeset go out as parts of it.
    async fn hand_on(&mut self, mut page: Announced, order: Order, time: Timestamp) -> Result<(), Ended> {
        page.parts.begin();
        let Some(i) = self
            .reads
            .iter()
            .position(|read| read.stream == page.stream && read.run == page.run)
        else {
            return Ok(());
        };
        let mut is_inside = false;
        loop {
            let shared = &self.setup.shared;
            let part = tokio::select! {
                biased;
                () = shared.stop.cancelled() => return Err(Ended::Stopped),
                // Where it is consistent, nothing is waited for any more.
                () = shared.closing.cancelled(), if !is_inside => return Ok(()),
                part = page.parts.next() => part,
            };
            let Some(part) = part else {
                return Err(self.task_gone());
            };
            let PagePart { rows, memory, is_last } = part?;
            let read = &self.reads[i];
            let (number, end) = match page.cut {
                Cut::ByKey | Cut::Nothing => (page.number, page.end.clone()),
                // Told apart by number alone, and never read again: a page here is what fits a changeset.
                Cut::OneWindow => {
                    let number = read.next_page().map_or(1, |next| next.number);
                    (number, if is_last { page.end.clone() } else { nameless() })
                }
            };
            let is_end_of_page = is_last || page.cut == Cut::OneWindow;
            if rows.num_rows() == 0 && page.cut == Cut::OneWindow && end != Bound::End {
                // Nothing of the range was visible.
                break;
            }
            let partition = read.partition();
            let batches = match rows.num_rows() {
                0 => Vec::new(),
                _ => {
                    let schema = Arc::clone(&page.shape.schema);
                    vec![Batch::of_page(partition.clone(), number, schema, rows, order, time)]
                }
            };
            let (part, delta) = if is_end_of_page {
                let from = (number > 1).then(|| Page::new(0, number - 1).order());
                let part = if is_inside { Part::Last } else { Part::Whole };
                (part, Delta::of(partition, from, end.position(number)))
            } else {
                (if is_inside { Part::Middle } else { Part::First }, Delta::none())
            };
            is_inside = !is_end_of_page;
            let changeset = ChangeSet::part(part, delta, batches);
            self.count(i, &changeset);
            if is_end_of_page {
                self.reads[i].page_is_out(number, end);
            }
            self.setup.emitter.emit(changeset, memory).await?;
            if is_last {
                break;
            }
        }
        fail::fail_point!("postgres.source.after_page");
        Ok(())
    }

    /// A table whose rows are not those of the window is read anew, from a later one.
    fn begin_again(&mut self, stream: &StreamId, run: u32) {
        let found = self
            .reads
            .iter()
            .position(|read| &read.stream == stream && read.run == run);
        let Some(i) = found else { return };
        let read = self.reads.remove(i);
        tracing::warn!(
            code = "W0254",
            pipeline = self.setup.names.pipeline,
            %stream,
            run,
            "the table was truncated, rewritten or replaced while its rows are read: the read begins again"
        );
        self.restarts.push(read.into_request());
        self.publish_reads();
    }

    fn count(&mut self, i: usize, changeset: &ChangeSet) {
        let rows = changeset.row_count() as u64;
        let read = &mut self.reads[i];
        read.row_count += rows;
        read.byte_count += changeset.size_bytes as u64;
        let (stream, run) = (read.stream.clone(), read.run);
        self.setup.shared.count_rows(&stream, run, rows);
    }

    fn task_gone(&self) -> Ended {
        Error::TaskGone {
            slot: self.setup.names.slot.clone(),
        }
        .into()
    }

    pub(super) fn publish_reads(&self) {
        let progress = self.reads.iter().map(|read| ReadProgress {
            stream: read.stream.clone(),
            run: read.run,
            row_count: read.row_count,
            row_count_estimated: read.row_count_estimated,
        });
        self.setup.shared.set_reads(progress.collect());
    }
}

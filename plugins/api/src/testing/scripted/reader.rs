use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use model::{Batch, ChangeSet, Control, Delta, Order, Page, Partition, Position, StreamId, StreamState};

use super::changesets::{Cut, Piece, projected};
use super::now;
use super::reads::{StreamRead, Window};
use super::source::{Flow, FlowState};
use crate::conformance::sample;
use crate::{Context, Emission, Reader, Result};

/// Emits the log up to a window's position, then pages of that window, then the log again.
pub(super) struct ScriptedReader {
    flow: Arc<Flow>,
    cx: Context,
    position: u64,
    change_at: usize,
    window: Option<Window>,
}

/// What comes next. Looking at it changes nothing, so that a dropped `next` loses nothing.
enum Next {
    Log(Piece),
    Begin(ChangeSet, Vec<super::Key>, usize),
    Page(ChangeSet, u32, u64),
    End(ChangeSet),
    OpenWindow,
    EndOfSource,
    Wait,
}

impl ScriptedReader {
    pub(super) fn new(flow: Arc<Flow>, position: u64, cx: Context) -> Self {
        ScriptedReader {
            flow,
            cx,
            position,
            change_at: 0,
            window: None,
        }
    }

    fn look(&self) -> Next {
        let flow_state = self.flow.state();
        let is_between_transactions = self.change_at == 0;
        if (flow_state.is_closed || self.cx.stop.is_cancelled()) && is_between_transactions {
            return Next::EndOfSource;
        }
        let is_reading = flow_state.reads.front().is_some();
        match &self.window {
            None if is_reading && is_between_transactions => Next::OpenWindow,
            Some(window) if self.position >= window.at => self.look_at_read(&flow_state, window),
            window => {
                let upto = window.as_ref().map_or(u64::MAX, |window| window.at);
                self.look_at_log(&flow_state, upto)
            }
        }
    }

    fn look_at_log(&self, flow_state: &FlowState, upto: u64) -> Next {
        let state = self.flow.script.state();
        let first = state.log.partition_point(|entry| entry.order <= self.position);
        let end = state.log.partition_point(|entry| entry.order <= upto);
        let mut reading: BTreeMap<StreamId, Vec<(u32, &StreamRead)>> = BTreeMap::new();
        for read in &flow_state.reads {
            for stream in read.streams.iter().filter(|stream| stream.bounds.is_some()) {
                let of_stream = reading.entry(stream.schema.stream().clone()).or_default();
                of_stream.push((read.run, stream));
            }
        }
        let cut = Cut {
            log: &self.flow.log,
            schemas: &self.flow.schemas,
            reading,
            bytes_max: self.flow.bytes_max,
        };
        match cut.next(self.position, self.change_at, &state.log[first..end]) {
            Some(piece) => Next::Log(piece),
            None if state.is_finished => Next::EndOfSource,
            None => Next::Wait,
        }
    }

    fn look_at_read(&self, flow_state: &FlowState, window: &Window) -> Next {
        let Some(read) = flow_state.reads.front() else {
            return Next::Wait;
        };
        if let Some(at) = read.streams.iter().position(|stream| stream.bounds.is_none()) {
            return self.begin(read, at, window);
        }
        let Some(stream) = read.streams.front() else {
            return Next::Wait;
        };
        let id = stream.schema.stream();
        let Some(&number) = stream.todo.first() else {
            let delta = Delta::none().with_stream(id.clone(), StreamState::Live { run: read.run });
            let control = Control::EndRead {
                stream: id.clone(),
                run: read.run,
            };
            return Next::End(ChangeSet::control(delta, control));
        };
        if window.pages_left == 0 {
            return Next::OpenWindow;
        }
        let page = Page::new(0, number);
        let rows = projected(&stream.schema, window.page(stream, number).iter());
        let partition = Partition::Range {
            stream: id.clone(),
            run: read.run,
            range: 0,
        };
        let batch = Batch::of_page(
            partition,
            number,
            Arc::clone(&stream.schema),
            sample::record_batch(&stream.schema, &rows),
            Order::new(0, window.at, 0),
            now(),
        );
        let batches = if batch.is_empty() { Vec::new() } else { vec![batch] };
        let changeset = ChangeSet::rows(sample::page_delta(id, read.run, page), batches);
        Next::Page(changeset, number, rows.len() as u64)
    }

    /// The begin of one stream's read. It says where the log stands, for a destination that holds nothing yet.
    fn begin(&self, read: &super::reads::Read, at: usize, window: &Window) -> Next {
        let stream = &read.streams[at];
        let page_rows = self.flow.script.state().page_rows;
        let rows = window.rows.get(stream.schema.stream()).map_or(&[][..], Vec::as_slice);
        let bounds = stream.bounds_of(rows, page_rows);
        let ranges = serde_json::to_vec(&bounds).unwrap_or_default();
        let here = Order::new(0, window.at, 0);
        let delta = Delta::of(self.flow.log.clone(), Some(here), Position::at(here))
            .with_stream(stream.schema.stream().clone(), StreamState::reading(read.run, ranges));
        let control = Control::BeginRead {
            schema: Arc::clone(&stream.schema),
            run: read.run,
            destinations: read.destinations.clone(),
            empty_first: read.empty_first,
        };
        Next::Begin(ChangeSet::control(delta, control), bounds, at)
    }

    fn open_window(&mut self) {
        let flow_state = self.flow.state();
        let state = self.flow.script.state();
        self.window = flow_state.reads.front().map(|read| Window::open(&state, read));
    }

    /// Takes note that `next` goes out.
    fn advance(&mut self, next: Next) -> Option<ChangeSet> {
        let mut flow_state = self.flow.state();
        match next {
            Next::Log(piece) => {
                (self.position, self.change_at) = (piece.position, piece.change_at);
                Some(piece.changeset)
            }
            Next::Begin(changeset, bounds, at) => {
                let stream = flow_state.reads.front_mut().and_then(|read| read.streams.get_mut(at));
                if let Some(stream) = stream {
                    if !stream.is_skipped {
                        stream.todo = (1..=bounds.len() as u32 + 1).collect();
                    }
                    stream.bounds = Some(bounds);
                }
                Some(changeset)
            }
            Next::Page(changeset, number, row_count) => {
                let stream = flow_state.reads.front_mut().and_then(|read| read.streams.front_mut());
                if let Some(stream) = stream {
                    stream.todo.remove(&number);
                    stream.row_count += row_count;
                }
                if let Some(window) = &mut self.window {
                    window.pages_left = window.pages_left.saturating_sub(1);
                }
                Some(changeset)
            }
            Next::End(changeset) => {
                let reads = &mut flow_state.reads;
                if let Some(read) = reads.front_mut() {
                    read.streams.pop_front();
                    if read.streams.is_empty() {
                        reads.pop_front();
                        self.window = None;
                    }
                }
                Some(changeset)
            }
            Next::OpenWindow | Next::EndOfSource | Next::Wait => None,
        }
    }
}

#[async_trait]
impl Reader for ScriptedReader {
    async fn next(&mut self) -> Result<Option<Emission>> {
        loop {
            let script = self.flow.script.clone();
            let changed = script.0.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a commit in between is not missed.
            changed.as_mut().enable();
            let next = self.look();
            let size = match &next {
                Next::OpenWindow => {
                    self.open_window();
                    continue;
                }
                Next::EndOfSource => return Ok(None),
                Next::Wait => {
                    let stop = self.cx.stop.clone();
                    tokio::select! {
                        () = changed => {}
                        () = stop.cancelled() => {}
                    }
                    continue;
                }
                Next::Log(piece) => piece.changeset.size_bytes,
                Next::Begin(changeset, ..) | Next::Page(changeset, ..) | Next::End(changeset) => changeset.size_bytes,
            };
            // Everything is in memory already, so the reservation comes after the look: only the order in which a test
            // sees sizes and reservations matters here.
            let reservation = self.cx.memory.reserve(size).await;
            if let Some(changeset) = self.advance(next) {
                return Ok(Some(Emission { changeset, reservation }));
            }
        }
    }
}

//! The flow: the log up to where a read stands, the rows of that read, then the log again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use api::{Context, Emission, Reader, Result};
use async_trait::async_trait;
use model::{Batch, ChangeSet, Control, Delta, Order, Page, Partition, Position, StreamId, StreamState, Timestamp};
use serde_json::Value;

use super::cut::{Cut, Piece, rows_of};
use super::source::{Flow, Read, TableRead};
use super::{ChangeLog, Transaction};

/// How often a log is asked for its head that says nothing by itself: a few hundred cheap calls a second cost a percent of a
/// core, and rows are seldom waited for more precisely.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

pub(super) struct LogReader<L> {
    flow: Arc<Flow<L>>,
    cx: Context,
    position: u64,
    change_at: usize,
    /// Transactions after the position, as far as they were fetched.
    fetched: VecDeque<Transaction>,
    window: Option<Window>,
}

/// Rows as of one transaction, for the read that is going on.
struct Window {
    at: u64,
    rows: BTreeMap<StreamId, Vec<Value>>,
}

/// What comes next. Looking at it changes nothing, so that a dropped `next` loses nothing.
enum Next {
    Log(Piece),
    Begin(ChangeSet, usize),
    Page(ChangeSet, u64),
    End(ChangeSet),
    Wait,
}

impl<L: ChangeLog> LogReader<L> {
    pub(super) fn new(flow: Arc<Flow<L>>, position: u64, cx: Context) -> Self {
        LogReader {
            flow,
            cx,
            position,
            change_at: 0,
            fetched: VecDeque::new(),
            window: None,
        }
    }

    /// Rows for the read whose turn it is, if they are not here.
    async fn open_window(&mut self) -> Result<()> {
        if self.window.is_some() || self.change_at > 0 {
            return Ok(());
        }
        let tables: Option<Vec<StreamId>> = {
            let state = self.flow.state();
            let of_read = |read: &Read| read.tables.iter().map(|table| table.schema.stream().clone()).collect();
            state.reads.front().map(of_read)
        };
        if let Some(tables) = tables {
            let (at, rows) = self.flow.log.rows(&tables).await?;
            let rows = tables.into_iter().zip(rows).collect();
            self.window = Some(Window { at, rows });
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<Next> {
        self.open_window().await?;
        match &self.window {
            Some(window) if self.position >= window.at => self.look_at_read(window),
            window => {
                let upto = window.as_ref().map_or(u64::MAX, |window| window.at);
                self.look_at_log(upto).await
            }
        }
    }

    async fn look_at_log(&mut self, upto: u64) -> Result<Next> {
        if self.fetched.is_empty() {
            let after = self.flow.log.after(self.position, self.flow.bytes_max).await?;
            self.fetched.extend(after);
        }
        let transactions: Vec<&Transaction> = self
            .fetched
            .iter()
            .take_while(|transaction| transaction.number <= upto)
            .collect();
        let cut = Cut {
            log: &self.flow.partition,
            schemas: &self.flow.schemas,
            reading: self.flow.reading(),
            bytes_max: self.flow.bytes_max,
        };
        let piece = cut.next(self.position, self.change_at, &transactions)?;
        Ok(piece.map_or(Next::Wait, Next::Log))
    }

    fn look_at_read(&self, window: &Window) -> Result<Next> {
        let state = self.flow.state();
        let Some(read) = state.reads.front() else {
            return Ok(Next::Wait);
        };
        if let Some(at) = read.tables.iter().position(|table| !table.has_begun) {
            return Ok(self.begin(read, at, window));
        }
        let Some(table) = read.tables.front() else {
            return Ok(Next::Wait);
        };
        match table.is_wanted {
            true => self.page(read, table, window),
            false => {
                let stream = table.schema.stream();
                let delta = Delta::none().with_stream(stream.clone(), StreamState::Live { run: read.run });
                let control = Control::EndRead {
                    stream: stream.clone(),
                    run: read.run,
                };
                Ok(Next::End(ChangeSet::control(delta, control)))
            }
        }
    }

    /// It says where the log stands, for a destination that holds nothing yet.
    fn begin(&self, read: &Read, at: usize, window: &Window) -> Next {
        let schema = &read.tables[at].schema;
        let here = Order::new(0, window.at, 0);
        let delta = Delta::of(self.flow.partition.clone(), Some(here), Position::at(here))
            .with_stream(schema.stream().clone(), StreamState::reading(read.run, Vec::new()));
        let control = Control::BeginRead {
            schema: Arc::clone(schema),
            run: read.run,
            destinations: read.destinations.clone(),
            empty_first: read.empty_first,
        };
        Next::Begin(ChangeSet::control(delta, control), at)
    }

    fn page(&self, read: &Read, table: &TableRead, window: &Window) -> Result<Next> {
        let (schema, page) = (&table.schema, Page::new(0, 1));
        let partition = Partition::Range {
            stream: schema.stream().clone(),
            run: read.run,
            range: page.range,
        };
        let rows = window.rows.get(schema.stream()).map_or(&[][..], Vec::as_slice);
        let values: Vec<&Value> = rows.iter().collect();
        let batch = Batch::of_page(
            partition.clone(),
            page.number,
            Arc::clone(schema),
            rows_of(schema, schema.arrow(), &values)?,
            Order::new(0, window.at, 0),
            Timestamp(jiff::Timestamp::now().as_microsecond()),
        );
        let delta = Delta::of(partition, None, Position::at(page.order()));
        let batches = if batch.is_empty() { Vec::new() } else { vec![batch] };
        Ok(Next::Page(ChangeSet::rows(delta, batches), rows.len() as u64))
    }

    /// Takes note that `next` goes out.
    fn advance(&mut self, next: Next) -> Option<ChangeSet> {
        let mut state = self.flow.state();
        match next {
            Next::Log(piece) => {
                (self.position, self.change_at) = (piece.position, piece.change_at);
                let position = self.position;
                while self.fetched.front().is_some_and(|first| first.number <= position) {
                    self.fetched.pop_front();
                }
                Some(piece.changeset)
            }
            Next::Begin(changeset, at) => {
                if let Some(table) = state.reads.front_mut().and_then(|read| read.tables.get_mut(at)) {
                    table.has_begun = true;
                }
                Some(changeset)
            }
            Next::Page(changeset, row_count) => {
                if let Some(table) = state.reads.front_mut().and_then(|read| read.tables.front_mut()) {
                    (table.is_wanted, table.row_count) = (false, row_count);
                }
                Some(changeset)
            }
            Next::End(changeset) => {
                if let Some(read) = state.reads.front_mut() {
                    read.tables.pop_front();
                    if read.tables.is_empty() {
                        state.reads.pop_front();
                        self.window = None;
                    }
                }
                Some(changeset)
            }
            Next::Wait => None,
        }
    }
}

#[async_trait]
impl<L: ChangeLog> Reader for LogReader<L> {
    async fn next(&mut self) -> Result<Option<Emission>> {
        loop {
            // Not in the middle of a transaction: its parts follow each other.
            let is_over = self.flow.state().is_closed || self.cx.stop.is_cancelled();
            if is_over && self.change_at == 0 {
                return Ok(None);
            }
            let next = self.look().await?;
            let size = match &next {
                Next::Log(piece) => piece.changeset.size_bytes,
                Next::Begin(changeset, _) | Next::Page(changeset, _) | Next::End(changeset) => changeset.size_bytes,
                Next::Wait => {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                    continue;
                }
            };
            // What was looked at is in memory already, and at most a changeset; this keeps those back that follow.
            let reservation = self.cx.memory.reserve(size).await;
            if let Some(changeset) = self.advance(next) {
                return Ok(Some(Emission { changeset, reservation }));
            }
        }
    }
}

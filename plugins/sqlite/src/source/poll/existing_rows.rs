//! Reads of existing rows: their beginning and their pages.

use std::sync::Arc;

use api::Snapshot;
use model::{Control, Delta, Order, StreamId, StreamState};

use super::cursor::{Cursor, newest};
use super::{Ended, PollEngine};
use crate::error::Result;
use crate::source::key::{Key, KeyValue};
use crate::source::pages::{self, PageSize, TEMPORARY};
use crate::source::position::Bound;
use crate::source::reads::{Cut, PageOut, Read, Request};

impl PollEngine {
    pub(super) fn page_in_view(&mut self, bytes_max: usize) -> Result<Option<PageOut>> {
        let Some(i) = self
            .reads
            .iter()
            .position(|read| read.copied.is_none() && read.next_page().is_some())
        else {
            return Ok(None);
        };
        let Some(shape) = self.shape_of(&self.reads[i].stream) else {
            return Ok(None);
        };
        let Some(next) = self.reads[i].next_page() else {
            return Ok(None);
        };
        let size = PageSize {
            rows_max: self.spec.page_rows,
            bytes_max,
        };
        if self.reads[i].cut == Cut::ByKey {
            let page = pages::read_page(&self.conn, &shape, &next, size)?;
            return Ok(Some(PageOut {
                read: i,
                number: next.number,
                shape,
                rows: page.rows,
                end: page.end,
            }));
        }
        match pages::read_whole(&self.conn, &shape, bytes_max)? {
            Some(rows) => Ok(Some(PageOut {
                read: i,
                number: next.number,
                shape,
                rows,
                end: Bound::End,
            })),
            None => {
                pages::copy_whole(&self.conn, TEMPORARY, &shape)?;
                self.reads[i].copied = Some(0);
                Ok(None)
            }
        }
    }

    pub(super) fn emit_copied_page(&mut self, i: usize) -> Result<(), Ended> {
        let memory = self.emitter.reserve(self.bytes_max(), Some(&self.shared.closing))?;
        let size = PageSize {
            rows_max: self.spec.page_rows,
            bytes_max: self.bytes_max(),
        };
        let read = &self.reads[i];
        let (after, number) = (read.copied.unwrap_or(0), read.next_page().map_or(1, |next| next.number));
        let Some(shape) = self.shape_of(&read.stream) else {
            return Ok(());
        };
        let (rows, last, is_all) = pages::read_copy(&self.conn, TEMPORARY, &shape, after, size)?;
        self.reads[i].copied = (!is_all).then_some(last);
        if is_all {
            pages::drop_copy(&self.conn, TEMPORARY)?;
        }
        let end = if is_all {
            Bound::End
        } else {
            Bound::Key(Key(Vec::new()))
        };
        self.emit_page(
            PageOut {
                read: i,
                number,
                shape,
                rows,
                end,
            },
            memory,
        )
    }

    pub(super) fn emit_page(&mut self, page: PageOut, memory: api::Reservation) -> Result<(), Ended> {
        let window = self
            .streams
            .iter()
            .find(|stream| stream.shape.stream() == &self.reads[page.read].stream);
        let window = window
            .and_then(|stream| stream.at.as_ref())
            .map_or(Order::MIN, |at| at.order);
        let changeset = self.reads[page.read].hand_out(page, window);
        self.emitter.emit(changeset, memory)?;
        self.publish_reads();
        Ok(())
    }

    pub(super) fn begin_read(&mut self, id: &StreamId, request: &Request) -> Result<(), Ended> {
        let Some(i) = self.streams.iter().position(|stream| stream.shape.stream() == id) else {
            return Ok(());
        };
        if self.streams[i].at.is_none() {
            let lowest = Cursor {
                value: KeyValue::Integer(i64::MIN),
                order: Order::MIN,
            };
            self.streams[i].at = Some(newest(&self.conn, &self.streams[i])?.unwrap_or(lowest));
        }
        if request.destinations.is_none() {
            self.reads.retain(|read| &read.stream != id);
        }
        let shape = Arc::clone(&self.streams[i].shape);
        let cut = if shape.order.is_some() {
            Cut::ByKey
        } else {
            Cut::OneWindow
        };
        let is_skipped = !request.empty_first
            && self
                .plan
                .streams
                .iter()
                .any(|planned| &planned.id == id && planned.snapshot == Snapshot::Skip);
        let mut read = match is_skipped {
            true => Read::resume(id.clone(), request.run, cut, vec![Some((0, Bound::End))]),
            false => Read::new(id.clone(), request.run, cut),
        };
        read.row_count_estimated = pages::estimate(&self.conn, &shape)?;
        self.reads.push(read);
        let control = Control::BeginRead {
            schema: Arc::clone(&shape.schema),
            run: request.run,
            destinations: request.destinations.clone(),
            empty_first: request.empty_first,
        };
        // All logs that were begun, for a destination that has seen none of them: once it holds a stream it can no longer
        // begin a log in the middle.
        let mut delta = Delta::none().with_stream(id.clone(), StreamState::reading(request.run, cut.encode()));
        for stream in &mut self.streams {
            if let Some(at) = stream.at.clone() {
                delta.moves.push(stream.move_to(&at));
            }
        }
        self.publish_reads();
        self.emit_control(delta, control)
    }
}

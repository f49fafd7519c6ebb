//! Reads of existing rows: their beginning and their pages.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::{Reservation, Snapshot};
use model::{Control, StreamId, StreamState};

use super::{Ended, Engine, Reread, Setup};
use crate::capture::marks;
use crate::error::{Result, patiently};
use crate::source::key::Key;
use crate::source::pages::{self, PageSize};
use crate::source::position::{self, Bound};
use crate::source::reads::{Cut, PageOut, Read, Request};

impl Engine {
    pub(super) fn page_in_view(&mut self, bytes_max: usize) -> Result<Option<PageOut>> {
        let size = PageSize {
            rows_max: self.setup.page_rows,
            bytes_max,
        };
        let Some(i) = self
            .reads
            .iter()
            .position(|read| read.next_page().is_some() && read.copied.is_none())
        else {
            return Ok(None);
        };
        let Some(shape) = self.current_shape(&self.reads[i].stream) else {
            return Ok(None);
        };
        let read = &mut self.reads[i];
        let Some(next) = read.next_page() else {
            return Ok(None);
        };
        if read.cut == Cut::ByKey {
            let page = pages::read_page(&self.setup.conn, &shape, &next, size)?;
            return Ok(Some(PageOut {
                read: i,
                number: next.number,
                shape,
                rows: page.rows,
                end: page.end,
            }));
        }
        match pages::read_whole(&self.setup.conn, &shape, bytes_max)? {
            Some(rows) => Ok(Some(PageOut {
                read: i,
                number: next.number,
                shape,
                rows,
                end: Bound::End,
            })),
            None => {
                pages::copy_whole(&self.setup.conn, pages::SCRATCH, &shape)?;
                self.reads[i].copied = Some(0);
                Ok(None)
            }
        }
    }

    pub(super) fn emit_copied_page(&mut self, i: usize) -> Result<(), Ended> {
        let bytes_max = self
            .setup
            .plan
            .changeset_bytes_max
            .min(self.setup.emitter.limit_bytes())
            .max(1);
        let memory = self
            .setup
            .emitter
            .reserve(bytes_max, Some(&self.setup.shared.closing))?;
        let size = PageSize {
            rows_max: self.setup.page_rows,
            bytes_max,
        };
        let read = &self.reads[i];
        let (after, number) = (read.copied.unwrap_or(0), read.next_page().map_or(1, |next| next.number));
        let shape = self
            .current_shape(&read.stream)
            .ok_or_else(|| self.gone("the table that is being read"))?;
        let (rows, last, is_all) = pages::read_copy(&self.setup.conn, pages::SCRATCH, &shape, after, size)?;
        self.reads[i].copied = (!is_all).then_some(last);
        if is_all {
            pages::drop_copy(&self.setup.conn, pages::SCRATCH)?;
        }
        // Pages of a copy have no bounds in key order; they are told apart by number alone, and never read again.
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
            self.cursor,
            memory,
        )
    }

    pub(super) fn emit_page(&mut self, page: PageOut, window: i64, memory: Reservation) -> Result<(), Ended> {
        let changeset = self.reads[page.read].hand_out(page, position::order(self.incarnation, window));
        self.setup.emitter.emit(changeset, memory)?;
        self.publish_reads();
        Ok(())
    }

    /// Begins a new read where capture was made anew, before any position from there on is handed out.
    pub(super) fn read_again(&mut self, reread: Reread) -> Result<(), Ended> {
        if reread.at == self.cursor + 1 {
            self.cursor = reread.at;
            self.mark = marks::at(&self.setup.conn, &self.setup.names, reread.at)?.unwrap_or(self.mark);
        }
        let floor = self.setup.shared.run_floor.load(Ordering::Acquire);
        let Setup {
            conn, names, shared, ..
        } = &mut self.setup;
        let run = patiently(&shared.stop, || marks::take_run(conn, names, floor))?;
        let request = Request {
            streams: vec![reread.stream.clone()],
            destinations: reread.destinations,
            empty_first: true,
            run,
        };
        self.begin_read(&reread.stream, &request)
    }

    pub(super) fn begin_read(&mut self, stream: &StreamId, request: &Request) -> Result<(), Ended> {
        let planned = self
            .setup
            .plan
            .streams
            .iter()
            .find(|planned| &planned.id == stream)
            .cloned();
        let (Some(planned), Some(shape)) = (planned, self.current_shape(stream)) else {
            tracing::warn!(
                code = "W0212",
                pipeline = self.setup.names.pipeline(),
                %stream,
                "existing rows cannot be read: there is no such table now"
            );
            return Ok(());
        };
        if request.destinations.is_none() {
            self.reads.retain(|read| &read.stream != stream);
        }
        let cut = if shape.order.is_some() {
            Cut::ByKey
        } else {
            Cut::OneWindow
        };
        let mut read = Read::new(stream.clone(), request.run, cut);
        if planned.snapshot == Snapshot::Skip && !request.empty_first {
            read = Read::resume(stream.clone(), request.run, cut, vec![Some((0, Bound::End))]);
        } else {
            read.row_count_estimated = pages::estimate(&self.setup.conn, &shape)?;
        }
        self.setup.shared.run_floor.fetch_max(request.run, Ordering::AcqRel);
        self.reads.push(read);
        let control = Control::BeginRead {
            schema: Arc::clone(&shape.schema),
            run: request.run,
            destinations: request.destinations.clone(),
            empty_first: request.empty_first,
        };
        let delta = self
            .announce()?
            .with_stream(stream.clone(), StreamState::reading(request.run, cut.encode()));
        self.emit_control(delta, control)?;
        self.publish_reads();
        Ok(())
    }
}

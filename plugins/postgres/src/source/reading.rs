//! Reading one page of existing rows out of a window, and handing it on.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;
use model::{Batch, ChangeSet, Delta, Page, Part};

use super::emitter::Ended;
use super::engine::Engine;
use super::error::{Error, sql};
use super::pages::{copy_statement, end_of_page};
use super::position::Bound;
use super::reads::{Cut, NextPage};
use super::shape::StreamShape;
use super::window::{Standing, Window, WindowReader};
use crate::copy::{CopyDecoder, CopyError};

impl Engine {
    /// Reads the next page of a read; a stream that has no order that can be compared is one page. `false` if the window does
    /// not show the table as it is.
    pub(crate) async fn read_page(&mut self, window: &Window, reader: &WindowReader, i: usize) -> Result<bool, Ended> {
        let Some(planned) = self.planned_of(i) else {
            return Ok(false);
        };
        let stream = &planned.id;
        let Some(table) = window.table(stream.schema().unwrap_or_default(), stream.name()).await? else {
            return Ok(false);
        };
        let of = self.read(i).of;
        if (table.oid, table.filenode) != (of.oid, of.filenode) {
            return Ok(false);
        }
        let shape = self.shape_of(&planned, &table).await?;
        let columns: Vec<String> = shape
            .columns
            .iter()
            .map(|column| shape.sent[column.at].name.clone())
            .collect();
        let is_same = reader.begin(&table, &columns).await? == Standing::Same;
        if is_same {
            let Some(next) = self.read(i).next_page() else {
                return Ok(false);
            };
            let order = shape.order.as_deref().filter(|_| self.read(i).cut == Cut::ByKey);
            let end = match order {
                Some(order) => {
                    let rows = self.setup.spec.page_rows;
                    end_of_page(&reader.connection, &table, order, &next, rows).await?
                }
                None => Bound::End,
            };
            let statement = copy_statement(&shape, &table, next.after.as_ref(), Some(&end));
            fail::fail_point!("postgres.source.before_page");
            self.copy_page(window, reader, i, &shape, &next, &end, &statement)
                .await?;
            fail::fail_point!("postgres.source.after_page");
        }
        reader.end().await?;
        Ok(is_same)
    }

    /// A page is one step, however large: rows beyond a changeset go out as parts of it.
    #[allow(clippy::too_many_arguments)]
    async fn copy_page(
        &mut self,
        window: &Window,
        reader: &WindowReader,
        i: usize,
        shape: &Arc<StreamShape>,
        next: &NextPage,
        end: &Bound,
        statement: &str,
    ) -> Result<(), Ended> {
        let copied = reader
            .connection
            .copy_out(statement)
            .await
            .map_err(sql("read existing rows"))?;
        let mut copied = std::pin::pin!(copied);
        let bytes_max = self.page_bytes_max();
        let columns: Vec<_> = shape.columns.iter().map(|column| column.of_server.clone()).collect();
        let mut decoder = CopyDecoder::new(&columns, Arc::clone(shape.schema.arrow()), shape.schema.key())
            .map_err(|unsuited| unreadable(shape, unsuited.to_string()))?;
        let mut memory = self
            .setup
            .emitter
            .reserve(bytes_max, Some(&self.setup.shared.closing))
            .await?;
        let mut is_inside = false;
        let is_one_window = self.read(i).cut == Cut::OneWindow;
        let mut number = next.number;
        let partition = self.read(i).partition();
        let (order, time) = (Self::window_order(window), window.time);
        let schema = &shape.schema;
        let batch = |rows: RecordBatch, number: u32| -> Vec<Batch> {
            match rows.num_rows() {
                0 => Vec::new(),
                _ => vec![Batch::of_page(
                    partition.clone(),
                    number,
                    Arc::clone(schema),
                    rows,
                    order,
                    time,
                )],
            }
        };
        let delta = |end: &Bound, number: u32| {
            let from = (number > 1).then(|| Page::new(0, number - 1).order());
            Delta::of(partition.clone(), from, end.position(number))
        };
        while let Some(chunk) = copied.next().await {
            let piece = chunk.map_err(sql("read existing rows"))?;
            decoder.push(piece).map_err(|error| refused(shape, error))?;
            if decoder.size_bytes() >= bytes_max {
                let full = decoder.finish_batch().map_err(|error| refused(shape, error))?;
                self.count(i, full.num_rows());
                let changeset = if is_one_window {
                    // Told apart by number alone, and never read again: a page here is what fits a changeset.
                    let bound = Bound::nameless();
                    let changeset = ChangeSet::rows(delta(&bound, number), batch(full, number));
                    self.read(i).page_is_out(number, bound);
                    number += 1;
                    changeset
                } else {
                    let part = if is_inside { Part::Middle } else { Part::First };
                    is_inside = true;
                    ChangeSet::part(part, Delta::none(), batch(full, number))
                };
                self.setup.emitter.emit(changeset, memory).await?;
                memory = self.setup.emitter.reserve(bytes_max, None).await?;
            }
        }
        if !decoder.is_ended() {
            return Err(unreadable(shape, "the COPY of existing rows broke off".to_owned()).into());
        }
        let rest = decoder.finish_batch().map_err(|error| refused(shape, error))?;
        self.count(i, rest.num_rows());
        let part = if is_inside { Part::Last } else { Part::Whole };
        let changeset = ChangeSet::part(part, delta(end, number), batch(rest, number));
        self.read(i).page_is_out(number, end.clone());
        self.setup.emitter.emit(changeset, memory).await
    }

    fn count(&mut self, i: usize, rows: usize) {
        let read = self.read(i);
        read.row_count += rows as u64;
        let (stream, run) = (read.stream.clone(), read.run);
        self.setup.shared.count_rows(&stream, run, rows as u64);
    }
}

fn unreadable(shape: &StreamShape, why: String) -> api::Error {
    Error::BadChange {
        stream: shape.stream().to_string(),
        why,
    }
    .into()
}

fn refused(shape: &StreamShape, error: CopyError) -> api::Error {
    match error {
        CopyError::Misfit { column, key, misfit } => Error::Misfit {
            stream: shape.stream().clone(),
            column,
            key,
            found: misfit.to_string(),
        }
        .into(),
        other => unreadable(shape, other.to_string()),
    }
}

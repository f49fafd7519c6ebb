//! One page of existing rows on its way from the server into batches, and to the engine.

use std::sync::Arc;

use api::{Reservation, Share};
use arrow::array::RecordBatch;
use futures::StreamExt;
use tokio::sync::{Notify, mpsc};

use super::emitter::Ended;
use super::error::{Error, sql};
use super::shape::StreamShape;
use super::window::WindowReader;
use crate::copy::{CopyDecoder, CopyError};

/// Memory for the pages of a window.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) memory: Share,
    /// Bytes of a changeset, which a page is to fit.
    pub(crate) page_bytes: usize,
}

impl Room {
    /// Waits for memory. Only for the page whose turn it is, or if no other is under way.
    pub(crate) async fn reserve(&self) -> Reservation {
        self.memory.reserve(self.page_bytes).await
    }

    /// Memory that the page whose turn it is can do without: it has room for a part that is built and one that is handed on.
    pub(crate) fn spare(&self) -> Option<Reservation> {
        self.memory.try_reserve_spare(self.page_bytes, 2 * self.page_bytes)
    }
}

/// Rows of a page, with the memory that was reserved for them.
pub(crate) struct PagePart {
    pub(crate) rows: RecordBatch,
    pub(crate) memory: Reservation,
    pub(crate) is_last: bool,
}

/// The engine's end of a page.
pub(crate) struct PageParts {
    parts: mpsc::Receiver<Result<PagePart, Ended>>,
    turn: Arc<Notify>,
}

impl PageParts {
    /// It is this page's turn: it may wait for memory.
    pub(crate) fn begin(&self) {
        self.turn.notify_one();
    }

    /// The next rows; `None` if the reader is gone.
    pub(crate) async fn next(&mut self) -> Option<Result<PagePart, Ended>> {
        self.parts.recv().await
    }
}

/// The reader's end of a page.
pub(crate) struct Page {
    room: Room,
    parts: mpsc::Sender<Result<PagePart, Ended>>,
    turn: Arc<Notify>,
    has_turn: bool,
    memory: Option<Reservation>,
    bytes_per_row: Option<f64>,
}

impl Page {
    /// A page with memory for its beginning.
    pub(crate) fn new(room: Room, memory: Reservation) -> (Page, PageParts) {
        // One part waits while the next is built.
        let (sender, receiver) = mpsc::channel(1);
        let turn = Arc::new(Notify::new());
        let page = Page {
            room,
            parts: sender,
            turn: Arc::clone(&turn),
            has_turn: false,
            memory: Some(memory),
            bytes_per_row: None,
        };
        (page, PageParts { parts: receiver, turn })
    }

    /// Reads the page; answers about how large its rows are, if it has some.
    pub(crate) async fn copy(
        mut self,
        reader: &WindowReader,
        shape: &StreamShape,
        statement: &str,
    ) -> Result<Option<f64>, Ended> {
        match self.read(reader, shape, statement).await {
            Ok(()) => Ok(self.bytes_per_row),
            Err(ended) => match self.parts.send(Err(ended)).await {
                Ok(()) => Err(Ended::Stopped),
                // Nobody wants the page any more.
                Err(_) => Ok(None),
            },
        }
    }

    async fn read(&mut self, reader: &WindowReader, shape: &StreamShape, statement: &str) -> Result<(), Ended> {
        let doing = sql("read existing rows");
        let copied = reader.connection.copy_out(statement).await.map_err(&doing)?;
        let mut copied = std::pin::pin!(copied);
        let columns: Vec<_> = shape.columns.iter().map(|column| column.of_server.clone()).collect();
        let mut decoder = CopyDecoder::new(&columns, Arc::clone(shape.schema.arrow()), shape.schema.key())
            .map_err(|unsuited| unreadable(shape, unsuited.to_string()))?;
        while let Some(chunk) = copied.next().await {
            let piece = chunk.map_err(&doing)?;
            decoder.push(piece).map_err(|error| refused(shape, error))?;
            if decoder.size_bytes() >= self.room.page_bytes {
                self.hand_on(shape, &mut decoder, false).await?;
            }
        }
        if !decoder.is_ended() {
            return Err(unreadable(shape, "the COPY of existing rows broke off".to_owned()).into());
        }
        self.hand_on(shape, &mut decoder, true).await
    }

    async fn hand_on(&mut self, shape: &StreamShape, decoder: &mut CopyDecoder, is_last: bool) -> Result<(), Ended> {
        let memory = match self.memory.take() {
            Some(memory) => memory,
            None => self.more().await,
        };
        let (rows, bytes) = (decoder.row_count(), decoder.size_bytes());
        if rows > 0 {
            self.bytes_per_row = Some(bytes as f64 / rows as f64);
        }
        let rows = decoder.finish_batch().map_err(|error| refused(shape, error))?;
        let part = PagePart { rows, memory, is_last };
        let sent = self.parts.send(Ok(part)).await;
        sent.map_err(|_| Ended::Stopped)?;
        if !is_last {
            // Before the next rows are built.
            self.memory = Some(self.more().await);
        }
        Ok(())
    }

    /// Memory for the next part of a page that is larger than a changeset.
    async fn more(&mut self) -> Reservation {
        if !self.has_turn {
            if let Some(spare) = self.room.spare() {
                return spare;
            }
            self.turn.notified().await;
            self.has_turn = true;
        }
        self.room.reserve().await
    }
}

fn unreadable(shape: &StreamShape, why: String) -> api::Error {
    Error::BadChange {
        stream: shape.stream().to_string(),
        why,
    }
    .into()
}

pub(super) fn refused(shape: &StreamShape, error: CopyError) -> api::Error {
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

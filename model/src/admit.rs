//! Cutting a changeset down to what one destination still lacks.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::error::ArrowError;

use crate::pick::{Fate, pick};
use crate::{
    Batch, Body, ChangeSet, Checkpoint, Control, Delta, DeltaError, DestinationId, Mark, Move, Op, Order, Page,
    PageTags, Part, Partition, StreamId, StreamState,
};

/// What one destination takes of a changeset.
#[derive(Debug, Clone)]
pub struct Admission {
    /// What to write; `None` if nothing is left but movement. Unchanged changesets are shared, not copied, so the delta
    /// inside is the source's: this destination moves by `delta` here. Parts of a transaction are always handed on, if need be
    /// without rows or control, so that their `First` and `Last` are seen.
    pub changeset: Option<Arc<ChangeSet>>,
    /// How this destination's checkpoint moves.
    pub delta: Delta,
}

/// Why a changeset cannot be admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// Changes between the checkpoint and the changeset are missing.
    #[error("cannot admit a changeset")]
    Delta(#[from] DeltaError),
    /// The destination reads the stream, but the source did not say in which pages the keys fall.
    #[error("cannot admit changes of `{stream}`: they carry no page of run {run}, which the destination is reading")]
    Untagged {
        /// The stream.
        stream: StreamId,
        /// The run.
        run: u32,
    },
    /// A row moved into a page that the destination holds, but not all of its values were sent.
    #[error(
        "cannot admit a change of `{stream}` that moves a row into page {page:?} of run {run}: some of its values were not sent"
    )]
    NotWhole {
        /// The stream.
        stream: StreamId,
        /// The run.
        run: u32,
        /// The page that the row moved into.
        page: Page,
    },
    /// A row left the pages that the destination holds, but its old key was not sent.
    #[error(
        "cannot admit a change of `{stream}` that moves a row out of page {page:?} of run {run}: its old key was not sent"
    )]
    NoOldKey {
        /// The stream.
        stream: StreamId,
        /// The run.
        run: u32,
        /// The page that the row left.
        page: Page,
    },
    /// A read ends, but pages that the destination gave up were not read again.
    #[error("cannot end run {run} of `{stream}`: {page_count} pages were given up and not read again")]
    GivenUp {
        /// The stream.
        stream: StreamId,
        /// The run.
        run: u32,
        /// How many.
        page_count: usize,
    },
    /// A control that removes rows does not say where in the log it stands, so that nobody could tell a repeat, which
    /// would remove rows that came later.
    #[error("cannot admit a `{control}` of `{stream}`: it moves no position")]
    Unplaced {
        /// The control's name.
        control: &'static str,
        /// The stream.
        stream: StreamId,
    },
    /// Arrow refused to build the rows.
    #[error("cannot cut a batch of `{stream}`")]
    Arrow {
        /// The stream.
        stream: StreamId,
        /// What Arrow said.
        #[source]
        source: ArrowError,
    },
}

impl Checkpoint {
    /// Cuts `changeset` down to what the destination `who`, which holds this checkpoint, still lacks.
    ///
    /// | what | kept if |
    /// |---|---|
    /// | change row | its transaction is after the log's mark, and its stream is live, or its key falls in a page that is held |
    /// | change row whose key moves between pages | into a held page: as an insert; out of one: as a delete |
    /// | existing row | the stream is reading that run, and the page is after the range's mark or was given up |
    /// | begin of a read | the destination is meant, and has seen neither this run nor a later one |
    /// | end of a read | the stream is reading that run |
    /// | truncate, delete-where | its position, or its transaction, is after the mark, and the stream is held |
    /// | schema | the stream is held, and its position or transaction, if it has one, is after the mark |
    /// | movement of a log | it goes beyond the mark; it starts at the mark |
    /// | movement of a range | the same, and the stream is reading that run |
    /// | state of a stream | with the control that brings it; a page that was given up and is read again is no longer listed |
    ///
    /// A stream that is not held keeps nothing but the beginning of its read.
    ///
    /// The parts of a transaction are admitted one by one against the same checkpoint: apply the returned delta only
    /// where it is not empty, which is at the last part.
    pub fn admit(&self, who: &DestinationId, changeset: &Arc<ChangeSet>) -> Result<Admission, AdmitError> {
        let delta = self.admit_delta(who, changeset)?;
        let changeset = match &changeset.body {
            Body::Control(control) => match self.takes_control(who, control, changeset)? {
                true => Some(Arc::clone(changeset)),
                false if changeset.part == Part::Whole => None,
                false => Some(Arc::new(changeset.emptied())),
            },
            Body::Rows(batches) => self.admit_rows(changeset, batches)?,
        };
        Ok(Admission { changeset, delta })
    }

    /// How this destination's checkpoint moves with `changeset`; empty if all of it is covered already.
    pub fn admit_delta(&self, who: &DestinationId, changeset: &ChangeSet) -> Result<Delta, AdmitError> {
        let mut admitted = Delta::none();
        for m in &changeset.delta.moves {
            if let Partition::Range { stream, run, .. } = &m.partition
                && !self.reads(stream, *run)
            {
                continue;
            }
            match self.mark(&m.partition) {
                mark if mark.covers(m.to.order) => {}
                mark => {
                    self.check_hole(m)?;
                    let from = match mark {
                        Mark::At(held) => Some(held),
                        Mark::NotBegun | Mark::Finished => m.from,
                    };
                    admitted.moves.push(Move { from, ..m.clone() });
                }
            }
        }
        match &changeset.body {
            Body::Control(control) => {
                if self.takes_control(who, control, changeset)? {
                    admitted.streams.clone_from(&changeset.delta.streams);
                }
            }
            Body::Rows(_) => admitted.streams = self.states_after_rows(&changeset.delta),
        }
        Ok(admitted)
    }

    /// The streams that are being read and of which `delta` brings something new: pages that were given up and are read
    /// again, or other ranges.
    fn states_after_rows(&self, delta: &Delta) -> Vec<(StreamId, StreamState)> {
        let moved = delta.moves.iter().filter_map(|m| match &m.partition {
            Partition::Range { stream, .. } => Some(stream),
            Partition::Log(_) => None,
        });
        let touched: BTreeSet<&StreamId> = delta.streams.iter().map(|(stream, _)| stream).chain(moved).collect();
        let changed = touched
            .into_iter()
            .filter_map(|stream| Some((stream.clone(), self.state_after_rows(stream, delta)?)));
        changed.collect()
    }

    fn state_after_rows(&self, stream: &StreamId, delta: &Delta) -> Option<StreamState> {
        let held = self.streams.get(stream)?;
        let StreamState::Reading { run, ranges, given_up } = held else {
            return None;
        };
        let told = delta.streams.iter().find_map(|(named, state)| match state {
            StreamState::Reading { run: told, ranges, .. } if named == stream && told == run => Some(ranges),
            _ => None,
        });
        let is_read_again = |page: &&Page| delta.moves.iter().any(|m| m.has_page(stream, *run, **page));
        let state = StreamState::Reading {
            run: *run,
            ranges: told.unwrap_or(ranges).clone(),
            given_up: given_up.iter().filter(|page| !is_read_again(page)).copied().collect(),
        };
        (state != *held).then_some(state)
    }

    fn reads(&self, stream: &StreamId, run: u32) -> bool {
        self.streams.get(stream).is_some_and(|state| state.reads(run))
    }

    /// Whether this checkpoint holds a page of a run that its stream is reading.
    pub fn holds_page(&self, stream: &StreamId, run: u32, page: Page) -> bool {
        match self.streams.get(stream) {
            Some(StreamState::Reading {
                run: held, given_up, ..
            }) if *held == run => {
                page.number != Page::UNREAD
                    && self
                        .mark(&Partition::Range {
                            stream: stream.clone(),
                            run,
                            range: page.range,
                        })
                        .covers(page.order())
                    && !given_up.contains(&page)
            }
            _ => false,
        }
    }

    fn takes_control(&self, who: &DestinationId, control: &Control, changeset: &ChangeSet) -> Result<bool, AdmitError> {
        let is_placed = changeset.place.is_some() || !changeset.delta.moves.is_empty();
        match control {
            Control::BeginRead {
                schema,
                run,
                destinations,
                ..
            } => Ok(destinations.as_ref().is_none_or(|meant| meant.contains(who))
                && self.streams.get(schema.stream()).is_none_or(|state| state.run() < *run)),
            Control::EndRead { stream, run } => match self.streams.get(stream) {
                Some(StreamState::Reading {
                    run: held, given_up, ..
                }) if held == run => {
                    if given_up.is_empty() {
                        return Ok(true);
                    }
                    Err(AdmitError::GivenUp {
                        stream: stream.clone(),
                        run: *run,
                        page_count: given_up.len(),
                    })
                }
                _ => Ok(false),
            },
            Control::Truncate { stream } | Control::DeleteWhere { stream, .. } => {
                if !self.streams.contains_key(stream) {
                    return Ok(false);
                }
                if !is_placed {
                    return Err(AdmitError::Unplaced {
                        control: control.name(),
                        stream: stream.clone(),
                    });
                }
                Ok(self.is_new(changeset))
            }
            Control::Schema { schema } => {
                Ok(self.streams.contains_key(schema.stream()) && (!is_placed || self.is_new(changeset)))
            }
        }
    }

    /// Whether a control's place is after the mark.
    fn is_new(&self, changeset: &ChangeSet) -> bool {
        match &changeset.place {
            Some(place) => !self.mark(&place.log).covers(place.order),
            None => {
                let mut moves = changeset.delta.moves.iter();
                moves.any(|m| !self.mark(&m.partition).covers(m.to.order))
            }
        }
    }

    fn admit_rows(&self, changeset: &Arc<ChangeSet>, batches: &[Batch]) -> Result<Option<Arc<ChangeSet>>, AdmitError> {
        let mut kept: Vec<Batch> = Vec::with_capacity(batches.len());
        let mut is_same = true;
        for batch in batches {
            match self.admit_batch(batch)? {
                Kept::All => kept.push(batch.clone()),
                Kept::Some(part) => {
                    is_same = false;
                    kept.push(*part);
                }
                Kept::None => is_same = false,
            }
        }
        if kept.is_empty() && changeset.part == Part::Whole {
            return Ok(None);
        }
        if is_same {
            return Ok(Some(Arc::clone(changeset)));
        }
        Ok(Some(Arc::new(ChangeSet::part(
            changeset.part,
            changeset.delta.clone(),
            kept,
        ))))
    }

    fn admit_batch(&self, batch: &Batch) -> Result<Kept, AdmitError> {
        let stream = batch.schema.stream();
        match (&batch.partition, self.streams.get(stream)) {
            (_, None) => Ok(Kept::None),
            (Partition::Range { run, range, .. }, Some(_)) => {
                let page = Page::new(*range, batch.page);
                let takes = self.reads(stream, *run) && !self.holds_page(stream, *run, page);
                Ok(if takes { Kept::All } else { Kept::None })
            }
            (Partition::Log(_), Some(state)) => {
                let fresh = match self.mark(&batch.partition) {
                    Mark::At(mark) => first_after(batch, mark),
                    Mark::NotBegun => 0,
                    Mark::Finished => batch.len(),
                };
                if fresh == batch.len() {
                    return Ok(Kept::None);
                }
                let rest = (fresh > 0).then(|| batch.slice(fresh..batch.len()));
                match state {
                    StreamState::Live { .. } => Ok(rest.map_or(Kept::All, |rest| Kept::Some(Box::new(rest)))),
                    StreamState::Reading { run, .. } => {
                        self.admit_pages(rest.as_ref().unwrap_or(batch), *run, rest.is_none())
                    }
                }
            }
        }
    }

    /// The rows of held pages only; keys that move between held and other pages appear or disappear.
    fn admit_pages(&self, batch: &Batch, run: u32, is_whole: bool) -> Result<Kept, AdmitError> {
        let stream = batch.schema.stream();
        let tags = batch.page_tags.iter().find(|tags| tags.run == run);
        let tags = tags.ok_or_else(|| AdmitError::Untagged {
            stream: stream.clone(),
            run,
        })?;
        let mut held = HeldPages {
            checkpoint: self,
            stream,
            run,
            last: None,
        };
        let mut picks = Vec::with_capacity(batch.len());
        for row in 0..batch.len() {
            if let Some(fate) = self.fate(batch, tags, row, &mut held)? {
                picks.push((row, fate));
            }
        }
        if picks.is_empty() {
            return Ok(Kept::None);
        }
        if is_whole && picks.len() == batch.len() && picks.iter().all(|&(_, fate)| fate == Fate::Keep) {
            return Ok(Kept::All);
        }
        match pick(batch, &picks) {
            Ok(some) => Ok(Kept::Some(Box::new(some))),
            Err(source) => Err(AdmitError::Arrow {
                stream: stream.clone(),
                source,
            }),
        }
    }

    fn fate(
        &self,
        batch: &Batch,
        tags: &PageTags,
        row: usize,
        held: &mut HeldPages<'_>,
    ) -> Result<Option<Fate>, AdmitError> {
        let is_update = batch.ops.get(row) == Op::Update;
        let after = held.has(tags.at(row));
        let before = if is_update { held.has(tags.before(row)) } else { after };
        let is_whole = || batch.unavailable.as_ref().is_none_or(|mask| !mask.any_in_row(row));
        let has_old_key = || batch.before.as_ref().is_some_and(|before| before.present.value(row));
        match (before, after) {
            (true, true) => Ok(Some(Fate::Keep)),
            (false, false) => Ok(None),
            (true, false) if has_old_key() => Ok(Some(Fate::Delete)),
            (true, false) => Err(AdmitError::NoOldKey {
                stream: held.stream.clone(),
                run: held.run,
                page: tags.before(row),
            }),
            (false, true) if is_whole() => Ok(Some(Fate::Insert)),
            (false, true) => Err(AdmitError::NotWhole {
                stream: held.stream.clone(),
                run: held.run,
                page: tags.at(row),
            }),
        }
    }
}

enum Kept {
    All,
    Some(Box<Batch>),
    None,
}

/// Answers "is this page held?" and remembers the last answer, since neighbouring rows often share a page.
struct HeldPages<'a> {
    checkpoint: &'a Checkpoint,
    stream: &'a StreamId,
    run: u32,
    last: Option<(Page, bool)>,
}

impl HeldPages<'_> {
    fn has(&mut self, page: Page) -> bool {
        match self.last {
            Some((last, answer)) if last == page => answer,
            _ => {
                let answer = self.checkpoint.holds_page(self.stream, self.run, page);
                self.last = Some((page, answer));
                answer
            }
        }
    }
}

/// The first row whose transaction ends after `mark`.
fn first_after(batch: &Batch, mark: Order) -> usize {
    let repeats = batch.commits.partition_point(|commit| commit.order <= mark);
    if repeats == 0 {
        0
    } else {
        batch.commits[repeats - 1].row_end
    }
}

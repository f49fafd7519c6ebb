//! One rule broken at a time. A checker that was never seen failing proves nothing.

use std::sync::Arc;

use model::{Body, ChangeSet, Checkpoint, Control, Page, PageTags, Partition, Position, StreamState};

use crate::rows::log;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    /// A destination takes the changes of pages that it does not hold.
    TakeEveryPage,
    /// A destination takes the pages of another run than the one it reads.
    TakePagesOfAnotherRun,
    /// A destination takes changes in pages that nobody has read.
    TakeUnread,
    /// A destination looks at the new key of a change alone.
    ForgetTheOldPage,
    /// A destination takes what it has already, when the log is replayed.
    TakeRepeats,
    /// A destination commits inside a large transaction.
    CommitInsideATransaction,
    /// A destination that comes back goes on where it stood, not from what it holds.
    GoOnWithoutRewind,
    /// The source is acknowledged up to the fastest destination.
    AcknowledgeTheFastest,
    /// A destination that has nothing durable yet is not counted when the source is acknowledged.
    LetTheFreshHoldNothingBack,
    /// The source resumes a read by the bounds of the furthest behind alone.
    ForgetTheBoundsOfOthers,
    /// The source ends a read before its last page.
    EndBeforeTheLastPage,
    /// A window's pages are newer than the log before them.
    ReadAheadOfTheLog,
    /// The naive way: pages as of now, and whatever they saw already is skipped in the stream. Judged by the outcome alone.
    SkipWhatTheChunkSaw,
}

impl Sabotage {
    pub(crate) const ALL: [Sabotage; 13] = [
        Self::TakeEveryPage,
        Self::TakePagesOfAnotherRun,
        Self::TakeUnread,
        Self::ForgetTheOldPage,
        Self::TakeRepeats,
        Self::CommitInsideATransaction,
        Self::GoOnWithoutRewind,
        Self::AcknowledgeTheFastest,
        Self::LetTheFreshHoldNothingBack,
        Self::ForgetTheBoundsOfOthers,
        Self::EndBeforeTheLastPage,
        Self::ReadAheadOfTheLog,
        Self::SkipWhatTheChunkSaw,
    ];

    pub(crate) fn reads_ahead_of_the_log(self) -> bool {
        matches!(self, Self::ReadAheadOfTheLog | Self::SkipWhatTheChunkSaw)
    }

    /// What a destination that breaks the rule believes to hold and to see.
    pub(crate) fn disguise(self, held: &Checkpoint, changeset: &Arc<ChangeSet>) -> (Checkpoint, Arc<ChangeSet>) {
        let (mut held, mut seen) = (held.clone(), (**changeset).clone());
        match self {
            Self::TakeEveryPage if moves_the_log(&seen) => {
                for state in held.streams.values_mut() {
                    *state = StreamState::Live { run: state.run() };
                }
            }
            Self::TakePagesOfAnotherRun => take_as_own(&held, &mut seen),
            Self::TakeUnread => change_tags(&mut seen, |tags, row| (read(tags.at(row)), read(tags.before(row)))),
            Self::ForgetTheOldPage => change_tags(&mut seen, |tags, row| (tags.at(row), tags.at(row))),
            Self::TakeRepeats => {
                let from = seen
                    .delta
                    .moves
                    .iter()
                    .find(|m| m.partition == log())
                    .and_then(|m| m.from);
                if let (Some(mark), Some(from)) = (held.marks.get_mut(&log()), from) {
                    *mark = Position::at(from.min(mark.order));
                }
            }
            _ => return (held, Arc::clone(changeset)),
        }
        (held, Arc::new(seen))
    }
}

fn moves_the_log(changeset: &ChangeSet) -> bool {
    matches!(changeset.body, Body::Rows(_)) && changeset.delta.moves.iter().all(|m| m.partition.is_log())
}

fn read(page: Page) -> Page {
    match page.number {
        Page::UNREAD => Page::new(page.range, 1),
        _ => page,
    }
}

fn change_tags(changeset: &mut ChangeSet, change: impl Fn(&PageTags, usize) -> (Page, Page)) {
    let Body::Rows(batches) = &mut changeset.body else {
        return;
    };
    for tags in batches.iter_mut().flat_map(|batch| &mut batch.page_tags) {
        let changed = (0..tags.len()).map(|row| change(tags, row));
        let (at, before): (Vec<Page>, Vec<Page>) = changed.unzip();
        *tags = PageTags::new(tags.run, at, Some(before));
    }
}

fn take_as_own(held: &Checkpoint, changeset: &mut ChangeSet) {
    let own = |partition: &mut Partition| {
        if let Partition::Range { stream, run, .. } = partition
            && let Some(StreamState::Reading { run: reading, .. }) = held.streams.get(stream)
        {
            *run = *reading;
        }
    };
    changeset.delta.moves.iter_mut().for_each(|m| own(&mut m.partition));
    match &mut changeset.body {
        Body::Rows(batches) => batches.iter_mut().for_each(|batch| own(&mut batch.partition)),
        Body::Control(Control::EndRead { stream, run }) => {
            if let Some(StreamState::Reading { run: reading, .. }) = held.streams.get(stream) {
                *run = *reading;
                changeset.delta.streams = vec![(stream.clone(), StreamState::Live { run: *reading })];
            }
        }
        Body::Control(_) => {}
    }
}

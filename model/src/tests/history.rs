//! Any well-formed history, taken in any pieces: the laws that every lane relies on.

use std::sync::Arc;

use proptest::prelude::*;

use super::admit::who;
use super::{at, batch_of, live, log, orders, reading, schema_of};
use crate::{
    Batch, ChangeSet, Checkpoint, Control, Delta, DestinationId, Page, PageTags, Part, Partition, Place, Position,
    StreamId,
};

/// Writes a history step by step, as a source would.
struct Writer {
    log_end: u64,
    next_row: i64,
    run: u32,
    streams: Vec<Written>,
    history: Vec<Arc<ChangeSet>>,
}

struct Written {
    id: StreamId,
    /// The runs that are read, and how many pages of each were sent. A read for one destination leaves the others' alone.
    reading: Vec<(u32, u64)>,
}

impl Writer {
    fn write(steps: &[(u8, u8)]) -> Vec<Arc<ChangeSet>> {
        let stream = |id| Written {
            id,
            reading: Vec::new(),
        };
        let mut writer = Writer {
            log_end: 10,
            next_row: 0,
            run: 0,
            streams: vec![stream(orders()), stream(StreamId::new("items"))],
            history: Vec::new(),
        };
        for &(step, detail) in steps {
            writer.step(step, detail);
        }
        writer.history
    }

    fn step(&mut self, step: u8, detail: u8) {
        let s = usize::from(detail) % 2;
        let runs = self.streams[s].reading.len();
        match step % 8 {
            0 => self.begin(s, detail % 4 == 3),
            1 if runs > 0 => self.end(s, usize::from(detail / 2) % runs),
            2 | 3 if runs > 0 => self.page(s, usize::from(detail / 2) % runs),
            4 => self.changes(0, detail),
            5 => self.emptied_and_filled(s, detail),
            _ => self.changes(1 + usize::from(detail % 3), detail),
        }
    }

    fn begin(&mut self, s: usize, for_one: bool) {
        self.run += 1;
        let written = &mut self.streams[s];
        if !for_one {
            written.reading.clear();
        }
        written.reading.push((self.run, 0));
        let control = Control::BeginRead {
            schema: schema_of(&written.id),
            run: self.run,
            destinations: for_one.then(|| vec![DestinationId::from("other")]),
            empty_first: true,
        };
        let delta = Delta::of(log(), Some(at(self.log_end)), Position::at(at(self.log_end)));
        let delta = delta.with_stream(written.id.clone(), reading(self.run));
        self.history.push(Arc::new(ChangeSet::control(delta, control)));
    }

    fn end(&mut self, s: usize, which: usize) {
        let written = &mut self.streams[s];
        let (run, _) = written.reading.remove(which);
        let control = Control::EndRead {
            stream: written.id.clone(),
            run,
        };
        let delta = Delta::none().with_stream(written.id.clone(), live(run));
        self.history.push(Arc::new(ChangeSet::control(delta, control)));
    }

    fn page(&mut self, s: usize, which: usize) {
        let written = &mut self.streams[s];
        let (run, pages) = &mut written.reading[which];
        *pages += 1;
        let (run, page) = (*run, *pages);
        let partition = Partition::Range {
            stream: written.id.clone(),
            run,
            range: 0,
        };
        self.next_row += 1;
        let batch = Batch {
            partition: partition.clone(),
            page: page as u32,
            ..batch_of(&written.id, &format!("{}: r {} x", self.log_end, self.next_row))
        };
        let from = (page > 1).then(|| at(page - 1));
        let delta = Delta::of(partition, from, Position::at(at(page)));
        self.history.push(Arc::new(ChangeSet::rows(delta, vec![batch])));
    }

    /// One transaction in parts: rows, a truncate of the stream, rows.
    fn emptied_and_filled(&mut self, s: usize, detail: u8) {
        let from = self.log_end;
        self.log_end += 3;
        let order = self.log_end;
        let before = self.rows_of_a_transaction(order, 1, detail);
        let after = self.rows_of_a_transaction(order, 2, detail);
        let control = Control::Truncate {
            stream: self.streams[s].id.clone(),
        };
        let place = Place {
            log: log(),
            order: at(order),
        };
        let delta = Delta::of(log(), Some(at(from)), Position::at(at(order)));
        let mut parts = vec![ChangeSet::part(Part::First, Delta::none(), before)];
        match detail % 4 {
            0 => parts.push(ChangeSet::control_part(Part::Last, delta, control, place)),
            _ => {
                parts.push(ChangeSet::control_part(Part::Middle, Delta::none(), control, place));
                parts.push(ChangeSet::part(Part::Last, delta, after));
            }
        }
        self.history.extend(parts.into_iter().map(Arc::new));
    }

    /// Rows of all streams that belong to the transaction of `order`.
    fn rows_of_a_transaction(&mut self, order: u64, count: usize, detail: u8) -> Vec<Batch> {
        self.batches(count, detail, |_| order)
    }

    fn changes(&mut self, count: usize, detail: u8) {
        let from = self.log_end;
        self.log_end += 3;
        let batches = self.batches(count, detail, |i| from + 1 + i as u64);
        let delta = Delta::of(log(), Some(at(from)), Position::at(at(self.log_end)));
        self.history.push(Arc::new(ChangeSet::rows(delta, batches)));
    }

    /// `count` rows of each stream; the i-th belongs to the transaction of `order_of(i)`.
    fn batches(&mut self, count: usize, detail: u8, order_of: impl Fn(usize) -> u64) -> Vec<Batch> {
        let mut batches = Vec::new();
        for written in &self.streams {
            if count == 0 {
                continue;
            }
            let first_row = self.next_row;
            let lines = (0..count).map(|i| format!("{}: i {} y", order_of(i), first_row + i as i64));
            let mut batch = batch_of(&written.id, &lines.collect::<Vec<_>>().join(" | "));
            self.next_row += count as i64;
            let tags = written.reading.iter().map(|&(run, pages)| {
                let number = match u32::from(detail) % (pages as u32 + 3) {
                    0 => Page::UNREAD,
                    number => number,
                };
                PageTags::new(run, vec![Page::new(0, number); count], None)
            });
            batch.page_tags = tags.collect();
            batches.push(batch);
        }
        batches
    }
}

fn any_history() -> impl Strategy<Value = Vec<Arc<ChangeSet>>> {
    proptest::collection::vec(any::<(u8, u8)>(), 1..24).prop_map(|steps| Writer::write(&steps))
}

/// One destination's way through a history: after each changeset its checkpoint, what it took and how it moved.
fn walk(history: &[Arc<ChangeSet>], who: &DestinationId) -> (Vec<Checkpoint>, Vec<String>, Vec<Delta>) {
    let mut held = Checkpoint::default();
    let (mut checkpoints, mut taken, mut deltas) = (vec![held.clone()], Vec::new(), Vec::new());
    for changeset in history {
        let admission = held.admit(who, changeset).unwrap();
        held.apply(&admission.delta).unwrap();
        taken.push(text_of(admission.changeset.as_ref()));
        deltas.push(admission.delta);
        checkpoints.push(held.clone());
    }
    (checkpoints, taken, deltas)
}

/// The last place up to `at` that is not between the parts of a transaction: only there does anybody stand.
fn between_transactions(history: &[Arc<ChangeSet>], at: usize) -> usize {
    let ends = |at: &usize| *at == 0 || history[at - 1].part.ends_consistent();
    (0..=at).rev().find(ends).unwrap_or(0)
}

fn text_of(changeset: Option<&Arc<ChangeSet>>) -> String {
    changeset.map_or_else(String::new, |changeset| match &changeset.body {
        crate::Body::Control(control) => control.name().to_owned(),
        crate::Body::Rows(_) => super::shown(Some(changeset)),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn sum_of_deltas_moves_a_checkpoint_as_the_deltas_do(history in any_history(), cut in any::<(u8, u8)>()) {
        let (checkpoints, _, deltas) = walk(&history, &who());
        let from = usize::from(cut.0) % checkpoints.len();
        let to = from + usize::from(cut.1) % (checkpoints.len() - from);
        let mut sum = Delta::none();
        deltas[from..to].iter().for_each(|delta| sum.then(delta));
        let mut held = checkpoints[from].clone();
        held.apply(&sum).unwrap();
        prop_assert_eq!(&held, &checkpoints[to]);
        // Once more, as after a commit whose reply was lost.
        held.apply(&sum).unwrap();
        prop_assert_eq!(&held, &checkpoints[to]);
        // And in any grouping.
        let mut grouped = Delta::none();
        for half in [&deltas[from..(from + to) / 2], &deltas[(from + to) / 2..to]] {
            let mut part = Delta::none();
            half.iter().for_each(|delta| part.then(delta));
            grouped.then(&part);
        }
        prop_assert_eq!(grouped, sum);
    }

    #[test]
    fn replay_from_anywhere_gives_what_is_missing_and_nothing_twice(history in any_history(), cut in any::<(u8, u8)>()) {
        let (checkpoints, taken, _) = walk(&history, &who());
        let held_upto = between_transactions(&history, usize::from(cut.0) % checkpoints.len());
        let replay_from = between_transactions(&history, usize::from(cut.1) % (held_upto + 1));
        let mut held = checkpoints[held_upto].clone();
        for (i, changeset) in history.iter().enumerate().skip(replay_from) {
            let admission = held.admit(&who(), changeset).unwrap();
            held.apply(&admission.delta).unwrap();
            let expected = if i < held_upto { "" } else { taken[i].as_str() };
            prop_assert_eq!(text_of(admission.changeset.as_ref()), expected, "changeset {}", i);
        }
        prop_assert_eq!(&held, &checkpoints[history.len()]);
    }

    #[test]
    fn checkpoint_only_grows(history in any_history()) {
        let (checkpoints, _, _) = walk(&history, &who());
        for (i, earlier) in checkpoints.iter().enumerate() {
            for later in &checkpoints[i..] {
                prop_assert!(later.covers(earlier), "{:?} covers {:?}", later, earlier);
            }
        }
    }

    #[test]
    fn everywhere_is_covered_by_each_and_only_grows(history in any_history(), speeds in proptest::collection::vec(any::<u8>(), 1..40)) {
        let names = ["warehouse", "other", "third"].map(DestinationId::from);
        let walks = names.each_ref().map(|name| walk(&history, name).0);
        let mut places = [0usize; 3];
        let mut released = Checkpoint::default();
        let mut held_by: Vec<usize> = Vec::new();
        for speed in speeds {
            let d = usize::from(speed) % 3;
            places[d] = (places[d] + usize::from(speed) / 32).min(history.len());
            let held = [0, 1, 2].map(|d| walks[d][places[d]].clone());
            let now = Checkpoint::everywhere(&held);
            for checkpoint in held.iter().filter(|checkpoint| !checkpoint.streams.is_empty()) {
                for (partition, position) in &now.marks {
                    let is_held = match partition {
                        Partition::Log(_) => true,
                        Partition::Range { stream, .. } => checkpoint.streams.contains_key(stream),
                    };
                    prop_assert!(!is_held || checkpoint.mark(partition).covers(position.order), "{:?} lacks {}", checkpoint, partition);
                }
                for (stream, state) in &now.streams {
                    if let Some(mine) = checkpoint.streams.get(stream) {
                        prop_assert!((mine.run(), mine.is_live()) >= (state.run(), state.is_live()));
                    }
                }
            }
            // It grows while the same destinations hold the same streams.
            let holders: Vec<usize> = held.iter().map(|checkpoint| checkpoint.streams.len() * 2 + usize::from(!checkpoint.marks.is_empty())).collect();
            if holders == held_by {
                prop_assert!(now.covers(&released), "{:?} after {:?}", now, released);
            }
            (released, held_by) = (now, holders);
        }
    }
}

//! What reader and control share: which reads are to be made, and how far they are durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use api::{ReadExisting, ReadProgress};
use model::{Checkpoint, DestinationId, Order, Partition, StreamId, Timestamp};
use tokio::sync::Notify;

/// One sync: a read of every planned stream.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub number: u32,
    /// `_cq_sync_time`, and the log's position; zero until it is known.
    pub time: Timestamp,
    /// For whom; `None` for everyone.
    pub destinations: Option<Vec<DestinationId>>,
    /// Whether they empty their tables first.
    pub empty_first: bool,
}

impl Run {
    pub(super) fn order(&self) -> Order {
        Order::new(0, self.time.micros() as u64, 0)
    }
}

pub(super) struct Flow {
    pub log: Partition,
    state: Mutex<State>,
    /// A run was asked for, or the end.
    pub changed: Notify,
}

pub(super) struct State {
    /// Runs that have not begun.
    waiting: VecDeque<Run>,
    last_run: u32,
    last_sync: u64,
    /// The first run is not made before somebody has asked for it.
    is_awaited: bool,
    pub is_closed: bool,
    pub everywhere: Checkpoint,
    pub rows: BTreeMap<StreamId, u64>,
    pub running: Option<Run>,
}

/// The next run, or why there is none.
pub(super) enum Next {
    Begin(Run),
    Wait,
    End,
}

impl Flow {
    pub(super) fn new(log: Partition, last_run: u32, last_sync: u64, is_awaited: bool) -> Self {
        let mut state = State {
            waiting: VecDeque::new(),
            last_run,
            last_sync,
            is_awaited,
            is_closed: false,
            everywhere: Checkpoint::default(),
            rows: BTreeMap::new(),
            running: None,
        };
        // The regular one: each opening makes a sync. Its time is known from here on, so that it is the head at once, and
        // nobody takes the sync before for the newest.
        let time = state.later();
        state.add(None, false);
        if let Some(run) = state.waiting.back_mut() {
            run.time = time;
        }
        Flow {
            log,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request for a read; the number of the run that answers it.
    pub(super) fn ask(&self, request: &ReadExisting) -> u32 {
        let mut state = self.state();
        state.is_awaited = false;
        // A sync for everyone that has not begun brings the rows, too. Emptying is not for everyone unless it says so.
        let fits = |run: &&mut Run| {
            run.destinations.is_none() && (!request.empty_first || request.destinations.is_none() || run.empty_first)
        };
        let found = state.waiting.iter_mut().find(fits).map(|run| {
            run.empty_first |= request.empty_first;
            run.number
        });
        let number = found.unwrap_or_else(|| state.add(request.destinations.clone(), request.empty_first));
        drop(state);
        self.changed.notify_waiters();
        number
    }

    /// Takes the next run, which then begins.
    pub(super) fn next(&self) -> Next {
        let mut state = self.state();
        state.running = None;
        if state.is_closed {
            return Next::End;
        }
        if state.is_awaited {
            return Next::Wait;
        }
        match state.waiting.pop_front() {
            None => Next::End,
            Some(mut run) => {
                if run.time == Timestamp(0) {
                    run.time = state.later();
                }
                state.rows.clear();
                state.running = Some(run.clone());
                Next::Begin(run)
            }
        }
    }

    /// The reads of the sync that goes on.
    pub(super) fn progress(&self) -> Vec<ReadProgress> {
        let state = self.state();
        let run = state.running.as_ref().map_or(0, |run| run.number);
        let of_stream = |(stream, rows): (&StreamId, &u64)| ReadProgress {
            stream: stream.clone(),
            run,
            row_count: *rows,
            row_count_estimated: None,
        };
        state.rows.iter().map(of_stream).collect()
    }
}

impl State {
    fn add(&mut self, destinations: Option<Vec<DestinationId>>, empty_first: bool) -> u32 {
        self.last_run += 1;
        self.waiting.push_back(Run {
            number: self.last_run,
            time: Timestamp(0),
            destinations,
            empty_first,
        });
        self.last_run
    }

    /// The time now, for a sync; never that of an earlier one, nor before it.
    fn later(&mut self) -> Timestamp {
        let time = now().max(Timestamp(self.last_sync as i64 + 1));
        self.last_sync = time.micros() as u64;
        time
    }

    /// The position of the newest sync that has begun or is about to.
    pub(super) fn head(&self) -> Option<Timestamp> {
        (self.last_sync > 0).then_some(Timestamp(self.last_sync as i64))
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_micros() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(is_awaited: bool) -> Flow {
        Flow::new(Partition::log("cloudquery:x"), 4, 10, is_awaited)
    }

    fn ask(destinations: Option<&[&str]>, empty_first: bool) -> ReadExisting {
        let ids = |names: &[&str]| names.iter().map(|name| DestinationId::from(*name)).collect();
        ReadExisting {
            streams: Vec::new(),
            destinations: destinations.map(ids),
            empty_first,
        }
    }

    /// The runs that follow, as `number destinations empty_first`.
    fn runs(flow: &Flow) -> Vec<String> {
        let mut runs = Vec::new();
        while let Next::Begin(run) = flow.next() {
            let whom = run.destinations.map_or("all".to_owned(), |ids| format!("{ids:?}"));
            runs.push(format!("{} {whom} {}", run.number, run.empty_first));
        }
        runs
    }

    #[test]
    fn every_opening_makes_one_sync_and_ends() {
        assert_eq!(runs(&flow(false)), ["5 all false"]);
    }

    #[test]
    fn a_new_destination_is_waited_for_and_shares_the_sync() {
        let flow = flow(true);
        assert!(matches!(flow.next(), Next::Wait));
        assert_eq!(flow.ask(&ask(Some(&["new"]), false)), 5);
        assert_eq!(flow.ask(&ask(Some(&["other"]), false)), 5);
        assert_eq!(runs(&flow), ["5 all false"]);
    }

    #[test]
    fn nobody_is_emptied_who_did_not_ask_for_it() {
        let flow = flow(false);
        assert_eq!(flow.ask(&ask(Some(&["a"]), true)), 6);
        assert_eq!(runs(&flow), ["5 all false", "6 [`a`] true"]);
    }

    #[test]
    fn a_sync_that_has_begun_answers_no_later_request() {
        let flow = flow(false);
        assert!(matches!(flow.next(), Next::Begin(_)));
        assert_eq!(flow.ask(&ask(None, false)), 6);
        assert_eq!(runs(&flow), ["6 all false"]);
    }

    #[test]
    fn head_is_the_sync_that_is_about_to_begin() {
        let flow = flow(false);
        let head = flow.state().head();
        let Next::Begin(run) = flow.next() else { panic!("a run") };
        assert_eq!(head, Some(run.time));
        assert!(run.time > Timestamp(10));
    }

    #[test]
    fn times_of_syncs_increase() {
        let flow = Flow::new(Partition::log("x"), 0, i64::MAX as u64 - 10, false);
        let Next::Begin(run) = flow.next() else { panic!("a run") };
        assert_eq!(run.time, Timestamp(i64::MAX - 9), "later than a clock that went back");
    }
}

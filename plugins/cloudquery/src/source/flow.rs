//! What reader and control share: which reads are to be made, and how far they are durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::{ReadExisting, ReadProgress};
use model::{Checkpoint, DestinationId, Order, Partition, StreamId, StreamState, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

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
    /// The streams that somebody has asked for: those are read whole.
    pub asked: BTreeSet<StreamId>,
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

/// Syncs that are made by themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    pub every: Duration,
    /// When the next one is to begin.
    pub due: Instant,
}

/// Where a flow begins: what the destinations hold.
pub(super) struct Beginning {
    pub log: Partition,
    /// The newest run that any of them has seen.
    pub last_run: u32,
    /// The newest position that any of them holds.
    pub last_order: Order,
    /// What all of them hold.
    pub everywhere: Checkpoint,
    /// Somebody lacks a stream and is about to ask for it.
    pub is_awaited: bool,
    /// `None`: one sync, now.
    pub schedule: Option<Schedule>,
}

pub(super) struct State {
    /// Runs that have not begun.
    waiting: VecDeque<Run>,
    last_run: u32,
    last_sync: u64,
    last_order: Order,
    /// The first run is not made before somebody has asked for it.
    is_awaited: bool,
    schedule: Option<Schedule>,
    /// After a failure, nothing begins before.
    not_before: Option<Instant>,
    pub is_closed: bool,
    pub everywhere: Checkpoint,
    pub rows: BTreeMap<StreamId, u64>,
    pub running: Option<Run>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A run that can be [taken](Flow::take).
    Ready,
    Wait,
    /// Nothing before that.
    Until(Instant),
    End,
}

impl Flow {
    pub(super) fn new(from: Beginning) -> Self {
        let mut state = State {
            waiting: VecDeque::new(),
            last_run: from.last_run,
            last_sync: from.last_order.key(),
            last_order: from.last_order,
            is_awaited: from.is_awaited,
            schedule: from.schedule,
            not_before: None,
            is_closed: false,
            everywhere: from.everywhere,
            rows: BTreeMap::new(),
            running: None,
        };
        if from.schedule.is_none_or(|schedule| schedule.due <= Instant::now()) {
            // Its time is known from here on, so that it is the head at once, and nobody takes the sync before for the
            // newest.
            let time = state.later();
            state.add(None, false);
            if let Some(run) = state.waiting.back_mut() {
                run.time = time;
            }
        }
        Flow {
            log: from.log,
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
        if let Some(run) = state.waiting.iter_mut().find(|run| run.number == number) {
            run.asked.extend(request.streams.iter().cloned());
        }
        drop(state);
        self.changed.notify_waiters();
        number
    }

    /// What comes next. A run that is due is there until it is taken.
    pub(super) fn next(&self) -> Next {
        let mut state = self.state();
        state.running = None;
        if state.is_closed {
            return Next::End;
        }
        if state.is_awaited {
            return Next::Wait;
        }
        let now = Instant::now();
        if let Some(at) = state.not_before.filter(|at| *at > now) {
            return Next::Until(at);
        }
        if state.waiting.is_empty() {
            match state.schedule {
                None => return Next::End,
                Some(schedule) if schedule.due > now => return Next::Until(schedule.due),
                Some(_) => drop(state.add(None, false)),
            }
        }
        Next::Ready
    }

    /// Takes the next run, which then begins.
    pub(super) fn take(&self) -> Option<Run> {
        let mut state = self.state();
        let mut run = state.waiting.pop_front()?;
        if run.time == Timestamp(0) {
            run.time = state.later();
        }
        if let (Some(schedule), None) = (&mut state.schedule, &run.destinations) {
            schedule.due = Instant::now() + schedule.every;
        }
        state.rows.clear();
        state.running = Some(run.clone());
        Some(run)
    }

    /// Nothing begins for a while. A run that failed is made again then, as another read.
    pub(super) fn fail(&self, run: Option<Run>, wait: Duration) {
        let mut state = self.state();
        state.running = None;
        state.not_before = Some(Instant::now() + wait);
        if let Some(run) = run {
            state.last_run += 1;
            let number = state.last_run;
            state.waiting.push_front(Run {
                number,
                time: Timestamp(0),
                ..run
            });
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
            asked: BTreeSet::new(),
        });
        self.last_run
    }

    /// The time now, for a sync; never that of an earlier one, nor before it.
    fn later(&mut self) -> Timestamp {
        let time = now().max(Timestamp(self.last_sync as i64 + 1));
        self.last_sync = time.micros() as u64;
        time
    }

    pub(super) fn is_scheduled(&self) -> bool {
        self.schedule.is_some()
    }

    /// Between two syncs.
    pub(super) fn every(&self) -> Option<Duration> {
        self.schedule.map(|schedule| schedule.every)
    }

    /// Whether every destination has all existing rows of these streams.
    pub(super) fn is_live_everywhere<'a>(&self, mut streams: impl Iterator<Item = &'a StreamId>) -> bool {
        streams.all(|stream| self.everywhere.streams.get(stream).is_some_and(StreamState::is_live))
    }

    /// A position after every other one, and before the end of the sync that goes on.
    pub(super) fn next_order(&mut self) -> Order {
        let last = self.last_order;
        self.last_order = Order::new(last.incarnation(), last.key(), last.ordinal() + 1);
        self.last_order
    }

    /// The position of the newest change.
    pub(super) fn last_order(&self) -> Order {
        self.last_order
    }

    /// Whether no sync was ever complete, for nobody: a complete one moves the position to its time.
    pub(super) fn is_before_first_complete(&self) -> bool {
        self.last_order.key() == 0
    }

    /// Whether the first sync has changes in the log, and is not complete.
    pub(super) fn has_turned(&self) -> bool {
        self.is_before_first_complete() && self.last_order.ordinal() > 0
    }

    /// A sync is complete.
    pub(super) fn completed(&mut self, run: &Run) {
        self.last_order = run.order();
    }

    /// The position of the newest sync that has begun or is about to.
    pub(super) fn head(&self) -> Option<Timestamp> {
        (self.last_sync > 0).then_some(Timestamp(self.last_sync as i64))
    }
}

pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_micros() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(is_awaited: bool) -> Flow {
        Flow::new(beginning(10, is_awaited, None))
    }

    fn beginning(last_sync: u64, is_awaited: bool, schedule: Option<Schedule>) -> Beginning {
        Beginning {
            log: Partition::log("cloudquery:x"),
            last_run: 4,
            last_order: Order::new(0, last_sync, 0),
            everywhere: Checkpoint::default(),
            is_awaited,
            schedule,
        }
    }

    fn begin(flow: &Flow) -> Run {
        assert_eq!(flow.next(), Next::Ready);
        flow.take().expect("a run that is ready")
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
        while flow.next() == Next::Ready {
            let run = begin(flow);
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
    fn what_was_asked_for_is_known_by_the_run_that_brings_it() {
        let flow = flow(false);
        let events = ReadExisting {
            streams: vec![StreamId::new("events")],
            ..ask(Some(&["late"]), false)
        };
        assert_eq!(flow.ask(&events), 5);
        let run = begin(&flow);
        assert!(run.asked.contains(&StreamId::new("events")), "{run:?}");
        assert_eq!(flow.ask(&events), 6);
        let late = begin(&flow);
        assert!(late.asked.contains(&StreamId::new("events")), "{late:?}");
    }

    #[test]
    fn a_sync_that_has_begun_answers_no_later_request() {
        let flow = flow(false);
        begin(&flow);
        assert_eq!(flow.ask(&ask(None, false)), 6);
        assert_eq!(runs(&flow), ["6 all false"]);
    }

    #[test]
    fn head_is_the_sync_that_is_about_to_begin() {
        let flow = flow(false);
        let head = flow.state().head();
        let run = begin(&flow);
        assert_eq!(head, Some(run.time));
        assert!(run.time > Timestamp(10));
    }

    #[test]
    fn times_of_syncs_increase() {
        let flow = Flow::new(beginning(i64::MAX as u64 - 10, false, None));
        let run = begin(&flow);
        assert_eq!(run.time, Timestamp(i64::MAX - 9), "later than a clock that went back");
    }

    #[tokio::test(start_paused = true)]
    async fn schedule_makes_one_sync_after_another() {
        let every = Duration::from_secs(60);
        let due = Instant::now() + Duration::from_secs(20);
        let flow = Flow::new(beginning(10, false, Some(Schedule { every, due })));
        assert_eq!(flow.next(), Next::Until(due));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(begin(&flow).number, 5);
        assert_eq!(flow.next(), Next::Until(due + every));
        // What somebody asks for comes at once, and moves nothing.
        assert_eq!(flow.ask(&ask(Some(&["new"]), false)), 6);
        assert_eq!(begin(&flow).number, 6);
        assert_eq!(flow.next(), Next::Until(due + every));
    }

    #[tokio::test(start_paused = true)]
    async fn failed_sync_is_made_again_after_a_while_as_another_read() {
        let every = Duration::from_secs(60);
        let due = Instant::now();
        let flow = Flow::new(beginning(10, false, Some(Schedule { every, due })));
        let failed = begin(&flow);
        flow.fail(Some(failed.clone()), Duration::from_secs(5));
        assert_eq!(flow.next(), Next::Until(due + Duration::from_secs(5)));
        tokio::time::advance(Duration::from_secs(5)).await;
        let again = begin(&flow);
        assert!(again.number > failed.number && again.time > failed.time);
    }
}

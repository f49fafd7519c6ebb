//! One source, three destinations, and everything that can go wrong between them.

use std::sync::Arc;

use model::{Body, ChangeSet, Checkpoint, Control, Delta, DestinationId, Mark, Part, StreamState};
use rand::Rng;

use crate::check::check_prefix;
use crate::destination::{Destination, Entry, Held, Strictness, entries, write};
use crate::rows::{log, stream};
use crate::sabotage::Sabotage;
use crate::seen::Seen;
use crate::source::Source;
use crate::world::World;
use crate::{Failure, Rng8};

/// The knobs of one history.
struct Pace {
    commits_of_the_world: f64,
    /// How often each destination takes the next changeset, and commits.
    takes: [f64; 3],
    commits: [f64; 3],
    process_kill: f64,
    destination_kill: f64,
    rewind_source: f64,
    resync: f64,
    /// The most changesets that the spool keeps for rewinds.
    spool_max: usize,
}

/// A destination's side inside the process: lost with it.
struct Lane {
    /// The next changeset of the spool.
    next: usize,
    /// What was accepted, durable or not.
    accepted: Checkpoint,
    tables: [Held; 3],
    appended: Vec<Entry>,
    pending: Delta,
    inside_a_transaction: bool,
    /// Where it came to the spool. What lies before was not meant for it: it may hold later changes than those.
    attached_at: usize,
    /// From where what is not durable is repeated.
    durable_from: usize,
}

struct Process {
    source: Source,
    /// Changesets `first..`.
    spool: Vec<Arc<ChangeSet>>,
    first: usize,
    lanes: [Option<Lane>; 3],
}

pub(crate) struct Simulation<'a> {
    rng: Rng8,
    pace: Pace,
    sabotage: Sabotage,
    world: World,
    destinations: [Destination; 3],
    /// Destinations and tables in the config; what is added to it later begins then.
    has_destination: [bool; 3],
    has_table: [bool; 3],
    next_run: u32,
    process: Option<Process>,
    seen: &'a mut Seen,
    pub(crate) trace: Option<Vec<String>>,
}

macro_rules! trace {
    ($self:ident, $($what:tt)*) => {
        if let Some(trace) = &mut $self.trace {
            trace.push(format!($($what)*));
        }
    };
}

impl<'a> Simulation<'a> {
    pub(crate) fn new(mut rng: Rng8, sabotage: Sabotage, seen: &'a mut Seen) -> Self {
        let rate = |rng: &mut Rng8, rates: &[f64]| rates[rng.random_range(0..rates.len())];
        let pace = Pace {
            commits_of_the_world: rate(&mut rng, &[0.1, 0.2, 0.3]),
            takes: [0; 3].map(|_| rate(&mut rng, &[0.3, 0.7, 0.95])),
            commits: [0; 3].map(|_| rate(&mut rng, &[0.05, 0.3, 0.8])),
            process_kill: rate(&mut rng, &[0.0, 0.01, 0.04]),
            destination_kill: rate(&mut rng, &[0.0, 0.02, 0.06]),
            rewind_source: rate(&mut rng, &[0.0, 0.01]),
            resync: rate(&mut rng, &[0.0, 0.01, 0.03]),
            spool_max: if rng.random_bool(0.5) { 1_000 } else { 12 },
        };
        let world = World::new(&mut rng);
        let late = rng.random_range(0..4);
        Simulation {
            pace,
            sabotage,
            world,
            destinations: [("mirror", false), ("replica", false), ("history", true)]
                .map(|(name, appends)| Destination::new(name, appends)),
            has_destination: [0, 1, 2].map(|d| d != late),
            has_table: [true, true, rng.random_bool(0.5)],
            next_run: 1,
            process: None,
            seen,
            trace: None,
            rng,
        }
    }

    /// A history with faults, then one without until everything is still, then the last checks.
    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        for _ in 0..self.rng.random_range(60..240) {
            self.step()?;
        }
        for table in 0..3 {
            self.add_table(table);
        }
        for destination in 0..3 {
            self.add_destination(destination)?;
        }
        for _ in 0..20_000 {
            if self.settle()? {
                return self.check_end();
            }
        }
        Err(Failure::new("it does not come to an end"))
    }

    fn step(&mut self) -> Result<(), Failure> {
        if self.rng.random_bool(self.pace.commits_of_the_world) {
            self.world.commit_something(&mut self.rng);
            trace!(self, "the source commits {:?}", self.world.log.last());
        }
        if self.rng.random_bool(0.01) {
            let table = self.rng.random_range(0..3);
            self.add_table(table);
        }
        if self.rng.random_bool(0.01) {
            let destination = self.rng.random_range(0..3);
            self.add_destination(destination)?;
        }
        if self.rng.random_bool(self.pace.resync) {
            self.resync();
        }
        if self.process.is_none() && !self.rng.random_bool(0.5) {
            return Ok(());
        }
        self.ensure_process()?;
        self.emit()?;
        for d in 0..3 {
            if self.rng.random_bool(self.pace.takes[d]) {
                self.take(d)?;
            }
            if self.rng.random_bool(self.pace.commits[d]) {
                self.commit(d)?;
            }
            if self.rng.random_bool(self.pace.destination_kill) {
                self.kill_destination(d);
            }
            if self.rng.random_bool(0.3) {
                self.ensure_lane(d)?;
            }
        }
        if self.rng.random_bool(0.3) {
            self.acknowledge();
        }
        if self.rng.random_bool(self.pace.rewind_source) {
            self.open_source()?;
        }
        if self.rng.random_bool(self.pace.process_kill) {
            self.seen.process_kills += 1;
            trace!(self, "the process is killed");
            let lanes = self.process.iter().flat_map(|process| process.lanes.iter().flatten());
            self.seen.kills_inside_a_transaction += lanes.filter(|lane| lane.inside_a_transaction).count() as u64;
            self.process = None;
        }
        Ok(())
    }

    /// A step without faults; whether everything is still.
    fn settle(&mut self) -> Result<bool, Failure> {
        self.ensure_process()?;
        let emitted = self.emit()?;
        let mut is_still = !emitted;
        for d in 0..3 {
            self.ensure_lane(d)?;
            while self.take(d)? {
                is_still = false;
            }
            self.commit(d)?;
        }
        self.acknowledge();
        let process = self.process.as_ref().expect("it was started");
        Ok(is_still && process.source.is_idle(&self.world))
    }

    fn check_end(&mut self) -> Result<(), Failure> {
        let head = self.world.head();
        for destination in &self.destinations {
            let held = &destination.checkpoint;
            if !matches!(held.mark(&log()), Mark::At(mark) if mark.key() == head) {
                return Err(Failure::new(format!(
                    "{:?} ends at {held:?}, not at {head}",
                    destination.id
                )));
            }
            for t in 0..3 {
                if !matches!(held.streams.get(stream(t)), Some(StreamState::Live { .. })) {
                    return Err(Failure::new(format!("{:?} ends with {held:?}", destination.id)));
                }
                if destination.tables[t].current() != *self.world.tables_at(head)[t] {
                    return Err(Failure::new(format!("{:?} differs at the end", destination.id)));
                }
            }
            if self.strictness() == Strictness::Strict
                && destination.appends
                && destination.replay_history()? != destination.tables
            {
                return Err(Failure::new("the appended history replays to another state"));
            }
        }
        Ok(())
    }

    fn strictness(&self) -> Strictness {
        match self.sabotage {
            Sabotage::SkipWhatTheChunkSaw => Strictness::Lenient,
            _ => Strictness::Strict,
        }
    }

    fn add_table(&mut self, table: usize) {
        if self.has_table[table] {
            return;
        }
        self.has_table[table] = true;
        self.seen.streams_added += 1;
        trace!(self, "table {table} is added");
        if self.process.is_some() {
            let run = self.run_number();
            let empty_first = self.rng.random_bool(0.5);
            let process = self.process.as_mut().expect("it was there");
            process
                .source
                .read_existing(&mut self.rng, table, run, None, empty_first);
        }
    }

    fn add_destination(&mut self, d: usize) -> Result<(), Failure> {
        if self.has_destination[d] {
            return Ok(());
        }
        self.has_destination[d] = true;
        self.seen.destinations_added += 1;
        trace!(self, "{:?} is added", self.destinations[d].id);
        match self.process {
            Some(_) => self.open_source(),
            None => Ok(()),
        }
    }

    /// Asks for a read of every table that a destination does not hold.
    fn read_missing(&mut self, d: usize) {
        for t in 0..3 {
            let is_held = self.destinations[d].checkpoint.streams.contains_key(stream(t));
            if self.has_table[t] && !is_held {
                let run = self.run_number();
                let meant = Some(vec![self.destinations[d].id.clone()]);
                let empty_first = self.rng.random_bool(0.5);
                if let Some(process) = &mut self.process {
                    process.source.read_existing(&mut self.rng, t, run, meant, empty_first);
                }
            }
        }
    }

    fn resync(&mut self) {
        let (t, d) = (self.rng.random_range(0..3), self.rng.random_range(0..3));
        if !self.has_table[t] || !self.has_destination[d] || self.process.is_none() {
            return;
        }
        self.seen.resyncs += 1;
        let run = self.run_number();
        let mut meant = vec![self.destinations[d].id.clone()];
        if self.rng.random_bool(0.2) {
            meant.push(self.destinations[(d + 1) % 3].id.clone());
        }
        trace!(self, "resync of table {t} for {meant:?} by run {run}");
        let empty_first = self.rng.random_bool(0.5);
        let process = self.process.as_mut().expect("looked above");
        process
            .source
            .read_existing(&mut self.rng, t, run, Some(meant), empty_first);
    }

    fn run_number(&mut self) -> u32 {
        self.next_run += 1;
        self.next_run - 1
    }

    fn ensure_process(&mut self) -> Result<(), Failure> {
        if self.process.is_none() {
            self.open_source()?;
        }
        Ok(())
    }

    /// Opens the source with what each destination holds: at the start, and again when a destination needs what the spool
    /// no longer has. The source may cut the pages after that anew, so what the spool still had is void, and so is what a
    /// destination accepted and did not commit: one that runs on commits first.
    fn open_source(&mut self) -> Result<(), Failure> {
        for d in 0..3 {
            if self.rng.random_bool(0.5) {
                self.commit(d)?;
            }
        }
        let mut lanes = [None, None, None];
        let mut held: Vec<(DestinationId, Checkpoint)> = Vec::new();
        let old = self.process.take();
        let end = old.as_ref().map_or(0, |process| process.first + process.spool.len());
        let was_running = old.is_some();
        let mut old_lanes = old.map_or([None, None, None], |process| process.lanes);
        for d in (0..3).filter(|&d| self.has_destination[d]) {
            let destination = &self.destinations[d];
            let is_durable = |lane: &Lane| !lane.inside_a_transaction && lane.accepted == destination.checkpoint;
            lanes[d] = match old_lanes[d].take().filter(is_durable) {
                Some(lane) => {
                    self.seen.destinations_that_went_on_through_a_rewind += 1;
                    Some(Lane {
                        next: end,
                        attached_at: end,
                        durable_from: end,
                        ..lane
                    })
                }
                // One that cannot be opened now takes part with what it is known to hold, and joins later.
                None if self.rng.random_bool(0.2) => None,
                None => Some(Lane::of(destination, end, end)),
            };
            held.push((destination.id.clone(), destination.checkpoint.clone()));
        }
        trace!(self, "the source is opened (again: {was_running}) with {held:?}");
        let source = Source::open(&self.world, &held, self.sabotage, self.seen)?;
        self.process = Some(Process {
            source,
            spool: Vec::new(),
            first: end,
            lanes,
        });
        let is_fresh = held.iter().all(|(_, checkpoint)| checkpoint.streams.is_empty());
        if is_fresh && self.rng.random_bool(0.8) {
            let tables = self.has_table;
            for table in (0..3).filter(|&t| tables[t]) {
                let run = self.run_number();
                let process = self.process.as_mut().expect("just made");
                process.source.read_existing(&mut self.rng, table, run, None, true);
            }
        } else {
            let destinations = self.has_destination;
            for d in (0..3).filter(|&d| destinations[d]) {
                self.read_missing(d);
            }
        }
        Ok(())
    }

    fn emit(&mut self) -> Result<bool, Failure> {
        let Some(process) = &mut self.process else {
            return Ok(false);
        };
        let emitted = process.source.next(&self.world, &mut self.rng, self.seen)?;
        if let Some(changeset) = emitted {
            for batch in changeset.batches() {
                batch.check().map_err(Failure::new)?;
            }
            trace!(self, "emits {changeset:?}");
            process.spool.push(Arc::new(changeset));
            process.evict(self.pace.spool_max);
            return Ok(true);
        }
        Ok(false)
    }

    /// One destination takes the next changeset; whether there was one.
    fn take(&mut self, d: usize) -> Result<bool, Failure> {
        let Some(process) = &mut self.process else {
            return Ok(false);
        };
        let Some(lane) = &mut process.lanes[d] else {
            return Ok(false);
        };
        let Some(changeset) = process.spool.get(lane.next - process.first) else {
            return Ok(false);
        };
        let who = &self.destinations[d].id;
        let (held, told) = self.sabotage.disguise(&lane.accepted, changeset);
        let admission = held
            .admit(who, &told)
            .map_err(|error| Failure::new(format!("{who:?} at {:?}: {error} in {changeset:?}", lane.accepted)))?;
        note(self.seen, &lane.accepted, &told, admission.changeset.as_deref());
        trace!(
            self,
            "{who:?} takes {:?} and moves by {:?}", admission.changeset, admission.delta
        );
        lane.next += 1;
        if let Some(admitted) = &admission.changeset {
            for entry in entries(admitted) {
                let strictness = match self.sabotage {
                    Sabotage::SkipWhatTheChunkSaw => Strictness::Lenient,
                    _ => Strictness::Strict,
                };
                write(&mut lane.tables, &entry, strictness)
                    .map_err(|failure| Failure::new(format!("{who:?}: {failure}")))?;
                lane.appended.push(entry);
            }
            lane.inside_a_transaction = !admitted.part.ends_consistent();
        }
        lane.pending.then(&admission.delta);
        lane.accepted
            .apply(&admission.delta)
            .map_err(|error| Failure::new(format!("{who:?} at {:?}: {error}", lane.accepted)))?;
        Ok(true)
    }

    fn commit(&mut self, d: usize) -> Result<(), Failure> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let Some(lane) = &mut process.lanes[d] else {
            return Ok(());
        };
        if lane.inside_a_transaction && self.sabotage != Sabotage::CommitInsideATransaction {
            return Ok(());
        }
        let destination = &mut self.destinations[d];
        let delta = std::mem::take(&mut lane.pending);
        let mut checkpoint = destination.checkpoint.clone();
        checkpoint
            .apply(&delta)
            .map_err(|error| Failure::new(format!("{:?} at {:?}: {error}", destination.id, destination.checkpoint)))?;
        if checkpoint != lane.accepted {
            let message = format!("the sum of what moved gives {checkpoint:?}, not {:?}", lane.accepted);
            return Err(Failure::new(message));
        }
        trace!(self, "{:?} commits {checkpoint:?}", destination.id);
        destination.checkpoint = checkpoint;
        destination.tables.clone_from(&lane.tables);
        if destination.appends {
            destination.history.append(&mut lane.appended);
        }
        lane.appended.clear();
        lane.durable_from = lane.next;
        match self.sabotage {
            // Judged by the outcome alone.
            Sabotage::SkipWhatTheChunkSaw => Ok(()),
            _ => check_prefix(&self.world, destination, self.seen),
        }
    }

    fn kill_destination(&mut self, d: usize) {
        let Some(process) = &mut self.process else { return };
        let Some(lane) = process.lanes[d].take() else { return };
        trace!(self, "{:?} is killed", self.destinations[d].id);
        self.seen.destination_kills += 1;
        self.seen.kills_inside_a_transaction += u64::from(lane.inside_a_transaction);
        if self.sabotage == Sabotage::GoOnWithoutRewind {
            let next = process.next_between_transactions(lane.next);
            process.lanes[d] = Some(Lane::of(&self.destinations[d], next, next));
            return;
        }
        // Its cursor rewinds to what it holds, or further; out of reach, it waits for the source to be opened again.
        let earliest = lane.attached_at.max(process.first);
        process.lanes[d] = match Some(lane.durable_from).filter(|&from| from >= earliest) {
            Some(exact) => {
                let further = self.rng.random_range(0..=exact - earliest);
                let next = if self.rng.random_bool(0.5) {
                    exact
                } else {
                    exact - further
                };
                let next = process.last_between_transactions(next).max(earliest);
                self.seen.rewinds_too_far += u64::from(next < exact);
                Some(Lane {
                    attached_at: lane.attached_at,
                    ..Lane::of(&self.destinations[d], next, exact)
                })
            }
            None => {
                self.seen.rewinds_out_of_reach += 1;
                None
            }
        };
    }

    /// Brings a destination that is down back, if the source was told of what it holds.
    fn ensure_lane(&mut self, d: usize) -> Result<(), Failure> {
        if !self.has_destination[d] {
            return Ok(());
        }
        let Some(process) = &self.process else { return Ok(()) };
        if process.lanes[d].is_none() {
            trace!(self, "{:?} comes back", self.destinations[d].id);
            self.open_source()?;
        }
        Ok(())
    }

    fn acknowledge(&mut self) {
        let all = self
            .destinations
            .iter()
            .zip(self.has_destination)
            .filter(|(_, is_there)| *is_there);
        let held: Vec<&Checkpoint> = all.map(|(destination, _)| &destination.checkpoint).collect();
        let mark_of = |checkpoint: &Checkpoint| match checkpoint.mark(&log()) {
            Mark::At(mark) => mark.key(),
            _ => 0,
        };
        let released = match self.sabotage {
            Sabotage::AcknowledgeTheFastest => held.iter().map(|checkpoint| mark_of(checkpoint)).max().unwrap_or(0),
            Sabotage::LetTheFreshHoldNothingBack => mark_of(&Checkpoint::everywhere(
                held.into_iter().filter(|checkpoint| !checkpoint.is_empty()),
            )),
            _ => mark_of(&Checkpoint::everywhere(held)),
        };
        if released > self.world.pruned {
            trace!(self, "the source forgets the log up to {released}");
            self.seen.log_released += 1;
            self.world.pruned = released;
        }
    }
}

impl Lane {
    fn of(destination: &Destination, next: usize, durable_from: usize) -> Self {
        Lane {
            next,
            accepted: destination.checkpoint.clone(),
            tables: destination.tables.clone(),
            appended: Vec::new(),
            pending: Delta::none(),
            inside_a_transaction: false,
            attached_at: next,
            durable_from,
        }
    }
}

impl Process {
    /// Keeps what somebody has not read, and of the rest only so much.
    fn evict(&mut self, keep: usize) {
        let end = self.first + self.spool.len();
        let read = self.lanes.iter().flatten().map(|lane| lane.next).min().unwrap_or(end);
        let evictable = (self.spool.len().saturating_sub(keep)).min(read - self.first);
        self.spool.drain(..evictable);
        self.first += evictable;
    }

    /// Whether the changeset at `at` begins a transaction, or is yet to come.
    fn begins_between_transactions(&self, at: usize) -> bool {
        let before = at.checked_sub(self.first + 1).and_then(|i| self.spool.get(i));
        let here = self.spool.get(at - self.first);
        let begins = here.is_none_or(|changeset| matches!(changeset.part, Part::Whole | Part::First));
        begins && before.is_none_or(|changeset| changeset.part.ends_consistent())
    }

    fn last_between_transactions(&self, at: usize) -> usize {
        let at = (self.first..=at).rev().find(|&at| self.begins_between_transactions(at));
        at.unwrap_or(self.first)
    }

    fn next_between_transactions(&self, at: usize) -> usize {
        let end = self.first + self.spool.len();
        (at..=end)
            .find(|&at| self.begins_between_transactions(at))
            .unwrap_or(end)
    }
}

/// Counts what a changeset shows of the rules.
fn note(seen: &mut Seen, held: &Checkpoint, told: &ChangeSet, admitted: Option<&ChangeSet>) {
    let rows = |changeset: &ChangeSet| changeset.row_count() as u64;
    let is_reading = |table: &model::StreamId| held.streams.get(table).is_some_and(|state| !state.is_live());
    match &told.body {
        Body::Control(Control::Truncate { stream }) => seen.truncates_while_reading += u64::from(is_reading(stream)),
        Body::Control(Control::BeginRead { schema, .. }) => match admitted {
            Some(_) => seen.reads_superseded += u64::from(is_reading(schema.stream())),
            None => seen.reads_not_meant += 1,
        },
        Body::Control(_) => {}
        Body::Rows(batches) => {
            let kept = admitted.map_or(0, rows);
            let is_log = batches.iter().all(|batch| batch.partition.is_log());
            if !is_log {
                seen.pages_passed_over += u64::from(kept == 0 && rows(told) > 0);
                return;
            }
            seen.rows_passed_over += rows(told) - kept;
            let mark = held.mark(&log());
            let is_partial = |order| mark.covers(order);
            let orders = || {
                batches
                    .iter()
                    .flat_map(|batch| &batch.commits)
                    .map(|commit| commit.order)
            };
            seen.partial_replays += u64::from(orders().any(is_partial) && orders().any(|order| !is_partial(order)));
            for batch in batches {
                for tags in &batch.page_tags {
                    for row in 0..batch.len() {
                        let holds = |page| held.holds_page(batch.schema.stream(), tags.run, page);
                        let (before, after) = (holds(tags.before(row)), holds(tags.at(row)));
                        seen.moves_into_held_pages += u64::from(!before && after);
                        seen.moves_out_of_held_pages += u64::from(before && !after);
                    }
                }
            }
        }
    }
}

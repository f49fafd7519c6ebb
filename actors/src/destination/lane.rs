//! Driving one destination: open, apply, commit, come back.
//!
//! Invariants:
//! - `held` is what the destination says is durable there (or our hint, if it keeps no checkpoint); `accepted` is `held` plus what
//!   was written since; both move only by admitted deltas, so nothing is written twice and a hole is an error;
//! - a commit happens only where `accepted` is a consistent point;
//! - after any error, what was accepted and not committed is void: a new destination is made and opened, and the cursor goes
//!   back to what it holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::{CommitPoint, Destination, Error, Holds, Reservation, Retry, Transformer};
use fail::fail_point;
use model::{ChangeSet, Checkpoint, Delta, Marker, Op, Part, StreamId, Timestamp};
use ractor::ActorRef;
use spool::Delivery;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use super::pump::Pump;
use super::{CursorEnd, DestinationArgs, DestinationMsg, LaneEnd, LaneInput, kept_table};
use crate::checkpointer::CheckpointMsg;
use crate::metric;
use crate::pipeline::{PipelineMsg, Stand};
use crate::status::{LanePhase, Trouble};
use crate::transformer::Meter;
use crate::verify::Arrived;

/// Commits may take at most about this share of a lane's time while nothing else asks for them: a slow disk gets fewer.
const COMMIT_SHARE: u32 = 4;

pub(super) struct LaneDriver {
    args: DestinationArgs,
    myself: ActorRef<DestinationMsg>,
    inbox: mpsc::UnboundedReceiver<LaneInput>,
    held: Option<Checkpoint>,
    pump: Option<Pump>,
    epoch: u64,
    attempt: u32,
    failing_since: Option<Instant>,
    /// A read that resets the destination is under way: its old checkpoint says nothing any more.
    is_reset: bool,
    meters: Meters,
}

/// How one session with a destination ended.
enum SessionEnd {
    Lane(LaneEnd),
    /// Open it again, at once.
    Reopen,
    Failed(Error),
    /// It cannot go on from what it holds.
    NeedsResync(Error),
}

/// The destination holds less than it did.
const WENT_BACK: &str = "E0703";
/// Its rows were made by other transformers.
const OTHER_PLAN: &str = "E0704";

/// One opened destination, and what was written to it since its last commit.
struct Session {
    destination: Box<dyn Destination>,
    transformers: Vec<(Box<dyn Transformer>, Meter)>,
    generation: u64,
    accepted: Checkpoint,
    pending: Delta,
    pending_since: Option<Instant>,
    pending_is_progress: bool,
    rows: u64,
    bytes: u64,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
    counts: BTreeMap<(StreamId, Op), u64>,
    is_in_transaction: bool,
    last_commit: Instant,
    last_commit_took: Duration,
    _buffer: Reservation,
}

struct Meters {
    received_rows: metrics::Counter,
    received_bytes: metrics::Counter,
    batch_rows: metrics::Histogram,
    batch_bytes: metrics::Histogram,
    write_seconds: metrics::Histogram,
    commit_seconds: metrics::Histogram,
    commits: metrics::Counter,
    end_to_end_seconds: metrics::Histogram,
}

impl LaneDriver {
    pub(super) fn new(
        args: DestinationArgs,
        myself: ActorRef<DestinationMsg>,
        inbox: mpsc::UnboundedReceiver<LaneInput>,
    ) -> Self {
        let meters = Meters::new(&args);
        let held = args.hint.clone();
        LaneDriver {
            args,
            myself,
            inbox,
            held,
            pump: None,
            epoch: 0,
            attempt: 0,
            failing_since: None,
            is_reset: false,
            meters,
        }
    }

    pub(super) async fn run(mut self) -> LaneEnd {
        loop {
            let end = match self.open().await {
                Ok(session) => self.serve(session).await,
                Err(error) if matches!(error.code(), WENT_BACK | OTHER_PLAN) => SessionEnd::NeedsResync(error),
                Err(error) => SessionEnd::Failed(error),
            };
            let end = match end {
                SessionEnd::Lane(end) => Some(end),
                SessionEnd::Reopen => None,
                SessionEnd::Failed(error) => self.recover(error, false).await,
                SessionEnd::NeedsResync(error) => self.recover(error, true).await,
            };
            if let Some(end) = end {
                return self.finish(end).await;
            }
        }
    }

    async fn finish(&mut self, end: LaneEnd) -> LaneEnd {
        self.drop_pump().await;
        self.phase(LanePhase::Stopped);
        end
    }

    fn phase(&self, phase: LanePhase) {
        self.args
            .board
            .destination(&self.args.spec.id, |facts| facts.phase = phase);
    }

    async fn drop_pump(&mut self) {
        self.epoch += 1;
        if let Some(pump) = self.pump.take() {
            pump.stop().await;
        }
    }

    /// Makes and opens the destination, and finds out what it holds.
    async fn open(&mut self) -> Result<Session, Error> {
        let buffer_bytes = self.args.spec.capabilities.buffer_bytes;
        let buffer = self.args.memory.try_reserve(buffer_bytes).ok_or_else(|| {
            Error::new(
                "E0702",
                Retry::After,
                format!(
                    "cannot reserve {buffer_bytes} bytes for the buffer of `{}`",
                    self.args.spec.id
                ),
            )
            .hint("raise `runtime.memory.limit`")
        })?;
        let transformers = self
            .args
            .spec
            .transformers
            .iter()
            .map(|spec| {
                Ok((
                    (spec.make)()?,
                    Meter::new(
                        &self.args.lane.pipeline,
                        &format!("{}.{}", self.args.spec.id, spec.name),
                    ),
                ))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let mut destination = (self.args.spec.make)()?;
        let holds = self
            .args
            .busy
            .while_in("open", destination.open(&self.args.lane))
            .await?;
        fail_point!("lane.after_open");
        let generation = holds.generation;
        let held = self.judge(holds)?;
        self.args.board.destination(&self.args.spec.id, |facts| {
            facts.generation = generation;
            facts.durable = held.clone();
            facts.accepted = held.clone();
        });
        self.held = Some(held.clone());
        Ok(Session {
            destination,
            transformers,
            generation,
            accepted: held,
            pending: Delta::none(),
            pending_since: None,
            pending_is_progress: true,
            rows: 0,
            bytes: 0,
            oldest: None,
            newest: None,
            counts: BTreeMap::new(),
            is_in_transaction: false,
            last_commit: Instant::now(),
            last_commit_took: Duration::ZERO,
            _buffer: buffer,
        })
    }

    /// What the destination holds, checked against what we know.
    fn judge(&self, holds: Holds) -> Result<Checkpoint, Error> {
        let id = &self.args.spec.id;
        if self.is_reset {
            return Ok(match holds.checkpoint {
                // The read that resets it has begun to be durable there.
                Some(checkpoint)
                    if self
                        .held
                        .as_ref()
                        .is_some_and(|held| !held.is_empty() && checkpoint.covers(held)) =>
                {
                    checkpoint
                }
                _ => self.held.clone().unwrap_or_default(),
            });
        }
        let mut held = match (self.args.spec.capabilities.keeps_checkpoint, holds.checkpoint) {
            (true, checkpoint) => {
                let checkpoint = checkpoint.unwrap_or_default();
                if let Some(hint) = self
                    .held
                    .as_ref()
                    .filter(|hint| !checkpoint.covers(&in_plan(hint, &self.args.streams)))
                {
                    let message = format!("cannot go on with `{id}`: it went back, from {hint:?} to {checkpoint:?}");
                    return Err(Error::new(WENT_BACK, Retry::Never, message).hint(format!(
                        "was it restored from a backup, or emptied? run `highwater resync {} --destination {id}` to read everything again",
                        self.args.lane.pipeline
                    )));
                }
                checkpoint
            }
            (false, _) => self.held.clone().unwrap_or_default(),
        };
        if let Some(stored) = holds
            .plan_hash
            .filter(|stored| *stored != self.args.spec.plan_hash && !held.is_empty())
        {
            let message = format!(
                "cannot go on with `{id}`: its rows were made by other transformers (plan {stored}, now {})",
                self.args.spec.plan_hash
            );
            return Err(Error::new(OTHER_PLAN, Retry::Never, message).hint(format!(
                "run `highwater resync {} --destination {id}`, or undo the change",
                self.args.lane.pipeline
            )));
        }
        held = in_plan(&held, &self.args.streams);
        Ok(held)
    }

    fn stand(&self, is_up: bool, needs_resync: Option<Error>) {
        let is_attached = self.pump.is_some();
        let stand = Stand {
            destination: self.args.spec.id.clone(),
            held: self.held.clone(),
            is_up,
            is_attached,
            needs_resync,
        };
        // A pipeline that is gone will stop this actor, too.
        let _ = self.args.pipeline.cast(PipelineMsg::Stand(stand));
    }

    /// Serves one opened destination until something ends it.
    async fn serve(&mut self, mut session: Session) -> SessionEnd {
        let held = session.accepted.clone();
        self.report_durable(&session);
        if let Some(pump) = &self.pump {
            self.epoch += 1;
            if pump.rewind(&held, self.epoch, false).await {
                self.phase(LanePhase::Attached);
            } else {
                self.drop_pump().await;
                self.phase(LanePhase::Rewinding);
            }
        }
        self.stand(true, None);
        loop {
            let due = session.commit_due(&self.args, self.inbox.is_empty());
            let input = tokio::select! {
                biased;
                () = sleep_until(due) => None,
                input = self.inbox.recv() => match input {
                    Some(input) => Some(input),
                    None => return SessionEnd::Lane(LaneEnd::Abandoned),
                },
            };
            let end = match input {
                None => self.commit(&mut session).await.err().map(SessionEnd::Failed),
                Some(LaneInput::Delivery {
                    epoch,
                    delivery,
                    credit,
                }) => {
                    let taken = if epoch == self.epoch {
                        self.take(&mut session, delivery).await
                    } else {
                        Ok(())
                    };
                    drop(credit);
                    taken.err().map(SessionEnd::Failed)
                }
                Some(other) => self.obey(&mut session, other).await,
            };
            match end {
                None => {}
                Some(SessionEnd::Lane(LaneEnd::Drained)) => {
                    return match self.args.busy.while_in("close", session.destination.close()).await {
                        Ok(()) => SessionEnd::Lane(LaneEnd::Drained),
                        Err(error) => SessionEnd::Failed(error),
                    };
                }
                Some(end) => return end,
            }
        }
    }

    async fn obey(&mut self, session: &mut Session, input: LaneInput) -> Option<SessionEnd> {
        match input {
            LaneInput::Delivery { .. } => None,
            LaneInput::CursorEnded { epoch, .. } if epoch != self.epoch => None,
            LaneInput::CursorEnded {
                why: CursorEnd::Closed, ..
            } => Some(match self.settle(session).await {
                // A transaction whose end will not come is rolled back by closing.
                Ok(_) => SessionEnd::Lane(LaneEnd::Drained),
                Err(error) => SessionEnd::Failed(error),
            }),
            LaneInput::CursorEnded {
                why: CursorEnd::LetGo, ..
            } => {
                self.drop_pump().await;
                self.phase(LanePhase::Rewinding);
                info!(pipeline = %self.args.lane.pipeline, destination = %self.args.spec.id, "destination behind, let go");
                self.regroup(session).await
            }
            LaneInput::Regroup => {
                self.drop_pump().await;
                self.regroup(session).await
            }
            LaneInput::Attach { cursor, reset } => {
                self.attach(cursor, reset, false);
                if reset {
                    session.accepted = Checkpoint::default();
                    session.pending = Delta::none();
                    session.pending_since = None;
                }
                self.phase(LanePhase::Attached);
                None
            }
            LaneInput::NeedsResync(error) => Some(SessionEnd::NeedsResync(error)),
            LaneInput::Flush => self.settle(session).await.err().map(SessionEnd::Failed),
            LaneInput::Abandon if self.pump.is_none() => Some(match self.settle(session).await {
                Ok(_) => SessionEnd::Lane(LaneEnd::Drained),
                Err(error) => SessionEnd::Failed(error),
            }),
            LaneInput::Abandon => None,
        }
    }

    fn attach(&mut self, cursor: Box<dyn spool::Cursor>, reset: bool, is_paused: bool) {
        self.epoch += 1;
        self.is_reset |= reset;
        if reset {
            self.held = Some(Checkpoint::default());
        }
        self.pump = Some(Pump::start(
            cursor,
            self.epoch,
            is_paused,
            Arc::clone(&self.args.edge),
            self.myself.clone(),
        ));
    }

    /// Commits what can be committed; what cannot, in the middle of a transaction, is void and the destination opened again.
    async fn regroup(&mut self, session: &mut Session) -> Option<SessionEnd> {
        match self.settle(session).await {
            Ok(true) => {
                self.stand(true, None);
                None
            }
            Ok(false) => Some(SessionEnd::Reopen),
            Err(error) => Some(SessionEnd::Failed(error)),
        }
    }

    /// Commits unless in the middle of a transaction; says whether everything accepted is durable now.
    async fn settle(&mut self, session: &mut Session) -> Result<bool, Error> {
        if session.is_in_transaction {
            return Ok(false);
        }
        if session.pending_since.is_some() {
            self.commit(session).await?;
        }
        Ok(true)
    }

    /// Takes one changeset: what this destination lacks of it is written.
    async fn take(&mut self, session: &mut Session, delivery: Delivery) -> Result<(), Error> {
        let changeset = &delivery.changeset;
        if changeset.part == Part::First && session.pending_since.is_some() {
            self.commit(session).await?;
        }
        let admission = session.accepted.admit(&self.args.spec.id, changeset).map_err(|error| {
            Error::new(
                "E0701",
                Retry::Never,
                format!("cannot apply a changeset to `{}`", self.args.spec.id),
            )
            .caused_by(error)
            .hint("this is a defect: please report it; a restart resumes from the last checkpoint")
        })?;
        if let Some(admitted) = admission.changeset {
            let out = session.transform(admitted).await?;
            if !out.is_progress() {
                self.write(session, out).await?;
            }
        }
        if !admission.delta.is_empty() {
            session.accepted.apply(&admission.delta).map_err(|error| {
                Error::new(
                    "E0701",
                    Retry::Never,
                    format!("cannot move the checkpoint of `{}`", self.args.spec.id),
                )
                .caused_by(error)
            })?;
            session.pending.then(&admission.delta);
            session.pending_since.get_or_insert_with(Instant::now);
            self.args
                .board
                .destination(&self.args.spec.id, |facts| facts.accepted = session.accepted.clone());
        }
        session.is_in_transaction = !changeset.part.ends_consistent();
        match changeset.marker {
            Some(marker) => self.come_by(session, marker).await,
            None => Ok(()),
        }
    }

    /// If somebody waits for this lane here: commits, and opens a view of what it wrote. What is wrong with the view is for
    /// whoever waits, and none of this lane's business.
    async fn come_by(&mut self, session: &mut Session, marker: Marker) -> Result<(), Error> {
        let Some(waits) = self.args.markers.take(marker, &self.args.spec.id) else {
            return Ok(());
        };
        if session.pending_since.is_some() {
            self.commit(session).await?;
        }
        let read_back = session.destination.read_back();
        let stored = self.args.busy.while_in("read_back", read_back).await;
        // Whoever waited may have gone.
        let _ = waits.send(Arrived {
            checkpoint: session.accepted.clone(),
            stored,
        });
        Ok(())
    }

    async fn write(&self, session: &mut Session, changeset: Arc<ChangeSet>) -> Result<(), Error> {
        fail_point!("lane.before_write");
        let started = std::time::Instant::now();
        let (rows, bytes) = (changeset.row_count() as u64, changeset.size_bytes as u64);
        session.count(&changeset);
        self.args
            .busy
            .while_in("write", session.destination.write(changeset))
            .await?;
        fail_point!("lane.after_write");
        session.rows += rows;
        session.bytes += bytes;
        session.pending_is_progress = false;
        session.pending_since.get_or_insert_with(Instant::now);
        self.meters.received_rows.increment(rows);
        self.meters.received_bytes.increment(bytes);
        self.meters.batch_rows.record(rows as f64);
        self.meters.batch_bytes.record(bytes as f64);
        self.meters.write_seconds.record(started.elapsed().as_secs_f64());
        Ok(())
    }

    async fn commit(&mut self, session: &mut Session) -> Result<(), Error> {
        let started = Instant::now();
        let at = CommitPoint {
            delta: &session.pending,
            checkpoint: &session.accepted,
        };
        fail_point!("lane.before_commit");
        self.args
            .busy
            .while_in("commit", session.destination.commit(at))
            .await?;
        fail_point!("lane.after_commit");
        for (stream, table) in session.destination.described() {
            let key = kept_table(&self.args.spec.id, &stream);
            self.args.kept.put(key, table, Checkpoint::default());
        }
        session.last_commit = Instant::now();
        session.last_commit_took = started.elapsed();
        self.meters.commits.increment(1);
        self.meters
            .commit_seconds
            .record(session.last_commit_took.as_secs_f64());
        if let Some(oldest) = session.oldest {
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_micros() as i64;
            self.meters
                .end_to_end_seconds
                .record((now - oldest.micros()).max(0) as f64 / 1e6);
        }
        let counts = std::mem::take(&mut session.counts);
        self.args.board.destination(&self.args.spec.id, |facts| {
            for ((stream, _), count) in &counts {
                *facts.rows_by_stream.entry(stream.clone()).or_default() += count;
            }
        });
        for ((stream, op), count) in counts {
            let labels = [
                ("pipeline", self.args.lane.pipeline.to_string()),
                ("destination", self.args.spec.id.to_string()),
                ("stream", stream.to_string()),
                ("op", op.name().to_owned()),
            ];
            metrics::counter!(metric::STREAM_ROWS, &labels).increment(count);
        }
        self.held = Some(session.accepted.clone());
        self.is_reset = false;
        self.recovered();
        self.args.board.destination(&self.args.spec.id, |facts| {
            facts.durable = session.accepted.clone();
            facts.durable_time = facts.durable_time.max(session.newest);
            facts.commits += 1;
            facts.rate.add(session.rows);
        });
        session.forget_pending();
        self.report_durable(session);
        Ok(())
    }

    fn report_durable(&self, session: &Session) {
        let durable = CheckpointMsg::Durable {
            destination: self.args.spec.id.clone(),
            checkpoint: session.accepted.clone(),
            generation: session.generation,
            plan_hash: self.args.spec.plan_hash.clone(),
        };
        // A checkpointer that is gone takes the pipeline with it.
        let _ = self.args.checkpointer.cast(durable);
    }

    /// The first commit after failures.
    fn recovered(&mut self) {
        if self.failing_since.take().is_some() {
            info!(pipeline = %self.args.lane.pipeline, destination = %self.args.spec.id, attempts = self.attempt, "destination recovered");
            self.args
                .board
                .destination(&self.args.spec.id, |facts| facts.trouble = None);
        }
        self.attempt = 0;
    }

    /// After a failure: waits for the next try, keeping the lane's place in the spool. `Some` if there is none.
    async fn recover(&mut self, error: Error, needs_resync: bool) -> Option<LaneEnd> {
        self.args.markers.give_up(&self.args.spec.id);
        if error.retry() == Retry::Fenced {
            self.note(&error, None);
            return Some(LaneEnd::Fenced(error));
        }
        self.attempt += 1;
        let failing_since = *self.failing_since.get_or_insert_with(Instant::now);
        let retry = self.args.spec.retry;
        let has_given_up = retry.give_up_after.is_some_and(|limit| failing_since.elapsed() > limit);
        let (phase, wait) = match error.retry() {
            _ if needs_resync => (LanePhase::NeedsResync, None),
            Retry::After if !has_given_up => (LanePhase::Retrying, Some(retry.wait(self.attempt))),
            Retry::After | Retry::Operator => (LanePhase::Parked, Some(self.args.limits.parked_retry)),
            Retry::Never | Retry::Fenced => (LanePhase::Parked, None),
        };
        let mut next_try = wait.map(|wait| Instant::now() + wait);
        self.phase(phase);
        self.note(&error, wait);
        if needs_resync {
            self.drop_pump().await;
        } else if let Some(pump) = &self.pump {
            // Stand still at what is held, so that the spool keeps it.
            self.epoch += 1;
            let held = self.held.clone().unwrap_or_default();
            if !pump.rewind(&held, self.epoch, true).await {
                self.drop_pump().await;
            }
        }
        self.stand(false, needs_resync.then_some(error));
        loop {
            let input = tokio::select! {
                () = sleep_until(next_try) => return None,
                input = self.inbox.recv() => input,
            };
            match input {
                None | Some(LaneInput::Abandon) => return Some(LaneEnd::Abandoned),
                Some(LaneInput::Regroup) => {
                    self.drop_pump().await;
                    self.stand(false, None);
                }
                Some(LaneInput::Attach { cursor, reset }) => {
                    self.attach(cursor, reset, true);
                    if reset {
                        return None;
                    }
                }
                Some(LaneInput::NeedsResync(error)) => {
                    self.drop_pump().await;
                    self.phase(LanePhase::NeedsResync);
                    self.note(&error, None);
                    next_try = None;
                }
                Some(LaneInput::CursorEnded {
                    epoch,
                    why: CursorEnd::Closed,
                }) if epoch == self.epoch => {
                    return Some(LaneEnd::Abandoned);
                }
                Some(LaneInput::CursorEnded {
                    epoch,
                    why: CursorEnd::LetGo,
                }) if epoch == self.epoch => self.drop_pump().await,
                Some(_) => {}
            }
        }
    }

    fn note(&self, error: &Error, wait: Option<Duration>) {
        let labels = [
            ("pipeline", self.args.lane.pipeline.to_string()),
            ("component", self.args.spec.id.to_string()),
            ("code", error.code().to_owned()),
            ("retry", error.retry().name().to_owned()),
        ];
        metrics::counter!(metric::ERRORS, &labels).increment(1);
        let trouble = Trouble {
            code: error.code().to_owned(),
            error: error.chain(),
            hint: error.remedy().map(str::to_owned),
            retry: error.retry().name(),
            attempt: self.attempt,
            next_try_seconds: None,
        };
        let next_try = wait.map(|wait| std::time::Instant::now() + wait);
        self.args.board.destination(&self.args.spec.id, |facts| {
            facts.errors += 1;
            facts.trouble = Some((trouble, next_try));
        });
        let next_try_seconds = wait.map(|wait| (wait.as_secs_f64() * 10.0).round() / 10.0);
        warn!(
            pipeline = %self.args.lane.pipeline,
            destination = %self.args.spec.id,
            code = error.code(),
            error = error.chain(),
            hint = error.remedy(),
            attempt = self.attempt,
            next_try_seconds,
            "{}",
            if wait.is_some() { "destination retrying" } else { "destination parked" },
        );
    }
}

impl Session {
    async fn transform(&mut self, changeset: Arc<ChangeSet>) -> Result<Arc<ChangeSet>, Error> {
        let mut changeset = changeset;
        for (transformer, meter) in &mut self.transformers {
            changeset = Arc::new(meter.transform(transformer.as_mut(), &changeset).await?);
        }
        Ok(changeset)
    }

    /// When to commit next; `None` if there is nothing to commit, or no consistent point to do it at.
    fn commit_due(&self, args: &DestinationArgs, is_idle: bool) -> Option<Instant> {
        let since = self.pending_since.filter(|_| !self.is_in_transaction)?;
        let batch = &args.spec.batch;
        if self.pending_is_progress {
            return Some(since + args.limits.progress_interval);
        }
        if self.bytes >= batch.bytes_max || self.rows >= batch.rows_max {
            return Some(Instant::now());
        }
        let latest = since + batch.wait_max;
        let apart = args
            .spec
            .capabilities
            .commit_interval_min
            .max(self.last_commit_took * COMMIT_SHARE);
        Some(if is_idle {
            latest.min(self.last_commit + apart)
        } else {
            latest
        })
    }

    fn count(&mut self, changeset: &ChangeSet) {
        for batch in changeset.batches() {
            let stream = batch.schema.stream();
            match batch.ops.uniform() {
                Some(op) => *self.counts.entry((stream.clone(), op)).or_default() += batch.len() as u64,
                None => {
                    let mut by_op = [0u64; 4];
                    batch.ops.iter().for_each(|op| by_op[op as usize] += 1);
                    for op in [Op::Read, Op::Insert, Op::Update, Op::Delete] {
                        if by_op[op as usize] > 0 {
                            *self.counts.entry((stream.clone(), op)).or_default() += by_op[op as usize];
                        }
                    }
                }
            }
            for commit in &batch.commits {
                self.newest = self.newest.max(Some(commit.time));
                if batch.partition.is_log() {
                    self.oldest = Some(self.oldest.map_or(commit.time, |oldest| oldest.min(commit.time)));
                }
            }
        }
    }

    fn forget_pending(&mut self) {
        self.pending = Delta::none();
        self.pending_since = None;
        self.pending_is_progress = true;
        (self.rows, self.bytes) = (0, 0);
        (self.oldest, self.newest) = (None, None);
    }
}

impl Meters {
    fn new(args: &DestinationArgs) -> Self {
        let pipeline = || ("pipeline", args.lane.pipeline.to_string());
        let component = || ("component", args.spec.id.to_string());
        let destination = || ("destination", args.spec.id.to_string());
        let kind = || ("component_kind", "destination".to_owned());
        let connector = || ("connector", args.spec.connector.clone());
        let phase = |phase: &str| ("phase", phase.to_owned());
        Meters {
            received_rows: metrics::counter!(metric::RECEIVED_ROWS, &[pipeline(), component(), kind(), connector()]),
            received_bytes: metrics::counter!(metric::RECEIVED_BYTES, &[pipeline(), component(), kind(), connector()]),
            batch_rows: metrics::histogram!(metric::BATCH_ROWS, &[pipeline(), component()]),
            batch_bytes: metrics::histogram!(metric::BATCH_BYTES, &[pipeline(), component()]),
            write_seconds: metrics::histogram!(metric::PHASE_SECONDS, &[pipeline(), component(), phase("write")]),
            commit_seconds: metrics::histogram!(metric::PHASE_SECONDS, &[pipeline(), component(), phase("commit")]),
            commits: metrics::counter!(metric::CHECKPOINT_COMMITS, &[pipeline(), destination()]),
            end_to_end_seconds: metrics::histogram!(metric::END_TO_END_SECONDS, &[pipeline(), destination()]),
        }
    }
}

/// A checkpoint without the streams that are no longer in the plan.
fn in_plan(checkpoint: &Checkpoint, streams: &[StreamId]) -> Checkpoint {
    let mut kept = checkpoint.clone();
    kept.streams.retain(|stream, _| streams.contains(stream));
    kept.marks.retain(|partition, _| match partition {
        model::Partition::Log(_) => true,
        model::Partition::Range { stream, .. } => streams.contains(stream),
    });
    kept
}

/// What is due already needs no timer: that would be ready a moment later, and until then an inbox that is never empty would win
/// every time.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) if at <= Instant::now() => {}
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

//! One source, the destinations that it feeds, and what outlives a process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{Body, ChangeSet, Checkpoint, Control, DestinationId, Partition, StreamId};
use tokio_util::sync::CancellationToken;

use super::flow::FlowCheck;
use super::{Change, SourceHarness};
use crate::conformance::text::difference;
use crate::conformance::{Promise, Row, Session, Unkept, ensure, sample};
use crate::testing::Replica;
use crate::{
    Context, DestinationOptions, Emission, Held, Kept, Lane, Plan, ReadExisting, Reader, Share, Source, SourceControl,
    Verdict,
};

/// How long a source may take for what it must do. Generous: a busy machine is no broken promise.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// How often a wait looks again whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// A pipeline without a runtime.
pub(super) struct Stage<'a> {
    pub(super) harness: &'a dyn SourceHarness,
    pub(super) source: Box<dyn Source>,
    /// What `Context::kept` stored: outlives a reopen.
    stored: BTreeMap<String, Bytes>,
    pub(super) changeset_bytes_max: usize,
    pub(super) memory_bytes: usize,
    pub(super) exclude: Vec<String>,
}

/// A directory of one run, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Unkept> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "highwater-conformance-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(|error| Unkept::broken(format!("no scratch directory: {error}")))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind, it lies in the temporary directory and harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A destination: a replica and the session on it.
pub(super) struct Copy {
    pub(super) name: DestinationId,
    pub(super) replica: Replica,
    pub(super) session: Session,
    /// Every checkpoint committed, with the state of then; only if asked for.
    pub(super) history: Option<Vec<(Checkpoint, Replica)>>,
    /// Committed less often than possible: every nth consistent point.
    pub(super) commit_every: usize,
    uncommitted: usize,
}

/// An opened source.
pub(super) struct Run {
    pub(super) reader: Box<dyn Reader>,
    pub(super) control: Arc<dyn SourceControl>,
    pub(super) verdicts: BTreeMap<DestinationId, Verdict>,
    pub(super) identity: String,
    pub(super) share: Share,
    kept: Kept,
    check: FlowCheck,
    _scratch: Scratch,
}

impl Copy {
    pub(super) async fn new(name: &str) -> Result<Self, Unkept> {
        Self::on(name, Replica::new()).await
    }

    /// A destination on a replica that holds something already.
    pub(super) async fn on(name: &str, replica: Replica) -> Result<Self, Unkept> {
        let lane = Lane {
            destination: name.into(),
            take_over: true,
            ..sample::lane()
        };
        let session = Session::open(replica.destination(DestinationOptions::default()), &lane).await?;
        Ok(Copy {
            name: name.into(),
            replica,
            session,
            history: None,
            commit_every: 1,
            uncommitted: 0,
        })
    }

    pub(super) fn held(&self) -> Held {
        Held {
            destination: self.name.clone(),
            checkpoint: self.session.checkpoint().clone(),
        }
    }

    pub(super) async fn take(&mut self, changeset: &Arc<ChangeSet>) -> Promise {
        self.session.take(changeset).await?;
        if changeset.part.ends_consistent() {
            self.uncommitted += 1;
        }
        if changeset.part.ends_consistent() && self.uncommitted >= self.commit_every {
            self.commit().await?;
        }
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Promise {
        self.session.commit().await?;
        self.uncommitted = 0;
        if let Some(history) = &mut self.history {
            history.push((self.session.checkpoint().clone(), self.replica.fork()));
        }
        Ok(())
    }

    /// Whether it holds all of these streams up to these orders.
    fn is_at(&self, head: &crate::Head, streams: &[StreamId]) -> bool {
        let sent = self.session.sent();
        let is_live = |stream: &StreamId| sent.streams.get(stream).is_some_and(|state| state.is_live());
        streams.iter().all(is_live)
            && head
                .marks
                .iter()
                .all(|mark| sent.mark(&Partition::log(Arc::clone(&mark.log))).covers(mark.order))
    }
}

impl<'a> Stage<'a> {
    pub(super) fn new(harness: &'a dyn SourceHarness) -> Self {
        Stage {
            harness,
            source: harness.source(),
            stored: BTreeMap::new(),
            changeset_bytes_max: 16 << 10,
            memory_bytes: 4 << 20,
            exclude: Vec::new(),
        }
    }

    pub(super) fn plan(&self) -> Plan {
        let planned = |stream: &StreamId| {
            let mut planned = self.harness.planned(stream);
            planned.exclude.extend(self.exclude.iter().cloned());
            planned
        };
        Plan {
            pipeline: "shop".into(),
            configured: Vec::new(),
            streams: self.harness.streams().iter().map(planned).collect(),
            changeset_bytes_max: self.changeset_bytes_max,
        }
    }

    /// Opens the source for these destinations, with a new value, as another process would.
    pub(super) async fn open(&mut self, copies: &[&Copy]) -> Result<Run, Unkept> {
        let held: Vec<Held> = copies.iter().map(|copy| copy.held()).collect();
        self.open_held(&held).await
    }

    pub(super) async fn open_held(&mut self, held: &[Held]) -> Result<Run, Unkept> {
        self.source = self.harness.source();
        let share = Share::alone(self.memory_bytes);
        let kept = Kept::from_stored(self.stored.clone());
        let scratch = Scratch::new()?;
        let cx = Context {
            pipeline: "shop".into(),
            scratch: scratch.0.clone(),
            memory: share.clone(),
            kept: kept.clone(),
            take_over: false,
            tally: crate::Tally::default(),
            once: false,
            stop: CancellationToken::new(),
        };
        let opened = self.source.open(&self.plan(), held, cx).await?;
        for held in held {
            ensure!(
                opened.verdicts.contains_key(&held.destination),
                "there is no verdict for `{}`",
                held.destination
            );
        }
        let states = held.iter().flat_map(|held| &held.checkpoint.streams);
        let reading = states.filter(|(_, state)| !state.is_live());
        let check = FlowCheck::resuming(reading.map(|(stream, state)| (stream.clone(), state.run())).collect());
        Ok(Run {
            reader: opened.reader,
            control: opened.control,
            verdicts: opened.verdicts,
            identity: opened.identity,
            share,
            kept,
            check,
            _scratch: scratch,
        })
    }

    /// Opens for these destinations, all of which must be able to go on.
    pub(super) async fn go_on(&mut self, copies: &[&Copy]) -> Result<Run, Unkept> {
        let run = self.open(copies).await?;
        for (destination, verdict) in &run.verdicts {
            ensure!(
                matches!(verdict, Verdict::Continue),
                "`{destination}` cannot go on: {verdict:?}"
            );
        }
        Ok(run)
    }

    /// A new destination, brought up by a read of both streams.
    pub(super) async fn bring_up(&mut self, name: &str) -> Result<(Copy, Run), Unkept> {
        let mut copy = Copy::new(name).await?;
        let mut run = self.go_on(&[&copy]).await?;
        run.read(&self.harness.streams(), None, true).await?;
        self.settle(&mut run, &mut [&mut copy]).await?;
        Ok((copy, run))
    }

    /// Takes one changeset to every destination; `false` if none came within [`LOOK`].
    pub(super) async fn step(&mut self, run: &mut Run, copies: &mut [&mut Copy]) -> Result<bool, Unkept> {
        let Ok(next) = tokio::time::timeout(LOOK, run.reader.next()).await else {
            return Ok(false);
        };
        let Some(emission) = next? else {
            return Ok(false);
        };
        self.deliver(run, emission, copies).await?;
        Ok(true)
    }

    pub(super) async fn deliver(&mut self, run: &mut Run, emission: Emission, copies: &mut [&mut Copy]) -> Promise {
        run.check.check(&emission, run.share.limit_bytes())?;
        let changeset = Arc::new(emission.changeset);
        for copy in copies.iter_mut() {
            copy.take(&changeset).await?;
        }
        let everywhere = Checkpoint::everywhere(copies.iter().map(|copy| copy.session.checkpoint()));
        if let Some(values) = run.kept.ripen(&everywhere) {
            self.stored = values;
        }
        Ok(())
    }

    /// Takes changesets until every destination is live in both streams and at the head, and compares each with the system.
    pub(super) async fn settle(&mut self, run: &mut Run, copies: &mut [&mut Copy]) -> Promise {
        let streams = self.harness.streams();
        let since = Instant::now();
        loop {
            let head = run.control.head().await?;
            if copies.iter().all(|copy| copy.is_at(&head, &streams)) {
                break;
            }
            ensure!(
                since.elapsed() < DEADLINE,
                "the source says that its head is {:?}, but after {DEADLINE:?} the destinations were brought to {:?} only",
                head.marks,
                copies.iter().map(|copy| copy.session.sent()).collect::<Vec<_>>()
            );
            self.step(run, copies).await?;
        }
        for copy in copies.iter_mut() {
            copy.commit().await?;
            self.compare(copy).await?;
        }
        Ok(())
    }

    /// Fails unless the destination holds what the system holds, and met no contradiction on the way.
    pub(super) async fn compare(&self, copy: &Copy) -> Promise {
        for (at, stream) in self.harness.streams().iter().enumerate() {
            let expected = self.harness.rows(at).await?;
            let got = copy.replica.rows(stream).unwrap_or_default();
            let got: Vec<Row> = got.into_iter().map(only_known_columns).collect();
            if let Some(difference) = difference(&expected, &got) {
                return Err(Unkept::broken(format!(
                    "`{}` differs from the system in `{stream}`\n{difference}",
                    copy.name
                )));
            }
        }
        let violations = copy.replica.violations();
        ensure!(
            violations.is_empty() || !self.harness.is_exact(),
            "`{}` met what an exact copy cannot meet: {violations:?}",
            copy.name
        );
        Ok(())
    }

    pub(super) async fn apply(&self, changes: &[Change]) -> Promise {
        Ok(self.harness.apply(changes).await?)
    }

    /// Inserts rows with these ids into a stream, in one transaction.
    pub(super) async fn insert(&self, stream: usize, ids: impl IntoIterator<Item = i64>) -> Promise {
        let insert = |id| Change::Insert {
            stream,
            id,
            name: Some(format!("name {id}")),
        };
        let changes: Vec<Change> = ids.into_iter().map(insert).collect();
        self.apply(&changes).await
    }
}

pub(super) fn only_known_columns(row: Row) -> Row {
    row.into_iter()
        .filter(|(column, _)| ["id", "name"].contains(&column.as_str()))
        .collect()
}

impl Run {
    /// Asks for a read.
    pub(super) async fn read(
        &self,
        streams: &[StreamId],
        destinations: Option<Vec<DestinationId>>,
        empty_first: bool,
    ) -> Result<u32, Unkept> {
        let request = ReadExisting {
            streams: streams.to_vec(),
            destinations,
            empty_first,
        };
        Ok(self.control.read_existing(request).await?)
    }

    /// The next changeset, which must come.
    pub(super) async fn next(&mut self) -> Result<Emission, Unkept> {
        match tokio::time::timeout(DEADLINE, self.reader.next()).await {
            Ok(next) => next?.ok_or_else(|| Unkept::broken("the reader ended")),
            Err(_) => Err(Unkept::broken(format!("no changeset came within {DEADLINE:?}"))),
        }
    }
}

/// The begin or end of a read that a changeset carries.
pub(super) fn control_of(changeset: &ChangeSet) -> Option<&Control> {
    match &changeset.body {
        Body::Control(control) => Some(control),
        Body::Rows(_) => None,
    }
}

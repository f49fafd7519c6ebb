//! One sync, from the caller's position to the head of the log.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use api::{Budget, Context, Head, Held, Kept, Opened, Plan, PlannedStream, ReadExisting, Source, Verdict};
use model::{Body, ChangeSet, Checkpoint, DestinationId, Mark, Partition, PipelineId, StreamId};
use proto::plugin_v3::sync::response::Message;
use proto::plugin_v3::sync::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{info, warn};

use super::super::spec::failed;
use super::outgoing::Outgoing;
use super::position::{self, Position};
use super::select;
use super::state::{self, StateTable};
use super::{AHEAD, Send};

/// What a sync may hold in memory; a changeset is at most a part of it.
const MEMORY_BYTES: usize = 64 << 20;
const CHANGESET_BYTES_MAX: usize = 4 << 20;
/// A checkpoint makes each destination commit, so not more often than this.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// The one destination that a source sees: whoever called.
const CALLER: &str = "caller";

/// `stop` ends it early: what it left at the source is removed, and the caller is told.
pub(super) async fn run(
    source: Box<dyn Source>,
    pipeline: &str,
    request: Request,
    send: &Send,
    stop: CancellationToken,
) -> Result<(), Status> {
    if request.deterministic_cq_id {
        warn!("`deterministic_cq_id` is asked for, and this source makes no `_cq_id`");
    }
    let backend = request
        .backend
        .filter(|backend| !backend.connection.is_empty() || !backend.table_name.is_empty());
    let shard = request.shard.filter(|shard| shard.total > 1);
    if let Some(shard) = shard.filter(|shard| !(1..=shard.total).contains(&shard.num)) {
        let what = format!("there is no shard {} of {}", shard.num, shard.total);
        return Err(Status::invalid_argument(what));
    }
    let name = match (&backend, &shard) {
        (Some(_), Some(shard)) => format!("{pipeline}_{}_{}", shard.num, shard.total),
        (Some(_), None) => pipeline.to_owned(),
        // Its triggers or its slot are removed at the end.
        (None, _) => format!("{pipeline}_{:08x}", uuid::Uuid::new_v4().as_u128() as u32),
    };
    let mut state = match &backend {
        Some(options) if options.connection.is_empty() || options.table_name.is_empty() => {
            return Err(Status::invalid_argument(
                "the options of the state backend need both `table_name` and `connection`",
            ));
        }
        Some(options) => Some(StateTable::open(options, &position::prefix(&name)).await?),
        None => None,
    };
    let position = match &state {
        Some(state) => Position::of_rows(&name, &state.values())?,
        None => Position::default(),
    };
    let found = source
        .discover()
        .await
        .map_err(|error| failed("cannot list tables", &error))?;
    let chosen = select::choose(found, &request.tables, &request.skip_tables).map_err(Status::invalid_argument)?;
    let mut outgoing = Outgoing::default();
    for schema in &chosen {
        let message = outgoing.announce(schema)?;
        if !answer(send, message).await {
            return Ok(());
        }
    }
    // Every shard announces all tables, and reads its own.
    let is_ours = |stream: &StreamId| {
        let shard_of = |total: i32| select::shard_of(&stream.flat_name(), total.unsigned_abs().into());
        let is_of = |num: i32, total: i32| shard_of(total) == u64::from(num.unsigned_abs());
        shard.as_ref().is_none_or(|shard| is_of(shard.num, shard.total))
    };
    let ours = chosen
        .iter()
        .map(|schema| schema.stream())
        .filter(|stream| is_ours(stream));
    let plan = Plan {
        pipeline: PipelineId::from(name.as_str()),
        streams: ours.map(|stream| PlannedStream::new(stream.clone())).collect(),
        configured: Vec::new(),
        changeset_bytes_max: CHANGESET_BYTES_MAX,
    };
    if plan.streams.is_empty() {
        return Ok(());
    }
    let scratch = Scratch::make()?;
    let checkpoints = request
        .supports_checkpoints
        .then(|| backend.map(|backend| backend.table_name))
        .flatten();
    let work = Work {
        source: source.as_ref(),
        plan: &plan,
        kept: Kept::from_stored(position.kept.clone()),
        send,
        outgoing,
        checkpoints,
        sent: position.clone(),
    };
    let outcome = work.run(position, scratch.0.clone(), stop).await;
    // It may have taken much to disk.
    let removed = tokio::task::spawn_blocking(move || drop(scratch)).await;
    if removed.is_err() {
        warn!("a temporary directory was left behind");
    }
    if state.is_none()
        && let Err(error) = source.forget(&plan.pipeline).await
    {
        warn!(error = error.chain(), "something was left behind at the source");
    }
    let Some(reached) = outcome? else {
        return Ok(());
    };
    if let Some(state) = &mut state
        && !request.supports_checkpoints
    {
        // Not before the last row has left: a caller that goes away now reads it again.
        if send.reserve_many(AHEAD).await.is_err() {
            return Ok(());
        }
        state.put(reached.rows(&name)?).await?;
    }
    Ok(())
}

struct Work<'a> {
    source: &'a dyn Source,
    plan: &'a Plan,
    kept: Kept,
    send: &'a Send,
    outgoing: Outgoing,
    /// The name of the state table, where the caller takes checkpoints.
    checkpoints: Option<String>,
    /// The position that the caller knows.
    sent: Position,
}

impl Work<'_> {
    /// Where the sync ended; `None` if the caller went away.
    async fn run(
        mut self,
        mut position: Position,
        scratch: PathBuf,
        stop: CancellationToken,
    ) -> Result<Option<Position>, Status> {
        let stopped = stop.clone();
        let _ended = stop.clone().drop_guard();
        let opened = self.open(&mut position, scratch, stop).await?;
        let head = opened
            .control
            .head()
            .await
            .map_err(|error| failed("cannot find the head", &error))?;
        let reached = self.read(opened.reader, &head, position, &stopped).await;
        if let Err(error) = opened.control.close().await {
            warn!(error = error.chain(), "the source did not close in peace");
        }
        reached
    }

    async fn open(&self, position: &mut Position, scratch: PathBuf, stop: CancellationToken) -> Result<Opened, Status> {
        let context = || Context {
            pipeline: self.plan.pipeline.clone(),
            scratch: scratch.clone(),
            memory: Budget::new(MEMORY_BYTES).share(MEMORY_BYTES),
            kept: self.kept.clone(),
            take_over: false,
            tally: api::Tally::default(),
            once: true,
            stop: stop.clone(),
        };
        let held = |checkpoint: &Checkpoint| Held {
            destination: DestinationId::from(CALLER),
            checkpoint: checkpoint.clone(),
        };
        let open = async |checkpoint: &Checkpoint| {
            let opened = self.source.open(self.plan, &[held(checkpoint)], context()).await;
            opened.map_err(|error| failed("cannot open the source", &error))
        };
        let mut opened = open(&position.checkpoint).await?;
        let mut empty_first = false;
        if let Some(Verdict::PositionLost(error) | Verdict::OtherHistory(error)) =
            opened.verdicts.remove(&DestinationId::from(CALLER))
        {
            warn!(
                error = error.chain(),
                "the position is lost: every table is emptied and read again"
            );
            drop(opened);
            (position.checkpoint, empty_first) = (Checkpoint::default(), true);
            opened = open(&position.checkpoint).await?;
        }
        // It came from the backend, so it is durable wherever the rows are.
        if let Err(error) = opened.control.acknowledge(&position.checkpoint).await {
            warn!(error = error.chain(), "the source could not be told what is durable");
        }
        let unread = |stream: &StreamId| !position.checkpoint.streams.contains_key(stream);
        let streams: Vec<StreamId> = self.streams().filter(|stream| unread(stream)).cloned().collect();
        if !streams.is_empty() {
            info!(tables = streams.len(), "reading existing rows");
            let request = ReadExisting {
                streams,
                destinations: None,
                empty_first,
            };
            let read = opened.control.read_existing(request).await;
            read.map_err(|error| failed("cannot read existing rows", &error))?;
        }
        Ok(opened)
    }

    fn streams(&self) -> impl Iterator<Item = &StreamId> {
        self.plan.streams.iter().map(|stream| &stream.id)
    }

    async fn read(
        &mut self,
        mut reader: Box<dyn api::Reader>,
        head: &Head,
        mut position: Position,
        stopped: &CancellationToken,
    ) -> Result<Option<Position>, Status> {
        let mut checkpointed = Instant::now();
        // Where nothing has changed there may be nothing to read.
        let mut is_over = self.has_all(&position.checkpoint, head);
        while !is_over {
            // A caller that is gone would be noticed only with the next row, which may not come.
            let next = tokio::select! {
                next = reader.next() => next,
                () = self.send.closed() => return Ok(None),
                () = stopped.cancelled() => return Err(Status::unavailable("the plugin is stopping")),
            };
            let Some(emission) = next.map_err(|error| failed("cannot read the source", &error))? else {
                // A source that is bounded has an end; any other was told to.
                match stopped.is_cancelled() {
                    true => return Err(Status::unavailable("the plugin is stopping")),
                    false => break,
                }
            };
            let changeset = &emission.changeset;
            for message in self.messages(changeset)? {
                if !answer(self.send, Some(message)).await {
                    return Ok(None);
                }
            }
            let applied = position.checkpoint.apply(&changeset.delta);
            applied.map_err(|error| Status::internal(format!("the source's positions have a hole: {error}")))?;
            if !changeset.part.ends_consistent() {
                continue;
            }
            is_over = self.has_all(&position.checkpoint, head);
            if !is_over && checkpointed.elapsed() >= CHECKPOINT_INTERVAL {
                checkpointed = Instant::now();
                if !self.tell(&mut position).await? {
                    return Ok(None);
                }
            }
        }
        if !self.tell(&mut position).await? {
            return Ok(None);
        }
        Ok(Some(position))
    }

    fn messages(&mut self, changeset: &ChangeSet) -> Result<Vec<Message>, Status> {
        match &changeset.body {
            Body::Control(control) => self.outgoing.control(control),
            Body::Rows(batches) => {
                let mut messages = Vec::new();
                for batch in batches {
                    messages.extend(self.outgoing.rows(batch)?);
                }
                Ok(messages)
            }
        }
    }

    /// Whether existing rows are in and the log is read up to the head.
    fn has_all(&self, checkpoint: &Checkpoint, head: &Head) -> bool {
        let is_live = |stream: &StreamId| checkpoint.streams.get(stream).is_some_and(|state| state.is_live());
        let covers = |mark: &api::HeadMark| match checkpoint.mark(&Partition::Log(mark.log.clone())) {
            Mark::NotBegun => false,
            reached => reached.covers(mark.order),
        };
        self.streams().all(is_live) && head.marks.iter().all(covers)
    }

    /// Takes what the source wants kept into the position, and says where the sync stands to a caller that takes checkpoints.
    /// `false` if it is gone.
    async fn tell(&mut self, position: &mut Position) -> Result<bool, Status> {
        if let Some(kept) = self.kept.ripen(&position.checkpoint) {
            position.kept = kept;
        }
        let Some(table) = &self.checkpoints else {
            return Ok(true);
        };
        if *position == self.sent {
            return Ok(true);
        }
        self.sent = position.clone();
        let rows = position.rows(&self.plan.pipeline.to_string())?;
        let checkpoint = state::checkpoint(table, &rows)?;
        Ok(answer(self.send, Some(Message::Checkpoint(checkpoint))).await)
    }
}

/// Sends a message if there is one; `false` if the caller is gone.
async fn answer(send: &Send, message: Option<Message>) -> bool {
    match message {
        None => true,
        message => send.send(Ok(Response { message })).await.is_ok(),
    }
}

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Scratch, Status> {
        let path = std::env::temp_dir().join(format!("highwater-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&path)
            .map_err(|error| Status::internal(format!("cannot create `{}`: {error}", path.display())))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            warn!(path = %self.0.display(), %error, "a temporary directory was left behind");
        }
    }
}

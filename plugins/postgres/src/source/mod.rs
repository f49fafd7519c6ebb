//! PostgreSQL as a source: a logical replication slot with `pgoutput`, and windows on existing rows.
//!
//! [`engine`] is the task that reads; [`window`] the snapshots, [`readers`] those who read their pages; [`position`] says what a place in the log is, [`resume`] what
//! a checkpoint means here.

mod catalogue;
mod changes;
mod checks;
mod choice;
mod codes;
mod control;
mod emitter;
mod engine;
mod error;
mod key;
mod messages;
mod page_copy;
mod pages;
mod position;
mod privileges;
mod publication;
mod readers;
mod reads;
mod resume;
mod rows;
mod shape;
mod shared;
mod slot;
mod slot_watch;
mod spec;
mod streamed;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::{
    BuildContext, Context, Held, Opened, Plan, PlannedStream, Source, SourceCapabilities, SourceConnector, SpecError,
};
use async_trait::async_trait;
use model::{Partition, PipelineId, StreamId, StreamSchema};
use tokio::sync::mpsc;

use self::catalogue::{Server, Table, now_and_end_of_log};
pub use self::codes::CODES;
use self::control::{Control, RUN};
use self::emitter::{Emitter, Flow};
use self::engine::{Engine, Setup};
use self::messages::Messages;
pub use self::privileges::least_privilege;
use self::publication::Ensured;
use self::resume::Log;
use self::shape::StreamShape;
use self::shared::Shared;
use self::slot_watch::SlotWatch;
use self::spec::Names;
pub use self::spec::{MessagesSpec, PostgresSourceSpec, ReadOrder};
use self::streamed::Streamed;
use crate::connect::Settings;
use crate::replication::{StreamOptions, Streaming, SystemIdentity};
use crate::types::TypeCatalogue;

/// Every fail-point that a run passes.
pub const FAIL_POINTS: &[&str] = &[
    "postgres.source.before_create_publication",
    "postgres.source.after_create_publication",
    "postgres.source.before_create_slot",
    "postgres.source.after_create_slot",
    "postgres.source.before_open_window",
    "postgres.source.after_open_window",
    "postgres.source.before_page",
    "postgres.source.after_page",
    "postgres.source.before_acknowledge",
    "postgres.source.before_flush_lsn",
    "postgres.source.after_flush_lsn",
];

/// Every fail-point that `forget` passes.
pub const FORGET_FAIL_POINTS: &[&str] = &["postgres.source.before_forget", "postgres.source.after_forget"];

/// Changesets that wait between the engine and the runtime. One is enough to keep both busy; more would only hold memory.
const DELIVERIES_MAX: usize = 1;

/// The connector `postgres` as a source.
pub struct PostgresSourceConnector;

impl SourceConnector for PostgresSourceConnector {
    const NAME: &'static str = "postgres";
    const ABOUT: &'static str =
        "Reads a PostgreSQL database: first its rows, then every change, from a logical replication slot.";
    type Spec = PostgresSourceSpec;

    fn build(spec: PostgresSourceSpec, cx: &BuildContext) -> std::result::Result<Box<dyn Source>, SpecError> {
        let is_slot_name = |name: &String| {
            (1..=63).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if let Some(slot) = spec.slot.as_ref().filter(|slot| !is_slot_name(slot)) {
            return Err(
                SpecError::at("/slot", format!("`{slot}` is no name of a replication slot"))
                    .hint("use up to 63 lower-case letters, digits and `_`"),
            );
        }
        if let Some(messages) = &spec.messages
            && messages.stream_id().schema().is_some()
        {
            let why = format!("`{}` has a schema, as tables have", messages.stream);
            return Err(SpecError::at("/messages/stream", why).hint("leave the schema out, or write the dot as `\\.`"));
        }
        if spec.messages.is_some() && spec.streaming {
            // Seen on 15 and 18: a streamed message names the whole transaction, also inside a savepoint.
            let why = "of a message that is sent while its transaction runs the server does not say to which savepoint it belongs";
            return Err(
                SpecError::at("/streaming", format!("not together with `messages`: {why}"))
                    .hint("remove `streaming`, or read the messages in a pipeline of their own"),
            );
        }
        let settings = Settings::new(&spec.connect, cx).map_err(|error| SpecError {
            pointer: format!("/connection{}", error.pointer),
            ..error
        })?;
        Ok(Box::new(PostgresSource {
            settings,
            spec: Arc::new(spec),
        }))
    }

    fn capabilities(_: &PostgresSourceSpec) -> SourceCapabilities {
        SourceCapabilities {
            deletes: true,
            old_images: true,
            unavailable: true,
            is_bounded: false,
            rereads: false,
            cursors_elsewhere: false,
        }
    }
}

/// A PostgreSQL database that is read.
pub struct PostgresSource {
    settings: Settings,
    spec: Arc<PostgresSourceSpec>,
}

impl PostgresSource {
    /// The streams that are tables.
    fn tables<'a>(&self, plan: &'a Plan) -> impl Iterator<Item = &'a PlannedStream> + use<'a> {
        let messages = self.spec.messages.as_ref().map(MessagesSpec::stream_id);
        plan.streams
            .iter()
            .filter(move |planned| Some(&planned.id) != messages.as_ref())
    }

    /// The stream of messages, if the plan has it.
    fn messages(&self, plan: &Plan) -> api::Result<Option<Messages>> {
        let Some(spec) = &self.spec.messages else {
            return Ok(None);
        };
        let id = spec.stream_id();
        let planned = plan.streams.iter().find(|planned| planned.id == id);
        planned.map(|planned| Messages::new(spec, planned)).transpose()
    }
}

#[async_trait]
impl Source for PostgresSource {
    fn capabilities(&self) -> SourceCapabilities {
        PostgresSourceConnector::capabilities(&self.spec)
    }

    async fn discover(&self) -> api::Result<Vec<Arc<StreamSchema>>> {
        let client = self.settings.connect().await?;
        let types = TypeCatalogue::load(&client).await.map_err(error::types_failed)?;
        let mut streams = Vec::new();
        for table in Table::list(&client).await? {
            if !self.spec.schemas.is_empty() && !self.spec.schemas.contains(&table.schema) {
                continue;
            }
            let id = StreamId::in_schema(table.schema.as_str(), table.name.as_str());
            match StreamShape::of_table(&PlannedStream::new(id), &table, None, &types) {
                Ok(shape) => streams.push(Arc::clone(&shape.schema)),
                Err(error) => tracing::warn!(code = error.code(), "{error}"),
            }
        }
        if let Some(messages) = &self.spec.messages {
            let planned = PlannedStream::new(messages.stream_id());
            streams.push(messages::shape(&planned)?.schema);
        }
        Ok(streams)
    }

    async fn check(&self, plan: &Plan) -> api::Result<Vec<api::Error>> {
        let client = self.settings.connect().await?;
        let names = Names::among(&self.spec, plan.pipeline.as_str(), &plan.configured);
        checks::check(&client, &self.spec, &names, plan).await
    }

    async fn open(&self, plan: &Plan, held: &[Held], cx: Context) -> api::Result<Opened> {
        let names = Names::among(&self.spec, plan.pipeline.as_str(), &plan.configured);
        let client = self.settings.connect().await?;
        let server = Server::describe(&client).await?;
        if let Some(unfit) = checks::check_server(&server).into_iter().next() {
            return Err(unfit.into());
        }
        for planned in self.tables(plan) {
            let table = checks::find_table(&client, planned, &server).await?;
            checks::check_table(&table, planned, &server)?;
        }
        let mut replication = self.settings.replicate().await?;
        let system = replication.identify_system().await?;
        let streams: Vec<StreamId> = self.tables(plan).map(|planned| planned.id.clone()).collect();
        let ensured = publication::ensure(&client, &names, self.spec.create, &streams).await?;
        if ensured == Ensured::Created && self.spec.create && slot::drop(&client, &names.slot).await? {
            // Decoding looks the publication up as of then: with a slot from before it, nothing could be read at all.
            tracing::warn!(
                code = "W0252",
                pipeline = names.pipeline,
                slot = names.slot,
                "the publication was gone and is made anew; so is the slot, and what was committed meanwhile is lost"
            );
        }
        let starts = slot::ensure(
            &client,
            &self.settings,
            &mut replication,
            &names,
            &self.spec,
            &server,
            cx.take_over,
        )
        .await?;
        let (_, ends) = now_and_end_of_log(&client).await?;
        let log = Partition::log(position::log_id(&system.system_id, server.database_oid, &names.slot));
        let left = timelines_left(&mut replication, &system, held, &log).await?;
        let judged = Log {
            partition: &log,
            starts,
            ends: ends.max(starts),
            timeline: system.timeline,
            left,
        };
        let mut resumed = resume::resume(&judged, &names, plan, held)?;
        if let Ensured::Added(added) = &ensured {
            resumed.read_again(added, held, &names);
        }
        let start = position::end_of(resumed.start);
        let messages = self.messages(plan)?;
        let newest = StreamOptions::newest(replication.major(), vec![names.publication.clone()]);
        let options = StreamOptions {
            streaming: if self.spec.streaming {
                newest.streaming
            } else {
                Streaming::Off
            },
            messages: messages.is_some(),
            ..newest
        };
        let stream = replication.start(&names.slot, start, &options).await?;
        let shared = Arc::new(Shared::new(cx.stop.clone(), start));
        let kept = cx
            .kept
            .get(RUN)
            .and_then(|run| Some(u32::from_be_bytes(run.as_ref().try_into().ok()?)))
            .unwrap_or(0);
        shared.run_floor.store(resumed.run_floor.max(kept), Ordering::Release);
        let id = match &log {
            Partition::Log(id) => Arc::clone(id),
            Partition::Range { stream, .. } => stream.to_string().into(),
        };
        let control = Control {
            shared: Arc::clone(&shared),
            log: Arc::clone(&id),
            kept: cx.kept.clone(),
            settings: self.settings.clone(),
            connection: tokio::sync::Mutex::new(None),
            watch: std::sync::Mutex::new(SlotWatch::new(&names)),
        };
        let (out, deliveries) = mpsc::channel(DELIVERIES_MAX);
        let types = TypeCatalogue::load(&client).await.map_err(error::types_failed)?;
        let setup = Setup {
            settings: self.settings.clone(),
            spec: Arc::clone(&self.spec),
            names: names.clone(),
            plan: plan.clone(),
            log,
            timeline: system.timeline,
            client,
            types,
            shared: Arc::clone(&shared),
            // Beside the changeset that is being built, and the one that waits to be taken.
            streamed: Streamed::new(
                &cx.scratch,
                cx.memory.clone(),
                plan.changeset_bytes_max.min(cx.memory.limit_bytes() / 4),
            ),
            emitter: Emitter::new(cx.memory, out, Arc::clone(&shared)),
            stream,
            messages,
        };
        let engine = Engine::new(setup, resumed.start, resumed.reads, resumed.restarts);
        Ok(Opened {
            verdicts: resumed.verdicts,
            reader: Box::new(Flow {
                deliveries,
                shared,
                slot: names.slot,
                engine: tokio::spawn(engine.run()),
            }),
            control: Arc::new(control),
            identity: id.to_string(),
        })
    }

    async fn forget(&self, pipeline: &PipelineId) -> api::Result<Vec<String>> {
        let names = Names::new(&self.spec, pipeline.as_str());
        let client = self.settings.connect().await?;
        let mut removed = Vec::new();
        fail::fail_point!("postgres.source.before_forget");
        if slot::drop(&client, &names.slot).await? {
            removed.push(format!("replication slot `{}`", names.slot));
        }
        // Another's publication is not ours to remove.
        if self.spec.create && names.is_own_publication() && publication::drop(&client, &names.publication).await? {
            removed.push(format!("publication `{}`", names.publication));
        }
        fail::fail_point!("postgres.source.after_forget");
        Ok(removed)
    }
}

/// Where each earlier timeline was left, if some checkpoint stands on one.
async fn timelines_left(
    replication: &mut crate::replication::Connection,
    system: &SystemIdentity,
    held: &[Held],
    log: &Partition,
) -> api::Result<BTreeMap<u32, crate::replication::Lsn>> {
    let stands_elsewhere = |held: &Held| {
        let position = held.checkpoint.marks.get(log);
        position.is_some_and(|position| position::timeline_of(log, position).is_ok_and(|at| at != system.timeline))
    };
    if system.timeline <= 1 || !held.iter().any(stands_elsewhere) {
        return Ok(BTreeMap::new());
    }
    let rows = replication
        .query(&format!("TIMELINE_HISTORY {}", system.timeline))
        .await?;
    let history = rows.into_iter().next().and_then(|row| row.into_iter().nth(1).flatten());
    let history = history.unwrap_or_default();
    // Each line: timeline, where it was left, why; comments begin with #.
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    Ok(history.lines().filter_map(line).collect())
}

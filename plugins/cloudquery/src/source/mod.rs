//! A plugin that is read: each sync is a read of its tables' existing rows.
//!
//! - The protocol has no log. What a sync brings is the table as the plugin's system has it now, so a sync is one
//!   numbered read: `BeginRead` when the plugin announces a table, its records as pages, `EndRead` when the sync ended
//!   well and the table did not fail. A destination that mirrors then removes what the read did not meet, which is
//!   CloudQuery's *delete stale*; of a table that failed nothing is removed.
//! - An aborted sync is never gone on with: the next one is another read, with a higher number.
//! - Every opening makes one sync for all destinations, and ends; with `every`, the next one follows on its schedule.
//! - The log's positions are the times of complete syncs. Its mark moves when a sync is complete, so its age is the lag.
//! - A table that keeps a cursor is read like any other as long as some destination lacks rows of it. From then on what a
//!   sync brings of it are changes in the log, behind the mark of the last complete sync. The cursors become visible to a later
//!   process together with the mark of the sync that moved them, so they never run ahead of rows. A plugin that sends checkpoints
//!   moves them inside the sync (`reader::checkpoints`).
//! - Where a destination plugin keeps the cursors, nobody here knows where a sync begins. The plugin is told of them only when every
//!   destination has all rows of its tables, and what it brings then is never taken for a whole table.
//! - Rows get `_cq_sync_time` and `_cq_source_name` in front, as CloudQuery's own runtime adds them.

mod control;
mod flow;
mod messages;
#[cfg(test)]
mod mutations;
mod reader;
mod selection;
mod spec;
mod stamp;
mod tries;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::{
    BuildContext, Context, Held, Opened, Plan, Result, Source, SourceCapabilities, SourceConnector, SpecError, Verdict,
};
use async_trait::async_trait;
use model::{Checkpoint, Mark, Order, Partition, StreamId, StreamSchema, StreamState};
use proto::plugin_v3::{get_tables, sync};
use proto::{Decoder, Table, TableCodec};
use tokio::time::Instant;

pub use spec::CloudQuerySourceSpec;
pub(crate) use stamp::{SOURCE, SYNC_TIME};

use crate::error::Error;
use crate::plugin::Plugin;
use crate::registry::Kind;
use control::Control;
use flow::{Beginning, Flow, Schedule};
use reader::Sync;
use tries::Tries;

/// The connector `cloudquery` in the role of a source.
pub struct CloudQuerySourceConnector;

impl SourceConnector for CloudQuerySourceConnector {
    const NAME: &'static str = "cloudquery";
    const ABOUT: &'static str = "Reads a CloudQuery source plugin: every table as it is now, once for each run.";
    type Spec = CloudQuerySourceSpec;

    fn build(spec: CloudQuerySourceSpec, cx: &BuildContext) -> Result<Box<dyn Source>, SpecError> {
        spec.check()?;
        let spec = spec.named();
        Ok(Box::new(CloudQuerySource {
            starter: Starter {
                base: cx.base_dir.clone(),
                spec: Arc::new(spec),
                spare: Arc::default(),
                incremental: Arc::default(),
            },
            tries: Tries::default(),
        }))
    }

    fn capabilities(spec: &CloudQuerySourceSpec) -> SourceCapabilities {
        can(spec)
    }
}

fn can(spec: &CloudQuerySourceSpec) -> SourceCapabilities {
    SourceCapabilities {
        deletes: false,
        old_images: false,
        unavailable: false,
        is_bounded: spec.every().is_none(),
        rereads: true,
        cursors_elsewhere: spec.state_backend().is_some(),
    }
}

/// A source plugin.
pub struct CloudQuerySource {
    starter: Starter,
    tries: Tries,
}

impl CloudQuerySource {
    fn spec(&self) -> &CloudQuerySourceSpec {
        &self.starter.spec
    }

    /// The identity of the history: another plugin's tables are not these.
    fn log_id(&self) -> String {
        format!("cloudquery:{}", self.spec().source_name())
    }
}

/// The streams that every destination has.
fn held_by_all(held: &[Held]) -> Checkpoint {
    let mut checkpoints = held.iter().map(|held| &held.checkpoint);
    let mut all = checkpoints.next().cloned().unwrap_or_default();
    for other in checkpoints {
        all.streams
            .retain(|stream, _| other.streams.get(stream).is_some_and(StreamState::is_live));
    }
    all
}

/// When a sync is due, if the last complete one began at that time, in microseconds.
fn due(last: u64, every: Duration) -> Instant {
    let age = Duration::from_micros((flow::now().micros() as u64).saturating_sub(last));
    Instant::now() + every.saturating_sub(age)
}

/// The plugin of a source, and how it is started.
///
/// A start takes a second or two in some languages, so the process that was asked for its tables makes the first sync, too.
#[derive(Clone)]
struct Starter {
    base: PathBuf,
    spec: Arc<CloudQuerySourceSpec>,
    spare: Arc<Mutex<Option<Plugin>>>,
    /// The tables that keep a cursor, as far as they were asked for.
    incremental: Arc<Mutex<BTreeSet<StreamId>>>,
}

/// A destination plugin that keeps the cursors of a source plugin.
struct StateBackend {
    plugin: Plugin,
    /// What the source plugin is told.
    options: sync::BackendOptions,
}

impl Starter {
    fn spare(&self) -> MutexGuard<'_, Option<Plugin>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A plugin that runs.
    async fn plugin(&self) -> Result<Plugin, Error> {
        let spare = self.spare().take().filter(Plugin::is_running);
        match spare {
            Some(plugin) => Ok(plugin),
            None => Plugin::start(Kind::Source, self.spec.source_name(), self.spec.plugin(), &self.base).await,
        }
    }

    /// The destination plugin that keeps the cursors, if one does.
    async fn state_backend(&self) -> Result<Option<StateBackend>, Error> {
        let Some(spec) = self.spec.state_backend() else {
            return Ok(None);
        };
        let name = format!("{} (state backend)", spec.plugin().name());
        let plugin = Plugin::start(Kind::Destination, &name, spec.plugin(), &self.base).await?;
        plugin.init(spec.plugin(), false).await?;
        let options = sync::BackendOptions {
            table_name: spec.table().to_owned(),
            connection: plugin.address().to_owned(),
        };
        Ok(Some(StateBackend { plugin, options }))
    }

    /// A plugin whose client is made.
    async fn start(&self, no_connection: bool) -> Result<Plugin, Error> {
        let plugin = self.plugin().await?;
        plugin.init(self.spec.plugin(), no_connection).await?;
        Ok(plugin)
    }

    fn incremental(&self) -> MutexGuard<'_, BTreeSet<StreamId>> {
        self.incremental.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it for the next start.
    fn keep(&self, plugin: Plugin) {
        *self.spare() = Some(plugin);
    }

    /// Ends the one that was kept.
    fn forget(&self) {
        self.spare().take();
    }
}

/// The tables of a plugin that was told its spec, parents first.
async fn tables(plugin: &Plugin) -> Result<Vec<Table>, Error> {
    let request = get_tables::Request {
        tables: vec!["*".to_owned()],
        skip_tables: Vec::new(),
        skip_dependent_tables: false,
    };
    let answer = plugin.call("GetTables", plugin.client().get_tables(request)).await?;
    tables_of(plugin.name(), &answer)
}

fn tables_of(plugin: &str, answer: &get_tables::Response) -> Result<Vec<Table>, Error> {
    let mut decoder = Decoder::default();
    let read = |payload| -> Result<Table, Error> {
        let schema = decoder.schema(payload).map_err(|source| Error::Payload {
            plugin: plugin.to_owned(),
            source,
        })?;
        Table::of_schema(&schema).map_err(|source| Error::Convert {
            plugin: plugin.to_owned(),
            source: source.into(),
        })
    };
    answer.tables.iter().map(read).collect()
}

/// The tables that keep a cursor, and those below them: whose parent is passed over is not met either.
fn incremental(tables: &[Table]) -> BTreeSet<StreamId> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    // Parents come first.
    for table in tables {
        let is_below = table.parent.as_deref().is_some_and(|parent| names.contains(parent));
        if table.is_incremental || is_below {
            names.insert(&table.name);
        }
    }
    names.into_iter().map(StreamId::new).collect()
}

#[async_trait]
impl Source for CloudQuerySource {
    fn capabilities(&self) -> SourceCapabilities {
        can(self.spec())
    }

    async fn discover(&self) -> Result<Vec<Arc<StreamSchema>>> {
        let plugin = self.starter.start(true).await?;
        let tables = self.spec().selection().of(tables(&plugin).await?);
        let tables = tables.map_err(|unmatched| unmatched.error(plugin.name()))?;
        *self.starter.incremental() = incremental(&tables);
        let codecs = tables.into_iter().map(|table| {
            let codec = TableCodec::of_table(table)?;
            stamp::stamped(codec.ours(), None, plugin.name())
        });
        let found = codecs.collect::<Result<Vec<_>, _>>().map_err(|source| Error::Convert {
            plugin: plugin.name().to_owned(),
            source,
        })?;
        self.starter.keep(plugin);
        Ok(found)
    }

    async fn check(&self, _plan: &Plan) -> Result<Vec<api::Error>> {
        let plugin = self.starter.plugin().await?;
        let tested = plugin.test_connection(self.spec().plugin()).await;
        self.starter.keep(plugin);
        Ok(tested.err().map(api::Error::from).into_iter().collect())
    }

    async fn open(&self, plan: &Plan, held: &[Held], cx: Context) -> Result<Opened> {
        let log = Partition::log(self.log_id());
        let verdicts: BTreeMap<_, _> = held
            .iter()
            .map(|held| (held.destination.clone(), self.verdict(&log, held)))
            .collect();
        let states = held.iter().flat_map(|held| held.checkpoint.streams.values());
        let last_run = states.map(StreamState::run).max().unwrap_or(0);
        // Who lacks a stream is about to ask for a read of it; that is the same sync.
        let is_awaited = held.iter().any(|held| {
            plan.streams
                .iter()
                .any(|stream| !held.checkpoint.streams.contains_key(&stream.id))
        });
        let marks = held.iter().map(|held| match held.checkpoint.mark(&log) {
            Mark::At(order) => order,
            Mark::NotBegun | Mark::Finished => Order::new(0, 0, 0),
        });
        let oldest = marks.clone().min().map_or(0, Order::key);
        let every = self.spec().every().filter(|_| !cx.once);
        let schedule = every.map(|every| Schedule {
            every,
            due: due(oldest, every),
        });
        if schedule.is_some_and(|schedule| schedule.due > Instant::now()) && !is_awaited {
            // It may be hours until then.
            self.starter.forget();
        }
        let newest = marks.max().unwrap_or(Order::new(0, 0, 0));
        let flow = Arc::new(Flow::new(Beginning {
            log: log.clone(),
            last_run,
            last_order: newest,
            everywhere: held_by_all(held),
            is_awaited,
            schedule,
        }));
        // What one of them may lack is not where the next sync goes on from.
        for key in [reader::CURSORS, reader::READ_OF_CURSORS] {
            cx.kept.withdraw(key);
        }
        let read = cx.kept.get(reader::READ_OF_CURSORS);
        let newest_read = self.newest_read(held);
        let is_good = reader::are_of_newest_read(newest, read.as_deref(), newest_read);
        if !is_good && cx.kept.get(reader::CURSORS).is_some() {
            // From the beginning, which is good for any read.
            cx.kept.put(reader::CURSORS, Vec::new(), Checkpoint::default());
            let newest_read = newest_read.to_string().into_bytes();
            cx.kept.put(reader::READ_OF_CURSORS, newest_read, Checkpoint::default());
        }
        let reader = Sync::new(self.starter.clone(), plan, Arc::clone(&flow), self.tries.clone(), cx);
        Ok(Opened {
            verdicts,
            reader: Box::new(reader),
            control: Arc::new(Control::new(flow)),
            identity: self.log_id(),
        })
    }
}

impl CloudQuerySource {
    /// The newest read that any destination has begun of a table that keeps a cursor.
    fn newest_read(&self, held: &[Held]) -> u32 {
        let incremental = self.starter.incremental();
        let states = held.iter().flat_map(|held| &held.checkpoint.streams);
        let runs = states.filter(|(stream, _)| incremental.contains(*stream));
        runs.map(|(_, state)| state.run()).max().unwrap_or(0)
    }

    fn verdict(&self, log: &Partition, held: &Held) -> Verdict {
        // Before the first complete sync there is no mark.
        let is_ours = held.checkpoint.marks.contains_key(log) || held.checkpoint.log_marks().next().is_none();
        if is_ours {
            return Verdict::Continue;
        }
        let other = Error::Protocol {
            plugin: self.spec().source_name().to_owned(),
            what: format!("`{}` holds rows of another source, not of `{log}`", held.destination),
        };
        Verdict::OtherHistory(api::Error::from(other).hint("run `highwater resync` for that destination"))
    }
}

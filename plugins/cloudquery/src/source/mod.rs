//! A plugin that is read: each sync is a read of its tables' existing rows.
//!
//! - The protocol has no log. What a sync brings is the table as the plugin's system has it now, so a sync is one
//!   numbered read: `BeginRead` when the plugin announces a table, its records as pages, `EndRead` when the sync ended
//!   well and the table did not fail. A destination that mirrors then removes what the read did not meet, which is
//!   CloudQuery's *delete stale*; of a table that failed nothing is removed.
//! - An aborted sync is never gone on with: the next one is another read, with a higher number.
//! - Every opening makes one sync for all destinations, and ends. The log's only positions are the times of syncs.
//! - Rows get `_cq_sync_time` and `_cq_source_name` in front, as CloudQuery's own runtime adds them.

mod control;
mod flow;
mod messages;
mod reader;
mod spec;
mod stamp;
mod tries;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use api::{
    BuildContext, Context, Held, Opened, Plan, Result, Source, SourceCapabilities, SourceConnector, SpecError, Verdict,
};
use async_trait::async_trait;
use model::{Mark, Partition, StreamSchema, StreamState};
use proto::plugin_v3::get_tables;
use proto::{Decoder, Table, TableCodec};

pub use spec::CloudQuerySourceSpec;
pub(crate) use stamp::{SOURCE, SYNC_TIME};

use crate::error::Error;
use crate::plugin::Plugin;
use control::Control;
use flow::Flow;
use reader::Sync;
use tries::Tries;

/// The connector `cloudquery` in the role of a source.
pub struct CloudQuerySourceConnector;

impl SourceConnector for CloudQuerySourceConnector {
    const NAME: &'static str = "cloudquery";
    const ABOUT: &'static str = "Reads a CloudQuery source plugin: every table as it is now, once for each run.";
    type Spec = CloudQuerySourceSpec;

    fn build(spec: CloudQuerySourceSpec, cx: &BuildContext) -> Result<Box<dyn Source>, SpecError> {
        spec.plugin().check()?;
        Ok(Box::new(CloudQuerySource {
            base: cx.base_dir.clone(),
            spec: Arc::new(spec),
            tries: Tries::default(),
        }))
    }

    fn capabilities(_spec: &CloudQuerySourceSpec) -> SourceCapabilities {
        CAPABILITIES
    }
}

const CAPABILITIES: SourceCapabilities = SourceCapabilities {
    deletes: false,
    old_images: false,
    unavailable: false,
    is_bounded: true,
    rereads: true,
};

/// A source plugin.
pub struct CloudQuerySource {
    base: PathBuf,
    spec: Arc<CloudQuerySourceSpec>,
    tries: Tries,
}

impl CloudQuerySource {
    /// The identity of the history: another plugin's tables are not these.
    fn log_id(&self) -> String {
        format!("cloudquery:{}", self.spec.source_name())
    }

    async fn start(&self) -> Result<Plugin, Error> {
        Plugin::start(self.spec.source_name(), self.spec.plugin(), &self.base).await
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
    let mut decoder = Decoder::default();
    let read = |payload| -> Result<Table, Error> {
        let schema = decoder.schema(payload).map_err(|source| Error::Payload {
            plugin: plugin.name().to_owned(),
            source,
        })?;
        Table::of_schema(&schema).map_err(|source| Error::Convert {
            plugin: plugin.name().to_owned(),
            source: source.into(),
        })
    };
    answer.tables.iter().map(read).collect()
}

#[async_trait]
impl Source for CloudQuerySource {
    fn capabilities(&self) -> SourceCapabilities {
        CAPABILITIES
    }

    async fn discover(&self) -> Result<Vec<Arc<StreamSchema>>> {
        let plugin = self.start().await?;
        let found = async {
            plugin.init(self.spec.plugin(), true).await?;
            let codecs = tables(&plugin).await?.into_iter().map(|table| {
                let codec = TableCodec::of_table(table)?;
                stamp::stamped(codec.ours(), None, self.spec.source_name())
            });
            codecs.collect::<Result<Vec<_>, _>>().map_err(|source| Error::Convert {
                plugin: plugin.name().to_owned(),
                source,
            })
        }
        .await;
        plugin.stop().await;
        Ok(found?)
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
        let last_sync = held.iter().map(|held| match held.checkpoint.mark(&log) {
            Mark::At(order) => order.key(),
            Mark::NotBegun | Mark::Finished => 0,
        });
        let flow = Arc::new(Flow::new(
            log.clone(),
            last_run,
            last_sync.max().unwrap_or(0),
            is_awaited,
        ));
        let plugin = async {
            let plugin = self.start().await?;
            plugin.init(self.spec.plugin(), false).await?;
            Ok(plugin)
        };
        let plugin = plugin.await.map_err(|error| self.tries.failed(error))?;
        let tries = self.tries.clone();
        let reader = Sync::new(Arc::clone(&self.spec), plan, Arc::clone(&flow), plugin, tries, cx);
        Ok(Opened {
            verdicts,
            reader: Box::new(reader),
            control: Arc::new(Control::new(flow)),
            identity: self.log_id(),
        })
    }
}

impl CloudQuerySource {
    fn verdict(&self, log: &Partition, held: &Held) -> Verdict {
        let is_ours = held.checkpoint.is_empty() || held.checkpoint.marks.contains_key(log);
        if is_ours {
            return Verdict::Continue;
        }
        let other = Error::Protocol {
            plugin: self.spec.source_name().to_owned(),
            what: format!("`{}` holds rows of another source, not of `{log}`", held.destination),
        };
        Verdict::OtherHistory(api::Error::from(other).hint("run `highwater resync` for that destination"))
    }
}

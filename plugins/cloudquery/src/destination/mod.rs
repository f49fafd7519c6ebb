//! A plugin that is written.
//!
//! - One stream of messages carries everything in the order in which it came, so a table is made before its rows arrive
//!   and a delete never overtakes an insert.
//! - A commit counts only what the protocol promises. A plugin that answers flushes has committed when it has answered
//!   one. Of any other, the answer to a write says nothing certain: batching writers keep rows beyond it. It has committed
//!   when its write was half-closed and answered, it was told to `Close`, and its log does not say that it lost a batch.
//! - A plugin keeps no checkpoint of ours. After a crash the rows since our own are written again, so the guarantee is by
//!   key; without a key rows can double.
//!
//! | what comes | what is sent |
//! |---|---|
//! | a batch of a stream seen for the first time, or with another schema | `migrate_table`, then its rows |
//! | read, insert, update | `insert`, records below the plugin's limit; with a key the plugin upserts |
//! | delete; update of a key | `delete_record` by the (old) key |
//! | truncate, a read that empties first, a mirrored read of a stream without `_cq_sync_time` | `delete_record` of every row |
//! | end of a read, mirrored, of a stream with `_cq_sync_time` | `delete` of what the sync did not meet |

mod assess;
mod group;
mod lines;
mod outgoing;
mod session;
mod spec;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::{
    BatchDefaults, BuildContext, Capabilities, CommitPoint, Deletes, Destination, DestinationConnector,
    DestinationOptions, Guarantee, Holds, Lane, OnSchemaChange, Result, SpecError, WriteMode, Written,
};
use async_trait::async_trait;
use bytes::Bytes;
use model::{ChangeSet, StreamId, StreamSchema};

pub use spec::{CloudQueryDestinationSpec, KeyOf, MessageSize};

use crate::error::Error;
use crate::plugin::Plugin;
use crate::registry::Kind;
use session::Session;

/// The connector `cloudquery` in the role of a destination.
pub struct CloudQueryDestinationConnector;

impl DestinationConnector for CloudQueryDestinationConnector {
    const NAME: &'static str = "cloudquery";
    const ABOUT: &'static str = "Writes to a CloudQuery destination plugin.";
    type Spec = CloudQueryDestinationSpec;

    fn build(
        spec: CloudQueryDestinationSpec,
        options: DestinationOptions,
        cx: &BuildContext,
    ) -> Result<Box<dyn Destination>, SpecError> {
        spec.check(options.write)?;
        if options.deletes == Deletes::Soft {
            return Err(SpecError::at("", "connector `cloudquery` cannot mark rows as deleted")
                .hint("use `deletes: apply` or `deletes: ignore`"));
        }
        if !matches!(options.on_schema_change, None | Some(OnSchemaChange::Apply)) {
            return Err(SpecError::at(
                "",
                "a plugin changes its tables itself: nothing else can be done with a changed schema",
            )
            .hint("use `on_schema_change: apply`"));
        }
        Ok(Box::new(CloudQueryDestination {
            base: cx.base_dir.clone(),
            spec: Arc::new(spec),
            options,
            session: None,
        }))
    }

    fn capabilities() -> Capabilities {
        Capabilities {
            guarantee: Guarantee::EffectivelyOnceByKey,
            writes: &[WriteMode::Append, WriteMode::Upsert, WriteMode::Mirror],
            deletes: true,
            truncate: true,
            delete_where: false,
            unavailable: false,
            ddl_in_transaction: false,
            keeps_checkpoint: false,
            reads_back: false,
            // Messages that wait for the connection.
            buffer_bytes: 64 << 20,
            // A commit of a plugin without flush is a new connection to its system.
            commit_interval_min: Duration::from_secs(2),
        }
    }

    fn batch() -> BatchDefaults {
        BatchDefaults {
            bytes_max: 32 << 20,
            rows_max: 100_000,
            wait_max: Duration::from_secs(5),
        }
    }
}

/// A destination plugin.
pub struct CloudQueryDestination {
    base: PathBuf,
    spec: Arc<CloudQueryDestinationSpec>,
    options: DestinationOptions,
    session: Option<Session>,
}

impl CloudQueryDestination {
    fn session(&mut self, verb: &'static str) -> Result<&mut Session, Error> {
        let plugin = || self.spec.name().to_owned();
        self.session
            .as_mut()
            .ok_or_else(|| Error::NotOpen { plugin: plugin(), verb })
    }
}

#[async_trait]
impl Destination for CloudQueryDestination {
    fn capabilities(&self) -> Capabilities {
        let of_kind = CloudQueryDestinationConnector::capabilities();
        match self.options.write {
            Some(WriteMode::Append) => Capabilities {
                guarantee: Guarantee::AtLeastOnce,
                ..of_kind
            },
            _ => of_kind,
        }
    }

    async fn check(&mut self) -> Result<Vec<api::Error>> {
        let spec = self.spec.plugin();
        let plugin = Plugin::start(Kind::Destination, self.spec.name(), spec, &self.base).await?;
        let tested = plugin.test_connection(spec).await;
        plugin.stop().await;
        Ok(tested.err().map(api::Error::from).into_iter().collect())
    }

    async fn assess(
        &mut self,
        before: Option<&BTreeMap<StreamId, Bytes>>,
        now: &[Arc<StreamSchema>],
    ) -> Result<Vec<api::Error>> {
        Ok(assess::assess(&self.spec, self.options, &self.base, before, now).await?)
    }

    fn described(&mut self) -> Vec<(StreamId, Bytes)> {
        self.session.as_mut().map(Session::take_described).unwrap_or_default()
    }

    async fn open(&mut self, _lane: &Lane) -> Result<Holds> {
        if let Some(session) = self.session.take() {
            session.stop().await;
        }
        self.session = Some(Session::open(Arc::clone(&self.spec), self.options, &self.base).await?);
        // Nothing is known of what it holds: the runtime goes on from its own checkpoint.
        Ok(Holds::default())
    }

    async fn write(&mut self, changeset: Arc<ChangeSet>) -> Result<Written> {
        self.session("write to")?.write(&changeset).await?;
        // What is under way is counted by the plugin's own memory, and bounded by the window of the connection.
        Ok(Written::default())
    }

    async fn commit(&mut self, _at: CommitPoint<'_>) -> Result<()> {
        self.session("commit in")?.commit().await?;
        Ok(())
    }

    async fn close(mut self: Box<Self>) -> Result<()> {
        if let Some(session) = self.session.take() {
            session.stop().await;
        }
        Ok(())
    }
}

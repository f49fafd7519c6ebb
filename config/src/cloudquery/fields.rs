//! The fields of CloudQuery's documents, and the words that they take.

use crate::choice::choices;
use crate::choice::{Choice, Choices};
use crate::fields::{Field, Kind, Reload, Table, field};

use Kind::{List, Map, Spec, Text};
use Reload::{Component, Pipeline, Resync};

choices! {
    /// Which kind of document it is.
    pub enum DocumentKind {
        /// A source plugin.
        Source = "source",
        /// A destination plugin.
        Destination = "destination",
        /// A transformer plugin.
        Transformer = "transformer",
        /// A pipeline of Highwater's.
        Pipeline = "pipeline",
    }
}

choices! {
    /// Where a plugin comes from.
    pub enum Registry {
        /// A plugin of the hub.
        Cloudquery = "cloudquery",
        /// An executable.
        Local = "local",
        /// A plugin that runs already.
        Grpc = "grpc",
        /// An image.
        Docker = "docker",
    }
    later {
        "github" => "the registry was given up by CloudQuery itself; download the release and use `registry: local` with its path",
    }
}

choices! {
    /// How rows are written.
    pub enum WriteMode {
        /// Rows are replaced by their key, and those that a sync did not meet go.
        OverwriteDeleteStale = "overwrite-delete-stale",
        /// Rows are replaced by their key.
        Overwrite = "overwrite",
        /// Rows are added.
        Append = "append",
    }
}

choices! {
    /// What may happen to a table that has another shape.
    pub enum MigrateMode {
        /// Nothing that loses rows.
        Safe = "safe",
        /// It may be dropped and made again.
        Forced = "forced",
    }
}

choices! {
    /// What the key of a table is.
    pub enum PkMode {
        /// The source's key.
        Default = "default",
        /// `_cq_id`.
        CqIdOnly = "cq-id-only",
    }
}

fn words<T: Choices>() -> Vec<Choice> {
    T::ALL.iter().map(|(_, choice)| *choice).collect()
}

const fn boolean(name: &'static str, doc: &'static str) -> Field {
    field(name, Kind::Choice(true_or_false), Component, doc)
}

fn true_or_false() -> Vec<Choice> {
    ["true", "false"].map(|name| Choice { name, doc: "" }).to_vec()
}

pub(super) static DOCUMENT: Table = Table {
    what: "a document with `kind`",
    fields: &[
        field(
            "kind",
            Kind::Choice(words::<DocumentKind>),
            Pipeline,
            "What it describes.",
        )
        .required(),
        field("spec", Spec, Pipeline, "The description.").required(),
    ],
};

/// What every plugin has.
macro_rules! plugin {
    ($what:literal, $($more:expr,)*) => {
        Table {
            what: $what,
            fields: &[
                field("name", Text, Pipeline, "Its name.").required(),
                field("path", Text, Pipeline, "Which plugin, or where it is.").required(),
                field("registry", Kind::Choice(words::<Registry>), Pipeline, "Where it comes from."),
                field("version", Text, Pipeline, "Its version."),
                field("docker_registry_auth_token", Text, Pipeline, "For a registry of images."),
                field("spec", Spec, Pipeline, "The plugin's own settings."),
                $($more,)*
            ],
        }
    };
}

pub(super) static SOURCE: Table = plugin!(
    "a source",
    field("tables", List(&Text), Resync, "Tables, or patterns with `*`.").required(),
    field("skip_tables", List(&Text), Resync, "Tables that are left out again."),
    boolean(
        "skip_dependent_tables",
        "Whether tables below a chosen one are left out."
    ),
    field("destinations", List(&Text), Component, "Where it is written."),
    field(
        "backend_options",
        Map(&BACKEND_OPTIONS),
        Pipeline,
        "Incremental tables."
    ),
    boolean("deterministic_cq_id", "Whether `_cq_id` is made from the key."),
    field("otel_endpoint", Text, Pipeline, "Where the plugin sends its telemetry."),
    boolean("otel_endpoint_insecure", "Whether without TLS."),
);

pub(super) static BACKEND_OPTIONS: Table = Table {
    what: "`backend_options`",
    fields: &[
        field("table_name", Text, Pipeline, "The table of the cursors.").required(),
        field("connection", Text, Pipeline, "The plugin that keeps them.").required(),
    ],
};

pub(super) static DESTINATION: Table = plugin!(
    "a destination",
    field(
        "write_mode",
        Kind::Choice(words::<WriteMode>),
        Resync,
        "How rows are written."
    ),
    field(
        "migrate_mode",
        Kind::Choice(words::<MigrateMode>),
        Component,
        "What may happen to tables."
    ),
    field("pk_mode", Kind::Choice(words::<PkMode>), Resync, "What the key is."),
    field(
        "sync_group_id",
        Text,
        Resync,
        "A column that tells one sync from the next."
    ),
    boolean("send_sync_summary", "Whether a table gets a row about each sync."),
    field("transformers", List(&Text), Resync, "Applied in this order."),
);

pub(super) static TRANSFORMER: Table = plugin!("a transformer",);

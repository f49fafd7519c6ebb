//! Every field of the format, once: reading, suggestions, "not in this version" and the JSON Schema all follow from here.

use crate::choice::{Choice, Choices};
use crate::plan::{Deletes, LogFormat, LogLevel, OnSchemaChange, Snapshot, SpoolHome, StreamLabels, WhenBehind, Write};

/// The fields of one kind of map.
pub(crate) struct Table {
    /// What such a map is called in messages, with its article.
    pub(crate) what: &'static str,
    pub(crate) fields: &'static [Field],
}

/// One field.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) kind: Kind,
    /// As it would be written.
    pub(crate) default: Option<&'static str>,
    pub(crate) reload: Reload,
    pub(crate) is_required: bool,
}

/// What a field holds.
pub(crate) enum Kind {
    Text,
    Duration,
    Size,
    Integer {
        min: u64,
        max: u64,
    },
    Choice(fn() -> Vec<Choice>),
    List(&'static Kind),
    /// A map whose keys the user chooses.
    Names(&'static Kind),
    Map(&'static Table),
    /// One of two forms.
    Either(&'static Kind, &'static Kind),
    /// A connector's own part; its schema follows from the `connector` beside it.
    Spec,
    /// The format knows it, this version cannot do it: why, and what to do instead.
    Later(&'static str),
}

/// What a change of the field asks of a running pipeline.
#[derive(Clone, Copy)]
pub(crate) enum Reload {
    Live,
    Component,
    Pipeline,
    Resync,
    Restart,
}

impl Reload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reload::Live => "live",
            Reload::Component => "component",
            Reload::Pipeline => "pipeline",
            Reload::Resync => "resync",
            Reload::Restart => "restart",
        }
    }
}

impl Table {
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The fields that can be used.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields
            .iter()
            .filter(|field| !matches!(field.kind, Kind::Later(_)))
            .map(|field| field.name)
    }
}

pub(crate) const fn field(name: &'static str, kind: Kind, reload: Reload, doc: &'static str) -> Field {
    Field {
        name,
        doc,
        kind,
        default: None,
        reload,
        is_required: false,
    }
}

const fn later(name: &'static str, why: &'static str) -> Field {
    field(name, Kind::Later(why), Reload::Restart, "")
}

impl Field {
    const fn default(self, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }

    pub(crate) const fn required(self) -> Self {
        Self {
            is_required: true,
            ..self
        }
    }
}

fn words<T: Choices>() -> Vec<Choice> {
    T::ALL.iter().map(|(_, choice)| *choice).collect()
}

use Kind::{Duration, Either, Integer, List, Map, Names, Size, Spec, Text};
use Reload::{Component, Live, Pipeline, Restart, Resync};

pub(crate) static DOCUMENT: Table = Table {
    what: "the top level",
    fields: &[
        field(
            "version",
            Integer { min: 1, max: 1 },
            Restart,
            "The version of this format.",
        )
        .required(),
        field("runtime", Map(&RUNTIME), Live, "What concerns the whole process."),
        field(
            "sources",
            Names(&Map(&SOURCE)),
            Pipeline,
            "Sources that pipelines use by name.",
        ),
        field(
            "destinations",
            Names(&Map(&DESTINATION)),
            Component,
            "Destinations that pipelines use by name.",
        ),
        field(
            "transformers",
            Names(&Map(&TRANSFORMER)),
            Component,
            "Transformers that pipelines use by name.",
        ),
        field(
            "pipelines",
            Names(&Map(&PIPELINE)),
            Pipeline,
            "Pipelines by name; at least one in all files together.",
        ),
        later("tests", "remove the block; there is no `highwater test` yet"),
    ],
};

static RUNTIME: Table = Table {
    what: "`runtime`",
    fields: &[
        field("state", Map(&STATE), Restart, "Where checkpoints are kept."),
        field("memory", Map(&MEMORY), Live, "The budget for everything in flight."),
        field(
            "spool",
            Map(&SPOOL),
            Restart,
            "What stands between each source and its destinations.",
        ),
        field("admin", Map(&ADMIN), Restart, "Health, metrics and control over HTTP."),
        field("log", Map(&LOG), Live, "Logging, to stderr."),
        field("shutdown", Map(&SHUTDOWN), Live, "Stopping."),
        field("metrics", Map(&METRICS), Live, "Metrics."),
        later("otlp", "remove it; metrics are at `/metrics`"),
        later(
            "plugins",
            "remove it; `highwater schema` lists the connectors there are",
        ),
    ],
};

static STATE: Table = Table {
    what: "`state`",
    fields: &[field(
        "path",
        Text,
        Restart,
        "A directory of our own. One running process may use it.",
    )
    .default("./.highwater/state")],
};

static MEMORY: Table = Table {
    what: "`memory`",
    fields: &[field(
        "limit",
        Size,
        Live,
        "What all pipelines together hold in flight; destinations' buffers are part of it.",
    )
    .default("512MiB")],
};

static SPOOL: Table = Table {
    what: "`spool`",
    fields: &[
        field("home", Kind::Choice(words::<SpoolHome>), Restart, "What it is made of.").default("memory"),
        field(
            "window_max",
            Size,
            Live,
            "How far the destinations of a pipeline may be apart; for each pipeline. The default is less if `memory.limit` is small.",
        )
        .default("64MiB"),
        later("spill_max", "remove it; it belongs to the disk spool, which does not exist yet"),
    ],
};

static ADMIN: Table = Table {
    what: "`admin`",
    fields: &[
        field(
            "listen",
            Text,
            Restart,
            "Address and port, or `off`. Beyond loopback it needs a `token`.",
        )
        .default("127.0.0.1:7400"),
        field(
            "token",
            Text,
            Restart,
            "What a caller must present as a bearer token. Put it in a secret.",
        ),
        field(
            "socket",
            Text,
            Restart,
            "Path of the Unix socket; by default it is in the state directory.",
        ),
        later("tls", "remove it, and put a proxy in front"),
    ],
};

static LOG: Table = Table {
    what: "`log`",
    fields: &[
        field(
            "format",
            Kind::Choice(words::<LogFormat>),
            Restart,
            "By default text at a terminal and JSON otherwise.",
        ),
        field("level", Kind::Choice(words::<LogLevel>), Live, "What is logged.").default("info"),
    ],
};

static SHUTDOWN: Table = Table {
    what: "`shutdown`",
    fields: &[field(
        "timeout",
        Duration,
        Live,
        "How long a drain may take before it is given up.",
    )
    .default("60s")],
};

static METRICS: Table = Table {
    what: "`metrics`",
    fields: &[field(
        "stream_labels",
        Kind::Choice(words::<StreamLabels>),
        Live,
        "Whether metrics carry the stream's name.",
    )
    .default("auto")],
};

pub(crate) static PIPELINE: Table = Table {
    what: "a pipeline",
    fields: &[
        field(
            "source",
            Either(&Text, &Map(&SOURCE)),
            Pipeline,
            "Where it reads: the name of a source, or one written out.",
        )
        .required(),
        field(
            "transformers",
            TRANSFORMERS,
            Resync,
            "Applied in this order, for all destinations.",
        ),
        field(
            "destinations",
            Either(&List(&Text), &Names(&Either(&Text, &Map(&DESTINATION)))),
            Component,
            "Where it writes: names of destinations, or destinations by name.",
        )
        .required(),
        later(
            "every",
            "remove it; a pipeline runs all the time with `highwater run`, or once with `highwater sync`",
        ),
    ],
};

const TRANSFORMERS: Kind = List(&Either(&Text, &Map(&NAMED_TRANSFORMER)));

pub(crate) static SOURCE: Table = Table {
    what: "a source",
    fields: &[
        field("connector", Text, Pipeline, "The system it reads.").required(),
        field("spec", Spec, Pipeline, "The connector's own settings."),
        field(
            "streams",
            Either(&List(&Text), &Map(&STREAMS)),
            Resync,
            "Which streams: a list of names and patterns, or `include`, `exclude`, `columns` and `overrides`.",
        )
        .required(),
    ],
};

pub(crate) static STREAMS: Table = Table {
    what: "`streams`",
    fields: &[
        field("include", List(&Text), Resync, "Names, or patterns with `*` and `?`.").required(),
        field(
            "exclude",
            List(&Text),
            Resync,
            "Names or patterns that are left out again.",
        ),
        field("columns", Names(&Map(&COLUMNS)), Resync, "By stream: which columns."),
        field(
            "overrides",
            Names(&Map(&OVERRIDE)),
            Resync,
            "By stream: what is set otherwise than the source says.",
        ),
    ],
};

pub(crate) static COLUMNS: Table = Table {
    what: "a column selection",
    fields: &[
        field("include", List(&Text), Resync, "Only these columns."),
        field("exclude", List(&Text), Resync, "Not these columns."),
    ],
};

pub(crate) static OVERRIDE: Table = Table {
    what: "an override",
    fields: &[
        field("key", List(&Text), Resync, "The columns that identify a row."),
        field(
            "snapshot",
            Kind::Choice(words::<Snapshot>),
            Resync,
            "Whether existing rows are read.",
        )
        .default("initial"),
        field("columns", Names(&Text), Resync, "By column: the type it is carried in."),
    ],
};

pub(crate) static TRANSFORMER: Table = Table {
    what: "a transformer",
    fields: &[
        field("connector", Text, Component, "What it does.").required(),
        field("spec", Spec, Resync, "The connector's own settings."),
    ],
};

pub(crate) static NAMED_TRANSFORMER: Table = Table {
    what: "a transformer",
    fields: &[
        field(
            "name",
            Text,
            Component,
            "Its name in messages and metrics; by default the connector's.",
        ),
        field("connector", Text, Component, "What it does.").required(),
        field("spec", Spec, Resync, "The connector's own settings."),
    ],
};

pub(crate) static DESTINATION: Table = Table {
    what: "a destination",
    fields: &[
        field("connector", Text, Component, "The system it writes.").required(),
        field("spec", Spec, Component, "The connector's own settings."),
        field(
            "write",
            Kind::Choice(words::<Write>),
            Resync,
            "How rows are written. By default `upsert` if the stream has a key and the connector can, else `append`.",
        ),
        field(
            "deletes",
            Kind::Choice(words::<Deletes>),
            Component,
            "What a deleted row becomes.",
        )
        .default("apply"),
        field(
            "on_schema_change",
            Kind::Choice(words::<OnSchemaChange>),
            Live,
            "What a changed schema does. By default what widens is applied, and anything else pauses the destination.",
        ),
        field(
            "batch",
            Map(&BATCH),
            Live,
            "How much it gathers before it commits; what comes first.",
        ),
        field("retry", Map(&RETRY), Live, "How it tries again."),
        field(
            "when_behind",
            Map(&WHEN_BEHIND),
            Live,
            "What happens when it falls out of the spool's window.",
        ),
        field(
            "transformers",
            TRANSFORMERS,
            Resync,
            "Applied in this order, for this destination only.",
        ),
        later(
            "dead_letters",
            "remove it; a batch that is refused for good parks its destination, and nothing is lost",
        ),
    ],
};

pub(crate) static BATCH: Table = Table {
    what: "`batch`",
    fields: &[
        field(
            "bytes_max",
            Size,
            Live,
            "Bytes in memory. The default is the connector's.",
        )
        .default("8MiB"),
        field(
            "rows_max",
            Integer { min: 1, max: u64::MAX },
            Live,
            "Rows. The default is the connector's.",
        )
        .default("65536"),
        field(
            "wait_max",
            Duration,
            Live,
            "Time since the first row. The default is the connector's.",
        )
        .default("20ms"),
    ],
};

pub(crate) static RETRY: Table = Table {
    what: "`retry`",
    fields: &[
        field(
            "backoff_min",
            Duration,
            Live,
            "The first wait; each is about twice the one before.",
        )
        .default("200ms"),
        field("backoff_max", Duration, Live, "The longest wait.").default("1m"),
        field(
            "for",
            Text,
            Live,
            "After which it gives up and is parked: a duration, or `forever`.",
        )
        .default("forever"),
    ],
};

pub(crate) static WHEN_BEHIND: Table = Table {
    what: "`when_behind`",
    fields: &[field(
        "then",
        Kind::Choice(words::<WhenBehind>),
        Live,
        "What happens to it and the others.",
    )
    .default("hold")],
};

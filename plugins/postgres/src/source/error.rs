//! What a PostgreSQL source can fail at. [`Error`] becomes an [`api::Error`] where it arises.

use api::Retry;
use model::StreamId;
use tokio_postgres::error::SqlState;

use crate::replication::Lsn;
use crate::types::CatalogueError;

/// A failure of the source, with its own facts. What the server said is the cause beneath it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot {doing}")]
    Sql {
        doing: &'static str,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("cannot look up the types of the database")]
    Types {
        #[source]
        source: CatalogueError,
    },
    #[error("cannot read changes: `wal_level` is `{found}`, expected `logical`")]
    WalLevel { found: String },
    #[error("cannot read changes: the server is PostgreSQL {found}, expected 14 or later")]
    Version { found: String },
    #[error("cannot read changes as `{user}`: the role may not replicate")]
    NoReplication { user: String },
    #[error("cannot read `{stream}`: the role `{user}` lacks the privilege SELECT")]
    NoSelect { stream: StreamId, user: String },
    #[error("cannot put `{stream}` into publication `{publication}`: the role {lacks}")]
    NotOwner {
        stream: StreamId,
        publication: String,
        lacks: &'static str,
        statement: String,
    },
    #[error("cannot create replication slot `{slot}`: all {max} slots of the server are taken")]
    SlotsTaken { slot: String, max: i64 },
    #[error("cannot find table `{stream}` in database `{database}`")]
    NoSuchTable {
        stream: StreamId,
        database: String,
        similar: Option<String>,
    },
    #[error("cannot read `{stream}`: its changes are not in the log, because it is {kind}")]
    NotLogged { stream: StreamId, kind: &'static str },
    #[error("cannot read changes: publication `{publication}` does not exist")]
    NoPublication { publication: String, create: String },
    #[error("cannot read changes of `{stream}`: publication `{publication}` does not have it")]
    NotPublished {
        stream: StreamId,
        publication: String,
        add: String,
    },
    #[error("cannot read changes of `{stream}`: publication `{publication}` publishes {lacking}")]
    PublishesLess {
        stream: StreamId,
        publication: String,
        lacking: String,
        set: String,
    },
    #[error(
        "cannot publish `{stream}`: replica identity is `{identity}` and {why}, so UPDATE and DELETE on it would fail"
    )]
    Identity {
        stream: StreamId,
        identity: &'static str,
        why: &'static str,
        table: String,
    },
    #[error("cannot read changes: replication slot `{slot}` does not exist")]
    NoSlot { slot: String, create: String },
    #[error("cannot read changes: replication slot `{slot}` belongs to {whose}")]
    OtherSlot { slot: String, whose: String },
    #[error("cannot read changes: replication slot `{slot}` is in use by process {pid} of the server")]
    SlotActive { slot: String, pid: i32 },
    #[error("cannot read changes: replication slot `{slot}` is lost: {why}")]
    SlotLost { slot: String, why: String },
    #[error("cannot resume `{pipeline}`/`{destination}` at {at}: replication slot `{slot}` starts at {starts}")]
    SlotAhead {
        pipeline: String,
        destination: String,
        at: Lsn,
        slot: String,
        starts: Lsn,
    },
    #[error("cannot resume `{pipeline}`/`{destination}`: {why}")]
    OtherHistory {
        pipeline: String,
        destination: String,
        why: String,
    },
    #[error("cannot read a position of `{partition}`: {why}")]
    BadToken { partition: String, why: String },
    #[error("cannot set `{wanted}` for column `{column}` of `{stream}`: {why}")]
    BadOverride {
        stream: StreamId,
        column: String,
        wanted: String,
        why: String,
    },
    #[error("cannot carry a value of `{stream}`, column `{column}`, row {key}: {found}")]
    Misfit {
        stream: StreamId,
        column: String,
        key: String,
        found: String,
    },
    #[error("cannot read a change of `{stream}`: {why}")]
    BadChange { stream: String, why: String },
    #[error("cannot build a batch of `{stream}`")]
    Arrow {
        stream: StreamId,
        #[source]
        source: arrow::error::ArrowError,
    },
    #[error("cannot take a snapshot of the database: {why}")]
    NoWindow { why: String },
    #[error(
        "cannot read `{stream}`: a large transaction changes keys of rows whose large values were not sent, while existing rows are read"
    )]
    MovedInPart { stream: StreamId },
    #[error("cannot keep a running transaction in `{path}`")]
    Spill {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot go on reading `{slot}`: a task of the source ended by itself")]
    TaskGone { slot: String },
}

impl Error {
    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Error::Sql { .. } | Error::Types { .. } => "E0250",
            Error::WalLevel { .. } => "E0251",
            Error::Version { .. } => "E0252",
            Error::NoReplication { .. } | Error::NoSelect { .. } | Error::NotOwner { .. } => "E0253",
            Error::SlotsTaken { .. } => "E0254",
            Error::NoSuchTable { .. } | Error::NotLogged { .. } => "E0255",
            Error::NoPublication { .. } => "E0256",
            Error::NotPublished { .. } | Error::PublishesLess { .. } => "E0257",
            Error::Identity { .. } => "E0258",
            Error::NoSlot { .. } => "E0259",
            Error::OtherSlot { .. } => "E0260",
            Error::SlotActive { .. } => "E0261",
            Error::SlotLost { .. } => "E0262",
            Error::SlotAhead { .. } => "E0263",
            Error::OtherHistory { .. } => "E0264",
            Error::BadToken { .. } => "E0265",
            Error::BadOverride { .. } => "E0266",
            Error::Misfit { .. } => "E0267",
            Error::BadChange { .. } | Error::Arrow { .. } => "E0268",
            Error::NoWindow { .. } => "E0269",
            Error::Spill { .. } => "E0270",
            Error::MovedInPart { .. } => "E0272",
            Error::TaskGone { .. } => "E0271",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Error::Sql { source, .. } => retry_of(source),
            Error::Types { .. } | Error::SlotActive { .. } | Error::NoWindow { .. } | Error::TaskGone { .. } => {
                Retry::After
            }
            Error::BadToken { .. } | Error::BadChange { .. } | Error::Arrow { .. } => Retry::Never,
            _ => Retry::Operator,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Sql { source, .. } if source.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                "grant the privilege that the cause names to the role in `connection`".to_owned()
            }
            Error::WalLevel { .. } => {
                "ALTER SYSTEM SET wal_level = 'logical'; then restart the server (on a managed service, set the parameter there)"
                    .to_owned()
            }
            Error::Version { .. } => "upgrade the server, or read from another one".to_owned(),
            Error::NoReplication { user } => format!("ALTER ROLE {} REPLICATION;", ident(user)),
            Error::NoSelect { stream, user } => format!("GRANT SELECT ON {} TO {};", table(stream), ident(user)),
            Error::NotOwner { statement, .. } => format!("run as the owner of the table: {statement}"),
            Error::SlotsTaken { .. } => "look for slots that nobody needs: SELECT slot_name, active, restart_lsn FROM \
                 pg_replication_slots; drop them, or raise max_replication_slots and restart the server"
                .to_owned(),
            Error::NoSuchTable { similar, .. } => match similar {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => "run `highwater schema` to list the tables that the role can see".to_owned(),
            },
            Error::NotLogged { stream, .. } => format!("ALTER TABLE {} SET LOGGED; or exclude the table", table(stream)),
            Error::NoPublication { create, .. } => create.clone(),
            Error::NotPublished { add, .. } => add.clone(),
            Error::PublishesLess { set, .. } => set.clone(),
            Error::Identity { table, .. } => {
                format!("ALTER TABLE {table} REPLICA IDENTITY FULL; or give it a primary key, or exclude the table")
            }
            Error::NoSlot { create, .. } => create.clone(),
            Error::OtherSlot { .. } => "set `slot` to another name".to_owned(),
            Error::SlotActive { pid, .. } => format!(
                "a second highwater, or a dead one whose connection the server still holds; end it: SELECT pg_terminate_backend({pid});"
            ),
            Error::SlotLost { slot, .. } => format!(
                "SELECT pg_drop_replication_slot({}); then run `highwater resync` for all streams",
                crate::identifier::quote_literal(slot)
            ),
            Error::SlotAhead { pipeline, destination, .. } | Error::OtherHistory { pipeline, destination, .. } => {
                format!("run `highwater resync {pipeline} --destination {destination}`")
            }
            Error::Misfit { column, .. } => {
                format!("set the type of the column to `text` (`overrides: {{ columns: {{ {column}: text }} }}`), or exclude the column")
            }
            Error::MovedInPart { stream } => format!(
                "read the stream again with `highwater resync`; ALTER TABLE {} REPLICA IDENTITY FULL; avoids it",
                table(stream)
            ),
            Error::Spill { .. } => "make room for the scratch directory, or set `streaming: false`".to_owned(),
            Error::NoWindow { .. } => "wait for the transaction to end, or end it; it is tried again".to_owned(),
            _ => return None,
        })
    }
}

fn ident(name: &str) -> String {
    crate::identifier::quote_ident(name)
}

/// A stream's table, as SQL wants it.
pub(crate) fn table(stream: &StreamId) -> String {
    match stream.schema() {
        Some(schema) => format!("{}.{}", ident(schema), ident(stream.name())),
        None => ident(stream.name()),
    }
}

/// What a failed statement asks for.
pub(crate) fn retry_of(error: &tokio_postgres::Error) -> Retry {
    let Some(code) = error.code() else {
        return Retry::After;
    };
    match code.code().get(..2) {
        // Syntax, access rules and names: nothing that time heals.
        Some("42" | "28" | "3D" | "0A") => Retry::Operator,
        Some("22") => Retry::Never,
        _ => Retry::After,
    }
}

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        let mut told = api::Error::new(error.code(), error.retry(), error.to_string());
        if let Some(hint) = error.hint() {
            told = told.hint(hint);
        }
        match error {
            Error::Sql { source, .. } => told.caused_by(source),
            Error::Types { source } => told.caused_by(source),
            Error::Arrow { source, .. } => told.caused_by(source),
            Error::Spill { source, .. } => told.caused_by(source),
            _ => told,
        }
    }
}

/// Says what was being attempted when a statement failed.
pub(crate) fn sql(doing: &'static str) -> impl Fn(tokio_postgres::Error) -> api::Error {
    move |source| Error::Sql { doing, source }.into()
}

pub(crate) fn types_failed(source: CatalogueError) -> api::Error {
    Error::Types { source }.into()
}

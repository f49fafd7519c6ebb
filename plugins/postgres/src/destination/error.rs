//! What can go wrong at a PostgreSQL destination, with a stable code, a classification and a remedy for each.

use api::{Owner, Retry};
use model::{DestinationId, PipelineId, StreamId};
use tokio_postgres::error::SqlState;

use super::server_error::{self, Class};
use crate::types::CatalogueError;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the PostgreSQL destination; a variant for each thing that was being attempted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Reaching the server has errors of its own, with codes of their own.
    #[error("{0}")]
    Connect(api::Error),
    #[error("cannot read the types of the database")]
    Types(#[source] CatalogueError),
    #[error("cannot open `{pipeline}`/`{destination}`: {owner} holds it")]
    Held {
        pipeline: PipelineId,
        destination: DestinationId,
        /// `host pid 7`, or that nobody knows.
        owner: String,
        /// The server process of that owner.
        backend: Option<i32>,
    },
    #[error("cannot read the ledger row of `{pipeline}`/`{destination}`: {what}")]
    BadLedger {
        pipeline: PipelineId,
        destination: DestinationId,
        what: String,
    },
    #[error(
        "cannot write `{pipeline}`/`{destination}`: generation {ours} is over, generation {found} belongs to {owner}"
    )]
    Fenced {
        pipeline: PipelineId,
        destination: DestinationId,
        ours: i64,
        found: i64,
        owner: Owner,
    },
    #[error("cannot write `{pipeline}`/`{destination}`: its row in `_highwater.ledger` is gone")]
    LedgerGone {
        pipeline: PipelineId,
        destination: DestinationId,
    },
    #[error("cannot write `{pipeline}`/`{destination}`: its ledger went back, from {ours} to {found}")]
    WentBack {
        pipeline: PipelineId,
        destination: DestinationId,
        /// `generation 3, commit 18`.
        ours: String,
        found: String,
    },
    #[error("cannot write `{stream}` to table {table}: publication `{publication}` of the same pipeline reads it")]
    IsTheSource {
        stream: StreamId,
        table: String,
        publication: String,
    },
    #[error("cannot tell whether the commit of `{pipeline}`/`{destination}` succeeded: the connection is lost")]
    UnknownOutcome {
        pipeline: PipelineId,
        destination: DestinationId,
        #[source]
        source: Box<api::Error>,
    },
    #[error("cannot commit `{pipeline}`/`{destination}`: the connection was lost and the server did not commit")]
    NotCommitted {
        pipeline: PipelineId,
        destination: DestinationId,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("cannot upsert into `{stream}`: the stream has no key")]
    NoKey { stream: StreamId },
    #[error("cannot write `{stream}`: {what}")]
    BadName { stream: StreamId, what: String },
    #[error("cannot write `{stream}` to table {table}: {owner} writes that table already")]
    TableTaken {
        stream: StreamId,
        table: String,
        owner: String,
    },
    #[error("cannot write `{stream}`: its table {table} is gone")]
    TableGone { stream: StreamId, table: String },
    #[error("cannot write `{stream}` to table {table}: {what}")]
    Incompatible {
        stream: StreamId,
        table: String,
        what: String,
        /// SQL that would make it fit.
        statement: Option<String>,
    },
    #[error("cannot write `{stream}` to table {table}: {what}")]
    Changed {
        stream: StreamId,
        table: String,
        what: String,
        /// SQL that makes it fit.
        statement: String,
        /// Whether `on_schema_change: apply` would run it.
        is_widening: bool,
    },
    #[error("cannot change table {table}")]
    Alter {
        table: String,
        /// What was tried.
        statement: String,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("cannot write a row of `{stream}`: its key column `{column}` {what}")]
    BadKey {
        stream: StreamId,
        column: String,
        what: &'static str,
    },
    #[error("cannot change a row of `{stream}`: the row is not in table {table}, and not all of its values were sent")]
    NotWhole { stream: StreamId, table: String },
    #[error("cannot delete rows of `{stream}` by `{column}`: {what}")]
    BadPredicate {
        stream: StreamId,
        column: String,
        what: String,
    },
    /// A value that has no form in its column, found before it was sent.
    #[error("cannot write a row of `{stream}` to table {table}: column `{column}` of the row with key {key} {what}")]
    Misfit {
        stream: StreamId,
        table: String,
        column: String,
        key: String,
        what: String,
    },
    /// A row that the server refuses.
    #[error("cannot write a row of `{stream}` to table {table}: {what} of the row with key {key} is refused")]
    Row {
        stream: StreamId,
        table: String,
        /// `column x`, `constraint y`, or that it is not known which.
        what: String,
        key: String,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("cannot write rows of `{stream}` to table {table}: {attempts} attempts were ended by the server")]
    Contention {
        stream: StreamId,
        table: String,
        attempts: u32,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("cannot read `{stream}` back: {why}")]
    ReadBack { stream: StreamId, why: String },
    #[error("cannot encode the row of the ledger")]
    Encode {
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot read what the catalogue says of table {table}")]
    Catalogue {
        table: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot {doing}")]
    Sql {
        /// A verb and its object.
        doing: String,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("cannot go on writing to `{server}`: an earlier call failed or was cut off")]
    Void { server: String },
    #[error("cannot write to `{server}`: the destination is not open")]
    NotOpen { server: String },
}

/// For `map_err`: what was being attempted.
pub(crate) fn sql(doing: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Error {
    move |source| Error::Sql {
        doing: doing.into(),
        source,
    }
}

impl Error {
    /// The server's own error, where it is one.
    pub(crate) fn server(&self) -> Option<&tokio_postgres::Error> {
        match self {
            Error::Sql { source, .. }
            | Error::Alter { source, .. }
            | Error::Row { source, .. }
            | Error::Contention { source, .. }
            | Error::NotCommitted { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Whether nobody knows what the server did last.
    pub(crate) fn is_connection_lost(&self) -> bool {
        self.server().is_some_and(server_error::is_connection_lost)
    }

    fn code(&self) -> &'static str {
        match self {
            Error::Connect(error) => error.code(),
            Error::Held { .. } => "E0540",
            Error::BadLedger { .. } | Error::Encode { .. } => "E0541",
            Error::Fenced { .. } => "E0542",
            Error::LedgerGone { .. } | Error::WentBack { .. } => "E0543",
            Error::IsTheSource { .. } => "E0545",
            Error::UnknownOutcome { .. } | Error::NotCommitted { .. } => "E0546",
            Error::Contention { .. } => "E0548",
            Error::NoKey { .. } => "E0560",
            Error::BadName { .. } => "E0561",
            Error::TableTaken { .. } => "E0562",
            Error::TableGone { .. } => "E0563",
            Error::Incompatible { .. } => "E0564",
            Error::Changed { .. } | Error::Alter { .. } => "E0565",
            Error::BadKey { .. } => "E0566",
            Error::NotWhole { .. } => "E0567",
            Error::BadPredicate { .. } => "E0568",
            Error::Misfit { .. } | Error::Row { .. } => "E0569",
            Error::Sql { source, .. } if source.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => "E0544",
            Error::Types(_)
            | Error::Catalogue { .. }
            | Error::ReadBack { .. }
            | Error::Sql { .. }
            | Error::Void { .. }
            | Error::NotOpen { .. } => "E0547",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Error::Connect(error) => error.retry(),
            Error::Fenced { .. } => Retry::Fenced,
            Error::LedgerGone { .. }
            | Error::WentBack { .. }
            | Error::UnknownOutcome { .. }
            | Error::NotCommitted { .. }
            | Error::Contention { .. }
            | Error::Types(_)
            | Error::Void { .. }
            | Error::NotOpen { .. } => Retry::After,
            Error::BadKey { .. }
            | Error::BadPredicate { .. }
            | Error::Misfit { .. }
            | Error::Encode { .. }
            | Error::ReadBack { .. }
            | Error::Catalogue { .. } => Retry::Never,
            Error::Alter { source, .. } if server_error::class(source) == Class::Passing => Retry::After,
            Error::Sql { source, .. } => match server_error::class(source) {
                Class::Passing => Retry::After,
                Class::Operator | Class::Row => Retry::Operator,
                Class::Never => Retry::Never,
            },
            _ => Retry::Operator,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Connect(error) => return error.remedy().map(str::to_owned),
            Error::Held {
                backend: Some(backend), ..
            } => format!(
                "stop that process, or start with `--take-over` to fence it; if it is gone, its server process still lives: \
                 SELECT pg_terminate_backend({backend})"
            ),
            Error::Held { backend: None, .. } => "stop that process, or start with `--take-over` to fence it".into(),
            Error::BadLedger { .. } => "use the version of highwater that wrote it, or another database".into(),
            Error::Fenced { .. } => "another runtime took over; only one may run this pipeline".into(),
            Error::LedgerGone { .. } | Error::WentBack { .. } => {
                "it is opened again; if the database was restored from a backup, run `highwater resync`".into()
            }
            Error::IsTheSource { .. } => "give the destination a schema of its own: `schema: NAME`".into(),
            Error::NoKey { stream } => {
                format!("set `write: append`, or name a key: `overrides: {{ {stream}: {{ key: [COLUMN] }} }}`")
            }
            Error::BadName { .. } => "rename it before it gets here: transformer `select` with `rename`".into(),
            Error::TableTaken { .. } => {
                "give one of them another `schema` or `table`, or exclude one of the streams".into()
            }
            Error::TableGone { stream, .. } => {
                format!("restore it, or read the stream again: `highwater resync PIPELINE --stream {stream}`")
            }
            Error::Incompatible {
                statement: Some(statement),
                ..
            } => format!("run `{statement}`"),
            Error::Incompatible { statement: None, .. } => {
                "write to another schema (`schema: NAME`), or rename the table that is there".into()
            }
            Error::Changed {
                statement,
                is_widening: true,
                ..
            } => format!("run `{statement}`, or set `on_schema_change: apply`; then it goes on"),
            Error::Changed { statement, .. } => format!("run `{statement}`; then it goes on"),
            Error::Alter { statement, source, .. } => match server_error::hint(source) {
                Some(hint) => hint,
                None => format!(
                    "`{statement}` was refused; a view or a rule of yours may need the column: drop it, then it goes on"
                ),
            },
            Error::NotWhole { stream, .. } => format!(
                "something else changed the table; read the stream again: `highwater resync PIPELINE --stream {stream}`"
            ),
            Error::Misfit { table, column, .. } => {
                format!(
                    "exclude the column, or give {table} a type for `{column}` that holds every value of the source"
                )
            }
            Error::Row { source, table, .. } => match (server_error::hint(source), source.as_db_error()) {
                (Some(hint), _) => hint,
                (None, Some(db)) => match db.constraint() {
                    Some(constraint) => format!(
                        "the source does not have that constraint: ALTER TABLE {table} DROP CONSTRAINT {}",
                        crate::identifier::quote_ident(constraint)
                    ),
                    None => "change the row at the source, or the table so that it takes it".to_owned(),
                },
                (None, None) => return None,
            },
            Error::Sql { source, .. } => return server_error::hint(source),
            _ => return None,
        })
    }
}

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        if let Error::Connect(error) = error {
            return error;
        }
        let mut out = api::Error::new(error.code(), error.retry(), error.to_string());
        if let Some(hint) = error.hint() {
            out = out.hint(hint);
        }
        match error {
            Error::Sql { source, .. }
            | Error::Alter { source, .. }
            | Error::Row { source, .. }
            | Error::Contention { source, .. }
            | Error::NotCommitted { source, .. } => out.caused_by(server_error::Said::of(source)),
            Error::Types(source) => out.caused_by(source),
            Error::UnknownOutcome { source, .. } => out.caused_by(*source),
            Error::Encode { source } | Error::Catalogue { source, .. } => out.caused_by(source),
            _ => out,
        }
    }
}

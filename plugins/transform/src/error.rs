use api::Retry;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use model::{Code, StreamId, StreamSchemaError};

pub(crate) const CODES: &[Code] = &[
    Code {
        id: "E0610",
        title: "a transformer's rule does not fit the stream",
        explain: "A rule names a column that the stream does not have, two patterns match the stream equally well, a new \
column takes the name of another, or no column would be left.\n\nThe rule is compared with the stream's schema \
when the first rows come, and again when the schema changes: a column that was dropped at the source makes a rule that \
names it wrong.\n\nCorrect the rule under `transformers`; `highwater streams` and `highwater init` show the columns of \
each stream. Nothing was written wrongly: the pipeline waits at the change before.",
    },
    Code {
        id: "E0611",
        title: "a key column would be hidden",
        explain: "Destinations tell rows apart by their key, so a key column may get another name, but may neither be left \
out nor become the same in every row.\n\nKeep the column. If it must not leave the source, set another key for the stream with \
`streams.overrides.<stream>.key` and drop the column then.",
    },
    Code {
        id: "E0612",
        title: "a condition's value does not fit its column",
        explain: "A value in a `filter` condition cannot be compared with the column exactly: text where the column is a \
number, `10.5` where it is an integer, a column whose type has no order.\n\nWrite the value as the column's type \
wants it: numbers bare, text in quotes, dates as `2026-01-31`, times as `2026-01-31T12:00:00Z`. See the table in the \
reference of the transformers.",
    },
    Code {
        id: "E0613",
        title: "a condition needs a value that the source did not send",
        explain: "Some sources leave out values of an update that did not change (PostgreSQL's TOAST), or send only the \
key of a deleted row. A filter cannot tell whether such a row passes.\n\nMake the source send whole rows (PostgreSQL: \
`ALTER TABLE ... REPLICA IDENTITY FULL`), or filter on other columns.",
    },
    Code {
        id: "E0615",
        title: "a transformation does not fit a column's type",
        explain: "`basic` obfuscates text, binary and JSON columns, changes the case of text and JSON, reaches places \
(`tags.a.0.b`) only in JSON, and compares single values. The message has the column and its type.\n\nName other columns, or \
the streams that are meant under `tables`. To keep a number or a time from a destination, remove its column.",
    },
    Code {
        id: "E0614",
        title: "a transformer could not build its rows",
        explain: "Arrow refused to build the rows that a transformer made. This is a bug in Highwater: please report it \
with the message.",
    },
];

/// What can go wrong, by what was being attempted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot {what} `{stream}`: there is no column `{column}`")]
    NoColumn {
        what: &'static str,
        stream: StreamId,
        column: String,
        columns: Vec<String>,
    },
    #[error("cannot select from `{stream}`: column `{column}` is part of the key and cannot be left out")]
    KeyHidden { stream: StreamId, column: String },
    #[error("cannot select from `{stream}`: column `{column}` is renamed, but not kept")]
    RenamedAway { stream: StreamId, column: String },
    #[error("cannot transform `{stream}`")]
    Shape {
        stream: StreamId,
        #[source]
        source: StreamSchemaError,
    },
    #[error("cannot choose the rule for `{stream}`: `{first}` and `{second}` match equally well")]
    Ambiguous {
        stream: StreamId,
        first: String,
        second: String,
    },
    #[error("cannot filter `{stream}`: column `{column}` is {data_type} and cannot be compared with {value}")]
    Misfit {
        stream: StreamId,
        column: String,
        data_type: DataType,
        value: String,
        hint: &'static str,
    },
    #[error("cannot filter `{stream}`: column `{column}` is {data_type}, which `{test}` cannot compare")]
    NoOrder {
        stream: StreamId,
        column: String,
        data_type: String,
        test: &'static str,
    },
    #[error("cannot {what} `{stream}`: a value of column `{column}` was not sent by the source")]
    Unavailable {
        what: &'static str,
        stream: StreamId,
        column: String,
    },
    #[error("cannot {what} `{stream}`: column `{column}` is part of the key, and rows could not be told apart")]
    KeyLost {
        what: &'static str,
        stream: StreamId,
        column: String,
    },
    #[error("cannot {what} `{stream}`: no column would be left")]
    NothingLeft { what: &'static str, stream: StreamId },
    #[error("cannot transform `{stream}`: there is a column `{column}` already")]
    Taken { stream: StreamId, column: String },
    #[error("cannot flatten `{column}` of `{stream}`: its shape is no JSON object of types")]
    JsonShape {
        stream: StreamId,
        column: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot {what} `{stream}`: column `{column}` is {data_type}, not {wanted}")]
    Type {
        what: &'static str,
        stream: StreamId,
        column: String,
        data_type: String,
        wanted: &'static str,
    },
    #[error("cannot build the rows of `{stream}`")]
    Arrow {
        stream: StreamId,
        #[source]
        source: ArrowError,
    },
}

impl Error {
    fn code(&self) -> &'static str {
        match self {
            Error::NoColumn { .. }
            | Error::RenamedAway { .. }
            | Error::Shape { .. }
            | Error::Ambiguous { .. }
            | Error::NothingLeft { .. }
            | Error::JsonShape { .. }
            | Error::Taken { .. } => "E0610",
            Error::KeyHidden { .. } | Error::KeyLost { .. } => "E0611",
            Error::Type { .. } => "E0615",
            Error::Misfit { .. } | Error::NoOrder { .. } => "E0612",
            Error::Unavailable { .. } => "E0613",
            Error::Arrow { .. } => "E0614",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::NoColumn { columns, .. } => Some(format!("it has {}", list(columns))),
            Error::KeyHidden { .. } => Some("keep it, or set another key for the stream under `streams`".to_owned()),
            Error::KeyLost { .. } => {
                Some("leave it as it is, or set another key for the stream under `streams`".to_owned())
            }
            Error::NothingLeft { .. } => Some("leave the stream out under `streams` instead".to_owned()),
            Error::JsonShape { .. } => Some("write the shape under `shapes`, which wins over the source's".to_owned()),
            Error::Taken { .. } => Some("choose another name".to_owned()),
            Error::Type { .. } => Some("leave the column out of the transformation, or name its streams".to_owned()),
            Error::RenamedAway { .. } => Some("add it to `keep`, or remove it from `rename`".to_owned()),
            Error::Shape { .. } => Some("give each column a name of its own".to_owned()),
            Error::Ambiguous { .. } => {
                Some("name the stream itself: a rule for a name wins over one for a pattern".to_owned())
            }
            Error::Misfit { hint, .. } => Some((*hint).to_owned()),
            Error::NoOrder { .. } => Some("compare another column, or use `is_null`".to_owned()),
            Error::Unavailable { .. } => {
                Some("make the source send whole rows, or filter on a column that is always sent".to_owned())
            }
            Error::Arrow { .. } => None,
        }
    }
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        let retry = match error {
            Error::Arrow { .. } => Retry::Never,
            _ => Retry::Operator,
        };
        let (message, hint) = (error.to_string(), error.hint());
        let mut out = api::Error::new(error.code(), retry, message);
        if let Some(hint) = hint {
            out = out.hint(hint);
        }
        // The message is the variant's own clause; what lies below it is the cause.
        match error {
            Error::Shape { source, .. } => out.caused_by(source),
            Error::JsonShape { source, .. } => out.caused_by(source),
            Error::Arrow { source, .. } => out.caused_by(source),
            _ => out,
        }
    }
}

//! Specs as callers send them, and errors as callers read them.

use api::SpecError;
use serde_json::Value;
use tonic::Status;

/// Tables of one caller; each is remembered. The largest sources have some thousands.
pub(super) const TABLES_MAX: usize = 20_000;

/// `null`, nothing and `{}` are the same: their callers differ.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Status> {
    let spec = match bytes {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes)
            .map_err(|error| Status::internal(format!("failed to init plugin: the spec is no JSON: {error}")))?,
    };
    Ok(match spec {
        Value::Null => Value::Object(serde_json::Map::new()),
        spec => spec,
    })
}

/// A spec that cannot be built from.
pub(super) fn refused(error: &SpecError) -> Status {
    let hint = error.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
    Status::internal(format!(
        "failed to init plugin: {}: {}{hint}",
        error.pointer, error.message
    ))
}

/// Our error, behind the words that callers look for.
pub(super) fn failed(what: &str, error: &api::Error) -> Status {
    let hint = error.remedy().map_or(String::new(), |hint| format!("; {hint}"));
    Status::internal(format!("{what}: {}{hint}", error.chain()))
}

/// What a peer sent is not what the protocol says.
pub(super) fn invalid(error: impl std::error::Error) -> Status {
    Status::invalid_argument(chain(&error))
}

/// The same, of a table that is known.
pub(super) fn invalid_in(table: &str, error: impl std::error::Error) -> Status {
    Status::invalid_argument(format!("table `{table}`: {}", chain(&error)))
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

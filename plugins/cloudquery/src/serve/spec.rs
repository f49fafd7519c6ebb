//! Specs as callers send them, and errors as callers read them.

use api::SpecError;
use serde_json::Value;
use tonic::Status;

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
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Status::invalid_argument(text)
}

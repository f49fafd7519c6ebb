//! What there is and how it stands; and reading it again.

use actors::Resync;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{DestinationId, PipelineId, StreamId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use state::StateStore;

use super::Api;
use super::problem::Refusal;
use crate::codes;

type Answer = Result<Json<Value>, Refusal>;

/// `GET /api/v1/info`.
pub(super) async fn info(State(api): State<Api>) -> Json<Value> {
    Json(json!({
        "version": crate::build::VERSION,
        "commit": crate::build::COMMIT,
        "rustc": crate::build::RUSTC,
        "pid": std::process::id(),
        "up_seconds": api.running.up_seconds(),
        "config_hash": api.running.config_hash(),
        "pipelines": api.running.names(),
        "memory": { "used_bytes": api.running.memory().used_bytes(), "limit_bytes": api.running.memory().limit_bytes() },
    }))
}

/// `GET /api/v1/pipelines`.
pub(super) async fn list(State(api): State<Api>) -> Answer {
    Ok(Json(json!({ "pipelines": value(&api.running.status())? })))
}

/// `GET /api/v1/pipelines/{pipeline}`.
pub(super) async fn one(State(api): State<Api>, Path(pipeline): Path<String>) -> Answer {
    match api.running.status_of(&pipeline) {
        Some(status) => Ok(Json(value(&status)?)),
        None => Err(unknown(&api, &pipeline)),
    }
}

/// `GET /api/v1/pipelines/{pipeline}/streams`.
pub(super) async fn streams(State(api): State<Api>, Path(pipeline): Path<String>) -> Answer {
    match api.running.status_of(&pipeline) {
        Some(status) => Ok(Json(json!({ "streams": value(&status.streams)? }))),
        None => Err(unknown(&api, &pipeline)),
    }
}

/// `GET /api/v1/pipelines/{pipeline}/checkpoints`: what is stored, which is never ahead of what is durable.
pub(super) async fn checkpoints(State(api): State<Api>, Path(pipeline): Path<String>) -> Answer {
    if api.running.status_of(&pipeline).is_none() {
        return Err(unknown(&api, &pipeline));
    }
    let stored = api.store.load(&PipelineId::new(pipeline.as_str())).await;
    match stored {
        Ok(stored) => Ok(Json(json!({ "checkpoints": value(&stored)? }))),
        Err(error) => Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            error.code(),
            error.to_string(),
        )),
    }
}

/// The body of a resync.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ResyncBody {
    /// Streams; empty for all.
    pub(crate) streams: Vec<String>,
    /// Destinations; empty for all.
    pub(crate) destinations: Vec<String>,
    /// Whether what is there stays, to be written over or appended to.
    pub(crate) append: bool,
}

/// `POST /api/v1/pipelines/{pipeline}/resync`.
pub(super) async fn resync(
    State(api): State<Api>,
    Path(pipeline): Path<String>,
    body: Result<Json<ResyncBody>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(body) = body.map_err(|rejection| {
        let refusal = Refusal::bad_request(rejection.body_text());
        refusal.hint("send `{\"streams\": [...], \"destinations\": [...]}` as `application/json`; empty lists mean all")
    })?;
    if api.running.status_of(&pipeline).is_none() {
        return Err(unknown(&api, &pipeline));
    }
    let request = Resync {
        streams: body.streams.iter().map(|stream| StreamId::parse(stream)).collect(),
        destinations: body
            .destinations
            .iter()
            .map(|name| DestinationId::new(name.as_str()))
            .collect(),
        empty_first: !body.append,
    };
    let resynced = api.running.resync(&pipeline, request).await?;
    Ok((StatusCode::ACCEPTED, Json(value(&resynced)?)).into_response())
}

pub(super) fn unknown(api: &Api, pipeline: &str) -> Refusal {
    let known = api.running.names().join("`, `");
    Refusal::new(
        StatusCode::NOT_FOUND,
        codes::E0723.id,
        format!("there is no pipeline `{pipeline}`"),
    )
    .hint(format!("there is `{known}`"))
}

fn value<T: Serialize>(of: &T) -> Result<Value, Refusal> {
    serde_json::to_value(of)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, codes::E0725.id, error.to_string()))
}

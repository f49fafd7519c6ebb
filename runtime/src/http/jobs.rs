//! Work that takes long: comparing source and destinations, and coming back for the outcome.

use actors::Verify;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{DestinationId, StreamId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Api;
use super::pipelines::unknown;
use super::problem::Refusal;
use crate::codes;
use crate::running::JobView;

/// The body of a verification.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VerifyBody {
    /// Streams; empty for all.
    pub(crate) streams: Vec<String>,
    /// Destinations; empty for all that can be read back.
    pub(crate) destinations: Vec<String>,
    /// The share of keys that are compared, above 0 and at most 1.
    pub(crate) sample: Option<f64>,
    /// Rows read in a second.
    pub(crate) rows_per_second: Option<f64>,
}

impl VerifyBody {
    /// The request, if its numbers make sense.
    pub(crate) fn request(&self) -> Result<Verify, String> {
        if self.sample.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            return Err("`sample` is a share above 0 and at most 1".to_owned());
        }
        if self
            .rows_per_second
            .is_some_and(|rate| !(rate >= 1.0 && rate.is_finite()))
        {
            return Err("`rows_per_second` is at least 1".to_owned());
        }
        Ok(Verify {
            streams: self.streams.iter().map(|stream| StreamId::parse(stream)).collect(),
            destinations: self
                .destinations
                .iter()
                .map(|name| DestinationId::new(name.as_str()))
                .collect(),
            sample: self.sample,
            rows_per_second: self.rows_per_second,
        })
    }
}

/// `POST /api/v1/pipelines/{pipeline}/verify`.
pub(super) async fn verify(
    State(api): State<Api>,
    Path(pipeline): Path<String>,
    body: Result<Json<VerifyBody>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(body) = body.map_err(|rejection| {
        Refusal::bad_request(rejection.body_text())
            .hint("send `{\"streams\": [...], \"destinations\": [...]}` as `application/json`; empty lists mean all")
    })?;
    let request = body.request().map_err(Refusal::bad_request)?;
    if api.running.status_of(&pipeline).is_none() {
        return Err(unknown(&api, &pipeline));
    }
    match api.running.verify(&pipeline, request)? {
        Ok(job) => Ok((StatusCode::ACCEPTED, Json(json!({ "job": job }))).into_response()),
        Err(other) => Err(Refusal::new(
            StatusCode::CONFLICT,
            codes::E0737.id,
            format!("cannot verify `{pipeline}`: job {other} does it already"),
        )
        .hint(format!(
            "look at it with `GET /api/v1/jobs/{other}`, or end it with `DELETE`"
        ))),
    }
}

/// `GET /api/v1/jobs/{job}`.
pub(super) async fn one(State(api): State<Api>, Path(job): Path<u64>) -> Result<Json<JobView>, Refusal> {
    api.running.job(job).map(Json).ok_or_else(|| no_job(job))
}

/// `DELETE /api/v1/jobs/{job}`: ends it.
pub(super) async fn cancel(State(api): State<Api>, Path(job): Path<u64>) -> Result<Json<JobView>, Refusal> {
    api.running.cancel_job(job);
    api.running.job(job).map(Json).ok_or_else(|| no_job(job))
}

fn no_job(job: u64) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, codes::E0736.id, format!("there is no job {job}"))
}

//! Is it alive, has it started, is it fine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use state::StateStore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Api;
use crate::status::is_well;

/// An event loop that has not turned for so long is stuck.
const PULSE_AGE_MAX: Duration = Duration::from_secs(5);
/// The state store answers from memory.
const STORE_ANSWER_MAX: Duration = Duration::from_secs(2);

/// When the event loop last turned.
#[derive(Clone)]
pub(super) struct Pulse {
    began: Instant,
    beat_ms: Arc<AtomicU64>,
}

impl Pulse {
    /// Beats until stopped.
    pub(super) fn start(stop: CancellationToken) -> (Pulse, JoinHandle<()>) {
        let pulse = Pulse {
            began: Instant::now(),
            beat_ms: Arc::new(AtomicU64::new(0)),
        };
        let beating = pulse.clone();
        let heart = tokio::spawn(async move {
            let mut interval = tokio::time::interval(Duration::from_millis(500));
            while stop.run_until_cancelled(interval.tick()).await.is_some() {
                let now = beating.began.elapsed().as_millis() as u64;
                beating.beat_ms.store(now, Ordering::Relaxed);
            }
        });
        (pulse, heart)
    }

    fn age(&self) -> Duration {
        self.began
            .elapsed()
            .saturating_sub(Duration::from_millis(self.beat_ms.load(Ordering::Relaxed)))
    }
}

/// `GET /livez`.
pub(super) async fn live(State(api): State<Api>) -> Response {
    let age = api.pulse.age();
    let store = tokio::time::timeout(STORE_ANSWER_MAX, api.store.pipelines()).await;
    let reason = match store {
        _ if age > PULSE_AGE_MAX => Some(format!("the event loop has not turned for {:.1} s", age.as_secs_f64())),
        Err(_) => Some("the state store does not answer".to_owned()),
        Ok(Err(error)) => Some(error.to_string()),
        Ok(Ok(_)) => None,
    };
    match reason {
        None => Json(json!({"live": true})).into_response(),
        Some(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"live": false, "reason": reason})),
        )
            .into_response(),
    }
}

/// `GET /startupz`.
pub(super) async fn startup(State(api): State<Api>) -> Response {
    let is_started = api.running.is_started();
    let status = if is_started {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({"started": is_started}))).into_response()
}

#[derive(Deserialize)]
pub(super) struct Ready {
    /// `1`: whatever is degraded is not ready.
    strict: Option<String>,
}

/// `GET /readyz`. Degraded is ready, unless asked strictly.
pub(super) async fn ready(State(api): State<Api>, Query(asked): Query<Ready>) -> Response {
    let is_started = api.running.is_started();
    let degraded: Vec<String> = api
        .running
        .status()
        .into_iter()
        .filter(|status| !is_well(status))
        .map(|status| status.pipeline)
        .collect();
    let is_strict = asked.strict.is_some_and(|strict| strict != "0" && strict != "false");
    let is_ready = is_started && (!is_strict || degraded.is_empty());
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({"ready": is_ready, "degraded": degraded}))).into_response()
}

/// `GET /metrics`.
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let text = crate::metrics::render(&api.metrics, &api.running);
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}

//! Errors as RFC 9457 wants them.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::warn;

use crate::codes;

/// Why a request is not answered.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    detail: String,
    hint: Option<String>,
    /// What only the log gets.
    inside: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    request_id: &'a str,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Refusal {
            status,
            code,
            detail: detail.into(),
            hint: None,
            inside: None,
        }
    }

    pub(super) fn unauthorized(code: &'static str, detail: &str) -> Self {
        Refusal::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    pub(super) fn forbidden(code: &'static str, detail: &str) -> Self {
        Refusal::new(StatusCode::FORBIDDEN, code, detail)
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, codes::E0728.id, detail)
    }

    /// Adds the remedy.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Refusal {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl From<api::Error> for Refusal {
    fn from(error: api::Error) -> Self {
        let status = match error.code() {
            "E0708" => StatusCode::NOT_FOUND,
            "E0710" => StatusCode::CONFLICT,
            _ if error.retry() == api::Retry::After => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let refusal = Refusal::new(status, error.code(), error.to_string());
        let inside = Some(error.chain());
        Refusal {
            hint: error.remedy().map(str::to_owned),
            inside,
            ..refusal
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let request_id = uuid::Uuid::new_v4().to_string();
        if self.status.is_server_error() {
            let error = self.inside.as_deref().unwrap_or(&self.detail);
            warn!(code = self.code, request_id, error, "request failed");
        }
        let body = Body {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            hint: self.hint.as_deref(),
            request_id: &request_id,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// No such path.
pub(super) async fn not_found(uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        codes::E0728.id,
        format!("there is no `{}`", uri.path()),
    )
}

/// Another method.
pub(super) async fn wrong_method(uri: Uri) -> Refusal {
    let detail = format!("`{}` does not take this method", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, codes::E0728.id, detail)
}

//! Who may ask over TCP.
//!
//! | token configured | request | answer |
//! |---|---|---|
//! | yes | carries it | goes on |
//! | yes | does not | 401 |
//! | no | `Host` is an IP address or `localhost`, and `Origin`, if there is one, is the same place | goes on |
//! | no | anything else | 403: a web page reached us through a name that was made to point here, or posts from elsewhere |

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};

use super::problem::Refusal;
use crate::codes;

#[derive(Clone)]
pub(super) struct Guard(Arc<Option<SecretString>>);

impl Guard {
    pub(super) fn new(token: Option<SecretString>) -> Self {
        Guard(Arc::new(token))
    }

    fn judge(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match &*self.0 {
            Some(token) if presents(headers, token.expose_secret()) => Ok(()),
            Some(_) => Err(Refusal::unauthorized(
                codes::E0726.id,
                "the bearer token is missing or wrong",
            )),
            None if is_from_here(headers) => Ok(()),
            None => Err(Refusal::forbidden(
                codes::E0727.id,
                "the request names this host by a name that is not its address",
            )
            .hint("ask for http://127.0.0.1, or set `runtime.admin.token`")),
        }
    }
}

/// Lets a request pass, or refuses it.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.judge(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn presents(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.split_at_checked("Bearer ".len()));
    given.is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case(b"Bearer ") && is_same(given, token.as_bytes()))
}

/// Takes as long for a wrong first byte as for a wrong last one.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    let differences = given
        .iter()
        .zip(token)
        .fold(0, |differences, (a, b)| differences | (a ^ b));
    std::hint::black_box(differences) == 0 && given.len() == token.len()
}

fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // HTTP/1.0 without a host is no browser.
    let Some(host) = text(HOST) else {
        return !headers.contains_key(ORIGIN);
    };
    let is_same_origin = match text(ORIGIN) {
        Some(origin) => origin
            .strip_prefix("http://")
            .is_some_and(|origin| origin.eq_ignore_ascii_case(host)),
        None => !headers.contains_key(ORIGIN),
    };
    is_address(host) && is_same_origin
}

/// `127.0.0.1:7400`, `[::1]`, `localhost:7400`: what no name server can make point elsewhere.
fn is_address(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn without_a_token_only_addresses_of_this_machine_are_answered() {
        let open = Guard::new(None);
        for (is_allowed, pairs) in [
            (true, vec![("host", "127.0.0.1:7400")]),
            (true, vec![("host", "[::1]:7400")]),
            (true, vec![("host", "localhost")]),
            (
                true,
                vec![("host", "127.0.0.1:7400"), ("origin", "http://127.0.0.1:7400")],
            ),
            (false, vec![("host", "evil.example:7400")]),
            (false, vec![("host", "127.0.0.1.evil.example")]),
            (
                false,
                vec![("host", "localhost:7400"), ("origin", "http://evil.example")],
            ),
            (false, vec![("host", "localhost:7400"), ("origin", "null")]),
        ] {
            assert_eq!(open.judge(&headers(&pairs)).is_ok(), is_allowed, "{pairs:?}");
        }
    }

    #[test]
    fn with_a_token_only_who_has_it_is_answered() {
        let closed = Guard::new(Some("s3cret-token".into()));
        for (is_allowed, value) in [
            (true, "Bearer s3cret-token"),
            (true, "bearer s3cret-token"),
            (false, "Bearer s3cret-tokex"),
            (false, "Bearer s3cret-token2"),
            (false, "Bearer s3cret"),
            (false, "Bearer "),
            (false, "Basic s3cret-token"),
            (false, "s"),
        ] {
            let given = headers(&[("host", "db.example"), ("authorization", value)]);
            assert_eq!(closed.judge(&given).is_ok(), is_allowed, "{value}");
        }
        assert!(closed.judge(&headers(&[("host", "127.0.0.1")])).is_err());
    }
}

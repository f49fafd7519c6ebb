//! The `runtime:` block.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::codes;
use crate::context::Context;
use crate::finding::Finding;
use crate::plan::{AdminPlan, LogLevel, LogPlan, RuntimePlan, SpoolHome, SpoolPlan, StreamLabels};
use crate::spec_check::check_secret;
use crate::suggest::quoted;
use crate::typed::{Item, Object};

/// Where HTTP listens unless it is told otherwise.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7400);

/// Room for a few files of row groups beside the window; far below what any machine that runs a database has.
const MEMORY_LIMIT_BYTES: u64 = 512 << 20;

/// Reads the block, or what it is without one. The window's default is settled later, when the pipelines are known.
pub(super) fn read(object: Option<&Object<'_>>, cx: &mut Context) -> RuntimePlan {
    let state = object.and_then(|object| object.map("state", cx));
    let state_path = state
        .and_then(|state| state.get("path"))
        .and_then(|item| item.nonempty(cx).map(PathBuf::from));
    let memory = object.and_then(|object| object.map("memory", cx));
    let memory_limit = memory
        .and_then(|memory| memory.get("limit"))
        .and_then(|item| item.size(cx));
    let spool = object.and_then(|object| object.map("spool", cx));
    let home = spool
        .as_ref()
        .and_then(|spool| spool.get("home"))
        .and_then(|item| item.choice(cx));
    let window = spool
        .as_ref()
        .and_then(|spool| spool.get("window_max"))
        .and_then(|item| item.size(cx));
    let admin = object.and_then(|object| object.map("admin", cx));
    let log = object.and_then(|object| object.map("log", cx));
    let format = log
        .as_ref()
        .and_then(|log| log.get("format"))
        .and_then(|item| item.choice(cx));
    let level = log
        .as_ref()
        .and_then(|log| log.get("level"))
        .and_then(|item| item.choice(cx));
    let shutdown = object.and_then(|object| object.map("shutdown", cx));
    let timeout = shutdown
        .and_then(|shutdown| shutdown.get("timeout"))
        .and_then(|item| item.wait(cx));
    let metrics = object.and_then(|object| object.map("metrics", cx));
    let labels = metrics
        .and_then(|metrics| metrics.get("stream_labels"))
        .and_then(|item| item.choice(cx));
    RuntimePlan {
        state_path: state_path.unwrap_or_else(|| PathBuf::from("./.highwater/state")),
        memory_limit_bytes: memory_limit.unwrap_or(MEMORY_LIMIT_BYTES),
        spool: SpoolPlan {
            home: home.unwrap_or(SpoolHome::Memory),
            window_max_bytes: window.unwrap_or(0),
        },
        admin: read_admin(admin.as_ref(), cx),
        log: LogPlan {
            format,
            level: level.unwrap_or(LogLevel::Info),
        },
        shutdown_timeout: timeout.unwrap_or(Duration::from_secs(60)),
        stream_labels: labels.unwrap_or(StreamLabels::Auto),
    }
}

fn read_admin(object: Option<&Object<'_>>, cx: &mut Context) -> AdminPlan {
    let Some(object) = object else {
        return AdminPlan {
            listen: Some(LISTEN),
            token: None,
            socket: None,
        };
    };
    let token_item = object.get("token");
    let token = token_item.as_ref().and_then(|item| {
        let text = item.nonempty(cx)?;
        if let Some(scalar) = item.scalar() {
            check_secret(item, scalar, true, "highwater_admin", cx);
        }
        Some(SecretString::from(text))
    });
    let listen_item = object.get("listen");
    let listen = match &listen_item {
        None => Some(LISTEN),
        Some(item) => read_listen(item, cx),
    };
    if let Some(item) = &listen_item
        && listen.is_some_and(|address| !address.ip().is_loopback())
        && token_item.is_none()
    {
        let finding = Finding::error(&codes::E0124, "listening beyond loopback without a token")
            .at(
                cx.place(item.node.span),
                "everybody who reaches this address could control the pipelines",
            )
            .path(item.pointer.clone())
            .hint("set `token: \"${secret:file:/run/secrets/highwater_admin}\"` beside it; or listen on `127.0.0.1`");
        cx.report(finding);
    }
    let socket = object
        .get("socket")
        .and_then(|item| item.nonempty(cx))
        .map(PathBuf::from);
    AdminPlan { listen, token, socket }
}

/// `None` is `off`, or reported.
fn read_listen(item: &Item<'_>, cx: &mut Context) -> Option<SocketAddr> {
    let text = item.text(cx)?;
    if text == "off" {
        return None;
    }
    // The one name that needs no resolver: this crate never touches the network.
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let address = numeric.parse().ok();
    if address.is_none() {
        let finding = Finding::error(&codes::E0103, format!("invalid address {}", quoted(text)))
            .at(
                cx.place(item.node.span),
                "expected an IP address and a port, such as `127.0.0.1:7400`",
            )
            .path(item.pointer.clone());
        cx.report(finding);
    }
    address
}

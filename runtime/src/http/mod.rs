//! The admin API: health, metrics, status, resync and verify, over a Unix socket and over TCP.
//!
//! Constraints:
//! - whoever may open the Unix socket owns the state directory, so it asks for nothing; TCP beyond loopback needs a token,
//!   and without one a request must name us by an address of this machine ([`guard`]);
//! - nothing here waits for a pipeline: a sick one is an answer, not a timeout;
//! - errors are `application/problem+json`; what the inside knows more stays in the log under the same `request_id`.

mod guard;
mod health;
mod jobs;
mod page;
mod pipelines;
mod problem;
mod socket;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use state::SledStore;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::codes;
use crate::exit::Failure;
use crate::running::Running;
use guard::Guard;

pub(crate) use jobs::VerifyBody;
pub(crate) use pipelines::ResyncBody;
pub(crate) use socket::reachable;

/// Nothing that is sent to us is large.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long requests that are being answered may hold up the end.
const STOP_MAX: Duration = Duration::from_secs(1);

/// Where and for whom to listen.
#[derive(Debug, Clone)]
pub(crate) struct Listen {
    /// TCP, if at all.
    pub(crate) tcp: Option<SocketAddr>,
    /// Whether another port will do if this one is taken.
    pub(crate) any_port: bool,
    /// What a caller over TCP must present.
    pub(crate) token: Option<SecretString>,
    /// The Unix socket.
    pub(crate) socket: PathBuf,
}

/// The API, listening.
pub(crate) struct Server {
    address: Option<SocketAddr>,
    socket: PathBuf,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// What the handlers look at.
#[derive(Clone)]
struct Api {
    running: Running,
    store: Arc<SledStore>,
    metrics: PrometheusHandle,
    pulse: health::Pulse,
}

impl Server {
    /// Binds and serves. Nothing is served if anything cannot be bound.
    pub(crate) async fn start(listen: Listen, running: Running, store: Arc<SledStore>) -> Result<Server, Failure> {
        let tcp = match listen.tcp {
            Some(address) => Some(bind(address, listen.any_port).await?),
            None => None,
        };
        let unix = socket::bind(&listen.socket)?;
        let stop = CancellationToken::new();
        let (pulse, heart) = health::Pulse::start(stop.clone());
        let metrics = crate::metrics::handle();
        let upkeep = tokio::spawn(crate::metrics::upkeep(metrics.clone(), stop.clone()));
        let api = Api {
            running,
            store,
            metrics,
            pulse,
        };
        let mut tasks = vec![heart, upkeep];
        let router = router(api);
        tasks.push(serve(unix, router.clone(), stop.clone()));
        let mut address = None;
        if let Some(tcp) = tcp {
            address = tcp.local_addr().ok();
            let guard = Guard::new(listen.token);
            let guarded = router.layer(middleware::from_fn_with_state(guard, guard::check));
            tasks.push(serve(tcp, guarded, stop.clone()));
        }
        info!(address = address.map(|a| a.to_string()), socket = %listen.socket.display(), "admin api listening");
        Ok(Server {
            address,
            socket: listen.socket,
            stop,
            tasks,
        })
    }

    /// The address over TCP.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops listening.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        for mut task in self.tasks {
            if tokio::time::timeout(STOP_MAX, &mut task).await.is_err() {
                task.abort();
            }
        }
        // The next process removes what is left behind.
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn router(api: Api) -> Router {
    Router::new()
        .route("/", get(page::show))
        .route("/livez", get(health::live))
        .route("/startupz", get(health::startup))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/api/v1/info", get(pipelines::info))
        .route("/api/v1/pipelines", get(pipelines::list))
        .route("/api/v1/pipelines/{pipeline}", get(pipelines::one))
        .route("/api/v1/pipelines/{pipeline}/streams", get(pipelines::streams))
        .route("/api/v1/pipelines/{pipeline}/checkpoints", get(pipelines::checkpoints))
        .route("/api/v1/pipelines/{pipeline}/resync", post(pipelines::resync))
        .route("/api/v1/pipelines/{pipeline}/verify", post(jobs::verify))
        .route("/api/v1/jobs/{job}", get(jobs::one).delete(jobs::cancel))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

fn serve<L>(listener: L, router: Router, stop: CancellationToken) -> JoinHandle<()>
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    tokio::spawn(async move {
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await;
        if let Err(error) = served {
            warn!(code = codes::E0721.id, error = %error, "admin api stopped");
        }
    })
}

async fn bind(address: SocketAddr, any_port: bool) -> Result<TcpListener, Failure> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && any_port => {
            let free = SocketAddr::new(address.ip(), 0);
            TcpListener::bind(free)
                .await
                .map_err(|error| cannot_listen(free, &error))
        }
        Err(error) => Err(cannot_listen(address, &error)),
    }
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Failure {
    let message = format!("cannot listen on `{address}`");
    if error.kind() == std::io::ErrorKind::AddrInUse {
        return Failure::environment(codes::E0720.id, format!("{message}: another process does")).hint(
            "choose another address with `runtime: { admin: { listen: \"127.0.0.1:7401\" } }`, or `off`; `highwater status` \
             needs none",
        );
    }
    Failure::environment(codes::E0721.id, message)
        .caused_by(error)
        .hint("choose an address of this machine and a port above 1023 with `runtime: { admin: { listen: \"127.0.0.1:7400\" } }`")
}

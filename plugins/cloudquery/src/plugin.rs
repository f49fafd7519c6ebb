//! A plugin that runs and was dialled: what every role calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use proto::discovery_v1::discovery_client::DiscoveryClient;
use proto::discovery_v1::get_versions;
use proto::plugin_v3::plugin_client::PluginClient;
use proto::plugin_v3::{close, init, test_connection};
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::error::{Error, LastWords, Refusal, Result};
use crate::process::{Process, Program, ending, is_executable};
use crate::registry::{self, Kind};
use crate::spec::{Network, PluginSpec, Registry};

/// The version of the protocol that we speak.
const VERSION: i32 = 3;
/// Between two tries to reach a plugin that starts: short beside its start, long beside a try.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// What a sender may have in flight on one stream, and on the connection: Go obeys the receiver's window, and the
/// default of 64 KiB makes a batch of 8 MiB wait 128 times.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A plugin's connection, and its process if we started it.
#[derive(Debug)]
pub(crate) struct Plugin {
    name: String,
    timeout: Duration,
    address: String,
    channel: Channel,
    process: Option<Process>,
    /// Where its socket lies; goes with it.
    _folder: Option<Folder>,
}

/// A directory that nobody else may look into, removed at the end.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        // Short: the path of a socket has room for about a hundred bytes.
        let path = std::env::temp_dir().join(format!("hw-{}", uuid::Uuid::new_v4().simple()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where a plugin listens.
#[derive(Debug, Clone)]
enum Address {
    Tcp(String),
    Unix(PathBuf),
}

impl Address {
    fn shown(&self) -> String {
        match self {
            Address::Tcp(address) => address.clone(),
            Address::Unix(path) => path.display().to_string(),
        }
    }

    async fn dial(&self) -> Result<Channel, tonic::transport::Error> {
        match self {
            Address::Tcp(address) => endpoint(&format!("http://{address}"))?.connect().await,
            Address::Unix(path) => {
                let path = path.clone();
                let connector = tower::service_fn(move |_| {
                    let path = path.clone();
                    async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
                });
                // Every SDK's server takes this authority; a socket's path is none that each can parse.
                endpoint("http://localhost")?.connect_with_connector(connector).await
            }
        }
    }
}

fn endpoint(uri: &str) -> Result<Endpoint, tonic::transport::Error> {
    // No keepalive: Go's servers end a connection that is pinged more often than every five minutes.
    Ok(Endpoint::from_shared(uri.to_owned())?
        .connect_timeout(Duration::from_secs(5))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW))
}

impl Plugin {
    /// Starts or dials a plugin and waits until it has said which protocol it speaks.
    pub(crate) async fn start(kind: Kind, name: &str, spec: &PluginSpec, base: &Path) -> Result<Plugin> {
        let path = match spec.registry {
            Registry::Grpc => {
                let address = Address::Tcp(spec.path.clone());
                let channel = reach(name, &address, None, spec.start_timeout).await?;
                return Plugin::new(name, spec, &address, channel, None, None).checked().await;
            }
            Registry::Local => base.join(&spec.path),
            Registry::Cloudquery => registry::executable(kind, name, spec, base).await?,
            Registry::Docker => PathBuf::from(&spec.path),
        };
        let cannot_start = |source| Error::Start {
            plugin: name.to_owned(),
            path: path.clone(),
            source,
        };
        if path.is_file() && !is_executable(&path) {
            let denied = std::io::Error::new(std::io::ErrorKind::PermissionDenied, "it is not executable");
            return Err(cannot_start(denied));
        }
        registry::check_file(name, spec, &path).await?;
        let is_image = spec.registry == Registry::Docker;
        let network = if is_image { Network::Tcp } else { spec.network };
        let (address, folder) = place(network).map_err(cannot_start)?;
        let (path, arguments) = match is_image {
            false => (path.clone(), arguments(&address, spec)),
            true => {
                let container = registry::container(name, spec, &address.shown())?;
                let inside = arguments(&Address::Tcp(container.listens_at), spec);
                (container.program, container.before.into_iter().chain(inside).collect())
            }
        };
        let program = Program {
            name: name.to_owned(),
            path,
            arguments,
            environment: BTreeMap::from([("CQ_TELEMETRY_LEVEL".to_owned(), "none".to_owned())]),
        };
        let process = Process::start(&program).map_err(cannot_start)?;
        let channel = reach(name, &address, Some(&process), spec.start_timeout).await?;
        Plugin::new(name, spec, &address, channel, Some(process), folder)
            .checked()
            .await
    }

    fn new(
        name: &str,
        spec: &PluginSpec,
        address: &Address,
        channel: Channel,
        process: Option<Process>,
        folder: Option<Folder>,
    ) -> Plugin {
        Plugin {
            name: name.to_owned(),
            timeout: spec.timeout,
            address: address.shown(),
            channel,
            process,
            _folder: folder,
        }
    }

    async fn checked(self) -> Result<Plugin> {
        let mut discovery = DiscoveryClient::new(self.channel.clone());
        let versions = self
            .call("GetVersions", discovery.get_versions(get_versions::Request {}))
            .await?
            .versions;
        if !versions.contains(&VERSION) {
            return Err(Error::Version {
                plugin: self.name.clone(),
                versions,
            });
        }
        Ok(self)
    }

    /// The plugin's name in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens, for another plugin that dials it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The longest that one answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A client; they share the connection.
    pub(crate) fn client(&self) -> PluginClient<Channel> {
        PluginClient::new(self.channel.clone())
            .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(proto::MESSAGE_BYTES_MAX)
    }

    /// Makes the plugin's own client, as every role does first. Whether it answers flushes.
    pub(crate) async fn init(&self, spec: &PluginSpec, no_connection: bool) -> Result<bool> {
        let request = init::Request {
            spec: Bytes::from(spec.spec_json()),
            no_connection,
            invocation_id: uuid::Uuid::new_v4().to_string(),
        };
        let answer = self.call("Init", self.client().init(request)).await?;
        Ok(answer.supports_flush)
    }

    /// Lets the plugin try whether its system is there. One that has no such call is told to connect.
    pub(crate) async fn test_connection(&self, spec: &PluginSpec) -> Result<()> {
        const CALL: &str = "TestConnection";
        let request = test_connection::Request {
            spec: Bytes::from(spec.spec_json()),
        };
        let mut client = self.client();
        let answer = tokio::time::timeout(self.timeout, client.test_connection(request)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer.into_inner(),
            // Python's SDK raises what has no code.
            Ok(Err(status)) if matches!(status.code(), Code::Unimplemented | Code::Unknown) => {
                return self.init(spec, false).await.map(drop);
            }
            Ok(Err(status)) => return Err(self.failed(CALL, &status).await),
            Err(_) => {
                return Err(Error::Deadline {
                    plugin: self.name.clone(),
                    call: CALL,
                    after: self.timeout,
                });
            }
        };
        if answer.success {
            return Ok(());
        }
        Err(Error::Unreachable {
            plugin: self.name.clone(),
            code: answer.failure_code,
            what: answer.failure_description,
        })
    }

    /// Lets the plugin flush and let go of its system.
    pub(crate) async fn close(&self) -> Result<()> {
        self.call("Close", self.client().close(close::Request {}))
            .await
            .map(drop)
    }

    /// One call, within its deadline. An error carries the plugin's last words.
    pub(crate) async fn call<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.failed(call, &status).await),
            Err(_) => Err(Error::Deadline {
                plugin: self.name.clone(),
                call,
                after: self.timeout,
            }),
        }
    }

    /// A call that ended with `status`.
    pub(crate) async fn failed(&self, call: &'static str, status: &tonic::Status) -> Error {
        // A broken connection is mostly a process that has just ended: its status is a moment away.
        let is_broken = status.code() == tonic::Code::Unavailable || std::error::Error::source(status).is_some();
        if let (Some(process), true) = (&self.process, is_broken) {
            let _ = tokio::time::timeout(Duration::from_secs(1), process.ended()).await;
        }
        let refusal = Refusal::of(status);
        let ended = self.process.as_ref().and_then(Process::exit);
        let source: Box<dyn std::error::Error + Send + Sync> = match (ended, is_broken) {
            (None, false) => Box::new(refusal),
            (ended, _) => Box::new(LastWords {
                ending: ended.map(ending),
                lines: self.last_lines(),
                cause: Some(Box::new(refusal)),
            }),
        };
        Error::Call {
            plugin: self.name.clone(),
            call,
            // A plugin's refusal of its spec stays; so does a call that it does not have.
            is_transient: is_broken || !matches!(call, "Init" | "TransformSchema"),
            source,
        }
    }

    fn last_lines(&self) -> Vec<String> {
        self.process
            .as_ref()
            .map(|process| process.tail().last_lines())
            .unwrap_or_default()
    }

    /// The tables of which it has logged an error since the last time, each with the first one. Of a process that is not ours
    /// nobody knows.
    pub(crate) async fn take_failed_tables(&self) -> BTreeMap<String, String> {
        match &self.process {
            Some(process) => {
                process.tail().settled().await;
                process.tail().take_failed_tables()
            }
            None => BTreeMap::new(),
        }
    }

    /// Fails if a batching writer has said in its log that it lost rows.
    pub(crate) async fn check_lost_batch(&self) -> Result<()> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        process.tail().settled().await;
        match process.tail().take_lost_batch() {
            None => Ok(()),
            Some(line) => Err(Error::LostBatch {
                plugin: self.name.clone(),
                line,
            }),
        }
    }

    /// How often its log warned of each table since the last time, as far as its lines name one.
    pub(crate) fn take_warnings(&self) -> BTreeMap<String, u64> {
        let process = self.process.as_ref();
        process
            .map(|process| process.tail().take_warnings())
            .unwrap_or_default()
    }

    /// Whether its process has not ended; of one that is not ours nobody knows.
    pub(crate) fn is_running(&self) -> bool {
        self.process.as_ref().is_none_or(|process| process.exit().is_none())
    }

    /// Ends the process, if it is ours.
    pub(crate) async fn stop(self) {
        let name = self.name.clone();
        if let Some(status) = self.end().await.filter(|status| !status.success()) {
            tracing::debug!(plugin = name, "the plugin was stopped: {}", ending(status));
        }
    }

    /// The same, with how it ended.
    pub(crate) async fn end(self) -> Option<std::process::ExitStatus> {
        drop(self.channel);
        self.process?.stop().await
    }
}

/// What every SDK takes; Python fails on a bare `--otel-endpoint-insecure`, which is why it has a value.
fn arguments(address: &Address, spec: &PluginSpec) -> Vec<String> {
    let network = match address {
        Address::Tcp(_) => "tcp",
        Address::Unix(_) => "unix",
    };
    let level = if tracing::enabled!(target: "plugin", tracing::Level::DEBUG) {
        "debug"
    } else {
        "info"
    };
    let shown = address.shown();
    let mut arguments = [
        "serve",
        "--log-level",
        level,
        "--log-format",
        "json",
        "--network",
        network,
        "--address",
        &shown,
        "--no-sentry",
    ]
    .map(str::to_owned)
    .to_vec();
    if let Some(endpoint) = &spec.otel_endpoint {
        arguments.extend(["--otel-endpoint".to_owned(), endpoint.clone()]);
        arguments.push(format!("--otel-endpoint-insecure={}", spec.otel_endpoint_insecure));
    }
    arguments
}

/// An address that nobody listens on.
fn place(network: Network) -> std::io::Result<(Address, Option<Folder>)> {
    match network {
        Network::Unix => {
            let folder = Folder::new()?;
            Ok((Address::Unix(folder.0.join("plugin.sock")), Some(folder)))
        }
        Network::Tcp => {
            // Free now, and taken by the plugin in a moment. If somebody else is faster, the plugin ends and says so.
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
            Ok((Address::Tcp(listener.local_addr()?.to_string()), None))
        }
    }
}

/// Dials until somebody answers, the process ends, or time is up.
async fn reach(name: &str, address: &Address, process: Option<&Process>, within: Duration) -> Result<Channel> {
    let deadline = Instant::now() + within;
    let not_ready = |cause: Option<tonic::transport::Error>| Error::NotReady {
        plugin: name.to_owned(),
        address: address.shown(),
        seconds: within.as_secs(),
        source: Box::new(LastWords {
            ending: process.and_then(Process::exit).map(ending),
            lines: process.map(|process| process.tail().last_lines()).unwrap_or_default(),
            cause: cause.map(Into::into),
        }),
    };
    loop {
        let cause = match tokio::time::timeout_at(deadline, address.dial()).await {
            Ok(Ok(channel)) => return Ok(channel),
            Ok(Err(cause)) => Some(cause),
            Err(_) => None,
        };
        let is_over = process.is_some_and(|process| process.exit().is_some());
        if is_over || Instant::now() >= deadline {
            return Err(not_ready(cause));
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// A plugin that several calls share.
pub(crate) type SharedPlugin = Arc<Plugin>;

//! What a plugin's part of the config has in every role.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Where a plugin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Registry {
    /// A plugin of the hub: one that is installed, by us or by CloudQuery's own command, or one of a mirror.
    #[default]
    Cloudquery,
    /// An executable on this machine.
    Local,
    /// A plugin that runs already; it is dialled, and never ended.
    Grpc,
    /// An image, started by the command `docker`.
    Docker,
}

/// How a plugin that we start is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A free port of the loopback interface: what the plugins of every SDK can.
    #[default]
    Tcp,
    /// A socket in a private directory: Go plugins, and Highwater's own.
    Unix,
}

/// Which plugin, and how it is reached. Part of the spec of each role.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginSpec {
    /// `local`: the path of an executable. `grpc`: `HOST:PORT`. `cloudquery`: `TEAM/NAME`. `docker`: an image.
    pub path: String,
    /// Where the plugin comes from.
    #[serde(default)]
    pub registry: Registry,
    /// Its version, `v` first; needed with `registry: cloudquery`, without a meaning elsewhere.
    #[serde(default)]
    pub version: Option<String>,
    /// Where a plugin of the hub is fetched from if it is not installed: a directory, or a base URL, in which each is at
    /// `TEAM/KIND/NAME/VERSION`. Without it that of the variable `HIGHWATER_PLUGIN_MIRROR`.
    #[serde(default)]
    pub mirror: Option<String>,
    /// The SHA-256 of its file, as 64 hexadecimal digits. A file of another sum is not started.
    #[serde(default)]
    pub sha256: Option<String>,
    /// What the plugin itself is told: handed over unread.
    #[serde(default)]
    pub spec: Option<Value>,
    /// Where the plugin sends its telemetry (OTLP over HTTP). Handed to a plugin that is started here.
    #[serde(default)]
    pub otel_endpoint: Option<String>,
    /// Whether that endpoint is spoken to without TLS.
    #[serde(default)]
    pub otel_endpoint_insecure: bool,
    /// How a plugin that is started here is reached.
    #[serde(default)]
    pub network: Network,
    /// The longest that it may take to start.
    #[serde(default = "default_start_timeout", deserialize_with = "duration")]
    #[schemars(with = "String", extend("default" = "30s"))]
    pub start_timeout: Duration,
    /// The longest that one of its answers may take: a table made, a batch written, the next record of a sync.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    #[schemars(with = "String", extend("default" = "10m"))]
    pub timeout: Duration,
}

/// Python's and JavaScript's take a second or two on an idle machine.
fn default_start_timeout() -> Duration {
    Duration::from_secs(30)
}

/// Long enough for a large migration, short enough that a hung plugin is noticed the same hour.
fn default_timeout() -> Duration {
    Duration::from_secs(600)
}

/// `6h`, for a field that may be left out.
pub(crate) fn duration_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// `30s`, `5m`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    parsed
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no duration; write for example `30s`")))
}

impl PluginSpec {
    /// What the JSON Schema cannot say.
    pub(crate) fn check(&self) -> Result<(), api::SpecError> {
        let at = |field: &str, what: &str| api::SpecError::at(format!("/plugin/{field}"), what);
        if self.path.is_empty() {
            return Err(at("path", "the path of the plugin is empty"));
        }
        if self.registry == Registry::Grpc && !self.path.contains(':') {
            return Err(at("path", "with `registry: grpc` it is an address").hint("write `HOST:PORT`"));
        }
        if let Some(sum) = &self.sha256 {
            if !matches!(self.registry, Registry::Local | Registry::Cloudquery) {
                return Err(at("sha256", "only a plugin that is started here has a file to sum up"));
            }
            if sum.len() != 64 || !sum.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(at("sha256", "a SHA-256 has 64 hexadecimal digits").hint("sha256sum FILE prints it"));
            }
        }
        if self.registry == Registry::Cloudquery {
            let hint = "set `version: vX.Y.Z`";
            match &self.version {
                None => return Err(at("version", "a plugin of the hub needs its version").hint(hint)),
                Some(version) if !version.starts_with('v') => {
                    return Err(at("version", "the version of a plugin begins with `v`").hint(hint));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The plugin's name in messages: the last part of its path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The `spec` as the protocol carries it. Never `null`: JavaScript plugins refuse it.
    pub(crate) fn spec_json(&self) -> Vec<u8> {
        match &self.spec {
            None | Some(Value::Null) => b"{}".to_vec(),
            Some(spec) => spec.to_string().into_bytes(),
        }
    }
}

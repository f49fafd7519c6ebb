use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{BuildContext, SpecError};
use secrecy::{ExposeSecret, SecretString};

use super::pgpass;
use super::spec::{ConnectSpec, SslMode};
use super::text;
use super::tls::TlsFiles;

/// libpq would wait for ever, which is no answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Long enough to cost nothing, short enough that a firewall which forgets idle connections does not.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// Then asks this often, so many times: a peer that is gone is noticed within two minutes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 6;

const HOSTS_MAX: usize = 64;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// A name, an address, or the directory of a Unix socket (then it begins with `/`).
    pub name: String,
    /// The port; of a Unix socket the number in its name.
    pub port: u16,
}

impl Host {
    pub(super) fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            name if name.starts_with('/') => write!(f, "{name}/.s.PGSQL.{}", self.port),
            name if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            name => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Which server will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Every one.
    Any,
    /// One that is not a standby.
    Primary,
    /// One that is not a standby and whose sessions may write.
    ReadWrite,
}

/// Parsed and checked: everything that is needed to reach a server. Cheap to clone.
#[derive(Clone)]
pub struct Settings(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) hosts: Vec<Host>,
    pub(super) database: String,
    pub(super) user: String,
    pub(super) password: Option<SecretString>,
    pub(super) passfile: Option<PathBuf>,
    pub(super) sslmode: SslMode,
    pub(super) tls: TlsFiles,
    pub(super) connect_timeout: Duration,
    pub(super) application_name: String,
    pub(super) target: Target,
    pub(super) channel_binding_required: bool,
    pub(super) keepalive: Keepalive,
    pub(super) options: Option<String>,
}

/// What the operating system does on a silent connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keepalive {
    pub(super) idle: Option<Duration>,
    pub(super) interval: Option<Duration>,
    pub(super) count: Option<u32>,
    pub(super) user_timeout: Option<Duration>,
}

impl Settings {
    /// Checks what a user wrote. Relative paths start at the directory of the configuration. Touches no network.
    pub fn new(spec: &ConnectSpec, cx: &BuildContext) -> Result<Self, SpecError> {
        let mut draft = Draft::default();
        if let Some(url) = &spec.url {
            let keywords = text::parse(url.expose_secret())
                .map_err(|why| SpecError::at("/url", format!("cannot read `url`: {why}")).hint(URL_HINT))?;
            for (key, value) in keywords {
                draft
                    .keyword(&key, value)
                    .map_err(|why| SpecError::at("/url", format!("cannot use `url`: {why}")))?;
            }
        }
        draft.fields(spec)?;
        draft.finish(cx)
    }

    /// Checks a URL or a `key=value` text.
    pub fn parse(url: &str) -> Result<Self, SpecError> {
        let spec = ConnectSpec {
            url: Some(SecretString::from(url)),
            ..ConnectSpec::default()
        };
        let base_dir = PathBuf::from(".");
        Settings::new(&spec, &BuildContext { base_dir })
    }

    /// The same with another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Settings(Arc::new(Inner {
            hosts: self.0.hosts.clone(),
            database: database.to_owned(),
            user: self.0.user.clone(),
            password: self.0.password.clone(),
            passfile: self.0.passfile.clone(),
            tls: self.0.tls.clone(),
            application_name: self.0.application_name.clone(),
            options: self.0.options.clone(),
            ..*self.0
        }))
    }

    /// The servers, in the order in which they are tried.
    pub fn hosts(&self) -> &[Host] {
        &self.0.hosts
    }

    /// The database.
    pub fn database(&self) -> &str {
        &self.0.database
    }

    /// The role.
    pub fn user(&self) -> &str {
        &self.0.user
    }

    /// Whether TLS is used and what is checked.
    pub fn sslmode(&self) -> SslMode {
        self.0.sslmode
    }

    pub(crate) fn application_name(&self) -> &str {
        &self.0.application_name
    }

    pub(crate) fn options(&self) -> Option<&str> {
        self.0.options.as_deref()
    }

    pub(crate) fn is_channel_binding_required(&self) -> bool {
        self.0.channel_binding_required
    }

    pub(super) fn password(&self, host: &Host) -> Option<SecretString> {
        self.0.password.clone().or_else(|| {
            let path = self.0.passfile.as_deref()?;
            pgpass::look_up(path, host, &self.0.database, &self.0.user)
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({self}, sslmode {})", self.0.sslmode.name())
    }
}

/// `user@host:port/database`, for messages.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@", self.0.user)?;
        for (i, host) in self.0.hosts.iter().enumerate() {
            write!(f, "{}{host}", if i == 0 { "" } else { "," })?;
        }
        write!(f, "/{}", self.0.database)
    }
}

const URL_HINT: &str = "write `postgres://user@host:5432/database`, with a password as `user:password@`, `%`-encoded";

/// What was said so far, by libpq's keywords and then by fields.
#[derive(Default)]
struct Draft {
    host: Option<String>,
    port: Option<String>,
    database: Option<String>,
    user: Option<String>,
    password: Option<SecretString>,
    passfile: Option<PathBuf>,
    sslmode: Option<SslMode>,
    sslrootcert: Option<PathBuf>,
    sslcert: Option<PathBuf>,
    sslkey: Option<PathBuf>,
    connect_timeout: Option<Duration>,
    application_name: Option<String>,
    target: Option<String>,
    channel_binding: Option<String>,
    options: Option<String>,
    keepalives: Option<u32>,
    keepalive_idle: Option<Duration>,
    keepalive_interval: Option<Duration>,
    keepalive_count: Option<u32>,
    user_timeout: Option<Duration>,
}

impl Draft {
    fn keyword(&mut self, key: &str, value: String) -> Result<(), String> {
        // An empty value says nothing.
        if value.is_empty() {
            return Ok(());
        }
        let number = |value: &str| {
            value
                .trim()
                .parse::<u32>()
                .map_err(|_| format!("`{key}` is no whole number"))
        };
        // 0 leaves it to the system.
        let seconds =
            |value: &str| Ok::<_, String>(Some(Duration::from_secs(number(value)?.into())).filter(|d| !d.is_zero()));
        match key {
            "host" => self.host = Some(value),
            "port" => self.port = Some(value),
            "dbname" | "database" => self.database = Some(value),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value.into()),
            "passfile" => self.passfile = Some(value.into()),
            "sslmode" => {
                let mode = SslMode::from_name(&value);
                self.sslmode = Some(mode.ok_or_else(|| {
                    "`sslmode` is none of `disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`"
                        .to_owned()
                })?);
            }
            "sslrootcert" => self.sslrootcert = Some(value.into()),
            "sslcert" => self.sslcert = Some(value.into()),
            "sslkey" => self.sslkey = Some(value.into()),
            "connect_timeout" => self.connect_timeout = seconds(&value)?,
            "application_name" => self.application_name = Some(value),
            "target_session_attrs" => self.target = Some(value),
            "channel_binding" => self.channel_binding = Some(value),
            "options" => self.options = Some(value),
            "keepalives" => self.keepalives = Some(number(&value)?),
            "keepalives_idle" => self.keepalive_idle = seconds(&value)?,
            "keepalives_interval" => self.keepalive_interval = seconds(&value)?,
            "keepalives_count" => self.keepalive_count = Some(number(&value)?).filter(|count| *count > 0),
            "tcp_user_timeout" => self.user_timeout = Some(Duration::from_millis(number(&value)?.into())),
            // What we do anyway, or what has no effect on us.
            "client_encoding"
            | "fallback_application_name"
            | "gssencmode"
            | "sslsni"
            | "sslcompression"
            | "krbsrvname" => {}
            other => return Err(format!("the setting `{}` is not supported", crop(other))),
        }
        Ok(())
    }

    fn fields(&mut self, spec: &ConnectSpec) -> Result<(), SpecError> {
        fn take<T: Clone>(to: &mut Option<T>, from: &Option<T>) {
            if from.is_some() {
                to.clone_from(from);
            }
        }
        take(&mut self.host, &spec.host);
        take(&mut self.port, &spec.port.map(|port| port.to_string()));
        take(&mut self.database, &spec.database);
        take(&mut self.user, &spec.user);
        take(&mut self.password, &spec.password);
        take(&mut self.passfile, &spec.passfile);
        take(&mut self.sslmode, &spec.sslmode);
        take(&mut self.sslrootcert, &spec.sslrootcert);
        take(&mut self.sslcert, &spec.sslcert);
        take(&mut self.sslkey, &spec.sslkey);
        take(&mut self.connect_timeout, &spec.connect_timeout);
        take(&mut self.application_name, &spec.application_name);
        take(&mut self.target, &spec.target_session_attrs);
        take(&mut self.keepalive_idle, &spec.keepalive_idle);
        Ok(())
    }

    fn finish(self, cx: &BuildContext) -> Result<Settings, SpecError> {
        let missing = |name: &str| SpecError::at("", format!("cannot connect: there is no `{name}`")).hint(URL_HINT);
        let host = self.host.ok_or_else(|| missing("host"))?;
        let hosts = read_hosts(&host, self.port.as_deref()).map_err(|why| SpecError::at("/host", why))?;
        let user = self.user.ok_or_else(|| missing("user"))?;
        let sslmode = self.sslmode;
        let is_system = self.sslrootcert.as_deref() == Some(Path::new("system"));
        let sslmode = match sslmode {
            // The machine's authorities vouch for everybody who asked them: without the name they mean nothing.
            Some(mode) if is_system && mode != SslMode::VerifyFull => {
                return Err(SpecError::at(
                    "/sslrootcert",
                    format!("cannot use `sslrootcert: system` with `sslmode: {}`", mode.name()),
                )
                .hint("write `sslmode: verify-full`"));
            }
            Some(mode) => mode,
            None if is_system => SslMode::VerifyFull,
            None => SslMode::default(),
        };
        let target = match self.target.as_deref() {
            None if hosts.len() > 1 => Target::Primary,
            None | Some("any") => Target::Any,
            Some("primary") => Target::Primary,
            Some("read-write") => Target::ReadWrite,
            Some(other) => {
                let why = format!(
                    "`target_session_attrs` is `{}`: expected `any`, `primary` or `read-write`",
                    crop(other)
                );
                return Err(SpecError::at("/target_session_attrs", why));
            }
        };
        let channel_binding_required = match self.channel_binding.as_deref() {
            None | Some("prefer") => false,
            Some("require") => true,
            Some(_) => {
                let why = "`channel_binding` is neither `prefer` nor `require`";
                return Err(SpecError::at("/url", why));
            }
        };
        let keepalive = match self.keepalives {
            Some(0) => Keepalive {
                idle: None,
                interval: None,
                count: None,
                user_timeout: self.user_timeout,
            },
            _ => Keepalive {
                idle: Some(self.keepalive_idle.unwrap_or(KEEPALIVE_IDLE)),
                interval: Some(self.keepalive_interval.unwrap_or(KEEPALIVE_INTERVAL)),
                count: Some(self.keepalive_count.unwrap_or(KEEPALIVE_COUNT)),
                user_timeout: self.user_timeout,
            },
        };
        let texts = [
            ("user", Some(&user)),
            ("database", self.database.as_ref()),
            ("application_name", self.application_name.as_ref()),
        ];
        for (name, text) in texts {
            if text.is_some_and(|text| text.contains('\0')) {
                return Err(SpecError::at(format!("/{name}"), format!("`{name}` has a zero byte")));
            }
        }
        Ok(Settings(Arc::new(Inner {
            hosts,
            database: self.database.unwrap_or_else(|| user.clone()),
            user,
            password: self.password,
            passfile: self.passfile.map(|path| cx.path(path)).or_else(pgpass::default_path),
            sslmode,
            tls: TlsFiles::new(
                self.sslrootcert
                    .map(|path| if is_system { path } else { cx.path(path) }),
                self.sslcert.map(|path| cx.path(path)),
                self.sslkey.map(|path| cx.path(path)),
            ),
            connect_timeout: self.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            application_name: self.application_name.unwrap_or_else(|| "highwater".to_owned()),
            target,
            channel_binding_required,
            keepalive,
            options: self.options,
        })))
    }
}

/// A text of the user for a message.
fn crop(text: &str) -> String {
    text.chars().take(40).collect()
}

/// `h1:5432,h2,[::1]:5433,/socket/directory`. The ports stand with the hosts, or as libpq's list of as many.
fn read_hosts(hosts: &str, ports: Option<&str>) -> Result<Vec<Host>, String> {
    let hosts: Vec<&str> = hosts.split(',').map(str::trim).collect();
    let ports: Vec<&str> = ports.unwrap_or_default().split(',').map(str::trim).collect();
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err(format!("there are {} hosts and {} ports", hosts.len(), ports.len()));
    }
    if hosts.len() > HOSTS_MAX {
        return Err(format!(
            "there are {} hosts: at most {HOSTS_MAX} can be tried",
            hosts.len()
        ));
    }
    let read = |(i, host): (usize, &&str)| {
        let default = ports.get(i).or(ports.first()).copied().unwrap_or_default();
        read_host(host, if default.is_empty() { "5432" } else { default })
    };
    hosts.iter().enumerate().map(read).collect()
}

fn read_host(text: &str, default_port: &str) -> Result<Host, String> {
    let (name, port) = match text {
        path if path.starts_with('/') => (path, default_port),
        _ if text.starts_with('[') => {
            let (name, after) = text[1..]
                .split_once(']')
                .ok_or_else(|| "an address has no closing bracket".to_owned())?;
            match after.strip_prefix(':') {
                Some(port) => (name, port),
                None if after.is_empty() => (name, default_port),
                None => return Err("behind an address in brackets stands neither `:` nor the end".to_owned()),
            }
        }
        // Several colons are an address of IPv6 without brackets and without a port.
        _ => match text.split_once(':') {
            Some((name, port)) if !port.contains(':') => (name, port),
            _ => (text, default_port),
        },
    };
    if name.is_empty() {
        return Err("a host is empty".to_owned());
    }
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    Ok(Host {
        name: name.to_owned(),
        port: port.ok_or_else(|| format!("the port of `{}` is no number from 1 to 65535", crop(name)))?,
    })
}

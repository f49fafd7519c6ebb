//! Plugins that are neither a path nor an address.
//!
//! A plugin of the hub is looked for in this order, below the directory of the configuration:
//!
//! | where | who put it there |
//! |---|---|
//! | `.highwater/plugins/KIND/TEAM/NAME/VERSION/plugin` | [`install`]: from a file, or from a mirror, also by itself at a start |
//! | `.cq/plugins/KIND/TEAM/NAME/VERSION/plugin` | CloudQuery's own command |
//! | a mirror: `MIRROR/TEAM/KIND/NAME/VERSION/package.json` with the archives that it names | what `package` of a plugin makes |
//!
//! - Nothing of an archive is used before its SHA-256 is the one that `package.json` has.
//! - A plugin appears under its name when it is whole and durable: a crash leaves a file of another name.

mod archive;
mod docker;
mod fetch;

use std::fmt;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

pub(crate) use docker::container;
use fetch::{Mirror, hex};

use crate::error::{Error, Result};
use crate::spec::PluginSpec;

/// The environment's word where the configuration has none.
pub const MIRROR_VARIABLE: &str = "HIGHWATER_PLUGIN_MIRROR";
/// Below the directory of the configuration.
const OURS: &str = ".highwater/plugins";
const THEIRS: &str = ".cq/plugins";
/// The executable's name, and CloudQuery's.
const PLUGIN: &str = "plugin";
/// Folders from the one with the executable up to the configuration's, both included.
const FOLDERS_DEEP: usize = 7;
const PACKAGE_BYTES_MAX: u64 = 1 << 20;
const ARCHIVE_BYTES_MAX: u64 = 1 << 30;

/// What a plugin is, in the words of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It is read.
    Source,
    /// It is written.
    Destination,
    /// It changes rows.
    Transformer,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Source, Kind::Destination, Kind::Transformer];

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Source => "source",
            Kind::Destination => "destination",
            Kind::Transformer => "transformer",
        }
    }
}

/// A plugin of the hub: `source/cloudquery/xkcd@v1.6.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HubPlugin {
    /// What it is.
    pub kind: Kind,
    /// Who made it.
    pub team: String,
    /// Its name.
    pub name: String,
    /// Its version, `v` first.
    pub version: String,
}

impl fmt::Display for HubPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}@{}", self.kind.name(), self.team, self.name, self.version)
    }
}

impl HubPlugin {
    /// From its parts; `Err` says what is wrong with them, and what to write. None of them can be a path.
    pub fn new(kind: Kind, path: &str, version: &str) -> Result<HubPlugin, (String, &'static str)> {
        let is_plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        let parts = path
            .split_once('/')
            .filter(|(team, name)| is_plain(team) && is_plain(name));
        let Some((team, name)) = parts else {
            let hint = "write `path: cloudquery/NAME`, or use `registry: local` with the path of a file";
            return Err((format!("`{path}` is not of the form `TEAM/NAME`"), hint));
        };
        if !version.starts_with('v') || !is_plain(version) {
            return Err((format!("`version` is `{version}`"), "set `version: vX.Y.Z`"));
        }
        Ok(HubPlugin {
            kind,
            team: team.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }

    /// From `KIND/TEAM/NAME@VERSION`.
    pub fn parse(text: &str) -> Option<HubPlugin> {
        let (kind, rest) = text.split_once('/')?;
        let (path, version) = rest.split_once('@')?;
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
        HubPlugin::new(kind, path, version).ok()
    }

    /// Its folder in a cache.
    fn folder(&self, cache: &Path) -> PathBuf {
        let parts = [self.kind.name(), &self.team, &self.name, &self.version];
        parts.iter().fold(cache.to_owned(), |path, part| path.join(part))
    }

    /// A file of its folder in a mirror.
    fn in_mirror(&self, file: &str) -> String {
        format!(
            "{}/{}/{}/{}/{file}",
            self.team,
            self.kind.name(),
            self.name,
            self.version
        )
    }

    /// Its executable, if it is installed.
    fn installed(&self, base: &Path) -> Option<PathBuf> {
        let caches = [OURS, THEIRS].map(|cache| self.folder(&base.join(cache)).join(PLUGIN));
        caches.into_iter().find(|path| path.is_file())
    }
}

/// Where a plugin's file was put, and its sum for the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Which plugin.
    pub plugin: HubPlugin,
    /// Its executable.
    pub path: PathBuf,
    /// The SHA-256 of that.
    pub sha256: String,
}

/// What a package says of itself.
#[derive(Debug, Deserialize)]
struct Package {
    #[serde(default)]
    supported_targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    os: String,
    arch: String,
    path: String,
    checksum: String,
}

/// This machine in Go's words.
fn target() -> (&'static str, &'static str) {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    (os, arch)
}

/// The executable of a hub plugin; fetched from a mirror if it is nowhere else.
pub(crate) async fn executable(kind: Kind, name: &str, spec: &PluginSpec, base: &Path) -> Result<PathBuf> {
    let refuse = |what: String, hint: &str| refused(name, what, hint);
    let version = spec.version.as_deref().unwrap_or_default();
    let plugin = HubPlugin::new(kind, &spec.path, version).map_err(|(what, hint)| refuse(what, hint))?;
    if let Some(path) = plugin.installed(base) {
        return Ok(path);
    }
    let variable = std::env::var(MIRROR_VARIABLE).ok().filter(|mirror| !mirror.is_empty());
    let Some(mirror) = spec.mirror.clone().or(variable) else {
        let (ours, theirs) = (base.join(OURS), base.join(THEIRS));
        let what = format!(
            "`{plugin}` is neither in `{}` nor in `{}`",
            ours.display(),
            theirs.display()
        );
        let hint = format!(
            "run `highwater plugins install {plugin} --from FILE`, or `cloudquery plugin install`, or set `{MIRROR_VARIABLE}`"
        );
        return Err(refuse(what, &hint));
    };
    let installed = install(&plugin, &mirror, base).await;
    let installed =
        installed.map_err(|what| refuse(what, "look whether the mirror has it, and can be reached from here"))?;
    tracing::info!(plugin = name, path = %installed.path.display(), sha256 = installed.sha256, "plugin installed");
    Ok(installed.path)
}

fn refused(plugin: &str, what: String, hint: &str) -> Error {
    Error::Registry {
        plugin: plugin.to_owned(),
        registry: "cloudquery",
        what,
        hint: hint.to_owned(),
    }
}

/// Puts a plugin under its name: from an executable, an archive, or a mirror (a directory or a base URL).
///
/// Durability: on `Ok` the file survives power loss. On `Err` what was there before is untouched.
///
/// # Errors
/// What went wrong, with the place.
pub async fn install(plugin: &HubPlugin, from: &str, base: &Path) -> Result<Installed, String> {
    let folder = plugin.folder(&base.join(OURS));
    let in_folder = |error: std::io::Error| format!("cannot write into `{}`: {error}", folder.display());
    std::fs::create_dir_all(&folder).map_err(in_folder)?;
    let new = tempfile::Builder::new()
        .prefix("plugin.new.")
        .tempfile_in(&folder)
        .map_err(in_folder)?;
    let is_url = from.contains("://");
    let file = base.join(from);
    if !is_url && file.is_file() {
        return blocking(plugin, file, new, folder).await;
    }
    let mirror = Mirror::parse(from, base);
    let listed = plugin.in_mirror("package.json");
    let place = mirror.place(&listed);
    let package: Package = serde_json::from_slice(&mirror.read(&listed, PACKAGE_BYTES_MAX).await?)
        .map_err(|error| format!("cannot read `{place}`: {error}"))?;
    let (os, arch) = target();
    let found = package
        .supported_targets
        .iter()
        .find(|target| target.os == os && target.arch == arch);
    let found = found.ok_or_else(|| format!("`{place}` has no plugin for {os}/{arch}"))?;
    // It names a file beside itself.
    let file_name = found.path.rsplit('/').next().unwrap_or_default();
    let packed = tempfile::Builder::new()
        .prefix("archive.")
        .tempfile_in(&folder)
        .map_err(in_folder)?;
    let at = plugin.in_mirror(file_name);
    let sum = mirror.save(&at, ARCHIVE_BYTES_MAX, packed.path()).await?;
    let expected = found.checksum.trim_start_matches("sha256:").to_ascii_lowercase();
    if sum != expected {
        let place = mirror.place(&at);
        return Err(format!(
            "`{place}` has SHA-256 {sum}, and `package.json` says {expected}"
        ));
    }
    blocking(plugin, packed.path().to_owned(), new, folder).await
}

/// The slow half: unpacking and summing up.
async fn blocking(
    plugin: &HubPlugin,
    from: PathBuf,
    new: tempfile::NamedTempFile,
    folder: PathBuf,
) -> Result<Installed, String> {
    let plugin = plugin.clone();
    let work = move || -> std::io::Result<Installed> {
        let sha256 = put(&from, new, &folder)?;
        let path = folder.join(PLUGIN);
        Ok(Installed { plugin, path, sha256 })
    };
    let done = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| error.to_string())?;
    done.map_err(|error| format!("cannot put it into its place: {error}"))
}

fn put(from: &Path, mut new: tempfile::NamedTempFile, folder: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::PermissionsExt as _;
    if archive::is_archive(from)? {
        archive::unpack(from, new.as_file_mut())?;
    } else {
        let file = std::fs::File::open(from)?;
        if file.metadata()?.len() > archive::EXECUTABLE_BYTES_MAX {
            return Err(std::io::Error::other("it is larger than a plugin can be"));
        }
        std::io::copy(&mut file.take(archive::EXECUTABLE_BYTES_MAX), new.as_file_mut())?;
    }
    new.flush()?;
    new.as_file().set_permissions(std::fs::Permissions::from_mode(0o755))?;
    fail::fail_point!("cloudquery.registry.before_install");
    new.as_file().sync_all()?;
    let sha256 = sum_of(new.path())?;
    // A file that is open for writing cannot be run.
    let path = new.into_temp_path();
    path.persist(folder.join(PLUGIN)).map_err(|error| error.error)?;
    // The folders above may be as new as the file.
    for folder in folder.ancestors().take(FOLDERS_DEEP) {
        let is_here = folder.as_os_str().is_empty();
        std::fs::File::open(if is_here { Path::new(".") } else { folder })?.sync_all()?;
    }
    fail::fail_point!("cloudquery.registry.after_install");
    Ok(sha256)
}

/// Every plugin that is installed below a directory, ours before CloudQuery's, by name.
///
/// # Errors
/// A cache that is there and cannot be read.
pub fn installed(base: &Path) -> std::io::Result<Vec<Installed>> {
    let mut all = Vec::new();
    for cache in [OURS, THEIRS] {
        let mut of_cache = Vec::new();
        for kind in Kind::ALL {
            let folder = base.join(cache).join(kind.name());
            for team in names(&folder)? {
                for name in names(&folder.join(&team))? {
                    for version in names(&folder.join(&team).join(&name))? {
                        let plugin = HubPlugin::new(kind, &format!("{team}/{name}"), &version);
                        of_cache.extend(plugin.ok());
                    }
                }
            }
        }
        of_cache.sort();
        for plugin in of_cache {
            let path = plugin.folder(&base.join(cache)).join(PLUGIN);
            if path.is_file() {
                let sha256 = sum_of(&path)?;
                all.push(Installed { plugin, path, sha256 });
            }
        }
    }
    Ok(all)
}

fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    Ok(names)
}

/// Fails if a file is not the one whose sum the spec has.
pub(crate) async fn check_file(name: &str, spec: &PluginSpec, path: &Path) -> Result<()> {
    let Some(expected) = spec.sha256.as_ref().map(|sum| sum.to_ascii_lowercase()) else {
        return Ok(());
    };
    let file = path.to_owned();
    // A plugin of Go has some hundred megabytes.
    let sum = tokio::task::spawn_blocking(move || sum_of(&file)).await;
    let found = sum
        .map_err(std::io::Error::other)
        .flatten()
        .map_err(|source| Error::Start {
            plugin: name.to_owned(),
            path: path.to_owned(),
            source,
        })?;
    if found == expected {
        return Ok(());
    }
    Err(Error::OtherFile {
        plugin: name.to_owned(),
        path: path.to_owned(),
        expected,
        found,
    })
}

fn sum_of(path: &Path) -> std::io::Result<String> {
    let mut sum = Sha256::new();
    std::io::copy(&mut std::fs::File::open(path)?, &mut sum)?;
    Ok(hex(&sum.finalize()))
}

#[cfg(test)]
mod tests;

//! Plugins that are neither a path nor an address.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::spec::{PluginSpec, Registry};

/// The executable of a hub plugin in the local cache, below the directory that CloudQuery's own command uses
/// (`.cq/plugins/<kind>/<team>/<name>/<version>/plugin`).
pub(crate) fn executable(name: &str, spec: &PluginSpec, base: &Path) -> Result<PathBuf> {
    let refuse = |registry, what: String, hint: &str| Error::Registry {
        plugin: name.to_owned(),
        registry,
        what,
        hint: hint.to_owned(),
    };
    if spec.registry == Registry::Docker {
        let what = "images are not started yet".to_owned();
        let hint = "start the container yourself with a published port, and use `registry: grpc`";
        return Err(refuse("docker", what, hint));
    }
    let version = spec.version.as_deref().unwrap_or_default();
    let parts = spec.path.split_once('/');
    let is_plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
    };
    let Some((team, plugin)) = parts.filter(|(team, plugin)| is_plain(team) && is_plain(plugin)) else {
        let what = format!("`{}` is not of the form `TEAM/NAME`", spec.path);
        return Err(refuse(
            "cloudquery",
            what,
            "write `path: cloudquery/NAME`, or use `registry: local` with the path of a file",
        ));
    };
    if !version.starts_with('v') || !is_plain(version) {
        let what = format!("`version` is `{version}`");
        return Err(refuse("cloudquery", what, "set `version: vX.Y.Z`"));
    }
    let cache = base.join(".cq/plugins");
    let found = ["source", "destination", "transformer"]
        .map(|kind| cache.join(kind).join(team).join(plugin).join(version).join("plugin"))
        .into_iter()
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        let what = format!("`{team}/{plugin}` {version} is not in `{}`", cache.display());
        refuse(
            "cloudquery",
            what,
            "install it with `cloudquery plugin install`, or name its file with `registry: local`",
        )
    })
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
    Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn look(base: &Path, spec: serde_json::Value) -> Result<PathBuf, api::Error> {
        let spec: PluginSpec = serde_json::from_value(spec).expect("a spec");
        executable("it", &spec, base).map_err(Into::into)
    }

    #[test]
    fn a_cached_plugin_is_found_by_team_name_and_version() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = base.path().join(".cq/plugins/source/cloudquery/xkcd/v1.6.0");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("plugin"), "").expect("a file");
        let spec = |version: &str| json!({"path": "cloudquery/xkcd", "version": version});
        assert_eq!(
            look(base.path(), spec("v1.6.0")).expect("it is there"),
            folder.join("plugin")
        );
        let error = look(base.path(), spec("v1.6.1")).expect_err("another version");
        assert!(
            error.to_string().contains("`cloudquery/xkcd` v1.6.1 is not in `"),
            "{error}"
        );
        assert!(
            error
                .remedy()
                .is_some_and(|hint| hint.contains("cloudquery plugin install"))
        );
    }

    #[tokio::test]
    async fn file_of_another_sum_is_not_started() {
        let base = tempfile::tempdir().expect("a folder");
        let path = base.path().join("plugin");
        std::fs::write(&path, "abc").expect("a file");
        let check = async |sum: &str| {
            let spec = json!({"path": "plugin", "registry": "local", "sha256": sum});
            let spec: PluginSpec = serde_json::from_value(spec).expect("a spec");
            spec.check().expect("a sum");
            check_file("it", &spec, &path).await
        };
        let of_abc = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
        check(of_abc).await.expect("the same file");
        let error = check(&of_abc.replace("BA", "AB")).await.expect_err("another file");
        assert_eq!(api::Error::from(error).code(), "E0812");
    }

    #[test]
    fn names_do_not_become_paths() {
        let base = tempfile::tempdir().expect("a folder");
        for (path, version) in [
            ("../../etc/x", "v1"),
            ("a/..", "v1"),
            ("a/b/c", "v1"),
            ("a/b", "v1/../x"),
            ("a/b", "1.0"),
        ] {
            let error = look(base.path(), json!({"path": path, "version": version})).expect_err("refused");
            assert_eq!(error.code(), "E0810", "{path} {version}");
        }
    }

    #[test]
    fn docker_says_what_to_do_instead() {
        let error = look(Path::new("/"), json!({"path": "image", "registry": "docker"})).expect_err("refused");
        assert!(error.remedy().is_some_and(|hint| hint.contains("registry: grpc")));
    }
}

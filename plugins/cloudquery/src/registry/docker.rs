//! Plugins that are images: started by the command `docker`, in the foreground, so that their container lives as long as the
//! process that we watch.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::spec::PluginSpec;

/// The port on which a plugin listens in its container, as under CloudQuery.
const PORT: u16 = 7777;

/// How an image is started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Container {
    /// The command.
    pub program: PathBuf,
    /// What stands before the plugin's own arguments.
    pub before: Vec<String>,
    /// Where the plugin listens, inside.
    pub listens_at: String,
}

/// The command line for an image that is to be reached at `address`, a port of the loopback interface.
pub(crate) fn container(name: &str, spec: &PluginSpec, address: &str) -> Result<Container> {
    let program = find("docker").ok_or_else(|| Error::Registry {
        plugin: name.to_owned(),
        registry: "docker",
        what: "there is no command `docker` on the PATH".to_owned(),
        hint: "install Docker, or run the plugin somewhere and use `registry: grpc` with its address".to_owned(),
    })?;
    let publish = format!("{address}:{PORT}");
    let mut before = ["run", "--rm", "--init", "--pull", "missing", "--publish", &publish]
        .map(str::to_owned)
        .to_vec();
    // By name only: a value among the arguments could be seen by every user of the machine.
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let passed = names.filter(|name| is_for_plugins(name));
    let passed = passed.chain(["CQ_TELEMETRY_LEVEL".to_owned()]);
    before.extend(passed.flat_map(|name| ["--env".to_owned(), name]));
    before.push(spec.path.clone());
    Ok(Container {
        program,
        before,
        listens_at: format!("0.0.0.0:{PORT}"),
    })
}

/// Whether a variable says something to a plugin, and not of this machine or of a runtime.
fn is_for_plugins(name: &str) -> bool {
    const OF_MACHINE: [&str; 12] = [
        "PATH", "HOME", "HOSTNAME", "PWD", "OLDPWD", "SHLVL", "SHELL", "TMPDIR", "USER", "LOGNAME", "TERM", "_",
    ];
    const OF_RUNTIME: [&str; 3] = ["HIGHWATER_", "CQ_", "DOCKER_"];
    !OF_MACHINE.contains(&name) && !OF_RUNTIME.iter().any(|prefix| name.starts_with(prefix))
}

fn find(command: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(command))
        .find(|file| crate::process::is_executable(file))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_is_started_with_its_port_on_the_loopback_interface() {
        let spec = json!({"path": "ghcr.io/team/plugin:v1", "registry": "docker"});
        let spec: PluginSpec = serde_json::from_value(spec).expect("a spec");
        match container("it", &spec, "127.0.0.1:4711") {
            Ok(container) => {
                let words = container.before.join(" ");
                let start = "run --rm --init --pull missing --publish 127.0.0.1:4711:7777 ";
                assert!(words.starts_with(start), "{words}");
                assert!(words.contains(" --env CQ_TELEMETRY_LEVEL "), "{words}");
                assert!(
                    words.ends_with(" ghcr.io/team/plugin:v1") && !words.contains(" PATH "),
                    "{words}"
                );
            }
            Err(error) => {
                let error = api::Error::from(error);
                assert!(error.to_string().contains("there is no command `docker`"), "{error}");
                assert!(error.remedy().is_some_and(|hint| hint.contains("registry: grpc")));
            }
        }
    }
}

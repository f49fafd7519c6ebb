//! Finding, reading and checking the configuration: the same way for every command.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::Registry;
use config::{Catalog, Finding, Loaded, Part, Plan, ProcessEnvironment};

use crate::assembly::{self, Blueprint};
use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::terminal::Terminal;

/// Where a configuration is looked for if none is named.
const PLACES: [&str; 3] = ["highwater.yaml", "highwater.d", "/etc/highwater/highwater.yaml"];

/// A configuration, read and checked.
pub(crate) struct Configuration {
    /// The plan, and everything found.
    pub(crate) loaded: Loaded,
    /// The connectors it was checked against.
    pub(crate) registry: Arc<Registry>,
    /// The paths it was read from, as they were named.
    pub(crate) paths: Vec<PathBuf>,
    /// How long reading and checking took.
    pub(crate) elapsed: Duration,
}

impl Configuration {
    /// Reads and checks. Whatever is wrong is a finding, unreadable files included.
    pub(crate) fn read(global: &Global, files: &[PathBuf]) -> Configuration {
        let started = Instant::now();
        let registry = Arc::new(assembly::registry());
        let catalog = assembly::catalog(&registry);
        let paths = if files.is_empty() {
            named_or_found(global)
        } else {
            files.to_vec()
        };
        let read = environment(global).and_then(|environment| Ok((config::read_inputs(&paths)?, environment)));
        let mut loaded = match read {
            Ok((inputs, environment)) => config::load(&inputs, &catalog, &environment),
            Err(findings) => unreadable(&catalog, findings),
        };
        assembly::check(&mut loaded, &registry);
        Configuration {
            loaded,
            registry,
            paths,
            elapsed: started.elapsed(),
        }
    }

    /// The plan of a configuration without errors; else all findings are printed.
    pub(crate) fn plan(&self, terminal: &Terminal, command: &str) -> Result<&Plan, Exit> {
        match &self.loaded.plan {
            Some(plan) => Ok(plan),
            None => {
                self.print_findings(terminal, command);
                Err(Exit::Input)
            }
        }
    }

    /// What was found, where a person or a program expects it: commands other than `validate` have no other answer then.
    pub(crate) fn print_findings(&self, terminal: &Terminal, command: &str) {
        if terminal.is_json() {
            let envelope = crate::envelope::Envelope {
                summary: Some(self.loaded.summary(self.elapsed)),
                findings: self.loaded.findings(),
                ..crate::envelope::Envelope::result(command, false, serde_json::Value::Null)
            };
            terminal.answer(envelope.render());
            return;
        }
        terminal.complain(self.loaded.render_findings(&terminal.screen_err()));
        terminal.complain(self.loaded.render_summary(self.elapsed).trim_end());
    }

    /// The blueprints of all pipelines, or of those named.
    pub(crate) fn blueprints(&self, names: &[String]) -> Result<Vec<Blueprint>, Failure> {
        let all = Blueprint::all(&self.loaded, &self.registry)?;
        if let Some(unknown) = names
            .iter()
            .find(|name| !all.iter().any(|blueprint| blueprint.plan.name == **name))
        {
            let known: Vec<&str> = all.iter().map(|blueprint| blueprint.plan.name.as_str()).collect();
            return Err(unknown_pipeline(unknown, &known));
        }
        let is_named = |blueprint: &Blueprint| names.is_empty() || names.contains(&blueprint.plan.name);
        Ok(all.into_iter().filter(is_named).collect())
    }

    /// The state directory: a relative path starts at the configuration file, so that it is the same from everywhere.
    pub(crate) fn state_dir(&self, plan: &Plan) -> PathBuf {
        self.beside(&plan.runtime.state_path)
    }

    /// The admin API's Unix socket.
    pub(crate) fn socket(&self, plan: &Plan) -> PathBuf {
        match &plan.runtime.admin.socket {
            Some(socket) => self.beside(socket),
            None => self.state_dir(plan).join(SOCKET),
        }
    }

    /// The directory of the configuration: of the file with the `runtime` block, else of the first.
    pub(crate) fn directory(&self) -> PathBuf {
        let first = || match self.paths.first() {
            Some(path) if path.is_dir() => path.clone(),
            Some(path) => path.parent().map(Path::to_owned).unwrap_or_default(),
            None => PathBuf::new(),
        };
        assembly::directory_of(&self.loaded, &Part::Runtime).unwrap_or_else(first)
    }

    fn beside(&self, path: &Path) -> PathBuf {
        self.directory().join(path.strip_prefix("./").unwrap_or(path))
    }
}

/// The admin API's Unix socket in the state directory.
pub(crate) const SOCKET: &str = "admin.sock";

/// The failure of naming a pipeline that is not there.
pub(crate) fn unknown_pipeline(name: &str, known: &[&str]) -> Failure {
    let known = known
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    Failure::input(crate::codes::E0723.id, format!("cannot find pipeline `{name}`")).hint(if known.is_empty() {
        "there is none".to_owned()
    } else {
        format!("there is {known}")
    })
}

fn named_or_found(global: &Global) -> Vec<PathBuf> {
    if !global.config.is_empty() {
        return global.config.clone();
    }
    let found = PLACES.iter().map(PathBuf::from).find(|path| path.exists());
    // The first, so that the message names where to put one.
    vec![found.unwrap_or_else(|| PathBuf::from(PLACES[0]))]
}

fn environment(global: &Global) -> Result<ProcessEnvironment, Vec<Finding>> {
    let fallback = global.env_file.as_deref().map(config::read_env_file).transpose()?;
    Ok(ProcessEnvironment {
        fallback: fallback.unwrap_or_default(),
    })
}

fn unreadable(catalog: &Catalog, findings: Vec<Finding>) -> Loaded {
    let mut loaded = config::load(&[], catalog, &std::collections::BTreeMap::new());
    findings.into_iter().for_each(|finding| loaded.report(finding));
    loaded.plan = None;
    loaded
}

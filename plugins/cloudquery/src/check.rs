//! Trying a plugin, for whoever wrote or installed it: does it start, say who it is, connect, and end as the protocol asks?

use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use api::Result;
use proto::plugin_v3::{get_name, get_spec_schema, get_tables, get_version};
use serde_json::{Value, json};

use crate::error::Error;
use crate::plugin::Plugin;
use crate::process::{GRACE, ending};
use crate::registry::Kind;
use crate::spec::PluginSpec;

/// One thing that was tried.
#[derive(Debug)]
pub struct Checked {
    /// What.
    pub what: &'static str,
    /// What was found, or what went wrong.
    pub outcome: Result<String>,
}

/// Starts the executable at `path` with these settings of its own, and tries one thing after the other. Writes nothing.
pub async fn check(path: &Path, spec: Option<Value>) -> Vec<Checked> {
    let name = path
        .file_name()
        .map_or_else(|| "plugin".into(), |name| name.to_string_lossy());
    let spec = json!({ "path": path.to_string_lossy(), "registry": "local", "spec": spec });
    let mut steps = Steps(Vec::new());
    let spec: PluginSpec = match serde_json::from_value(spec) {
        Ok(spec) => spec,
        Err(error) => {
            let error =
                api::Error::new("E0127", api::Retry::Never, "cannot read the plugin's settings").caused_by(error);
            steps.add("starts", Err(error));
            return steps.0;
        }
    };
    let base = std::env::current_dir().unwrap_or_default();
    let started = Instant::now();
    // The kind matters to plugins of the hub only.
    let plugin = match Plugin::start(Kind::Source, &name, &spec, &base).await {
        Ok(plugin) => plugin,
        Err(error) => {
            steps.add("starts", Err(error.into()));
            return steps.0;
        }
    };
    steps.add(
        "starts",
        Ok(format!("in {} ms, and speaks version 3", started.elapsed().as_millis())),
    );
    let mut client = plugin.client();
    let named = plugin.call("GetName", client.get_name(get_name::Request {})).await;
    steps.take("says its name", named.map(|answer| answer.name));
    let version = plugin
        .call("GetVersion", client.get_version(get_version::Request {}))
        .await;
    steps.take("says its version", version.map(|answer| answer.version));
    let schema = plugin
        .call("GetSpecSchema", client.get_spec_schema(get_spec_schema::Request {}))
        .await;
    steps.take(
        "describes its settings",
        schema.map(|answer| match answer.json_schema {
            Some(schema) if !schema.is_empty() => format!("a JSON Schema of {} bytes", schema.len()),
            _ => "no JSON Schema".to_owned(),
        }),
    );
    let connected = plugin.test_connection(&spec).await;
    steps.take("connects", connected.map(|()| "with these settings".to_owned()));
    let made = plugin.init(&spec, true).await;
    let flushes = |answers: bool| {
        if answers {
            "it answers flushes"
        } else {
            "it answers no flushes"
        }
        .to_owned()
    };
    steps.take("takes its settings", made.map(flushes));
    let request = get_tables::Request {
        tables: vec!["*".to_owned()],
        ..get_tables::Request::default()
    };
    let tables = plugin.call("GetTables", client.get_tables(request)).await;
    let tables = match tables {
        // A destination has none to list.
        Err(error) if is_not_implemented(&error) => Ok("it has none to list".to_owned()),
        tables => tables.map(|answer| answer.tables.len().to_string()),
    };
    steps.take("lists its tables", tables);
    drop(client);
    let asked = Instant::now();
    let ended = plugin.end().await;
    steps.take("ends on SIGINT", ending_of(&name, ended, asked.elapsed()));
    steps.0
}

/// SDKs other than Go's leave it to the signal, so the status says nothing but whether it had to be killed.
fn ending_of(plugin: &str, status: Option<ExitStatus>, after: Duration) -> Result<String, Error> {
    let cannot = |what: String| Error::Protocol {
        plugin: plugin.to_owned(),
        what,
    };
    let status = status.ok_or_else(|| cannot("nobody knows how it ended".to_owned()))?;
    if after >= GRACE {
        return Err(cannot(format!("it did not end within {} s of SIGINT", GRACE.as_secs())));
    }
    Ok(format!("{}, after {} ms", ending(status), after.as_millis()))
}

/// Each SDK has its own code for it, and these words.
fn is_not_implemented(error: &Error) -> bool {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    cause.is_some_and(|cause| cause.to_lowercase().contains("not implemented") || cause.contains("Unimplemented"))
}

struct Steps(Vec<Checked>);

impl Steps {
    fn take(&mut self, what: &'static str, outcome: Result<String, Error>) {
        self.add(what, outcome.map_err(Into::into));
    }

    fn add(&mut self, what: &'static str, outcome: Result<String>) {
        self.0.push(Checked { what, outcome });
    }
}

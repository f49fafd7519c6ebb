//! The configuration of a pipeline that reads a plugin.

use std::fmt;

/// One pipeline: the plugin of the source is an executable beside the file, and `data.json` there says what its system has.
#[derive(Debug, Clone)]
pub struct Pipeline {
    plugin: String,
    /// What both sides' plugins are reached by, as fields of a YAML flow mapping.
    reached: String,
    options: String,
    streams: String,
    destinations: String,
}

impl Pipeline {
    /// Reads every table of `plugin`, as the source `sample`.
    pub fn of(plugin: &str) -> Self {
        Pipeline {
            plugin: plugin.to_owned(),
            reached: String::new(),
            options: String::new(),
            streams: "\"*\"".to_owned(),
            destinations: String::new(),
        }
    }

    /// Only these streams, separated by commas.
    #[must_use]
    pub fn streams(mut self, streams: &str) -> Self {
        streams.clone_into(&mut self.streams);
        self
    }

    /// A field of the source's spec, `incremental: true`.
    #[must_use]
    pub fn option(mut self, field: &str) -> Self {
        self.options += &format!("\n        {field}");
        self
    }

    /// A field of the spec of this plugin and of those that are added later, `timeout: 3s`.
    #[must_use]
    pub fn reached(mut self, field: &str) -> Self {
        self.reached += &format!(", {field}");
        self
    }

    /// A destination: its connector, the fields of its spec as a flow mapping, and other fields, one a line.
    #[must_use]
    pub fn into(mut self, name: &str, connector: &str, spec: &str, fields: &[&str]) -> Self {
        self.destinations += &format!("      {name}:\n        connector: {connector}\n        spec: {spec}\n");
        for field in fields {
            self.destinations += &format!("        {field}\n");
        }
        self
    }

    /// A destination plugin beside the file, and its own spec.
    #[must_use]
    pub fn into_plugin(self, name: &str, plugin: &str, spec: &str, fields: &[&str]) -> Self {
        let reached = &self.reached;
        let spec = format!("{{ plugin: {{ registry: local, path: ./{plugin}{reached}, spec: {spec} }} }}");
        self.into(name, "cloudquery", &spec, fields)
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pipeline {
            plugin,
            reached,
            options,
            streams,
            destinations,
        } = self;
        write!(
            f,
            "\
version: 1

runtime:
  admin: {{ listen: \"off\" }}

pipelines:
  people:
    source:
      connector: cloudquery
      spec:
        plugin: {{ registry: local, path: ./{plugin}{reached}, spec: {{ data: ./data.json }} }}
        name: sample{options}
      streams: [{streams}]

    destinations:
{destinations}"
        )
    }
}

//! The text of a new configuration.

use std::path::Path;

use serde_json::{Value, json};

use crate::exit::Failure;

/// A pipeline to be written down.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) source: SourceDraft,
    pub(super) streams: Vec<String>,
    pub(super) destinations: Vec<DestinationDraft>,
}

/// Its source.
pub(super) struct SourceDraft {
    path: String,
}

/// One of its destinations.
pub(super) struct DestinationDraft {
    name: &'static str,
    connector: &'static str,
    path: Option<String>,
}

impl SourceDraft {
    /// `sqlite:PATH`, `sqlite://PATH` or a path.
    pub(super) fn parse(text: &str, directory: &Path) -> Result<SourceDraft, Failure> {
        let path = match text.split_once(':') {
            Some(("sqlite", rest)) => rest.strip_prefix("//").unwrap_or(rest),
            Some((scheme, _)) if scheme.len() > 1 && scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
                return Err(
                    Failure::input("E0112", format!("cannot read from `{scheme}`: there is no such source"))
                        .hint("there is `sqlite`: `--from sqlite:./shop.db`"),
                );
            }
            _ => text,
        };
        if path.is_empty() {
            return Err(
                Failure::input("E0107", "cannot write a configuration: no source is named")
                    .hint("name a database: `--from ./shop.db`"),
            );
        }
        Ok(SourceDraft {
            path: from_directory(path, directory),
        })
    }

    pub(super) fn connector(&self) -> &'static str {
        "sqlite"
    }

    pub(super) fn spec(&self) -> Value {
        json!({ "path": self.path })
    }

    pub(super) fn shown(&self) -> &str {
        &self.path
    }

    /// The database's name, as far as it can be a pipeline's.
    pub(super) fn name(&self) -> String {
        let stem = Path::new(&self.path)
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        let name: String = stem
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "_-".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let name = name.trim_start_matches(['_', '-']);
        if name.is_empty() {
            "main".to_owned()
        } else {
            name.chars().take(63).collect()
        }
    }
}

impl DestinationDraft {
    /// `CONNECTOR` or `CONNECTOR:PATH`.
    pub(super) fn parse(text: &str, directory: &Path) -> Result<DestinationDraft, Failure> {
        let (connector, path) = text
            .split_once(':')
            .map_or((text, None), |(connector, path)| (connector, Some(path)));
        let files = |name, connector| (name, connector, Some("./out/{stream}/"));
        let (name, connector, default) = match connector {
            "parquet" => files("lake", "parquet"),
            "csv" => files("csv", "csv"),
            "ndjson" => files("ndjson", "ndjson"),
            "sqlite" => ("copy", "sqlite", Some("./copy.db")),
            "stdout" => ("screen", "stdout", None),
            other => {
                return Err(Failure::input(
                    "E0112",
                    format!("cannot write to `{other}`: there is no such destination"),
                )
                .hint("there is `parquet`, `csv`, `ndjson`, `sqlite` and `stdout`"));
            }
        };
        let path = path.map(|path| from_directory(path.strip_prefix("//").unwrap_or(path), directory));
        Ok(DestinationDraft {
            name,
            connector,
            path: path.or(default.map(str::to_owned)),
        })
    }
}

impl Draft {
    pub(super) fn render(&self, schema: &str) -> String {
        let streams = self
            .streams
            .iter()
            .map(|stream| scalar(stream))
            .collect::<Vec<_>>()
            .join(", ");
        let mut text = format!(
            "# yaml-language-server: $schema=./{schema}\nversion: 1\n\npipelines:\n  {}:\n    source:\n      connector: {}\n      \
             spec:\n        path: {}\n        capture: triggers\n      streams: [{streams}]\n\n    destinations:\n",
            scalar(&self.name),
            self.source.connector(),
            scalar(&self.source.path),
        );
        let mut names: Vec<String> = Vec::new();
        for destination in &self.destinations {
            let taken = names.iter().filter(|name| name.starts_with(destination.name)).count();
            let name = if taken == 0 {
                destination.name.to_owned()
            } else {
                format!("{}{}", destination.name, taken + 1)
            };
            text.push_str(&format!(
                "      {name}:\n        connector: {}\n",
                destination.connector
            ));
            if let Some(path) = &destination.path {
                text.push_str(&format!("        spec:\n          path: {}\n", scalar(path)));
            }
            names.push(name);
        }
        text
    }
}

/// Paths on a command line start at the working directory, those in a file at the file.
fn from_directory(path: &str, directory: &Path) -> String {
    let is_here = directory.as_os_str().is_empty() || directory == Path::new(".");
    if is_here || Path::new(path).is_absolute() {
        return path.to_owned();
    }
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

/// A text that YAML reads as this text. A dollar before a brace would be expanded.
fn scalar(text: &str) -> String {
    let text = text.replace("${", "$${");
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || ".$/".contains(c))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./$=".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off"].contains(&text.to_lowercase().as_str());
    if is_plain { text } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draft_quotes_what_yaml_would_misread() {
        let source = SourceDraft::parse("sqlite:./my shop.db", Path::new("")).expect("a source");
        let to = |text| DestinationDraft::parse(text, Path::new("")).expect("a destination");
        let draft = Draft {
            name: source.name(),
            source,
            streams: vec!["orders".to_owned(), "no".to_owned(), "a: b".to_owned()],
            destinations: vec![to("parquet"), to("sqlite:./mirror.db"), to("sqlite")],
        };
        insta::assert_snapshot!(draft.render(".highwater/schema.json"));
    }
}

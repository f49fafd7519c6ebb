//! Pages of the reference that are made from the definitions themselves. The tests hold them; `UPDATE_DOCS=1` rewrites them.

use std::path::PathBuf;

use actors::metric::{Kind, METRICS};
use clap::CommandFactory;

use crate::cli::Cli;

fn check(name: &str, made: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/reference")
        .join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, made).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == made,
        "docs/reference/{name} is not what the code says: run this test with UPDATE_DOCS=1"
    );
}

#[test]
fn metrics_page_lists_every_metric() {
    let mut page = "# Metrics\n\n`GET /metrics` answers in Prometheus's text format. Made from the list in the code; do not edit.\n\n\
                    | name | kind | labels | meaning |\n|---|---|---|---|\n"
        .to_owned();
    for metric in METRICS {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect::<Vec<_>>()
            .join(", ");
        page.push_str(&format!(
            "| `{}` | {kind} | {labels} | {} |\n",
            metric.name, metric.help
        ));
    }
    check("metrics.md", &page);
}

#[test]
fn command_line_page_lists_every_command_and_option() {
    let mut root = Cli::command();
    root.build();
    let mut page = "# Command line\n\nMade from the definitions in the code; do not edit. Each option of every command has a variable \
                    `HIGHWATER_...`, such as `HIGHWATER_CONFIG`. The answer goes to stdout, everything else to stderr.\n\n\
                    ## Options of every command\n\n"
        .to_owned();
    page.push_str(&options(&root, true));
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        page.push_str(&section(command, "highwater"));
    }
    check("cli.md", &page);
}

fn section(command: &clap::Command, parent: &str) -> String {
    let name = format!("{parent} {}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let nested: Vec<_> = command
        .get_subcommands()
        .filter(|nested| nested.get_name() != "help")
        .collect();
    let arguments: Vec<String> = command
        .get_positionals()
        .map(|argument| {
            let value = argument
                .get_value_names()
                .and_then(|names| names.first())
                .map(ToString::to_string)
                .unwrap_or_default();
            let many = if matches!(argument.get_action(), clap::ArgAction::Append) {
                "..."
            } else {
                ""
            };
            if argument.is_required_set() {
                format!(" {value}{many}")
            } else {
                format!(" [{value}]{many}")
            }
        })
        .collect();
    let mut text = format!("\n## `{name}{}`\n\n{about}.\n", arguments.join(""));
    let options = options(command, false);
    if !options.is_empty() {
        text.push_str(&format!("\n{options}"));
    }
    nested
        .into_iter()
        .for_each(|nested| text.push_str(&section(nested, &name)));
    text
}

fn options(command: &clap::Command, is_global: bool) -> String {
    let shown = |argument: &&clap::Arg| {
        let id = argument.get_id().as_str();
        argument.is_global_set() == is_global && !argument.is_positional() && !matches!(id, "help" | "version")
    };
    let mut text = String::new();
    for argument in command.get_arguments().filter(shown) {
        let short = argument
            .get_short()
            .map(|short| format!("-{short}, "))
            .unwrap_or_default();
        let long = argument.get_long().unwrap_or_default();
        let takes_value = argument.get_action().takes_values();
        let value = argument
            .get_value_names()
            .filter(|_| takes_value)
            .and_then(|names| names.first());
        let value = value.map(|value| format!(" {value}")).unwrap_or_default();
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let default = argument
            .get_default_values()
            .first()
            .filter(|_| !argument.is_hide_default_value_set() && takes_value);
        let default = default
            .map(|default| format!(" Default: `{}`.", default.to_string_lossy()))
            .unwrap_or_default();
        text.push_str(&format!("- `{short}--{long}{value}`: {help}.{default}\n"));
    }
    text
}

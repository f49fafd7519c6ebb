//! `highwater plugin list`: what is installed beside the configuration.

use cloudquery::registry::{Installed, installed};
use serde_json::{Value, json};

use super::super::Cx;
use crate::codes;
use crate::configuration::Configuration;
use crate::exit::{Ended, Exit, Failure};
use crate::terminal::columns::{self, Align};

pub(in crate::command) fn list(cx: &Cx) -> Ended {
    let configuration = Configuration::read(&cx.global, &[]);
    let base = configuration.directory();
    let all = installed(&base).map_err(|error| {
        let message = format!("cannot read the plugins below `{}`", base.display());
        Failure::environment(codes::E0731.id, message).caused_by(error)
    })?;
    if cx.terminal.is_json() {
        let plugins: Vec<Value> = all.iter().map(as_json).collect();
        cx.answer_json(true, json!({ "plugins": plugins }));
        return Ok(Exit::Done);
    }
    if all.is_empty() {
        cx.terminal.say("No plugin is installed.");
        return Ok(Exit::Done);
    }
    let row = |one: &Installed| {
        vec![
            one.plugin.to_string(),
            format!("sha256: {}", one.sha256),
            one.path.display().to_string(),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    cx.terminal.answer(columns::render(&[Align::Left; 3], &rows).trim_end());
    Ok(Exit::Done)
}

/// A plugin, as `list` and `install` print it.
pub(super) fn as_json(one: &Installed) -> Value {
    json!({
        "kind": one.plugin.kind.name(),
        "team": one.plugin.team,
        "name": one.plugin.name,
        "version": one.plugin.version,
        "path": one.path,
        "sha256": one.sha256,
    })
}

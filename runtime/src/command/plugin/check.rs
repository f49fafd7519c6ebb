//! `highwater plugin check`: does a plugin do what the protocol asks of it.

use cloudquery::check::{Checked, check as try_plugin};
use serde_json::{Value, json};

use super::super::Cx;
use crate::cli::PluginCheckArgs;
use crate::exit::{Ended, Exit};
use crate::terminal::columns::{self, Align};

pub(in crate::command) async fn check(cx: &Cx, args: PluginCheckArgs) -> Ended {
    cx.log_quietly(None);
    let checked = try_plugin(&args.file, args.spec).await;
    let is_well = checked.iter().all(|step| step.outcome.is_ok());
    if cx.terminal.is_json() {
        let steps: Vec<Value> = checked.iter().map(as_json).collect();
        cx.answer_json(is_well, json!({ "steps": steps }));
    } else {
        let row = |step: &Checked| match &step.outcome {
            Ok(found) => vec![step.what.to_owned(), "ok".to_owned(), found.clone()],
            Err(error) => vec![step.what.to_owned(), "failed".to_owned(), error.chain()],
        };
        let rows: Vec<_> = checked.iter().map(row).collect();
        cx.terminal.answer(columns::render(&[Align::Left; 3], &rows).trim_end());
    }
    Ok(if is_well { Exit::Done } else { Exit::No })
}

fn as_json(step: &Checked) -> Value {
    let error = step.outcome.as_ref().err();
    json!({
        "step": step.what,
        "ok": error.is_none(),
        "found": step.outcome.as_ref().ok(),
        "code": error.map(api::Error::code),
        "error": error.map(api::Error::chain),
    })
}

//! `highwater explain`

use serde_json::json;

use super::Cx;
use crate::cli::ExplainArgs;
use crate::codes;
use crate::exit::{Ended, Exit, Failure};
use crate::terminal::columns::{self, Align};

pub(super) fn explain(cx: &Cx, args: &ExplainArgs) -> Ended {
    let Some(wanted) = &args.code else { return Ok(list(cx)) };
    let Some(code) = codes::find(wanted) else {
        let near = codes::all().into_iter().map(|code| code.id);
        let near = near.max_by(|a, b| similarity(a, wanted).total_cmp(&similarity(b, wanted)));
        return Err(Failure::input(
            codes::E0733.id,
            format!("cannot explain `{wanted}`: there is no such code"),
        )
        .hint(format!(
            "`highwater explain` lists all; the nearest is `{}`",
            near.unwrap_or_default()
        ))
        .into());
    };
    if cx.terminal.is_json() {
        cx.answer_json(
            true,
            json!({"code": code.id, "title": code.title, "explain": code.explain}),
        );
    } else {
        let paint = cx.terminal.paint_out();
        cx.terminal.answer(format!(
            "{}\n\n{}",
            paint.strong(&format!("{}: {}", code.id, code.title)),
            code.explain.trim()
        ));
    }
    Ok(Exit::Done)
}

fn list(cx: &Cx) -> Exit {
    let all = codes::all();
    if cx.terminal.is_json() {
        let codes: Vec<_> = all
            .iter()
            .map(|code| json!({"code": code.id, "title": code.title}))
            .collect();
        cx.answer_json(true, json!({ "codes": codes }));
    } else {
        let rows: Vec<_> = all
            .iter()
            .map(|code| vec![code.id.to_owned(), code.title.to_owned()])
            .collect();
        cx.terminal
            .answer(columns::render(&[Align::Left, Align::Left], &rows).trim_end());
    }
    Exit::Done
}

fn similarity(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(a, &b.to_uppercase())
}

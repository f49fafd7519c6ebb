//! `highwater status`

use serde_json::{Value, json};

use super::Cx;
use crate::cli::StatusArgs;
use crate::client::Client;
use crate::codes;
use crate::exit::{Ended, Exit, Failure, Stop};
use crate::status::{self, Pipeline};

pub(super) async fn status(cx: &Cx, args: StatusArgs) -> Ended {
    let client = Client::find(&cx.global, &cx.terminal, cx.name)?;
    if args.live {
        return live(cx, &client).await;
    }
    loop {
        let exit = match look(cx, &client, &args).await {
            // Someone who watches wants to see it come back.
            Err(Stop::Failed(failure)) if args.watch => {
                cx.terminal.complain(format!("{}{}", clear(cx), failure.message));
                Exit::Done
            }
            looked => looked?,
        };
        if !args.watch {
            return Ok(exit);
        }
        tokio::select! {
            () = tokio::time::sleep(args.interval) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
    }
}

async fn look(cx: &Cx, client: &Client, args: &StatusArgs) -> Ended {
    let path = match &args.pipeline {
        Some(pipeline) => format!("/api/v1/pipelines/{}", escape(pipeline)),
        None => "/api/v1/pipelines".to_owned(),
    };
    let body = client.get(&path).await?.body()?;
    let pipelines = match &args.pipeline {
        Some(_) => json!([body]),
        None => body["pipelines"].clone(),
    };
    let pipelines: Vec<Pipeline> = serde_json::from_value(pipelines).map_err(|error| {
        Failure::environment(codes::E0725.id, "cannot understand the runtime's answer")
            .caused_by(error)
            .hint("ask with the version of highwater that runs; `highwater version` prints this one")
    })?;
    let is_well = pipelines.iter().all(Pipeline::is_well);
    let exit = if args.check && !is_well { Exit::No } else { Exit::Done };
    show(cx, args, body, &pipelines, exit);
    Ok(exit)
}

fn show(cx: &Cx, args: &StatusArgs, body: Value, pipelines: &[Pipeline], exit: Exit) {
    if !cx.terminal.is_json() {
        let text = status::render_views(pipelines, cx.terminal.paint_out(), args.pipeline.is_some());
        cx.terminal.answer(format!("{}{}", clear(cx), text.trim_end()));
    } else if args.watch {
        cx.terminal
            .answer(json!({"type": "status", "pipelines": body.get("pipelines").unwrap_or(&body)}).to_string());
    } else {
        cx.answer_json(exit == Exit::Done, body);
    }
}

async fn live(cx: &Cx, client: &Client) -> Ended {
    let answer = client.get("/livez").await;
    let (is_live, body) = match answer {
        Ok(answer) => (answer.status.is_success(), answer.body),
        // Nobody there is an answer to this question.
        Err(failure) => (false, json!({"live": false, "reason": failure.message})),
    };
    if cx.terminal.is_json() {
        cx.answer_json(is_live, body);
    } else {
        let reason = body["reason"]
            .as_str()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        cx.terminal
            .answer(format!("{}{reason}", if is_live { "live" } else { "not live" }));
    }
    Ok(if is_live { Exit::Done } else { Exit::No })
}

/// Where a person watches, each look replaces the last.
fn clear(cx: &Cx) -> &'static str {
    let is_watched = cx.terminal.is_out_terminal() && !cx.terminal.is_json();
    if is_watched && std::env::args().any(|arg| arg == "--watch") {
        "\u{1b}[H\u{1b}[2J"
    } else {
        ""
    }
}

/// A name as a segment of a path.
pub(super) fn escape(name: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    name.bytes().map(one).collect()
}

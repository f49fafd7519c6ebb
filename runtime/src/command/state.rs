//! `highwater state`

use state::{Contents, SledStore};

use super::Cx;
use crate::cli::StateCommand;
use crate::configuration::Configuration;
use crate::exit::{Ended, Exit};
use crate::terminal::columns::{self, Align};

pub(super) fn state(cx: &Cx, command: &StateCommand) -> Ended {
    let configuration = Configuration::read(&cx.global, &[]);
    cx.log_quietly(Some(&configuration.loaded));
    let plan = configuration.plan(&cx.terminal, cx.name)?;
    let dir = configuration.state_dir(plan);
    match command {
        StateCommand::Export => cx.terminal.answer(format!("{:#}", SledStore::export(&dir)?)),
        StateCommand::Show if cx.terminal.is_json() => cx.answer_json(true, SledStore::export(&dir)?),
        StateCommand::Show => {
            let (contents, notices) = SledStore::read(&dir)?;
            for notice in notices {
                cx.terminal.complain(format!("{}: {notice}", notice.code));
            }
            cx.terminal.answer(render(&contents).trim_end());
        }
    }
    Ok(Exit::Done)
}

fn render(contents: &Contents) -> String {
    let head = [
        "pipeline",
        "destination",
        "epoch",
        "generation",
        "position",
        "streams",
        "",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (pipeline, of_pipeline) in &contents.pipelines {
        for (destination, stored) in &of_pipeline.destinations {
            let position = stored
                .checkpoint
                .log_marks()
                .map(|(_, position)| position.order.to_string())
                .next();
            let live = stored
                .checkpoint
                .streams
                .values()
                .filter(|state| state.is_live())
                .count();
            rows.push(vec![
                pipeline.to_string(),
                destination.to_string(),
                stored.epoch.to_string(),
                stored.generation.to_string(),
                position.unwrap_or_else(|| "–".to_owned()),
                format!("{live} of {} live", stored.checkpoint.streams.len()),
                stored
                    .needs_resync
                    .clone()
                    .map(|why| format!("needs resync: {why}"))
                    .unwrap_or_default(),
            ]);
        }
    }
    let align = [
        Align::Left,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Left,
        Align::Left,
    ];
    columns::render(&align, &rows)
}

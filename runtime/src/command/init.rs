//! `highwater init`: a configuration for a source, written and then checked by the same code that runs it.

mod draft;

use std::path::{Path, PathBuf};

use model::StreamSchema;
use std::sync::Arc;

use super::Cx;
use crate::assembly;
use crate::cli::InitArgs;
use crate::codes;
use crate::configuration::Configuration;
use crate::exit::{Ended, Exit, Failure, Stop};
use crate::terminal::figures;
use draft::{DestinationDraft, Draft, SourceDraft};

/// What editors read, beside the configuration.
const SCHEMA_FILE: &str = ".highwater/schema.json";

pub(super) async fn init(cx: &Cx, args: InitArgs) -> Ended {
    cx.log_quietly(None);
    let file = match cx.global.config.first() {
        Some(path) if path.is_dir() => path.join("highwater.yaml"),
        Some(path) => path.clone(),
        None => PathBuf::from("highwater.yaml"),
    };
    if file.exists() && !args.force {
        return Err(
            Failure::input(codes::E0730.id, format!("cannot write `{}`: it exists", file.display()))
                .hint("add `--force` to overwrite it, or name another with `--config`")
                .into(),
        );
    }
    let directory = file.parent().map(Path::to_owned).unwrap_or_default();
    let answers = answers(cx, &args)?;
    let source = SourceDraft::parse(&answers.from, &directory)?;
    let streams = streams(&source, &directory).await?;
    if streams.is_empty() {
        return Err(Failure::input(
            codes::E0202.id,
            format!("cannot write a configuration: `{}` has no table", source.shown()),
        )
        .hint("name a database that has some")
        .into());
    }
    let chosen = choose(cx, &args, &streams)?;
    let destinations: Result<Vec<_>, _> = answers
        .to
        .iter()
        .map(|to| DestinationDraft::parse(to, &directory))
        .collect();
    let draft = Draft {
        name: args.name.clone().unwrap_or_else(|| source.name()),
        source,
        streams: chosen,
        destinations: destinations?,
    };
    write(&file, &draft.render(SCHEMA_FILE))?;
    write(
        &directory.join(SCHEMA_FILE),
        &format!(
            "{:#}\n",
            config::config_schema(&assembly::catalog(&assembly::registry()))
        ),
    )?;
    cx.terminal.step(
        "Created",
        format!(
            "{} ({})",
            file.display(),
            figures::counted(draft.streams.len(), "stream")
        ),
    );
    let written = Configuration::read(&cx.global, std::slice::from_ref(&file));
    if written.loaded.has_errors() {
        written.print_findings(&cx.terminal, cx.name);
        return Ok(Exit::Input);
    }
    cx.terminal.say(format!(
        "\n  Look at it, then:\n    highwater validate --connect{0}\n    highwater run{0}",
        flag(&file)
    ));
    Ok(Exit::Done)
}

struct Answers {
    from: String,
    to: Vec<String>,
}

/// From the options, or asked for at a terminal.
fn answers(cx: &Cx, args: &InitArgs) -> Result<Answers, Stop> {
    let to = if args.to.is_empty() {
        vec!["parquet".to_owned()]
    } else {
        args.to.clone()
    };
    if let Some(from) = &args.from {
        return Ok(Answers { from: from.clone(), to });
    }
    if !cx.terminal.can_ask() {
        return Err(
            Failure::input(codes::E0732.id, "cannot ask for the source: there is no terminal")
                .hint("name it: `highwater init --from ./shop.db --to parquet`")
                .into(),
        );
    }
    let from = ask(cx, "Which SQLite database is the source?", "")?;
    let to = ask(
        cx,
        "Where to (parquet, csv, ndjson, sqlite, stdout; several with commas)?",
        &to.join(","),
    )?;
    Ok(Answers {
        from,
        to: to.split(',').map(|to| to.trim().to_owned()).collect(),
    })
}

/// All streams, or those named at a terminal.
fn choose(cx: &Cx, args: &InitArgs, streams: &[Arc<StreamSchema>]) -> Result<Vec<String>, Stop> {
    let all: Vec<String> = streams.iter().map(|schema| schema.stream().to_string()).collect();
    if args.from.is_some() || !cx.terminal.can_ask() {
        return Ok(all);
    }
    cx.terminal.say(format!("It has {}.", all.join(", ")));
    let chosen = ask(cx, "Which of them (commas, `*` for all)?", "*")?;
    if chosen == "*" {
        return Ok(all);
    }
    Ok(chosen
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect())
}

fn ask(cx: &Cx, question: &str, default: &str) -> Result<String, Stop> {
    let answer = cx.terminal.ask(question, default);
    answer.map_err(|error| {
        Failure::environment(codes::E0731.id, "cannot read the answer")
            .caused_by(error)
            .into()
    })
}

async fn streams(source: &SourceDraft, directory: &Path) -> Result<Vec<Arc<StreamSchema>>, Stop> {
    let registry = assembly::registry();
    let cx = api::BuildContext {
        base_dir: directory.to_owned(),
    };
    let built = registry
        .sources
        .get(source.connector())
        .map(|entry| entry.build(source.spec(), &cx));
    match built {
        Some(Ok(source)) => Ok(source.discover().await?),
        Some(Err(error)) => Err(Failure::input("E0127", error.message).into()),
        None => Err(Failure::input(
            "E0112",
            format!("cannot read `{}`: there is no such connector", source.connector()),
        )
        .into()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)
    };
    write().map_err(|error| {
        Failure::environment(codes::E0731.id, format!("cannot write `{}`", path.display())).caused_by(error)
    })
}

fn flag(file: &Path) -> String {
    if file == Path::new("highwater.yaml") {
        String::new()
    } else {
        format!(" --config {}", file.display())
    }
}

//! `highwater test-connection`: is everything there, and may we.

use api::{Error, Result};
use config::RuntimePlan;
use serde_json::{Value, json};

use super::Cx;
use crate::assembly::Blueprint;
use crate::cli::TestConnectionArgs;
use crate::configuration::Configuration;
use crate::exit::{Ended, Exit};
use crate::terminal::columns::{self, Align};

pub(super) async fn test_connection(cx: &Cx, args: TestConnectionArgs) -> Ended {
    let configuration = Configuration::read(&cx.global, &args.files);
    cx.log_quietly(Some(&configuration.loaded));
    let runtime = configuration.plan(&cx.terminal, cx.name)?.runtime.clone();
    let blueprints = configuration.blueprints(&args.pipeline)?;
    let tried = futures::future::join_all(blueprints.iter().map(|blueprint| try_all(blueprint, &runtime))).await;
    let tried: Vec<Tried> = tried.into_iter().flatten().collect();
    let verdicts = tried.iter().filter_map(|tried| tried.error.as_ref());
    let exit = verdicts.fold(Exit::Done, |exit, error| exit.worst(Exit::of(error.retry())));
    if cx.terminal.is_json() {
        let components: Vec<Value> = tried.iter().map(Tried::as_json).collect();
        cx.answer_json(exit == Exit::Done, json!({ "components": components }));
        return Ok(exit);
    }
    let rows: Vec<Vec<String>> = tried.iter().map(Tried::as_row).collect();
    cx.terminal.answer(columns::render(&[Align::Left; 3], &rows).trim_end());
    for tried in &tried {
        if let Some(error) = &tried.error {
            cx.say_error(&tried.name, error);
        }
    }
    Ok(exit)
}

/// One source or destination.
struct Tried {
    /// `shop`, `shop/lake`.
    name: String,
    role: &'static str,
    connector: String,
    error: Option<Error>,
}

impl Tried {
    fn as_json(&self) -> Value {
        json!({
            "name": self.name,
            "role": self.role,
            "connector": self.connector,
            "ok": self.error.is_none(),
            "code": self.error.as_ref().map(Error::code),
            "error": self.error.as_ref().map(Error::chain),
            "hint": self.error.as_ref().and_then(Error::remedy),
        })
    }

    fn as_row(&self) -> Vec<String> {
        let word = if self.error.is_none() { "ok" } else { "failed" };
        vec![
            self.name.clone(),
            format!("{} {}", self.role, self.connector),
            word.to_owned(),
        ]
    }
}

/// Its source and its destinations, all at once.
async fn try_all(blueprint: &Blueprint, runtime: &RuntimePlan) -> Vec<Tried> {
    let plan = &blueprint.plan;
    let source = async {
        Tried {
            name: plan.name.clone(),
            role: "source",
            connector: plan.source.connector.clone(),
            error: try_source(blueprint, runtime).await.err(),
        }
    };
    let destinations = plan.destinations.iter().map(|destination| async {
        let checked = async { worst(blueprint.make_destination(destination)?.check().await?) };
        Tried {
            name: format!("{}/{}", plan.name, destination.name),
            role: "destination",
            connector: destination.connector.clone(),
            error: checked.await.err(),
        }
    });
    let (source, destinations) = futures::future::join(source, futures::future::join_all(destinations)).await;
    std::iter::once(source).chain(destinations).collect()
}

async fn try_source(blueprint: &Blueprint, runtime: &RuntimePlan) -> Result<()> {
    let discovered = blueprint.source.discover().await?;
    let streams = blueprint.resolve(&discovered).streams;
    worst(blueprint.source.check(&blueprint.source_plan(streams, runtime)).await?)
}

/// The first of what was found that is an error. What is only doubtful is for `validate --connect`.
fn worst(found: Vec<Error>) -> Result<()> {
    match found.into_iter().find(|error| error.code().starts_with('E')) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

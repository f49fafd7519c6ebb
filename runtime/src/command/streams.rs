//! `highwater streams`: what the sources have.

use std::sync::Arc;

use model::StreamSchema;
use serde_json::{Value, json};

use super::Cx;
use crate::cli::StreamsArgs;
use crate::configuration::Configuration;
use crate::exit::{Ended, Exit};
use crate::running::{Looked, look_at_all, report};
use crate::terminal::columns::{self, Align};
use crate::terminal::figures;

pub(super) async fn streams(cx: &Cx, args: StreamsArgs) -> Ended {
    let mut configuration = Configuration::read(&cx.global, &args.files);
    cx.log_quietly(Some(&configuration.loaded));
    configuration.plan(&cx.terminal, cx.name)?;
    let blueprints = configuration.blueprints(&args.pipeline)?;
    let looked = look_at_all(blueprints).await;
    let mut exit = Exit::Done;
    for looked in &looked {
        exit = exit.worst(report(&mut configuration.loaded, looked));
    }
    // What can be shown is shown, also if something else is wrong.
    let shown: Vec<&Looked> = looked.iter().filter(|looked| looked.resolved.is_ok()).collect();
    if cx.terminal.is_json() {
        let pipelines: Vec<Value> = shown.iter().map(|looked| as_json(looked)).collect();
        cx.answer_findings(exit == Exit::Done, &configuration, json!({ "pipelines": pipelines }));
        return Ok(exit);
    }
    for looked in shown {
        cx.terminal.answer(as_text(looked, args.schema).trim_end());
    }
    if exit != Exit::Done {
        configuration.print_findings(&cx.terminal, cx.name);
    }
    Ok(exit)
}

fn discovered(looked: &Looked) -> &[Arc<StreamSchema>] {
    looked.resolved.as_ref().map_or(&[], |resolved| &resolved.discovered)
}

fn is_selected(looked: &Looked, schema: &StreamSchema) -> bool {
    let resolved = looked.resolved.as_ref().ok();
    resolved.is_some_and(|resolved| resolved.streams.iter().any(|stream| stream.id == *schema.stream()))
}

fn as_json(looked: &Looked) -> Value {
    let columns = |schema: &StreamSchema| -> Vec<Value> {
        let fields = schema.arrow().fields().iter();
        fields
            .map(|field| {
                json!({
                    "name": field.name(),
                    "type": field.data_type().to_string(),
                    "nullable": field.is_nullable(),
                })
            })
            .collect()
    };
    let stream = |schema: &Arc<StreamSchema>| {
        json!({
            "stream": schema.stream().to_string(),
            "selected": is_selected(looked, schema),
            "key": schema.key_names().collect::<Vec<_>>(),
            "columns": columns(schema),
        })
    };
    json!({
        "pipeline": looked.blueprint.plan.name,
        "connector": looked.blueprint.plan.source.connector,
        "streams": discovered(looked).iter().map(stream).collect::<Vec<_>>(),
    })
}

fn as_text(looked: &Looked, with_columns: bool) -> String {
    let plan = &looked.blueprint.plan;
    let mut screen = format!("{}: {}\n", plan.name, plan.source.connector);
    let row = |schema: &Arc<StreamSchema>| {
        let key = schema.key_names().collect::<Vec<_>>().join(", ");
        vec![
            format!("  {}", schema.stream()),
            figures::counted(schema.arrow().fields().len(), "column"),
            if key.is_empty() {
                "no key".to_owned()
            } else {
                format!("key {key}")
            },
            if is_selected(looked, schema) {
                ""
            } else {
                "not selected"
            }
            .to_owned(),
        ]
    };
    let align = [Align::Left, Align::Right, Align::Left, Align::Left];
    if !with_columns {
        let rows: Vec<_> = discovered(looked).iter().map(row).collect();
        screen.push_str(&columns::render(&align, &rows));
        return screen;
    }
    for schema in discovered(looked) {
        screen.push_str(&columns::render(&align, &[row(schema)]));
        let fields = schema.arrow().fields().iter();
        let rows: Vec<_> = fields
            .map(|field| {
                let null = if field.is_nullable() { "" } else { "not null" };
                vec![
                    format!("    {}", field.name()),
                    field.data_type().to_string(),
                    null.to_owned(),
                ]
            })
            .collect();
        screen.push_str(&columns::render(&[Align::Left; 3], &rows));
    }
    screen
}

//! `highwater schema`

use config::Role;
use serde_json::{Map, Value};

use super::Cx;
use crate::assembly;
use crate::cli::SchemaArgs;
use crate::exit::{Ended, Exit, Failure};

pub(super) fn schema(cx: &Cx, args: &SchemaArgs) -> Ended {
    let catalog = assembly::catalog(&assembly::registry());
    let schema = match &args.connector {
        None => config::config_schema(&catalog),
        Some(name) => {
            let known: Vec<&str> = catalog.iter().map(|(name, _)| name).collect();
            let info = catalog.get(name).ok_or_else(|| {
                Failure::input("E0112", format!("cannot describe `{name}`: there is no such connector"))
                    .hint(format!("there is `{}`", known.join("`, `")))
            })?;
            let roles = [Role::Source, Role::Transformer, Role::Destination];
            let specs = roles
                .into_iter()
                .filter_map(|role| Some((role.name().to_owned(), info.spec_schema(role)?.clone())));
            Value::Object(specs.collect::<Map<_, _>>())
        }
    };
    // The schema itself is what editors want, so it stands in no envelope.
    cx.terminal.answer(format!("{schema:#}"));
    Ok(Exit::Done)
}

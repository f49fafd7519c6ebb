//! What would become of a plugin's tables, in the plugin's own words.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use api::{DestinationOptions, Retry, WriteMode};
use bytes::Bytes;
use model::{StreamId, StreamSchema};
use proto::plugin_v3::assess_tables::{Category, ColumnFinding, Request, Response, TableFinding, TablePair};
use proto::{Decoder, Table as WireTable};
use tonic::Code;

use super::CloudQueryDestinationSpec;
use super::table::Table;
use crate::codes;
use crate::error::{Result, one_line};
use crate::plugin::Plugin;
use crate::registry::Kind;

/// Asks the plugin about the tables that are not what they were when it was last told of them. Many plugins have no such call.
pub(super) async fn assess(
    spec: &CloudQueryDestinationSpec,
    options: DestinationOptions,
    base: &Path,
    before: Option<&BTreeMap<StreamId, Bytes>>,
    now: &[Arc<StreamSchema>],
) -> Result<Vec<api::Error>> {
    let Some(before) = before else {
        let message = format!(
            "what a change of tables would do in plugin `{}` is not known",
            spec.name()
        );
        let note = api::Error::new(codes::ASSESSED, Retry::Never, message);
        return Ok(vec![
            note.hint("stop the runtime that uses the state directory, and validate again"),
        ]);
    };
    let pairs = changed(spec, options, before, now)?;
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let plugin = Plugin::start(Kind::Destination, spec.name(), spec.plugin(), base).await?;
    let outcome = ask(&plugin, spec, pairs).await;
    plugin.stop().await;
    outcome
}

async fn ask(plugin: &Plugin, spec: &CloudQueryDestinationSpec, tables: Vec<TablePair>) -> Result<Vec<api::Error>> {
    plugin.init(spec.plugin(), true).await?;
    let request = Request {
        tables,
        migrate_force: spec.migrate_force(),
    };
    let mut client = plugin.client();
    let answer = async {
        match client.assess_tables(request).await {
            // Python's SDK answers `unknown` to what it does not have.
            Err(status) if matches!(status.code(), Code::Unimplemented | Code::Unknown) => {
                Ok(tonic::Response::new(Response::default()))
            }
            answer => answer,
        }
    };
    let answer = plugin.call("AssessTables", answer).await?;
    let say = |finding: &TableFinding| said(plugin.name(), finding, spec.migrate_force());
    Ok(answer.tables.iter().filter_map(say).collect())
}

/// Before and now of each table that was described and is another one now.
fn changed(
    spec: &CloudQueryDestinationSpec,
    options: DestinationOptions,
    before: &BTreeMap<StreamId, Bytes>,
    now: &[Arc<StreamSchema>],
) -> Result<Vec<TablePair>> {
    let mut decoder = Decoder::default();
    let mut pairs = Vec::new();
    for (stream, old) in before {
        // What cannot be read is of another version of ours: nothing is known of that table.
        let Some(was) = described(&mut decoder, old) else {
            continue;
        };
        let schema = now.iter().find(|schema| schema.stream() == stream);
        let table = schema.map(|schema| {
            let appends = options.write_mode(schema.has_key()) == WriteMode::Append;
            Table::new(schema, appends, spec.tables()).and_then(|table| table.payload())
        });
        let table = table
            .transpose()
            .map_err(|misfit| misfit.of(spec.name(), &stream.flat_name()))?;
        // The bytes of one table differ from encoding to encoding: its metadata have no order.
        if table.as_ref().and_then(|table| described(&mut decoder, table)) != Some(was) {
            pairs.push(TablePair {
                old_table: old.clone(),
                new_table: table.unwrap_or_default(),
            });
        }
    }
    Ok(pairs)
}

fn described(decoder: &mut Decoder, payload: &Bytes) -> Option<WireTable> {
    let schema = decoder.schema(payload).ok()?;
    WireTable::of_schema(&schema).ok()
}

fn said(plugin: &str, finding: &TableFinding, is_forced: bool) -> Option<api::Error> {
    let code = match finding.category() {
        Category::NoChange => return None,
        Category::ManualMigrationRequired | Category::FileSchemaChanged => codes::MIGRATION,
        Category::AutomaticallyMigratable | Category::TableRemoved | Category::Unknown => codes::ASSESSED,
    };
    let pick = |safe: &str, forced: &str| if is_forced { forced.to_owned() } else { safe.to_owned() };
    let mut parts = vec![pick(&finding.safe_mode_behavior, &finding.forced_mode_behavior)];
    let column = |column: &ColumnFinding| {
        let types = match (column.old_type.as_str(), column.new_type.as_str()) {
            ("", new) => new.to_owned(),
            (old, "") => old.to_owned(),
            (old, new) => format!("{old} -> {new}"),
        };
        let behavior = pick(&column.safe_mode_behavior, &column.forced_mode_behavior);
        format!("column `{}` ({types}): {behavior}", column.column_name)
    };
    parts.extend(
        finding
            .columns
            .iter()
            .filter(|it| it.category() != Category::NoChange)
            .map(column),
    );
    parts.extend(Some(finding.incomplete_coverage_reason.clone()));
    parts.retain(|part| !part.is_empty());
    let message = format!(
        "plugin `{plugin}` says of table `{}`: {}",
        finding.table_name,
        parts.join("; ")
    );
    let error = api::Error::new(code, Retry::Never, one_line(&message));
    Some(match code {
        codes::MIGRATION if !is_forced => {
            error.hint("change the table by hand, or set `migrate_force: true`, which may drop it and make it again")
        }
        _ => error,
    })
}

use arrow::datatypes::{DataType, Field};
use model::{ChangeSet, StreamId};
use serde_json::{Map, Value, json};

use super::{DestinationHarness, Trial};
use crate::Retry;
use crate::conformance::{Promise, Session, Unkept, ensure, sample};

/// Stream and column names of any characters arrive as they are, and never as part of a statement or a path.
pub async fn names_of_any_characters_are_carried(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?;
    let names = [
        "select",
        "with space",
        "quo\"te",
        "apo'strophe",
        "`tick`",
        "[bracket]",
        "semi;colon --",
        "dot.name",
        "per%cent",
        "ünï 漢",
        "back\\slash",
        "{stream}",
        "$1",
        "?",
        ":name",
        "a/b",
        "CamelCase",
    ];
    let streams = [
        StreamId::new("drop table \"x\"; --"),
        StreamId::new("../../up"),
        StreamId::in_schema("sch.ema", "na/me"),
        StreamId::in_schema("S p", "tab'le\"[]`"),
        StreamId::new("{date}"),
        StreamId::new(".hidden"),
        StreamId::new("ünï 漢"),
        StreamId::new("l".repeat(100)),
    ];
    let mut session = trial.open().await?;
    for (order, stream) in (1..).zip(streams) {
        let mut fields = vec![Field::new("id", DataType::Int64, false)];
        fields.extend(names.map(|name| Field::new(name, DataType::Utf8, true)));
        let schema = sample::schema(stream, fields, ["id"]);
        let mut row = Map::from_iter(names.map(|name| (name.to_owned(), json!(format!("value of {name}")))));
        row.insert("id".to_owned(), json!(1));
        let batch = sample::changes(&schema)
            .at(order)
            .insert(Value::Object(row.clone()))
            .batch();
        session
            .apply(sample::changeset((order > 1).then_some(order - 1), order, [batch]))
            .await?;
        trial.expect(&schema, &[Value::Object(row)], "after a commit").await?;
    }
    Ok(session.close().await?)
}

/// Applies, and accepts a refusal that names what it refuses. `true` if it was applied.
async fn applied_or_refused(session: &mut Session, changeset: ChangeSet, names: &[&str]) -> Result<bool, Unkept> {
    let Err(error) = session.apply(changeset).await else {
        return Ok(true);
    };
    ensure!(
        matches!(error.retry(), Retry::Never | Retry::Operator),
        "what cannot be kept apart is refused, but would be retried: {error:?}"
    );
    let said = format!("{} {}", error.chain(), error.remedy().unwrap_or_default());
    ensure!(
        names.iter().any(|name| said.contains(name)),
        "the refusal names none of {names:?}: {error:?}"
    );
    Ok(false)
}

/// Columns whose names differ in case alone never share a value.
pub async fn columns_that_differ_in_case_are_kept_apart_or_refused(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?;
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("note", DataType::Utf8, true),
        Field::new("Note", DataType::Utf8, true),
    ];
    let schema = sample::schema(StreamId::new("cases"), fields, ["id"]);
    let row = json!({"id": 1, "note": "lower", "Note": "upper"});
    let batch = sample::changes(&schema).insert(row.clone()).batch();
    let mut session = trial.open().await?;
    if applied_or_refused(&mut session, sample::changeset(None, 1, [batch]), &["note", "Note"]).await? {
        trial.expect(&schema, &[row], "after a commit").await?;
    }
    Ok(())
}

/// `a.b_c` and `a_b.c`, and streams whose names differ in case alone, never share a table.
pub async fn streams_with_one_flat_name_are_kept_apart_or_refused(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?;
    let pairs = [
        [StreamId::in_schema("a", "b_c"), StreamId::in_schema("a_b", "c")],
        [StreamId::new("plain"), StreamId::new("Plain")],
    ];
    for (at, pair) in (0..).zip(pairs) {
        let lane = crate::Lane {
            pipeline: model::PipelineId::new(format!("names-{at}")),
            ..sample::lane()
        };
        let mut session = trial.open_lane(&lane).await?;
        let mut kept = Vec::new();
        for (order, stream) in (1..).zip(&pair) {
            let schema = sample::items_as(stream.clone());
            let row = json!({"id": 1, "name": stream.to_string(), "amount": null});
            let batch = sample::changes(&schema).at(order).insert(row.clone()).batch();
            let changeset = sample::changeset((order > 1).then_some(order - 1), order, [batch]);
            let names: Vec<&str> = pair.iter().map(StreamId::name).collect();
            if !applied_or_refused(&mut session, changeset, &names).await? {
                break;
            }
            kept.push((schema, row));
        }
        for (schema, row) in &kept {
            trial
                .expect(schema, std::slice::from_ref(row), "beside a stream of a similar name")
                .await?;
        }
        drop(session);
    }
    Ok(())
}

use api::conformance::{rows_of, sample};
use model::StreamId;
use proto::Decoder;
use serde_json::json;

use super::super::lines::lines;
use super::*;

/// What an appending plugin gets of a batch: its rows, sorted, as `column=value`.
fn appended(batch: &Batch) -> Vec<String> {
    let mut table = Table::new(&batch.schema, true, TableRules::default()).expect("a table");
    let lines = lines(batch, false).expect("lines");
    let records = table.records(batch, &lines, 1 << 20).expect("records");
    let mut decoder = Decoder::default();
    let rows = records.iter().map(|record| decoder.record(record).expect("readable"));
    let shown = |row: &api::conformance::Row| {
        let shown =
            ["id", "name", OP, POSITION, UNAVAILABLE].map(|column| row[column].clone().unwrap_or("-".to_owned()));
        shown.join(" ")
    };
    rows.flat_map(|rows| rows_of(&rows).iter().map(shown).collect::<Vec<_>>())
        .collect()
}

#[test]
fn an_appended_row_says_what_happened_when_and_what_was_not_sent() {
    let items = sample::items();
    let batch = sample::changes(&items)
        .at(1)
        .insert(json!({"id": 1, "name": "a"}))
        .at(2)
        .rekey(json!({"id": 1}), json!({"id": 2, "name": "b"}))
        .delete(json!({"id": 2, "name": "b"}))
        .batch();
    let rows = appended(&batch);
    let words: Vec<String> = rows
        .iter()
        .map(|row| {
            row.split(' ')
                .enumerate()
                .filter(|(at, _)| *at != 1)
                .map(|(_, word)| word)
                .take(3)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(words, ["1 insert 1", "1 delete 2", "2 update 2", "2 delete 2"]);
    // Of the old row only the key was sent.
    assert!(rows[1].contains("name") && !rows[0].contains("name"), "{rows:?}");
}

#[test]
fn keys_and_not_null_are_not_passed_on_where_rows_are_appended() {
    let table = Table::new(&sample::items(), true, TableRules::default()).expect("a table");
    let schema = Decoder::default()
        .schema(&table.payload().expect("a schema"))
        .expect("readable");
    let wire = WireTable::of_schema(&schema).expect("a table");
    assert!(
        wire.columns
            .iter()
            .all(|column| !column.is_key && column.field.is_nullable())
    );
    let keyed = Table::new(&sample::items(), false, TableRules::default()).expect("a table");
    assert!(keyed.codec.table().columns.iter().any(|column| column.is_key));
}

/// A stream of a plugin's sync, with a key of its own and `_cq_id`.
fn synced() -> Arc<StreamSchema> {
    let source = [(SOURCE.to_owned(), "shop".to_owned())].into();
    let fields = vec![
        Field::new(
            SYNC_TIME,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            true,
        ),
        Field::new("_cq_source_name", DataType::Utf8, true).with_metadata(source),
        Field::new(CQ_ID, DataType::Utf8, true),
        Field::new("id", DataType::Int64, false),
    ];
    Arc::new(StreamSchema::new(StreamId::new("items"), fields, vec!["id".to_owned()]).expect("a schema"))
}

fn keys(rules: TableRules<'_>, appends: bool) -> String {
    let table = Table::new(&synced(), appends, rules).expect("a table");
    let schema = Decoder::default()
        .schema(&table.payload().expect("a schema"))
        .expect("readable");
    let wire = WireTable::of_schema(&schema).expect("a table");
    let keys = wire.columns.iter().filter(|column| column.is_key);
    keys.map(|column| column.field.name().as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn key_is_the_streams_or_the_id_and_a_group_of_syncs_is_part_of_it() {
    let rules = |key, sync_group_id| TableRules { key, sync_group_id };
    for (rules, upserts, appends) in [
        (rules(KeyOf::Stream, None), "id", ""),
        (rules(KeyOf::CqId, None), "_cq_id", ""),
        (rules(KeyOf::Stream, Some("{{YEAR}}")), "id _cq_sync_group_id", ""),
        (rules(KeyOf::CqId, Some("x")), "_cq_id _cq_sync_group_id", ""),
    ] {
        assert_eq!(keys(rules, false), upserts, "{rules:?}");
        assert_eq!(keys(rules, true), appends, "{rules:?}");
    }
}

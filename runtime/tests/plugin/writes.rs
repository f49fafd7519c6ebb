//! CloudQuery's suite for writers, case by case, over the wire.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use proto::Table;
use proto::plugin_v3::predicates_group::GroupingType;
use proto::plugin_v3::write::request::Message;

use crate::place::Place;
use crate::sample;
use crate::table::{column, delete_record, delete_stale, equals, insert, migrate, not_null, stamps, table};

crate::at_each_place! {
    row_that_is_written_twice_is_there_once
    all_types_are_upserted_and_then_null
    last_of_rows_with_one_key_counts
    rows_without_a_key_are_appended
    all_types_are_appended
    stale_is_strictly_older
    stale_rows_of_all_types_go
    record_is_deleted_by_its_value
    delete_without_conditions_is_everything
}

fn keyed() -> Table {
    table(
        "keyed",
        vec![
            not_null("id", DataType::Int64),
            column("name", DataType::Utf8).key(true),
        ],
    )
}

fn ids(ids: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(ids.to_vec()))
}

fn names(names: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(names.to_vec()))
}

async fn row_that_is_written_twice_is_there_once(place: Place) {
    let table = keyed();
    place.caller.write(vec![migrate(&table)]).await.unwrap();
    for _ in 0..2 {
        place
            .caller
            .write(vec![insert(&table, vec![ids(&[1]), names(&["foo"])])])
            .await
            .unwrap();
        assert_eq!(place.caller.read(&table).await.unwrap(), ["1,foo"]);
    }
}

async fn all_types_are_upserted_and_then_null(place: Place) {
    let table = sample::table("all_types", true);
    place.caller.write(vec![migrate(&table)]).await.unwrap();
    place.caller.write(vec![sample::rows(&table, 0)]).await.unwrap();
    assert_eq!(place.caller.read(&table).await.unwrap(), sample::texts(&table, 0));
    place.caller.write(vec![sample::null_rows(&table, 0)]).await.unwrap();
    let read = place.caller.read(&table).await.unwrap();
    assert_eq!(read.len(), sample::ROWS);
    let nulls = ",NULL".repeat(table.columns.len() - 2);
    assert!(read.iter().all(|row| row.ends_with(&nulls)), "{read:?}");
}

async fn last_of_rows_with_one_key_counts(place: Place) {
    let table = keyed();
    let many: Vec<i64> = (0..10).collect();
    place
        .caller
        .write(vec![
            migrate(&table),
            insert(&table, vec![ids(&many), names(&["same"; 10])]),
        ])
        .await
        .unwrap();
    assert_eq!(place.caller.read(&table).await.unwrap(), ["9,same"]);
}

async fn rows_without_a_key_are_appended(place: Place) {
    let table = table(
        "unkeyed",
        vec![not_null("id", DataType::Int64), column("name", DataType::Utf8)],
    );
    place.caller.write(vec![migrate(&table)]).await.unwrap();
    for count in 1..=2 {
        place
            .caller
            .write(vec![insert(&table, vec![ids(&[1]), names(&["foo"])])])
            .await
            .unwrap();
        assert_eq!(place.count("unkeyed").await, count);
    }
}

async fn all_types_are_appended(place: Place) {
    let table = sample::table("all_appended", false);
    place.caller.write(vec![migrate(&table)]).await.unwrap();
    place.caller.write(vec![sample::rows(&table, 0)]).await.unwrap();
    place.caller.write(vec![sample::null_rows(&table, 0)]).await.unwrap();
    assert_eq!(place.count("all_appended").await, 2 * sample::ROWS as u64);
    let empty = place
        .ask("SELECT count(*) FROM all_appended WHERE \"int32\" IS NULL AND \"json\" IS NULL AND \"uuid\" IS NULL")
        .await;
    assert_eq!(empty, sample::ROWS.to_string());
}

const SECOND: i64 = 1_000_000;

fn stamped(table: &Table, micros: i64, of: &[i64]) -> Message {
    let times = TimestampMicrosecondArray::from(vec![micros; of.len()]).with_timezone("UTC");
    insert(table, vec![Arc::new(times), names(&vec!["source"; of.len()]), ids(of)])
}

async fn stale_is_strictly_older(place: Place) {
    let mut columns = stamps();
    columns.push(not_null("id", DataType::Int64).key(true));
    let table = table("stale", columns);
    let at = 1_700_000_000 * SECOND + 5;
    let caller = &place.caller;
    caller
        .write(vec![migrate(&table), stamped(&table, at, &[1])])
        .await
        .unwrap();
    caller.write(vec![delete_stale("stale", "source", at)]).await.unwrap();
    assert_eq!(place.count("stale").await, 1);
    caller.write(vec![stamped(&table, at + SECOND, &[2])]).await.unwrap();
    assert_eq!(place.count("stale").await, 2);
    caller
        .write(vec![delete_stale("stale", "another", at + SECOND)])
        .await
        .unwrap();
    assert_eq!(place.count("stale").await, 2, "rows of another source stay");
    caller
        .write(vec![delete_stale("stale", "source", at + SECOND)])
        .await
        .unwrap();
    assert_eq!(place.ask("SELECT max(id) FROM stale").await, "2");
    assert_eq!(place.count("stale").await, 1);
}

async fn stale_rows_of_all_types_go(place: Place) {
    let table = sample::stamped_table("stale_all");
    let at = 1_700_000_000 * SECOND;
    let caller = &place.caller;
    let delete = |micros| vec![delete_stale("stale_all", "source", micros)];
    let rows = sample::stamped_rows(&table, at, 0, false);
    caller.write(vec![migrate(&table), rows]).await.unwrap();
    caller.write(delete(at)).await.unwrap();
    assert_eq!(place.count("stale_all").await, 10);
    caller
        .write(vec![sample::stamped_rows(&table, at + SECOND, 10, true)])
        .await
        .unwrap();
    assert_eq!(place.count("stale_all").await, 20);
    caller.write(delete(at + SECOND)).await.unwrap();
    assert_eq!(place.count("stale_all").await, 10);
    assert_eq!(
        place
            .ask("SELECT count(*) FROM stale_all WHERE \"int64\" IS NULL")
            .await,
        "10"
    );
}

async fn record_is_deleted_by_its_value(place: Place) {
    let table = keyed();
    let where_id = |id| delete_record("keyed", vec![(GroupingType::And, vec![equals("id", ids(&[id]))])]);
    let caller = &place.caller;
    caller
        .write(vec![migrate(&table), insert(&table, vec![ids(&[0]), names(&["a"])])])
        .await
        .unwrap();
    caller.write(vec![where_id(1)]).await.unwrap();
    assert_eq!(place.count("keyed").await, 1);
    caller.write(vec![where_id(0)]).await.unwrap();
    assert_eq!(place.count("keyed").await, 0);
}

async fn delete_without_conditions_is_everything(place: Place) {
    let table = keyed();
    let caller = &place.caller;
    caller
        .write(vec![
            migrate(&table),
            insert(&table, vec![ids(&[0, 1]), names(&["a", "b"])]),
        ])
        .await
        .unwrap();
    caller.write(vec![delete_record("keyed", Vec::new())]).await.unwrap();
    assert_eq!(place.count("keyed").await, 0);
}

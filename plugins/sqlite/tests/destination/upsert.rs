//! Rows by key where it gets difficult.

use api::conformance::sample;
use api::{Deletes, DestinationOptions, Retry, WriteMode};
use arrow::array::{Decimal128Array, UInt64Array};
use arrow::datatypes::{DataType, Field};
use model::{Control, Page, Predicate, StreamId, Test};
use serde_json::json;
use std::sync::Arc;

use crate::database::Database;

fn options(deletes: Deletes) -> DestinationOptions {
    DestinationOptions {
        write: Some(WriteMode::Upsert),
        deletes,
        ..DestinationOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_change_of_a_row_that_is_not_there_is_refused() {
    let database = Database::new();
    let mut session = database.open(options(Deletes::Apply)).await;
    for batch in [
        sample::changes(&sample::items())
            .update(json!({"id": 1, "amount": 1}))
            .without(["name"])
            .batch(),
        sample::changes(&sample::items())
            .rekey(json!({"id": 1}), json!({"id": 2, "amount": 1}))
            .without(["name"])
            .batch(),
    ] {
        let error = session.apply(sample::changeset(None, 1, [batch])).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), ("E0537", Retry::Operator), "{error:?}");
        drop(session);
        session = database.open(options(Deletes::Apply)).await;
    }
    assert_eq!(database.rows("items").unwrap_or_default(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_that_is_null_or_not_sent_is_refused() {
    let database = Database::new();
    let fields = vec![
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Utf8, true),
    ];
    let schema = sample::schema(StreamId::new("t"), fields, ["k"]);
    let null = sample::changes(&schema).insert(json!({"k": null, "v": "a"})).batch();
    let missing = sample::changes(&schema)
        .update(json!({"v": "a"}))
        .without(["k"])
        .batch();
    for (batch, said) in [(null, "is NULL"), (missing, "was not sent")] {
        let mut session = database.open(options(Deletes::Apply)).await;
        let error = session.apply(sample::changeset(None, 1, [batch])).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot write a row of `t`: its key column `k` {said}")
        );
        assert_eq!(error.retry(), Retry::Never);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_moves_onto_a_key_that_something_stale_holds() {
    let database = Database::new();
    let mut session = database.open(options(Deletes::Soft)).await;
    let items = sample::items();
    let batch = sample::changes(&items)
        .insert(json!({"id": 1, "name": "one", "amount": 1}))
        .insert(json!({"id": 2, "name": "two", "amount": 2}))
        .delete(json!({"id": 2}))
        .rekey(json!({"id": 1}), json!({"id": 2, "amount": 3}))
        .without(["name"])
        .batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(
        database.lines("SELECT id, name, amount, _highwater_deleted FROM items"),
        ["2, 'one', 3, 0"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn resync_that_empties_first_keeps_softly_deleted_rows_marked() {
    let database = Database::new();
    let mut session = database.open(options(Deletes::Soft)).await;
    let items = sample::items();
    let rows = [1, 2, 3].map(|id| json!({"id": id, "name": "a", "amount": id}));
    let batch = sample::changes(&items).inserts(rows).batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    session.apply(sample::begin_read(&items, 2, true)).await.unwrap();
    let page = Page::new(0, 1);
    let batch = sample::page(&items, 2, page, 1, &[json!({"id": 2, "name": "b", "amount": 2})]);
    let delta = sample::page_delta(items.stream(), 2, page);
    session.apply(model::ChangeSet::rows(delta, vec![batch])).await.unwrap();
    session.apply(sample::end_read(items.stream(), 2)).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(
        database.lines("SELECT id, name, _highwater_deleted FROM items ORDER BY id"),
        ["1, 'a', 1", "2, 'b', 0", "3, 'a', 1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mirror_marks_unmet_rows_where_deletes_are_soft_and_leaves_no_side_table() {
    let database = Database::new();
    let options = DestinationOptions {
        write: Some(WriteMode::Mirror),
        deletes: Deletes::Soft,
        ..DestinationOptions::default()
    };
    let mut session = database.open(options).await;
    let items = sample::items();
    let rows = [1, 2, 3].map(|id| json!({"id": id, "name": "a", "amount": id}));
    session
        .apply(sample::changeset(
            None,
            1,
            [sample::changes(&items).inserts(rows).batch()],
        ))
        .await
        .unwrap();
    // The first of the two reads is superseded before its end.
    session.apply(sample::begin_read(&items, 2, false)).await.unwrap();
    let page = |run, rows: &[serde_json::Value]| {
        let page = Page::new(0, 1);
        let delta = sample::page_delta(items.stream(), run, page);
        model::ChangeSet::rows(delta, vec![sample::page(&items, run, page, 1, rows)])
    };
    session
        .apply(page(2, &[json!({"id": 1, "name": "a", "amount": 1})]))
        .await
        .unwrap();
    session.apply(sample::begin_read(&items, 3, false)).await.unwrap();
    session
        .apply(page(3, &[json!({"id": 3, "name": "c", "amount": 3})]))
        .await
        .unwrap();
    session.apply(sample::end_read(items.stream(), 3)).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(
        database.lines("SELECT id, name, _highwater_deleted FROM items ORDER BY id"),
        ["1, 'a', 1", "2, 'a', 1", "3, 'c', 0"]
    );
    assert_eq!(
        database.lines("SELECT name FROM sqlite_schema WHERE name LIKE '%seen%'"),
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn first_read_notes_no_keys_and_what_a_broken_one_left_is_removed_by_the_next() {
    let database = Database::new();
    let options = DestinationOptions {
        write: Some(WriteMode::Mirror),
        ..DestinationOptions::default()
    };
    let mut session = database.open(options).await;
    let items = sample::items();
    let page = |run, id: i64| {
        let page = Page::new(0, 1);
        let delta = sample::page_delta(items.stream(), run, page);
        let rows = [json!({"id": id, "name": "a", "amount": 1})];
        model::ChangeSet::rows(delta, vec![sample::page(&items, run, page, 1, &rows)])
    };
    let side_tables = "SELECT name FROM sqlite_schema WHERE name LIKE '_highwater_seen%'";
    session.apply(sample::begin_read(&items, 1, false)).await.unwrap();
    session.apply(page(1, 1)).await.unwrap();
    assert_eq!(database.lines(side_tables), Vec::<String>::new());
    session.apply(sample::begin_read(&items, 2, false)).await.unwrap();
    session.apply(page(2, 2)).await.unwrap();
    assert_eq!(database.lines(side_tables), ["'_highwater_seen_items'"]);
    session.apply(sample::end_read(items.stream(), 2)).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(database.lines("SELECT id FROM items"), ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_where_orders_digits_as_numbers() {
    let database = Database::new();
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("d", DataType::Decimal128(9, 2), true),
        Field::new("u", DataType::UInt64, true),
    ];
    let schema = sample::schema(StreamId::new("t"), fields, ["id"]);
    let rows = [
        json!({"id": 1, "d": "-100.00", "u": 9}),
        json!({"id": 2, "d": "-20.00", "u": 10}),
        json!({"id": 3, "d": "0.00", "u": 99}),
        json!({"id": 4, "d": "3.00", "u": 100}),
        json!({"id": 5, "d": "20.00", "u": 18446744073709551615_u64}),
        json!({"id": 6, "d": null, "u": null}),
    ];
    let decimal = |value: i128| -> arrow::array::ArrayRef {
        Arc::new(
            Decimal128Array::from(vec![value])
                .with_precision_and_scale(9, 2)
                .unwrap(),
        )
    };
    let unsigned = |value: u64| -> arrow::array::ArrayRef { Arc::new(UInt64Array::from(vec![value])) };
    let cases = [
        ("d", Test::Lt, decimal(-20_00), "2 3 4 5 6"),
        ("d", Test::LtEq, decimal(-20_00), "3 4 5 6"),
        ("d", Test::Gt, decimal(-10_000), "1 6"),
        ("d", Test::Gt, decimal(3_00), "1 2 3 4 6"),
        ("d", Test::Lt, decimal(10_000), "6"),
        ("d", Test::Eq, decimal(0), "1 2 4 5 6"),
        ("u", Test::Lt, unsigned(100), "4 5 6"),
        ("u", Test::GtEq, unsigned(10), "1 6"),
        ("u", Test::Gt, unsigned(u64::MAX - 1), "1 2 3 4 6"),
    ];
    let mut session = database.open(options(Deletes::Apply)).await;
    for (at, (column, test, value, kept)) in (0..).zip(cases) {
        let from = (at > 0).then_some(2 * at);
        let batch = sample::changes(&schema).at(2 * at + 1).inserts(rows.clone()).batch();
        session
            .write(sample::changeset(from, 2 * at + 1, [batch]))
            .await
            .unwrap();
        let said = format!("{column} {test:?} {value:?}");
        let control = Control::DeleteWhere {
            stream: schema.stream().clone(),
            predicate: Predicate {
                terms: vec![(column.to_owned(), test, value)],
            },
        };
        session
            .apply(sample::control(Some(2 * at + 1), 2 * at + 2, control))
            .await
            .unwrap();
        assert_eq!(database.lines("SELECT id FROM t ORDER BY id").join(" "), kept, "{said}");
    }
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn truncate_of_appended_rows_is_a_row_of_its_own() {
    let database = Database::new();
    let options = DestinationOptions {
        write: Some(WriteMode::Append),
        ..DestinationOptions::default()
    };
    let mut session = database.open(options).await;
    let items = sample::items();
    let batch = sample::changes(&items)
        .insert(json!({"id": 1, "name": "a", "amount": 1}))
        .batch();
    session.write(sample::changeset(None, 1, [batch])).await.unwrap();
    let truncate = Control::Truncate {
        stream: items.stream().clone(),
    };
    session.apply(sample::control(Some(1), 2, truncate)).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(
        database.lines("SELECT id, _highwater_op, _highwater_position, _highwater_committed_at FROM items"),
        [
            "1, 'insert', '1', '2026-01-02 03:04:06.000000Z'",
            "NULL, 'truncate', '2', NULL"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn soft_deletes_that_were_switched_on_later_work_from_the_first_control_on() {
    let database = Database::new();
    let mut session = database.open(options(Deletes::Apply)).await;
    let items = sample::items();
    let batch = sample::changes(&items).insert(json!({"id": 1, "name": "a"})).batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    session.close().await.unwrap();
    let mut session = database.open(options(Deletes::Soft)).await;
    let truncate = Control::Truncate {
        stream: items.stream().clone(),
    };
    session.apply(sample::control(Some(1), 2, truncate)).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(database.lines("SELECT id, _highwater_deleted FROM items"), ["1, 1"]);
}

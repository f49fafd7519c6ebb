use std::sync::Arc;

use api::conformance::{sample, type_cases};
use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use model::{Batch, ChangeSet, Commit, Op, Ops, StreamId};
use serde_json::{Value, json};

use crate::{build, through};

fn spec(condition: Value) -> Value {
    json!({"streams": {"items": {"where": condition}}})
}

/// The ids of those of five rows that pass.
async fn passing(condition: Value) -> String {
    let items = sample::items();
    let rows = [
        json!({"id": 1, "name": "a", "amount": 10}),
        json!({"id": 2, "name": "b", "amount": 20}),
        json!({"id": 3, "name": "c", "amount": 30}),
        json!({"id": 4, "name": null, "amount": 40}),
        json!({"id": 5, "name": "e", "amount": null}),
    ];
    let changeset = sample::changeset(None, 1, [sample::changes(&items).inserts(rows).batch()]);
    let out = through("filter", spec(condition), &changeset).await;
    let ids: Vec<&str> = out
        .lines()
        .filter_map(|line| line.split("id=").nth(1)?.split(',').next())
        .collect();
    if ids.is_empty() { out } else { ids.join(" ") }
}

#[tokio::test]
async fn every_comparison_passes_what_it_says_and_no_null() {
    for (condition, expected) in [
        (json!({"column": "amount", "eq": 20}), "2"),
        (json!({"column": "amount", "ne": 20}), "1 3 4"),
        (json!({"column": "amount", "lt": 20}), "1"),
        (json!({"column": "amount", "le": 20}), "1 2"),
        (json!({"column": "amount", "gt": 20}), "3 4"),
        (json!({"column": "amount", "ge": 20}), "2 3 4"),
        (json!({"column": "amount", "ge": "20"}), "2 3 4"),
        (json!({"column": "name", "in": ["a", "e", "x"]}), "1 5"),
        (json!({"column": "name", "gt": "b"}), "3 5"),
        (json!({"column": "name", "is_null": true}), "4"),
        (json!({"column": "name", "is_null": false}), "1 2 3 5"),
        (json!({"column": "amount", "eq": 99}), ""),
    ] {
        assert_eq!(passing(condition.clone()).await, expected, "{condition}");
    }
}

#[tokio::test]
async fn logic_is_three_valued() {
    let (big, named_b) = (
        json!({"column": "amount", "ge": 20}),
        json!({"column": "name", "eq": "b"}),
    );
    for (condition, expected) in [
        (json!({"all": [big, named_b]}), "2"),
        (json!({"any": [big, named_b]}), "2 3 4"),
        // Not of unknown is unknown: rows 4 and 5 do not pass what looks at their nulls.
        (json!({"not": named_b}), "1 3 5"),
        (json!({"not": big}), "1"),
        (json!({"not": {"column": "name", "in": ["a", "b"]}}), "3 5"),
        // False decides, whatever the unknown would have been.
        (
            json!({"not": {"all": [big, {"column": "name", "eq": "nobody"}]}}),
            "1 2 3 5",
        ),
        (json!({"any": [{"column": "id", "eq": 5}, big]}), "2 3 4 5"),
        (
            json!({"all": [{"not": {"any": [{"column": "id", "lt": 2}, {"column": "id", "gt": 3}]}}]}),
            "2 3",
        ),
    ] {
        assert_eq!(passing(condition.clone()).await, expected, "{condition}");
    }
}

fn updates() -> ChangeSet {
    let items = sample::items();
    let (small, large) = (
        json!({"id": 1, "name": "a", "amount": 1}),
        json!({"id": 1, "name": "a", "amount": 100}),
    );
    let batch = sample::changes(&items)
        .at(1)
        .update_from(small.clone(), large.clone())
        .at(2)
        .update_from(large.clone(), large.clone())
        .at(3)
        .update_from(large.clone(), small.clone())
        .at(4)
        .update_from(small.clone(), small.clone())
        .at(5)
        .update(large.clone())
        .at(6)
        .update(small.clone())
        .at(7)
        .rekey(json!({"id": 1}), json!({"id": 2, "name": "a", "amount": 100}))
        .at(8)
        .rekey(json!({"id": 2}), json!({"id": 3, "name": "a", "amount": 1}))
        .at(9)
        .delete(large)
        .at(10)
        .delete(small)
        .batch();
    sample::changeset(None, 10, [batch])
}

#[tokio::test]
async fn update_that_begins_to_match_is_an_insert_and_one_that_ceases_a_delete() {
    let out = through("filter", spec(json!({"column": "amount", "ge": 10})), &updates()).await;
    let expected = "
items insert @1 id=1,name=a,amount=100
items update @2 id=1,name=a,amount=100 was id=1,name=a,amount=100
items delete @3 id=1,name=a,amount=100
items update @5 id=1,name=a,amount=100
items delete @6 id=1,name=a,amount=1
items update @7 id=2,name=a,amount=100 was id=1,name=?,amount=?
items delete @8 id=2,name=?,amount=?
items delete @9 id=1,name=a,amount=100";
    assert_eq!(out, expected.trim());
}

#[tokio::test]
async fn position_moves_although_every_row_was_dropped() {
    let mut transformer = build("filter", spec(json!({"column": "amount", "ge": 1000}))).expect("a good spec");
    let items = sample::items();
    let batch = sample::changes(&items)
        .at(3)
        .insert(json!({"id": 1, "amount": 1}))
        .batch();
    let changeset = sample::changeset(Some(2), 3, [batch]);
    let out = api::transform_changeset(transformer.as_mut(), &changeset)
        .await
        .expect("it passes");
    assert_eq!(out.delta, changeset.delta);
    assert!(out.is_progress(), "{out:?}");
}

#[tokio::test]
async fn value_that_was_not_sent_is_an_error_that_names_its_column() {
    let items = sample::items();
    let batch = sample::changes(&items)
        .update(json!({"id": 1, "name": "a"}))
        .without(["amount"])
        .batch();
    let changeset = sample::changeset(None, 1, [batch]);
    assert_eq!(
        through("filter", spec(json!({"column": "amount", "ge": 10})), &changeset).await,
        "E0613 cannot filter `items`: a value of column `amount` was not sent by the source
  hint: make the source send whole rows, or filter on a column that is always sent"
    );
    assert_eq!(
        through("filter", spec(json!({"column": "name", "eq": "a"})), &changeset).await,
        "items update @1 id=1,name=a,amount=?"
    );
}

#[tokio::test]
async fn values_that_do_not_fit_their_column_are_refused() {
    for (condition, expected) in [
        (
            json!({"column": "amonut", "eq": 1}),
            "E0610 cannot filter `items`: there is no column `amonut`\n  hint: it has `id`, `name`, `amount`",
        ),
        (
            json!({"column": "amount", "eq": 10.5}),
            "E0612 cannot filter `items`: column `amount` is Int64 and cannot be compared with the number 10.5\n  hint: write a number that the column can hold",
        ),
        (
            json!({"column": "amount", "in": [1, "many"]}),
            "E0612 cannot filter `items`: column `amount` is Int64 and cannot be compared with the text `many`\n  hint: write a number that the column can hold",
        ),
        (
            json!({"column": "name", "eq": 7}),
            "E0612 cannot filter `items`: column `name` is Utf8 and cannot be compared with the number 7\n  hint: write the value in quotes",
        ),
        (
            json!({"column": "amount", "eq": true}),
            "E0612 cannot filter `items`: column `amount` is Int64 and cannot be compared with the boolean true\n  hint: write a value of the column's type",
        ),
    ] {
        assert_eq!(passing(condition.clone()).await, expected, "{condition}");
    }
}

#[tokio::test]
async fn conditions_that_mean_nothing_are_refused_with_their_place() {
    for (condition, expected) in [
        (
            json!({}),
            "/streams/items/where: cannot read a condition without exactly one of `all`, `any`, `not`, `column`",
        ),
        (
            json!({"all": [], "column": "a", "eq": 1}),
            "/streams/items/where: cannot read a condition without exactly one of `all`, `any`, `not`, `column`",
        ),
        (
            json!({"any": []}),
            "/streams/items/where/any: cannot join no conditions with `any`",
        ),
        (
            json!({"all": [{"column": "id", "eq": 1}, {"not": {"column": "id"}}]}),
            "/streams/items/where/all/1/not: cannot read a comparison with 0 tests: one is needed",
        ),
        (
            json!({"column": "id", "ge": 1, "le": 5}),
            "/streams/items/where: cannot read a comparison with 2 tests: one is needed",
        ),
        (
            json!({"column": "id", "in": []}),
            "/streams/items/where/in: cannot look for a value in an empty list",
        ),
        (
            json!({"not": {"column": "id", "eq": 1}, "eq": 1}),
            "/streams/items/where: cannot compare without a `column`",
        ),
    ] {
        let out = passing(condition.clone()).await;
        assert_eq!(out.lines().next(), Some(expected), "{condition}");
    }
}

/// The rows of a type case that pass, by their place from 0.
async fn passing_of(case: &str, condition: Value) -> String {
    let case = type_cases::all()
        .into_iter()
        .find(|c| c.name == case)
        .expect("a case of that name");
    let schema = case.schema();
    let ids: Vec<i64> = (0..).take(case.values.len()).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids)), Arc::clone(&case.values)];
    let rows = RecordBatch::try_new(Arc::clone(schema.arrow()), columns).expect("a type case is well formed");
    let order = sample::position(1).order;
    let batch = Batch {
        partition: sample::log(),
        page: 0,
        ops: Ops::all(Op::Insert, rows.num_rows()),
        before: None,
        unavailable: None,
        commits: vec![Commit {
            row_end: rows.num_rows(),
            order,
            time: sample::time_of(order),
        }],
        page_tags: Vec::new(),
        rows,
        schema,
    };
    let spec = json!({"streams": {"*": {"where": condition}}});
    let out = through("filter", spec, &sample::changeset(None, 1, [batch])).await;
    let ids: Vec<&str> = out
        .lines()
        .filter_map(|line| line.split("id=").nth(1)?.split(',').next())
        .collect();
    if ids.is_empty() { out } else { ids.join(" ") }
}

#[tokio::test]
async fn values_are_compared_in_the_types_of_their_columns() {
    for (case, test, value, expected) in [
        ("boolean", "eq", json!(true), "0"),
        ("int64", "gt", json!(9_007_199_254_740_992_i64), "3 4"),
        ("int64", "eq", json!(i64::MIN), "0"),
        ("uint64_large", "eq", json!(u64::MAX), "1"),
        ("float64", "le", json!(-1.5), "0 1"),
        ("float64_infinite", "gt", json!(0), "0"),
        ("float64_nan", "gt", json!(1e308), "0"),
        ("decimal128", "eq", json!("0.01"), "2"),
        ("decimal128", "lt", json!(0), "0"),
        ("decimal256", "gt", json!("0.0000000001"), "2"),
        ("date32", "ge", json!("1970-01-01"), "2 3"),
        ("time64_us", "gt", json!("00:00:00.000001"), "2"),
        ("timestamp_us", "gt", json!("1970-01-01T00:00:00"), "3 4"),
        ("timestamp_ns", "ge", json!("1970-01-01T00:00:00"), "2 3 4"),
        ("timestamp_us_utc", "le", json!("1970-01-01T01:00:00+01:00"), "0 1 2"),
        ("timestamp_us_named_zone", "eq", json!("1970-01-01T00:00:00Z"), "2"),
        ("text", "eq", json!("ü 漢 \u{1F41F}"), "6"),
        ("uuid", "eq", json!("ABABABAB-abab-abab-abab-abababababab"), "1"),
        ("inet", "in", json!(["::1", "10.0.0.1"]), "0 2"),
    ] {
        let condition = json!({"column": "payload", test: value});
        assert_eq!(
            passing_of(case, condition.clone()).await,
            expected,
            "{case} {condition}"
        );
    }
}

#[tokio::test]
async fn minus_zero_is_zero() {
    let fields = vec![
        arrow::datatypes::Field::new("id", arrow::datatypes::DataType::Int64, false),
        arrow::datatypes::Field::new("f", arrow::datatypes::DataType::Float64, true),
    ];
    let schema = sample::schema(StreamId::new("items"), fields, ["id"]);
    let rows = [
        json!({"id": 1, "f": -0.0}),
        json!({"id": 2, "f": 0.0}),
        json!({"id": 3, "f": 1e-300}),
    ];
    let changeset = sample::changeset(None, 1, [sample::changes(&schema).inserts(rows).batch()]);
    for zero in [json!(0), json!(-0.0), json!("-0")] {
        let out = through("filter", spec(json!({"column": "f", "eq": zero})), &changeset).await;
        assert_eq!(out, "items insert @1 id=1,f=-0.0\nitems insert @1 id=2,f=0.0", "{zero}");
    }
}

#[tokio::test]
async fn types_without_an_order_are_refused_by_name() {
    for (case, test, said) in [
        (
            "boolean",
            "lt",
            "column `payload` is Boolean, which `lt` cannot compare",
        ),
        ("uuid", "gt", "column `payload` is uuid, which `gt` cannot compare"),
        ("json", "eq", "column `payload` is json, which `eq` cannot compare"),
        (
            "numeric",
            "ge",
            "column `payload` is numeric, which `ge` cannot compare",
        ),
        ("list", "eq", "which `eq` cannot compare"),
        ("binary", "eq", "column `payload` is Binary, which `eq` cannot compare"),
    ] {
        let out = passing_of(case, json!({"column": "payload", test: "x"})).await;
        assert!(out.contains(said), "{case}: {out}");
    }
    assert_eq!(
        passing_of("json", json!({"column": "payload", "is_null": true})).await,
        "4"
    );
}

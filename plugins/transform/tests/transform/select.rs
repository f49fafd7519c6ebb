use api::conformance::sample;
use model::{ChangeSet, StreamId};
use serde_json::{Value, json};

use crate::through;

fn changes() -> ChangeSet {
    let orders = sample::items_as(StreamId::in_schema("public", "orders"));
    let batch = sample::changes(&orders)
        .at(3)
        .insert(json!({"id": 1, "name": "a", "amount": 10}))
        .update(json!({"id": 1, "amount": 11}))
        .without(["name"])
        .at(4)
        .rekey(json!({"id": 1}), json!({"id": 2, "name": "b", "amount": 12}))
        .delete(json!({"id": 2, "name": "b", "amount": 12}))
        .batch();
    sample::changeset(None, 4, [batch])
}

async fn check(rule: Value, expected: &str) {
    let spec = json!({"streams": {"public.orders": rule}});
    assert_eq!(through("select", spec, &changes()).await, expected.trim());
}

#[tokio::test]
async fn dropped_column_is_in_no_image_and_others_keep_what_was_not_sent() {
    check(
        json!({"drop": ["amount"]}),
        "
public.orders insert @3 id=1,name=a
public.orders update @3 id=1,name=?
public.orders update @4 id=2,name=b was id=1,name=?
public.orders delete @4 id=2,name=b",
    )
    .await;
}

#[tokio::test]
async fn kept_columns_come_in_the_order_of_the_rule() {
    check(
        json!({"keep": ["amount", "id"]}),
        "
public.orders insert @3 amount=10,id=1
public.orders update @3 amount=11,id=1
public.orders update @4 amount=12,id=2 was amount=?,id=1
public.orders delete @4 amount=12,id=2",
    )
    .await;
}

#[tokio::test]
async fn renamed_key_stays_the_key() {
    let spec =
        json!({"streams": {"public.orders": {"drop": ["name"], "rename": {"id": "order id", "amount": "name"}}}});
    let out = through("select", spec.clone(), &changes()).await;
    assert!(out.starts_with("public.orders insert @3 order id=1,name=10\n"), "{out}");
    let orders = sample::items_as(StreamId::in_schema("public", "orders"));
    let begin = sample::begin_read(&orders, 1, true);
    assert_eq!(
        through("select", spec, &begin).await,
        "public.orders (order id: Int64, name: Int64) key (order id)"
    );
}

#[tokio::test]
async fn streams_without_a_rule_pass_unchanged() {
    let spec = json!({"streams": {"audit.*": {"drop": ["secret"]}}});
    let out = through("select", spec, &changes()).await;
    assert!(
        out.starts_with("public.orders insert @3 id=1,name=a,amount=10\n"),
        "{out}"
    );
}

#[tokio::test]
async fn rule_of_a_pattern_is_for_every_stream_that_matches() {
    let spec = json!({"streams": {"public.*": {"drop": ["name"]}, "*": {"drop": ["amount"]}}});
    let out = through("select", spec, &changes()).await;
    assert!(out.starts_with("public.orders insert @3 id=1,amount=10\n"), "{out}");
}

#[tokio::test]
async fn unknown_column_names_stream_and_column() {
    for rule in [
        json!({"drop": ["nmae"]}),
        json!({"keep": ["id", "nmae"]}),
        json!({"rename": {"nmae": "x"}}),
    ] {
        check(
            rule,
            "E0610 cannot select from `public.orders`: there is no column `nmae`\n  hint: it has `id`, `name`, `amount`",
        )
        .await;
    }
}

#[tokio::test]
async fn key_column_cannot_be_left_out() {
    for rule in [json!({"drop": ["id"]}), json!({"keep": ["name"]})] {
        check(
            rule,
            "E0611 cannot select from `public.orders`: column `id` is part of the key and cannot be left out
  hint: keep it, or set another key for the stream under `streams`",
        )
        .await;
    }
}

#[tokio::test]
async fn renames_that_do_not_fit_are_refused() {
    check(
        json!({"rename": {"name": "amount"}}),
        "E0610 cannot transform `public.orders`\n  hint: give each column a name of its own",
    )
    .await;
    check(
        json!({"drop": ["name"], "rename": {"name": "x"}}),
        "E0610 cannot select from `public.orders`: column `name` is renamed, but not kept
  hint: add it to `keep`, or remove it from `rename`",
    )
    .await;
}

#[tokio::test]
async fn rules_that_mean_nothing_are_refused_with_their_place() {
    check(
        json!({"keep": ["id"], "drop": ["name"]}),
        "/streams/public.orders/drop: cannot use `drop` beside `keep`
  hint: list what goes on under `keep`, or what does not under `drop`",
    )
    .await;
    check(
        json!({}),
        "/streams/public.orders: cannot use a rule that changes nothing
  hint: add `keep`, `drop` or `rename`, or remove the rule",
    )
    .await;
    check(
        json!({"drop": ["name", "name"]}),
        "/streams/public.orders/drop/1: cannot name column `name` twice\n  hint: remove one of the two",
    )
    .await;
}

//! A row that the server refuses is found among the others, and named.

use api::conformance::sample;
use api::{DestinationOptions, Retry};
use serde_json::{Value, json};

use crate::database::Database;

fn rows(poison: u64) -> Vec<Value> {
    (1..=100)
        .map(|id| json!({"id": id, "name": "n", "amount": if id == poison { 1_000 } else { id }}))
        .collect()
}

const CHECKED: &str =
    "CREATE TABLE items (id int8 PRIMARY KEY, name text, amount int8 CONSTRAINT small CHECK (amount < 500))";

#[tokio::test(flavor = "multi_thread")]
async fn new_row_that_breaks_a_constraint_is_named() {
    let Some(database) = Database::new().await else { return };
    database.run(CHECKED).await;
    let mut session = database.open(DestinationOptions::default()).await;
    let batch = sample::changes(&sample::items()).inserts(rows(77)).batch();
    let error = session.apply(sample::changeset(None, 1, [batch])).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0569", Retry::Operator));
    assert_eq!(
        error.to_string(),
        r#"cannot write a row of `items` to table "public"."items": constraint `small`: a value of the row with key id=77 is refused"#
    );
    assert_eq!(
        error.remedy(),
        Some(r#"the source does not have that constraint: ALTER TABLE "public"."items" DROP CONSTRAINT "small""#)
    );
    assert!(
        !error.chain().contains("1000"),
        "no value of the row is shown: {}",
        error.chain()
    );
    drop(session);
    assert_eq!(database.lines("SELECT count(*) FROM items").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_row_that_breaks_a_constraint_is_named() {
    let Some(database) = Database::new().await else { return };
    database.run(CHECKED).await;
    let options = DestinationOptions::default();
    let mut session = database.open(options).await;
    let batch = sample::changes(&sample::items()).inserts(rows(0)).batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    let changes = rows(33)
        .into_iter()
        .fold(sample::changes(&sample::items()).at(2), |changes, row| {
            changes.update(row)
        });
    let error = session
        .apply(sample::changeset(Some(1), 2, [changes.batch()]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("key id=33 is refused"), "{error}");
    drop(session);
    // Once the table takes it, the same changes go in.
    database.run("ALTER TABLE items DROP CONSTRAINT small").await;
    let mut session = database.open(options).await;
    let changes = rows(33)
        .into_iter()
        .fold(sample::changes(&sample::items()).at(2), |changes, row| {
            changes.update(row)
        });
    session
        .apply(sample::changeset(Some(1), 2, [changes.batch()]))
        .await
        .unwrap();
    assert_eq!(database.lines("SELECT id FROM items WHERE amount > 500").await, ["33"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_value_that_the_source_does_not_have_is_named_with_its_constraint() {
    let Some(database) = Database::new().await else { return };
    database
        .run("CREATE TABLE items (id int8 PRIMARY KEY, name text, amount int8 CONSTRAINT one UNIQUE)")
        .await;
    let mut session = database.open(DestinationOptions::default()).await;
    let rows = [1, 2, 3].map(|id| json!({"id": id, "amount": id / 2}));
    let batch = sample::changes(&sample::items()).inserts(rows).batch();
    let error = session.apply(sample::changeset(None, 1, [batch])).await.unwrap_err();
    assert_eq!(error.code(), "E0569", "{error:?}");
    assert!(
        error
            .to_string()
            .contains("constraint `one`: a value of the row with key id=3"),
        "{error}"
    );
    assert!(error.remedy().unwrap().contains("DEFERRABLE"), "{error:?}");
}

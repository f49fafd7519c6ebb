//! Tables that are there already: used as they are, made to fit, or refused with the difference.

use api::conformance::sample;
use api::{DestinationOptions, Retry, WriteMode};
use model::StreamId;
use serde_json::json;

use crate::database::Database;
use crate::fencing::insert;

/// What is said and advised when the first row comes.
async fn refusal(table: &str, spec: serde_json::Value) -> Option<(String, String)> {
    let database = Database::new().await?;
    database.run(table).await;
    let mut session = database
        .open_with(spec, DestinationOptions::default(), &sample::lane())
        .await
        .unwrap();
    let error = session.apply(insert(1)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0564", Retry::Operator), "{error:?}");
    Some((error.to_string(), error.remedy().unwrap_or_default().to_owned()))
}

/// Refused, and accepted once the advice was followed.
async fn refused_until_advice_is_followed(table: &str, said: &str) {
    let Some((message, remedy)) = refusal(table, json!({})).await else {
        return;
    };
    assert!(message.contains(said), "{message}");
    let statement = remedy.strip_prefix("run `").and_then(|rest| rest.strip_suffix('`'));
    let statement = statement.unwrap_or_else(|| panic!("no statement in {remedy}"));
    let Some(database) = Database::new().await else { return };
    database.run(table).await;
    database.run(statement).await;
    let mut session = database.open(DestinationOptions::default()).await;
    session.apply(insert(1)).await.unwrap();
    assert_eq!(database.lines("SELECT id FROM items").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn table_without_the_key_is_refused_until_it_has_one() {
    refused_until_advice_is_followed(
        "CREATE TABLE items (id int8 NOT NULL, name text, amount int8)",
        "it has no unique key (id)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn column_that_must_be_given_is_refused_until_it_need_not() {
    refused_until_advice_is_followed(
        "CREATE TABLE items (id int8 PRIMARY KEY, name text, amount int8, more text NOT NULL)",
        "column `more` is NOT NULL, and the stream does not have it",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_column_is_refused_until_it_is_an_ordinary_one() {
    refused_until_advice_is_followed(
        "CREATE TABLE items (id int8 PRIMARY KEY, name text, amount int8 GENERATED ALWAYS AS (id * 2) STORED)",
        "column `amount` is generated there",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn column_of_another_type_is_refused_until_it_is_changed() {
    refused_until_advice_is_followed(
        "CREATE TABLE items (id int8 PRIMARY KEY, name text, amount jsonb)",
        "column `amount` is jsonb, and bigint at the source",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_key_that_cannot_wait_is_refused_until_it_can() {
    refused_until_advice_is_followed(
        "CREATE TABLE parents (id int8 PRIMARY KEY); CREATE TABLE items (id int8 PRIMARY KEY, name text, \
         amount int8 CONSTRAINT fk REFERENCES parents)",
        "foreign key `fk` of items is checked row by row",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_another_table_that_cascades_is_refused() {
    refused_until_advice_is_followed(
        "CREATE TABLE items (id int8 PRIMARY KEY, name text, amount int8); CREATE TABLE others (id int8 PRIMARY KEY, \
         item int8 CONSTRAINT fk REFERENCES items ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED)",
        "a delete here would change rows of others by its foreign key `fk`",
    )
    .await;
}

const TRIGGERED: &str = "CREATE TABLE items (id int8 PRIMARY KEY, name text, amount int8); \
     CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := 'stamped'; RETURN NEW; END $$; \
     CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION stamp()";

#[tokio::test(flavor = "multi_thread")]
async fn trigger_is_refused_until_it_is_disabled() {
    refused_until_advice_is_followed(TRIGGERED, "its trigger `stamp` would fire").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trigger_fires_or_is_skipped_as_the_spec_says() {
    for (triggers, name) in [("fire", "stamped"), ("skip", "NULL")] {
        let Some(database) = Database::new().await else { return };
        database.run(TRIGGERED).await;
        let spec = json!({ "triggers": triggers });
        let options = DestinationOptions::default();
        let mut session = database.open_with(spec, options, &sample::lane()).await.unwrap();
        session.apply(insert(1)).await.unwrap();
        assert_eq!(database.lines("SELECT name FROM items").await, [name], "{triggers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn view_is_refused() {
    let view = "CREATE VIEW items AS SELECT 1::int8 AS id, ''::text AS name, 1::int8 AS amount";
    let Some((message, _)) = refusal(view, json!({})).await else {
        return;
    };
    assert!(message.ends_with("it is a view"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deferrable_foreign_key_waits_for_the_commit_in_any_order_of_tables() {
    let Some(database) = Database::new().await else { return };
    database
        .run(
            "CREATE TABLE parents (id int8 PRIMARY KEY, name text, amount int8); \
             CREATE TABLE items (id int8 PRIMARY KEY, name text, \
             amount int8 CONSTRAINT fk REFERENCES parents DEFERRABLE)",
        )
        .await;
    let options = DestinationOptions::default();
    let mut session = database.open(options).await;
    let child = |id| {
        let row = json!({"id": id, "amount": id});
        sample::changes(&sample::items()).at(id).insert(row).batch()
    };
    let parents = sample::items_as(StreamId::new("parents"));
    let parent = sample::changes(&parents).at(1).insert(json!({"id": 1})).batch();
    session
        .write(sample::changeset(None, 1, [child(1), parent]))
        .await
        .unwrap();
    session.commit().await.unwrap();
    assert_eq!(database.lines("SELECT amount FROM items").await, ["1"]);
    let error = session
        .apply(sample::changeset(Some(1), 2, [child(2)]))
        .await
        .unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0547", Retry::Operator), "{error:?}");
    assert!(
        error
            .remedy()
            .unwrap()
            .contains("drop constraint `fk` until every stream is live"),
        "{error:?}"
    );
    drop(session);
    assert_eq!(database.lines("SELECT amount FROM items").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn table_that_is_written_by_the_same_pipelines_source_is_refused() {
    let Some(database) = Database::new().await else { return };
    database
        .run(
            "CREATE TABLE items (id int8 PRIMARY KEY, name text, amount int8); \
             CREATE PUBLICATION highwater_shop FOR TABLE items",
        )
        .await;
    let mut session = database.open(DestinationOptions::default()).await;
    let error = session.apply(insert(1)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0545", Retry::Operator), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitioned_table_and_identity_column_are_written() {
    let Some(database) = Database::new().await else { return };
    database
        .run(
            "CREATE TABLE items (id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, amount int8) \
             PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF items FOR VALUES FROM (0) TO (5); \
             CREATE TABLE high PARTITION OF items DEFAULT",
        )
        .await;
    let mut session = database.open(DestinationOptions::default()).await;
    let batch = sample::changes(&sample::items())
        .insert(json!({"id": 1, "name": "a"}))
        .insert(json!({"id": 9, "name": "b"}))
        .batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    let batch = sample::changes(&sample::items())
        .at(2)
        .update(json!({"id": 9, "name": "c"}))
        .delete(json!({"id": 1}))
        .insert(json!({"id": 2, "name": "d"}))
        .batch();
    session.apply(sample::changeset(Some(1), 2, [batch])).await.unwrap();
    assert_eq!(
        database.lines("SELECT id, name FROM items ORDER BY id").await,
        ["2, d", "9, c"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn appended_table_may_not_have_a_key_within_the_streams_columns() {
    let Some(database) = Database::new().await else { return };
    database
        .run("CREATE TABLE items (id int8 PRIMARY KEY, name text, amount int8)")
        .await;
    let options = DestinationOptions {
        write: Some(WriteMode::Append),
        ..DestinationOptions::default()
    };
    let mut session = database.open(options).await;
    let error = session.apply(insert(1)).await.unwrap_err();
    assert_eq!(error.code(), "E0564");
    assert!(
        error.to_string().contains("its key (id) allows one row for each value"),
        "{error}"
    );
}

//! Shapes that change, and tables that are made.

use std::sync::Arc;

use api::conformance::sample;
use api::{DestinationOptions, OnSchemaChange, Retry};
use arrow::datatypes::{DataType, Field};
use model::{StreamId, StreamSchema};
use serde_json::{Value, json};

use crate::database::Database;

fn shape(fields: &[(&str, &str, DataType, bool)]) -> Arc<StreamSchema> {
    let field = |(name, declared, data_type, nullable): &(&str, &str, DataType, bool)| {
        let metadata = [("postgres.type".to_owned(), (*declared).to_owned())];
        Field::new(*name, data_type.clone(), *nullable).with_metadata(metadata.into())
    };
    sample::schema(StreamId::new("items"), fields.iter().map(field).collect(), ["id"])
}

fn id() -> (&'static str, &'static str, DataType, bool) {
    ("id", "bigint", DataType::Int64, false)
}

async fn apply(
    database: &Database,
    options: DestinationOptions,
    steps: &[(&Arc<StreamSchema>, Value)],
) -> api::Result<()> {
    let mut session = database.open(options).await;
    let (mut from, mut to) = (None, 1);
    for (schema, row) in steps {
        let batch = sample::changes(schema).at(to).insert(row.clone()).batch();
        session.apply(sample::changeset(from, to, [batch])).await?;
        (from, to) = (Some(to), to + 1);
    }
    session.close().await
}

const SHAPE: &str = "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute \
     WHERE attrelid = 'items'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum";

#[tokio::test(flavor = "multi_thread")]
async fn created_table_has_the_sources_types_key_and_not_nulls() {
    let Some(database) = Database::new().await else { return };
    let schema = shape(&[
        id(),
        ("code", "character varying(10)", DataType::Utf8, false),
        ("note", "text", DataType::Utf8, true),
    ]);
    apply(
        &database,
        DestinationOptions::default(),
        &[(&schema, json!({"id": 1, "code": "a", "note": null}))],
    )
    .await
    .unwrap();
    assert_eq!(
        database.lines(SHAPE).await,
        ["id, bigint, t", "code, character varying(10), t", "note, text, f"]
    );
    let key =
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'items'::regclass AND contype = 'p'";
    assert_eq!(database.lines(key).await, ["PRIMARY KEY (id)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn column_of_a_users_type_gets_that_type_where_the_target_has_it() {
    let Some(database) = Database::new().await else { return };
    database
        .run("CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE EXTENSION IF NOT EXISTS citext; CREATE DOMAIN pence AS bigint")
        .await;
    let schema = shape(&[
        id(),
        ("mood", "\"public\".\"mood\"", DataType::Utf8, true),
        (
            "moods",
            "\"public\".\"mood\"[]",
            DataType::new_list(DataType::Utf8, true),
            true,
        ),
        ("other", "\"public\".\"not_here\"", DataType::Utf8, true),
        // An extension is found in whatever schema it was installed.
        ("tag", "\"extensions\".\"citext\"", DataType::Utf8, true),
        ("price", "\"public\".\"pence\"", DataType::Int64, true),
    ]);
    let row = json!({"id": 1, "mood": "sad", "moods": ["glad", "sad"], "other": "x", "tag": "Ab", "price": 5});
    apply(&database, DestinationOptions::default(), &[(&schema, row)])
        .await
        .unwrap();
    assert_eq!(
        database.lines(SHAPE).await,
        [
            "id, bigint, t",
            "mood, mood, f",
            "moods, mood[], f",
            "other, text, f",
            "tag, citext, f",
            "price, pence, f"
        ]
    );
    assert_eq!(
        database
            .lines("SELECT mood > 'glad', moods, other, tag = 'aB', price FROM items")
            .await,
        ["t, {glad,sad}, x, t, 5"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn column_that_the_source_drops_stays_and_may_be_null() {
    let Some(database) = Database::new().await else { return };
    let before = shape(&[id(), ("code", "text", DataType::Utf8, false)]);
    let after = shape(&[id()]);
    let steps = [(&before, json!({"id": 1, "code": "a"})), (&after, json!({"id": 2}))];
    apply(&database, DestinationOptions::default(), &steps).await.unwrap();
    assert_eq!(
        database.lines("SELECT id, code FROM items ORDER BY id").await,
        ["1, a", "2, NULL"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_grow_are_changed_in_place() {
    let Some(database) = Database::new().await else { return };
    let before = shape(&[
        id(),
        ("n", "integer", DataType::Int32, true),
        ("code", "character varying(3)", DataType::Utf8, true),
    ]);
    let after = shape(&[
        id(),
        ("n", "bigint", DataType::Int64, true),
        ("code", "text", DataType::Utf8, true),
    ]);
    let steps = [
        (&before, json!({"id": 1, "n": 7, "code": "abc"})),
        (&after, json!({"id": 2, "n": i64::MAX, "code": "abcdef"})),
    ];
    apply(&database, DestinationOptions::default(), &steps).await.unwrap();
    assert_eq!(
        database.lines(SHAPE).await,
        ["id, bigint, t", "n, bigint, f", "code, text, f"]
    );
    assert_eq!(
        database.lines("SELECT id, n, code FROM items ORDER BY id").await,
        ["1, 7, abc", "2, 9223372036854775807, abcdef"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn type_that_cannot_change_in_place_pauses_with_the_statement() {
    let Some(database) = Database::new().await else { return };
    let before = shape(&[id(), ("n", "bigint", DataType::Int64, true)]);
    let after = shape(&[id(), ("n", "boolean", DataType::Boolean, true)]);
    let options = DestinationOptions::default();
    let steps = [
        (&before, json!({"id": 1, "n": 7})),
        (&after, json!({"id": 2, "n": true})),
    ];
    let error = apply(&database, options, &steps).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0565", Retry::Operator), "{error:?}");
    assert!(
        error
            .remedy()
            .unwrap()
            .contains(r#"ALTER COLUMN "n" TYPE boolean USING "n"::boolean"#),
        "{error:?}"
    );
    database
        .run("ALTER TABLE items ALTER COLUMN n TYPE boolean USING n::int4::boolean")
        .await;
    apply(&database, options, &steps[1..]).await.unwrap();
    assert_eq!(
        database.lines("SELECT id, n FROM items ORDER BY id").await,
        ["1, t", "2, t"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_prints_statements_that_let_it_go_on() {
    let Some(database) = Database::new().await else { return };
    let before = shape(&[id(), ("n", "integer", DataType::Int32, false)]);
    let after = shape(&[
        id(),
        ("n", "bigint", DataType::Int64, true),
        ("more", "text", DataType::Utf8, true),
    ]);
    let options = DestinationOptions {
        on_schema_change: Some(OnSchemaChange::Pause),
        ..DestinationOptions::default()
    };
    let steps = [
        (&before, json!({"id": 1, "n": 7})),
        (&after, json!({"id": 2, "n": null, "more": "m"})),
    ];
    let error = apply(&database, options, &steps).await.unwrap_err();
    let remedy = error.remedy().unwrap();
    let statements = remedy
        .strip_prefix("run `")
        .and_then(|rest| rest.split_once('`'))
        .unwrap()
        .0;
    database.run(statements).await;
    apply(&database, options, &steps[1..]).await.unwrap();
    assert_eq!(
        database.lines("SELECT id, n, more FROM items ORDER BY id").await,
        ["1, 7, NULL", "2, NULL, m"]
    );
}

//! Values that do not fit, and types that are set.

use api::testing::Replica;

use crate::driver::{App, Run};

/// The error that reading this table ends with.
async fn error_of(schema: &str, later: &str) -> api::Error {
    let app = App::new(schema, &["t"]);
    let mut run = Run::start(&app, &Replica::new()).await;
    if !later.is_empty() {
        run.until(|run| run.checkpoint().streams.values().any(|state| state.is_live()))
            .await;
        app.run(later);
    }
    loop {
        match run.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the source ended"),
            Err(error) => return error,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn misfit_names_table_column_and_key_but_not_the_value() {
    let schema =
        "CREATE TABLE t(id INTEGER PRIMARY KEY, qty INTEGER); INSERT INTO t VALUES (1, 1), (17, 'secret text')";
    let error = error_of(schema, "").await;
    insta::assert_snapshot!(format!("{error:?}"), @"E0220 (Operator) cannot read `t`.`qty` of the row with id 17: it holds a TEXT, which does not fit declared type `INTEGER`, read as int64 [hint: correct the row, or read the column as text: `overrides: { t: { columns: { qty: text } } }`]");
}

#[tokio::test(flavor = "multi_thread")]
async fn misfit_in_a_change_is_told_like_one_in_an_existing_row() {
    let schema = "CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, v TEXT)";
    let error = error_of(schema, "INSERT INTO t VALUES ('key', CAST(x'ff' AS TEXT))").await;
    insta::assert_snapshot!(error.to_string(), @"cannot read `t`.`v` of the row with k `key`: it holds TEXT that is not valid UTF-8, which does not fit declared type `TEXT`, read as text");
}

#[tokio::test(flavor = "multi_thread")]
async fn null_in_a_key_is_refused() {
    let error = error_of(
        "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT); INSERT INTO t VALUES (NULL, 'x')",
        "",
    )
    .await;
    insta::assert_snapshot!(format!("{error:?}"), @"E0221 (Operator) cannot read `t`: a row has NULL in the key column `k` [hint: correct the row, and declare `k` NOT NULL: SQLite allows NULL in most primary keys]");
}

#[tokio::test(flavor = "multi_thread")]
async fn override_reads_every_value_as_text() {
    let mut app = App::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER); INSERT INTO t VALUES (1, 5), (2, 'five'), (3, 5.5), (4, x'05'), (5, NULL)",
        &["t"],
    );
    app.streams[0].types.insert("v".to_owned(), "text".to_owned());
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until(|run| run.replica.row_count(&model::StreamId::new("t")) == 5)
        .await;
    let rows = replica.rows(&model::StreamId::new("t")).unwrap();
    let values: Vec<Option<&str>> = rows.iter().map(|row| row["v"].as_deref()).collect();
    assert_eq!(values, [Some("5"), Some("five"), Some("5.5"), Some("x'05'"), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn override_of_a_column_that_is_not_there_is_refused() {
    let mut app = App::new("CREATE TABLE t(id INTEGER PRIMARY KEY)", &["t"]);
    app.streams[0].types.insert("v".to_owned(), "text".to_owned());
    let refused = app.open(&[], &api::Share::alone(1 << 20)).await.err().unwrap();
    assert_eq!(
        (refused.code(), refused.to_string().as_str()),
        ("E0225", "cannot read `t`.`v` as `text`: the table has no such column")
    );
}

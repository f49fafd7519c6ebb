//! What is found wrong, and the statement that mends it.

use crate::changes::owner;
use crate::driver::App;

/// Every finding, one a line.
async fn findings(app: &App) -> String {
    let mut found = app.source().check(&app.plan()).await.unwrap();
    found.sort_by_key(|error| error.to_string());
    let lines: Vec<String> = found
        .iter()
        .map(|error| format!("{} {error}\n  hint: {}", error.code(), error.remedy().unwrap_or("none")))
        .collect();
    lines.join("\n").replace(&app.database.name, "DB")
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_published_are_named_with_their_remedy() {
    let app = owner!(
        "CREATE TABLE bare(id int); CREATE TABLE nothing(id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
         CREATE TABLE full_rows(id int); ALTER TABLE full_rows REPLICA IDENTITY FULL; CREATE TABLE orders(id int PRIMARY KEY);
         CREATE UNLOGGED TABLE fleeting(id int PRIMARY KEY)",
        ["bare", "nothing", "full_rows", "order", "fleeting"]
    );
    insta::assert_snapshot!(findings(&app).await);
    let refused = app.open(&[], &api::Share::alone(1 << 20)).await.err().unwrap();
    assert_eq!(refused.code(), "E0258");
}

#[tokio::test(flavor = "multi_thread")]
async fn publication_of_another_that_shows_less_is_refused() {
    let mut app = owner!(
        "CREATE TABLE a(id int PRIMARY KEY, v text); CREATE TABLE b(id int PRIMARY KEY); CREATE TABLE c(id int PRIMARY KEY);
         CREATE PUBLICATION theirs FOR TABLE a WHERE (id > 5), b WITH (publish = 'insert, update')",
        ["a", "b", "c"]
    );
    app.spec["publication"] = "theirs".into();
    insta::assert_snapshot!(findings(&app).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leave_to_create_the_statements_are_shown() {
    let mut app = owner!("CREATE TABLE a(id int PRIMARY KEY)", ["a"]);
    app.spec["create"] = false.into();
    insta::assert_snapshot!(findings(&app).await);
    let refused = app.open(&[], &api::Share::alone(1 << 20)).await.err().unwrap();
    assert_eq!(refused.code(), "E0256");
    app.run("CREATE PUBLICATION highwater_shop FOR TABLE a").await;
    let refused = app.open(&[], &api::Share::alone(1 << 20)).await.err().unwrap();
    assert_eq!(refused.code(), "E0259");
}

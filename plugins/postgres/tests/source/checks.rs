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
async fn columns_and_partitions_that_a_publication_leaves_out_are_named() {
    let mut app = owner!(
        "CREATE TABLE a(id int PRIMARY KEY, v text, g int GENERATED ALWAYS AS (id * 2) STORED);
         CREATE TABLE b(id int, k int, v text, PRIMARY KEY (id, k)); CREATE TABLE c(id int PRIMARY KEY, v text, w text);
         CREATE TABLE p(id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT;
         CREATE PUBLICATION theirs FOR TABLE a, b (id, v), c (id, v), p",
        ["a", "b", "c", "p"]
    );
    app.spec["publication"] = "theirs".into();
    let found = findings(&app).await;
    for expected in [
        "N0276 `public.a` is read without `g`: they are generated\n",
        "E0257 cannot read changes of `public.b`: publication `theirs` publishes it without `k` of its key\n  \
         hint: -- with every column, or UPDATE and DELETE fail\nALTER PUBLICATION \"theirs\" SET TABLE \"public\".\"b\";",
        "N0276 `public.c` is read without `w`: the publication has a list of columns\n  \
         hint: -- with every column\nALTER PUBLICATION \"theirs\" SET TABLE \"public\".\"c\";",
        "E0257 cannot read changes of `public.p`: publication `theirs`",
        "hint: ALTER PUBLICATION \"theirs\" SET (publish_via_partition_root = true);",
    ] {
        assert!(found.contains(expected), "{expected}\n\n{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_no_stream_takes_are_told() {
    let mut app = owner!("CREATE TABLE a(id int PRIMARY KEY)", ["a"]);
    app.spec["messages"] = serde_json::json!({"stream": "notes"});
    let found = findings(&app).await;
    let expected = "W0273 messages are not passed on: no stream `notes` is configured\n  \
                    hint: add `notes` to `streams`, or remove `messages` from the source's spec";
    assert!(found.contains(expected), "{found}");
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

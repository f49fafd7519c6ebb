//! The role of least privilege, with which the other tests run, and what is said of others.

use api::testing::Replica;
use highwater_plugin_postgres::source::least_privilege;
use model::Marker;

use crate::changes::{app, owner};
use crate::driver::{App, DEADLINE, Run, public};

async fn found(app: &App) -> Vec<(String, String, String)> {
    let found = app.source().check(&app.plan()).await.unwrap();
    let told = |error: &api::Error| {
        let text = error.to_string().replace(&app.database.name, "DB");
        let hint = error.remedy().unwrap_or_default().replace(&app.database.name, "DB");
        (error.code().to_owned(), text, hint)
    };
    found.iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_of_the_role_of_least_privilege() {
    let app = app!("CREATE TABLE t(id int PRIMARY KEY, v text)", ["t"]);
    assert_eq!(found(&app).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn superuser_is_told_which_role_is_enough() {
    let mut app = owner!(
        "CREATE TABLE t(id int PRIMARY KEY); CREATE TABLE u(id int PRIMARY KEY)",
        ["t", "u"]
    );
    app.spec["url"] = app.database.url().into();
    let expected = "this is enough, run as an administrator: CREATE ROLE \"highwater\" LOGIN REPLICATION PASSWORD '...'; \
                    GRANT CONNECT ON DATABASE \"DB\" TO \"highwater\"; GRANT USAGE ON SCHEMA \"public\" TO \"highwater\"; \
                    GRANT SELECT ON \"public\".\"t\", \"public\".\"u\" TO \"highwater\"; \
                    CREATE PUBLICATION \"highwater_shop\" FOR TABLE \"public\".\"t\", \"public\".\"u\" \
                    WITH (publish_via_partition_root = true);";
    let told = found(&app).await;
    let (_, text, hint) = told.iter().find(|(code, ..)| code == "N0275").unwrap();
    assert_eq!(
        text,
        "role `postgres` is a superuser: reading database `DB` needs far less"
    );
    assert_eq!(hint, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_own_a_table_gets_the_statement_for_its_owner() {
    let app = app!(
        "CREATE TABLE t(id int PRIMARY KEY); CREATE TABLE u(id int PRIMARY KEY)",
        ["t", "u"]
    );
    app.run("DROP PUBLICATION highwater_shop").await;
    let expect = async |app: &App, lacks: &str, statement: &str| {
        let text = format!("cannot put `public.{lacks}");
        let hint = format!("run as the owner of the table: {statement}");
        let told = found(app).await;
        assert!(told.contains(&("E0253".to_owned(), text, hint.clone())), "{told:#?}");
        let refused = app.open(&[], &api::Share::alone(1 << 20)).await.err().unwrap();
        assert_eq!((refused.code(), refused.remedy().unwrap()), ("E0253", hint.as_str()));
    };
    let statement = "CREATE PUBLICATION \"highwater_shop\" FOR TABLE \"public\".\"t\", \"public\".\"u\" WITH (publish_via_partition_root = true);";
    let lacks = "t` into publication `highwater_shop`: the role does not own the table";
    expect(&app, lacks, statement).await;
    app.run("CREATE PUBLICATION highwater_shop FOR TABLE t WITH (publish_via_partition_root = true)")
        .await;
    let lacks = "u` into publication `highwater_shop`: the role does not own the table";
    expect(
        &app,
        lacks,
        "ALTER PUBLICATION \"highwater_shop\" ADD TABLE \"public\".\"u\";",
    )
    .await;
    app.run("ALTER PUBLICATION highwater_shop ADD TABLE u").await;
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t", "u"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_granted_to_others_is_missed_with_the_statement() {
    let mut app = owner!("CREATE TABLE t(id int PRIMARY KEY)", ["t"]);
    let poor = format!("poor_{}", app.database.name);
    app.run(&format!("RESET ROLE; CREATE ROLE {poor} LOGIN")).await;
    app.spec["url"] = app.database.url_of(&poor).into();
    let told = found(&app).await;
    let codes: Vec<&str> = told.iter().map(|(code, ..)| code.as_str()).collect();
    assert_eq!(codes, ["E0253", "E0253"], "{told:#?}");
    assert_eq!(told[0].2, "ALTER ROLE \"poor_DB\" REPLICATION;");
    assert_eq!(told[1].2, "GRANT SELECT ON \"public\".\"t\" TO \"poor_DB\";");
}

/// Others' sessions are hidden from a role that may not see statistics; their transactions' locks are not.
#[tokio::test(flavor = "multi_thread")]
async fn transaction_that_a_snapshot_waits_for_is_named_to_the_role_of_least_privilege() {
    let mut app = app!(
        "CREATE TABLE t(id int PRIMARY KEY); CREATE TABLE other(id int); INSERT INTO t VALUES (1)",
        ["t"]
    );
    app.spec["window_wait"] = "1s".into();
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    let held = format!("held_{}", app.database.name);
    app.run(&format!(
        "BEGIN; INSERT INTO other VALUES (1); PREPARE TRANSACTION '{held}'"
    ))
    .await;
    let streams = [public("t")];
    let view = run.control.view(&streams, Marker(1));
    let refused = tokio::time::timeout(DEADLINE, view).await.unwrap().err().unwrap();
    assert_eq!(refused.code(), "E0269");
    assert!(
        refused
            .to_string()
            .contains(&format!("the transaction prepared as `{held}` is open for")),
        "{refused}"
    );
    app.run(&format!("ROLLBACK PREPARED '{held}'")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forget_leaves_a_publication_that_somebody_else_owns() {
    let app = app!("CREATE TABLE t(id int PRIMARY KEY)", ["t"]);
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    drop(run);
    let removed = app.source().forget(&"shop".into()).await.unwrap();
    assert_eq!(removed, [format!("replication slot `{}`", app.database.slot())]);
    let left = "SELECT count(*) FROM pg_publication WHERE pubname = 'highwater_shop'";
    let left: i64 = app.database.client().await.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, 1);
}

#[test]
fn statements_quote_names() {
    let statements = least_privilege("a\"b", "Shop", "p", &[public("O'Hara \"x\"")]);
    assert_eq!(statements[1], "GRANT CONNECT ON DATABASE \"Shop\" TO \"a\"\"b\"");
    assert_eq!(
        statements[3],
        "GRANT SELECT ON \"public\".\"O'Hara \"\"x\"\"\" TO \"a\"\"b\""
    );
}

//! The role of least privilege is enough for everything, and what a role lacks is said.

use api::conformance::{Session, sample};
use api::{DestinationOptions, WriteMode};
use highwater_plugin_postgres::destination::{Triggers, least_privilege};
use model::{Control, Page, StreamId};
use serde_json::json;

use crate::database::Database;
use crate::fencing::insert;

#[tokio::test(flavor = "multi_thread")]
async fn role_of_least_privilege_can_do_everything() {
    let Some(database) = Database::new().await else { return };
    let role = format!("writer_{}", database.name());
    let schemas = ["shop".to_owned()];
    for statement in least_privilege(&role, database.name(), &schemas, Triggers::Refuse) {
        database.run(&statement).await;
    }
    let spec = json!({ "url": database.url_of(&role), "schema": "shop" });
    let options = DestinationOptions {
        write: Some(WriteMode::Mirror),
        ..DestinationOptions::default()
    };
    let mut destination = database.destination_with(spec.clone(), options);
    assert_eq!(destination.check().await.unwrap().len(), 0);
    let mut session = Session::open(destination, &sample::lane()).await.unwrap();
    session.apply(insert(1)).await.unwrap();
    let batch = sample::changes(&sample::items_with_note())
        .at(2)
        .update(json!({"id": 1, "note": "n"}))
        .without(["name"])
        .delete(json!({"id": 9}))
        .batch();
    session.apply(sample::changeset(Some(1), 2, [batch])).await.unwrap();
    let items = sample::items_with_note();
    session.apply(sample::begin_read(&items, 1, false)).await.unwrap();
    let page = Page::new(0, 1);
    let rows = sample::page(&items, 1, page, 2, &[json!({"id": 3, "note": "read"})]);
    let delta = sample::page_delta(items.stream(), 1, page);
    session.apply(model::ChangeSet::rows(delta, vec![rows])).await.unwrap();
    session.apply(sample::end_read(items.stream(), 1)).await.unwrap();
    assert_eq!(database.lines("SELECT id, note FROM shop.items").await, ["3, read"]);
    let truncate = Control::Truncate {
        stream: StreamId::new("items"),
    };
    session.apply(sample::control(Some(2), 3, truncate)).await.unwrap();
    session.close().await.unwrap();
    let mut destination = database.destination_with(spec, options);
    assert_eq!(
        destination.forget(&sample::lane()).await.unwrap(),
        ["row of `shop`/`copy` in `_highwater.ledger`"]
    );
    assert_eq!(database.lines("SELECT count(*) FROM shop.items").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_a_role_lacks_and_changes_nothing() {
    let Some(database) = Database::new().await else { return };
    let role = format!("poor_{}", database.name());
    database
        .run(&format!(
            "CREATE ROLE {role} LOGIN; REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC",
            database.name()
        ))
        .await;
    let spec = json!({ "url": database.url_of(&role), "schema": "shop", "triggers": "skip" });
    let mut destination = database.destination_with(spec, DestinationOptions::default());
    let findings = destination.check().await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].code(), "E0544");
    let said = findings[0].to_string();
    for lack in [
        "may not create temporary tables",
        "may not create tables in schema _highwater, shop",
        "may not set `session_replication_role`",
    ] {
        assert!(said.contains(lack), "{said}");
    }
    assert_eq!(
        findings[0].remedy().unwrap(),
        format!(
            "run as an administrator: GRANT CONNECT, TEMPORARY ON DATABASE \"{0}\" TO \"{role}\"; \
             CREATE SCHEMA \"_highwater\" AUTHORIZATION \"{role}\"; CREATE SCHEMA \"shop\" AUTHORIZATION \"{role}\"; \
             GRANT SET ON PARAMETER session_replication_role TO \"{role}\";",
            database.name()
        )
    );
    let error = Session::open(destination, &sample::lane()).await.err().unwrap();
    assert_eq!(error.code(), "E0544", "{error:?}");
    assert_eq!(
        database
            .lines("SELECT count(*) FROM pg_namespace WHERE nspname = '_highwater'")
            .await,
        ["0"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_a_superuser_which_role_is_enough() {
    let Some(database) = Database::new().await else { return };
    let spec = json!({ "url": database.url(), "schema": "shop" });
    let mut destination = database.destination_with(spec, DestinationOptions::default());
    let findings = destination.check().await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].code(), "N0549");
    assert_eq!(
        findings[0].remedy().unwrap(),
        format!(
            "this is enough, run as an administrator: CREATE ROLE \"highwater\" LOGIN PASSWORD '...'; \
             GRANT CONNECT, TEMPORARY ON DATABASE \"{}\" TO \"highwater\"; \
             CREATE SCHEMA \"_highwater\" AUTHORIZATION \"highwater\"; CREATE SCHEMA \"shop\" AUTHORIZATION \"highwater\";",
            database.name()
        )
    );
}

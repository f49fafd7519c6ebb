//! Who may write: the session lock, the generation, a stopped owner, a file that was replaced.

use std::time::{Duration, Instant};

use api::conformance::sample;
use api::{Destination, DestinationOptions, Lane, Retry};
use highwater_plugin_sqlite::destination::SqliteDestination;
use model::ChangeSet;
use serde_json::json;

use crate::database::Database;

fn lane_of(host: &str, take_over: bool) -> Lane {
    Lane {
        owner: sample::owner(host),
        take_over,
        ..sample::lane()
    }
}

fn insert(id: u64) -> ChangeSet {
    let batch = sample::changes(&sample::items())
        .at(id)
        .insert(json!({"id": id}))
        .batch();
    sample::changeset((id > 1).then_some(id - 1), id, [batch])
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_that_was_taken_over_is_told_by_whom_and_leaves_nothing() {
    let database = Database::new();
    let options = DestinationOptions::default();
    let mut first = database.open_lane(options, &lane_of("one", false)).await.unwrap();
    first.apply(insert(1)).await.unwrap();
    let mut second = database.open_lane(options, &lane_of("two", true)).await.unwrap();
    let error = first.apply(insert(2)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot write `shop`/`copy`: generation 1 is over, generation 2 belongs to two pid {}",
            std::process::id()
        )
    );
    assert_eq!((error.code(), error.retry()), ("E0525", Retry::Fenced));
    // The first one still lives; the lock file is the second one's now.
    let error = database
        .open_lane(options, &lane_of("three", false))
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("two pid"), "{error}");
    drop(first);
    let error = database
        .open_lane(options, &lane_of("three", false))
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("two pid"), "{error}");
    second.apply(insert(2)).await.unwrap();
    second.close().await.unwrap();
    assert_eq!(database.lines("SELECT id FROM items"), ["1", "2"]);
    let third = database.open_lane(options, &lane_of("three", false)).await.unwrap();
    assert_eq!(third.holds().generation, 3);
    third.close().await.unwrap();
    let left: Vec<_> = std::fs::read_dir(database.directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["copy.db"], "side files are gone after a close");
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomer_names_an_owner_that_is_stopped_inside_its_transaction() {
    let database = Database::new();
    let options = DestinationOptions::default();
    let mut first = database.open_lane(options, &lane_of("one", false)).await.unwrap();
    first.apply(insert(1)).await.unwrap();
    first.write(insert(2)).await.unwrap();
    let error = database.open_lane(options, &lane_of("two", true)).await.err().unwrap();
    assert_eq!((error.code(), error.retry()), ("E0523", Retry::After));
    let said = format!("one pid {}", std::process::id());
    assert!(error.to_string().contains(&said), "{error}");
    assert!(error.remedy().unwrap().contains("kill"), "{error:?}");
    first.commit().await.unwrap();
    let second = database.open_lane(options, &lane_of("two", true)).await.unwrap();
    assert_eq!(second.checkpoint().marks[&sample::log()].order.key(), 2);
    second.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn program_that_holds_the_write_lock_is_waited_for() {
    let database = Database::new();
    let mut session = database.open(DestinationOptions::default()).await;
    session.apply(insert(1)).await.unwrap();
    let user = database.user();
    user.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writing = tokio::spawn(async move {
        let outcome = session.apply(insert(2)).await;
        (session, outcome)
    });
    // It cannot get on before the user commits, whenever that is.
    assert_eq!(database.lines("SELECT id FROM items"), ["1"]);
    user.execute_batch("COMMIT").unwrap();
    let (session, outcome) = writing.await.unwrap();
    outcome.unwrap();
    session.close().await.unwrap();
    assert_eq!(database.lines("SELECT id FROM items"), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn write_that_is_cut_off_leaves_nothing_and_the_next_open_goes_on() {
    let database = Database::new();
    let mut destination: Box<dyn Destination> = database.destination(DestinationOptions::default());
    destination.open(&sample::lane()).await.unwrap();
    let rows = (1..=20_000).map(|id| json!({"id": id, "name": "x".repeat(50)}));
    let batch = sample::changes(&sample::items()).inserts(rows).batch();
    let changeset = std::sync::Arc::new(sample::changeset(None, 1, [batch]));
    // Polled once: the work is under way when the future goes.
    let cut = tokio::time::timeout(Duration::ZERO, destination.write(changeset)).await;
    assert!(cut.is_err(), "20,000 rows were written in no time");
    let error = destination.write(std::sync::Arc::new(insert(1))).await.unwrap_err();
    assert_eq!(error.retry(), Retry::After, "{error:?}");
    drop(destination);
    let mut session = database.open(DestinationOptions::default()).await;
    assert!(session.checkpoint().is_empty());
    assert_eq!(database.rows("items").unwrap_or_default(), []);
    session.apply(insert(1)).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(database.lines("SELECT id FROM items"), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn file_that_was_replaced_is_not_written_on() {
    let database = Database::new();
    let mut session = database.open(DestinationOptions::default()).await;
    session.apply(insert(1)).await.unwrap();
    let aside = database.directory().join("aside.db");
    std::fs::rename(database.path(), &aside).unwrap();
    std::fs::copy(&aside, database.path()).unwrap();
    let error = session.apply(insert(2)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0526", Retry::After), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_destinations_of_one_pipeline_do_not_share_a_file() {
    let database = Database::new();
    let first = database.open(DestinationOptions::default()).await;
    let lane = Lane {
        destination: "history".into(),
        ..sample::lane()
    };
    let error = database
        .open_lane(DestinationOptions::default(), &lane)
        .await
        .err()
        .unwrap();
    assert_eq!((error.code(), error.retry()), ("E0527", Retry::Operator));
    assert!(
        error.to_string().contains("destination `copy` of the same pipeline"),
        "{error}"
    );
    first.close().await.unwrap();
    let second = database.open_lane(DestinationOptions::default(), &lane).await.unwrap();
    second.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_does_not_write_the_database_that_it_reads() {
    let database = Database::new();
    database
        .user()
        .execute_batch("CREATE TABLE _highwater_shop_changes (seq INTEGER PRIMARY KEY)")
        .unwrap();
    let error = database
        .open_lane(DestinationOptions::default(), &sample::lane())
        .await
        .err()
        .unwrap();
    assert_eq!((error.code(), error.retry()), ("E0527", Retry::Operator));
    // A chain is fine: another pipeline reads what this one writes.
    let lane = Lane {
        pipeline: "before".into(),
        ..sample::lane()
    };
    let session = database.open_lane(DestinationOptions::default(), &lane).await.unwrap();
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_of_a_later_version_is_refused() {
    let database = Database::new();
    let mut session = database.open(DestinationOptions::default()).await;
    session.apply(insert(1)).await.unwrap();
    session.close().await.unwrap();
    database
        .user()
        .execute_batch("UPDATE _highwater_ledger SET format = 2")
        .unwrap();
    let error = database
        .open_lane(DestinationOptions::default(), &sample::lane())
        .await
        .err()
        .unwrap();
    assert_eq!((error.code(), error.retry()), ("E0524", Retry::Operator));
    assert!(error.to_string().contains("its format is 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_names_of_one_file_have_one_lock() {
    let database = Database::new();
    let session = database.open(DestinationOptions::default()).await;
    let link = database.directory().join("link.db");
    std::os::unix::fs::symlink(database.path(), &link).unwrap();
    let mut other = SqliteDestination::new(link, DestinationOptions::default());
    let started = Instant::now();
    let error = other.open(&lane_of("two", false)).await.unwrap_err();
    assert_eq!(error.code(), "E0521");
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "a refusal takes a second, not {:?}",
        started.elapsed()
    );
    session.close().await.unwrap();
}

//! Who may commit.

use std::fs;

use api::Retry;
use api::conformance::{Session, sample};
use highwater_plugin_files::read_manifests;
use serde_json::json;

use crate::reading::data_files;
use crate::replay::history;
use crate::setup::{destination, inserts, open, open_lane, rival};

#[tokio::test]
async fn writer_that_slept_until_its_number_was_folded_away_is_fenced() {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("out");
    let mut stale = open("csv", json!({}), base.path()).await;
    stale.apply(inserts(&sample::items(), 1, [1])).await.unwrap();
    stale.write(inserts(&sample::items(), 2, [777])).await.unwrap();
    let mut living = open_lane("csv", json!({}), base.path(), &rival(true)).await;
    for order in 2..=140 {
        living.apply(inserts(&sample::items(), order, [order])).await.unwrap();
    }
    let manifests: Vec<_> = fs::read_dir(root.join("_highwater/shop.copy"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !manifests.contains(&"00000003.json".into()),
        "its number is free: {manifests:?}"
    );
    let error = stale.commit().await.unwrap_err();
    assert_eq!(error.retry(), Retry::Fenced, "{error:?}");
    assert!(error.to_string().contains("second-host"), "{error:?}");
    living.apply(inserts(&sample::items(), 141, [141])).await.unwrap();
    let ids: Vec<_> = history(&root, "items")
        .iter()
        .map(|row| row["id"].clone().unwrap())
        .collect();
    let expected: Vec<_> = (1..=141).map(|id: u64| id.to_string()).collect();
    assert_eq!(ids, expected);
    assert_eq!(data_files(&root).len(), 141);
}

#[tokio::test]
async fn fenced_writer_of_files_leaves_them_to_the_next_sweep() {
    let base = tempfile::tempdir().unwrap();
    let mut stale = open("parquet", json!({}), base.path()).await;
    let living = open_lane("parquet", json!({}), base.path(), &rival(true)).await;
    stale.write(inserts(&sample::items(), 1, [1])).await.unwrap();
    assert_eq!(stale.commit().await.unwrap_err().retry(), Retry::Fenced);
    drop((stale, living));
    drop(open("parquet", json!({}), base.path()).await);
    let staged = base.path().join("out/_highwater/shop.copy/staged");
    assert_eq!(fs::read_dir(staged).unwrap().count(), 0);
    assert_eq!(data_files(&base.path().join("out")).len(), 0);
}

#[tokio::test]
async fn owners_that_start_together_take_generations_in_turn() {
    let base = tempfile::tempdir().unwrap();
    let opens = (0..8).map(|n| {
        let mut lane = rival(true);
        lane.owner.id = format!("owner-{n}");
        let destination = destination("csv", json!({}), base.path());
        tokio::spawn(async move { Session::open(destination, &lane).await })
    });
    let opens: Vec<_> = opens.collect();
    let (mut generations, mut sessions) = (Vec::new(), Vec::new());
    for open in opens {
        // One that was overtaken while it prepared its manifest tries again later.
        match open.await.unwrap() {
            Ok(session) => {
                generations.push(session.holds().generation);
                sessions.push(session);
            }
            Err(error) => assert_eq!(error.retry(), Retry::After, "{error:?}"),
        }
    }
    generations.sort_unstable();
    let count = generations.len() as u64;
    generations.dedup();
    assert_eq!(generations.len() as u64, count, "{generations:?}");
    let newest = *generations.last().unwrap();
    for mut session in sessions {
        let is_newest = session.holds().generation == newest;
        let outcome = session.apply(sample::changeset(None, 1, [])).await;
        assert_eq!(outcome.is_ok(), is_newest, "generation {}", session.holds().generation);
    }
}

#[tokio::test]
async fn own_process_may_open_again_before_the_old_value_is_gone() {
    let base = tempfile::tempdir().unwrap();
    let mut old = open("csv", json!({}), base.path()).await;
    let mut new = open("csv", json!({}), base.path()).await;
    assert_eq!(
        old.apply(sample::changeset(None, 1, [])).await.unwrap_err().retry(),
        Retry::Fenced
    );
    new.apply(sample::changeset(None, 1, [])).await.unwrap();
    let error = Session::open(destination("csv", json!({}), base.path()), &rival(false)).await;
    let error = error.err().unwrap();
    assert_eq!((error.code(), error.retry()), ("E0553", Retry::Operator), "{error:?}");
    assert!(error.to_string().contains("first-host"), "{error:?}");
}

#[tokio::test]
async fn forgotten_lane_keeps_its_files_and_never_uses_their_names_again() {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("out");
    let mut session = open("ndjson", json!({}), base.path()).await;
    session.apply(inserts(&sample::items(), 1, [1])).await.unwrap();
    let error = destination("ndjson", json!({}), base.path())
        .forget(&rival(false))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "E0553", "a living owner is not forgotten: {error:?}");
    session.close().await.unwrap();
    let said = destination("ndjson", json!({}), base.path())
        .forget(&sample::lane())
        .await
        .unwrap();
    assert!(said[0].starts_with("manifests and staged files in `"), "{said:?}");
    assert_eq!(read_manifests(&root).unwrap().len(), 0);
    assert_eq!(data_files(&root).len(), 1);
    let mut session = open("ndjson", json!({}), base.path()).await;
    session.apply(inserts(&sample::items(), 1, [1])).await.unwrap();
    assert_eq!(data_files(&root).len(), 2);
}

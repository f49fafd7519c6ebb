//! What a commit adds, and where.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use api::conformance::{Row, Session, sample};
use api::{Deletes, DestinationOptions, OnSchemaChange};
use arrow::datatypes::{DataType, Field};
use highwater_plugin_files::read_manifests;
use model::{Body, ChangeSet, Control, Page, StreamId, StreamSchema, Timestamp};
use serde_json::json;

use crate::reading::{data_files, read_file};
use crate::replay::{history, keys, state};
use crate::setup::{FORMATS, appending, build, inserts, item, open};

/// The paths of the data files, relative to `root`, without their names.
fn directories(root: &Path) -> BTreeSet<String> {
    let directory = |path: std::path::PathBuf| {
        let parent = path.parent().unwrap().strip_prefix(root).unwrap().to_owned();
        parent.to_string_lossy().into_owned()
    };
    data_files(root).into_iter().map(directory).collect()
}

fn column(rows: &[Row], name: &str) -> Vec<Option<String>> {
    rows.iter().map(|row| row[name].clone()).collect()
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

#[tokio::test]
async fn rows_lie_in_the_directory_of_their_commit_date_and_keep_their_order() {
    for format in FORMATS {
        let base = tempfile::tempdir().unwrap();
        let spec = json!({"path": "./lake/{stream}/date={date}/hour={hour}"});
        let mut session = open(format, spec, base.path()).await;
        let items = sample::items();
        let mut batch = sample::changes(&items)
            .at(1)
            .insert(item(1))
            .at(2)
            .update_from(item(1), json!({"id": 1, "name": "next day"}))
            .at(3)
            .update_from(item(1), json!({"id": 1, "name": "clock stepped back"}))
            .batch();
        let hour = 3_600_000_000;
        let midnight = 20_000 * 24 * hour;
        for (commit, time) in batch.commits.iter_mut().zip([midnight - 1, midnight, midnight - 1]) {
            commit.time = Timestamp(time);
        }
        session.apply(sample::changeset(None, 3, [batch])).await.unwrap();
        let root = base.path().join("lake");
        let expected = ["items/date=2024-10-03/hour=23", "items/date=2024-10-04/hour=00"];
        assert_eq!(directories(&root), expected.map(str::to_owned).into(), "{format}");
        let names = column(&history(&root, "items"), "name");
        assert_eq!(names, some(&["n1", "next day", "clock stepped back"]), "{format}");
        assert_eq!(
            state(&root, "items", "id")["1"]["name"].as_deref(),
            Some("clock stepped back")
        );
    }
}

#[tokio::test]
async fn full_file_is_followed_by_another_in_the_same_commit() {
    for format in FORMATS {
        let base = tempfile::tempdir().unwrap();
        let mut session = open(format, json!({"file_bytes_max": "64KiB"}), base.path()).await;
        // Random names do not compress.
        let name = |id: u64| {
            format!(
                "{:x}",
                u128::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
            )
        };
        for order in 1..=5 {
            let ids = order * 10_000..order * 10_000 + 2_000;
            let rows = ids.map(|id| json!({"id": id, "name": name(id), "amount": id}));
            let batch = sample::changes(&sample::items()).at(order).inserts(rows).batch();
            let from = (order > 1).then_some(order - 1);
            session.write(sample::changeset(from, order, [batch])).await.unwrap();
        }
        session.commit().await.unwrap();
        let root = base.path().join("out");
        let files = read_manifests(&root).unwrap().pop().unwrap().files;
        assert!(files.len() > 2, "{format}: {} files", files.len());
        assert!(
            files.iter().all(|file| file.size_bytes < 1 << 20),
            "{format}: {files:?}"
        );
        assert_eq!(state(&root, "items", "id").len(), 10_000, "{format}");
    }
}

#[tokio::test]
async fn small_transactions_of_one_commit_share_a_file() {
    for format in FORMATS {
        let base = tempfile::tempdir().unwrap();
        let mut session = open(format, json!({"file_bytes_max": "64KiB"}), base.path()).await;
        for order in 1..=20 {
            session.write(inserts(&sample::items(), order, [order])).await.unwrap();
        }
        session.commit().await.unwrap();
        assert_eq!(data_files(&base.path().join("out")).len(), 1, "{format}");
    }
}

#[tokio::test]
async fn more_streams_than_open_files_share_one_commit() {
    let base = tempfile::tempdir().unwrap();
    let mut session = open("parquet", json!({}), base.path()).await;
    let streams: Vec<Arc<StreamSchema>> = (0..100)
        .map(|n| sample::items_as(StreamId::in_schema("many", format!("t{n:02}"))))
        .collect();
    for order in 1..=3 {
        let batches = streams
            .iter()
            .map(|s| sample::changes(s).at(order).insert(item(order)).batch());
        let from = (order > 1).then_some(order - 1);
        session.write(sample::changeset(from, order, batches)).await.unwrap();
    }
    session.commit().await.unwrap();
    let root = base.path().join("out");
    for stream in &streams {
        let ids = column(&history(&root, &stream.stream().to_string()), "id");
        assert_eq!(ids, some(&["1", "2", "3"]), "{}", stream.stream());
    }
}

#[tokio::test]
async fn key_change_is_a_delete_and_an_update_at_one_position() {
    for format in FORMATS {
        let base = tempfile::tempdir().unwrap();
        let mut session = open(format, json!({}), base.path()).await;
        let batch = sample::changes(&sample::items())
            .at(1)
            .insert(item(1))
            .insert(item(2))
            .at(2)
            .update_from(item(1), json!({"id": 7, "name": "moved", "amount": 10}))
            .batch();
        session.apply(sample::changeset(None, 2, [batch])).await.unwrap();
        let root = base.path().join("out");
        let rows = history(&root, "items");
        assert_eq!(
            column(&rows, "_highwater_op"),
            some(&["insert", "insert", "delete", "update"])
        );
        assert_eq!(column(&rows, "_highwater_position"), some(&["1", "1", "2", "2"]));
        assert_eq!(column(&rows, "id"), some(&["1", "2", "1", "7"]));
        assert_eq!(keys(&state(&root, "items", "id")), ["2", "7"], "{format}");
    }
}

#[tokio::test]
async fn update_without_a_key_says_which_row_it_replaced() {
    let base = tempfile::tempdir().unwrap();
    let mut session = open("ndjson", json!({}), base.path()).await;
    let batch = sample::changes(&sample::events())
        .insert(json!({"at": 1, "what": "a"}))
        .update_from(json!({"at": 1, "what": "a"}), json!({"at": 1, "what": "b"}))
        .batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    let rows = history(&base.path().join("out"), "events");
    assert_eq!(column(&rows, "_highwater_op"), some(&["insert", "delete", "update"]));
    assert_eq!(column(&rows, "what"), some(&["a", "a", "b"]));
}

#[tokio::test]
async fn value_that_was_not_sent_is_taken_from_the_old_row() {
    let base = tempfile::tempdir().unwrap();
    let mut session = open("parquet", json!({}), base.path()).await;
    let batch = sample::changes(&sample::items())
        .update_from(item(1), json!({"id": 1, "amount": 2}))
        .without(["name"])
        .update(json!({"id": 2, "amount": 3}))
        .without(["name"])
        .batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    let rows = history(&base.path().join("out"), "items");
    assert_eq!(column(&rows, "name"), [Some("n1".to_owned()), None]);
    assert_eq!(
        column(&rows, "_highwater_unavailable"),
        [None, Some("[name]".to_owned())]
    );
}

/// Drives one read of items with these ids.
async fn read_items(session: &mut Session, run: u32, empty_first: bool, window: u64, ids: &[u64]) {
    let items = sample::items();
    session
        .write(sample::begin_read(&items, run, empty_first))
        .await
        .unwrap();
    for (number, id) in (1..).zip(ids) {
        let page = Page::new(0, number);
        let batch = sample::page(&items, run, page, window, &[item(*id)]);
        let delta = sample::page_delta(items.stream(), run, page);
        session.write(ChangeSet::rows(delta, vec![batch])).await.unwrap();
        session.commit().await.unwrap();
    }
    session.apply(sample::end_read(items.stream(), run)).await.unwrap();
}

#[tokio::test]
async fn replay_gives_the_state_of_the_source_after_reads_and_truncates() {
    for format in FORMATS {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("out");
        let mut session = open(format, json!({}), base.path()).await;
        let items = sample::items();
        session.apply(sample::changeset(None, 1, [])).await.unwrap();
        read_items(&mut session, 1, true, 1, &[1, 2, 3]).await;
        // The first read needs no marker: counting rows is counting rows.
        assert_eq!(
            column(&history(&root, "items"), "_highwater_op"),
            some(&["read", "read", "read"])
        );
        let batch = sample::changes(&items).at(2).delete(item(2)).insert(item(4)).batch();
        session.apply(sample::changeset(Some(1), 2, [batch])).await.unwrap();
        assert_eq!(keys(&state(&root, "items", "id")), ["1", "3", "4"], "{format}");
        // A delete was missed, and the stream is read again.
        read_items(&mut session, 2, false, 3, &[1, 4]).await;
        assert_eq!(keys(&state(&root, "items", "id")), ["1", "4"], "{format}");
        session.close().await.unwrap();
        // The very first thing after a restart is a truncate: its row has the columns of the stored schema.
        let mut session = open(format, json!({}), base.path()).await;
        let stream = items.stream().clone();
        session
            .write(sample::control(Some(2), 5, Control::Truncate { stream }))
            .await
            .unwrap();
        let batch = sample::changes(&items).at(6).insert(item(9)).batch();
        session.write(sample::changeset(Some(5), 6, [batch])).await.unwrap();
        session.commit().await.unwrap();
        assert_eq!(keys(&state(&root, "items", "id")), ["9"], "{format}");
        read_items(&mut session, 3, true, 6, &[8, 9]).await;
        assert_eq!(keys(&state(&root, "items", "id")), ["8", "9"], "{format}");
        let rows = history(&root, "items");
        let markers = rows.iter().filter(|row| row["id"].is_none());
        let markers: Vec<_> = markers
            .map(|row| (row["_highwater_op"].as_deref(), row["_highwater_position"].as_deref()))
            .collect();
        let expected = [
            (Some("begin_read"), None),
            (Some("truncate"), Some("5")),
            (Some("truncate"), None),
        ];
        assert_eq!(markers, expected, "{format}");
    }
}

#[tokio::test]
async fn truncate_inside_a_transaction_stands_between_its_rows_and_shows_with_them() {
    for format in FORMATS {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("out");
        let mut session = open(format, json!({}), base.path()).await;
        let items = sample::items();
        session.apply(inserts(&items, 1, [1, 2])).await.unwrap();
        let insert = |id| Body::Rows(vec![sample::changes(&items).at(5).insert(item(id)).batch()]);
        let stream = items.stream().clone();
        let truncate = Body::Control(Control::Truncate { stream });
        for part in sample::parts_with_controls(Some(1), 5, vec![insert(3), truncate, insert(4)]) {
            assert_eq!(keys(&state(&root, "items", "id")), ["1", "2"], "{format}");
            session.write(part).await.unwrap();
        }
        session.commit().await.unwrap();
        assert_eq!(keys(&state(&root, "items", "id")), ["4"], "{format}");
        let rows = history(&root, "items");
        let of_transaction: Vec<_> = rows[2..]
            .iter()
            .map(|row| (row["_highwater_op"].as_deref(), row["_highwater_position"].as_deref()))
            .collect();
        let expected = ["insert", "truncate", "insert"].map(|op| (Some(op), Some("5")));
        assert_eq!(of_transaction, expected, "{format}");
    }
}

#[tokio::test]
async fn new_version_goes_to_a_directory_of_its_own() {
    let base = tempfile::tempdir().unwrap();
    let options = DestinationOptions {
        on_schema_change: Some(OnSchemaChange::NewVersion),
        ..appending()
    };
    let spec = json!({"path": "./out/{stream}/{date}"});
    let make = || build("csv", spec.clone(), options, base.path()).unwrap();
    let mut session = Session::open(make(), &sample::lane()).await.unwrap();
    session.apply(inserts(&sample::items(), 1, [1])).await.unwrap();
    session
        .apply(inserts(&sample::items_with_note(), 2, [2]))
        .await
        .unwrap();
    session.close().await.unwrap();
    let mut session = Session::open(make(), &sample::lane()).await.unwrap();
    session
        .apply(inserts(&sample::items_with_note(), 3, [3]))
        .await
        .unwrap();
    session.apply(inserts(&sample::items(), 4, [4])).await.unwrap();
    let root = base.path().join("out");
    let tops: BTreeSet<String> = directories(&root)
        .iter()
        .map(|directory| directory.split('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(tops, ["items", "items~v2", "items~v3"].map(str::to_owned).into());
    assert_eq!(column(&history(&root, "items"), "id"), some(&["1", "2", "3", "4"]));
}

#[tokio::test]
async fn other_types_pause_and_say_what_changed() {
    let base = tempfile::tempdir().unwrap();
    let mut session = open("parquet", json!({}), base.path()).await;
    session.apply(inserts(&sample::items(), 1, [1])).await.unwrap();
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Int64, true),
    ];
    let changed = sample::schema(StreamId::new("items"), fields, ["id"]);
    let batch = sample::changes(&changed).at(2).insert(json!({"id": 2})).batch();
    let error = session.apply(sample::changeset(Some(1), 2, [batch])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot go on with `items`: column `name` changed from Utf8 to Int64"
    );
    assert_eq!((error.code(), error.retry()), ("E0557", api::Retry::Operator));
    assert!(error.remedy().unwrap().contains("new_version"), "{error:?}");
}

#[tokio::test]
async fn streams_whose_directories_would_be_one_get_their_own_for_ever() {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("out");
    let spec = json!({"path": "./out/{table}"});
    let streams = [
        StreamId::in_schema("a", "t"),
        StreamId::in_schema("b", "t"),
        StreamId::in_schema("a", "T"),
    ];
    for order in 1..=2 {
        let mut session = open("csv", spec.clone(), base.path()).await;
        // In the other order the second time.
        let mut streams: Vec<_> = streams.iter().collect();
        if order == 2 {
            streams.reverse();
        }
        let batches = streams.iter().map(|s| {
            let schema = sample::items_as((*s).clone());
            sample::changes(&schema).at(order).insert(item(order)).batch()
        });
        let from = (order > 1).then_some(order - 1);
        session.apply(sample::changeset(from, order, batches)).await.unwrap();
    }
    let folded: BTreeSet<String> = directories(&root).iter().map(|d| d.to_lowercase()).collect();
    assert_eq!(folded.len(), 3, "{folded:?}");
    for manifest in read_manifests(&root).unwrap().iter().flat_map(|m| &m.files) {
        let rows = read_file(&root.join(&manifest.path));
        assert_eq!(rows.len(), 1, "{manifest:?}");
    }
    assert_eq!(column(&history(&root, "b.t"), "id"), some(&["1", "2"]));
}

#[tokio::test]
async fn ignored_deletes_are_not_appended() {
    let base = tempfile::tempdir().unwrap();
    let options = DestinationOptions {
        deletes: Deletes::Ignore,
        ..appending()
    };
    let destination = build("ndjson", json!({}), options, base.path()).unwrap();
    let mut session = Session::open(destination, &sample::lane()).await.unwrap();
    let batch = sample::changes(&sample::items())
        .insert(item(1))
        .delete(item(1))
        .batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    let rows = history(&base.path().join("out"), "items");
    assert_eq!(column(&rows, "_highwater_op"), some(&["insert"]));
}

#[tokio::test]
async fn old_manifests_are_folded_and_no_row_is_forgotten() {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("out");
    let mut session = open("csv", json!({}), base.path()).await;
    for order in 1..=150 {
        if order % 3 == 0 {
            session
                .apply(sample::changeset(Some(order - 1), order, []))
                .await
                .unwrap();
        } else {
            session.apply(inserts(&sample::items(), order, [order])).await.unwrap();
        }
        if order % 70 == 0 {
            session.close().await.unwrap();
            session = open("csv", json!({}), base.path()).await;
        }
    }
    let ledger = root.join("_highwater/shop.copy");
    let names = |directory: &Path| std::fs::read_dir(directory).unwrap().count();
    assert!(names(&ledger) < 70, "{} names", names(&ledger));
    assert_eq!(names(&ledger.join("compacted")), 3);
    assert_eq!(names(&ledger.join("staged")), 0);
    let expected: Vec<_> = (1..=150)
        .filter(|order| order % 3 != 0)
        .map(|order| Some(order.to_string()))
        .collect();
    assert_eq!(column(&history(&root, "items"), "id"), expected);
    let manifests = read_manifests(&root).unwrap();
    assert!(manifests.windows(2).all(|pair| pair[0].number < pair[1].number));
    // An idle pipeline leaves one segment, however long it idles.
    for order in 151..=350 {
        session
            .apply(sample::changeset(Some(order - 1), order, []))
            .await
            .unwrap();
    }
    assert!(
        names(&ledger.join("compacted")) <= 6,
        "{}",
        names(&ledger.join("compacted"))
    );
    assert_eq!(column(&history(&root, "items"), "id"), expected);
}

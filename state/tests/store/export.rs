use std::collections::BTreeMap;

use bytes::Bytes;
use highwater_state::conformance::full_value;
use highwater_state::{SledStore, StateStore as _};

use crate::scene::{block_on, files, open, written};

#[test]
fn export_shows_every_pipeline_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    block_on(async {
        store
            .put(&"shop".into(), &"warehouse".into(), &full_value(), 0)
            .await
            .unwrap();
        let kept = BTreeMap::from([("run".to_owned(), Bytes::from_static(&[0, 1, 255]))]);
        store.put_kept(&"crm".into(), &kept).await.unwrap();
    });
    drop(store);
    let bytes_of = |name: &str| -> Vec<Vec<u8>> {
        let files = files(&dir.path().join(name));
        files.iter().map(|file| std::fs::read(file).unwrap()).collect()
    };
    let before = (bytes_of("journal"), bytes_of("sled"));
    let json = SledStore::export(dir.path()).unwrap();
    assert_eq!(
        (bytes_of("journal"), bytes_of("sled")),
        before,
        "reading writes nothing"
    );

    assert_eq!(json["format"], "highwater-state");
    assert_eq!(json["version"], 1);
    assert_eq!(json["pipelines"]["crm"]["kept"]["run"], "AAH/");
    let stored = &json["pipelines"]["shop"]["destinations"]["warehouse"];
    assert_eq!(stored["epoch"], 1);
    assert_eq!(stored["generation"], 41);
    assert_eq!(stored["pending_reads"][0]["streams"][0], "public.or\\.ders");
}

#[test]
fn export_reads_past_a_database_that_does_not_open() {
    let dir = written(2);
    for file in files(&dir.path().join("sled")) {
        std::fs::write(file, "no database").unwrap();
    }
    let (contents, notices) = SledStore::read(dir.path()).unwrap();
    assert_eq!(contents.pipelines[&"shop".into()].destinations[&"lake".into()].epoch, 2);
    assert_eq!(notices.iter().map(|notice| notice.code).collect::<Vec<_>>(), ["W0402"]);
    assert!(!dir.path().join("state.corrupt-1").exists(), "reading moves nothing");
}

#[test]
fn export_of_a_directory_without_state_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = SledStore::export(dir.path()).expect_err("it is empty");
    assert_eq!(error.code(), "E0403");
    assert_eq!(files(dir.path()).len(), 0, "and nothing is made");
}

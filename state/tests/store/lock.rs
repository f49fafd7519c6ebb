use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use highwater_state::{SledStore, StateError};

use crate::child::Writer;
use crate::scene::{files, open, written};

#[test]
fn second_opener_is_refused_and_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::start(dir.path(), u64::MAX, None);
    writer.wait_for_acknowledgement();
    for refused in [
        SledStore::open(dir.path()).map(|_| ()),
        SledStore::export(dir.path()).map(|_| ()),
    ] {
        let error = refused.expect_err("the child has it open");
        assert!(matches!(error, StateError::Locked { .. }), "{error:?}");
        assert_eq!(error.code(), "E0401");
        let owner = format!("process {} on host `", writer.pid());
        assert!(error.to_string().contains(&owner), "`{error}` names {owner}");
        assert!(!error.is_fatal_io());
        assert!(error.hint().is_some());
    }
    writer.kill();
    writer.wait();
    drop(open(dir.path()));
}

#[test]
fn lock_is_exclusive_within_a_process_and_given_back_on_drop() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    assert!(matches!(SledStore::open(dir.path()), Err(StateError::Locked { .. })));
    drop(store);
    drop(open(dir.path()));
}

#[test]
fn nobody_else_may_read_the_state() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a").join("state");
    drop(open(&dir));
    for path in [dir.clone(), dir.join("journal"), dir.join("sled")] {
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o777,
            0o700,
            "{}",
            path.display()
        );
    }
    for file in files(&dir) {
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o177,
            0,
            "{}",
            file.display()
        );
    }
}

#[test]
fn file_in_the_way_is_an_error_with_a_remedy() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("state");
    fs::write(&dir, "").unwrap();
    let error = SledStore::open(&dir).map(|_| ()).expect_err("it is a file");
    assert_eq!(error.code(), "E0402");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("in the way")),
        "{:?}",
        error.hint()
    );
}

#[test]
fn newer_format_is_refused_and_left_alone() {
    let dir = written(1);
    let text = "highwater-state 2";
    let line = format!("{text} {:08x}\n", crc32c::crc32c(text.as_bytes()));
    fs::write(dir.path().join("FORMAT"), line).unwrap();
    let error = SledStore::open(dir.path()).map(|_| ()).expect_err("format 2");
    assert_eq!(error.code(), "E0404");
    let expected = format!(
        "cannot read `{}`: its format is 2, this version reads formats up to 1",
        dir.path().join("FORMAT").display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn directory_can_be_opened_again_many_times() {
    let dir = written(3);
    for _ in 0..20 {
        let (_store, notices) = open(dir.path());
        assert_eq!(notices, []);
    }
    assert_eq!(
        files(&dir.path().join("journal")).len(),
        2,
        "the newest file and its spare"
    );
}

//! Databases that cannot be opened, and what is said then.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use highwater_plugin_sqlite::{Access, open};

fn check(name: &str, prepare: impl FnOnce(&Path), expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    prepare(&path);
    let error = open(&path, Access::Read)
        .err()
        .unwrap_or_else(|| panic!("{name} was opened"));
    let shown = format!("{} {error}", error.code()).replace(&dir.path().display().to_string(), "DIR");
    assert_eq!(shown, expected);
    assert!(error.hint().is_some(), "{shown} comes without a remedy");
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    check(
        "missing.db",
        |_| {},
        "E0210 cannot open `DIR/missing.db`: there is no such file",
    );
    check(
        "a-directory",
        |path| std::fs::create_dir(path).unwrap(),
        "E0210 cannot open `DIR/a-directory`: it is a directory, not a file",
    );
    check(
        "empty.db",
        |path| std::fs::write(path, "").unwrap(),
        "E0211 cannot read `DIR/empty.db`: the file is empty",
    );
    check(
        "text.db",
        |path| std::fs::write(path, "this is no database, whatever its name says".repeat(40)).unwrap(),
        "E0211 cannot read `DIR/text.db`: it is encrypted or not a SQLite database; it begins with `74 68 69 73 20 69 73 20 6e 6f 20 64 61 74 61 62`",
    );
    check(
        "damaged.db",
        |path| {
            let conn = rusqlite::Connection::open(path).unwrap();
            conn.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1)")
                .unwrap();
            drop(conn);
            let mut bytes = std::fs::read(path).unwrap();
            bytes[100..140].fill(0xff);
            std::fs::write(path, bytes).unwrap();
        },
        "E0214 cannot read `DIR/damaged.db`: the database is damaged",
    );
}

#[test]
fn file_without_read_permission_is_named_with_its_mode() {
    if rustix::process::geteuid().is_root() {
        eprintln!("not tried: root may read everything");
        return;
    }
    check(
        "private.db",
        |path| {
            let conn = rusqlite::Connection::open(path).unwrap();
            conn.execute_batch("CREATE TABLE t(x)").unwrap();
            drop(conn);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o000)).unwrap();
        },
        "E0213 cannot open `DIR/private.db`: `DIR/private.db` has mode 0000",
    );
}

/// Where the database is that the test below opens as somebody else.
const READ_ONLY_DATABASE: &str = "HIGHWATER_TEST_READ_ONLY_DATABASE";

/// What `nobody` is called in numbers.
const NOBODY: u32 = 65_534;

#[test]
fn file_that_may_only_be_read_is_refused_before_the_first_write() {
    if let Some(path) = std::env::var_os(READ_ONLY_DATABASE) {
        return refuses_to_write(Path::new(&path), "0644");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    conn.execute_batch("CREATE TABLE t(x)").unwrap();
    drop(conn);
    if !rustix::process::geteuid().is_root() {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
        return refuses_to_write(&path, "0444");
    }
    // Root may write everything, so the test runs once more as somebody who may not. The directory is open to everyone:
    // the files beside a database in WAL mode can be made.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let as_nobody = Command::new("/proc/self/exe")
        .args([
            "--exact",
            "opening::file_that_may_only_be_read_is_refused_before_the_first_write",
        ])
        .arg("--nocapture")
        .env(READ_ONLY_DATABASE, &path)
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .output();
    match as_nobody {
        Ok(output) => {
            let words = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
            assert!(output.status.success(), "{}", words.concat());
            assert!(words[0].contains("1 passed"), "{}", words.concat());
        }
        Err(error) => eprintln!("not tried: no process can be started as another user: {error}"),
    }
}

fn refuses_to_write(path: &Path, mode: &str) {
    open(path, Access::Read).unwrap();
    for access in [Access::Write, Access::Create] {
        let error = open(path, access).unwrap_err();
        let shown = format!("{} {error}", error.code()).replace(&path.display().to_string(), "app.db");
        assert_eq!(
            shown,
            format!("E0213 cannot open `app.db`: `app.db` has mode {mode}, and this user may not write it")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn database_in_rollback_mode_is_refused_with_the_command_that_helps() {
    let app = crate::driver::App::new("CREATE TABLE t(id INTEGER PRIMARY KEY)", &["t"]);
    app.conn.pragma_update(None, "journal_mode", "DELETE").unwrap();
    let found = app.source().check(&app.plan()).await.unwrap();
    assert_eq!(found.iter().map(|error| error.code()).collect::<Vec<_>>(), ["E0216"]);
    assert!(
        found[0].remedy().unwrap().contains("PRAGMA journal_mode=WAL"),
        "{:?}",
        found[0]
    );
    let refused = app.open(&[], &api::Share::alone(1 << 20)).await.err().unwrap();
    assert_eq!(refused.code(), "E0216");
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_without_a_table_is_refused_and_a_similar_one_named() {
    let app = crate::driver::App::new(
        "CREATE TABLE order_lines(id INTEGER PRIMARY KEY); CREATE VIEW v AS SELECT 1",
        &["OrderLine", "v"],
    );
    let found = app.source().check(&app.plan()).await.unwrap();
    let shown: Vec<String> = found
        .iter()
        .map(|error| format!("{} {}", error.code(), error.remedy().unwrap_or("")))
        .collect();
    assert_eq!(
        shown,
        [
            "E0218 did you mean `order_lines`?",
            "E0219 name the tables that it is made from, or exclude it"
        ]
    );
}

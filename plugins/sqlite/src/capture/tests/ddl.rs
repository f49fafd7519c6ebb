//! The user's own DDL works, and what it does to capture is seen.

use super::super::install::{Occasion, ensure, triggers_are_in_place};
use super::super::marks;
use super::super::names::Names;
use super::super::removal::remove;
use super::super::verdict::{RereadReason, Verdict};
use super::{Db, Rows};

const ORDERS: &str = "CREATE TABLE orders(id INTEGER PRIMARY KEY, email TEXT, note TEXT, total REAL);
    CREATE UNIQUE INDEX by_email ON orders(email);
    INSERT INTO orders VALUES (1, 'a', 'x', 1.0), (2, 'b', 'y', 2.0)";

fn evolved(added: &[&str], dropped: &[&str], refreshed: usize) -> Verdict {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Verdict::Evolved {
        added: owned(added),
        dropped: owned(dropped),
        refreshed,
    }
}

/// Runs the user's DDL on captured `orders`, expects a verdict, and that capture is in order afterwards.
fn check(ddl: &str, expected: Verdict) {
    let mut db = Db::new(ORDERS, &["orders"]);
    db.run(ddl);
    assert_eq!(db.ensure(), expected, "after {ddl}");
    if expected == Verdict::Gone {
        return;
    }
    assert_eq!(db.ensure(), Verdict::Intact, "at the second look after {ddl}");
    let mut rows = db.rows("orders");
    let from = marks::head(&db.ours, &db.names).unwrap();
    db.run("INSERT OR REPLACE INTO orders(id, total) VALUES (1, 7), (9, 8); UPDATE orders SET total = 9 WHERE id = 2; DELETE FROM orders WHERE id = 2");
    db.apply(&mut rows, "orders", from).unwrap();
    assert_eq!(rows, db.rows("orders"), "changes after {ddl}");
}

#[test]
fn ddl_is_seen_and_capture_goes_on() {
    use RereadReason as R;
    check("CREATE TABLE other(x); ANALYZE; VACUUM", Verdict::Intact);
    check("ALTER TABLE orders ADD COLUMN extra TEXT", evolved(&["extra"], &[], 0));
    check(
        "ALTER TABLE orders ADD COLUMN extra TEXT; INSERT INTO orders VALUES (3, 'c', 'z', 3.0, 'new'); UPDATE orders SET extra = 'e' WHERE id = 1",
        evolved(&["extra"], &[], 2),
    );
    check(
        "ALTER TABLE orders ADD COLUMN extra TEXT DEFAULT 'd'",
        Verdict::Reread(R::AddedWithDefault),
    );
    check(
        "ALTER TABLE orders ADD COLUMN twice AS (total * 2)",
        Verdict::Reread(R::AddedWithDefault),
    );
    check("ALTER TABLE orders DROP COLUMN note", evolved(&[], &["note"], 0));
    check(
        "DROP INDEX by_email; ALTER TABLE orders DROP COLUMN email; ALTER TABLE orders DROP COLUMN note; INSERT INTO orders VALUES (5, 5.0)",
        evolved(&[], &["email", "note"], 0),
    );
    check(
        "ALTER TABLE orders DROP COLUMN note; ALTER TABLE orders ADD COLUMN note INT",
        evolved(&["note"], &["note"], 0),
    );
    check(
        "ALTER TABLE orders RENAME COLUMN note TO remark",
        Verdict::Reread(R::ColumnsChanged),
    );
    check(
        "ALTER TABLE orders RENAME TO orders_old; INSERT INTO orders_old VALUES (7, 'q', 'q', 7)",
        Verdict::Gone,
    );
    check(
        "ALTER TABLE orders RENAME TO orders_old; CREATE TABLE orders(id INTEGER PRIMARY KEY, email TEXT, note TEXT, total REAL)",
        Verdict::Reread(R::Renamed),
    );
    check("DROP TABLE orders", Verdict::Gone);
    check(
        "DROP TABLE orders; CREATE TABLE orders(id INTEGER PRIMARY KEY, email TEXT, total REAL); INSERT INTO orders VALUES (4, 'd', 4)",
        Verdict::Reread(R::Recreated),
    );
    check(
        "BEGIN; CREATE TABLE new_orders(id INTEGER PRIMARY KEY, email TEXT, total REAL);
         INSERT INTO new_orders SELECT id, email, total FROM orders; DROP TABLE orders; ALTER TABLE new_orders RENAME TO orders; COMMIT;
         DELETE FROM orders WHERE id = 1; CREATE TABLE IF NOT EXISTS orders(id)",
        Verdict::Reread(R::Recreated),
    );
    check(
        "CREATE TRIGGER mine AFTER INSERT ON orders BEGIN UPDATE orders SET note = 't' WHERE id = NEW.id; END",
        Verdict::Reread(R::TriggerNewer),
    );
    check("CREATE UNIQUE INDEX by_note ON orders(note)", evolved(&[], &[], 0));
    check(
        "CREATE UNIQUE INDEX by_note ON orders(note); INSERT OR REPLACE INTO orders VALUES (8, 'h', 'x', 8)",
        Verdict::Reread(R::UniqueChanged),
    );
    check(
        "DROP INDEX by_email; INSERT INTO orders VALUES (8, 'a', 'x', 8)",
        evolved(&[], &[], 0),
    );
}

#[test]
fn row_changed_between_add_column_and_our_look_is_written_again() {
    let mut db = Db::new(ORDERS, &["orders"]);
    db.run("ALTER TABLE orders ADD COLUMN extra TEXT; UPDATE orders SET extra = 'e' WHERE id = 1");
    assert_eq!(db.ensure(), evolved(&["extra"], &[], 1));
    let (op, extra): (i64, String) = db
        .ours
        .query_row(
            &format!("SELECT op, n4 FROM {} WHERE layout = 2", db.names.changes()),
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!((op, extra.as_str()), (4, "e"));
}

#[test]
fn triggers_removed_behind_sqlites_back_are_missed() {
    let db = Db::new(ORDERS, &["orders"]);
    assert!(triggers_are_in_place(&db.ours, &db.captured).unwrap());
    db.run("PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '%insert'");
    assert!(!triggers_are_in_place(&db.ours, &db.captured).unwrap());
}

#[test]
fn change_table_dropped_by_the_user_starts_another_history() {
    let mut db = Db::new(ORDERS, &["orders"]);
    let history = db.captured.history.clone();
    db.run(&format!("DROP TABLE {}", db.names.changes()));
    assert!(
        db.user
            .execute("INSERT INTO orders VALUES (3, 'c', '', 0)", [])
            .is_err(),
        "why this must be put right soon"
    );
    assert_eq!(db.ensure(), Verdict::Installed);
    assert_ne!(db.captured.history, history);
    // A connection that saw the table go must read the schema again, which any read makes it do.
    db.rows("orders");
    db.run("INSERT INTO orders VALUES (3, 'c', '', 0)");
}

#[test]
fn pipelines_that_share_a_database_leave_each_other_alone() {
    let mut db = Db::new(ORDERS, &["orders"]);
    let other = Names::of_pipeline("shop_2");
    let mut conn = rusqlite::Connection::open(db.ours.path().unwrap()).unwrap();
    ensure(&mut conn, &other, &db.streams, Occasion::Opening).unwrap();
    assert_eq!(db.ensure(), Verdict::Intact);
    remove(&mut conn, &other).unwrap();
    assert_eq!(db.ensure(), Verdict::Intact);
    let shouted = Names::of_pipeline("SHOP");
    let refused = ensure(&mut conn, &shouted, &db.streams, Occasion::Opening).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("belongs to pipeline `shop`, not to `SHOP`"),
        "{refused}"
    );
}

#[test]
fn forgetting_leaves_nothing_behind() {
    let mut db = Db::new(ORDERS, &["orders"]);
    remove(&mut db.ours, &db.names).unwrap();
    remove(&mut db.ours, &db.names).unwrap();
    let ours: i64 = db
        .user
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%highwater%' OR sql LIKE '%highwater%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(ours, 0);
}

#[test]
fn stream_no_longer_wanted_loses_its_triggers() {
    let mut db = Db::new(
        &format!("{ORDERS}; CREATE TABLE other(id INTEGER PRIMARY KEY)"),
        &["orders", "other"],
    );
    db.streams = vec!["other".to_owned()];
    assert_eq!(db.ensure(), Verdict::Intact);
    let left: i64 = db
        .user
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'orders'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn values_keep_their_storage_class_and_every_bit() {
    let db = Db::new("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", &["t"]);
    db.run(
        "INSERT INTO t(v) VALUES (9223372036854775807), (-9223372036854775808), (9e999), (-9e999), (-0.0), (5e-324), (0.1),
         (''), (x''), ('a' || char(0) || 'b'), (CAST(x'ff80' AS TEXT)), (x'00'), ('5'), (5), (5.0), (NULL)",
    );
    let differing: i64 = db
        .ours
        .query_row(
            &format!(
                "SELECT count(*) FROM t LEFT JOIN {} AS c ON c.n0 = t.id
                 WHERE typeof(c.n1) IS NOT typeof(t.v) OR hex(c.n1) IS NOT hex(t.v) OR printf('%!.20g', c.n1) IS NOT printf('%!.20g', t.v)",
                db.names.changes()
            ),
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(differing, 0);
}

#[test]
fn user_sees_no_difference_in_what_their_statements_report() {
    let db = Db::new("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v UNIQUE)", &["t"]);
    db.run("INSERT INTO t(v) VALUES (1), (2)");
    assert_eq!(db.user.last_insert_rowid(), 2);
    assert_eq!(
        db.user
            .execute("INSERT OR REPLACE INTO t(v) VALUES (1), (2), (3)", [])
            .unwrap(),
        3
    );
    assert_eq!(db.user.last_insert_rowid(), 5);
    let returned: i64 = db
        .user
        .query_row("UPDATE t SET v = 9 WHERE v = 3 RETURNING id", [], |row| row.get(0))
        .unwrap();
    assert_eq!(returned, 5);
    db.run("PRAGMA trusted_schema = OFF; CREATE TEMP TABLE _highwater_shop_changes(x); DELETE FROM t");
    let mut rows = Rows::new();
    db.apply(&mut rows, "t", 0).unwrap();
    assert!(rows.is_empty());
}

#[test]
fn children_removed_by_a_foreign_key_are_logged() {
    let db = Db::new(
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE t(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE);
         CREATE TABLE u(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE SET NULL ON UPDATE CASCADE)",
        &["t", "u", "p"],
    );
    db.run("INSERT INTO p VALUES (1), (2), (3); INSERT INTO t VALUES (1, 1), (2, 2), (3, 3); INSERT INTO u SELECT * FROM t;
            DELETE FROM p WHERE id = 1; UPDATE p SET id = 5 WHERE id = 2; REPLACE INTO p VALUES (3)");
    for stream in ["t", "u", "p"] {
        let mut rows = Rows::new();
        db.apply(&mut rows, stream, 0).unwrap();
        assert_eq!(rows, db.rows(stream), "{stream}");
    }
}

#[test]
fn pruning_takes_a_thousand_at_a_time_and_keeps_the_last_mark() {
    let mut db = Db::new("CREATE TABLE t(id INTEGER PRIMARY KEY)", &["t"]);
    db.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) INSERT INTO t SELECT i FROM n",
    );
    let mark = marks::commit(&mut db.ours, &db.names, db.captured.schema_version)
        .unwrap()
        .expect("the schema has not moved");
    db.run("DELETE FROM t WHERE id < 11");
    let upto = mark.seq + 5;
    let mut gone = Vec::new();
    loop {
        match marks::prune(&mut db.ours, &db.names, upto, mark.seq).unwrap() {
            0 => break,
            n => gone.push(n),
        }
    }
    assert_eq!(
        gone,
        [1000, 1000, 506],
        "2,500 inserts, the mark of the set-up, and 5 of 10 deletes"
    );
    assert!(marks::is_there(&db.ours, &db.names, mark).unwrap());
    assert!(
        !marks::is_there(
            &db.ours,
            &db.names,
            marks::Mark {
                nonce: mark.nonce ^ 1,
                ..mark
            }
        )
        .unwrap()
    );
    assert_eq!(marks::pruned(&db.ours, &db.names).unwrap(), upto);
    assert_eq!(marks::head(&db.ours, &db.names).unwrap(), upto + 5);
}

#[test]
fn sequence_goes_on_after_everything_is_pruned() {
    let mut db = Db::new("CREATE TABLE t(id INTEGER PRIMARY KEY)", &["t"]);
    db.run("INSERT INTO t VALUES (1)");
    let head = marks::head(&db.ours, &db.names).unwrap();
    while marks::prune(&mut db.ours, &db.names, head, 0).unwrap() > 0 {}
    db.run("INSERT INTO t VALUES (2)");
    assert_eq!(marks::head(&db.ours, &db.names).unwrap(), head + 1);
}

#[test]
fn no_mark_is_written_once_the_schema_moved() {
    let mut db = Db::new("CREATE TABLE t(id INTEGER PRIMARY KEY)", &["t"]);
    db.run("CREATE TABLE u(x)");
    assert_eq!(
        marks::commit(&mut db.ours, &db.names, db.captured.schema_version).unwrap(),
        None
    );
}

//! The user's DDL while the source runs, and between two runs.

use api::Verdict;
use api::testing::Replica;

use crate::driver::{App, Run};

const ORDERS: &str = "CREATE TABLE orders(id INTEGER PRIMARY KEY, note TEXT);
    CREATE TABLE other(id INTEGER PRIMARY KEY, v TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 350) INSERT INTO orders SELECT i, 'n' || i FROM n;
    INSERT INTO other VALUES (1, 'a')";

/// Whether the DDL makes the stream be read again.
#[derive(PartialEq, Clone, Copy)]
enum Expect {
    Followed,
    ReadAgain,
}

async fn check(ddl: &str, expect: Expect) {
    for is_running in [true, false] {
        let app = App::new(ORDERS, &["orders", "other"]);
        let replica = Replica::new();
        let mut run = Run::start(&app, &replica).await;
        run.until_equal(&app, &["orders", "other"]).await;
        if is_running {
            app.run(ddl);
        } else {
            drop(run);
            app.run(ddl);
            run = Run::start(&app, &replica).await;
            assert!(matches!(run.verdict, Verdict::Continue), "{ddl}: {:?}", run.verdict);
        }
        app.run("INSERT INTO other VALUES (2, 'b'); UPDATE orders SET id = id + 1000 WHERE id = 7; DELETE FROM orders WHERE id = 8");
        run.until_equal(&app, &["orders", "other"]).await;
        app.run("INSERT INTO other VALUES (3, 'c'); DELETE FROM orders WHERE id = 9");
        run.until_equal(&app, &["orders", "other"]).await;
        let expected = usize::from(expect == Expect::ReadAgain) + usize::from(is_running);
        let context = format!("{ddl}, while running: {is_running}: {:?}", run.seen);
        assert_eq!(run.count("begin_read orders"), expected, "{context}");
        assert_eq!(run.count("begin_read other"), usize::from(is_running), "{context}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn added_and_dropped_columns_are_followed() {
    check(
        "ALTER TABLE orders ADD COLUMN extra TEXT; UPDATE orders SET extra = 'e' WHERE id < 5",
        Expect::Followed,
    )
    .await;
    check("ALTER TABLE orders DROP COLUMN note", Expect::Followed).await;
    check("VACUUM", Expect::Followed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_triggers_cannot_follow_is_read_again() {
    check(
        "ALTER TABLE orders ADD COLUMN extra INTEGER DEFAULT 5",
        Expect::ReadAgain,
    )
    .await;
    check("ALTER TABLE orders RENAME COLUMN note TO remark", Expect::ReadAgain).await;
    check("DROP TABLE orders; CREATE TABLE orders(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO orders VALUES (7, 'x'), (8, 'y')", Expect::ReadAgain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilt_table_is_read_again() {
    check(
        "BEGIN; CREATE TABLE new_orders(id INTEGER PRIMARY KEY, note TEXT, more TEXT);
         INSERT INTO new_orders SELECT id, note, 'm' FROM orders; DROP TABLE orders; ALTER TABLE new_orders RENAME TO orders; COMMIT",
        Expect::ReadAgain,
    )
    .await;
    check(
        "CREATE TRIGGER mine AFTER INSERT ON orders BEGIN UPDATE orders SET note = 't' WHERE id = NEW.id; END",
        Expect::ReadAgain,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn table_that_is_gone_is_read_again_when_it_comes_back() {
    let app = App::new(ORDERS, &["orders", "other"]);
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["orders", "other"]).await;
    app.run("ALTER TABLE orders RENAME TO put_away; INSERT INTO other VALUES (2, 'b')");
    run.until_equal(&app, &["other"]).await;
    assert_eq!(
        replica.row_count(&model::StreamId::new("orders")),
        350,
        "destinations keep the rows"
    );
    app.run(
        "DELETE FROM put_away WHERE id > 20; ALTER TABLE put_away RENAME TO orders; INSERT INTO other VALUES (3, 'c')",
    );
    run.until_equal(&app, &["orders", "other"]).await;
    assert_eq!(run.count("begin_read orders"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn change_table_dropped_by_hand_ends_the_reading_and_is_made_anew() {
    let app = App::new(ORDERS, &["orders", "other"]);
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["orders", "other"]).await;
    app.run("DROP TABLE _highwater_shop_changes");
    let error = loop {
        if let Err(error) = run.next().await {
            break error;
        }
    };
    assert_eq!(error.code(), "E0224", "{error:?}");
    drop(run);
    let run = Run::start(&app, &replica).await;
    assert!(matches!(run.verdict, Verdict::OtherHistory(_)), "{:?}", run.verdict);
    app.rows("orders");
    app.run("INSERT INTO orders VALUES (9999, 'works again')");
}

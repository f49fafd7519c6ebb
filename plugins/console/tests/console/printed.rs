use std::sync::{Arc, Mutex};

use api::conformance::{Session, sample};
use api::{DestinationOptions, WriteMode};
use arrow::datatypes::{DataType, Field};
use highwater_plugin_console::{Counts, Format, Stdout, StdoutSpec};
use model::{ChangeSet, Control, StreamId};
use serde_json::json;

/// What is printed by the commit of these changesets.
async fn printed(format: Format, changesets: Vec<ChangeSet>) -> String {
    let out = Arc::new(Mutex::new(Vec::new()));
    let spec = StdoutSpec { format };
    let destination = Stdout::printing_to(spec, DestinationOptions::default(), out.clone()).expect("the options fit");
    let mut session = Session::open(destination, &sample::lane()).await.expect("it opens");
    for changeset in changesets {
        session.write(changeset).await.expect("it takes what it is given");
    }
    assert_eq!(
        out.lock().expect("nobody panicked").len(),
        0,
        "printed before the commit"
    );
    session.commit().await.expect("it prints");
    let bytes = out.lock().expect("nobody panicked").clone();
    String::from_utf8(bytes).expect("only text is printed")
}

fn changes() -> Vec<ChangeSet> {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("price", DataType::Decimal128(9, 2), true),
        Field::new("rate", DataType::Float64, true),
        Field::new("is_new", DataType::Boolean, true),
    ];
    let orders = sample::schema(StreamId::in_schema("public", "orders"), fields, ["id"]);
    let batch = sample::changes(&orders)
        .at(5)
        .insert(json!({"id": 1, "name": "tab\t\u{1b}[2J", "price": "1.50", "rate": 0.1, "is_new": true}))
        .update(json!({"id": 1, "price": null, "rate": 1e300}))
        .without(["name"])
        .delete(json!({"id": 9007199254740993_i64, "name": "x".repeat(70)}))
        .batch();
    let truncate = Control::Truncate {
        stream: orders.stream().clone(),
    };
    vec![
        sample::changeset(None, 5, [batch]),
        sample::control(Some(5), 6, truncate),
    ]
}

#[tokio::test]
async fn ndjson_has_one_object_for_each_row_and_control() {
    insta::assert_snapshot!(printed(Format::Ndjson, changes()).await, @r#"
    {"_highwater_stream":"public.orders","_highwater_op":"insert","_highwater_position":"5","_highwater_committed_at":"2026-01-02T03:04:10Z","id":1,"name":"tab\t\u001b[2J","price":"1.50","rate":0.1,"is_new":true}
    {"_highwater_stream":"public.orders","_highwater_op":"update","_highwater_position":"5","_highwater_committed_at":"2026-01-02T03:04:10Z","_highwater_unavailable":["name"],"id":1,"name":null,"price":null,"rate":1e+300,"is_new":null}
    {"_highwater_stream":"public.orders","_highwater_op":"delete","_highwater_position":"5","_highwater_committed_at":"2026-01-02T03:04:10Z","id":9007199254740993,"name":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","price":null,"rate":null,"is_new":null}
    {"_highwater_stream":"public.orders","_highwater_op":"truncate"}
    "#);
}

#[tokio::test]
async fn table_shows_nulls_values_not_sent_and_long_text_on_one_line() {
    insta::assert_snapshot!(printed(Format::Table, changes()).await, @r"
    -- public.orders
    +---------------+---------------------+------------------+--------------------------------------------------------------+-------+-------+--------+
    | _highwater_op | _highwater_position | id               | name                                                         | price | rate  | is_new |
    +---------------+---------------------+------------------+--------------------------------------------------------------+-------+-------+--------+
    | insert        | 5                   | 1                | tab\t\u{1b}[2J                                               | 1.50  | 0.1   | true   |
    | update        | 5                   | 1                | ?                                                            | NULL  | 1e300 | NULL   |
    | delete        | 5                   | 9007199254740993 | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… | NULL  | NULL  | NULL   |
    +---------------+---------------------+------------------+--------------------------------------------------------------+-------+-------+--------+
    -- public.orders: truncate
    ");
}

#[tokio::test]
async fn stdout_refuses_modes_in_which_printing_makes_no_sense() {
    for mode in [WriteMode::Upsert, WriteMode::Mirror] {
        let options = DestinationOptions {
            write: Some(mode),
            ..DestinationOptions::default()
        };
        let refused = Stdout::printing_to(StdoutSpec::default(), options, Arc::new(Mutex::new(Vec::new())));
        let message = refused.err().expect("refused").to_string();
        assert_eq!(message, format!("cannot print in mode `{}`", mode.name()));
    }
}

#[tokio::test]
async fn closed_reader_is_an_error_for_the_operator() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let out = Arc::new(Mutex::new(Closed));
    let destination = Stdout::printing_to(StdoutSpec::default(), DestinationOptions::default(), out).expect("it fits");
    let mut session = Session::open(destination, &sample::lane()).await.expect("it opens");
    let error = session.apply(changes().swap_remove(0)).await.expect_err("nobody reads");
    assert_eq!(error.retry(), api::Retry::Operator);
    assert_eq!(error.chain(), "cannot print to standard output: broken pipe");
}

#[tokio::test]
async fn more_than_the_buffer_is_printed_before_the_commit() {
    let out = Arc::new(Mutex::new(Vec::new()));
    let destination =
        Stdout::printing_to(StdoutSpec::default(), DestinationOptions::default(), out.clone()).expect("it fits");
    let mut session = Session::open(destination, &sample::lane()).await.expect("it opens");
    let rows = (0..20_000).map(|id| json!({"id": id, "name": "some name of some length"}));
    let batch = sample::changes(&sample::items()).inserts(rows).batch();
    // The session refuses a destination that holds more than it declared.
    session
        .write(sample::changeset(None, 1, [batch]))
        .await
        .expect("it takes a large changeset");
    assert!(out.lock().expect("nobody panicked").len() > 1 << 20);
}

#[tokio::test]
async fn null_counts_what_it_discards() {
    let counts = Counts::default();
    let mut session = Session::open(counts.destination(), &sample::lane())
        .await
        .expect("it opens");
    for changeset in changes() {
        session.apply(changeset).await.expect("it discards anything");
    }
    assert_eq!((counts.rows(), counts.commits()), (3, 2));
    assert!(counts.bytes() > 100, "{}", counts.bytes());
}

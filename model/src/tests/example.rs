//! The worked example of `docs/explanation/positions-and-checkpoints.md`, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::{changes, live, log, moves, orders, page, range, reading, schema_of};
use crate::{Body, ChangeSet, Checkpoint, Control, Delta, DestinationId, Op};

/// A destination that upserts.
#[derive(Clone, Default)]
struct Destination {
    checkpoint: Checkpoint,
    rows: BTreeMap<i64, String>,
}

impl Destination {
    /// Takes a changeset; gives what was done, as short text.
    fn take(&mut self, changeset: &Arc<ChangeSet>) -> String {
        let who = DestinationId::from("any");
        let admission = self.checkpoint.admit(&who, changeset).unwrap();
        self.checkpoint.apply(&admission.delta).unwrap();
        let Some(admitted) = admission.changeset else {
            return "nothing".to_owned();
        };
        if let Body::Control(control) = &admitted.body {
            return control.name().to_owned();
        }
        let mut done = Vec::new();
        for batch in admitted.batches() {
            let ids = batch.rows.column(0).as_primitive::<Int64Type>();
            let values = batch.rows.column(1).as_string::<i32>();
            for row in 0..batch.len() {
                let (op, id) = (batch.ops.get(row), ids.value(row));
                if let (Op::Update, Some(before)) = (op, &batch.before) {
                    self.rows
                        .remove(&before.rows.column(0).as_primitive::<Int64Type>().value(row));
                }
                if op == Op::Delete {
                    self.rows.remove(&id);
                } else {
                    self.rows.insert(id, values.value(row).to_owned());
                }
                done.push(format!("{} {id}", op.name()));
            }
        }
        done.join(", ")
    }
}

fn control(delta: Delta, control: Control) -> Arc<ChangeSet> {
    Arc::new(ChangeSet::control(delta, control))
}

#[test]
fn example_of_the_docs_goes_as_it_is_told() {
    let begin = Control::BeginRead {
        schema: schema_of(&orders()),
        run: 1,
        destinations: None,
        empty_first: true,
    };
    let begin = control(moves(log(), 10, 10).with_stream(orders(), reading(1)), begin);
    let (mut a, mut b) = (Destination::default(), Destination::default());

    for destination in [&mut a, &mut b] {
        assert_eq!(destination.take(&begin), "begin_read");
        assert_eq!(
            destination.take(&page(1, 0, 1, "10: r 1 a | 10: r 3 c")),
            "read 1, read 3"
        );
    }
    let committed_b = b.clone();
    for destination in [&mut a, &mut b] {
        let second = page(1, 0, 2, "10: r 4 d | 10: r 5 e | 10: r 6 f");
        assert_eq!(destination.take(&second), "read 4, read 5, read 6");
        assert_eq!(destination.take(&changes(10, 11, "11: u 5 E < 5 e @2")), "update 5");
    }
    assert_eq!(a.take(&changes(11, 12, "12: u 8 H < 8 h @-")), "nothing");

    // The process is killed; `a` had committed, `b` no more than its first page.
    b = committed_b;
    let replayed = [
        (changes(10, 11, "11: u 5 E < 5 e @2"), "nothing", "nothing"),
        (changes(11, 12, "12: u 8 H < 8 h @-"), "nothing", "nothing"),
        (changes(12, 13, "13: u 2 E < 5 E @1<2"), "update 2", "insert 2"),
        (page(1, 0, 2, "13: r 4 d | 13: r 6 f"), "nothing", "read 4, read 6"),
        (
            page(1, 0, 3, "13: r 7 g | 13: r 8 H | 13: r 9 i"),
            "read 7, read 8, read 9",
            "read 7, read 8, read 9",
        ),
    ];
    for (changeset, of_a, of_b) in replayed {
        assert_eq!(
            (a.take(&changeset).as_str(), b.take(&changeset).as_str()),
            (of_a, of_b),
            "{changeset:?}"
        );
    }
    let end = Control::EndRead {
        stream: orders(),
        run: 1,
    };
    let end = control(moves(range(1, 0), 3, 3).with_stream(orders(), live(1)), end);
    for destination in [&mut a, &mut b] {
        assert_eq!(destination.take(&end), "end_read");
        assert_eq!(destination.checkpoint, super::holds(13, live(1), &[]));
        let rows: Vec<String> = destination
            .rows
            .iter()
            .map(|(id, value)| format!("{id}{value}"))
            .collect();
        assert_eq!(rows, ["1a", "2E", "3c", "4d", "6f", "7g", "8H", "9i"]);
    }
}

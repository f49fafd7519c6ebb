use std::sync::Arc;

use super::admit::admit;
use super::{holds, log_batch, moves, orders, reading, schema_of, show, shown};
use crate::{Batch, ChangeSet, OutRows, RecutError, StreamId, Transformed, Unavailable, gone, recut};

/// Rows of `images` by input row, as a transformer answers them. Texts as in `log_batch`, without order and operation.
fn out_of(stream: &StreamId, images: &[(u32, &str)]) -> Vec<OutRows> {
    if images.is_empty() {
        return Vec::new();
    }
    let text: Vec<String> = images.iter().map(|(_, image)| format!("0: i {image}")).collect();
    let batch = super::batch_of(stream, &text.join(" | "));
    vec![OutRows {
        schema: schema_of(stream),
        rows: batch.rows,
        input_rows: images.iter().map(|&(row, _)| row).collect(),
        unavailable: batch.unavailable,
    }]
}

fn out(images: &[(u32, &str)]) -> Vec<OutRows> {
    out_of(&orders(), images)
}

fn made(after: &[(u32, &str)], before: &[(u32, &str)], gone: &[(u32, &str)]) -> Transformed {
    Transformed {
        after: out(after),
        before: out(before),
        gone: out(gone),
    }
}

fn check(input: &str, made: Transformed, expected: &str) {
    let batches = recut(&log_batch(input), made).unwrap();
    assert_eq!(batches.iter().map(show).collect::<Vec<_>>().join(" || "), expected);
}

fn refuse(input: &str, made: Transformed) -> String {
    recut(&log_batch(input), made).unwrap_err().to_string()
}

#[test]
fn read_insert_and_delete_become_themselves_or_nothing() {
    for op in ["r", "i", "d"] {
        let input = format!("3: {op} 1 a");
        check(&input, made(&[(0, "1 A")], &[], &[]), &format!("3: {op} 1 A"));
        check(&input, made(&[], &[], &[]), "");
    }
}

#[test]
fn update_whose_images_both_pass_stays_an_update() {
    check(
        "3: u 1 a < 1 b",
        made(&[(0, "1 A")], &[(0, "1 B")], &[]),
        "3: u 1 A < 1 B",
    );
}

#[test]
fn update_without_an_old_image_stays_an_update() {
    check("3: u 1 a", made(&[(0, "1 A")], &[], &[]), "3: u 1 A");
    check("3: u 1 ?", made(&[(0, "1 ?")], &[], &[]), "3: u 1 ?");
}

#[test]
fn update_that_begins_to_pass_is_an_insert() {
    check("3: u 1 a < 1 b", made(&[(0, "1 A")], &[], &[]), "3: i 1 A");
}

#[test]
fn insert_of_a_row_that_is_not_whole_is_refused() {
    assert_eq!(
        refuse("3: u 1 ? < 1 b", made(&[(0, "1 ?")], &[], &[])),
        "cannot insert a row of `orders` that begins to pass: some of its values were not sent"
    );
}

#[test]
fn update_that_no_longer_passes_is_a_delete_of_the_old_image() {
    check("3: u 1 a < 2 b", made(&[], &[(0, "2 B")], &[]), "3: d 2 B");
    check("3: u 1 a < 2 ?", made(&[], &[(0, "2 ?")], &[]), "3: d 2 ?");
}

#[test]
fn update_that_no_longer_passes_without_an_old_image_is_a_delete_by_the_key() {
    let input = log_batch("3: u 1 a | 3: u 2 b < 2 c | 3: u 3 d | 3: i 4 e");
    let after = out(&[(2, "3 D")]);
    assert_eq!(gone(&input, &after), [0]);
    let made = Transformed {
        after,
        before: Vec::new(),
        gone: out(&[(0, "1 A")]),
    };
    let batches = recut(&input, made).unwrap();
    assert_eq!(show(&batches[0]), "3: d 1 A | 3: u 3 D");
}

#[test]
fn update_that_never_passed_is_nothing() {
    check("3: u 1 a < 1 b", made(&[], &[], &[]), "");
}

#[test]
fn commits_and_pages_follow_the_rows_that_are_left() {
    check(
        "3: i 1 a @1 | 4: i 2 b @2 | 4: u 3 c < 9 c @3<7 | 8: i 4 d @-",
        made(&[(1, "2 B"), (2, "3 C"), (3, "4 D")], &[(2, "9 C")], &[]),
        "4: i 2 B @2 | 4: u 3 C < 9 C @3<7 | 8: i 4 D @-",
    );
}

#[test]
fn delete_of_an_old_image_lies_in_the_page_of_the_old_key() {
    let input = "9: u 5 a < 4 b @7<2";
    check(input, made(&[], &[(0, "4 B")], &[]), "9: d 4 B @2");
    // Who holds page 2 and not page 7 still has the row, and must lose it.
    let batches = recut(&log_batch(input), made(&[], &[(0, "4 B")], &[])).unwrap();
    let changeset = Arc::new(ChangeSet::rows(moves(super::log(), 7, 9), batches));
    let admission = admit(&holds(7, reading(1), &[(0, 2)]), &changeset);
    assert_eq!(shown(admission.changeset.as_ref()), "9: d 4 B @2");
}

#[test]
fn inserts_and_reads_may_become_several_rows() {
    check(
        "3: i 1 a | 3: i 2 b",
        made(&[(0, "1 x"), (0, "1 y"), (1, "2 z")], &[], &[]),
        "3: i 1 x | 3: i 1 y | 3: i 2 z",
    );
}

#[test]
fn updates_and_deletes_may_not() {
    for (input, op) in [("3: d 1 a", "delete"), ("3: u 1 a", "update")] {
        assert_eq!(
            refuse(input, made(&[(0, "1 x"), (0, "1 y")], &[], &[])),
            format!("cannot use the output for `orders`: one {op} became several rows")
        );
    }
}

#[test]
fn row_numbers_must_fit() {
    let numbers = |input_rows: &[u32]| {
        let mut made = made(&[(0, "1 x"), (0, "2 y")], &[], &[]);
        made.after[0].input_rows = input_rows.to_vec();
        refuse("3: i 1 a | 3: i 2 b", made)
    };
    let refused = |what: &str| format!("cannot use the output for `orders`: its input row numbers do not fit ({what})");
    assert_eq!(numbers(&[0]), refused("not one for each row"));
    assert_eq!(numbers(&[1, 0]), refused("they decrease"));
    assert_eq!(numbers(&[0, 2]), refused("beyond the input"));
}

#[test]
fn shapes_must_fit() {
    let refused = |change: &dyn Fn(&mut Transformed)| {
        let mut made = made(&[(0, "1 x")], &[(0, "1 y")], &[]);
        change(&mut made);
        refuse("3: u 1 a < 1 b", made)
    };
    let says = |what: &str| format!("cannot use the output for `orders`: {what}");
    assert_eq!(
        refused(&|made| made.after[0].rows = made.after[0].rows.project(&[0]).unwrap()),
        says("its columns differ from its schema")
    );
    assert_eq!(
        refused(&|made| made.after[0].unavailable = Unavailable::new(vec![Some([true].into_iter().collect())])),
        says("its mask and its columns differ in number")
    );
    assert_eq!(
        refused(&|made| {
            let again = made.after[0].clone();
            made.after.push(again);
        }),
        says("one stream came twice")
    );
    assert_eq!(
        refused(&|made| {
            let old = &mut made.before[0];
            let fields = old.schema.arrow().fields().iter().map(|f| f.as_ref().clone()).collect();
            old.schema = Arc::new(crate::StreamSchema::new(orders(), fields, [""; 0]).unwrap());
        }),
        says("its images differ in schema")
    );
}

#[test]
fn each_output_stream_gets_a_batch_of_its_own() {
    let (a, b) = (StreamId::new("a"), StreamId::new("b"));
    let mut after = out_of(&b, &[(0, "1 x")]);
    after.extend(out_of(&a, &[(0, "1 y"), (1, "2 z")]));
    let made = Transformed {
        after,
        ..Transformed::default()
    };
    let batches = recut(&log_batch("3: i 1 a | 5: i 2 b"), made).unwrap();
    let shown: Vec<String> = batches
        .iter()
        .map(|b| format!("{} {}", b.schema.stream(), show(b)))
        .collect();
    assert_eq!(shown, ["a 3: i 1 y | 5: i 2 z", "b 3: i 1 x"]);
}

#[test]
fn rows_that_all_pass_are_taken_without_a_copy() {
    let made = made(&[(0, "1 A"), (1, "2 B")], &[], &[]);
    let address = |rows: &arrow::array::RecordBatch| rows.column(0).to_data().buffers()[0].as_ptr() as usize;
    let expected = address(&made.after[0].rows);
    let batches: Vec<Batch> = recut(&log_batch("3: i 1 a | 3: i 2 b"), made).unwrap();
    assert_eq!(address(&batches[0].rows), expected);
}

#[test]
fn mask_of_each_image_comes_along() {
    check(
        "3: u 1 ? < 5 ? | 3: u 2 a < 6 ? | 3: u 3 ? | 4: u 4 d < 7 x",
        made(&[(0, "1 ?"), (2, "3 ?")], &[(0, "5 ?"), (1, "6 ?"), (3, "7 X")], &[]),
        "3: u 1 ? < 5 ? | 3: d 6 ? | 3: u 3 ? | 4: d 7 X",
    );
}

#[test]
fn error_of_arrow_names_the_stream() {
    let source = arrow::error::ArrowError::ComputeError("x".to_owned());
    let error = RecutError::Arrow {
        stream: orders(),
        source,
    };
    assert_eq!(error.to_string(), "cannot build the output for `orders`");
}

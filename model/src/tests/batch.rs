use std::sync::Arc;

use arrow::array::Array;
use proptest::prelude::*;

use super::{at, log, log_batch, orders, range, schema_of, show};
use crate::{Batch, Commit, Op, Ops, Page, PageTags, Partition, Timestamp, Unavailable};

const MIXED: &str = "1: i 1 a @1 | 1: u 2 b < 3 ? @7<1 | 2: d 4 ? @2 | 5: u 5 ~ < 5 x @3 | 5: u 6 ? @1 | 9: i 7 c @-";

#[test]
fn batch_is_shown_as_it_is_written() {
    assert_eq!(show(&log_batch(MIXED)), MIXED);
}

#[test]
fn every_slice_shows_the_rows_between() {
    let batch = log_batch(MIXED);
    let lines: Vec<&str> = MIXED.split(" | ").collect();
    for start in 0..=lines.len() {
        for end in start..=lines.len() {
            let slice = batch.slice(start..end);
            assert_eq!(show(&slice), lines[start..end].join(" | "), "{start}..{end}");
            assert_eq!(slice.commits.is_empty(), start == end, "{start}..{end}");
        }
    }
}

#[test]
fn slice_of_a_slice_is_the_slice_of_both() {
    let batch = log_batch(MIXED);
    assert_eq!(show(&batch.slice(1..6).slice(1..4)), show(&batch.slice(2..5)));
}

#[test]
fn slice_copies_nothing() {
    let batch = log_batch(MIXED);
    let address = |batch: &Batch, row: usize| batch.rows.column(0).to_data().buffers()[0].as_ptr() as usize + row * 8;
    assert_eq!(address(&batch.slice(2..4), 0), address(&batch, 2));
}

#[test]
fn commit_of_a_row_is_its_transaction() {
    let batch = log_batch(MIXED);
    let orders: Vec<u64> = (0..batch.len()).map(|row| batch.commit_of(row).order.key()).collect();
    assert_eq!(orders, [1, 1, 2, 5, 5, 9]);
}

#[test]
fn slice_counts_only_the_bytes_that_it_shows() {
    let batch = log_batch(MIXED);
    let parts: usize = (0..batch.len()).map(|row| batch.slice(row..row + 1).size_bytes()).sum();
    assert!(batch.slice(0..1).size_bytes() < batch.size_bytes());
    // Each part pays for a commit entry and an offset of its own.
    assert!(parts >= batch.size_bytes(), "{parts} of {}", batch.size_bytes());
}

/// Breaks one thing of a sound batch and gives what `check` says.
fn check_broken(breaks: impl FnOnce(&mut Batch)) -> String {
    let mut batch = log_batch(MIXED);
    batch.check().unwrap();
    breaks(&mut batch);
    batch.check().unwrap_err()
}

#[test]
fn check_names_what_is_wrong() {
    type Breaks = Box<dyn FnOnce(&mut Batch)>;
    let table: Vec<(&str, Breaks)> = vec![
        (
            "columns differ from the schema",
            Box::new(|b| b.rows = b.rows.project(&[1, 0]).unwrap()),
        ),
        (
            "operations and rows differ in number",
            Box::new(|b| b.ops = Ops::all(Op::Insert, 5)),
        ),
        (
            "the commit index does not end at the last row",
            Box::new(|b| b.commits.truncate(2)),
        ),
        (
            "the commit index does not end at the last row",
            Box::new(|b| b.commits.clear()),
        ),
        (
            "the commit index does not increase",
            Box::new(|b| b.commits[1].order = b.commits[0].order),
        ),
        (
            "the commit index does not increase",
            Box::new(|b| b.commits[0].row_end = b.commits[1].row_end),
        ),
        (
            "old images differ in shape",
            Box::new(|b| b.before = Some(b.before.as_ref().unwrap().slice(0..5))),
        ),
        (
            "page tags and rows differ in number",
            Box::new(|b| b.page_tags = vec![PageTags::new(1, vec![Page::new(0, 1)], None)]),
        ),
        (
            "a page tag without a page: they count from 1",
            Box::new(|b| b.page_tags = vec![PageTags::new(1, vec![Page::new(0, 0); 6], None)]),
        ),
        (
            "the unavailable mask and the columns differ in number",
            Box::new(|b| b.unavailable = Unavailable::new(vec![Some([true; 6].into_iter().collect())])),
        ),
        ("page number and partition do not fit", Box::new(|b| b.page = 1)),
        (
            "page number and partition do not fit",
            Box::new(|b| b.partition = range(1, 0)),
        ),
    ];
    for (expected, breaks) in table {
        assert_eq!(check_broken(breaks), format!("batch of `orders`: {expected}"));
    }
}

#[test]
fn check_refuses_a_null_in_a_column_that_has_none_unless_it_was_not_sent() {
    let schema = schema_of(&orders());
    let shape = crate::pick::nullable(schema.arrow());
    let rows = crate::pick::null_rows(&shape, 1).unwrap();
    let mut batch = Batch {
        rows,
        ..log_batch("1: d 1 ~")
    };
    assert_eq!(
        batch.check().unwrap_err(),
        "batch of `orders`: a null in a column that has none"
    );
    batch.unavailable = Unavailable::new(vec![Some([true].into_iter().collect()), None]);
    batch.check().unwrap();
}

#[test]
fn page_of_existing_rows_is_all_read_at_the_windows_order() {
    let rows = log_batch("1: i 1 a | 1: i 2 b").rows;
    let batch = Batch::of_page(range(1, 0), 3, schema_of(&orders()), rows, at(40), Timestamp(7));
    batch.check().unwrap();
    assert_eq!(show(&batch), "40: r 1 a | 40: r 2 b");
    let expected = Commit {
        row_end: 2,
        order: at(40),
        time: Timestamp(7),
    };
    assert_eq!(batch.commits, [expected]);
}

#[test]
fn empty_batch_is_sound() {
    let rows = log_batch("1: i 1 a").rows.slice(0, 0);
    let empty = Batch {
        commits: Vec::new(),
        ops: Ops::each([]),
        rows,
        ..log_batch("1: i 1 a")
    };
    empty.check().unwrap();
    assert!(empty.is_empty() && matches!(empty.partition, Partition::Log(_)) && empty.partition == log());
}

#[test]
fn mask_without_a_set_bit_is_no_mask() {
    let none = || Some([false, false].into_iter().collect());
    assert!(Unavailable::new(vec![None, none()]).is_none());
    let mask = Unavailable::new(vec![none(), Some([false, true].into_iter().collect())]).unwrap();
    assert!(mask.column(0).is_none() && mask.column(1).is_some());
    assert!(mask.any_in_row(1) && !mask.any_in_row(0) && !mask.is_set(1, 0));
    assert!(mask.slice(0..1).is_none());
    assert!(mask.slice(1..2).unwrap().is_set(0, 1));
}

proptest! {
    #[test]
    fn ops_are_what_was_put_in(raw in proptest::collection::vec(0u8..4, 0..20), cut in any::<(u8, u8)>()) {
        let all = [Op::Read, Op::Insert, Op::Update, Op::Delete];
        let put: Vec<Op> = raw.iter().map(|&b| all[b as usize]).collect();
        let ops = Ops::each(put.iter().copied());
        prop_assert_eq!(ops.iter().collect::<Vec<_>>(), put.clone());
        prop_assert_eq!(ops.len(), put.len());
        if let Some(op) = ops.uniform() {
            prop_assert!(put.iter().all(|&o| o == op));
        }
        let a = cut.0 as usize % (put.len() + 1);
        let b = a + cut.1 as usize % (put.len() - a + 1);
        prop_assert_eq!(ops.slice(a..b).iter().collect::<Vec<_>>(), put[a..b].to_vec());
    }

    #[test]
    fn page_tags_are_what_was_put_in(pages in proptest::collection::vec(any::<((u16, u32), (u16, u32))>(), 1..8)) {
        let page = |(range, number): (u16, u32)| Page::new(range, number);
        let new: Vec<Page> = pages.iter().map(|p| page(p.0)).collect();
        let old: Vec<Page> = pages.iter().map(|p| page(p.1)).collect();
        let tags = PageTags::new(4, new.clone(), Some(old.clone()));
        let without = PageTags::new(4, new.clone(), None);
        for row in 0..pages.len() {
            prop_assert_eq!((tags.at(row), tags.before(row)), (new[row], old[row]));
            prop_assert_eq!((without.at(row), without.before(row)), (new[row], new[row]));
            prop_assert_eq!(tags.slice(row..pages.len()).before(0), old[row]);
        }
    }
}

#[test]
fn ops_print_short() {
    assert_eq!(format!("{:?}", Ops::all(Op::Insert, 3)), "3xinsert");
    assert_eq!(
        format!("{:?}", Ops::each([Op::Insert, Op::Delete, Op::Update, Op::Read])),
        "idur"
    );
    let changeset = crate::ChangeSet::rows(super::moves(log(), 3, 9), vec![log_batch("9: i 1 a")]);
    assert_eq!(
        format!("{changeset:?}"),
        format!("ChangeSet(Whole (log:3..9] orders:1xinsert {}B)", changeset.size_bytes)
    );
    assert!(Arc::new(changeset).batches().len() == 1);
}

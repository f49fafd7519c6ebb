//! Changes of a stream that is being read: rows of pages that are not held are passed over.

use std::sync::Arc;

use super::admit::{admit, who};
use super::{changes, gave_up, holds, live, log, log_batch, moves, orders, reading, shown};
use crate::{AdmitError, ChangeSet, Page, PageTags};

/// What a destination that holds pages 1 and 2 keeps of a change.
fn check(change: &str, expected: &str) {
    let changeset = changes(7, 9, change);
    let admission = admit(&holds(7, reading(1), &[(0, 2)]), &changeset);
    assert_eq!(shown(admission.changeset.as_ref()), expected, "{change}");
    assert_eq!(admission.delta, moves(log(), 7, 9));
}

fn refuse(change: &str) -> AdmitError {
    let held = holds(7, reading(1), &[(0, 2)]);
    held.admit(&who(), &changes(7, 9, change)).unwrap_err()
}

#[test]
fn change_in_a_held_page_is_kept() {
    for change in [
        "9: i 5 a @2",
        "9: u 5 a @1",
        "9: u 5 ? @2",
        "9: u 5 a < 5 b @2",
        "9: d 5 a @1",
        "9: d 5 ? @2",
    ] {
        check(change, change);
    }
}

#[test]
fn change_elsewhere_is_passed_over() {
    for page in ["3", "-", "1/1", "1/-"] {
        for change in ["i 5 a", "u 5 a", "u 5 ?", "d 5 a"] {
            check(&format!("9: {change} @{page}"), "");
        }
    }
}

#[test]
fn key_that_moves_between_held_pages_stays_an_update() {
    check("9: u 5 ? < 4 a @2<1", "9: u 5 ? < 4 a @2<1");
}

#[test]
fn key_that_moves_between_other_pages_is_passed_over() {
    check("9: u 5 ? < 4 a @3<-", "");
}

#[test]
fn key_that_moves_into_a_held_page_is_an_insert() {
    check("9: u 5 a < 4 b @2<3", "9: i 5 a @2<3");
    check("9: u 5 ~ < 4 ? @2<-", "9: i 5 ~ @2<-");
}

#[test]
fn key_that_moves_out_of_a_held_page_is_a_delete() {
    check("9: u 5 a < 4 b @3<2", "9: d 4 b @2");
    check("9: u 5 ? < 4 b @-<1", "9: d 4 b @1");
}

#[test]
fn delete_by_an_old_key_alone_has_nothing_but_the_key() {
    check("9: u 5 a < 4 ? @3<2", "9: d 4 ? @2");
}

#[test]
fn row_that_moves_in_must_be_whole() {
    let refused = refuse("9: u 5 ? < 4 a @2<3");
    assert_eq!(
        refused.to_string(),
        "cannot admit a change of `orders` that moves a row into page Page { range: 0, number: 2 } of run 1: some of its values were not sent"
    );
}

#[test]
fn row_that_moves_out_must_name_its_old_key() {
    assert!(matches!(refuse("9: u 5 a @3<2"), AdmitError::NoOldKey { .. }));
    assert!(matches!(
        refuse("9: u 5 a @3<2 | 9: u 7 a < 8 b @2"),
        AdmitError::NoOldKey { .. }
    ));
}

#[test]
fn rows_of_all_kinds_are_cut_in_order() {
    check(
        "8: i 1 a @1 | 8: i 2 a @3 | 8: u 3 b < 9 b @1<- | 9: u 9 c < 4 c @-<2 | 9: d 6 x @2",
        "8: i 1 a @1 | 8: i 3 b @1<- | 9: d 4 c @2 | 9: d 6 x @2",
    );
}

#[test]
fn replayed_rows_are_cut_before_their_pages_are_looked_at() {
    // The replayed front would be refused: it moves a row that is not whole.
    let changeset = changes(5, 9, "6: u 5 ? < 4 a @2<3 | 8: i 1 a @1 | 9: i 2 b @7");
    let admission = admit(&holds(7, reading(1), &[(0, 2)]), &changeset);
    assert_eq!(shown(admission.changeset.as_ref()), "8: i 1 a @1");
}

#[test]
fn changes_of_held_pages_alone_are_shared() {
    let changeset = changes(7, 9, "8: i 1 a @1 | 9: u 2 b @2");
    let admission = admit(&holds(7, reading(1), &[(0, 2)]), &changeset);
    assert!(Arc::ptr_eq(&admission.changeset.unwrap(), &changeset));
}

#[test]
fn page_that_was_given_up_is_not_held() {
    let changeset = changes(7, 9, "8: i 1 a @1 | 9: u 2 b @2");
    let held = holds(7, gave_up(1, &[Page::new(0, 1)]), &[(0, 2)]);
    assert_eq!(shown(admit(&held, &changeset).changeset.as_ref()), "9: u 2 b @2");
}

#[test]
fn holder_of_no_page_takes_no_change_not_even_an_unread_one() {
    let changeset = changes(7, 9, "8: i 1 a @1 | 8: i 3 c @- | 9: u 2 b @2");
    let admission = admit(&holds(7, reading(1), &[]), &changeset);
    assert!(admission.changeset.is_none());
    assert_eq!(admission.delta, moves(log(), 7, 9));
}

#[test]
fn unread_is_not_held_even_at_the_end_of_a_range() {
    let mark = u64::from(Page::UNREAD);
    let held = holds(7, reading(1), &[(0, mark)]);
    assert!(admit(&held, &changes(7, 9, "9: i 1 a @-")).changeset.is_none());
}

#[test]
fn changes_without_the_pages_of_the_run_are_refused() {
    let held = holds(7, reading(2), &[(0, 2)]);
    for untagged in ["9: i 1 a", "9: i 1 a @1"] {
        let refused = held.admit(&who(), &changes(7, 9, untagged)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot admit changes of `orders`: they carry no page of run 2, which the destination is reading"
        );
    }
    // Who is live needs none.
    let changeset = changes(7, 9, "9: i 1 a");
    assert_eq!(
        shown(admit(&holds(7, live(1), &[]), &changeset).changeset.as_ref()),
        "9: i 1 a"
    );
}

#[test]
fn each_destination_goes_by_the_pages_of_its_own_run() {
    let mut batch = log_batch("9: i 1 a @1 | 9: i 2 b @7");
    batch
        .page_tags
        .push(PageTags::new(2, vec![Page::new(0, 7), Page::new(0, 1)], None));
    let changeset = Arc::new(ChangeSet::rows(moves(log(), 7, 9), vec![batch]));
    let take = |held| {
        let admission = admit(&held, &changeset);
        let kept = admission.changeset.unwrap();
        let ids = kept.batches()[0].rows.column(0).clone();
        arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&ids)
            .values()
            .to_vec()
    };
    assert_eq!(take(holds(7, reading(1), &[(0, 3)])), [1]);
    assert_eq!(take(holds(7, reading(2), &[(0, 3)])), [2]);
    assert_eq!(take(holds(7, live(1), &[])), [1, 2]);
}

#[test]
fn holds_page_follows_marks_and_runs() {
    let page = |r, number| Page::new(r, number);
    let held = holds(7, gave_up(2, &[page(0, 1)]), &[(0, 3)]);
    let holds_page = |run, p| held.holds_page(&orders(), run, p);
    assert!(holds_page(2, page(0, 2)) && holds_page(2, page(0, 3)));
    assert!(!holds_page(2, page(0, 1)), "given up");
    assert!(!holds_page(2, page(0, 4)) && !holds_page(2, page(1, 1)), "not read");
    assert!(!holds_page(1, page(0, 2)) && !holds_page(3, page(0, 2)), "another run");
    assert!(
        !holds(7, live(2), &[]).holds_page(&orders(), 2, page(0, 2)),
        "live holds no pages, but all rows"
    );
}

//! Rows and movement.

use std::sync::Arc;

use super::{at, changes, gave_up, holds, live, log, log_batch, moves, orders, page, range, reading, show, shown};
use crate::{Admission, AdmitError, Batch, ChangeSet, Checkpoint, Delta, DeltaError, DestinationId, Page, Part};

pub(super) fn who() -> DestinationId {
    DestinationId::from("warehouse")
}

pub(super) fn admit(held: &Checkpoint, changeset: &Arc<ChangeSet>) -> Admission {
    let admission = held.admit(&who(), changeset).unwrap();
    // Whatever is taken is taken once.
    let mut after = held.clone();
    after.apply(&admission.delta).unwrap();
    if !changeset.delta.is_empty() {
        let again = after.admit(&who(), changeset).unwrap();
        assert_eq!(shown(again.changeset.as_ref()), "", "admitted twice");
        assert!(again.delta.is_empty(), "{:?}", again.delta);
    }
    admission
}

#[test]
fn new_changes_are_shared_not_copied() {
    let changeset = changes(7, 9, "8: i 1 a | 9: d 2 b");
    let admission = admit(&holds(7, live(1), &[]), &changeset);
    assert!(Arc::ptr_eq(&admission.changeset.unwrap(), &changeset));
    assert_eq!(admission.delta, changeset.delta);
}

#[test]
fn partial_replay_leaves_the_suffix_without_a_copy() {
    let changeset = changes(5, 9, "6: i 1 a | 7: i 2 b | 7: i 3 c | 8: i 4 d | 9: i 5 e");
    let admission = admit(&holds(7, live(1), &[]), &changeset);
    let kept = admission.changeset.unwrap();
    assert_eq!(shown(Some(&kept)), "8: i 4 d | 9: i 5 e");
    assert_eq!(admission.delta, moves(log(), 7, 9));
    let address = |batch: &Batch| batch.rows.column(0).to_data().buffers()[0].as_ptr() as usize;
    assert_eq!(address(&kept.batches()[0]), address(&changeset.batches()[0]) + 24);
    assert!(kept.size_bytes < changeset.size_bytes);
}

#[test]
fn whole_replay_is_nothing() {
    for mark in [9, 12] {
        let admission = admit(&holds(mark, live(1), &[]), &changes(5, 9, "6: i 1 a | 9: i 2 b"));
        assert!(admission.changeset.is_none() && admission.delta.is_empty());
    }
}

#[test]
fn batches_of_streams_that_are_not_held_are_passed_over() {
    let other = super::batch_of(&crate::StreamId::new("items"), "9: i 7 x");
    let changeset = Arc::new(ChangeSet::rows(moves(log(), 7, 9), vec![other, log_batch("9: i 1 a")]));
    let admission = admit(&holds(7, live(1), &[]), &changeset);
    assert_eq!(shown(admission.changeset.as_ref()), "9: i 1 a");

    let fresh = admit(&Checkpoint::default(), &changeset);
    assert!(fresh.changeset.is_none());
    assert_eq!(fresh.delta, changeset.delta);
}

#[test]
fn fresh_destination_begins_its_log_wherever_the_changeset_does() {
    let admission = admit(&Checkpoint::default(), &changes(5, 9, "6: i 1 a"));
    assert!(admission.changeset.is_none());
    assert_eq!(admission.delta, moves(log(), 5, 9));
}

#[test]
fn log_that_was_not_begun_while_streams_are_held_is_a_hole() {
    let mut held = holds(7, live(1), &[]);
    held.marks.clear();
    let refused = held.admit(&who(), &changes(5, 9, "6: i 1 a")).unwrap_err();
    assert!(matches!(refused, AdmitError::Delta(DeltaError::Hole { .. })));
    // From the log's very beginning nothing is missing.
    let from_start = Arc::new(ChangeSet::rows(moves(log(), None, 9), vec![log_batch("6: i 1 a")]));
    assert_eq!(shown(admit(&held, &from_start).changeset.as_ref()), "6: i 1 a");
}

#[test]
fn hole_is_refused_before_a_row_is_handed_on() {
    let refused = holds(7, live(1), &[])
        .admit(&who(), &changes(8, 9, "9: i 1 a"))
        .unwrap_err();
    let expected = DeltaError::Hole {
        partition: log(),
        held: "7".to_owned(),
        from: at(8),
        to: at(9),
    };
    assert!(matches!(refused, AdmitError::Delta(hole) if hole == expected));
}

#[test]
fn progress_without_rows_only_moves() {
    let progress = Arc::new(ChangeSet::rows(moves(log(), 7, 9), Vec::new()));
    assert!(progress.is_progress());
    let admission = admit(&holds(7, live(1), &[]), &progress);
    assert!(admission.changeset.is_none());
    assert_eq!(admission.delta, moves(log(), 7, 9));
    assert_eq!(admit(&holds(8, live(1), &[]), &progress).delta, moves(log(), 8, 9));
    assert!(admit(&holds(9, live(1), &[]), &progress).delta.is_empty());
}

#[test]
fn parts_are_admitted_against_one_checkpoint_and_the_last_moves_it() {
    let part = |part, delta, rows| Arc::new(ChangeSet::part(part, delta, vec![log_batch(rows)]));
    let parts = [
        part(Part::First, Delta::none(), "9: i 1 a"),
        part(Part::Middle, Delta::none(), "9: i 2 b"),
        part(Part::Last, moves(log(), 7, 9), "9: i 3 c"),
    ];
    let held = holds(7, live(1), &[]);
    for whole in &parts {
        let admission = held.admit(&who(), whole).unwrap();
        assert!(Arc::ptr_eq(&admission.changeset.unwrap(), whole));
        assert_eq!(admission.delta, whole.delta);
    }
    // All of them again, to one who has the transaction: the parts are seen, without rows.
    for whole in &parts {
        let admission = holds(9, live(1), &[]).admit(&who(), whole).unwrap();
        let seen = admission.changeset.unwrap();
        assert_eq!((seen.part, seen.row_count()), (whole.part, 0));
        assert!(admission.delta.is_empty());
    }
}

#[test]
fn page_is_taken_by_who_reads_that_run_and_lacks_it() {
    let second = page(1, 0, 2, "5: r 1 a");
    let take = |held: Checkpoint| {
        let admission = admit(&held, &second);
        (shown(admission.changeset.as_ref()), admission.delta)
    };
    let taken = ("5: r 1 a".to_owned(), moves(range(1, 0), 1, 2));
    let passed = (String::new(), Delta::none());
    assert_eq!(take(holds(5, reading(1), &[(0, 1)])), taken);
    assert_eq!(take(holds(5, reading(1), &[(0, 2)])), passed);
    assert_eq!(take(holds(5, reading(1), &[(0, 7)])), passed);
    assert_eq!(take(holds(5, reading(2), &[(0, 1)])), passed);
    assert_eq!(take(holds(5, live(1), &[])), passed);
    assert_eq!(take(holds(5, live(0), &[])), passed);
    assert_eq!(take(Checkpoint::default()), passed);
}

#[test]
fn missing_page_is_a_hole() {
    for held in [holds(5, reading(1), &[(0, 1)]), holds(5, reading(1), &[(1, 9)])] {
        let refused = held.admit(&who(), &page(1, 0, 3, "5: r 1 a")).unwrap_err();
        assert!(
            matches!(refused, AdmitError::Delta(DeltaError::Hole { .. })),
            "{held:?}"
        );
    }
}

#[test]
fn several_pages_in_one_changeset_are_cut_page_by_page() {
    let batch = |number: u32, rows| Batch {
        partition: range(1, 0),
        page: number,
        ..log_batch(rows)
    };
    let three = Arc::new(ChangeSet::rows(
        moves(range(1, 0), None, 3),
        vec![batch(1, "5: r 1 a"), batch(2, "5: r 2 b"), batch(3, "5: r 3 c")],
    ));
    let admission = admit(&holds(5, reading(1), &[(0, 1)]), &three);
    assert_eq!(shown(admission.changeset.as_ref()), "5: r 2 b || 5: r 3 c");
    assert_eq!(admission.delta, moves(range(1, 0), 1, 3));

    // Given up: the second comes back, the others stay as they are, and the list gets shorter.
    let gave = gave_up(1, &[Page::new(0, 2), Page::new(0, 4), Page::new(1, 2)]);
    let admission = admit(&holds(5, gave, &[(0, 7)]), &three);
    assert_eq!(shown(admission.changeset.as_ref()), "5: r 2 b");
    let rest = gave_up(1, &[Page::new(0, 4), Page::new(1, 2)]);
    assert_eq!(admission.delta, Delta::none().with_stream(orders(), rest));
}

#[test]
fn pages_of_several_ranges_in_one_changeset_all_come_back() {
    let batch = |r: u16, rows| Batch {
        partition: range(1, r),
        page: 1,
        ..log_batch(rows)
    };
    let mut delta = moves(range(1, 0), None, 1);
    delta.then(&moves(range(1, 1), None, 1));
    let both = Arc::new(ChangeSet::rows(delta, vec![batch(0, "5: r 1 a"), batch(1, "5: r 9 b")]));
    let held = holds(5, gave_up(1, &[Page::new(0, 1), Page::new(1, 1)]), &[(0, 3), (1, 3)]);
    let admission = admit(&held, &both);
    assert_eq!(shown(admission.changeset.as_ref()), "5: r 1 a || 5: r 9 b");
    assert_eq!(admission.delta, Delta::none().with_stream(orders(), reading(1)));
}

#[test]
fn empty_page_that_was_given_up_comes_back_too() {
    let empty = Arc::new(ChangeSet::rows(moves(range(1, 0), 1, 2), Vec::new()));
    let held = holds(5, gave_up(1, &[Page::new(0, 2)]), &[(0, 3)]);
    let admission = admit(&held, &empty);
    assert!(admission.changeset.is_none());
    assert_eq!(admission.delta, Delta::none().with_stream(orders(), reading(1)));
}

#[test]
fn rows_may_bring_other_ranges_of_the_run_that_is_read() {
    let other = crate::StreamState::reading(1, b"cut".to_vec());
    let delta = moves(range(1, 0), 2, 3).with_stream(orders(), other.clone());
    let changeset = Arc::new(ChangeSet::rows(delta, Vec::new()));
    let mut held = holds(5, gave_up(1, &[Page::new(0, 1)]), &[(0, 2)]);
    let admission = admit(&held, &changeset);
    held.apply(&admission.delta).unwrap();
    let expected = crate::StreamState::Reading {
        run: 1,
        ranges: b"cut".to_vec().into(),
        given_up: vec![Page::new(0, 1)],
    };
    assert_eq!(held.streams[&orders()], expected, "what was given up is its own");
    for elsewhere in [holds(5, live(1), &[]), holds(5, reading(2), &[]), Checkpoint::default()] {
        assert!(admit(&elsewhere, &changeset).delta.is_empty());
    }
}

#[test]
fn show_is_the_inverse_of_parsing() {
    assert_eq!(show(&log_batch("1: u 5 ? < 4 ? @-<2")), "1: u 5 ? < 4 ? @-<2");
}

use super::{at, gave_up, holds, live, log, moves, orders, range, reading};
use crate::{Checkpoint, Delta, DeltaError, Mark, Page, StreamId, StreamState};

#[test]
fn mark_says_how_far_a_partition_is_covered() {
    let unborn = Checkpoint::default();
    let table = [
        // partition, checkpoint, mark
        (log(), &unborn, Mark::NotBegun),
        (log(), &holds(7, live(1), &[]), Mark::At(at(7))),
        (range(1, 0), &unborn, Mark::NotBegun),
        (range(1, 0), &holds(7, live(1), &[]), Mark::Finished),
        (range(1, 0), &holds(7, live(2), &[]), Mark::Finished),
        (range(1, 0), &holds(7, reading(2), &[(0, 3)]), Mark::Finished),
        (range(2, 0), &holds(7, reading(2), &[(0, 3)]), Mark::At(at(3))),
        (range(2, 1), &holds(7, reading(2), &[(0, 3)]), Mark::NotBegun),
        (range(3, 0), &holds(7, reading(2), &[(0, 3)]), Mark::NotBegun),
        (range(2, 0), &holds(7, live(1), &[]), Mark::NotBegun),
    ];
    for (partition, checkpoint, expected) in table {
        assert_eq!(checkpoint.mark(&partition), expected, "{partition} of {checkpoint:?}");
    }
}

fn apply(checkpoint: &Checkpoint, delta: &Delta) -> Result<Checkpoint, DeltaError> {
    let mut moved = checkpoint.clone();
    let outcome = moved.apply(delta);
    if outcome.is_err() {
        assert_eq!(moved, *checkpoint, "a refused delta changes nothing");
    } else {
        let mut twice = moved.clone();
        twice.apply(delta).unwrap();
        assert_eq!(twice, moved, "applied twice as once");
        assert!(moved.covers(checkpoint), "{moved:?} covers {checkpoint:?}");
    }
    outcome.map(|()| moved)
}

#[test]
fn delta_that_starts_at_the_mark_moves_it() {
    let held = holds(7, live(1), &[]);
    assert_eq!(apply(&held, &moves(log(), 7, 9)), Ok(holds(9, live(1), &[])));
    let fresh = apply(&Checkpoint::default(), &moves(log(), None, 9)).unwrap();
    assert_eq!(fresh.mark(&log()), Mark::At(at(9)));
}

#[test]
fn delta_that_starts_earlier_moves_the_mark_only_forward() {
    let held = holds(7, live(1), &[]);
    assert_eq!(apply(&held, &moves(log(), 5, 9)), Ok(holds(9, live(1), &[])));
    assert_eq!(apply(&held, &moves(log(), None, 9)), Ok(holds(9, live(1), &[])));
    assert_eq!(apply(&held, &moves(log(), 5, 7)), Ok(held.clone()));
    assert_eq!(apply(&held, &moves(log(), 3, 5)), Ok(held));
}

#[test]
fn delta_that_starts_later_is_a_hole_and_changes_nothing() {
    let held = holds(7, reading(1), &[(0, 2)]);
    let refused = apply(&held, &moves(log(), 8, 9)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot move `log` to 9: it starts after 8 (exclusive), but the checkpoint ends at 7 (inclusive)"
    );
    let refused = apply(&held, &moves(range(1, 0), 3, 4)).unwrap_err();
    assert!(matches!(refused, DeltaError::Hole { from, .. } if from == at(3)));
    let refused = apply(&held, &moves(range(1, 1), 1, 2)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot move `orders#1/1` to 2: it starts after 1 (exclusive), but the checkpoint ends at its beginning (inclusive)"
    );
    // One hole refuses the whole delta.
    let mut both = moves(log(), 7, 9);
    both.then(&moves(range(1, 1), 1, 2));
    apply(&held, &both).unwrap_err();
}

#[test]
fn log_that_was_not_begun_is_a_hole_only_while_streams_are_held() {
    let mut held = holds(7, live(1), &[]);
    held.marks.clear();
    apply(&held, &moves(log(), 5, 9)).unwrap_err();
    apply(&held, &moves(log(), None, 9)).unwrap();
    held.streams.clear();
    assert_eq!(apply(&held, &moves(log(), 5, 9)).unwrap().mark(&log()), Mark::At(at(9)));
}

#[test]
fn begin_of_a_read_forgets_the_marks_of_earlier_reads() {
    let begin = moves(log(), 7, 7).with_stream(orders(), reading(2));
    assert_eq!(apply(&holds(7, live(1), &[]), &begin), Ok(holds(7, reading(2), &[])));
    assert_eq!(
        apply(&holds(7, reading(1), &[(0, 4), (1, 2)]), &begin),
        Ok(holds(7, reading(2), &[]))
    );
}

#[test]
fn one_delta_may_begin_a_read_and_hold_its_first_pages() {
    let mut delta = moves(log(), 7, 7).with_stream(orders(), reading(2));
    delta.then(&moves(range(2, 0), None, 1));
    delta.then(&moves(range(2, 0), 1, 3));
    delta.then(&moves(range(2, 1), None, 1));
    let expected = holds(7, reading(2), &[(0, 3), (1, 1)]);
    assert_eq!(apply(&holds(7, live(1), &[]), &delta), Ok(expected.clone()));
    assert_eq!(apply(&holds(7, reading(1), &[(0, 9)]), &delta), Ok(expected));
    // And end it.
    delta.then(&Delta::none().with_stream(orders(), live(2)));
    assert_eq!(apply(&holds(7, live(1), &[]), &delta), Ok(holds(7, live(2), &[])));
}

#[test]
fn one_delta_may_end_a_superseded_read_with_the_pages_of_both() {
    let mut delta = moves(range(1, 0), 4, 5);
    delta.then(&moves(log(), 7, 7).with_stream(orders(), reading(2)));
    delta.then(&moves(range(2, 0), None, 1));
    assert_eq!(
        apply(&holds(7, reading(1), &[(0, 4)]), &delta),
        Ok(holds(7, reading(2), &[(0, 1)]))
    );
}

#[test]
fn end_of_a_read_closes_its_ranges() {
    let mut delta = moves(range(1, 0), 4, 5);
    delta.then(&Delta::none().with_stream(orders(), live(1)));
    let ended = apply(&holds(7, reading(1), &[(0, 4), (1, 2)]), &delta).unwrap();
    assert_eq!(ended, holds(7, live(1), &[]));
    // A page of it that comes again leaves no mark behind.
    assert_eq!(apply(&ended, &moves(range(1, 0), 4, 6)), Ok(ended.clone()));
}

#[test]
fn other_streams_keep_their_ranges() {
    let other = StreamId::new("items");
    let mut held = holds(7, reading(1), &[(0, 4)]);
    held.streams.insert(other.clone(), live(1));
    let moved = apply(&held, &Delta::none().with_stream(other, live(2))).unwrap();
    assert_eq!(moved.mark(&range(1, 0)), Mark::At(at(4)));
}

#[test]
fn range_of_a_stream_that_does_not_read_its_run_leaves_no_mark() {
    for held in [holds(7, live(1), &[]), holds(7, reading(1), &[(0, 4)])] {
        assert_eq!(apply(&held, &moves(range(2, 0), None, 3)), Ok(held.clone()));
        assert_eq!(apply(&held, &moves(range(2, 0), 2, 3)), Ok(held.clone()));
    }
    let nothing = Checkpoint::default();
    assert_eq!(apply(&nothing, &moves(range(1, 0), None, 3)), Ok(nothing.clone()));
}

#[test]
fn stream_never_goes_back() {
    let begin = |run| Delta::none().with_stream(orders(), reading(run));
    for held in [holds(7, live(2), &[]), holds(7, reading(3), &[(0, 4)])] {
        assert_eq!(apply(&held, &begin(1)), Ok(held.clone()));
        assert_eq!(apply(&held, &begin(2)), Ok(held.clone()));
        assert_eq!(
            apply(&held, &Delta::none().with_stream(orders(), live(1))),
            Ok(held.clone())
        );
    }
}

#[test]
fn pages_may_be_given_up_and_come_back() {
    let held = holds(7, reading(1), &[(0, 4)]);
    let page = Page::new(0, 2);
    let gave = {
        let mut gave = held.clone();
        gave.apply(&Delta::none().with_stream(orders(), gave_up(1, &[page])))
            .unwrap();
        gave
    };
    assert_eq!(gave, holds(7, gave_up(1, &[page]), &[(0, 4)]));
    assert!(held.covers(&gave) && !gave.covers(&held));
    assert_eq!(apply(&gave, &Delta::none().with_stream(orders(), reading(1))), Ok(held));
}

#[test]
fn then_joins_intervals_and_goes_back_with_none() {
    let mut sum = moves(log(), 3, 5);
    sum.then(&moves(log(), 5, 9));
    assert_eq!(sum, moves(log(), 3, 9));
    sum.then(&moves(log(), 4, 6));
    assert_eq!(sum, moves(log(), 3, 9), "a repeat");
    sum.then(&Delta::none().with_stream(orders(), live(2)));
    sum.then(&Delta::none().with_stream(orders(), reading(2)));
    assert_eq!(sum, moves(log(), 3, 9).with_stream(orders(), live(2)));
    assert!(Delta::none().is_empty() && !sum.is_empty());
}

#[test]
fn covers_compares_marks_and_states() {
    let table = [
        (holds(7, live(1), &[]), holds(7, live(1), &[]), true),
        (holds(7, live(1), &[]), holds(8, live(1), &[]), false),
        (holds(8, live(1), &[]), holds(7, reading(1), &[(0, 9)]), true),
        (holds(8, reading(1), &[(0, 9)]), holds(7, live(1), &[]), false),
        (holds(8, reading(1), &[(0, 8)]), holds(7, reading(1), &[(0, 9)]), false),
        (holds(8, reading(1), &[(0, 9)]), holds(7, reading(1), &[(0, 9)]), true),
        (holds(8, reading(2), &[]), holds(7, live(1), &[]), true),
        (holds(8, live(1), &[]), holds(7, reading(2), &[]), false),
        (holds(8, live(1), &[]), Checkpoint::default(), true),
        (Checkpoint::default(), holds(1, live(1), &[]), false),
    ];
    for (a, b, expected) in table {
        assert_eq!(a.covers(&b), expected, "{a:?} covers {b:?}");
    }
}

#[test]
fn log_marks_leave_ranges_out() {
    let held = holds(7, reading(1), &[(0, 3)]);
    let marks: Vec<_> = held.log_marks().map(|(id, p)| (id.to_string(), p.order)).collect();
    assert_eq!(marks, [("log".to_owned(), at(7))]);
    assert!(!held.is_empty() && Checkpoint::default().is_empty());
    assert_eq!(held.streams[&orders()].run(), 1);
    assert!(!matches!(held.streams[&orders()], StreamState::Live { .. }));
}

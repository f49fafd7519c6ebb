//! Controls.

use std::sync::Arc;

use super::admit::{admit, who};
use super::{at, gave_up, holds, live, log, moves, orders, reading, schema_of};
use crate::{AdmitError, Body, ChangeSet, Checkpoint, Control, Delta, DestinationId, Page, Part, Place, Predicate};

fn begin(run: u32, destinations: Option<&[&str]>) -> Arc<ChangeSet> {
    let control = Control::BeginRead {
        schema: schema_of(&orders()),
        run,
        destinations: destinations.map(|names| names.iter().map(|name| DestinationId::from(*name)).collect()),
        empty_first: true,
    };
    let delta = moves(log(), 7, 7).with_stream(orders(), reading(run));
    Arc::new(ChangeSet::control(delta, control))
}

fn end(run: u32) -> Arc<ChangeSet> {
    let control = Control::EndRead { stream: orders(), run };
    Arc::new(ChangeSet::control(
        Delta::none().with_stream(orders(), live(run)),
        control,
    ))
}

/// The checkpoint after the control, and whether the destination sees it.
fn take(held: &Checkpoint, control: &Arc<ChangeSet>) -> (Checkpoint, bool) {
    let admission = admit(held, control);
    let mut after = held.clone();
    after.apply(&admission.delta).unwrap();
    if let Some(seen) = &admission.changeset {
        assert!(Arc::ptr_eq(seen, control));
    }
    (after, admission.changeset.is_some())
}

#[test]
fn begin_of_a_read_is_taken_by_a_destination_that_has_seen_no_later_one() {
    let fresh = take(&Checkpoint::default(), &begin(1, None));
    assert_eq!(fresh, (holds(7, reading(1), &[]), true));
    let table = [
        (holds(7, live(1), &[]), begin(2, None), Some(reading(2))),
        (holds(7, reading(1), &[(0, 4)]), begin(2, None), Some(reading(2))),
        (
            holds(7, live(1), &[]),
            begin(2, Some(&["other", "warehouse"])),
            Some(reading(2)),
        ),
        (holds(7, live(1), &[]), begin(2, Some(&["other"])), None),
        (holds(7, live(1), &[]), begin(2, Some(&[])), None),
        (holds(7, reading(2), &[(0, 4)]), begin(2, None), None),
        (holds(7, live(2), &[]), begin(2, None), None),
        (holds(7, live(3), &[]), begin(2, None), None),
    ];
    for (held, control, expected) in table {
        let (after, is_seen) = take(&held, &control);
        assert_eq!(is_seen, expected.is_some(), "{control:?} at {held:?}");
        let expected = expected.map_or_else(|| held.clone(), |state| holds(7, state, &[]));
        assert_eq!(after, expected, "{control:?} at {held:?}");
    }
}

#[test]
fn read_that_is_not_meant_for_a_destination_passes_it_by_from_begin_to_end() {
    let held = holds(7, live(1), &[]);
    for changeset in [begin(2, Some(&["other"])), super::page(2, 0, 1, "7: r 1 a"), end(2)] {
        let admission = admit(&held, &changeset);
        assert!(
            admission.changeset.is_none() && admission.delta.is_empty(),
            "{changeset:?}"
        );
    }
    // Its changes meanwhile are tagged for the others, and all of them are its own.
    let tagged = super::changes(7, 9, "9: i 1 a @-");
    assert!(Arc::ptr_eq(&admit(&held, &tagged).changeset.unwrap(), &tagged));
}

#[test]
fn fresh_destination_that_is_not_meant_only_moves_along() {
    let (after, is_seen) = take(&Checkpoint::default(), &begin(2, Some(&["other"])));
    assert!(!is_seen && after.streams.is_empty());
    assert_eq!(after.mark(&log()), crate::Mark::At(super::at(7)));
}

#[test]
fn begin_of_a_read_gives_a_fresh_destination_its_place_in_the_log() {
    let (held, _) = take(&Checkpoint::default(), &begin(1, None));
    let next = super::changes(7, 9, "9: i 1 a @-");
    assert_eq!(admit(&held, &next).delta, moves(log(), 7, 9));
}

#[test]
fn end_of_a_read_is_taken_by_its_readers_alone() {
    assert_eq!(
        take(&holds(9, reading(2), &[(0, 4), (1, 1)]), &end(2)),
        (holds(9, live(2), &[]), true)
    );
    for held in [
        holds(9, live(2), &[]),
        holds(9, live(1), &[]),
        holds(9, reading(3), &[(0, 1)]),
        holds(9, reading(1), &[(0, 1)]),
        Checkpoint::default(),
    ] {
        assert_eq!(take(&held, &end(2)), (held, false));
    }
}

#[test]
fn read_does_not_end_while_a_page_is_given_up() {
    let held = holds(9, gave_up(2, &[Page::new(0, 1)]), &[(0, 4)]);
    let refused = held.admit(&who(), &end(2)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot end run 2 of `orders`: 1 pages were given up and not read again"
    );
}

#[test]
fn end_of_a_read_that_repeats_the_last_pages_shows_a_missing_one() {
    let mut delta = moves(super::range(1, 0), 4, 4);
    delta.streams.push((orders(), live(1)));
    let control = Control::EndRead {
        stream: orders(),
        run: 1,
    };
    let checked = Arc::new(ChangeSet::control(delta, control));
    assert_eq!(
        take(&holds(9, reading(1), &[(0, 4)]), &checked),
        (holds(9, live(1), &[]), true)
    );
    for lacking in [holds(9, reading(1), &[(0, 3)]), holds(9, reading(1), &[])] {
        assert!(matches!(lacking.admit(&who(), &checked), Err(AdmitError::Delta(_))));
    }
}

fn truncate() -> Control {
    Control::Truncate { stream: orders() }
}

fn delete_where() -> Control {
    Control::DeleteWhere {
        stream: orders(),
        predicate: Predicate { terms: Vec::new() },
    }
}

fn schema() -> Control {
    Control::Schema {
        schema: schema_of(&orders()),
    }
}

#[test]
fn other_control_is_taken_once_by_who_holds_the_stream() {
    for control in [truncate(), delete_where(), schema()] {
        let changeset = Arc::new(ChangeSet::control(moves(log(), 7, 9), control));
        for state in [live(1), reading(1)] {
            let (after, is_seen) = take(&holds(7, state.clone(), &[]), &changeset);
            assert_eq!((after, is_seen), (holds(9, state.clone(), &[]), true), "{changeset:?}");
            for mark in [9, 12] {
                let held = holds(mark, state.clone(), &[]);
                assert_eq!(take(&held, &changeset), (held, false), "{changeset:?}");
            }
        }
        let (fresh, is_seen) = take(&Checkpoint::default(), &changeset);
        assert!(!is_seen && fresh.streams.is_empty());
    }
}

fn part_of(part: Part, delta: Delta, order: u64, control: Control) -> Arc<ChangeSet> {
    let place = Place {
        log: log(),
        order: at(order),
    };
    Arc::new(ChangeSet::control_part(part, delta, control, place))
}

#[test]
fn control_inside_a_transaction_is_taken_by_who_lacks_the_transaction() {
    for control in [truncate(), delete_where(), schema()] {
        let parts = [
            part_of(Part::First, Delta::none(), 9, control.clone()),
            part_of(Part::Middle, Delta::none(), 9, control.clone()),
            part_of(Part::Last, moves(log(), 7, 9), 9, control),
        ];
        for state in [live(1), reading(1)] {
            let lacking = holds(7, state.clone(), &[]);
            for changeset in &parts {
                let is_last = changeset.part == Part::Last;
                let expected = if is_last {
                    holds(9, state.clone(), &[])
                } else {
                    lacking.clone()
                };
                assert_eq!(take(&lacking, changeset), (expected, true), "{changeset:?}");
            }
        }
        // Who has it, or does not hold the stream, still sees where the transaction begins and ends.
        for held in [holds(9, live(1), &[]), holds(12, live(1), &[]), Checkpoint::default()] {
            for changeset in &parts {
                let seen = admit(&held, changeset).changeset.expect("every part is handed on");
                assert_eq!((seen.part, seen.batches().len()), (changeset.part, 0));
                assert!(matches!(seen.body, Body::Rows(_)), "{seen:?} at {held:?}");
            }
        }
    }
}

#[test]
fn order_of_a_control_is_that_of_its_transaction() {
    let whole = ChangeSet::control(moves(log(), 7, 9), truncate());
    let part = part_of(Part::Middle, Delta::none(), 11, truncate());
    let nowhere = ChangeSet::control(Delta::none(), schema());
    assert_eq!(
        [whole.control_order(), part.control_order(), nowhere.control_order()],
        [Some(at(9)), Some(at(11)), None]
    );
    assert_eq!(part.with_control(delete_where()).control_order(), Some(at(11)));
    let emptied = part.emptied();
    assert_eq!(
        (emptied.part, emptied.is_progress(), emptied.place),
        (Part::Middle, false, None)
    );
}

#[test]
fn control_that_removes_rows_must_say_where_it_stands() {
    for control in [truncate(), delete_where()] {
        let name = control.name();
        let changeset = Arc::new(ChangeSet::control(Delta::none(), control));
        let refused = holds(7, live(1), &[]).admit(&who(), &changeset).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("cannot admit a `{name}` of `orders`: it moves no position")
        );
        assert!(admit(&Checkpoint::default(), &changeset).changeset.is_none());
    }
}

#[test]
fn schema_without_a_position_is_taken_whenever_it_comes() {
    let changeset = Arc::new(ChangeSet::control(Delta::none(), schema()));
    assert!(admit(&holds(7, live(1), &[]), &changeset).changeset.is_some());
    assert!(admit(&Checkpoint::default(), &changeset).changeset.is_none());
}

#[test]
fn control_knows_its_stream_and_its_name() {
    let names = [truncate(), delete_where(), schema()].map(|control| {
        assert_eq!(control.stream(), &orders());
        control.name()
    });
    assert_eq!(names, ["truncate", "delete_where", "schema"]);
}

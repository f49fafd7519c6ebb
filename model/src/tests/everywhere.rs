use super::{at, gave_up, holds, live, log, orders, range, reading};
use crate::{Checkpoint, Mark, Page, Partition, Position, StreamId};

fn everywhere(held: &[Checkpoint]) -> Checkpoint {
    let everywhere = Checkpoint::everywhere(held);
    for (i, checkpoint) in held.iter().enumerate() {
        let streams_held = |stream: &StreamId| checkpoint.streams.contains_key(stream);
        for (stream, state) in everywhere.streams.iter().filter(|(stream, _)| streams_held(stream)) {
            let mine = &checkpoint.streams[stream];
            assert!(
                (mine.run(), mine.is_live()) >= (state.run(), state.is_live()),
                "{i} lacks {stream}"
            );
        }
    }
    everywhere
}

#[test]
fn log_is_released_up_to_the_slowest() {
    let held = [holds(9, live(1), &[]), holds(4, live(1), &[]), holds(7, live(1), &[])];
    assert_eq!(everywhere(&held), holds(4, live(1), &[]));
    assert_eq!(everywhere(&[]), Checkpoint::default());
}

#[test]
fn fresh_destination_holds_everything_back() {
    // It may be committing the begin of its read, at a place in the log where the others are long past.
    let held = [holds(9, live(1), &[]), Checkpoint::default()];
    assert!(everywhere(&held).is_empty());
    assert!(everywhere(&[Checkpoint::default()]).is_empty());
}

#[test]
fn destination_that_only_passed_over_rows_holds_its_log_but_no_stream() {
    let mut passing = holds(4, live(1), &[]);
    passing.streams.clear();
    assert_eq!(
        everywhere(&[holds(9, live(1), &[]), passing.clone()]),
        holds(4, live(1), &[])
    );
    // A log that it has not begun is none of its business.
    passing.marks = [(Partition::log("other"), Position::at(at(1)))].into();
    let released = everywhere(&[holds(9, live(1), &[]), passing]);
    assert_eq!(released.mark(&log()), Mark::At(at(9)));
    assert_eq!(released.mark(&Partition::log("other")), Mark::NotBegun);
}

#[test]
fn log_that_a_holder_of_streams_has_not_begun_is_not_released() {
    let mut lacks_mark = holds(4, live(1), &[]);
    lacks_mark.marks.clear();
    for held in [
        [holds(9, live(1), &[]), lacks_mark.clone()],
        [lacks_mark, holds(9, live(1), &[])],
    ] {
        assert_eq!(everywhere(&held).mark(&log()), Mark::NotBegun);
    }
}

#[test]
fn range_is_released_up_to_the_slowest_reader() {
    let held = [holds(9, reading(1), &[(0, 5), (1, 2)]), holds(9, reading(1), &[(0, 3)])];
    // Range 1 was not begun by the second.
    assert_eq!(everywhere(&held), holds(9, reading(1), &[(0, 3)]));
}

#[test]
fn finished_reader_holds_no_range_back() {
    for done in [live(1), reading(2), live(2)] {
        let held = [holds(9, reading(1), &[(0, 5)]), holds(9, done, &[])];
        assert_eq!(everywhere(&held), holds(9, reading(1), &[(0, 5)]));
    }
}

#[test]
fn range_of_a_later_read_waits_for_who_is_live_by_an_earlier_one() {
    let held = [holds(9, reading(2), &[(0, 5)]), holds(9, live(1), &[])];
    let released = everywhere(&held);
    assert_eq!(released, holds(9, live(1), &[]));
    assert_eq!(released.mark(&range(2, 0)), Mark::NotBegun);
    assert!(held.iter().all(|checkpoint| checkpoint.covers(&released)));
}

#[test]
fn stream_is_live_only_when_it_is_for_everyone_who_holds_it() {
    let held = [holds(9, live(1), &[]), holds(8, reading(1), &[(0, 2)])];
    assert_eq!(everywhere(&held).streams[&orders()], reading(1));
}

#[test]
fn page_that_anyone_gave_up_is_given_up() {
    let (a, b) = (Page::new(0, 2), Page::new(1, 1));
    let held = [
        holds(9, gave_up(1, &[b]), &[(0, 5)]),
        holds(9, reading(1), &[(0, 5)]),
        holds(9, gave_up(1, &[a, b]), &[(0, 7)]),
    ];
    let released = everywhere(&held);
    assert_eq!(released, holds(9, gave_up(1, &[a, b]), &[(0, 5)]));
    assert!(held.iter().all(|checkpoint| checkpoint.covers(&released)));
}

use super::{log_batch, show};
use crate::pick::Fate::{self, Delete, Insert, Keep};
use crate::pick::pick;

const ROWS: &str = "1: i 1 a @1 | 1: u 2 b < 3 ? @7<1 | 2: d 4 ? @2 | 5: u 5 ~ < 6 x @3<4 | 5: u 6 ? @1";

fn check(picks: &[(usize, Fate)], expected: &str) {
    assert_eq!(show(&pick(&log_batch(ROWS), picks).unwrap()), expected);
}

#[test]
fn kept_rows_stay_what_they_are() {
    check(&[(0, Keep), (3, Keep)], "1: i 1 a @1 | 5: u 5 ~ < 6 x @3<4");
    check(&[(1, Keep), (2, Keep)], "1: u 2 b < 3 ? @7<1 | 2: d 4 ? @2");
    check(&[(2, Keep), (4, Keep)], "2: d 4 ? @2 | 5: u 6 ? @1");
}

#[test]
fn inserted_row_is_the_new_image_without_the_old_one() {
    check(&[(3, Insert)], "5: i 5 ~ @3<4");
}

#[test]
fn deleted_row_is_the_old_image_in_the_old_page() {
    check(&[(3, Delete)], "5: d 6 x @4");
}

#[test]
fn deleted_row_of_which_only_the_key_was_sent_has_nothing_but_the_key() {
    check(&[(1, Delete)], "1: d 3 ? @1");
}

#[test]
fn fates_mix_and_keep_their_transactions() {
    check(
        &[(0, Keep), (1, Delete), (3, Insert), (4, Keep)],
        "1: i 1 a @1 | 1: d 3 ? @1 | 5: i 5 ~ @3<4 | 5: u 6 ? @1",
    );
}

#[test]
fn contiguous_kept_rows_are_a_slice_without_a_copy() {
    let batch = log_batch(ROWS);
    let picked = pick(&batch, &[(2, Keep), (3, Keep)]).unwrap();
    let address = |batch: &crate::Batch| batch.rows.column(0).to_data().buffers()[0].as_ptr() as usize;
    assert_eq!(address(&picked), address(&batch) + 16);
}

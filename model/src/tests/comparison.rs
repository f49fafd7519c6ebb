//! Buckets and inspection find exactly the rows that differ, in whatever order rows are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use crate::{Buckets, Difference, DifferenceKind, Fingerprints, Inspection, Side};

type Row = (i64, String, i64);

fn batch(rows: &[Row]) -> RecordBatch {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("total", DataType::Int64, true),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.1.as_str())).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn buckets(rows: &[Row]) -> Buckets {
    let batch = batch(rows);
    let mut prints = Fingerprints::new(&batch, &[0]).unwrap();
    let mut buckets = Buckets::default();
    (0..rows.len()).for_each(|row| buckets.add(prints.of(row)));
    buckets
}

fn compare(source: &[Row], destination: &[Row]) -> Vec<Difference> {
    let differing = buckets(source).differing(&buckets(destination));
    let columns = ["id", "name", "total"].map(str::to_owned).to_vec();
    let mut inspection = Inspection::new(columns, differing, 1 << 20);
    for (side, rows) in [(Side::Source, source), (Side::Destination, destination)] {
        let batch = batch(rows);
        let mut prints = Fingerprints::new(&batch, &[0]).unwrap();
        for (at, row) in rows.iter().enumerate() {
            let print = prints.of(at);
            if inspection.wants(print.key) {
                let columns = prints.by_column(at);
                inspection.take(side, print, columns, || vec![row.0.to_string()]);
            }
        }
    }
    inspection.finish()
}

fn rows(ids: impl IntoIterator<Item = i64>) -> Vec<Row> {
    ids.into_iter().map(|id| (id, format!("name {id}"), id * 10)).collect()
}

fn difference(id: i64, kind: DifferenceKind, columns: &[&str], copies: u64) -> Difference {
    Difference {
        key: vec![id.to_string()],
        kind,
        columns: columns.iter().map(|&name| name.to_owned()).collect(),
        copies,
    }
}

#[test]
fn exactly_the_planted_differences_are_named() {
    let source = rows(0..1_000);
    let mut destination: Vec<Row> = rows((0..1_000).rev().filter(|id| *id != 17));
    destination.push(rows([500])[0].clone());
    destination.push((2_000, "nobody's".to_owned(), 1));
    let changed = destination.iter_mut().find(|row| row.0 == 900).unwrap();
    changed.2 = 1;
    assert_eq!(
        compare(&source, &destination),
        [
            difference(17, DifferenceKind::Missing, &[], 0),
            difference(500, DifferenceKind::Doubled, &[], 2),
            difference(900, DifferenceKind::Different, &["total"], 1),
            difference(2_000, DifferenceKind::Extra, &[], 1),
        ]
    );
}

#[test]
fn copy_that_is_wrong_too_says_in_which_columns() {
    let source = rows([1]);
    let destination = vec![source[0].clone(), (1, "else".to_owned(), 10)];
    assert_eq!(
        compare(&source, &destination),
        [difference(1, DifferenceKind::Doubled, &["name"], 2)]
    );
}

#[test]
fn two_swapped_values_are_no_equality() {
    let source = vec![(1, "a".to_owned(), 1), (2, "b".to_owned(), 2)];
    let destination = vec![(1, "b".to_owned(), 1), (2, "a".to_owned(), 2)];
    assert_eq!(
        compare(&source, &destination),
        [
            difference(1, DifferenceKind::Different, &["name"], 1),
            difference(2, DifferenceKind::Different, &["name"], 1),
        ]
    );
}

#[test]
fn what_does_not_fit_into_memory_is_not_looked_at() {
    let differing = buckets(&rows(0..1_000)).differing(&Buckets::default());
    let all = differing.len();
    assert_eq!(Inspection::new(Vec::new(), differing.clone(), 0).bucket_count(), 0);
    let some = Inspection::new(Vec::new(), differing.clone(), 100_000).bucket_count();
    assert!(some > 0 && some < all, "{some} of {all}");
    assert_eq!(Inspection::new(Vec::new(), differing, 10 << 20).bucket_count(), all);
}

proptest! {
    #[test]
    fn comparison_is_what_a_comparison_of_maps_is(
        source in proptest::collection::btree_map(0_i64..40, (0_i64..3, 0_i64..3), 0..40),
        destination in proptest::collection::btree_map(0_i64..40, (0_i64..3, 0_i64..3), 0..40),
        seed in any::<u64>(),
    ) {
        let of = |map: &BTreeMap<i64, (i64, i64)>| -> Vec<Row> {
            map.iter().map(|(id, (name, total))| (*id, name.to_string(), *total)).collect()
        };
        let (here, mut there) = (of(&source), of(&destination));
        there.sort_by_key(|row| (row.0 as u64).wrapping_mul(seed | 1));
        let mut wanted = Vec::new();
        for id in 0..40 {
            match (source.get(&id), destination.get(&id)) {
                (Some(_), None) => wanted.push(difference(id, DifferenceKind::Missing, &[], 0)),
                (None, Some(_)) => wanted.push(difference(id, DifferenceKind::Extra, &[], 1)),
                (Some(a), Some(b)) if a != b => {
                    let columns: Vec<&str> = [("name", a.0 != b.0), ("total", a.1 != b.1)]
                        .into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
                    wanted.push(difference(id, DifferenceKind::Different, &columns, 1));
                }
                _ => {}
            }
        }
        prop_assert_eq!(compare(&here, &there), wanted);
    }
}

//! Changes of tables: what is done, and what is refused by name.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Int64Array, StringArray};
use arrow::datatypes::DataType;
use proto::plugin_v3::assess_tables::{self, Category, TablePair};
use proto::{Column, Table, encode_schema};

use crate::place::Place;
use crate::sample;
use crate::table::{column, insert, migrate, not_null, table, uuid};

crate::at_each_place! {
    nullable_column_is_added
    column_without_nulls_is_added
    nullable_column_that_goes_stays_in_the_table
    mark_of_uniqueness_may_go
    same_table_twice_changes_nothing
    type_that_cannot_hold_the_values_is_refused_by_name
    assessment_tells_what_a_migration_does
}

/// Ten rows from here on, with a value in each column.
fn rows(table: &Table, from: i64) -> Vec<ArrayRef> {
    let of = || from..from + 10;
    let uuids: Vec<[u8; 16]> = of().map(|i| [i as u8; 16]).collect();
    let make = |column: &Column| -> ArrayRef {
        match column.field.data_type() {
            DataType::Int64 => Arc::new(Int64Array::from_iter_values(of())),
            DataType::Boolean => Arc::new(BooleanArray::from_iter(of().map(|i| Some(i % 2 == 0)))),
            DataType::FixedSizeBinary(_) => {
                Arc::new(FixedSizeBinaryArray::try_from_iter(uuids.clone().into_iter()).unwrap())
            }
            DataType::Binary => Arc::new(BinaryArray::from_iter_values(uuids.iter())),
            _ => Arc::new(StringArray::from_iter_values(of().map(|i| format!("text {i}")))),
        }
    };
    table.columns.iter().map(make).collect()
}

fn base(more: Vec<Column>) -> Table {
    let mut columns = vec![not_null("id", DataType::Int64).key(true), uuid("_cq_id")];
    columns.extend(more);
    table("migrated", columns)
}

/// Ten rows before, the change, ten rows after, and the change again.
async fn changes(place: &Place, from: &Table, to: &Table) {
    let caller = &place.caller;
    caller
        .write(vec![migrate(from), insert(from, rows(from, 0))])
        .await
        .unwrap();
    assert_eq!(place.count("migrated").await, 10);
    caller.write(vec![migrate(to), insert(to, rows(to, 10))]).await.unwrap();
    assert_eq!(place.count("migrated").await, 20);
    caller.write(vec![migrate(to)]).await.unwrap();
    let read = caller.read(to).await.unwrap();
    assert_eq!(read.len(), 20);
    let width = to.columns.len();
    assert!(
        read.iter()
            .any(|row| row.starts_with("19,") && row.split(',').count() == width),
        "{read:?}"
    );
    assert!(
        read.iter().all(|row| !row.starts_with("19,") || !row.contains("NULL")),
        "{read:?}"
    );
}

async fn nullable_column_is_added(place: Place) {
    changes(
        &place,
        &base(Vec::new()),
        &base(vec![column("bool", DataType::Boolean)]),
    )
    .await;
}

async fn column_without_nulls_is_added(place: Place) {
    let caller = &place.caller;
    let (from, to) = (base(Vec::new()), base(vec![not_null("bool", DataType::Boolean)]));
    caller
        .write(vec![migrate(&from), insert(&from, rows(&from, 0))])
        .await
        .unwrap();
    caller
        .write(vec![migrate(&to), insert(&to, rows(&to, 10))])
        .await
        .unwrap();
    assert_eq!(place.count("migrated").await, 20);
}

async fn nullable_column_that_goes_stays_in_the_table(place: Place) {
    changes(
        &place,
        &base(vec![column("bool", DataType::Boolean)]),
        &base(Vec::new()),
    )
    .await;
    assert_eq!(
        place.ask("SELECT count(*) FROM migrated WHERE bool IS NULL").await,
        "10"
    );
}

async fn mark_of_uniqueness_may_go(place: Place) {
    let mut from = base(Vec::new());
    from.columns[1].is_unique = true;
    changes(&place, &from, &base(Vec::new())).await;
}

async fn same_table_twice_changes_nothing(place: Place) {
    let table = sample::table("twice", true);
    let caller = &place.caller;
    caller
        .write(vec![migrate(&table), sample::rows(&table, 0)])
        .await
        .unwrap();
    caller
        .write(vec![migrate(&table), migrate(&table), sample::rows(&table, 10)])
        .await
        .unwrap();
    assert_eq!(place.count("twice").await, 20);
}

async fn type_that_cannot_hold_the_values_is_refused_by_name(place: Place) {
    let caller = &place.caller;
    let (from, to) = (
        base(vec![column("c", DataType::Utf8)]),
        base(vec![column("c", DataType::Binary)]),
    );
    caller
        .write(vec![migrate(&from), insert(&from, rows(&from, 0))])
        .await
        .unwrap();
    let refused = caller
        .write(vec![migrate(&to), insert(&to, rows(&to, 10))])
        .await
        .unwrap_err();
    assert!(
        refused.message().contains("migrated") && refused.message().contains("`c`"),
        "{refused}"
    );
    assert_eq!(place.count("migrated").await, 10, "what was there stays");
    // The next one that makes it anew goes on with the old shape.
    caller.init(&place.spec).await.unwrap();
    caller
        .write(vec![migrate(&from), insert(&from, rows(&from, 10))])
        .await
        .unwrap();
    assert_eq!(place.count("migrated").await, 20);
}

async fn assessment_tells_what_a_migration_does(place: Place) {
    let schema = |table: &Table| encode_schema(&table.to_schema()).unwrap();
    let old = base(vec![column("c", DataType::Utf8)]);
    let mut rekeyed = old.clone();
    rekeyed.columns[2].is_key = true;
    let pairs = [
        (old.clone(), old.clone(), Category::NoChange),
        (
            old.clone(),
            base(vec![column("c", DataType::Utf8), column("d", DataType::Utf8)]),
            Category::AutomaticallyMigratable,
        ),
        (old.clone(), base(Vec::new()), Category::AutomaticallyMigratable),
        (
            old.clone(),
            base(vec![column("c", DataType::Binary)]),
            Category::ManualMigrationRequired,
        ),
        (old.clone(), rekeyed, Category::ManualMigrationRequired),
    ];
    let pair = |(old, new, _): &(Table, Table, Category)| TablePair {
        old_table: schema(old),
        new_table: schema(new),
    };
    let request = assess_tables::Request {
        tables: pairs.iter().map(pair).collect(),
        migrate_force: false,
    };
    let said = place
        .caller
        .0
        .clone()
        .assess_tables(request)
        .await
        .unwrap()
        .into_inner();
    for (finding, (_, new, category)) in said.tables.iter().zip(&pairs) {
        assert_eq!(finding.category(), *category, "{finding:?}");
        // And a migration does that.
        place.caller.init(&place.spec).await.unwrap();
        place.caller.write(vec![migrate(&old)]).await.unwrap();
        let outcome = place.caller.write(vec![migrate(new)]).await;
        assert_eq!(
            outcome.is_ok(),
            *category != Category::ManualMigrationRequired,
            "{finding:?}: {outcome:?}"
        );
    }
}

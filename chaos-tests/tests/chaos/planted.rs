//! The checkers, seen failing: each violation is planted in what an otherwise perfect destination shows.

use std::io::Write;

use highwater_chaos_tests::chains::{Appended, ChainChecker, What};
use highwater_chaos_tests::copy::Shown;
use highwater_chaos_tests::oracle::Oracle;
use highwater_chaos_tests::prefix::{PrefixChecker, Violation};
use highwater_chaos_tests::shop::Table;
use highwater_chaos_tests::value::{Row, Value};
use highwater_chaos_tests::view::View;
use highwater_chaos_tests::workload::Profile;
use model::{Checkpoint, Order, Partition, Position, StreamId, StreamState};

/// Transaction `n` has the change rows `(10 (n - 1), 10 n - 1]`; a mark of the source's own follows.
const SPAN: i64 = 10;

struct Perfect {
    oracle: Oracle,
    _log: tempfile::NamedTempFile,
}

impl Perfect {
    fn new() -> Self {
        let mut log = tempfile::NamedTempFile::new().expect("a temporary file");
        for number in 1..=200_i64 {
            for part in [number, (number - 1) * SPAN, number * SPAN - 1] {
                log.write_all(&part.to_le_bytes()).expect("room for the log");
            }
        }
        Perfect {
            oracle: Oracle::new(Profile::small(11), log.path()),
            _log: log,
        }
    }

    fn checkpoint(transaction: u64, state: fn(u32) -> StreamState) -> Checkpoint {
        let order = Order::new(0, transaction * SPAN as u64, 0);
        Checkpoint {
            marks: [(Partition::log("sqlite:x"), Position::at(order))].into(),
            streams: Table::ALL
                .iter()
                .map(|table| (StreamId::new(table.name()), state(1)))
                .collect(),
        }
    }

    fn live(transaction: u64) -> Checkpoint {
        Self::checkpoint(transaction, |run| StreamState::Live { run })
    }

    fn reading(transaction: u64) -> Checkpoint {
        Self::checkpoint(transaction, |run| StreamState::reading(run, Vec::new()))
    }

    /// What a perfect copy shows after a transaction.
    fn shown(&mut self, transaction: u64) -> Shown {
        let state = self.oracle.state_after(transaction);
        Shown {
            checkpoint: Self::live(transaction),
            rows: Table::ALL
                .iter()
                .map(|&t| (t, state.rows(t).map(|(_, row)| row.clone()).collect()))
                .collect(),
        }
    }

    /// What a perfect history holds that began with a read after transaction `from`.
    fn appended(&mut self, from: u64, to: u64) -> (Vec<Appended>, Vec<Appended>) {
        let state = self.oracle.state_after(from);
        let read = Table::ALL.iter().flat_map(|&table| {
            let row = move |row: &Row| Appended {
                table,
                what: What::Read(row.clone()),
                unsent: Vec::new(),
            };
            state.rows(table).map(move |(_, r)| row(r)).collect::<Vec<_>>()
        });
        let read: Vec<Appended> = read.collect();
        let mut later = Vec::new();
        for event in self.oracle.events(from, to) {
            let (table, change) = (event.change.table, &event.change);
            let mut append = |what| {
                later.push(Appended {
                    table,
                    what,
                    unsent: Vec::new(),
                })
            };
            match (&change.before, &change.after) {
                (Some(before), Some(after)) if table.key(before) != table.key(after) => {
                    append(What::Gone(before.clone()));
                    append(What::Is(after.clone()));
                }
                (_, Some(after)) => append(What::Is(after.clone())),
                (Some(before), None) => append(What::Gone(before.clone())),
                (None, None) => {}
            }
        }
        (read, later)
    }
}

/// Checks a copy at transaction 100, after `plant` has spoiled it.
fn check_copy(plant: impl FnOnce(&mut Shown, &mut Perfect)) -> Vec<Violation> {
    let mut perfect = Perfect::new();
    let mut shown = perfect.shown(100);
    plant(&mut shown, &mut perfect);
    let mut checker = PrefixChecker::new(View::whole());
    checker
        .check(&shown, &mut perfect.oracle)
        .expect("a readable log")
        .violations
}

fn rows(shown: &mut Shown, table: Table) -> &mut Vec<Row> {
    shown.rows.get_mut(&table).expect("a table of the view")
}

fn replace(row: &Row, column: usize, value: Value) -> Row {
    let mut values = row.to_vec();
    values[column] = value;
    values.into()
}

#[test]
fn perfect_copy_passes_at_every_transaction() {
    let mut perfect = Perfect::new();
    let mut checker = PrefixChecker::new(View::whole());
    for transaction in 1..=200 {
        let shown = perfect.shown(transaction);
        let verdict = checker.check(&shown, &mut perfect.oracle).expect("a readable log");
        assert_eq!(
            (verdict.violations, verdict.transaction, verdict.is_live),
            (Vec::new(), transaction, true)
        );
    }
}

#[test]
fn lost_row_is_seen_in_every_table() {
    for table in Table::ALL.into_iter().filter(|&table| table != Table::Bulk) {
        let found = check_copy(|shown, _| drop(rows(shown, table).pop()));
        assert!(
            matches!(found[..], [Violation::Lost(of, _)] if of == table),
            "{table}: {found:?}"
        );
    }
}

#[test]
fn doubled_row_is_seen() {
    let found = check_copy(|shown, _| {
        let row = rows(shown, Table::Event)[3].clone();
        rows(shown, Table::Event).push(row);
    });
    assert!(matches!(found[..], [Violation::Doubled(Table::Event, _)]), "{found:?}");
}

#[test]
fn rows_that_came_before_their_checkpoint_are_seen() {
    let found = check_copy(|shown, _| shown.checkpoint = Perfect::live(101));
    assert!(
        found.iter().any(|v| matches!(v, Violation::Lost(Table::Mark, _))),
        "{found:?}"
    );
    let found = check_copy(|shown, _| shown.checkpoint = Perfect::live(99));
    assert!(
        found.iter().any(|v| matches!(v, Violation::Unexpected(Table::Mark, _))),
        "{found:?}"
    );
}

#[test]
fn half_a_transaction_is_seen() {
    // Everything of the next transaction but its last row.
    let found = check_copy(|shown, perfect| {
        let marks = rows(shown, Table::Mark).clone();
        *shown = perfect.shown(101);
        *rows(shown, Table::Mark) = marks;
        shown.checkpoint = Perfect::live(100);
    });
    assert!(!found.is_empty());
}

#[test]
fn checkpoint_inside_a_transaction_is_seen() {
    let found = check_copy(|shown, _| {
        let order = Order::new(0, 100 * SPAN as u64 - 5, 0);
        shown.checkpoint.marks = [(Partition::log("sqlite:x"), Position::at(order))].into();
    });
    assert!(
        matches!(found[..], [Violation::Torn { transaction: 100, .. }]),
        "{found:?}"
    );
}

#[test]
fn stale_row_is_seen() {
    let found = check_copy(|shown, _| {
        let row = &mut rows(shown, Table::Counter)[5];
        *row = replace(row, 1, Value::Int(-1));
    });
    assert!(
        matches!(&found[..], [Violation::Differs { table: Table::Counter, column, .. }] if column == "n"),
        "{found:?}"
    );
}

#[test]
fn value_of_another_type_is_seen() {
    let found = check_copy(|shown, _| {
        let row = &mut rows(shown, Table::Account)[5];
        let balance = row[1].as_int().expect("an integer");
        *row = replace(row, 1, Value::Real(balance as f64));
    });
    assert!(
        matches!(
            found[..],
            [Violation::Differs {
                table: Table::Account,
                ..
            }]
        ),
        "{found:?}"
    );
}

#[test]
fn resurrected_row_is_seen() {
    let found = check_copy(|shown, perfect| {
        let deleted = perfect
            .oracle
            .events(0, 100)
            .iter()
            .rev()
            .find_map(|event| match &event.change {
                change if change.table == Table::Churn && change.after.is_none() => change.before.clone(),
                _ => None,
            });
        rows(shown, Table::Churn).push(deleted.expect("a delete among a hundred transactions"));
    });
    let is_seen = |v: &Violation| {
        matches!(
            v,
            Violation::Unexpected(Table::Churn, _) | Violation::Doubled(Table::Churn, _)
        )
    };
    assert!(found.iter().any(is_seen), "{found:?}");
}

#[test]
fn row_left_behind_at_its_old_key_is_seen() {
    let found = check_copy(|shown, _| {
        let row = rows(shown, Table::Pair).first().cloned();
        let row = row.expect("a pair after a hundred transactions");
        rows(shown, Table::Pair).push(replace(&row, 1, Value::Int(1_000)));
    });
    assert!(
        matches!(found[..], [Violation::Unexpected(Table::Pair, _)]),
        "{found:?}"
    );
}

#[test]
fn destination_that_goes_back_is_seen() {
    let mut perfect = Perfect::new();
    let mut checker = PrefixChecker::new(View::whole());
    let mut violations = |perfect: &mut Perfect, transaction| {
        let shown = perfect.shown(transaction);
        checker
            .check(&shown, &mut perfect.oracle)
            .expect("a readable log")
            .violations
    };
    assert_eq!(violations(&mut perfect, 100), []);
    assert_eq!(
        violations(&mut perfect, 90),
        [Violation::WentBack { from: 100, to: 90 }]
    );
}

#[test]
fn stream_that_is_being_read_may_lack_rows_but_has_none_of_its_own() {
    let found = check_copy(|shown, _| {
        shown.checkpoint = Perfect::reading(100);
        rows(shown, Table::Churn).clear();
    });
    assert_eq!(found, []);
    let found = check_copy(|shown, _| {
        shown.checkpoint = Perfect::reading(100);
        let row = &mut rows(shown, Table::Counter)[5];
        *row = replace(row, 1, Value::Int(-1));
    });
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn rows_without_a_checkpoint_are_seen() {
    let found = check_copy(|shown, _| shown.checkpoint = Checkpoint::default());
    assert!(!found.is_empty());
}

/// Checks a history that was read at transaction 50 and goes on to 100, after `plant` has spoiled what came later.
fn check_history(plant: impl FnOnce(&mut Vec<Appended>)) -> Vec<Violation> {
    let mut perfect = Perfect::new();
    let (read, mut later) = perfect.appended(50, 100);
    plant(&mut later);
    let mut checker = ChainChecker::new(View::whole());
    let mut violations = checker
        .check(&read, &Perfect::live(50), &mut perfect.oracle)
        .expect("a readable log")
        .violations;
    violations.extend(
        checker
            .check(&later, &Perfect::live(100), &mut perfect.oracle)
            .expect("a readable log")
            .violations,
    );
    violations
}

fn position(rows: &[Appended], matches: impl Fn(&Appended) -> bool) -> usize {
    rows.iter()
        .position(matches)
        .expect("such a row among fifty transactions")
}

#[test]
fn perfect_history_passes() {
    assert_eq!(check_history(|_| ()), []);
}

#[test]
fn lost_change_is_seen_whichever_it_is() {
    for at in 0..60 {
        let found = check_history(|rows| drop(rows.remove(at)));
        assert!(!found.is_empty(), "change {at}");
    }
}

#[test]
fn doubled_change_is_seen_whichever_it_is() {
    for at in 0..60 {
        let found = check_history(|rows| rows.insert(at, rows[at].clone()));
        assert!(!found.is_empty(), "change {at}");
    }
}

#[test]
fn changes_of_one_key_in_the_wrong_order_are_seen() {
    let found = check_history(|rows| {
        let key = |row: &Appended| match &row.what {
            What::Is(values) if row.table == Table::Counter => Some(values[0].clone()),
            _ => None,
        };
        let twice = rows
            .iter()
            .filter_map(key)
            .find(|one| rows.iter().filter(|row| key(row).as_ref() == Some(one)).count() > 1);
        let picked: Vec<usize> = (0..rows.len())
            .filter(|&at| twice.is_some() && key(&rows[at]) == twice)
            .collect();
        rows.swap(picked[0], picked[1]);
    });
    assert!(!found.is_empty());
}

#[test]
fn key_change_without_its_delete_is_seen() {
    let found = check_history(|rows| {
        let at = position(rows, |row| matches!(row.what, What::Gone(_)));
        rows.remove(at);
    });
    assert!(found.iter().any(|v| matches!(v, Violation::Lost(..))), "{found:?}");
}

#[test]
fn delete_that_shows_another_row_than_went_is_seen() {
    let found = check_history(|rows| {
        let at = position(rows, |row| {
            row.table == Table::Churn && matches!(row.what, What::Gone(_))
        });
        if let What::Gone(row) = &rows[at].what {
            rows[at].what = What::Gone(replace(row, 6, Value::Int(0)));
        }
    });
    assert!(
        matches!(found[..], [Violation::Unexpected(Table::Churn, _)]),
        "{found:?}"
    );
}

#[test]
fn page_that_was_read_twice_is_seen() {
    let mut perfect = Perfect::new();
    let (read, later) = perfect.appended(50, 100);
    let mut checker = ChainChecker::new(View::whole());
    let mut twice = read.clone();
    twice.extend_from_slice(&read[..10]);
    let found = checker
        .check(&twice, &Perfect::live(50), &mut perfect.oracle)
        .expect("a readable log")
        .violations;
    assert_eq!(found.len(), 10, "{found:?}");
    // With the word that the table is read anew it is right.
    let mut checker = ChainChecker::new(View::whole());
    let anew = Table::ALL.map(|table| Appended {
        table,
        what: What::StartsAnew,
        unsent: Vec::new(),
    });
    let all: Vec<Appended> = read.iter().chain(&anew).chain(&read).chain(&later).cloned().collect();
    assert_eq!(
        checker
            .check(&all, &Perfect::live(100), &mut perfect.oracle)
            .expect("a readable log")
            .violations,
        []
    );
}

#[test]
fn page_that_was_never_read_is_seen_when_its_stream_is_live() {
    let mut perfect = Perfect::new();
    let (mut read, _) = perfect.appended(50, 100);
    let kept = read.split_off(7);
    let mut checker = ChainChecker::new(View::whole());
    let found = checker
        .check(&kept, &Perfect::reading(50), &mut perfect.oracle)
        .expect("a readable log")
        .violations;
    assert_eq!(found, []);
    let found = checker
        .check(&[], &Perfect::live(50), &mut perfect.oracle)
        .expect("a readable log")
        .violations;
    assert_eq!(found.len(), 7, "{found:?}");
}

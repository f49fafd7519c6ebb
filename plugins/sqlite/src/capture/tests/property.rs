//! Random statements: the log must explain every one of them.

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Db, Rows};

/// Statements for each table and mode; `HIGHWATER_STATEMENTS=24000` for the long run.
fn statement_count() -> usize {
    std::env::var("HIGHWATER_STATEMENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_500)
}

fn seed() -> u64 {
    std::env::var("HIGHWATER_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random)
}

struct Shape {
    name: &'static str,
    schema: &'static str,
    /// Columns that statements set.
    columns: &'static [&'static str],
    /// What `ON CONFLICT (...)` may name.
    targets: &'static [&'static str],
}

const SHAPES: &[Shape] = &[
    Shape {
        name: "integer primary key, two unique columns",
        schema: "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b TEXT COLLATE NOCASE UNIQUE, c)",
        columns: &["id", "a", "b", "c"],
        targets: &["id", "a", "b"],
    },
    Shape {
        name: "text key without rowid",
        schema: "CREATE TABLE t(id TEXT PRIMARY KEY COLLATE NOCASE, a UNIQUE, b, c) WITHOUT ROWID",
        columns: &["id", "a", "b", "c"],
        targets: &["id", "a"],
    },
    Shape {
        name: "no key",
        schema: "CREATE TABLE t(a, b, c, UNIQUE(a, b))",
        columns: &["rowid", "a", "b", "c"],
        targets: &["a, b"],
    },
    Shape {
        name: "composite key, generated column",
        schema: "CREATE TABLE t(k, l INT, a INT, g AS (a + l) UNIQUE, c, PRIMARY KEY(l, k)) WITHOUT ROWID",
        columns: &["k", "l", "a", "c"],
        targets: &["l, k", "g"],
    },
    Shape {
        name: "key with nulls, expression and partial indexes",
        schema: "CREATE TABLE t(id INT PRIMARY KEY, a, b, c);
                 CREATE UNIQUE INDEX u1 ON t(lower(b) COLLATE NOCASE DESC, c);
                 CREATE UNIQUE INDEX u2 ON t(a) WHERE c IS NOT NULL AND b <> 'z'",
        columns: &["id", "a", "b", "c"],
        targets: &["id"],
    },
    Shape {
        name: "strict, rowid names hidden",
        schema: "CREATE TABLE t(rowid INTEGER NOT NULL, oid TEXT, _rowid_ ANY, c ANY UNIQUE, PRIMARY KEY(rowid, oid)) STRICT, WITHOUT ROWID",
        columns: &["rowid", "oid", "_rowid_", "c"],
        targets: &["rowid, oid", "c"],
    },
    Shape {
        name: "names of any characters",
        schema: "CREATE TABLE t(\"na me\" INTEGER PRIMARY KEY, \"new.\"\"x\" UNIQUE, [select], `OLD`)",
        columns: &["\"na me\"", "\"new.\"\"x\"", "[select]", "`OLD`"],
        targets: &["\"na me\"", "\"new.\"\"x\""],
    },
];

fn value(rng: &mut ChaCha8Rng) -> &'static str {
    const VALUES: &[&str] = &[
        "NULL", "0", "1", "2", "3", "4", "5", "6", "-1", "'a'", "'A'", "'b'", "'B'", "'z'", "'3'", "1.5", "x'00ff'",
        "9e999",
    ];
    VALUES.choose(rng).unwrap()
}

fn condition(rng: &mut ChaCha8Rng, shape: &Shape) -> String {
    let column = shape.columns.choose(rng).unwrap();
    let operator = ["=", "IS", "<", ">", "<>"].choose(rng).unwrap();
    format!("{column} {operator} {}", value(rng))
}

fn statement(rng: &mut ChaCha8Rng, shape: &Shape) -> String {
    let or = [
        "",
        "",
        "OR REPLACE",
        "OR REPLACE",
        "OR REPLACE",
        "OR IGNORE",
        "OR FAIL",
        "OR ABORT",
    ]
    .choose(rng)
    .unwrap();
    let assignments = |rng: &mut ChaCha8Rng| {
        let column = shape.columns.choose(rng).unwrap();
        let other = shape.columns.choose(rng).unwrap();
        match rng.random_range(0..4) {
            0 if column != other => format!("{column} = {other}, {other} = {column}"),
            1 => format!("{column} = {column} + 1"),
            _ => format!("{column} = {}", value(rng)),
        }
    };
    match rng.random_range(0..100) {
        0..50 => {
            let rows: Vec<String> = (0..rng.random_range(1..4))
                .map(|_| {
                    let values: Vec<&str> = shape.columns.iter().map(|_| value(rng)).collect();
                    format!("({})", values.join(", "))
                })
                .collect();
            let columns = shape.columns.join(", ");
            let insert = format!("INTO t({columns}) VALUES {}", rows.join(", "));
            match rng.random_range(0..5) {
                0 => {
                    let target = shape.targets.choose(rng).unwrap();
                    let set = assignments(rng);
                    let what = if rng.random_bool(0.8) {
                        format!("DO UPDATE SET {set}")
                    } else {
                        "DO NOTHING".to_owned()
                    };
                    format!("INSERT {or} {insert} ON CONFLICT({target}) {what}")
                }
                _ => format!("INSERT {or} {insert}"),
            }
        }
        50..85 => {
            let set = assignments(rng);
            format!("UPDATE {or} t SET {set} WHERE {}", condition(rng, shape))
        }
        85..99 => format!("DELETE FROM t WHERE {}", condition(rng, shape)),
        _ => "DELETE FROM t".to_owned(),
    }
}

fn check(shape: &Shape, is_recursive: bool, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let db = Db::new(shape.schema, &["t"]);
    db.user.pragma_update(None, "recursive_triggers", is_recursive).unwrap();
    let mut rows = Rows::new();
    let mut seq = 0;
    let mut run = Vec::new();
    let mut did_change = 0;
    for _ in 0..statement_count() {
        let mut text = statement(&mut rng, shape);
        if rng.random_bool(0.1) {
            let more = statement(&mut rng, shape);
            let end = ["COMMIT", "ROLLBACK"].choose(&mut rng).unwrap();
            text = format!(
                "BEGIN; {text}; SAVEPOINT s; {more}; ROLLBACK TO s; {}; {end}",
                statement(&mut rng, shape)
            );
        }
        // A refused statement is part of the game; what it did before it was refused must be logged too.
        let refused = db.user.execute_batch(&text).is_err();
        if !db.user.is_autocommit() {
            db.user.execute_batch("COMMIT").unwrap();
        }
        run.push(format!("{text}; -- {}", if refused { "refused" } else { "done" }));
        let applied = db.apply(&mut rows, "t", seq);
        let now = db.rows("t");
        if applied.as_ref().is_ok_and(|_| rows == now) {
            did_change += usize::from(applied.as_ref().is_ok_and(|&upto| upto > seq));
            seq = applied.unwrap();
            continue;
        }
        let last = run.iter().rev().take(6).rev().cloned().collect::<Vec<_>>().join("\n  ");
        panic!(
            "{}, recursive_triggers {is_recursive}: the log does not explain the table\n  {last}\n{applied:?}\nlog says {rows:#?}\ntable is {now:#?}\n\
             repeat with HIGHWATER_SEED={seed} cargo test -p highwater-plugin-sqlite --lib random_statements",
            shape.name
        );
    }
    assert!(
        did_change > statement_count() / 10,
        "{}: only {did_change} statements changed anything",
        shape.name
    );
}

#[test]
fn random_statements_are_explained_by_the_log() {
    let seed = seed();
    println!("HIGHWATER_SEED={seed}");
    for shape in SHAPES {
        for is_recursive in [false, true] {
            check(shape, is_recursive, seed);
        }
    }
}

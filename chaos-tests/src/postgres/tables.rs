//! The shop's tables in PostgreSQL, and how the history's values look there.

use std::fmt::Write as _;

use crate::shop::Table;
use crate::value::{Row, Value};
use crate::view::View;

/// The schema of the source's tables.
pub const SCHEMA: &str = "public";

/// Tables, and the note of where in the log each transaction lies, which is not replicated.
///
/// `event` has no key. The long values of `churn` are kept out of line, so that an update that leaves one alone does not
/// send it. Text keys come in both kinds: those that are read page by page and those that are not.
pub const DDL: &str = r#"
    CREATE TABLE IF NOT EXISTS account (id bigint PRIMARY KEY, balance bigint NOT NULL, rev bigint NOT NULL);
    CREATE TABLE IF NOT EXISTS counter (name text COLLATE "C" PRIMARY KEY, n bigint NOT NULL, rev bigint NOT NULL);
    CREATE TABLE IF NOT EXISTS event (worker bigint, seq bigint, payload text, rev bigint NOT NULL);
    ALTER TABLE event REPLICA IDENTITY FULL;
    CREATE TABLE IF NOT EXISTS churn (id bigint PRIMARY KEY, code text UNIQUE, whole bigint, "real" float8, words text,
        bytes bytea, rev bigint NOT NULL);
    ALTER TABLE churn ALTER words SET STORAGE EXTERNAL;
    CREATE TABLE IF NOT EXISTS pair (a text, b bigint, note text, rev bigint NOT NULL, PRIMARY KEY (a, b));
    ALTER TABLE pair REPLICA IDENTITY FULL;
    CREATE TABLE IF NOT EXISTS bulk (id bigint PRIMARY KEY, batch bigint NOT NULL, payload text NOT NULL, rev bigint NOT NULL);
    CREATE TABLE IF NOT EXISTS txn_mark (txn bigint PRIMARY KEY, rev bigint NOT NULL);
"#;

/// What every destination should see.
pub fn view() -> View {
    View::whole().rendering(held)
}

/// A value as PostgreSQL holds it: without NUL, which its text cannot have; and long text long enough to be kept out of line.
pub fn held(value: &Value) -> Value {
    match value {
        Value::Text(text) if text.contains('\0') => Value::text(text.replace('\0', "\u{2400}")),
        Value::Text(text) if text.len() >= 2_000 => Value::text(text.repeat(2)),
        value => value.clone(),
    }
}

/// A value of the history as a literal, without a type: the column's counts.
pub fn literal(value: &Value) -> String {
    match held(value) {
        Value::Null => "NULL".to_owned(),
        Value::Int(int) => format!("'{int}'"),
        Value::Real(real) => format!("'{real:?}'"),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Blob(bytes) => {
            let mut hex = String::from("'\\x");
            for byte in bytes.iter() {
                let _ = write!(hex, "{byte:02x}");
            }
            hex + "'"
        }
    }
}

/// Reads back a column's text.
pub fn parse(table: Table, column: usize, text: Option<&str>) -> Option<Value> {
    let Some(text) = text else {
        return Some(Value::Null);
    };
    Some(match table.definition().columns[column] {
        "name" | "payload" | "code" | "words" | "a" | "note" => Value::text(text),
        "real" => Value::Real(text.parse().ok()?),
        "bytes" => {
            let hex = text.strip_prefix("\\x")?;
            let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
            Value::blob((0..hex.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?)
        }
        _ => Value::Int(text.parse().ok()?),
    })
}

/// `WHERE` for the row that is `row`.
pub fn by_key(table: Table, row: &Row) -> String {
    let definition = table.definition();
    let tests = definition
        .identity
        .iter()
        .map(|&i| format!("\"{}\" = {}", definition.columns[i], literal(&row[i])));
    tests.collect::<Vec<_>>().join(" AND ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_are_held() {
        assert_eq!(literal(&Value::text("it's\0")), "'it''s\u{2400}'");
        assert_eq!(literal(&Value::blob(*b"\xff\0")), "'\\xff00'");
        assert_eq!(parse(Table::Churn, 5, Some("\\xff00")), Some(Value::blob(*b"\xff\0")));
        assert_eq!(
            parse(Table::Churn, 3, Some("-Infinity")),
            Some(Value::Real(f64::NEG_INFINITY))
        );
        assert_eq!(parse(Table::Churn, 2, None), Some(Value::Null));
        assert_eq!(parse(Table::Churn, 2, Some("1.5")), None);
    }
}

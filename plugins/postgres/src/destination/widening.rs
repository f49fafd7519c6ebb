//! Which of PostgreSQL's types holds every value of which other, so that a column may change to it.
//!
//! Only what loses nothing and changes no meaning: `int4` to `int8`, `varchar(10)` to `text`, `numeric(5,2)` to
//! `numeric(7,3)`, `date` to `timestamp`. `char(n)` pads, and `timestamp` to `timestamptz` depends on a time zone: neither.

use super::catalogue::FoundColumn;

// Oids of PostgreSQL's own types, which never change (`pg_type.dat`).
const BOOL: u32 = 16;
const NAME: u32 = 19;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const JSON: u32 = 114;
const XML: u32 = 142;
const CIDR: u32 = 650;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const MACADDR8: u32 = 774;
const MACADDR: u32 = 829;
const INET: u32 = 869;
const VARCHAR: u32 = 1043;
const DATE: u32 = 1082;
const TIME: u32 = 1083;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const INTERVAL: u32 = 1186;
const TIMETZ: u32 = 1266;
const VARBIT: u32 = 1562;
const NUMERIC: u32 = 1700;
const UUID: u32 = 2950;

/// Whether every value of `from` is the same value in `to`.
pub(crate) fn widens(from: &FoundColumn, to: &FoundColumn) -> bool {
    if from.oid == to.oid {
        return same_type(from, to);
    }
    match (from.oid, to.oid) {
        (INT2, INT4 | INT8 | FLOAT4 | FLOAT8) | (INT4, INT8 | FLOAT8) | (FLOAT4, FLOAT8) => true,
        (INT2, NUMERIC) => whole_digits(to.typmod) >= 5,
        (INT4, NUMERIC) => whole_digits(to.typmod) >= 10,
        (INT8, NUMERIC) => whole_digits(to.typmod) >= 19,
        (VARCHAR | NAME, TEXT) => true,
        (DATE, TIMESTAMP) => true,
        (
            BOOL | INT2 | INT4 | INT8 | NUMERIC | UUID | JSON | XML | INET | CIDR | MACADDR | MACADDR8 | DATE | TIME
            | TIMESTAMP,
            TEXT,
        ) => true,
        (_, TEXT) => from.type_kind == "e",
        _ => false,
    }
}

fn same_type(from: &FoundColumn, to: &FoundColumn) -> bool {
    let (old, new) = (from.typmod, to.typmod);
    if old == new || new == -1 {
        return true;
    }
    if old == -1 {
        return false;
    }
    match from.oid {
        VARCHAR | VARBIT | TIME | TIMETZ | TIMESTAMP | TIMESTAMPTZ => new >= old,
        // The upper half says which fields, the lower how many digits.
        INTERVAL => new >> 16 == old >> 16 && new & 0xffff >= old & 0xffff,
        NUMERIC => scale(new) >= scale(old) && whole_digits(new) >= whole_digits(old),
        _ => false,
    }
}

/// Digits after the point of a `numeric(p,s)`; eleven bits with a sign since version 15.
fn scale(typmod: i32) -> i32 {
    (((typmod - 4) & 0x7ff) ^ 1_024) - 1_024
}

/// Digits before the point.
fn whole_digits(typmod: i32) -> i32 {
    if typmod == -1 {
        return i32::MAX;
    }
    (((typmod - 4) >> 16) & 0xffff) - scale(typmod)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(oid: u32, typmod: i32) -> FoundColumn {
        FoundColumn {
            name: "c".to_owned(),
            declared: String::new(),
            oid,
            typmod,
            type_kind: "b".to_owned(),
            is_not_null: false,
            has_default: false,
            is_generated: false,
            is_identity_always: false,
        }
    }

    fn numeric(precision: i32, scale: i32) -> FoundColumn {
        column(NUMERIC, ((precision << 16) | (scale & 0x7ff)) + 4)
    }

    #[test]
    fn integers_widen_upwards_only() {
        assert!(widens(&column(INT4, -1), &column(INT8, -1)));
        assert!(!widens(&column(INT8, -1), &column(INT4, -1)));
        assert!(!widens(&column(INT8, -1), &column(FLOAT8, -1)));
        assert!(widens(&column(INT8, -1), &numeric(20, 1)));
        assert!(!widens(&column(INT8, -1), &numeric(20, 2)));
    }

    #[test]
    fn numeric_keeps_digits_on_both_sides_of_the_point() {
        assert!(widens(&numeric(5, 2), &numeric(7, 3)));
        assert!(!widens(&numeric(5, 2), &numeric(5, 3)));
        assert!(widens(&numeric(5, -2), &numeric(7, 0)));
        assert!(widens(&numeric(5, 2), &column(NUMERIC, -1)));
        assert!(!widens(&column(NUMERIC, -1), &numeric(5, 2)));
    }

    #[test]
    fn texts_widen_by_length() {
        assert!(widens(&column(VARCHAR, 14), &column(VARCHAR, 24)));
        assert!(!widens(&column(VARCHAR, 24), &column(VARCHAR, 14)));
        assert!(widens(&column(VARCHAR, 14), &column(TEXT, -1)));
        assert!(!widens(&column(TEXT, -1), &column(VARCHAR, 14)));
    }
}

//! Keys in SQLite's own order, and as bytes in a position's token.
//!
//! The order of values is SQLite's: numbers (integers and reals compared exactly), then text, then blobs, each by its
//! bytes. That is what `ORDER BY` gives for columns with the BINARY collation in a UTF-8 database, and only such keys
//! are compared here; [`super::shape`] sees to that.

use std::cmp::Ordering;

use api::PageKey;
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

/// One value of a key. Never NULL.
#[derive(Debug, Clone)]
pub(crate) enum KeyValue {
    Integer(i64),
    Real(f64),
    Text(Box<[u8]>),
    Blob(Box<[u8]>),
}

/// A row's key: one value for each key column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) Vec<KeyValue>);

impl KeyValue {
    /// `None` for NULL, which no key that is compared may hold.
    pub(crate) fn of(value: ValueRef<'_>) -> Option<Self> {
        Some(match value {
            ValueRef::Null => return None,
            ValueRef::Integer(v) => KeyValue::Integer(v),
            ValueRef::Real(v) => KeyValue::Real(v),
            ValueRef::Text(bytes) => KeyValue::Text(bytes.into()),
            ValueRef::Blob(bytes) => KeyValue::Blob(bytes.into()),
        })
    }

    fn as_ref(&self) -> ValueRef<'_> {
        match self {
            KeyValue::Integer(v) => ValueRef::Integer(*v),
            KeyValue::Real(v) => ValueRef::Real(*v),
            KeyValue::Text(bytes) => ValueRef::Text(bytes),
            KeyValue::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }
}

impl PartialEq for KeyValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for KeyValue {}

impl PartialOrd for KeyValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyValue {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.as_ref(), other.as_ref())
    }
}

impl ToSql for KeyValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.as_ref()))
    }
}

/// SQLite's order of two values.
pub(crate) fn compare(a: ValueRef<'_>, b: ValueRef<'_>) -> Ordering {
    use ValueRef as V;
    match (a, b) {
        (V::Integer(a), V::Integer(b)) => a.cmp(&b),
        (V::Real(a), V::Real(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (V::Integer(a), V::Real(b)) => compare_mixed(a, b),
        (V::Real(a), V::Integer(b)) => compare_mixed(b, a).reverse(),
        (V::Text(a), V::Text(b)) | (V::Blob(a), V::Blob(b)) => a.cmp(b),
        (a, b) => class(a).cmp(&class(b)),
    }
}

fn class(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Integer(_) | ValueRef::Real(_) => 1,
        ValueRef::Text(_) => 2,
        ValueRef::Blob(_) => 3,
    }
}

/// An integer against a double, exactly: neither is rounded to the other's type.
fn compare_mixed(a: i64, b: f64) -> Ordering {
    // The doubles next to the ends of the integers' range are the ends themselves (-2^63, 2^63).
    if b < -9_223_372_036_854_775_808.0 {
        return Ordering::Greater;
    }
    if b >= 9_223_372_036_854_775_808.0 {
        return Ordering::Less;
    }
    let whole = b.trunc();
    a.cmp(&(whole as i64))
        .then_with(|| 0.0_f64.partial_cmp(&(b - whole)).unwrap_or(Ordering::Equal))
}

impl Key {
    /// Compares with a row's values without copying them.
    pub(crate) fn compare_with<'a>(&self, values: impl Iterator<Item = ValueRef<'a>>) -> Ordering {
        for (mine, theirs) in self.0.iter().zip(values) {
            match compare(mine.as_ref(), theirs) {
                Ordering::Equal => {}
                other => return other,
            }
        }
        Ordering::Equal
    }
}

impl PageKey for Key {
    /// Tag, length where it is needed, bytes; value after value.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for value in &self.0 {
            match value {
                KeyValue::Integer(v) => {
                    out.push(b'i');
                    out.extend_from_slice(&v.to_be_bytes());
                }
                KeyValue::Real(v) => {
                    out.push(b'r');
                    out.extend_from_slice(&v.to_bits().to_be_bytes());
                }
                KeyValue::Text(bytes) | KeyValue::Blob(bytes) => {
                    out.push(if matches!(value, KeyValue::Text(_)) { b't' } else { b'b' });
                    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                    out.extend_from_slice(bytes);
                }
            }
        }
        out
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut values = Vec::new();
        while let Some((&tag, rest)) = bytes.split_first() {
            let (value, rest) = match tag {
                b'i' | b'r' => {
                    let (eight, rest) = rest.split_first_chunk::<8>()?;
                    let value = match tag {
                        b'i' => KeyValue::Integer(i64::from_be_bytes(*eight)),
                        _ => KeyValue::Real(f64::from_bits(u64::from_be_bytes(*eight))),
                    };
                    (value, rest)
                }
                b't' | b'b' => {
                    let (len, rest) = rest.split_first_chunk::<4>()?;
                    let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
                    (
                        if tag == b't' {
                            KeyValue::Text(text.into())
                        } else {
                            KeyValue::Blob(text.into())
                        },
                        rest,
                    )
                }
                _ => return None,
            };
            values.push(value);
            bytes = rest;
        }
        Some(Key(values))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    fn value() -> impl Strategy<Value = KeyValue> {
        let near = prop_oneof![
            Just(0_i64),
            Just(1),
            Just(-1),
            Just(i64::MAX),
            Just(i64::MIN),
            Just(1 << 53),
            Just((1 << 53) + 1),
            Just(i64::MAX - 1),
            any::<i64>(),
            -5..5_i64,
        ];
        let real = prop_oneof![
            near.clone().prop_map(|v| v as f64),
            any::<f64>().prop_filter("SQLite stores NaN as NULL", |v| !v.is_nan()),
            Just(-0.0),
            Just(0.5),
            Just(-0.5),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
        ];
        let bytes = prop::collection::vec(
            prop_oneof![Just(0_u8), Just(b'a'), Just(b'A'), Just(0xc3), Just(0xff), any::<u8>()],
            0..4,
        );
        prop_oneof![
            near.prop_map(KeyValue::Integer),
            real.prop_map(KeyValue::Real),
            bytes.clone().prop_map(|b| KeyValue::Text(b.into())),
            bytes.prop_map(|b| KeyValue::Blob(b.into())),
        ]
    }

    proptest! {
        #[test]
        fn values_compare_as_sqlite_compares_them(a in value(), b in value()) {
            let conn = Connection::open_in_memory().unwrap();
            let (less, equal): (bool, bool) =
                conn.query_row("SELECT ?1 < ?2, ?1 = ?2", [&a, &b], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            let expected = if less { Ordering::Less } else if equal { Ordering::Equal } else { Ordering::Greater };
            prop_assert_eq!(a.cmp(&b), expected);
        }

        #[test]
        fn key_survives_its_encoding(values in prop::collection::vec(value(), 0..4)) {
            let decoded = Key::decode(&Key(values.clone()).encode()).unwrap();
            prop_assert_eq!(format!("{:?}", decoded.0), format!("{values:?}"));
        }
    }
}

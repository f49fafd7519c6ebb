//! Keys in PostgreSQL's own order, and as bytes in a position's token.
//!
//! Compared here are only types whose order can be had from their binary form (`facts`: measured on real servers): integers,
//! oid, bool, uuid, bytea, date and timestamps, and text whose collation orders by bytes. Every other key asks for a read in
//! one window; [`super::shape`] sees to that.

use std::cmp::Ordering;

use api::PageKey;

/// How a key column is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// A signed integer, big-endian, in its own width; dates and timestamps too, their infinities being the extremes.
    Signed,
    /// An unsigned integer: oid, bool.
    Unsigned,
    /// By bytes: uuid, bytea, and text under `C` and its like.
    Bytes,
}

/// One value of a key. Never NULL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyValue {
    Integer(i64),
    Bytes(Box<[u8]>),
}

impl KeyKind {
    /// The kind of a built-in type; text only if its column's collation orders by bytes.
    pub(crate) fn of_type(oid: u32, is_byte_ordered: bool) -> Option<Self> {
        match oid {
            // int8, int2, int4, date, timestamp, timestamptz
            20 | 21 | 23 | 1082 | 1114 | 1184 => Some(KeyKind::Signed),
            // bool, oid
            16 | 26 => Some(KeyKind::Unsigned),
            // bytea, uuid
            17 | 2950 => Some(KeyKind::Bytes),
            // text, varchar, name
            25 | 1043 | 19 => is_byte_ordered.then_some(KeyKind::Bytes),
            _ => None,
        }
    }

    /// Reads a value's binary form; `None` if it has not the width of such a value.
    pub(crate) fn read(self, bytes: &[u8]) -> Option<KeyValue> {
        let integer = match (self, bytes) {
            (KeyKind::Bytes, bytes) => return Some(KeyValue::Bytes(bytes.into())),
            (KeyKind::Unsigned, &[a]) => i64::from(a),
            (KeyKind::Unsigned, &[a, b, c, d]) => i64::from(u32::from_be_bytes([a, b, c, d])),
            (KeyKind::Signed, &[a, b]) => i64::from(i16::from_be_bytes([a, b])),
            (KeyKind::Signed, &[a, b, c, d]) => i64::from(i32::from_be_bytes([a, b, c, d])),
            (KeyKind::Signed, bytes) => i64::from_be_bytes(bytes.try_into().ok()?),
            (KeyKind::Unsigned, _) => return None,
        };
        Some(KeyValue::Integer(integer))
    }
}

/// A row's key: one value for each key column, and how each is written in SQL.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) values: Vec<KeyValue>,
    /// The values as text, in the server's own spelling.
    pub(crate) texts: Vec<String>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.values.cmp(&other.values)
    }
}

impl PageKey for Key {
    /// For each value: a byte for its kind, then the integer, or length and bytes; then length and bytes of its text.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let text = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(bytes);
        };
        for (value, spelled) in self.values.iter().zip(&self.texts) {
            match value {
                KeyValue::Integer(v) => {
                    out.push(b'i');
                    out.extend_from_slice(&v.to_be_bytes());
                }
                KeyValue::Bytes(bytes) => {
                    out.push(b'b');
                    text(&mut out, bytes);
                }
            }
            text(&mut out, spelled.as_bytes());
        }
        out
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
            let (len, rest) = bytes.split_first_chunk::<4>()?;
            let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            *bytes = rest;
            Some(text)
        }
        let mut key = Key {
            values: Vec::new(),
            texts: Vec::new(),
        };
        while let Some((kind, rest)) = bytes.split_first() {
            bytes = rest;
            let value = match kind {
                b'i' => {
                    let (v, rest) = bytes.split_first_chunk::<8>()?;
                    bytes = rest;
                    KeyValue::Integer(i64::from_be_bytes(*v))
                }
                b'b' => KeyValue::Bytes(text(&mut bytes)?.into()),
                _ => return None,
            };
            key.values.push(value);
            key.texts.push(String::from_utf8(text(&mut bytes)?.to_vec()).ok()?);
        }
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_the_same_after_its_token() {
        let key = Key {
            values: vec![KeyValue::Integer(-7), KeyValue::Bytes(b"a'b".as_slice().into())],
            texts: vec!["-7".to_owned(), "a'b".to_owned()],
        };
        let read = Key::decode(&key.encode()).expect("its own token");
        assert_eq!((&read.values, &read.texts), (&key.values, &key.texts));
        assert_eq!(Key::decode(b"x"), None);
    }

    #[test]
    fn integers_of_any_width_compare_by_value() {
        let read = |bytes: &[u8]| KeyKind::Signed.read(bytes).expect("an integer");
        assert!(read(&(-1_i16).to_be_bytes()) < read(&0_i32.to_be_bytes()));
        assert_eq!(
            KeyKind::Unsigned.read(&u32::MAX.to_be_bytes()),
            Some(KeyValue::Integer(4_294_967_295))
        );
        assert_eq!(KeyKind::Unsigned.read(&[0; 3]), None);
    }
}

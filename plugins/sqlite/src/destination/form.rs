//! How a value of each Arrow type lies in SQLite, and what becomes of the stored values when a type changes.
//!
//! SQLite stores integers, reals, text and blobs, and lets any column hold any of them; a column's *affinity* converts
//! what looks convertible. So each Arrow type has one documented [`Form`], and a column that would convert that form (a
//! decimal's digits in a `NUMERIC` column become a float) is refused.
//!
//! | Arrow type | form | declared | stored as |
//! |---|---|---|---|
//! | `Null` | `null` | `BLOB` | NULL |
//! | `Boolean` | `boolean` | `BOOLEAN` | integer 0 or 1 |
//! | `Int8` ... `Int64`, `UInt8` ... `UInt32` | `integer` | `INTEGER` | integer |
//! | `UInt64` | `uint64` | `TEXT` | decimal digits: half of its values are beyond SQLite's integers |
//! | `Float32`, `Float64` | `real` | `REAL` | real (-0.0 becomes 0.0); NaN as text `NaN`, because SQLite would make it NULL |
//! | `Utf8`, `LargeUtf8`, also `json`, `inet`, `mac`, `numeric`, and `uuid`, `interval` as text | `text` | `TEXT` | text |
//! | `Binary`, `LargeBinary`, `FixedSizeBinary` | `blob` | `BLOB` | blob |
//! | `FixedSizeBinary(16)` marked `uuid` | `uuid` | `TEXT` | hyphenated lower case |
//! | `Date32` | `date` | `DATE` | `YYYY-MM-DD`; years beyond 0000-9999 with a sign |
//! | `Time64` | `time.6`, `time.9` | `TIME` | `HH:MM:SS.ffffff`, always that many digits |
//! | `Timestamp` without zone | `timestamp.0` ... `.9` | `TIMESTAMP` | `YYYY-MM-DD HH:MM:SS.ffffff`, always the unit's digits |
//! | `Timestamp` with zone | `timestamp.0z` ... `.9z` | `TIMESTAMP` | the same in UTC, with `Z` |
//! | `Duration` | `duration.0` ... `.9` | `INTEGER` | integer count of the unit |
//! | `Interval` | `interval` | `TEXT` | ISO 8601, months, days and seconds apart: `P14M3DT0.5S` |
//! | `Decimal128`, `Decimal256` | `decimal.S` | `TEXT` | digits, with exactly S of them after the point |
//! | `List`, `LargeList`, `Struct`, `Map` | `json` | `TEXT` | JSON, see [`super::json_text`] |
//!
//! Texts of one form have a fixed width where that is possible, so they sort as what they mean.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DataType, Field, TimeUnit};
use model::LogicalType;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a column's values lie in SQLite. Stored in the ledger by the name that `Display` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Null,
    Boolean,
    Integer,
    UInt64,
    Real,
    Text,
    Blob,
    Uuid,
    Date,
    /// Digits after the second's point.
    Time(u8),
    Timestamp {
        digits: u8,
        is_utc: bool,
    },
    Duration(u8),
    Interval,
    /// Digits after the point; negative: zeros before it.
    Decimal(i8),
    Json,
}

/// SQLite's storage classes, without NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Integer,
    Real,
    /// Text that may look like a number.
    Text,
    /// Text that never does, so that no affinity converts it.
    OtherText,
    Blob,
}

impl Form {
    /// The form of a field's values; `None` for a type outside the vocabulary.
    pub(crate) fn of(field: &Field) -> Option<Form> {
        if !model::carries(field.data_type()) {
            return None;
        }
        Some(match field.data_type() {
            DataType::Null => Form::Null,
            DataType::Boolean => Form::Boolean,
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32 => Form::Integer,
            DataType::UInt64 => Form::UInt64,
            DataType::Float32 | DataType::Float64 => Form::Real,
            DataType::Utf8 | DataType::LargeUtf8 => Form::Text,
            DataType::FixedSizeBinary(16) if LogicalType::of(field) == Some(LogicalType::Uuid) => Form::Uuid,
            DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => Form::Blob,
            DataType::Date32 => Form::Date,
            DataType::Time64(unit) => Form::Time(digits(*unit)),
            DataType::Timestamp(unit, zone) => Form::Timestamp {
                digits: digits(*unit),
                is_utc: zone.is_some(),
            },
            DataType::Duration(unit) => Form::Duration(digits(*unit)),
            DataType::Interval(_) => Form::Interval,
            DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => Form::Decimal(*scale),
            DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) | DataType::Map(..) => Form::Json,
            _ => return None,
        })
    }

    /// The type in `CREATE TABLE`. Its affinity converts no value of this form.
    pub(crate) fn declared(self) -> &'static str {
        match self {
            Form::Null | Form::Blob => "BLOB",
            Form::Boolean => "BOOLEAN",
            Form::Integer | Form::Duration(_) => "INTEGER",
            Form::Real => "REAL",
            Form::Date => "DATE",
            Form::Time(_) => "TIME",
            Form::Timestamp { .. } => "TIMESTAMP",
            Form::UInt64 | Form::Text | Form::Uuid | Form::Interval | Form::Decimal(_) | Form::Json => "TEXT",
        }
    }

    pub(crate) fn class(self) -> Class {
        match self {
            Form::Null | Form::Blob => Class::Blob,
            Form::Boolean | Form::Integer | Form::Duration(_) => Class::Integer,
            Form::Real => Class::Real,
            Form::UInt64 | Form::Text | Form::Decimal(_) | Form::Json => Class::Text,
            Form::Uuid | Form::Date | Form::Time(_) | Form::Timestamp { .. } | Form::Interval => Class::OtherText,
        }
    }

    /// Whether a column of this affinity keeps every value of this form as it is.
    pub(crate) fn fits(self, affinity: Affinity) -> bool {
        match self.class() {
            Class::Blob => true,
            Class::Integer => matches!(affinity, Affinity::Integer | Affinity::Numeric | Affinity::Blob),
            Class::Real => matches!(affinity, Affinity::Real | Affinity::Blob),
            Class::Text => matches!(affinity, Affinity::Text | Affinity::Blob),
            Class::OtherText => true,
        }
    }

    /// Whether `<` on the stored values is `<` on what they mean.
    pub(crate) fn order(self) -> FormOrder {
        match self {
            Form::UInt64 | Form::Decimal(_) => FormOrder::Digits,
            Form::Interval | Form::Json | Form::Null => FormOrder::None,
            _ => FormOrder::Stored,
        }
    }

    /// How values that lie there in this form become values of form `to`.
    pub(crate) fn widen(self, to: Form) -> Widening {
        use Form as F;
        match (self, to) {
            (from, to) if from == to => Widening::Same,
            (F::Null, _) | (F::Boolean, F::Integer) | (F::Uuid | F::Json | F::Interval | F::UInt64, F::Text) => {
                Widening::Same
            }
            (F::Integer, F::Real) => Widening::by("CAST({c} AS REAL)"),
            (F::Integer, F::Text | F::UInt64 | F::Decimal(0)) => Widening::by("CAST({c} AS TEXT)"),
            (F::Integer | F::UInt64, F::Decimal(scale @ 1..)) => {
                Widening::by(format!("CAST({{c}} AS TEXT) || '.{}'", zeros(scale as u8)))
            }
            (F::UInt64, F::Decimal(0)) => Widening::Same,
            (F::Decimal(0), F::Decimal(scale @ 1..)) => Widening::by(format!("{{c}} || '.{}'", zeros(scale as u8))),
            (F::Decimal(old @ 1..), F::Decimal(new)) if new > old => {
                Widening::by(format!("{{c}} || '{}'", zeros((new - old) as u8)))
            }
            (F::Decimal(_) | F::Date | F::Time(_) | F::Timestamp { .. }, F::Text) => Widening::Same,
            (F::Time(old), F::Time(new)) if new > old => Widening::by(format!("{{c}} || '{}'", more_digits(old, new))),
            (F::Date, F::Timestamp { digits, is_utc: false }) => {
                Widening::by(format!("{{c}} || ' 00:00:00{}'", more_digits(0, digits)))
            }
            (
                F::Timestamp {
                    digits: old,
                    is_utc: was_utc,
                },
                F::Timestamp { digits: new, is_utc },
            ) if new > old && was_utc == is_utc => Widening::by(if is_utc {
                format!("substr({{c}}, 1, length({{c}}) - 1) || '{}Z'", more_digits(old, new))
            } else {
                format!("{{c}} || '{}'", more_digits(old, new))
            }),
            (F::Duration(old), F::Duration(new)) if new > old => Widening::by(format!("{{c}} * 1{}", zeros(new - old))),
            _ => Widening::Impossible,
        }
    }
}

/// What a changed form asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Widening {
    /// The stored values are right as they are.
    Same,
    /// An SQL expression over `{c}` makes them right.
    Rewrite(String),
    /// Values would be lost or change their meaning.
    Impossible,
}

impl Widening {
    fn by(expression: impl Into<String>) -> Self {
        Widening::Rewrite(expression.into())
    }
}

/// What SQLite's comparison means for a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FormOrder {
    /// It compares what is meant.
    Stored,
    /// They are digits as text: by sign, then length, then text.
    Digits,
    /// Only equality means something.
    None,
}

fn digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

fn zeros(n: u8) -> String {
    "0".repeat(n.into())
}

fn more_digits(old: u8, new: u8) -> String {
    match (old, new) {
        (0, 0) => String::new(),
        (0, new) => format!(".{}", zeros(new)),
        (old, new) => zeros(new - old),
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::Null => f.write_str("null"),
            Form::Boolean => f.write_str("boolean"),
            Form::Integer => f.write_str("integer"),
            Form::UInt64 => f.write_str("uint64"),
            Form::Real => f.write_str("real"),
            Form::Text => f.write_str("text"),
            Form::Blob => f.write_str("blob"),
            Form::Uuid => f.write_str("uuid"),
            Form::Date => f.write_str("date"),
            Form::Time(digits) => write!(f, "time.{digits}"),
            Form::Timestamp { digits, is_utc } => write!(f, "timestamp.{digits}{}", if *is_utc { "z" } else { "" }),
            Form::Duration(digits) => write!(f, "duration.{digits}"),
            Form::Interval => f.write_str("interval"),
            Form::Decimal(scale) => write!(f, "decimal.{scale}"),
            Form::Json => f.write_str("json"),
        }
    }
}

impl FromStr for Form {
    type Err = String;

    /// Reads back what `Display` writes.
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("unknown form `{text}`");
        let (name, detail) = text.split_once('.').unwrap_or((text, ""));
        let digits = |detail: &str| detail.parse::<u8>().map_err(|_| refuse());
        Ok(match name {
            "null" => Form::Null,
            "boolean" => Form::Boolean,
            "integer" => Form::Integer,
            "uint64" => Form::UInt64,
            "real" => Form::Real,
            "text" => Form::Text,
            "blob" => Form::Blob,
            "uuid" => Form::Uuid,
            "date" => Form::Date,
            "time" => Form::Time(digits(detail)?),
            "timestamp" => Form::Timestamp {
                digits: digits(detail.trim_end_matches('z'))?,
                is_utc: detail.ends_with('z'),
            },
            "duration" => Form::Duration(digits(detail)?),
            "interval" => Form::Interval,
            "decimal" => Form::Decimal(detail.parse().map_err(|_| refuse())?),
            "json" => Form::Json,
            _ => return Err(refuse()),
        })
    }
}

impl Serialize for Form {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Which conversions a column tries on what is stored in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affinity {
    Integer,
    Real,
    Numeric,
    Text,
    /// None at all.
    Blob,
}

impl Affinity {
    /// A declared type that has it.
    pub(crate) const fn declared(self) -> &'static str {
        match self {
            Affinity::Integer => "INTEGER",
            Affinity::Real => "REAL",
            Affinity::Numeric => "NUMERIC",
            Affinity::Text => "TEXT",
            Affinity::Blob => "BLOB",
        }
    }

    /// SQLite's own rule (<https://sqlite.org/datatype3.html>, 3.1). In a `STRICT` table `ANY` converts nothing.
    pub(crate) fn of_declared(declared: &str, is_strict: bool) -> Affinity {
        let declared = declared.to_ascii_uppercase();
        let has = |part: &str| declared.contains(part);
        if is_strict && declared == "ANY" {
            Affinity::Blob
        } else if has("INT") {
            Affinity::Integer
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Affinity::Text
        } else if has("BLOB") || declared.is_empty() {
            Affinity::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: [Form; 21] = [
        Form::Null,
        Form::Boolean,
        Form::Integer,
        Form::UInt64,
        Form::Real,
        Form::Text,
        Form::Blob,
        Form::Uuid,
        Form::Date,
        Form::Time(6),
        Form::Time(9),
        Form::Timestamp {
            digits: 0,
            is_utc: false,
        },
        Form::Timestamp {
            digits: 3,
            is_utc: false,
        },
        Form::Timestamp {
            digits: 9,
            is_utc: true,
        },
        Form::Duration(0),
        Form::Duration(9),
        Form::Interval,
        Form::Decimal(0),
        Form::Decimal(-3),
        Form::Decimal(38),
        Form::Json,
    ];

    #[test]
    fn form_is_read_back_from_its_name() {
        for form in FORMS {
            assert_eq!(form.to_string().parse::<Form>(), Ok(form));
        }
        "colour".parse::<Form>().expect_err("no such form");
    }

    #[test]
    fn declared_type_has_an_affinity_that_the_form_fits() {
        for form in FORMS {
            assert!(form.fits(Affinity::of_declared(form.declared(), false)), "{form}");
        }
        assert!(!Form::Decimal(2).fits(Affinity::of_declared("DECIMAL(10,2)", false)));
        assert!(!Form::UInt64.fits(Affinity::of_declared("UNSIGNED BIG INT", false)));
        assert!(!Form::Integer.fits(Affinity::of_declared("DOUBLE", false)));
        assert!(Form::Decimal(2).fits(Affinity::of_declared("ANY", true)));
    }
}

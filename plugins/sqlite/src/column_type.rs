//! Declared types of SQLite columns and what they are in Arrow.
//!
//! SQLite stores any value in any column; the declared type is a wish. Highwater takes the wish as a promise: a value of
//! another storage class is an error that names stream, column and key, never a silent NULL or a rounded number.
//! `overrides` can set another type for a column. The words are SQLite's own rules, applied in this order:
//!
//! | declared type | read as | values that fit |
//! |---|---|---|
//! | contains `INT` | `Int64` | INTEGER |
//! | contains `CHAR`, `CLOB` or `TEXT` | `Utf8` | TEXT in valid UTF-8 |
//! | contains `BLOB` | `Binary` | BLOB |
//! | contains `REAL`, `FLOA` or `DOUB` | `Float64` | REAL; INTEGER up to 2^53 |
//! | `BOOL`, `BOOLEAN` | `Boolean` | INTEGER 0 and 1 |
//! | `DECIMAL(p, s)`, `NUMERIC(p, s)`, p <= 38 | `Decimal128(p, s)` | INTEGER, REAL and decimal TEXT with at most p digits, s of them after the point |
//! | `DECIMAL`, `NUMERIC`, `NUMBER` | `Float64` | REAL; INTEGER up to 2^53 |
//! | `JSON` | `Utf8`, marked `json` | TEXT; INTEGER and REAL, which are JSON too |
//! | anything else: none, `ANY`, `DATE`, `DATETIME`, `UUID`, ... | `Utf8` | TEXT in valid UTF-8 |
//!
//! SQLite has no dates: what `DATE` and `DATETIME` columns hold is text (or a number) by convention, so it stays text
//! unless an override says `date` or `timestamp`.

use arrow::datatypes::{DataType, Field, TimeUnit};
use model::LogicalType;

/// How the values of a column are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// INTEGER.
    Int64,
    /// REAL, and INTEGER where that is exact.
    Float64,
    /// INTEGER 0 and 1.
    Boolean,
    /// TEXT.
    Text,
    /// Anything, written as text: numbers in their shortest exact form, BLOBs as `x'..'`. Only by override.
    AnyAsText,
    /// TEXT, and numbers.
    Json,
    /// BLOB.
    Binary,
    /// Exact decimals.
    Decimal {
        /// Digits, at most 38.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// TEXT of the form `YYYY-MM-DD`. Only by override.
    Date,
    /// TEXT of the form `YYYY-MM-DD HH:MM[:SS[.fraction]][Z|+hh:mm]`, UTC where no offset stands; INTEGER as seconds since
    /// 1970. Only by override.
    Timestamp,
}

/// The words that `overrides` takes for a column.
pub const OVERRIDE_TYPES: &[&str] = &[
    "text",
    "int64",
    "float64",
    "boolean",
    "binary",
    "json",
    "date",
    "timestamp",
    "decimal(p, s)",
];

/// Digits that an `i128` can hold for certain.
const PRECISION_MAX: u8 = 38;

impl ColumnType {
    /// What a declared type is read as.
    pub fn of_declared(declared: &str) -> Self {
        let upper = declared.trim().to_ascii_uppercase();
        let contains = |words: &[&str]| words.iter().any(|word| upper.contains(word));
        let name = upper.split('(').next().unwrap_or_default().trim();
        if contains(&["INT"]) {
            ColumnType::Int64
        } else if contains(&["CHAR", "CLOB", "TEXT"]) {
            ColumnType::Text
        } else if contains(&["BLOB"]) {
            ColumnType::Binary
        } else if contains(&["REAL", "FLOA", "DOUB"]) {
            ColumnType::Float64
        } else {
            match name {
                "BOOL" | "BOOLEAN" => ColumnType::Boolean,
                "DECIMAL" | "NUMERIC" => decimal(&upper).unwrap_or(ColumnType::Float64),
                "NUMBER" => ColumnType::Float64,
                "JSON" => ColumnType::Json,
                _ => ColumnType::Text,
            }
        }
    }

    /// What a name in `overrides` means; `None` if there is no such type.
    pub fn of_override(name: &str) -> Option<Self> {
        let lower = name.trim().to_ascii_lowercase();
        Some(match lower.as_str() {
            "text" => ColumnType::AnyAsText,
            "int64" | "integer" => ColumnType::Int64,
            "float64" | "real" => ColumnType::Float64,
            "boolean" => ColumnType::Boolean,
            "binary" | "blob" => ColumnType::Binary,
            "json" => ColumnType::Json,
            "date" => ColumnType::Date,
            "timestamp" => ColumnType::Timestamp,
            _ if lower.starts_with("decimal(") => return decimal(&lower),
            _ => return None,
        })
    }

    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            ColumnType::Int64 => DataType::Int64,
            ColumnType::Float64 => DataType::Float64,
            ColumnType::Boolean => DataType::Boolean,
            ColumnType::Text | ColumnType::AnyAsText | ColumnType::Json => DataType::Utf8,
            ColumnType::Binary => DataType::Binary,
            ColumnType::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
            ColumnType::Date => DataType::Date32,
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        }
    }

    /// The column as a field.
    pub fn field(self, name: &str, is_nullable: bool) -> Field {
        let field = Field::new(name, self.data_type(), is_nullable);
        match self {
            ColumnType::Json => LogicalType::Json.mark(field),
            _ => field,
        }
    }

    /// The word for messages.
    pub fn name(self) -> String {
        match self {
            ColumnType::Int64 => "int64".into(),
            ColumnType::Float64 => "float64".into(),
            ColumnType::Boolean => "boolean".into(),
            ColumnType::Text | ColumnType::AnyAsText => "text".into(),
            ColumnType::Json => "json".into(),
            ColumnType::Binary => "binary".into(),
            ColumnType::Decimal { precision, scale } => format!("decimal({precision}, {scale})"),
            ColumnType::Date => "date".into(),
            ColumnType::Timestamp => "timestamp".into(),
        }
    }
}

/// `NAME(p)` or `NAME(p, s)`, where that fits 128 bits.
fn decimal(text: &str) -> Option<ColumnType> {
    let inside = text.split_once('(')?.1.split_once(')')?.0;
    let mut numbers = inside.split(',').map(|part| part.trim().parse::<u8>());
    let precision = numbers.next()?.ok()?;
    let scale = numbers.next().unwrap_or(Ok(0)).ok()?;
    let fits = (1..=PRECISION_MAX).contains(&precision) && scale <= precision && numbers.next().is_none();
    fits.then_some(ColumnType::Decimal { precision, scale })
}

/// A decimal number as an integer of `scale` digits after the point, if it has no more than that and fits `precision`.
///
/// `text` is `[-+]digits[.digits][e[+-]digits]`, as Rust and SQLite print numbers.
pub(crate) fn parse_decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (is_negative, mantissa) = match mantissa.as_bytes().first()? {
        b'-' => (true, &mantissa[1..]),
        b'+' => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut unscaled: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return None;
        }
        unscaled = unscaled.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    let mut shift = i32::from(scale) - i32::try_from(fraction.len()).ok()? + exponent;
    while shift > 0 && unscaled != 0 {
        unscaled = unscaled.checked_mul(10)?;
        shift -= 1;
    }
    while shift < 0 && unscaled != 0 {
        if unscaled % 10 != 0 {
            return None;
        }
        unscaled /= 10;
        shift += 1;
    }
    let fits = unscaled < 10_i128.checked_pow(u32::from(precision))?;
    fits.then_some(if is_negative { -unscaled } else { unscaled })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_follow_sqlites_rules() {
        for (declared, expected) in [
            ("INTEGER", ColumnType::Int64),
            ("unsigned big int", ColumnType::Int64),
            ("FLOATING POINT", ColumnType::Int64),
            ("VARCHAR(20)", ColumnType::Text),
            ("", ColumnType::Text),
            ("ANY", ColumnType::Text),
            ("blob", ColumnType::Binary),
            ("double precision", ColumnType::Float64),
            ("BOOLEAN", ColumnType::Boolean),
            (
                "decimal(10, 2)",
                ColumnType::Decimal {
                    precision: 10,
                    scale: 2,
                },
            ),
            ("NUMERIC(5)", ColumnType::Decimal { precision: 5, scale: 0 }),
            ("NUMERIC(50, 2)", ColumnType::Float64),
            ("NUMERIC", ColumnType::Float64),
            ("DATETIME", ColumnType::Text),
            ("JSON", ColumnType::Json),
        ] {
            assert_eq!(ColumnType::of_declared(declared), expected, "{declared}");
        }
    }

    #[test]
    fn decimal_is_exact_or_refused() {
        for (text, expected) in [
            ("12.34", Some(1234)),
            ("-12.3", Some(-1230)),
            ("5", Some(500)),
            ("1e3", Some(100_000)),
            ("1.50e-1", Some(15)),
            ("0.001", None),
            ("0e-9", Some(0)),
            ("12.340", Some(1234)),
            ("100000000", None),
            ("abc", None),
            ("", None),
            ("-", None),
            ("inf", None),
            ("1.2.3", None),
        ] {
            assert_eq!(parse_decimal(text, 8, 2), expected, "{text}");
        }
    }
}

//! A column and the Arrow field that it becomes.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use model::LogicalType;

use super::pg_type::numeric_typmod;
use super::{Kind, PgType, Scalar};
use crate::identifier::quote_ident;

/// The field metadata key that carries the declared type (`numeric(10,2)`, `"public"."mood"`), so that a PostgreSQL
/// destination makes the same column.
pub const POSTGRES_TYPE: &str = "postgres.type";

/// Digits that `Decimal128` and `Decimal256` hold.
const DECIMAL128_DIGITS: u16 = 38;
const DECIMAL256_DIGITS: u16 = 76;

/// Dimensions that PostgreSQL allows.
const DIMENSIONS_MAX: u8 = 6;

/// A column, as the catalogue or a RELATION message tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The name, unquoted.
    pub name: String,
    /// The type.
    pub ty: Arc<PgType>,
    /// The type modifier, -1 for none.
    pub typmod: i32,
    /// Whether NULL may turn up.
    pub nullable: bool,
}

/// What a user may ask a column to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Override {
    /// Text, as PostgreSQL writes it. Every value of every type fits.
    Text,
    /// A `numeric` without a scale as a decimal with one.
    Decimal {
        /// Digits.
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
    /// An array of so many dimensions, as nested lists.
    Array(u8),
}

/// The words that `overrides` takes for a column.
pub const OVERRIDE_TYPES: &[&str] = &["text", "decimal(p, s)", "array(n)"];

/// Why an override does not suit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read a column of type `{declared}` as `{wanted}`")]
pub struct BadOverride {
    /// The declared type.
    pub declared: String,
    /// The override.
    pub wanted: String,
}

impl Override {
    /// What a word in `overrides` means; `None` if there is no such type.
    pub fn parse(word: &str) -> Option<Self> {
        let lower = word.trim().to_ascii_lowercase();
        if lower == "text" {
            return Some(Override::Text);
        }
        let (name, inside) = lower.strip_suffix(')')?.split_once('(')?;
        match name.trim() {
            "array" | "list" => {
                let dimensions = inside.trim().parse().ok()?;
                (1..=DIMENSIONS_MAX)
                    .contains(&dimensions)
                    .then_some(Override::Array(dimensions))
            }
            "decimal" | "numeric" => {
                let (precision, scale) = inside.split_once(',').unwrap_or((inside, "0"));
                let (precision, scale) = (precision.trim().parse::<u8>().ok()?, scale.trim().parse::<i8>().ok()?);
                let fits =
                    (1..=DECIMAL256_DIGITS).contains(&u16::from(precision)) && i16::from(scale) <= i16::from(precision);
                fits.then_some(Override::Decimal { precision, scale })
            }
            _ => None,
        }
    }
}

impl Column {
    /// The declared type, as DDL spells it.
    pub fn declared(&self) -> String {
        self.ty.declared(self.typmod)
    }

    /// What to select so that COPY binary sends a form that [`ColumnDecoder`](super::ColumnDecoder) reads: the column, or
    /// its text by the type's own output function (a cast to text may be another function: for `inet` it is).
    pub fn read_expression(&self) -> String {
        let name = quote_ident(&self.name);
        if self.ty.decodes_binary() {
            name
        } else {
            // NULL, but not a row of NULLs, has no text.
            format!("CASE WHEN pg_catalog.num_nonnulls({name}) = 1 THEN pg_catalog.concat({name}) END")
        }
    }
}

/// The field that a column becomes.
pub fn field(column: &Column, wanted: Option<Override>) -> Result<Field, BadOverride> {
    let (ty, typmod) = column.ty.resolve(column.typmod);
    let bad = |wanted: String| BadOverride {
        declared: column.declared(),
        wanted,
    };
    let field = match wanted {
        None => typed_field(&column.name, &column.ty, column.typmod, column.nullable),
        Some(Override::Text) => text_field(&column.name, &ty, column.nullable),
        Some(Override::Decimal { precision, scale }) => {
            if ty.kind != Kind::Scalar(Scalar::Numeric) || numeric_typmod(typmod).is_some() {
                return Err(bad(format!("decimal({precision}, {scale})")));
            }
            Field::new(&column.name, decimal(precision, scale), column.nullable)
        }
        Some(Override::Array(dimensions)) => {
            let Kind::Array(item) = &ty.kind else {
                return Err(bad(format!("array({dimensions})")));
            };
            let mut field = typed_field("item", item, typmod, true);
            for _ in 1..dimensions {
                field = Field::new("item", DataType::List(Arc::new(field)), false);
            }
            Field::new(&column.name, DataType::List(Arc::new(field)), column.nullable)
        }
    };
    // A name of an object of this database means nothing in another one.
    let declared = match &ty.kind {
        Kind::ObjectName => "text".to_owned(),
        _ => column.declared(),
    };
    let mut metadata = field.metadata().clone();
    metadata.insert(POSTGRES_TYPE.to_owned(), declared);
    Ok(field.with_metadata(metadata))
}

fn decimal(precision: u8, scale: i8) -> DataType {
    if u16::from(precision) <= DECIMAL128_DIGITS {
        DataType::Decimal128(precision, scale)
    } else {
        DataType::Decimal256(precision, scale)
    }
}

/// The decimal type of a `numeric`, if it has a scale and fits 256 bits.
fn decimal_of(typmod: i32) -> Option<DataType> {
    let (precision, scale) = numeric_typmod(typmod)?;
    // `numeric(3,5)` holds three digits, all of them after two zeros.
    let digits = precision.max(u16::try_from(scale).unwrap_or(0));
    let scale = i8::try_from(scale).ok()?;
    (digits <= DECIMAL256_DIGITS).then(|| decimal(digits as u8, scale))
}

fn text_field(name: &str, ty: &PgType, nullable: bool) -> Field {
    let field = Field::new(name, DataType::Utf8, nullable);
    match &ty.kind {
        Kind::Scalar(Scalar::Numeric) => LogicalType::Numeric.mark(field),
        Kind::Scalar(Scalar::Json | Scalar::Jsonb) => LogicalType::Json.mark(field),
        Kind::Scalar(Scalar::Inet | Scalar::Cidr) => LogicalType::Inet.mark(field),
        Kind::Scalar(Scalar::Macaddr | Scalar::Macaddr8) => LogicalType::Mac.mark(field),
        Kind::Scalar(Scalar::Uuid) => LogicalType::Uuid.mark(field),
        Kind::Scalar(Scalar::Interval) => LogicalType::Interval.mark(field),
        _ => field,
    }
}

/// The field without metadata about the declared type.
fn typed_field(name: &str, ty: &Arc<PgType>, typmod: i32, nullable: bool) -> Field {
    let (ty, typmod) = ty.resolve(typmod);
    let plain = |data_type| Field::new(name, data_type, nullable);
    match &ty.kind {
        Kind::Scalar(scalar) => match scalar {
            Scalar::Bool => plain(DataType::Boolean),
            Scalar::Int2 => plain(DataType::Int16),
            Scalar::Int4 => plain(DataType::Int32),
            Scalar::Int8 => plain(DataType::Int64),
            Scalar::Oid | Scalar::Xid | Scalar::Cid => plain(DataType::UInt32),
            Scalar::Xid8 => plain(DataType::UInt64),
            Scalar::Float4 => plain(DataType::Float32),
            Scalar::Float8 => plain(DataType::Float64),
            Scalar::Money => plain(DataType::Decimal128(19, 2)),
            Scalar::Numeric => match decimal_of(typmod) {
                Some(data_type) => plain(data_type),
                None => text_field(name, &ty, nullable),
            },
            Scalar::Bytea => plain(DataType::Binary),
            Scalar::Uuid => LogicalType::Uuid.mark(plain(DataType::FixedSizeBinary(16))),
            Scalar::Date => plain(DataType::Date32),
            Scalar::Time => plain(DataType::Time64(TimeUnit::Microsecond)),
            Scalar::Timestamp => plain(DataType::Timestamp(TimeUnit::Microsecond, None)),
            Scalar::Timestamptz => plain(DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))),
            Scalar::Interval => LogicalType::Interval.mark(plain(DataType::Interval(IntervalUnit::MonthDayNano))),
            Scalar::Hstore => {
                let entries = vec![
                    Field::new("key", DataType::Utf8, false),
                    Field::new("value", DataType::Utf8, true),
                ];
                let entries = Field::new("entries", DataType::Struct(entries.into()), false);
                plain(DataType::Map(Arc::new(entries), false))
            }
            Scalar::Vector => plain(DataType::List(Arc::new(Field::new("item", DataType::Float32, false)))),
            _ => text_field(name, &ty, nullable),
        },
        Kind::Array(item) => plain(DataType::List(Arc::new(typed_field("item", item, typmod, true)))),
        Kind::Composite(attributes) if !attributes.is_empty() => {
            let fields: Fields = attributes
                .iter()
                .map(|attribute| typed_field(&attribute.name, &attribute.ty, attribute.typmod, true))
                .collect();
            plain(DataType::Struct(fields))
        }
        _ => text_field(name, &ty, nullable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_words_with_numbers() {
        assert_eq!(Override::parse(" Text "), Some(Override::Text));
        assert_eq!(Override::parse("array(2)"), Some(Override::Array(2)));
        assert_eq!(
            Override::parse("decimal(20, 4)"),
            Some(Override::Decimal {
                precision: 20,
                scale: 4
            })
        );
        for wrong in [
            "",
            "int",
            "array(0)",
            "array(7)",
            "decimal(77)",
            "decimal(5, 6)",
            "decimal(5",
        ] {
            assert_eq!(Override::parse(wrong), None, "{wrong}");
        }
    }
}

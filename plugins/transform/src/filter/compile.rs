//! A condition against one schema: columns by index, values in the columns' own types.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeBinaryArray, StringArray, make_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field};
use model::{LogicalType, StreamSchema};

use super::condition::{Comparison, Expression};
use super::evaluate::comparable;
use super::literal::Literal;
use crate::error::Error;

/// A compiled condition.
#[derive(Debug)]
pub(super) enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Compare {
        column: usize,
        comparison: Comparison,
        /// One value, of the type that the column is compared as.
        value: ArrayRef,
    },
    In {
        column: usize,
        values: Vec<ArrayRef>,
    },
    IsNull {
        column: usize,
        is_null: bool,
    },
}

impl Test {
    /// The columns that it looks at.
    pub(super) fn columns(&self) -> Vec<usize> {
        match self {
            Test::All(tests) | Test::Any(tests) => tests.iter().flat_map(Test::columns).collect(),
            Test::Not(test) => test.columns(),
            Test::Compare { column, .. } | Test::In { column, .. } | Test::IsNull { column, .. } => vec![*column],
        }
    }
}

pub(super) fn compile(expression: &Expression, schema: &StreamSchema) -> Result<Test, Error> {
    let each = |expressions: &[Expression]| -> Result<Vec<Test>, Error> {
        expressions
            .iter()
            .map(|expression| compile(expression, schema))
            .collect()
    };
    Ok(match expression {
        Expression::All(all) => Test::All(each(all)?),
        Expression::Any(any) => Test::Any(each(any)?),
        Expression::Not(not) => Test::Not(Box::new(compile(not, schema)?)),
        Expression::Compare {
            column,
            comparison,
            value,
        } => {
            let index = index_of(schema, column)?;
            check_comparable(schema, index, *comparison)?;
            Test::Compare {
                column: index,
                comparison: *comparison,
                value: read(schema, index, value)?,
            }
        }
        Expression::In { column, values } => {
            let index = index_of(schema, column)?;
            check_comparable(schema, index, Comparison::Eq)?;
            Test::In {
                column: index,
                values: values
                    .iter()
                    .map(|value| read(schema, index, value))
                    .collect::<Result<_, _>>()?,
            }
        }
        Expression::IsNull { column, is_null } => Test::IsNull {
            column: index_of(schema, column)?,
            is_null: *is_null,
        },
    })
}

fn index_of(schema: &StreamSchema, column: &str) -> Result<usize, Error> {
    let fields = schema.arrow().fields();
    fields
        .iter()
        .position(|field| field.name() == column)
        .ok_or_else(|| Error::NoColumn {
            what: "filter",
            stream: schema.stream().clone(),
            column: column.to_owned(),
            columns: fields.iter().map(|field| field.name().clone()).collect(),
        })
}

/// How values of a type can be compared.
enum Order {
    /// Equal or not, less or greater.
    Total,
    /// Equal or not.
    SameOnly,
    /// Not without changing what equal means.
    None,
}

fn order_of(field: &Field) -> Order {
    match LogicalType::of(field) {
        // Texts differ where values are the same: `1.0` and `1.00`, `{"a":1}` and `{"a": 1}`, `PT60S` and `PT1M`.
        Some(LogicalType::Numeric | LogicalType::Json | LogicalType::Interval) => return Order::None,
        Some(LogicalType::Uuid | LogicalType::Inet | LogicalType::Mac) => return Order::SameOnly,
        None => {}
    }
    match field.data_type() {
        DataType::Boolean => Order::SameOnly,
        data_type if data_type.is_numeric() => Order::Total,
        DataType::Utf8 | DataType::LargeUtf8 => Order::Total,
        DataType::Date32 | DataType::Time64(_) | DataType::Timestamp(..) => Order::Total,
        _ => Order::None,
    }
}

fn check_comparable(schema: &StreamSchema, column: usize, comparison: Comparison) -> Result<(), Error> {
    let field = schema.arrow().field(column);
    match order_of(field) {
        Order::Total => Ok(()),
        Order::SameOnly if !comparison.is_ordering() => Ok(()),
        Order::SameOnly | Order::None => {
            let name = LogicalType::of(field).map(|logical| logical.name().to_owned());
            Err(Error::NoOrder {
                stream: schema.stream().clone(),
                column: field.name().clone(),
                data_type: name.unwrap_or_else(|| field.data_type().to_string()),
                test: comparison.name(),
            })
        }
    }
}

/// Reads a value as the column's type. What cannot be read exactly is refused.
fn read(schema: &StreamSchema, column: usize, literal: &Literal) -> Result<ArrayRef, Error> {
    let field = schema.arrow().field(column);
    let misfit = |hint| Error::Misfit {
        stream: schema.stream().clone(),
        column: field.name().clone(),
        data_type: field.data_type().clone(),
        value: literal.to_string(),
        hint,
    };
    let hint = match (field.data_type(), literal) {
        (DataType::Utf8 | DataType::LargeUtf8, Literal::Text(_)) => "write text in quotes",
        (DataType::Utf8 | DataType::LargeUtf8, _) => return Err(misfit("write the value in quotes")),
        (DataType::Boolean, Literal::Boolean(_)) => "write `true` or `false`",
        (DataType::Boolean, _) => return Err(misfit("write `true` or `false`, without quotes")),
        (DataType::FixedSizeBinary(_), _) => "write a UUID as \"123e4567-e89b-12d3-a456-426614174000\"",
        (_, Literal::Boolean(_)) => return Err(misfit("write a value of the column's type")),
        (DataType::Date32, _) => "write a date as \"2026-01-31\"",
        (DataType::Time64(_), _) => "write a time as \"12:30:00\"",
        (DataType::Timestamp(..), _) => "write an instant as \"2026-01-31T12:30:00Z\"",
        (DataType::Decimal128(..) | DataType::Decimal256(..), _) => "write a number with at most the column's decimals",
        _ => "write a number that the column can hold",
    };
    let text = match LogicalType::of(field) {
        // Their one text form is in lower case.
        Some(LogicalType::Uuid | LogicalType::Mac) => literal.text().to_lowercase(),
        _ => literal.text(),
    };
    let value = cast(&text, field.data_type()).ok_or_else(|| misfit(hint))?;
    if is_rounded(&text, &value) {
        return Err(misfit(hint));
    }
    comparable(&value).map_err(|_| misfit(hint))
}

/// The type that a column is compared as. Zones are the column's, not the value's: instants are compared in UTC.
pub(super) fn compared_as(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, None),
        other => other.clone(),
    }
}

fn cast(text: &str, data_type: &DataType) -> Option<ArrayRef> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    if let DataType::FixedSizeBinary(16) = data_type {
        let bytes = uuid_bytes(text)?;
        return Some(Arc::new(FixedSizeBinaryArray::try_from_iter([bytes].into_iter()).ok()?));
    }
    let text: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let value = match data_type {
        DataType::Timestamp(unit, Some(_)) => {
            // Read with its own offset, UTC if it has none; then the bare instant.
            let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
            let instant = cast_with_options(&text, &utc, &options).ok()?;
            let bare = instant.to_data().into_builder().data_type(compared_as(data_type));
            make_array(bare.build().ok()?)
        }
        other => cast_with_options(&text, other, &options).ok()?,
    };
    (value.null_count() == 0).then_some(value)
}

/// The bytes of a hyphenated UUID.
fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let is_hyphen = |at: usize| [8, 13, 18, 23].contains(&at);
    let is_well_formed = |(at, c): (usize, char)| if is_hyphen(at) { c == '-' } else { c.is_ascii_hexdigit() };
    if text.len() != 36 || !text.chars().enumerate().all(is_well_formed) {
        return None;
    }
    u128::from_str_radix(&text.replace('-', ""), 16)
        .ok()
        .map(u128::to_be_bytes)
}

/// Decimals are rounded to the column's scale where they are read; a value with more is another value.
fn is_rounded(text: &str, value: &ArrayRef) -> bool {
    let scale = match value.data_type() {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale,
        _ => return false,
    };
    let fraction = text
        .split_once('.')
        .map_or("", |(_, fraction)| fraction)
        .trim_end_matches('0');
    text.contains(['e', 'E']) || fraction.len() as i64 > i64::from(scale.max(0)) || scale < 0
}

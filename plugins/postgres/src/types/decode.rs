//! PostgreSQL values into Arrow arrays, from the binary form and from text, with the same result.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Decimal128Builder, Decimal256Builder, FixedSizeBinaryBuilder, ListArray,
    MapArray, NullBufferBuilder, PrimitiveBuilder, StringBuilder, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Decimal256Type, DecimalType, Field, FieldRef, Fields,
    Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit, Time64MicrosecondType, TimestampMicrosecondType, UInt32Type, UInt64Type, i256,
};

use super::date_time::{date_from_text, date_from_wire, time_from_text, timestamp_from_text, timestamp_from_wire};
use super::interval::Span;
use super::numeric::{decimal_from_binary, decimal_from_text};
use super::text_form::literal::{read_array, read_hstore, read_row};
use super::text_form::{ArrayHeader, altered, bits, money_from_text, vector_from_text, write_text};
use super::wire_form::WireForm;
use super::{Column, Kind, Misfit, PgType, Scalar, Unsuited};

const INFINITE_DATE: &str = "an infinite date";
const INFINITE_TIME: &str = "an infinite time";
const DATE32: &str = "days since 1970";
const MICROS: &str = "microseconds since 1970";

/// Builds the array of one column, value by value.
///
/// After a [`Misfit`] inside a nested value the array is out of step: throw the decoder away, or
/// [`finish`](Self::finish) without using what comes.
#[derive(Debug)]
pub struct ColumnDecoder {
    cells: Cells,
    len: usize,
    text_bytes: usize,
}

#[derive(Debug)]
enum Cells {
    Boolean(BooleanBuilder),
    Int16(PrimitiveBuilder<Int16Type>),
    Int32(PrimitiveBuilder<Int32Type>),
    Int64(PrimitiveBuilder<Int64Type>),
    UInt32(PrimitiveBuilder<UInt32Type>),
    UInt64(PrimitiveBuilder<UInt64Type>),
    Float32(PrimitiveBuilder<Float32Type>),
    Float64(PrimitiveBuilder<Float64Type>),
    Money(Decimal128Builder),
    Decimal128(Decimal128Builder, u8, i8),
    Decimal256(Decimal256Builder, u8, i8),
    /// The bytes are the text.
    PlainText(StringBuilder),
    /// The text is made from the binary form.
    Text {
        builder: StringBuilder,
        ty: Arc<PgType>,
        scratch: String,
    },
    Binary(BinaryBuilder, Vec<u8>),
    Uuid(FixedSizeBinaryBuilder),
    Date(PrimitiveBuilder<Date32Type>),
    Time(PrimitiveBuilder<Time64MicrosecondType>),
    Timestamp(PrimitiveBuilder<TimestampMicrosecondType>, bool),
    Interval(PrimitiveBuilder<IntervalMonthDayNanoType>),
    List(Box<Lists>),
    Vector(Box<Lists>),
    Row(Box<Rows>),
    Hstore(Box<Hstores>),
}

/// Lists in lists, as many levels as the field has.
#[derive(Debug)]
struct Lists {
    /// The item fields, outermost first.
    fields: Vec<FieldRef>,
    /// The offsets of each level, outermost first.
    offsets: Vec<Vec<i32>>,
    nulls: NullBufferBuilder,
    delimiter: u8,
    item: ColumnDecoder,
}

#[derive(Debug)]
struct Rows {
    fields: Fields,
    oids: Vec<u32>,
    parts: Vec<ColumnDecoder>,
    nulls: NullBufferBuilder,
}

#[derive(Debug)]
struct Hstores {
    entries: FieldRef,
    fields: Fields,
    offsets: Vec<i32>,
    keys: StringBuilder,
    values: StringBuilder,
    nulls: NullBufferBuilder,
}

/// Bytes that a text or binary column of one batch may have; Arrow's offsets end at 2 GiB.
const BYTES_MAX: usize = i32::MAX as usize;

impl ColumnDecoder {
    /// A decoder of the column's values into the field's type.
    pub fn new(column: &Column, field: &Field) -> Result<Self, Unsuited> {
        Self::of(&column.ty, column.typmod, field)
    }

    fn of(ty: &Arc<PgType>, typmod: i32, field: &Field) -> Result<Self, Unsuited> {
        let unsuited = || Unsuited::new(format!("`{}`", ty.declared(typmod)), format!("`{}`", field.data_type()));
        let (ty, typmod) = ty.resolve(typmod);
        let cells = match (field.data_type(), &ty.kind) {
            (DataType::Utf8, _) => text_cells(&ty),
            (data_type, Kind::Scalar(scalar)) => scalar_cells(*scalar, data_type).ok_or_else(unsuited)?,
            (DataType::List(_), Kind::Array(item)) => {
                let mut fields = Vec::new();
                let mut at = field.data_type();
                // A list in the field is a further dimension, unless the elements are arrays themselves.
                let is_array = matches!(item.resolve(-1).0.kind, Kind::Array(_));
                while let DataType::List(inner) = at {
                    fields.push(Arc::clone(inner));
                    at = inner.data_type();
                    let is_vector = item.resolve(-1).0.kind == Kind::Scalar(Scalar::Vector);
                    if is_array || is_vector {
                        break;
                    }
                }
                let inner = fields.last().ok_or_else(unsuited)?;
                let item_cells = Self::of(item, typmod, inner)?;
                Cells::List(Box::new(Lists::new(fields, item.delimiter, item_cells)))
            }
            (DataType::Struct(fields), Kind::Composite(attributes)) if fields.len() == attributes.len() => {
                let parts = attributes.iter().zip(fields);
                let parts = parts.map(|(attribute, field)| Self::of(&attribute.ty, attribute.typmod, field));
                Cells::Row(Box::new(Rows {
                    fields: fields.clone(),
                    oids: attributes.iter().map(|attribute| attribute.ty.oid).collect(),
                    parts: parts.collect::<Result<_, _>>()?,
                    nulls: NullBufferBuilder::new(0),
                }))
            }
            _ => return Err(unsuited()),
        };
        Ok(ColumnDecoder {
            cells,
            len: 0,
            text_bytes: 0,
        })
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// About how much memory the values take: what they had on the wire.
    pub fn size_bytes(&self) -> usize {
        self.text_bytes + self.len * 8
    }

    fn count(&mut self, bytes: usize) -> Result<(), Misfit> {
        self.text_bytes += bytes;
        // A text made from binary is at most a few times longer; nobody lets a batch come near this anyway.
        if self.text_bytes > BYTES_MAX / 4 {
            return Err(Misfit::new("more than 512 MiB", "one column of one batch"));
        }
        self.len += 1;
        Ok(())
    }

    /// Appends a value in binary form.
    pub fn append_binary(&mut self, bytes: &[u8]) -> Result<(), Misfit> {
        self.count(bytes.len())?;
        match &mut self.cells {
            Cells::Boolean(builder) => builder.append_value(fixed::<1>(bytes, "bool")?[0] != 0),
            Cells::Int16(builder) => builder.append_value(i16::from_be_bytes(fixed(bytes, "int2")?)),
            Cells::Int32(builder) => builder.append_value(i32::from_be_bytes(fixed(bytes, "int4")?)),
            Cells::Int64(builder) => builder.append_value(i64::from_be_bytes(fixed(bytes, "int8")?)),
            Cells::UInt32(builder) => builder.append_value(u32::from_be_bytes(fixed(bytes, "oid")?)),
            Cells::UInt64(builder) => builder.append_value(u64::from_be_bytes(fixed(bytes, "xid8")?)),
            Cells::Float32(builder) => {
                let value = f32::from_be_bytes(fixed(bytes, "float4")?);
                builder.append_value(if value.is_nan() { f32::NAN } else { value });
            }
            Cells::Float64(builder) => {
                let value = f64::from_be_bytes(fixed(bytes, "float8")?);
                builder.append_value(if value.is_nan() { f64::NAN } else { value });
            }
            Cells::Money(builder) => builder.append_value(i64::from_be_bytes(fixed(bytes, "money")?).into()),
            Cells::Decimal128(builder, precision, scale) => {
                let value = decimal_from_binary(bytes, *precision, *scale)?;
                builder.append_value(check_128(value, *precision, *scale)?);
            }
            Cells::Decimal256(builder, precision, scale) => {
                let value = decimal_from_binary(bytes, *precision, *scale)?;
                builder.append_value(check_256(value, *precision, *scale)?);
            }
            Cells::PlainText(builder) => builder.append_value(utf8(bytes)?),
            Cells::Text { builder, ty, scratch } => {
                scratch.clear();
                write_text(ty, bytes, scratch)?;
                builder.append_value(scratch);
            }
            Cells::Binary(builder, _) => builder.append_value(bytes),
            Cells::Uuid(builder) => {
                let uuid: [u8; 16] = fixed(bytes, "uuid")?;
                builder.append_value(uuid).map_err(|_| Misfit::malformed("uuid"))?;
            }
            Cells::Date(builder) => {
                let moment = date_from_wire(i32::from_be_bytes(fixed(bytes, "date")?));
                builder.append_value(moment.finite(INFINITE_DATE, DATE32)?);
            }
            Cells::Time(builder) => builder.append_value(i64::from_be_bytes(fixed(bytes, "time")?)),
            Cells::Timestamp(builder, _) => {
                let moment = timestamp_from_wire(i64::from_be_bytes(fixed(bytes, "timestamp")?))?;
                builder.append_value(moment.finite(INFINITE_TIME, MICROS)?);
            }
            Cells::Interval(builder) => append_span(builder, Span::from_binary(bytes)?)?,
            Cells::List(lists) => lists.append_binary(bytes)?,
            Cells::Vector(lists) => {
                let mut form = WireForm::new(bytes, "vector");
                let dimensions = form.u16()?;
                form.u16()?;
                for _ in 0..dimensions {
                    lists.item.append_binary(form.take(4)?)?;
                }
                lists.close_value(&[i32::from(dimensions)])?;
            }
            Cells::Row(rows) => rows.append_binary(bytes)?,
            Cells::Hstore(hstores) => {
                let mut form = WireForm::new(bytes, "hstore");
                for _ in 0..form.count(8)? {
                    let key = form.value()?.ok_or_else(|| form.malformed())?;
                    hstores.keys.append_value(utf8(key)?);
                    hstores.values.append_option(form.value()?.map(utf8).transpose()?);
                }
                form.end()?;
                hstores.close_value(true);
            }
        }
        Ok(())
    }

    /// Appends a value as the server's output function writes it, under the settings that our connections pin.
    pub fn append_text(&mut self, bytes: &[u8]) -> Result<(), Misfit> {
        self.count(bytes.len())?;
        match &mut self.cells {
            Cells::Boolean(builder) => match bytes {
                b"t" => builder.append_value(true),
                b"f" => builder.append_value(false),
                _ => return Err(Misfit::malformed("bool")),
            },
            Cells::Int16(builder) => builder.append_value(integer(bytes, "int2")?),
            Cells::Int32(builder) => builder.append_value(integer(bytes, "int4")?),
            Cells::Int64(builder) => builder.append_value(integer(bytes, "int8")?),
            Cells::UInt32(builder) => builder.append_value(integer(bytes, "oid")?),
            Cells::UInt64(builder) => builder.append_value(integer(bytes, "xid8")?),
            Cells::Float32(builder) => builder.append_value(parsed(bytes, "float4")?),
            Cells::Float64(builder) => builder.append_value(parsed(bytes, "float8")?),
            Cells::Money(builder) => builder.append_value(money_from_text(utf8(bytes)?)?.into()),
            Cells::Decimal128(builder, precision, scale) => {
                let value = decimal_from_text(utf8(bytes)?, *precision, *scale)?;
                builder.append_value(check_128(value, *precision, *scale)?);
            }
            Cells::Decimal256(builder, precision, scale) => {
                let value = decimal_from_text(utf8(bytes)?, *precision, *scale)?;
                builder.append_value(check_256(value, *precision, *scale)?);
            }
            Cells::Text { builder, ty, scratch } if ty.kind == Kind::Scalar(Scalar::Char) => {
                scratch.clear();
                bits::write_char(bytes, scratch)?;
                builder.append_value(scratch);
            }
            Cells::PlainText(builder) | Cells::Text { builder, .. } => builder.append_value(utf8(bytes)?),
            Cells::Binary(builder, scratch) => {
                scratch.clear();
                bits::hex_to_bytes(bytes, scratch)?;
                builder.append_value(scratch);
            }
            Cells::Uuid(builder) => {
                let uuid = uuid::Uuid::try_parse_ascii(bytes).map_err(|_| Misfit::malformed("uuid"))?;
                builder
                    .append_value(uuid.as_bytes())
                    .map_err(|_| Misfit::malformed("uuid"))?;
            }
            Cells::Date(builder) => {
                let moment = date_from_text(utf8(bytes)?)?;
                builder.append_value(moment.finite(INFINITE_DATE, DATE32)?);
            }
            Cells::Time(builder) => builder.append_value(time_from_text(utf8(bytes)?)?),
            Cells::Timestamp(builder, is_zoned) => {
                let moment = timestamp_from_text(utf8(bytes)?, *is_zoned)?;
                builder.append_value(moment.finite(INFINITE_TIME, MICROS)?);
            }
            Cells::Interval(builder) => append_span(builder, Span::from_text(utf8(bytes)?)?)?,
            Cells::List(lists) => lists.append_text(utf8(bytes)?)?,
            Cells::Vector(lists) => {
                let numbers = vector_from_text(utf8(bytes)?)?;
                for number in &numbers {
                    lists.item.append_binary(&number.to_be_bytes())?;
                }
                lists.close_value(&[numbers.len() as i32])?;
            }
            Cells::Row(rows) => rows.append_text(utf8(bytes)?)?,
            Cells::Hstore(hstores) => {
                let Hstores { keys, values, .. } = hstores.as_mut();
                read_hstore(utf8(bytes)?, |key, value| {
                    keys.append_value(key);
                    values.append_option(value);
                    Ok(())
                })?;
                hstores.close_value(true);
            }
        }
        Ok(())
    }

    /// Appends NULL. The caller has checked that the column may be.
    pub fn append_null(&mut self) {
        self.len += 1;
        match &mut self.cells {
            Cells::Boolean(builder) => builder.append_null(),
            Cells::Int16(builder) => builder.append_null(),
            Cells::Int32(builder) => builder.append_null(),
            Cells::Int64(builder) => builder.append_null(),
            Cells::UInt32(builder) => builder.append_null(),
            Cells::UInt64(builder) => builder.append_null(),
            Cells::Float32(builder) => builder.append_null(),
            Cells::Float64(builder) => builder.append_null(),
            Cells::Money(builder) | Cells::Decimal128(builder, ..) => builder.append_null(),
            Cells::Decimal256(builder, ..) => builder.append_null(),
            Cells::PlainText(builder) | Cells::Text { builder, .. } => builder.append_null(),
            Cells::Binary(builder, _) => builder.append_null(),
            Cells::Uuid(builder) => builder.append_null(),
            Cells::Date(builder) => builder.append_null(),
            Cells::Time(builder) => builder.append_null(),
            Cells::Timestamp(builder, _) => builder.append_null(),
            Cells::Interval(builder) => builder.append_null(),
            Cells::List(lists) | Cells::Vector(lists) => lists.close_null(),
            Cells::Row(rows) => {
                rows.parts.iter_mut().for_each(ColumnDecoder::append_null);
                rows.nulls.append_null();
            }
            Cells::Hstore(hstores) => hstores.close_value(false),
        }
    }

    /// Appends a placeholder where the value is unavailable; it is never null, so that a column which may not be null can
    /// have it. Zero, empty text, the first day of 1970.
    pub fn append_default(&mut self) {
        self.len += 1;
        match &mut self.cells {
            Cells::Boolean(builder) => builder.append_value(false),
            Cells::Int16(builder) => builder.append_value(0),
            Cells::Int32(builder) => builder.append_value(0),
            Cells::Int64(builder) => builder.append_value(0),
            Cells::UInt32(builder) => builder.append_value(0),
            Cells::UInt64(builder) => builder.append_value(0),
            Cells::Float32(builder) => builder.append_value(0.0),
            Cells::Float64(builder) => builder.append_value(0.0),
            Cells::Money(builder) | Cells::Decimal128(builder, ..) => builder.append_value(0),
            Cells::Decimal256(builder, ..) => builder.append_value(i256::ZERO),
            Cells::PlainText(builder) | Cells::Text { builder, .. } => builder.append_value(""),
            Cells::Binary(builder, _) => builder.append_value(b""),
            // Sixteen bytes into sixteen.
            Cells::Uuid(builder) => drop(builder.append_value([0_u8; 16])),
            Cells::Date(builder) => builder.append_value(0),
            Cells::Time(builder) => builder.append_value(0),
            Cells::Timestamp(builder, _) => builder.append_value(0),
            Cells::Interval(builder) => builder.append_value(IntervalMonthDayNano::new(0, 0, 0)),
            Cells::List(lists) | Cells::Vector(lists) => lists.close_empty(),
            Cells::Row(rows) => {
                rows.parts.iter_mut().for_each(ColumnDecoder::append_default);
                rows.nulls.append_non_null();
            }
            Cells::Hstore(hstores) => hstores.close_value(true),
        }
    }

    /// The array of what was appended; the decoder starts again from nothing.
    pub fn finish(&mut self) -> ArrayRef {
        self.len = 0;
        self.text_bytes = 0;
        match &mut self.cells {
            Cells::Boolean(builder) => Arc::new(builder.finish()),
            Cells::Int16(builder) => Arc::new(builder.finish()),
            Cells::Int32(builder) => Arc::new(builder.finish()),
            Cells::Int64(builder) => Arc::new(builder.finish()),
            Cells::UInt32(builder) => Arc::new(builder.finish()),
            Cells::UInt64(builder) => Arc::new(builder.finish()),
            Cells::Float32(builder) => Arc::new(builder.finish()),
            Cells::Float64(builder) => Arc::new(builder.finish()),
            Cells::Money(builder) | Cells::Decimal128(builder, ..) => Arc::new(builder.finish()),
            Cells::Decimal256(builder, ..) => Arc::new(builder.finish()),
            Cells::PlainText(builder) | Cells::Text { builder, .. } => Arc::new(builder.finish()),
            Cells::Binary(builder, _) => Arc::new(builder.finish()),
            Cells::Uuid(builder) => Arc::new(builder.finish()),
            Cells::Date(builder) => Arc::new(builder.finish()),
            Cells::Time(builder) => Arc::new(builder.finish()),
            Cells::Timestamp(builder, _) => Arc::new(builder.finish()),
            Cells::Interval(builder) => Arc::new(builder.finish()),
            Cells::List(lists) | Cells::Vector(lists) => lists.finish(),
            Cells::Row(rows) => {
                let parts = rows.parts.iter_mut().map(ColumnDecoder::finish).collect();
                Arc::new(StructArray::new(rows.fields.clone(), parts, rows.nulls.finish()))
            }
            Cells::Hstore(hstores) => hstores.finish(),
        }
    }
}

fn text_cells(ty: &Arc<PgType>) -> Cells {
    let builder = StringBuilder::new();
    let is_plain = match &ty.kind {
        Kind::Scalar(scalar) => scalar.is_plain_text(),
        // Read as text: that arrives as the text itself.
        _ => matches!(ty.kind, Kind::Enum(_)) || !ty.decodes_binary(),
    };
    if is_plain {
        return Cells::PlainText(builder);
    }
    Cells::Text {
        builder,
        ty: Arc::clone(ty),
        scratch: String::new(),
    }
}

fn scalar_cells(scalar: Scalar, data_type: &DataType) -> Option<Cells> {
    Some(match (scalar, data_type) {
        (Scalar::Bool, DataType::Boolean) => Cells::Boolean(BooleanBuilder::new()),
        (Scalar::Int2, DataType::Int16) => Cells::Int16(typed(data_type)),
        (Scalar::Int4, DataType::Int32) => Cells::Int32(typed(data_type)),
        (Scalar::Int8, DataType::Int64) => Cells::Int64(typed(data_type)),
        (Scalar::Oid | Scalar::Xid | Scalar::Cid, DataType::UInt32) => Cells::UInt32(typed(data_type)),
        (Scalar::Xid8, DataType::UInt64) => Cells::UInt64(typed(data_type)),
        (Scalar::Float4, DataType::Float32) => Cells::Float32(typed(data_type)),
        (Scalar::Float8, DataType::Float64) => Cells::Float64(typed(data_type)),
        (Scalar::Money, DataType::Decimal128(_, 2)) => Cells::Money(typed(data_type)),
        (Scalar::Numeric, DataType::Decimal128(precision, scale)) => {
            Cells::Decimal128(typed(data_type), *precision, *scale)
        }
        (Scalar::Numeric, DataType::Decimal256(precision, scale)) => {
            Cells::Decimal256(typed(data_type), *precision, *scale)
        }
        (Scalar::Bytea, DataType::Binary) => Cells::Binary(BinaryBuilder::new(), Vec::new()),
        (Scalar::Uuid, DataType::FixedSizeBinary(16)) => Cells::Uuid(FixedSizeBinaryBuilder::new(16)),
        (Scalar::Date, DataType::Date32) => Cells::Date(typed(data_type)),
        (Scalar::Time, DataType::Time64(_)) => Cells::Time(typed(data_type)),
        (Scalar::Timestamp, DataType::Timestamp(_, None)) => Cells::Timestamp(typed(data_type), false),
        (Scalar::Timestamptz, DataType::Timestamp(_, Some(_))) => Cells::Timestamp(typed(data_type), true),
        (Scalar::Interval, DataType::Interval(IntervalUnit::MonthDayNano)) => Cells::Interval(typed(data_type)),
        (Scalar::Vector, DataType::List(field)) => {
            let item = ColumnDecoder {
                cells: Cells::Float32(typed(&DataType::Float32)),
                len: 0,
                text_bytes: 0,
            };
            Cells::Vector(Box::new(Lists::new(vec![Arc::clone(field)], b',', item)))
        }
        (Scalar::Hstore, DataType::Map(entries, _)) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return None;
            };
            Cells::Hstore(Box::new(Hstores {
                entries: Arc::clone(entries),
                fields: fields.clone(),
                offsets: vec![0],
                keys: StringBuilder::new(),
                values: StringBuilder::new(),
                nulls: NullBufferBuilder::new(0),
            }))
        }
        _ => return None,
    })
}

/// A builder of exactly this type, with its zone or its precision.
fn typed<T: ArrowPrimitiveType>(data_type: &DataType) -> PrimitiveBuilder<T> {
    PrimitiveBuilder::new().with_data_type(data_type.clone())
}

fn fixed<const N: usize>(bytes: &[u8], type_name: &str) -> Result<[u8; N], Misfit> {
    bytes.try_into().map_err(|_| Misfit::malformed(type_name))
}

fn utf8(bytes: &[u8]) -> Result<&str, Misfit> {
    std::str::from_utf8(bytes).map_err(|_| Misfit::new("text that is not UTF-8", "text"))
}

fn parsed<T: std::str::FromStr>(bytes: &[u8], type_name: &str) -> Result<T, Misfit> {
    utf8(bytes)?.parse().map_err(|_| Misfit::malformed(type_name))
}

/// Decimal digits, as integers are written.
fn integer<T: std::str::FromStr>(bytes: &[u8], type_name: &str) -> Result<T, Misfit> {
    parsed(bytes, type_name)
}

fn check_128(value: i128, precision: u8, scale: i8) -> Result<i128, Misfit> {
    let fits = Decimal128Type::is_valid_decimal_precision(value, precision);
    if fits {
        Ok(value)
    } else {
        Err(too_large(precision, scale))
    }
}

fn check_256(value: i256, precision: u8, scale: i8) -> Result<i256, Misfit> {
    let fits = Decimal256Type::is_valid_decimal_precision(value, precision);
    if fits {
        Ok(value)
    } else {
        Err(too_large(precision, scale))
    }
}

fn too_large(precision: u8, scale: i8) -> Misfit {
    Misfit::new(
        "a larger number",
        format!("a decimal of {precision} digits, {scale} of them after the point"),
    )
}

fn append_span(builder: &mut PrimitiveBuilder<IntervalMonthDayNanoType>, span: Span) -> Result<(), Misfit> {
    builder.append_value(IntervalMonthDayNano::new(span.months, span.days, span.nanos()?));
    Ok(())
}

impl Lists {
    fn new(fields: Vec<FieldRef>, delimiter: u8, item: ColumnDecoder) -> Self {
        Lists {
            offsets: vec![vec![0]; fields.len()],
            nulls: NullBufferBuilder::new(0),
            fields,
            delimiter,
            item,
        }
    }

    fn append_binary(&mut self, bytes: &[u8]) -> Result<(), Misfit> {
        let mut form = WireForm::new(bytes, "array");
        let header = ArrayHeader::read(&mut form)?;
        self.check_shape(&header.lens, &header.lower_bounds)?;
        for _ in 0..header.total() {
            match form.value()? {
                Some(value) => self.item.append_binary(value)?,
                None => self.item.append_null(),
            }
        }
        form.end()?;
        self.close_value(&header.lens)
    }

    fn append_text(&mut self, text: &str) -> Result<(), Misfit> {
        let item = &mut self.item;
        let shape = read_array(text, self.delimiter, |element| match element {
            Some(element) => item.append_text(element.as_bytes()),
            None => {
                item.append_null();
                Ok(())
            }
        })?;
        self.check_shape(&shape.lens, &shape.lower_bounds)?;
        self.close_value(&shape.lens)
    }

    fn check_shape(&self, lens: &[i32], lower_bounds: &[i32]) -> Result<(), Misfit> {
        let dimensions = self.fields.len();
        if !lens.is_empty() && lens.len() != dimensions {
            let wanted = format!("lists of {dimensions} (see `array(n)` in `overrides`)");
            return Err(Misfit::new(format!("an array of {} dimensions", lens.len()), wanted));
        }
        if lower_bounds.iter().any(|bound| *bound != 1) {
            return Err(Misfit::new("an array that does not begin at 1", "a list"));
        }
        Ok(())
    }

    /// Ends a value whose elements are appended. `lens` is empty for an empty array.
    fn close_value(&mut self, lens: &[i32]) -> Result<(), Misfit> {
        let mut lists = 1;
        for (level, offsets) in self.offsets.iter_mut().enumerate() {
            let len = lens.get(level).copied().unwrap_or(0);
            let mut end = offsets.last().copied().unwrap_or(0);
            for _ in 0..lists {
                end = end
                    .checked_add(len)
                    .ok_or_else(|| Misfit::new("more than 2,147,483,647 elements", "one column of one batch"))?;
                offsets.push(end);
            }
            lists *= len;
        }
        self.nulls.append_non_null();
        Ok(())
    }

    fn close_empty(&mut self) {
        let end = self.offsets[0].last().copied().unwrap_or(0);
        self.offsets[0].push(end);
        self.nulls.append_non_null();
    }

    fn close_null(&mut self) {
        let end = self.offsets[0].last().copied().unwrap_or(0);
        self.offsets[0].push(end);
        self.nulls.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        let mut array = self.item.finish();
        let mut nulls = self.nulls.finish();
        for (level, field) in self.fields.iter().enumerate().rev() {
            let offsets = std::mem::replace(&mut self.offsets[level], vec![0]);
            let offsets = OffsetBuffer::new(offsets.into());
            let nulls = if level == 0 { nulls.take() } else { None };
            array = Arc::new(ListArray::new(Arc::clone(field), offsets, array, nulls));
        }
        array
    }
}

impl Rows {
    fn append_binary(&mut self, bytes: &[u8]) -> Result<(), Misfit> {
        let mut form = WireForm::new(bytes, "record");
        if form.count(8)? != self.parts.len() {
            return Err(altered());
        }
        for (part, oid) in self.parts.iter_mut().zip(&self.oids) {
            if form.u32()? != *oid {
                return Err(altered());
            }
            match form.value()? {
                Some(value) => part.append_binary(value)?,
                None => part.append_null(),
            }
        }
        form.end()?;
        self.nulls.append_non_null();
        Ok(())
    }

    fn append_text(&mut self, text: &str) -> Result<(), Misfit> {
        let parts = &mut self.parts;
        let count = read_row(text, |i, value| {
            let part = parts.get_mut(i).ok_or_else(altered)?;
            match value {
                Some(value) => part.append_text(value.as_bytes()),
                None => {
                    part.append_null();
                    Ok(())
                }
            }
        })?;
        if count != parts.len() {
            return Err(altered());
        }
        self.nulls.append_non_null();
        Ok(())
    }
}

impl Hstores {
    fn close_value(&mut self, is_value: bool) {
        self.offsets.push(self.keys.offsets_slice().len() as i32 - 1);
        self.nulls.append(is_value);
    }

    fn finish(&mut self) -> ArrayRef {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let columns: Vec<ArrayRef> = vec![Arc::new(self.keys.finish()), Arc::new(self.values.finish())];
        let entries = StructArray::new(self.fields.clone(), columns, None);
        let offsets = OffsetBuffer::new(offsets.into());
        let array = MapArray::new(Arc::clone(&self.entries), offsets, entries, self.nulls.finish(), false);
        Arc::new(array)
    }
}

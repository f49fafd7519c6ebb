//! Arrow arrays into the binary form of PostgreSQL values, for COPY and for parameters.

use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BooleanArray, GenericListArray, MapArray, OffsetSizeTrait, PrimitiveArray, StructArray,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Field, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit,
    IntervalYearMonthType, Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use bytes::{BufMut, BytesMut};
use postgres_protocol::IsNull;

use super::date_time::{DAY_MICROS, date_to_wire, timestamp_to_wire};
use super::interval::Span;
use super::json::json_text;
use super::numeric;
use super::pg_type::numeric_typmod;
use super::text_form::{
    check_span, check_text, check_tick, put_array_header, put_span, put_value, set_len, write_binary, write_text,
};
use super::{Kind, Misfit, PgType, Scalar, Unsuited};

/// Writes one value that is not null, without its length.
type Write<'a> = Box<dyn Fn(usize, &mut BytesMut) -> Result<(), Misfit> + Send + Sync + 'a>;

/// Writes the values of one array as a column of one type wants them.
///
/// A value that the column would round, cut or refuse is a [`Misfit`], before the server sees it.
pub struct ColumnEncoder<'a> {
    array: &'a dyn Array,
    write: Write<'a>,
}

impl<'a> ColumnEncoder<'a> {
    /// An encoder of `array` for a column of `target` with this type modifier (-1 for none).
    pub fn new(array: &'a dyn Array, field: &Field, target: &Arc<PgType>, typmod: i32) -> Result<Self, Unsuited> {
        let write = writer(array, field, target, typmod).ok_or_else(|| {
            Unsuited::new(
                format!("`{}`", field.data_type()),
                format!("`{}`", target.declared(typmod)),
            )
        })?;
        Ok(ColumnEncoder { array, write })
    }

    /// Appends the binary form of a value, without its length; nothing for NULL.
    pub fn encode(&self, row: usize, out: &mut BytesMut) -> Result<IsNull, Misfit> {
        if self.is_null(row) {
            return Ok(IsNull::Yes);
        }
        (self.write)(row, out)?;
        Ok(IsNull::No)
    }

    /// Appends the length and the binary form of a value, as COPY has it; the length of NULL is -1.
    pub fn encode_with_len(&self, row: usize, out: &mut BytesMut) -> Result<(), Misfit> {
        if self.is_null(row) {
            out.put_i32(-1);
            return Ok(());
        }
        let start = out.len();
        out.put_i32(0);
        (self.write)(row, out)?;
        set_len(out, start);
        Ok(())
    }

    fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row) || self.array.data_type() == &DataType::Null
    }
}

impl std::fmt::Debug for ColumnEncoder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ColumnEncoder({} x {})", self.array.data_type(), self.array.len())
    }
}

/// The scalar that holds every value of an Arrow type, with its own text.
pub(crate) fn natural(data_type: &DataType) -> Option<Scalar> {
    Some(match data_type {
        DataType::Boolean => Scalar::Bool,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Scalar::Int2,
        DataType::Int32 | DataType::UInt16 => Scalar::Int4,
        DataType::Int64 | DataType::UInt32 => Scalar::Int8,
        DataType::UInt64 | DataType::Decimal128(..) | DataType::Decimal256(..) => Scalar::Numeric,
        DataType::Float32 => Scalar::Float4,
        DataType::Float64 => Scalar::Float8,
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => Scalar::Bytea,
        DataType::Date32 => Scalar::Date,
        DataType::Time64(_) => Scalar::Time,
        DataType::Timestamp(_, None) => Scalar::Timestamp,
        DataType::Timestamp(_, Some(_)) => Scalar::Timestamptz,
        DataType::Duration(_) | DataType::Interval(_) => Scalar::Interval,
        _ => return None,
    })
}

pub(crate) fn is_nested(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) | DataType::Map(..)
    )
}

/// Whether any text is a value of it.
pub(crate) fn takes_any_text(scalar: Scalar) -> bool {
    matches!(scalar, Scalar::Text | Scalar::Varchar | Scalar::Bpchar | Scalar::Citext)
}

fn writer<'a>(array: &'a dyn Array, field: &Field, target: &Arc<PgType>, typmod: i32) -> Option<Write<'a>> {
    let (target, typmod) = target.resolve(typmod);
    match array.data_type() {
        DataType::Null => return Some(Box::new(|_, _| Ok(()))),
        DataType::Utf8 => return text_writer(TextCells::Small(array.as_string()), &target, typmod),
        DataType::LargeUtf8 => return text_writer(TextCells::Large(array.as_string()), &target, typmod),
        _ => {}
    }
    match &target.kind {
        Kind::Array(item) => match array.data_type() {
            DataType::List(_) => list_writer::<i32>(array.as_list(), item, typmod),
            DataType::LargeList(_) => list_writer::<i64>(array.as_list(), item, typmod),
            _ => None,
        },
        Kind::Composite(_) => row_writer(array.as_struct_opt()?, &target),
        Kind::Scalar(scalar) => match scalar {
            Scalar::Json | Scalar::Jsonb if is_nested(array.data_type()) => json_writer(array, field, *scalar, typmod),
            Scalar::Hstore => hstore_writer(array.as_map_opt()?),
            Scalar::Vector => vector_writer(array.as_list_opt::<i32>()?),
            scalar => scalar_writer(array, *scalar, typmod).or_else(|| {
                if !takes_any_text(*scalar) {
                    None
                } else if is_nested(array.data_type()) {
                    json_writer(array, field, *scalar, typmod)
                } else {
                    as_text_writer(array, field, *scalar, typmod)
                }
            }),
        },
        _ => None,
    }
}

enum TextCells<'a> {
    Small(&'a arrow::array::StringArray),
    Large(&'a arrow::array::LargeStringArray),
}

impl<'a> TextCells<'a> {
    fn value(&self, row: usize) -> &'a str {
        match self {
            TextCells::Small(array) => array.value(row),
            TextCells::Large(array) => array.value(row),
        }
    }
}

fn text_writer<'a>(cells: TextCells<'a>, target: &Arc<PgType>, typmod: i32) -> Option<Write<'a>> {
    if let Kind::Scalar(scalar) = target.kind
        && scalar.is_plain_text()
    {
        return Some(Box::new(move |row, out| {
            let text = cells.value(row);
            check_text(text, scalar, typmod)?;
            out.put_slice(text.as_bytes());
            Ok(())
        }));
    }
    if !target.decodes_binary() {
        return None;
    }
    let target = Arc::clone(target);
    Some(Box::new(move |row, out| {
        write_binary(&target, typmod, cells.value(row), out)
    }))
}

/// Any scalar as its natural text.
fn as_text_writer<'a>(array: &'a dyn Array, field: &Field, target: Scalar, typmod: i32) -> Option<Write<'a>> {
    let text = scalar_text(array, field)?;
    Some(Box::new(move |row, out| {
        let mut written = String::new();
        text(row, &mut written)?;
        check_text(&written, target, typmod)?;
        out.put_slice(written.as_bytes());
        Ok(())
    }))
}

/// Writes the text of one value.
pub(crate) type WriteText<'a> = Box<dyn Fn(usize, &mut String) -> Result<(), Misfit> + Send + Sync + 'a>;

/// The text of a scalar, as the type that it naturally becomes writes it.
pub(crate) fn scalar_text<'a>(array: &'a dyn Array, field: &Field) -> Option<WriteText<'a>> {
    let is_uuid = model::LogicalType::of(field) == Some(model::LogicalType::Uuid);
    let scalar = match array.data_type() {
        DataType::FixedSizeBinary(16) if is_uuid => Scalar::Uuid,
        data_type => natural(data_type)?,
    };
    let write = scalar_writer(array, scalar, -1)?;
    let ty = PgType::scalar(scalar);
    Some(Box::new(move |row, out| {
        let mut binary = BytesMut::new();
        write(row, &mut binary)?;
        write_text(&ty, &binary, out)
    }))
}

fn json_writer<'a>(array: &'a dyn Array, field: &Field, target: Scalar, typmod: i32) -> Option<Write<'a>> {
    let json = json_text(array, field)?;
    Some(Box::new(move |row, out| {
        let mut text = String::new();
        json(row, &mut text)?;
        check_text(&text, target, typmod)?;
        if target == Scalar::Jsonb {
            if text.contains("\\u0000") {
                return Err(Misfit::new("JSON with an escaped zero character", "`jsonb`"));
            }
            out.put_u8(1);
        }
        out.put_slice(text.as_bytes());
        Ok(())
    }))
}

fn scalar_writer<'a>(array: &'a dyn Array, target: Scalar, typmod: i32) -> Option<Write<'a>> {
    match array.data_type() {
        DataType::Boolean => bool_writer(array.as_boolean(), target),
        DataType::Int8 => integers::<Int8Type>(array, target, typmod),
        DataType::Int16 => integers::<Int16Type>(array, target, typmod),
        DataType::Int32 => integers::<Int32Type>(array, target, typmod),
        DataType::Int64 => integers::<Int64Type>(array, target, typmod),
        DataType::UInt8 => integers::<UInt8Type>(array, target, typmod),
        DataType::UInt16 => integers::<UInt16Type>(array, target, typmod),
        DataType::UInt32 => integers::<UInt32Type>(array, target, typmod),
        DataType::UInt64 => integers::<UInt64Type>(array, target, typmod),
        DataType::Float32 => floats(array.as_primitive::<Float32Type>(), target),
        DataType::Float64 => doubles(array.as_primitive::<Float64Type>(), target),
        DataType::Decimal128(_, scale) => {
            let array = array.as_primitive::<Decimal128Type>();
            decimals(move |row| array.value(row).to_string(), *scale, target, typmod)
        }
        DataType::Decimal256(_, scale) => {
            let array = array.as_primitive::<Decimal256Type>();
            decimals(move |row| array.value(row).to_string(), *scale, target, typmod)
        }
        DataType::Binary => bytes_writer(array.as_binary::<i32>(), target),
        DataType::LargeBinary => bytes_writer(array.as_binary::<i64>(), target),
        DataType::FixedSizeBinary(len) => {
            let array = array.as_fixed_size_binary();
            let suits = target == Scalar::Bytea || (target == Scalar::Uuid && *len == 16);
            suits.then(|| -> Write<'a> {
                Box::new(move |row, out| {
                    out.put_slice(array.value(row));
                    Ok(())
                })
            })
        }
        DataType::Date32 => {
            let array = array.as_primitive::<Date32Type>();
            (target == Scalar::Date).then(|| -> Write<'a> {
                Box::new(move |row, out| {
                    out.put_i32(date_to_wire(array.value(row))?);
                    Ok(())
                })
            })
        }
        DataType::Time64(TimeUnit::Microsecond) => times::<Time64MicrosecondType>(array, 1, target, typmod),
        DataType::Time64(TimeUnit::Nanosecond) => times::<Time64NanosecondType>(array, 1000, target, typmod),
        DataType::Timestamp(unit, zone) => {
            // Without a zone in the column it is the time in UTC; without one in the value there is no such reading.
            let suits = target == Scalar::Timestamp || (target == Scalar::Timestamptz && zone.is_some());
            suits.then_some(())?;
            Some(match unit {
                TimeUnit::Second => timestamps::<TimestampSecondType>(array, *unit, typmod),
                TimeUnit::Millisecond => timestamps::<TimestampMillisecondType>(array, *unit, typmod),
                TimeUnit::Microsecond => timestamps::<TimestampMicrosecondType>(array, *unit, typmod),
                TimeUnit::Nanosecond => timestamps::<TimestampNanosecondType>(array, *unit, typmod),
            })
        }
        DataType::Duration(unit) => {
            (target == Scalar::Interval).then_some(())?;
            Some(match unit {
                TimeUnit::Second => durations::<DurationSecondType>(array, *unit, typmod),
                TimeUnit::Millisecond => durations::<DurationMillisecondType>(array, *unit, typmod),
                TimeUnit::Microsecond => durations::<DurationMicrosecondType>(array, *unit, typmod),
                TimeUnit::Nanosecond => durations::<DurationNanosecondType>(array, *unit, typmod),
            })
        }
        DataType::Interval(unit) => {
            (target == Scalar::Interval).then_some(())?;
            Some(intervals(array, *unit, typmod))
        }
        _ => None,
    }
}

fn bool_writer(array: &BooleanArray, target: Scalar) -> Option<Write<'_>> {
    (target == Scalar::Bool).then(|| -> Write<'_> {
        Box::new(move |row, out| {
            out.put_u8(u8::from(array.value(row)));
            Ok(())
        })
    })
}

fn integers<'a, T: ArrowPrimitiveType>(array: &'a dyn Array, target: Scalar, typmod: i32) -> Option<Write<'a>>
where
    T::Native: Into<i128>,
{
    let array: &PrimitiveArray<T> = array.as_primitive();
    let value = move |row: usize| -> i128 { array.value(row).into() };
    let too_large = move || Misfit::new("a number out of range", format!("`{}`", target.declared()));
    Some(match target {
        Scalar::Int2 => Box::new(move |row, out| {
            out.put_i16(value(row).try_into().map_err(|_| too_large())?);
            Ok(())
        }),
        Scalar::Int4 => Box::new(move |row, out| {
            out.put_i32(value(row).try_into().map_err(|_| too_large())?);
            Ok(())
        }),
        Scalar::Int8 => Box::new(move |row, out| {
            out.put_i64(value(row).try_into().map_err(|_| too_large())?);
            Ok(())
        }),
        Scalar::Oid | Scalar::Xid | Scalar::Cid => Box::new(move |row, out| {
            out.put_u32(value(row).try_into().map_err(|_| too_large())?);
            Ok(())
        }),
        Scalar::Xid8 => Box::new(move |row, out| {
            out.put_u64(value(row).try_into().map_err(|_| too_large())?);
            Ok(())
        }),
        Scalar::Numeric => {
            Box::new(move |row, out| numeric::text_to_binary(&value(row).to_string(), numeric_typmod(typmod), out))
        }
        Scalar::Float8 => Box::new(move |row, out| {
            let value = value(row);
            let float = value as f64;
            if float as i128 != value {
                return Err(too_large());
            }
            out.put_f64(float);
            Ok(())
        }),
        Scalar::Float4 => Box::new(move |row, out| {
            let value = value(row);
            let float = value as f32;
            if float as i128 != value {
                return Err(too_large());
            }
            out.put_f32(float);
            Ok(())
        }),
        _ => return None,
    })
}

fn floats(array: &PrimitiveArray<Float32Type>, target: Scalar) -> Option<Write<'_>> {
    Some(match target {
        Scalar::Float4 => Box::new(move |row, out| {
            out.put_f32(array.value(row));
            Ok(())
        }),
        Scalar::Float8 => Box::new(move |row, out| {
            out.put_f64(f64::from(array.value(row)));
            Ok(())
        }),
        _ => return None,
    })
}

fn doubles(array: &PrimitiveArray<Float64Type>, target: Scalar) -> Option<Write<'_>> {
    Some(match target {
        Scalar::Float8 => Box::new(move |row, out| {
            out.put_f64(array.value(row));
            Ok(())
        }),
        Scalar::Float4 => Box::new(move |row, out| {
            let value = array.value(row);
            let float = value as f32;
            if f64::from(float) != value && !value.is_nan() {
                return Err(Misfit::new("a number of double precision", "`real`"));
            }
            out.put_f32(float);
            Ok(())
        }),
        _ => return None,
    })
}

fn decimals<'a>(
    unscaled: impl Fn(usize) -> String + Send + Sync + 'a,
    scale: i8,
    target: Scalar,
    typmod: i32,
) -> Option<Write<'a>> {
    Some(match target {
        Scalar::Numeric => Box::new(move |row, out| {
            let mut text = String::new();
            numeric::write_scaled(&unscaled(row), scale, &mut text);
            numeric::text_to_binary(&text, numeric_typmod(typmod), out)
        }),
        Scalar::Money if scale == 2 => Box::new(move |row, out| {
            let cents = unscaled(row)
                .parse()
                .map_err(|_| Misfit::new("a larger number", "`money`"))?;
            out.put_i64(cents);
            Ok(())
        }),
        _ => return None,
    })
}

fn bytes_writer<T: OffsetSizeTrait>(array: &arrow::array::GenericBinaryArray<T>, target: Scalar) -> Option<Write<'_>> {
    (target == Scalar::Bytea).then(|| -> Write<'_> {
        Box::new(move |row, out| {
            out.put_slice(array.value(row));
            Ok(())
        })
    })
}

/// What a column of microseconds cannot hold.
fn sub_micro() -> Misfit {
    Misfit::new("a time with nanoseconds", "a column of microseconds")
}

fn to_micros(value: i64, unit: TimeUnit) -> Result<i64, Misfit> {
    let too_large = || Misfit::new("a time out of range", "a column of microseconds");
    match unit {
        TimeUnit::Second => value.checked_mul(1_000_000).ok_or_else(too_large),
        TimeUnit::Millisecond => value.checked_mul(1_000).ok_or_else(too_large),
        TimeUnit::Microsecond => Ok(value),
        TimeUnit::Nanosecond if value % 1000 != 0 => Err(sub_micro()),
        TimeUnit::Nanosecond => Ok(value / 1000),
    }
}

fn times<'a, T: ArrowPrimitiveType<Native = i64>>(
    array: &'a dyn Array,
    ticks_per_micro: i64,
    target: Scalar,
    typmod: i32,
) -> Option<Write<'a>> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    (target == Scalar::Time).then(|| -> Write<'a> {
        Box::new(move |row, out| {
            let value = array.value(row);
            if value % ticks_per_micro != 0 {
                return Err(sub_micro());
            }
            let micros = value / ticks_per_micro;
            if !(0..=DAY_MICROS).contains(&micros) {
                return Err(Misfit::new("a time outside of a day", "`time`"));
            }
            out.put_i64(check_tick(micros, typmod)?);
            Ok(())
        })
    })
}

fn timestamps<T: ArrowPrimitiveType<Native = i64>>(array: &dyn Array, unit: TimeUnit, typmod: i32) -> Write<'_> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    Box::new(move |row, out| {
        let micros = check_tick(to_micros(array.value(row), unit)?, typmod)?;
        out.put_i64(timestamp_to_wire(micros)?);
        Ok(())
    })
}

fn durations<T: ArrowPrimitiveType<Native = i64>>(array: &dyn Array, unit: TimeUnit, typmod: i32) -> Write<'_> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    Box::new(move |row, out| {
        let micros = to_micros(array.value(row), unit)?;
        let span = Span {
            months: 0,
            days: 0,
            micros,
        };
        put_span(check_span(span, typmod)?, out);
        Ok(())
    })
}

fn intervals(array: &dyn Array, unit: IntervalUnit, typmod: i32) -> Write<'_> {
    let span: Box<dyn Fn(usize) -> Result<Span, Misfit> + Send + Sync + '_> = match unit {
        IntervalUnit::YearMonth => {
            let array = array.as_primitive::<IntervalYearMonthType>();
            Box::new(move |row| {
                Ok(Span {
                    months: array.value(row),
                    days: 0,
                    micros: 0,
                })
            })
        }
        IntervalUnit::DayTime => {
            let array = array.as_primitive::<IntervalDayTimeType>();
            Box::new(move |row| {
                let value = array.value(row);
                Ok(Span {
                    months: 0,
                    days: value.days,
                    micros: i64::from(value.milliseconds) * 1000,
                })
            })
        }
        IntervalUnit::MonthDayNano => {
            let array = array.as_primitive::<IntervalMonthDayNanoType>();
            Box::new(move |row| {
                let value = array.value(row);
                Ok(Span {
                    months: value.months,
                    days: value.days,
                    micros: to_micros(value.nanoseconds, TimeUnit::Nanosecond)?,
                })
            })
        }
    };
    Box::new(move |row, out| {
        put_span(check_span(span(row)?, typmod)?, out);
        Ok(())
    })
}

/// Lists in lists become the dimensions of one array.
fn list_writer<'a, O: OffsetSizeTrait>(
    array: &'a GenericListArray<O>,
    item: &Arc<PgType>,
    typmod: i32,
) -> Option<Write<'a>> {
    let (DataType::List(field) | DataType::LargeList(field)) = array.data_type() else {
        return None;
    };
    let mut inner: Vec<&'a arrow::array::ListArray> = Vec::new();
    let mut values: &'a dyn Array = array.values().as_ref();
    let mut field = Arc::clone(field);
    // Elements that are lists themselves, not dimensions.
    let has_list_items = matches!(item.resolve(-1).0.kind, Kind::Array(_) | Kind::Scalar(Scalar::Vector));
    while let Some(list) = values.as_list_opt::<i32>()
        && !has_list_items
    {
        inner.push(list);
        if let DataType::List(item) = list.data_type() {
            field = Arc::clone(item);
        }
        values = list.values().as_ref();
    }
    let element = ColumnEncoder::new(values, &field, item, typmod).ok()?;
    let item_oid = item.oid;
    Some(Box::new(move |row, out| {
        let (mut start, mut end) = (
            array.value_offsets()[row].as_usize(),
            array.value_offsets()[row + 1].as_usize(),
        );
        let mut lens = vec![end - start];
        for list in &inner {
            if start == end {
                break;
            }
            let offsets = list.value_offsets();
            let len = offsets[start + 1] - offsets[start];
            let is_even = (start..end).all(|i| offsets[i + 1] - offsets[i] == len && list.is_valid(i));
            if !is_even {
                return Err(Misfit::new("a list of lists of different lengths", "an array"));
            }
            (start, end) = (offsets[start] as usize, offsets[end] as usize);
            lens.push(len as usize);
        }
        if start == end {
            lens.clear();
        }
        let has_null = (start..end).any(|i| element.is_null(i));
        let too_long = |_| Misfit::new("a list of more than 2,147,483,647 elements", "an array");
        let lens = lens
            .into_iter()
            .map(|len| i32::try_from(len).map_err(too_long))
            .collect::<Result<Vec<_>, _>>()?;
        put_array_header(item_oid, has_null, &lens, &vec![1; lens.len()], out);
        for i in start..end {
            element.encode_with_len(i, out)?;
        }
        Ok(())
    }))
}

fn row_writer<'a>(array: &'a StructArray, target: &PgType) -> Option<Write<'a>> {
    let Kind::Composite(attributes) = &target.kind else {
        return None;
    };
    if attributes.len() != array.num_columns() {
        return None;
    }
    let mut parts = Vec::new();
    for ((attribute, column), field) in attributes.iter().zip(array.columns()).zip(array.fields()) {
        if attribute.name != *field.name() {
            return None;
        }
        let encoder = ColumnEncoder::new(column.as_ref(), field, &attribute.ty, attribute.typmod).ok()?;
        parts.push((attribute.ty.oid, encoder));
    }
    Some(Box::new(move |row, out| {
        out.put_i32(parts.len() as i32);
        for (oid, encoder) in &parts {
            out.put_u32(*oid);
            encoder.encode_with_len(row, out)?;
        }
        Ok(())
    }))
}

fn hstore_writer(array: &MapArray) -> Option<Write<'_>> {
    let keys = array.keys().as_string_opt::<i32>()?;
    let values = array.values().as_string_opt::<i32>()?;
    let plain = |text: &str, out: &mut BytesMut| {
        check_text(text, Scalar::Text, -1)?;
        out.put_slice(text.as_bytes());
        Ok(())
    };
    Some(Box::new(move |row, out| {
        let offsets = array.value_offsets();
        let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        out.put_i32((end - start) as i32);
        for i in start..end {
            put_value(out, Some(keys.value(i)), plain)?;
            put_value(out, values.is_valid(i).then(|| values.value(i)), plain)?;
        }
        Ok(())
    }))
}

fn vector_writer(array: &arrow::array::ListArray) -> Option<Write<'_>> {
    let values = array.values().as_primitive_opt::<Float32Type>()?;
    Some(Box::new(move |row, out| {
        let offsets = array.value_offsets();
        let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        let dimensions = u16::try_from(end - start);
        out.put_u16(dimensions.map_err(|_| Misfit::new("more than 65,535 numbers", "`vector`"))?);
        out.put_u16(0);
        for i in start..end {
            if values.is_null(i) {
                return Err(Misfit::new("NULL among the numbers", "`vector`"));
            }
            out.put_f32(values.value(i));
        }
        Ok(())
    }))
}

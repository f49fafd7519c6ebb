//! Looks at a payload before Arrow's reader does.
//!
//! Arrow's reader trusts the framing: it panics on a type that it does not know, on a buffer that lies outside the body and
//! on a validity bitmap that is too short, and a declared length can make it allocate without bound. What it checks itself,
//! and reports as an error, is left to it: offsets inside an array, UTF-8, the number of nulls.
//!
//! | checked here | because otherwise |
//! |---|---|
//! | the flatbuffer, with bounds on depth and tables | reading outside of it; a payload that takes minutes |
//! | each type of the schema, and the number of its children | a panic while the schema is converted |
//! | depth and number of columns | recursion without end |
//! | nodes and buffers are as many as the schema asks for | a panic |
//! | each buffer lies in the body, behind the one before | a panic; one buffer shared by thousands of columns, copied for each |
//! | each array's length fits its buffers, and its rows | a panic; an allocation of the declared size |
//! | buffers of numbers hold whole numbers | a panic, later, in Arrow's writer |
//! | no compression, no dictionaries | a declared uncompressed size aborts the process; the protocol sends neither |

use arrow::datatypes::{DataType, Field, Schema};
use arrow_ipc as fb;

use crate::decode::{Limits, PayloadError};

type Result<T> = std::result::Result<T, PayloadError>;

/// Reads a message's metadata as a flatbuffer.
pub(crate) fn message<'a>(metadata: &'a [u8], limits: &Limits) -> Result<fb::Message<'a>> {
    let options = flatbuffers::VerifierOptions {
        // A field is a table that holds tables; each level of nesting takes two.
        max_depth: 4 + 2 * limits.depth_max,
        max_tables: 64 + 16 * limits.columns_max,
        max_apparent_size: metadata.len().saturating_mul(2).max(1 << 16),
        ignore_missing_null_terminator: false,
    };
    fb::root_as_message_with_opts(&options, metadata)
        // The lines after the first one are the path to the place.
        .map_err(|error| PayloadError::Flatbuffer {
            what: shortened(error.to_string().lines().next().unwrap_or_default()),
        })
}

/// Refuses a schema that Arrow's conversion would panic on, or that is outside the limits.
pub(crate) fn schema(schema: fb::Schema<'_>, limits: &Limits) -> Result<()> {
    if schema.endianness() != fb::Endianness::Little {
        return Err(PayloadError::refused("the schema", "it is not little-endian"));
    }
    let fields = schema
        .fields()
        .ok_or_else(|| PayloadError::refused("the schema", "it has no list of columns"))?;
    let mut left = limits.columns_max;
    for column in fields {
        field(column, limits.depth_max, &mut left)?;
    }
    Ok(())
}

fn field(field: fb::Field<'_>, depth_left: usize, columns_left: &mut usize) -> Result<()> {
    let name = field.name().unwrap_or_default();
    let refuse = |what: &str| Err(PayloadError::refused(format!("column `{}`", shortened(name)), what));
    if depth_left == 0 {
        return refuse("it is nested too deeply");
    }
    if *columns_left == 0 {
        return refuse("there are too many columns");
    }
    *columns_left -= 1;
    if field.dictionary().is_some() {
        return refuse("it is dictionary-encoded");
    }
    let children = field.children();
    let child_count = children.map_or(0, |children| children.len());
    if let Some(what) = type_is_unknown(field, child_count) {
        return refuse(what);
    }
    if field.type_type() == fb::Type::Map && !children.is_some_and(|children| is_map_entry(children.get(0))) {
        return refuse("its entries are not a struct of key and value");
    }
    for child in children.into_iter().flatten() {
        self::field(child, depth_left - 1, columns_left)?;
    }
    Ok(())
}

/// What is wrong with a field's own type, children aside.
fn type_is_unknown(field: fb::Field<'_>, child_count: usize) -> Option<&'static str> {
    use fb::{DateUnit, IntervalUnit, Precision, TimeUnit, Type};
    let is_unit = |unit: TimeUnit| (TimeUnit::SECOND..=TimeUnit::NANOSECOND).contains(&unit);
    // `None`: a type of which nothing else is to be known.
    let (is_known, children): (Option<bool>, usize) = match field.type_type() {
        Type::Null | Type::Bool | Type::Binary | Type::LargeBinary | Type::Utf8 | Type::LargeUtf8 => (None, 0),
        Type::Int => (
            Some(
                field
                    .type_as_int()
                    .is_some_and(|t| matches!(t.bitWidth(), 8 | 16 | 32 | 64)),
            ),
            0,
        ),
        Type::FloatingPoint => {
            let known = [Precision::HALF, Precision::SINGLE, Precision::DOUBLE];
            let is_known = |t: fb::FloatingPoint<'_>| known.contains(&t.precision());
            (Some(field.type_as_floating_point().is_some_and(is_known)), 0)
        }
        Type::FixedSizeBinary => {
            let is_known = |t: fb::FixedSizeBinary<'_>| t.byteWidth() > 0;
            (Some(field.type_as_fixed_size_binary().is_some_and(is_known)), 0)
        }
        Type::Date => {
            let is_known = |t: fb::Date<'_>| [DateUnit::DAY, DateUnit::MILLISECOND].contains(&t.unit());
            (Some(field.type_as_date().is_some_and(is_known)), 0)
        }
        Type::Time => {
            let is_known = |t: fb::Time<'_>| match t.bitWidth() {
                32 => [TimeUnit::SECOND, TimeUnit::MILLISECOND].contains(&t.unit()),
                64 => [TimeUnit::MICROSECOND, TimeUnit::NANOSECOND].contains(&t.unit()),
                _ => false,
            };
            (Some(field.type_as_time().is_some_and(is_known)), 0)
        }
        Type::Timestamp => (Some(field.type_as_timestamp().is_some_and(|t| is_unit(t.unit()))), 0),
        Type::Duration => (Some(field.type_as_duration().is_some_and(|t| is_unit(t.unit()))), 0),
        Type::Interval => {
            let known = [
                IntervalUnit::YEAR_MONTH,
                IntervalUnit::DAY_TIME,
                IntervalUnit::MONTH_DAY_NANO,
            ];
            (
                Some(field.type_as_interval().is_some_and(|t| known.contains(&t.unit()))),
                0,
            )
        }
        Type::Decimal => {
            let digits = |bits: i32| match bits {
                32 => 9,
                64 => 18,
                128 => 38,
                256 => 76,
                _ => 0,
            };
            let is_known = |t: fb::Decimal<'_>| {
                let max = digits(t.bitWidth());
                (1..=max).contains(&t.precision()) && (-max..=max).contains(&t.scale())
            };
            (Some(field.type_as_decimal().is_some_and(is_known)), 0)
        }
        Type::List | Type::LargeList => (None, 1),
        Type::FixedSizeList => {
            let is_known = |t: fb::FixedSizeList<'_>| t.listSize() > 0;
            (Some(field.type_as_fixed_size_list().is_some_and(is_known)), 1)
        }
        Type::Map => (Some(field.type_as_map().is_some()), 1),
        Type::Struct_ => (None, child_count),
        _ => return Some("its type is none that plugins exchange"),
    };
    match is_known {
        Some(false) => Some("its type has parameters that do not exist"),
        _ if children != child_count => Some("its type has the wrong number of children"),
        _ => None,
    }
}

fn is_map_entry(entry: fb::Field<'_>) -> bool {
    entry.type_type() == fb::Type::Struct_ && entry.children().is_some_and(|children| children.len() == 2)
}

/// Refuses a record batch whose arrays do not lie in `body`, or do not have the shape that `schema` asks for.
pub(crate) fn batch(batch: fb::RecordBatch<'_>, schema: &Schema, body_len: usize, limits: &Limits) -> Result<()> {
    let refuse = |what: &str| PayloadError::refused("the batch", what);
    if batch.compression().is_some() {
        return Err(refuse("its buffers are compressed"));
    }
    if batch.variadicBufferCounts().is_some_and(|counts| !counts.is_empty()) {
        return Err(refuse("it has buffers of views"));
    }
    let rows = length(batch.length())
        .filter(|&rows| rows <= limits.rows_max)
        .ok_or_else(|| refuse("its number of rows is out of range"))?;
    let (Some(nodes), Some(buffers)) = (batch.nodes(), batch.buffers()) else {
        return Err(refuse("it has no list of arrays or of buffers"));
    };
    let mut walk = Walk {
        nodes: nodes.iter(),
        buffers: buffers.iter(),
        body_len,
        free_from: 0,
        rows_max: limits.rows_max,
    };
    for column in schema.fields() {
        let len = walk.array(column)?;
        if len != rows {
            return Err(walk.refuse(column, "its length differs from the batch's"));
        }
    }
    if walk.nodes.next().is_some() || walk.buffers.next().is_some() {
        return Err(refuse("it has more arrays or buffers than the schema"));
    }
    Ok(())
}

fn length(declared: i64) -> Option<usize> {
    usize::try_from(declared).ok()
}

/// Goes through arrays and buffers in the order in which Arrow's reader will.
struct Walk<'a> {
    nodes: flatbuffers::VectorIter<'a, fb::FieldNode>,
    buffers: flatbuffers::VectorIter<'a, fb::Buffer>,
    body_len: usize,
    /// Where the last buffer ended: the next one starts there or later, so that no byte is counted twice.
    free_from: usize,
    rows_max: usize,
}

impl Walk<'_> {
    fn refuse(&self, field: &Field, what: &str) -> PayloadError {
        PayloadError::refused(format!("column `{}`", shortened(field.name())), what)
    }

    /// The array of `field` with all below it; its length.
    fn array(&mut self, field: &Field) -> Result<usize> {
        let node = self.nodes.next().ok_or_else(|| self.refuse(field, "it has no array"))?;
        let len = length(node.length())
            .filter(|&len| len <= self.rows_max)
            .ok_or_else(|| self.refuse(field, "its length is out of range"))?;
        let nulls = length(node.null_count())
            .filter(|&nulls| nulls <= len)
            .ok_or_else(|| self.refuse(field, "its number of nulls is out of range"))?;
        if !matches!(field.data_type(), DataType::Null) {
            let validity = self.buffer(field)?;
            if nulls > 0 && validity < len.div_ceil(8) {
                return Err(self.refuse(field, "its validity bitmap is too short"));
            }
        }
        self.values(field, len)?;
        Ok(len)
    }

    fn values(&mut self, field: &Field, len: usize) -> Result<()> {
        match field.data_type() {
            DataType::Null => Ok(()),
            DataType::Boolean => self.at_least(field, len.div_ceil(8)),
            DataType::Utf8 | DataType::Binary => {
                self.offsets(field, len, 4)?;
                self.buffer(field).map(drop)
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                self.offsets(field, len, 8)?;
                self.buffer(field).map(drop)
            }
            DataType::List(item) | DataType::Map(item, _) => {
                self.offsets(field, len, 4)?;
                self.array(item).map(drop)
            }
            DataType::LargeList(item) => {
                self.offsets(field, len, 8)?;
                self.array(item).map(drop)
            }
            DataType::FixedSizeList(item, size) => {
                let expected = usize::try_from(*size).ok().and_then(|size| len.checked_mul(size));
                let actual = self.array(item)?;
                (expected == Some(actual))
                    .then_some(())
                    .ok_or_else(|| self.refuse(field, "its items are not as many as its size asks for"))
            }
            DataType::Struct(fields) => {
                for child in fields {
                    if self.array(child)? != len {
                        return Err(self.refuse(child, "its length differs from the struct's"));
                    }
                }
                Ok(())
            }
            DataType::FixedSizeBinary(width) => {
                let bytes = usize::try_from(*width).ok().and_then(|width| len.checked_mul(width));
                self.at_least(field, bytes.unwrap_or(usize::MAX))
            }
            other => match other.primitive_width() {
                Some(width) => self.numbers(field, len, width),
                None => Err(self.refuse(field, "its type is none that plugins exchange")),
            },
        }
    }

    /// An array without rows may leave its offsets out.
    fn offsets(&mut self, field: &Field, len: usize, width: usize) -> Result<()> {
        let actual = self.buffer(field)?;
        if actual % width != 0 {
            return Err(self.refuse(field, "its offsets are no whole numbers"));
        }
        if (len == 0 && actual == 0) || actual >= (len + 1) * width {
            return Ok(());
        }
        Err(self.refuse(field, "its offsets are too short"))
    }

    /// Padding is to eight bytes, also behind numbers of sixteen.
    fn numbers(&mut self, field: &Field, len: usize, width: usize) -> Result<()> {
        let actual = self.buffer(field)?;
        if actual % width.min(8) != 0 {
            return Err(self.refuse(field, "its values are no whole numbers"));
        }
        if actual < len.saturating_mul(width) {
            return Err(self.refuse(field, "its values are too short"));
        }
        Ok(())
    }

    fn at_least(&mut self, field: &Field, bytes: usize) -> Result<()> {
        if self.buffer(field)? < bytes {
            return Err(self.refuse(field, "its values are too short"));
        }
        Ok(())
    }

    /// The next buffer's length.
    fn buffer(&mut self, field: &Field) -> Result<usize> {
        let buffer = self
            .buffers
            .next()
            .ok_or_else(|| self.refuse(field, "it has too few buffers"))?;
        let (Some(offset), Some(len)) = (length(buffer.offset()), length(buffer.length())) else {
            return Err(self.refuse(field, "a buffer's place is negative"));
        };
        let end = offset.checked_add(len).filter(|&end| end <= self.body_len);
        match end {
            None => Err(self.refuse(field, "a buffer lies outside the body")),
            Some(_) if len == 0 => Ok(0),
            Some(_) if offset < self.free_from => Err(self.refuse(field, "a buffer overlaps the one before")),
            Some(end) => {
                self.free_from = end;
                Ok(len)
            }
        }
    }
}

/// A name from outside, as far as it belongs into a message.
pub(crate) fn shortened(name: &str) -> String {
    let mut short: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    if name.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}

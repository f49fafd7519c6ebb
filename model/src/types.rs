//! The one vocabulary of types: Arrow's, plus one metadata key for what Arrow lacks.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

/// The field metadata key that carries a [`LogicalType`].
pub const HIGHWATER_TYPE: &str = "highwater.type";

/// The field metadata key of a column that its source calls sensitive; the value is `true`.
pub const SENSITIVE: &str = "highwater.sensitive";

/// The field metadata key of a JSON column whose shape its source knows: a JSON text, in which an object maps names to the
/// names of Arrow types, or to what is nested (`{"size":"int64","tags":["utf8"]}`).
pub const JSON_SHAPE: &str = "highwater.json_shape";

/// What Arrow has no type for; carried as text (or as the Arrow type named) with [`HIGHWATER_TYPE`] in the metadata.
///
/// | logical type | Arrow type | text form |
/// |---|---|---|
/// | `uuid` | `FixedSizeBinary(16)` or `Utf8` | hyphenated lower case |
/// | `json` | `Utf8` | as the source wrote it |
/// | `inet` | `Utf8` | address, with `/prefix` where it has one |
/// | `mac` | `Utf8` | `aa:bb:cc:dd:ee:ff` |
/// | `numeric` | `Utf8` | digits; also `NaN`, `Infinity`, `-Infinity` |
/// | `interval` | `Interval(MonthDayNano)` or `Utf8` | ISO 8601 |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogicalType {
    /// A UUID.
    Uuid,
    /// A JSON document.
    Json,
    /// An IP address or network.
    Inet,
    /// A hardware address.
    Mac,
    /// An exact decimal wider than 256 bits, or without a fixed scale.
    Numeric,
    /// Months, days and time that do not convert into each other.
    Interval,
}

impl LogicalType {
    /// All of them, for conformance suites.
    pub const ALL: [LogicalType; 6] = [
        Self::Uuid,
        Self::Json,
        Self::Inet,
        Self::Mac,
        Self::Numeric,
        Self::Interval,
    ];

    /// The metadata value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Json => "json",
            Self::Inet => "inet",
            Self::Mac => "mac",
            Self::Numeric => "numeric",
            Self::Interval => "interval",
        }
    }

    /// The logical type of a field, if it names one.
    pub fn of(field: &Field) -> Option<Self> {
        let name = field.metadata().get(HIGHWATER_TYPE)?;
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Marks a field with this logical type.
    pub fn mark(self, field: Field) -> Field {
        let mut metadata = field.metadata().clone();
        metadata.insert(HIGHWATER_TYPE.to_owned(), self.name().to_owned());
        field.with_metadata(metadata)
    }
}

/// Whether the vocabulary has this Arrow type. Dictionaries, unions, run-end encodings and views are encodings, not
/// types: whoever receives one from outside casts it before it becomes a batch.
pub fn carries(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::FixedSizeBinary(_)
        | DataType::Date32
        | DataType::Time64(TimeUnit::Microsecond | TimeUnit::Nanosecond)
        | DataType::Timestamp(_, _)
        | DataType::Duration(_)
        | DataType::Interval(_)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => carries(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| carries(field.data_type())),
        _ => false,
    }
}

/// One spelling for each type, without its children; part of every stored [`SchemaId`](crate::SchemaId), so it never
/// changes.
pub(crate) fn spelling(data_type: &DataType) -> String {
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    let interval = |unit: &IntervalUnit| match unit {
        IntervalUnit::YearMonth => "year_month",
        IntervalUnit::DayTime => "day_time",
        IntervalUnit::MonthDayNano => "month_day_nano",
    };
    let name = match data_type {
        DataType::Null => "null",
        DataType::Boolean => "bool",
        DataType::Int8 => "i8",
        DataType::Int16 => "i16",
        DataType::Int32 => "i32",
        DataType::Int64 => "i64",
        DataType::UInt8 => "u8",
        DataType::UInt16 => "u16",
        DataType::UInt32 => "u32",
        DataType::UInt64 => "u64",
        DataType::Float32 => "f32",
        DataType::Float64 => "f64",
        DataType::Utf8 => "utf8",
        DataType::LargeUtf8 => "large_utf8",
        DataType::Binary => "binary",
        DataType::LargeBinary => "large_binary",
        DataType::Date32 => "date32",
        DataType::List(_) => "list",
        DataType::LargeList(_) => "large_list",
        DataType::Struct(_) => "struct",
        DataType::Map(_, false) => "map",
        DataType::Map(_, true) => "map sorted",
        DataType::FixedSizeBinary(len) => return format!("binary {len}"),
        DataType::Time64(of) => return format!("time64 {}", unit(of)),
        DataType::Timestamp(of, None) => return format!("timestamp {}", unit(of)),
        DataType::Timestamp(of, Some(zone)) => return format!("timestamp {} {zone}", unit(of)),
        DataType::Duration(of) => return format!("duration {}", unit(of)),
        DataType::Interval(of) => return format!("interval {}", interval(of)),
        DataType::Decimal128(precision, scale) => return format!("decimal128 {precision} {scale}"),
        DataType::Decimal256(precision, scale) => return format!("decimal256 {precision} {scale}"),
        // Not in the vocabulary, so no source may send it; still two of them should differ.
        other => return format!("? {other:?}"),
    };
    name.to_owned()
}

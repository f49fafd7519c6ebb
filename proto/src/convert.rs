//! Values: theirs to our vocabulary and back, column by column.
//!
//! What keeps its bytes keeps its buffers. What cannot be held exactly by the other type is an error that names the column
//! and the row, never the value.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, FixedSizeBinaryBuilder, FixedSizeListArray, LargeListArray,
    ListArray, MapArray, RecordBatch, RecordBatchOptions, StringArray, StringBuilder, StructArray, new_null_array,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::CastOptions;
use arrow::datatypes::{DataType, Date32Type, Date64Type, Field, FieldRef, SchemaRef};
use model::{JSON_SHAPE, LogicalType, SENSITIVE, StreamId, StreamSchema, StreamSchemaError};

use crate::column::{ColumnError, column_from_wire, column_to_wire, extension_of};
use crate::guard::shortened;
use crate::{Table, TableError};

const DAY_MILLIS: i64 = 86_400_000;

/// Why rows cannot be carried to the other side.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A column's type.
    #[error(transparent)]
    Column(#[from] ColumnError),
    /// The table's metadata.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Columns and key do not make a schema.
    #[error(transparent)]
    Schema(#[from] StreamSchemaError),
    /// A value that the other side's type does not have.
    #[error("cannot carry column `{column}`, row {row}: {what}")]
    Value {
        /// The column.
        column: String,
        /// The row in its batch, from 0.
        row: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The rows have other columns than their table.
    #[error("cannot carry rows of `{table}`: {what}")]
    Shape {
        /// The table.
        table: String,
        /// How they differ.
        what: String,
    },
}

type Result<T, E = ConvertError> = std::result::Result<T, E>;

/// One table in both vocabularies: made once, used for each record.
#[derive(Debug, Clone)]
pub struct TableCodec {
    table: Table,
    /// Theirs, with `cq:` metadata; what goes into a payload.
    wire: SchemaRef,
    ours: Arc<StreamSchema>,
}

impl TableCodec {
    /// For a table that a plugin described.
    pub fn of_table(table: Table) -> Result<Self> {
        let wire = Arc::new(table.to_schema());
        let fields = table
            .columns
            .iter()
            .map(|column| Ok(marked(column_from_wire(&column.field)?, &table, column)))
            .collect::<Result<Vec<_>>>()?;
        let key = table
            .columns
            .iter()
            .filter(|column| column.is_key)
            .map(|column| column.field.name().clone());
        let ours = Arc::new(StreamSchema::new(StreamId::new(table.name.as_str()), fields, key)?);
        Ok(TableCodec { table, wire, ours })
    }

    /// For one of our streams; `table` is its name at the other side.
    pub fn of_stream(ours: &Arc<StreamSchema>, table: impl Into<String>) -> Result<Self> {
        let mut table = Table::named(table);
        for (i, field) in ours.arrow().fields().iter().enumerate() {
            let is_key = ours.key().contains(&i);
            let mut column = crate::Column::new(column_to_wire(field)?).key(is_key);
            let mut metadata = column.field.metadata().clone();
            if metadata.remove(SENSITIVE).is_some_and(|value| value == "true") {
                table.sensitive_columns.push(field.name().clone());
            }
            column.type_schema = metadata.remove(JSON_SHAPE).unwrap_or_default();
            column.field.set_metadata(metadata);
            table.columns.push(column);
        }
        Ok(TableCodec {
            wire: Arc::new(table.to_schema()),
            table,
            ours: Arc::clone(ours),
        })
    }

    /// The same with other words about it: marks of columns, its parent, its description. Names and types of columns must stay.
    #[must_use]
    pub fn described(mut self, describe: impl FnOnce(&mut Table)) -> Self {
        describe(&mut self.table);
        self.wire = Arc::new(self.table.to_schema());
        self
    }

    /// The table as the plugin knows it.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Its schema on the wire.
    pub fn wire(&self) -> &SchemaRef {
        &self.wire
    }

    /// Its schema here.
    pub fn ours(&self) -> &Arc<StreamSchema> {
        &self.ours
    }

    /// A plugin's rows in our types. The plugin's columns are found by name: a record may carry them in another order. A
    /// column that it left out is null.
    pub fn rows_from_wire(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let shape = |what: String| ConvertError::Shape {
            table: shortened(&self.table.name),
            what,
        };
        let sent = rows.schema();
        if let Some(unknown) = sent
            .fields()
            .iter()
            .find(|field| self.wire.index_of(field.name()).is_err())
        {
            let what = format!("column `{}` is not in the table", shortened(unknown.name()));
            return Err(shape(what));
        }
        let mut columns = Vec::with_capacity(self.wire.fields().len());
        for (wire, ours) in self.wire.fields().iter().zip(self.ours.arrow().fields()) {
            let values = match sent.index_of(wire.name()) {
                Ok(at) if is_same_storage(rows.column(at).data_type(), wire.data_type()) => rows.column(at).clone(),
                Ok(at) => {
                    let what = format!(
                        "column `{}` is {} there and {} in the table",
                        shortened(wire.name()),
                        shortened(&rows.column(at).data_type().to_string()),
                        shortened(&wire.data_type().to_string())
                    );
                    return Err(shape(what));
                }
                Err(_) => new_null_array(wire.data_type(), rows.num_rows()),
            };
            if !wire.is_nullable() && values.null_count() > 0 {
                let row = (0..values.len()).find(|&row| values.is_null(row)).unwrap_or(0);
                return Err(value(
                    wire,
                    row,
                    "there is no value, and the column says that it has one",
                ));
            }
            columns.push(from_wire(&values, wire, ours)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(self.ours.arrow()), columns, &options)
            .map_err(|error| shape(error.to_string()))
    }

    /// Our rows in the plugin's types; the columns are those of [`ours`](Self::ours), in order.
    pub fn rows_to_wire(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let fields = self.wire.fields().iter().zip(self.ours.arrow().fields());
        fields
            .zip(rows.columns())
            .map(|((wire, ours), values)| to_wire(values, ours, wire))
            .collect()
    }
}

/// Metadata and names of nested fields aside, which the peers write differently.
fn is_same_storage(a: &DataType, b: &DataType) -> bool {
    a.equals_datatype(b)
}

fn value(field: &Field, row: usize, what: &'static str) -> ConvertError {
    ConvertError::Value {
        column: shortened(field.name()),
        row,
        what,
    }
}

fn shape(field: &Field, error: &arrow::error::ArrowError) -> ConvertError {
    ConvertError::Shape {
        table: shortened(field.name()),
        what: error.to_string(),
    }
}

/// One column of a plugin in our type. `ours` is what [`column_from_wire`] made of `wire`.
fn from_wire(values: &ArrayRef, wire: &Field, ours: &Field) -> Result<ArrayRef> {
    if let Some(logical) = extension_of(wire) {
        return match logical {
            LogicalType::Json => text_of(values.as_binary(), wire),
            LogicalType::Inet => inet_text(values.as_binary(), wire),
            LogicalType::Mac => Ok(mac_text(values.as_binary())),
            _ => Ok(Arc::clone(values)),
        };
    }
    match (values.data_type(), ours.data_type()) {
        (DataType::Date64, _) => days_of_millis(values, wire),
        (DataType::FixedSizeList(_, _), DataType::List(item)) => {
            let lists = values.as_fixed_size_list();
            let DataType::FixedSizeList(wire_item, _) = wire.data_type() else {
                return Err(value(wire, 0, "its type changed under way"));
            };
            list_of_fixed(lists, wire_item, item)
        }
        (from, to) if from.is_nested() => nested(values, wire, to, &from_wire),
        // Seconds and milliseconds to microseconds, narrow decimals to wide ones: always exact.
        (from, to) if from != to => cast(values, wire, to),
        _ => Ok(Arc::clone(values)),
    }
}

/// One column of ours in a plugin's type. `wire` is what [`column_to_wire`] made of `ours`.
fn to_wire(values: &ArrayRef, ours: &Field, wire: &Field) -> Result<ArrayRef> {
    if let Some(logical) = extension_of(wire) {
        return match logical {
            LogicalType::Uuid => uuid_bytes(values, ours),
            LogicalType::Json => Ok(Arc::new(BinaryArray::from(text(values, ours)?))),
            LogicalType::Inet => inet_bytes(&text(values, ours)?, ours),
            LogicalType::Mac => mac_bytes(&text(values, ours)?, ours),
            LogicalType::Numeric | LogicalType::Interval => Ok(Arc::clone(values)),
        };
    }
    match (values.data_type(), wire.data_type()) {
        (DataType::Date32, DataType::Date64) => {
            let days = values.as_primitive::<Date32Type>();
            Ok(Arc::new(days.unary::<_, Date64Type>(|day| i64::from(day) * DAY_MILLIS)))
        }
        (DataType::Time64(_), DataType::Time32(_)) => {
            let narrow = cast(values, ours, wire.data_type())?;
            let back = cast(&narrow, ours, values.data_type())?;
            match first_difference(values, &back) {
                Some(row) => Err(value(ours, row, "it is finer than the plugin's type")),
                None => Ok(narrow),
            }
        }
        (DataType::List(_), DataType::FixedSizeList(item, size)) => fixed_of_list(values, ours, item, *size),
        (DataType::LargeList(_), DataType::List(item)) => {
            let narrow = narrow_list(values.as_list(), ours)?;
            nested(&narrow, ours, &DataType::List(Arc::clone(item)), &to_wire)
        }
        (from, to) if from.is_nested() => nested(values, ours, to, &to_wire),
        (from, to) if from != to => cast(values, ours, to),
        _ => Ok(Arc::clone(values)),
    }
}

/// Our field with what the table says beside it: transformers look at that.
fn marked(field: Field, table: &Table, column: &crate::Column) -> Field {
    let mut metadata = field.metadata().clone();
    // Ours to say, whoever sent it.
    metadata.remove(SENSITIVE);
    metadata.remove(JSON_SHAPE);
    if table.sensitive_columns.contains(field.name()) {
        metadata.insert(SENSITIVE.to_owned(), "true".to_owned());
    }
    if !column.type_schema.is_empty() {
        metadata.insert(JSON_SHAPE.to_owned(), column.type_schema.clone());
    }
    field.with_metadata(metadata)
}

type Convert<'a> = &'a dyn Fn(&ArrayRef, &Field, &Field) -> Result<ArrayRef>;

/// A list, map or struct whose children go through `convert`; offsets and validity stay.
fn nested(values: &ArrayRef, from: &Field, to: &DataType, convert: Convert<'_>) -> Result<ArrayRef> {
    Ok(match (values.data_type(), to) {
        (DataType::List(item), DataType::List(to_item)) => {
            let list: &ListArray = values.as_list();
            let items = convert(list.values(), item_of(from, item), to_item)?;
            let made = ListArray::try_new(to_item.clone(), list.offsets().clone(), items, list.nulls().cloned());
            Arc::new(made.map_err(|error| shape(from, &error))?)
        }
        (DataType::LargeList(item), DataType::LargeList(to_item)) => {
            let list: &LargeListArray = values.as_list();
            let items = convert(list.values(), item_of(from, item), to_item)?;
            let made = LargeListArray::try_new(to_item.clone(), list.offsets().clone(), items, list.nulls().cloned());
            Arc::new(made.map_err(|error| shape(from, &error))?)
        }
        (DataType::Map(entry, _), DataType::Map(to_entry, sorted)) => {
            let map = values.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let entries = convert(&entries, item_of(from, entry), to_entry)?;
            let made = MapArray::try_new(
                to_entry.clone(),
                map.offsets().clone(),
                entries.as_struct().clone(),
                map.nulls().cloned(),
                *sorted,
            );
            Arc::new(made.map_err(|error| shape(from, &error))?)
        }
        (DataType::Struct(fields), DataType::Struct(to_fields)) => {
            let rows = values.as_struct();
            let columns = fields
                .iter()
                .zip(to_fields)
                .zip(rows.columns())
                .enumerate()
                .map(|(i, ((field, to), column))| convert(column, child_of(from, i, field), to))
                .collect::<Result<Vec<_>>>()?;
            if columns.is_empty() {
                return Ok(Arc::clone(values));
            }
            let made = StructArray::try_new(to_fields.clone(), columns, rows.nulls().cloned());
            Arc::new(made.map_err(|error| shape(from, &error))?)
        }
        _ => return Err(value(from, 0, "its type changed under way")),
    })
}

/// The item as the table describes it: a peer may leave metadata out of the arrays themselves.
fn item_of<'a>(from: &'a Field, sent: &'a FieldRef) -> &'a Field {
    match from.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => item,
        _ => sent,
    }
}

fn child_of<'a>(from: &'a Field, at: usize, sent: &'a FieldRef) -> &'a Field {
    match from.data_type() {
        DataType::Struct(fields) => fields.get(at).unwrap_or(sent),
        _ => sent,
    }
}

fn cast(values: &ArrayRef, field: &Field, to: &DataType) -> Result<ArrayRef> {
    let exact = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    arrow::compute::cast_with_options(values, to, &exact).map_err(|error| shape(field, &error))
}

fn first_difference(a: &ArrayRef, b: &ArrayRef) -> Option<usize> {
    if a.to_data() == b.to_data() {
        return None;
    }
    (0..a.len()).find(|&row| a.slice(row, 1).to_data() != b.slice(row, 1).to_data())
}

/// Bytes that are text: the same buffers.
fn text_of(bytes: &BinaryArray, field: &Field) -> Result<ArrayRef> {
    let (offsets, data, nulls) = bytes.clone().into_parts();
    match StringArray::try_new(offsets, data, nulls) {
        Ok(text) => Ok(Arc::new(text)),
        Err(_) => {
            let is_text = |row: &usize| bytes.is_null(*row) || std::str::from_utf8(bytes.value(*row)).is_ok();
            let row = (0..bytes.len()).find(|row| !is_text(row)).unwrap_or(0);
            Err(value(field, row, "it is not UTF-8"))
        }
    }
}

fn text(values: &ArrayRef, field: &Field) -> Result<StringArray> {
    Ok(cast(values, field, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn days_of_millis(values: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let millis = values.as_primitive::<Date64Type>();
    let day = |row: usize, millis: i64| {
        let day = i32::try_from(millis.div_euclid(DAY_MILLIS)).ok();
        day.filter(|_| millis.rem_euclid(DAY_MILLIS) == 0)
            .ok_or_else(|| value(field, row, "it is not a whole day"))
    };
    let days = millis
        .iter()
        .enumerate()
        .map(|(row, millis)| millis.map(|millis| day(row, millis)).transpose())
        .collect::<Result<arrow::array::Date32Array>>()?;
    Ok(Arc::new(days))
}

fn list_of_fixed(lists: &FixedSizeListArray, wire_item: &Field, item: &FieldRef) -> Result<ArrayRef> {
    let items = from_wire(lists.values(), wire_item, item)?;
    let size = lists.value_length();
    let first = lists.value_offset(0);
    let len = i32::try_from(lists.len()).unwrap_or(i32::MAX);
    if first.checked_add(len.saturating_mul(size)).is_none() {
        return Err(value(wire_item, 0, "there are more items than a list can count"));
    }
    let offsets = OffsetBuffer::new((0..=len).map(|row| first + row * size).collect::<ScalarBuffer<i32>>());
    let made = ListArray::try_new(item.clone(), offsets, items, lists.nulls().cloned());
    Ok(Arc::new(made.map_err(|error| shape(wire_item, &error))?))
}

fn fixed_of_list(values: &ArrayRef, ours: &Field, item: &FieldRef, size: i32) -> Result<ArrayRef> {
    let list: &ListArray = values.as_list();
    if let Some(row) = (0..list.len()).find(|&row| list.is_valid(row) && list.value_length(row) != size) {
        return Err(value(
            ours,
            row,
            "it has another number of items than the plugin's type",
        ));
    }
    let fixed = DataType::FixedSizeList(own_item(ours, item).clone(), size);
    let fixed = cast(values, ours, &fixed)?;
    let fixed = fixed.as_fixed_size_list();
    let items = to_wire(fixed.values(), own_item(ours, item), item)?;
    let made = FixedSizeListArray::try_new(item.clone(), size, items, fixed.nulls().cloned());
    Ok(Arc::new(made.map_err(|error| shape(ours, &error))?))
}

fn own_item<'a>(ours: &'a Field, other: &'a FieldRef) -> &'a FieldRef {
    match ours.data_type() {
        DataType::List(item) => item,
        _ => other,
    }
}

fn narrow_list(list: &LargeListArray, field: &Field) -> Result<ArrayRef> {
    let first = list.offsets().first().copied().unwrap_or(0);
    let last = list.offsets().last().copied().unwrap_or(0);
    if last - first > i64::from(i32::MAX) {
        return Err(value(field, 0, "there are more items than a list can count"));
    }
    let offsets: ScalarBuffer<i32> = list.offsets().iter().map(|offset| (offset - first) as i32).collect();
    let items = list.values().slice(first as usize, (last - first) as usize);
    let DataType::LargeList(item) = list.data_type() else {
        return Err(value(field, 0, "its type changed under way"));
    };
    let made = ListArray::try_new(item.clone(), OffsetBuffer::new(offsets), items, list.nulls().cloned());
    Ok(Arc::new(made.map_err(|error| shape(field, &error))?))
}

fn uuid_bytes(values: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if matches!(values.data_type(), DataType::FixedSizeBinary(_)) {
        return Ok(Arc::clone(values));
    }
    let text = text(values, field)?;
    let mut bytes = FixedSizeBinaryBuilder::with_capacity(text.len(), 16);
    for (row, uuid) in text.iter().enumerate() {
        let Some(uuid) = uuid else {
            bytes.append_null();
            continue;
        };
        let digits: String = uuid.chars().filter(|&c| c != '-').collect();
        let parsed = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32);
        let parsed = parsed.ok_or_else(|| value(field, row, "it is no UUID"))?;
        bytes
            .append_value(parsed.to_be_bytes())
            .map_err(|error| shape(field, &error))?;
    }
    Ok(Arc::new(bytes.finish()))
}

/// Empty reads as the whole of IPv4, as their own reader has it.
fn inet_text(bytes: &BinaryArray, field: &Field) -> Result<ArrayRef> {
    let has_empty = (0..bytes.len()).any(|row| bytes.is_valid(row) && bytes.value(row).is_empty());
    let text = text_of(bytes, field)?;
    if !has_empty {
        return Ok(text);
    }
    let filled = text
        .as_string::<i32>()
        .iter()
        .map(|inet| inet.map(|inet| if inet.is_empty() { "0.0.0.0/0" } else { inet }));
    Ok(Arc::new(filled.collect::<StringArray>()))
}

/// Theirs always has a prefix length; an address alone is one host.
fn inet_bytes(text: &StringArray, field: &Field) -> Result<ArrayRef> {
    let mut bytes = BinaryBuilder::new();
    for (row, inet) in text.iter().enumerate() {
        let Some(inet) = inet else {
            bytes.append_null();
            continue;
        };
        let (address, prefix) = inet.split_once('/').map_or((inet, None), |(a, p)| (a, Some(p)));
        let address: std::net::IpAddr = address.parse().map_err(|_| value(field, row, "it is no IP address"))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), |prefix| prefix.parse::<u8>().map_err(drop));
        match prefix {
            Ok(prefix) if prefix <= bits => bytes.append_value(format!("{address}/{prefix}")),
            _ => return Err(value(field, row, "its prefix length is out of range")),
        }
    }
    Ok(Arc::new(bytes.finish()))
}

/// Empty reads as zeros, as their own reader has it.
fn mac_text(bytes: &BinaryArray) -> ArrayRef {
    let mut text = StringBuilder::new();
    for mac in bytes {
        let Some(mac) = mac else {
            text.append_null();
            continue;
        };
        let mac = if mac.is_empty() { &[0; 6] } else { mac };
        let pairs: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        text.append_value(pairs.join(":"));
    }
    Arc::new(text.finish())
}

fn mac_bytes(text: &StringArray, field: &Field) -> Result<ArrayRef> {
    let mut bytes = BinaryBuilder::new();
    for (row, mac) in text.iter().enumerate() {
        let Some(mac) = mac else {
            bytes.append_null();
            continue;
        };
        let pair = |pair: &str| u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2);
        let parsed: Option<Vec<u8>> = mac.split(':').map(pair).collect();
        bytes.append_value(parsed.ok_or_else(|| value(field, row, "it is no hardware address"))?);
    }
    Ok(Arc::new(bytes.finish()))
}

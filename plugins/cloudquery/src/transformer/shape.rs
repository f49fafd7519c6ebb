//! What a plugin makes of one stream's schema, and of its rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type};
use arrow::error::ArrowError;
use bytes::Bytes;
use model::StreamSchema;
use proto::plugin_v3::transform_schema;
use proto::{Column, ConvertError, Decoder, EncodeError, Encoder, Table, TableCodec, encode_schema};

use crate::error::{Error, Result};
use crate::plugin::Plugin;

/// The column that carries a row's number through the plugin.
const ROW: &str = "_highwater_row";

/// One stream before and behind the plugin.
pub(super) struct Shape {
    input: TableCodec,
    /// The input's schema on the wire, with the column of row numbers.
    sent: Table,
    received: TableCodec,
    output: Arc<StreamSchema>,
    numbers_rows: bool,
}

impl Shape {
    /// Asks the plugin.
    pub(super) async fn ask(plugin: &Plugin, input: &Arc<StreamSchema>) -> Result<Shape> {
        let name = input.stream().flat_name();
        let codec = TableCodec::of_stream(input, name.clone()).map_err(|source| convert(plugin, source))?;
        let mut sent = codec.table().clone();
        sent.columns.push(Column::new(Field::new(ROW, DataType::Int64, false)));
        let schema = encode_schema(&sent.to_schema()).map_err(|source| encode(plugin, &name, source))?;
        let request = transform_schema::Request { schema };
        let answer = plugin
            .call("TransformSchema", plugin.client().transform_schema(request))
            .await?;
        let schema = Decoder::default()
            .schema(&answer.schema)
            .map_err(|source| Error::Payload {
                plugin: plugin.name().to_owned(),
                source,
            })?;
        let mut table = Table::of_schema(&schema).map_err(|source| convert(plugin, source.into()))?;
        if table.name != name {
            return Err(Error::Unsupported {
                plugin: plugin.name().to_owned(),
                verb: format!("transform rows of `{}`", input.stream()),
                what: format!("it gives the table the name `{}`", table.name),
                hint: "leave the renaming of tables out of its spec",
            });
        }
        let before = table.columns.len();
        table.columns.retain(|column| column.field.name() != ROW);
        let numbers_rows = table.columns.len() < before;
        if !numbers_rows {
            tracing::warn!(
                plugin = plugin.name(),
                stream = %input.stream(),
                "the transformer leaves a column out that it does not know, so it is asked row by row, which is slow"
            );
        }
        let received = TableCodec::of_table(table).map_err(|source| convert(plugin, source))?;
        let ours = received.ours();
        let fields = ours.arrow().fields().iter().map(|field| Field::clone(field)).collect();
        let key: Vec<String> = ours.key_names().map(str::to_owned).collect();
        let output =
            StreamSchema::new(input.stream().clone(), fields, key).map_err(|source| convert(plugin, source.into()))?;
        Ok(Shape {
            input: codec,
            sent,
            received,
            output: Arc::new(output),
            numbers_rows,
        })
    }

    pub(super) fn output(&self) -> &Arc<StreamSchema> {
        &self.output
    }

    /// Whether output rows carry the number of their input row.
    pub(super) fn numbers_rows(&self) -> bool {
        self.numbers_rows
    }

    /// Rows as records, with their numbers.
    pub(super) fn records(&self, plugin: &Plugin, rows: &RecordBatch, bytes_max: usize) -> Result<Vec<Bytes>> {
        let mut columns = self
            .input
            .rows_to_wire(rows)
            .map_err(|source| convert(plugin, source))?;
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows.num_rows() as i64));
        columns.push(numbers);
        let records = || -> Result<Vec<Bytes>, EncodeError> {
            let mut encoder = Encoder::new(Arc::new(self.sent.to_schema()))?;
            let rows = RecordBatch::try_new(Arc::clone(encoder.schema()), columns)?;
            encoder.encode_split(&rows, bytes_max)
        };
        records().map_err(|source| encode(plugin, &self.sent.name, source))
    }

    /// A record's rows in our types, without their numbers.
    pub(super) fn rows(&self, plugin: &Plugin, record: &RecordBatch) -> Result<RecordBatch> {
        let mut record = record.clone();
        if let Ok(at) = record.schema_ref().index_of(ROW) {
            record.remove_column(at);
        }
        let rows = self
            .received
            .rows_from_wire(&record)
            .map_err(|source| convert(plugin, source))?;
        RecordBatch::try_new(Arc::clone(self.output.arrow()), rows.columns().to_vec())
            .map_err(|error| self.misfit(plugin, &error))
    }

    /// The same, and the number of the input row of each.
    pub(super) fn numbered(
        &self,
        plugin: &Plugin,
        record: &RecordBatch,
        count: usize,
    ) -> Result<(RecordBatch, Vec<u32>)> {
        let broken = |what: String| Error::Protocol {
            plugin: plugin.name().to_owned(),
            what: format!("of its rows of `{}`, {what}", self.output.stream()),
        };
        let numbers = record
            .column_by_name(ROW)
            .and_then(|column| column.as_primitive_opt::<Int64Type>())
            .ok_or_else(|| broken(format!("the column `{ROW}` is missing, which its schema has")))?;
        let is_known = |number: Option<i64>| {
            let number = number.and_then(|number| u32::try_from(number).ok());
            number.filter(|&number| (number as usize) < count)
        };
        let known: Option<Vec<u32>> = numbers.iter().map(is_known).collect();
        let known = known.ok_or_else(|| broken(format!("some have another `{ROW}` than was sent")))?;
        Ok((self.rows(plugin, record)?, known))
    }

    /// All output rows, in the order of their input rows.
    pub(super) fn in_order(
        &self,
        plugin: &Plugin,
        parts: Vec<(RecordBatch, Vec<u32>)>,
    ) -> Result<(RecordBatch, Vec<u32>)> {
        let (rows, numbers): (Vec<RecordBatch>, Vec<Vec<u32>>) = parts.into_iter().unzip();
        let numbers = numbers.concat();
        let joined = concat_batches(self.output.arrow(), &rows).map_err(|error| self.misfit(plugin, &error))?;
        if numbers.is_sorted() {
            return Ok((joined, numbers));
        }
        let mut order: Vec<u32> = (0..numbers.len() as u32).collect();
        order.sort_by_key(|&at| numbers[at as usize]);
        let sorted = order.iter().map(|&at| numbers[at as usize]).collect();
        let rows =
            take_record_batch(&joined, &UInt32Array::from(order)).map_err(|error| self.misfit(plugin, &error))?;
        Ok((rows, sorted))
    }

    fn misfit(&self, plugin: &Plugin, error: &ArrowError) -> Error {
        Error::Protocol {
            plugin: plugin.name().to_owned(),
            what: format!("its rows of `{}` do not fit its schema ({error})", self.output.stream()),
        }
    }
}

fn convert(plugin: &Plugin, source: ConvertError) -> Error {
    Error::Convert {
        plugin: plugin.name().to_owned(),
        source,
    }
}

fn encode(plugin: &Plugin, table: &str, source: EncodeError) -> Error {
    Error::Encode {
        plugin: plugin.name().to_owned(),
        table: table.to_owned(),
        source,
    }
}

//! Reading tables back as of the last commit, for `verify`.
//!
//! One transaction on a connection of its own sees what was committed when it began, while the lane goes on. A column is read
//! into the stream's own type where that is possible, else into the one that its type in the table becomes; then a row of the
//! source is taken through the same two steps: encoded as it would be written, and decoded.

use std::sync::Arc;

use api::{DestinationOptions, Stored, StoredView, VIEW_BATCH_BYTES, not_comparable};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::BytesMut;
use model::StreamSchema;
use postgres_protocol::IsNull;

use super::catalogue::Found;
use super::error::{Error, Result, sql};
use super::link::Link;
use super::place::Place;
use super::session::{Manner, connect, load_types};
use super::target::{DELETED, join};
use crate::copy::{CopyDecoder, CopyRows, RowsError};
use crate::identifier::quote_ident;
use crate::types::{Column, ColumnDecoder, ColumnEncoder, TypeCatalogue, field};

/// A transaction that sees the last commit.
pub(super) struct ReadBack {
    link: Link,
    types: TypeCatalogue,
    place: Place,
    options: DestinationOptions,
    begun: Option<Begun>,
}

/// The stream that is read.
struct Begun {
    stream: Arc<StreamSchema>,
    columns: Vec<ReadColumn>,
    /// Of the batches.
    schema: SchemaRef,
    rows: CopyRows,
}

/// A column that is compared.
struct ReadColumn {
    /// Its index in the stream's schema.
    index: usize,
    of_server: Column,
    field: Field,
    /// Whether the table gives back the type that the stream has.
    is_as_sent: bool,
}

impl ReadBack {
    /// Opens the view.
    pub(super) async fn open(manner: &Manner) -> Result<Self> {
        let link = connect(manner).await?;
        let doing = || sql("open a view of what was written");
        // Row security would hide rows in silence; off, it is an error. A snapshot is taken by the first query.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {} SET LOCAL row_security = off; \
             SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off; SELECT txid_current_snapshot()",
            link.transaction_settings()
        );
        link.run(&begin).await.map_err(doing())?;
        let types = load_types(&link).await?;
        Ok(ReadBack {
            link,
            types,
            place: manner.place.clone(),
            options: manner.options,
            begun: None,
        })
    }

    /// A column of the table as it is compared; `None` if it cannot be read.
    fn column(&self, index: usize, sent: &Field, found: &Found) -> Option<ReadColumn> {
        let lies = found.column(sent.name())?;
        let of_server = Column {
            name: lies.name.clone(),
            ty: self.types.get(lies.oid)?,
            typmod: lies.typmod,
            nullable: true,
        };
        let as_sent = sent.clone().with_nullable(true);
        let natural = field(&of_server, None).ok()?.with_name(sent.name());
        let is_as_sent =
            reads_into(sent.data_type(), natural.data_type()) && ColumnDecoder::new(&of_server, &as_sent).is_ok();
        let field = if is_as_sent { as_sent } else { natural };
        Some(ReadColumn {
            index,
            of_server,
            field,
            is_as_sent,
        })
    }
}

/// Whether a column that becomes `natural` may also be read into `sent`: what an override may ask for, and no other unit.
fn reads_into(sent: &DataType, natural: &DataType) -> bool {
    match (sent, natural) {
        (sent, natural) if sent == natural => true,
        (DataType::Utf8, _) => true,
        (DataType::Decimal128(..) | DataType::Decimal256(..), DataType::Utf8) => true,
        (DataType::List(sent), DataType::List(natural)) => reads_into(sent.data_type(), natural.data_type()),
        (DataType::List(sent), natural) => sent.data_type() == natural || reads_into(sent.data_type(), natural),
        _ => false,
    }
}

#[async_trait]
impl StoredView for ReadBack {
    async fn begin(&mut self, schema: &Arc<StreamSchema>) -> api::Result<Stored> {
        self.begun = None;
        if let Some(why) = not_comparable(self.options.write_mode(schema.has_key()), self.options.deletes) {
            return Ok(Stored::Not(why));
        }
        let relation = self.place.of(schema.stream()).relation();
        let found = Found::read(&self.link, &relation)
            .await?
            .ok_or_else(|| Error::TableGone {
                stream: schema.stream().clone(),
                table: relation.to_string(),
            })?;
        let fields = schema.arrow().fields().iter().enumerate();
        let columns: Vec<ReadColumn> = fields
            .filter_map(|(index, field)| self.column(index, field, &found))
            .collect();
        let lacking = schema
            .key()
            .iter()
            .find(|key| !columns.iter().any(|column| column.index == **key));
        if let Some(lacking) = lacking {
            let name = schema.arrow().field(*lacking).name();
            return Ok(Stored::Not(format!("its table {relation} has no key column `{name}`")));
        }
        let indices: Vec<usize> = columns.iter().map(|column| column.index).collect();
        let arrow = Arc::new(Schema::new(
            columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>(),
        ));
        let of_server: Vec<Column> = columns.iter().map(|column| column.of_server.clone()).collect();
        let key: Vec<usize> = schema
            .key()
            .iter()
            .filter_map(|key| indices.iter().position(|index| index == key))
            .collect();
        let decoder =
            CopyDecoder::new(&of_server, Arc::clone(&arrow), &key).map_err(|unsuited| unreadable(schema, &unsuited))?;
        let alive = match found.column(DELETED) {
            Some(_) => format!(" WHERE {} IS NOT TRUE", quote_ident(DELETED)),
            None => String::new(),
        };
        let statement = format!(
            "COPY (SELECT {} FROM {relation}{alive}) TO STDOUT (FORMAT binary)",
            join(of_server.iter().map(Column::read_expression), ", ")
        );
        let rows = CopyRows::start(self.link.client(), &statement, decoder, VIEW_BATCH_BYTES);
        let rows = rows.await.map_err(sql(format!("read table {relation} back")))?;
        self.begun = Some(Begun {
            stream: Arc::clone(schema),
            columns,
            schema: arrow,
            rows,
        });
        Ok(Stored::Comparable(indices))
    }

    async fn next(&mut self) -> api::Result<Option<RecordBatch>> {
        let Some(Begun { stream, rows, .. }) = &mut self.begun else {
            return Ok(None);
        };
        let next = rows.next().await.map_err(|error| match error {
            RowsError::Server(source) => sql(format!("read `{}` back", stream.stream()))(source),
            RowsError::Copy(error) => unreadable(stream, &error),
            RowsError::BrokenOff => unreadable(stream, &"the COPY of its rows broke off"),
        })?;
        Ok(next)
    }

    fn as_stored(&self, rows: &RecordBatch) -> api::Result<RecordBatch> {
        let Some(begun) = &self.begun else {
            return Ok(rows.slice(0, 0));
        };
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(begun.columns.len());
        for column in &begun.columns {
            let sent = rows.column(column.index);
            arrays.push(if column.is_as_sent {
                Arc::clone(sent)
            } else {
                let field = begun.stream.arrow().field(column.index);
                through(column, field, sent).map_err(|why| unreadable(&begun.stream, &why))?
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&begun.schema), arrays, &options);
        Ok(batch.map_err(|error| unreadable(&begun.stream, &error))?)
    }
}

/// A column as it would come back: encoded for the table, and decoded from there.
fn through(column: &ReadColumn, sent: &Field, array: &ArrayRef) -> std::result::Result<ArrayRef, String> {
    let Column { ty, typmod, .. } = &column.of_server;
    let encoder = ColumnEncoder::new(array.as_ref(), sent, ty, *typmod).map_err(|error| error.to_string())?;
    let mut decoder = ColumnDecoder::new(&column.of_server, &column.field).map_err(|error| error.to_string())?;
    let mut value = BytesMut::new();
    for row in 0..array.len() {
        value.clear();
        match encoder.encode(row, &mut value).map_err(|misfit| misfit.to_string())? {
            IsNull::Yes => decoder.append_null(),
            IsNull::No => decoder.append_binary(&value).map_err(|misfit| misfit.to_string())?,
        }
    }
    Ok(decoder.finish())
}

fn unreadable(stream: &StreamSchema, why: &dyn std::fmt::Display) -> Error {
    Error::ReadBack {
        stream: stream.stream().clone(),
        why: why.to_string(),
    }
}

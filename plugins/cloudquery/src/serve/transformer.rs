//! A transformer behind the protocol.
//!
//! - Each stream of records has a transformer of its own: one process serves several destinations.
//! - What a table's schema says beside its columns goes on; marks of a column go with it where it only got another name.
//! - Names of tables are the caller's to keep: unlike in a pipeline of ours, they may change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::{Images, OutSchema, Transformer};
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use proto::plugin_v3::{init, test_connection, transform, transform_schema};
use proto::{Decoder, Encoder, Table, TableCodec, encode_schema};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Build;
use super::service::{Answers, Calls, reachable, unreachable};
use super::spec::{TABLES_MAX, chain, failed, invalid, invalid_in, refused};

/// Answers that wait for the caller.
const AHEAD: usize = 2;
/// The one column of the schema by which a caller asks what a table is called behind us.
const DUMMY: &str = "_dummy";

pub(super) struct TransformerCalls {
    build: Build<dyn Transformer>,
    spec: Mutex<Option<Value>>,
    names: Names,
}

/// What tables are called behind the transformer.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<HashMap<String, String>>>);

impl Names {
    fn learn(&self, before: &str, behind: &str) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(before.to_owned(), behind.to_owned());
    }

    fn of(&self, before: &str) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(before)
            .cloned()
    }
}

impl TransformerCalls {
    pub(super) fn new(build: Build<dyn Transformer>) -> Self {
        TransformerCalls {
            build,
            spec: Mutex::new(None),
            names: Names::default(),
        }
    }

    fn made(&self) -> Result<Box<dyn Transformer>, Status> {
        let spec = self.spec.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let spec = spec.ok_or_else(|| Status::failed_precondition("the plugin is not initialized"))?;
        (self.build)(spec).map_err(|error| refused(&error))
    }
}

#[async_trait]
impl Calls for TransformerCalls {
    fn role(&self) -> &'static str {
        "transformer"
    }

    async fn init(&self, spec: Value, _no_connection: bool) -> Result<init::Response, Status> {
        (self.build)(spec.clone()).map_err(|error| refused(&error))?;
        *self.spec.lock().unwrap_or_else(PoisonError::into_inner) = Some(spec);
        Ok(init::Response { supports_flush: false })
    }

    async fn test_connection(&self, spec: Value) -> test_connection::Response {
        match (self.build)(spec) {
            Ok(_) => reachable(),
            Err(error) => unreachable("INVALID_SPEC", refused(&error).message()),
        }
    }

    async fn transform_schema(&self, request: transform_schema::Request) -> Result<transform_schema::Response, Status> {
        let schema = Decoder::default().schema(&request.schema).map_err(invalid)?;
        let behind = self.schema_behind(&schema).await?;
        Ok(transform_schema::Response {
            schema: encode_schema(&behind).map_err(invalid)?,
        })
    }

    async fn transform(
        &self,
        mut records: Streaming<transform::Request>,
    ) -> Result<Answers<transform::Response>, Status> {
        let mut work = Work {
            transformer: self.made()?,
            decoder: Decoder::default(),
            tables: HashMap::new(),
            names: self.names.clone(),
        };
        let (send, answers) = mpsc::channel(AHEAD);
        // Ends when the caller half-closes and everything is out, or with the first record that fails.
        tokio::spawn(async move {
            for count in 1_u64.. {
                let outcome = match records.message().await {
                    Ok(None) => return,
                    Ok(Some(request)) => {
                        let made = work.transform(&request.record).await;
                        made.map_err(|status| {
                            Status::new(status.code(), format!("record {count}: {}", status.message()))
                        })
                    }
                    Err(status) => Err(status),
                };
                match outcome {
                    Ok(made) => {
                        for record in made {
                            if send.send(Ok(transform::Response { record })).await.is_err() {
                                return;
                            }
                        }
                    }
                    Err(status) => {
                        let _ = send.send(Err(status)).await;
                        return;
                    }
                }
            }
        });
        Ok(Box::pin(ReceiverStream::new(answers)))
    }
}

impl TransformerCalls {
    async fn schema_behind(&self, schema: &Schema) -> Result<Schema, Status> {
        let transformer = self.made()?;
        let mut table = Table::of_schema(schema).map_err(invalid)?;
        let is_dummy = table.columns.iter().any(|column| column.field.name() == DUMMY);
        if is_dummy && let Some(behind) = self.names.of(&table.name) {
            table.name = behind;
            return Ok(table.to_schema());
        }
        let before = Arc::new(TableCodec::of_table(table).map_err(invalid)?);
        let outs = match transformer.output_schema(before.ours()).await {
            // It asks for a column of the real table, which has not come by: so nobody has sent rows of it either.
            Err(_) if is_dummy => return Ok(schema.clone()),
            outs => outs.map_err(|error| failed("failed to transform schema", &error))?,
        };
        let name = &before.table().name;
        let out = match &outs[..] {
            [out] => out,
            [] => {
                let what = format!("the transformer drops the whole table `{name}`");
                return Err(Status::unimplemented(what));
            }
            // A caller makes one table of one, so the rows of the others would be of a table that nobody made.
            outs => {
                let what = format!("the transformer makes {} tables of `{name}`", outs.len());
                return Err(Status::unimplemented(what));
            }
        };
        let behind = codec_behind(&before, out)?;
        if !is_dummy {
            self.names.learn(&before.table().name, &behind.table().name);
        }
        Ok(behind.wire().as_ref().clone())
    }
}

/// The table behind the transformer.
fn codec_behind(before: &TableCodec, out: &OutSchema) -> Result<TableCodec, Status> {
    let codec = TableCodec::of_stream(&out.schema, out.schema.stream().name()).map_err(invalid)?;
    let table = before.table();
    let keys_are_the_same = out
        .schema
        .key()
        .iter()
        .map(|&key| out.lineage[key].as_slice())
        .eq(before.ours().key().iter().map(std::slice::from_ref));
    Ok(codec.described(|behind| {
        behind.title.clone_from(&table.title);
        behind.description.clone_from(&table.description);
        behind.constraint_name.clone_from(&table.constraint_name);
        behind.is_incremental = table.is_incremental;
        behind.parent.clone_from(&table.parent);
        behind.is_paid = table.is_paid;
        behind.permissions_needed.clone_from(&table.permissions_needed);
        for (column, lineage) in behind.columns.iter_mut().zip(&out.lineage) {
            let [from] = lineage[..] else { continue };
            let from = &table.columns[from];
            if from.field.data_type() == column.field.data_type() {
                // Where rows are told apart by more, what was unique alone need not be.
                column.is_unique = from.is_unique && keys_are_the_same;
                column.is_incremental = from.is_incremental;
                column.is_key_component = from.is_key_component;
            }
        }
    }))
}

/// One stream of records.
struct Work {
    transformer: Box<dyn Transformer>,
    decoder: Decoder,
    tables: HashMap<String, Known>,
    names: Names,
}

/// A table that has come by.
struct Known {
    wire: SchemaRef,
    before: TableCodec,
    behind: Vec<(TableCodec, Encoder)>,
}

impl Work {
    async fn transform(&mut self, record: &Bytes) -> Result<Vec<Bytes>, Status> {
        let rows = self.decoder.record(record).map_err(invalid)?;
        if rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let table = Table::of_schema(rows.schema_ref()).map_err(invalid)?;
        let name = table.name.clone();
        let what = format!("failed to transform records of `{name}`");
        let is_known = self
            .tables
            .get(&name)
            .is_some_and(|known| known.wire == *rows.schema_ref());
        if !is_known {
            if self.tables.len() >= TABLES_MAX {
                return Err(Status::resource_exhausted(format!(
                    "table `{name}` is one too many: at most {TABLES_MAX} are taken"
                )));
            }
            let before = TableCodec::of_table(table).map_err(|error| invalid_in(&name, error))?;
            let outs = self.transformer.output_schema(before.ours()).await;
            let mut behind = Vec::new();
            for out in outs.map_err(|error| failed(&what, &error))? {
                let codec = codec_behind(&before, &out)?;
                self.names.learn(&name, &codec.table().name);
                let encoder = Encoder::new(Arc::clone(codec.wire())).map_err(invalid)?;
                behind.push((codec, encoder));
            }
            let wire = Arc::clone(rows.schema_ref());
            self.tables.insert(name.clone(), Known { wire, before, behind });
        }
        let Some(known) = self.tables.get_mut(&name) else {
            return Ok(Vec::new());
        };
        let images = Images {
            schema: Arc::clone(known.before.ours()),
            rows: known
                .before
                .rows_from_wire(&rows)
                .map_err(|error| invalid_in(&name, error))?,
            unavailable: None,
            may_drop: true,
        };
        let outs = self.transformer.transform(&images).await;
        let mut made = Vec::new();
        for out in outs.map_err(|error| failed(&what, &error))? {
            let behind = known.behind.iter_mut().find(|(codec, _)| *codec.ours() == out.schema);
            if let Some((codec, encoder)) = behind
                && out.rows.num_rows() > 0
            {
                made.push(encoded(codec, encoder, &out.rows)?);
            }
        }
        Ok(made)
    }
}

fn encoded(codec: &TableCodec, encoder: &mut Encoder, rows: &RecordBatch) -> Result<Bytes, Status> {
    let invalid = |error: &dyn std::error::Error| {
        let table = &codec.table().name;
        Status::invalid_argument(format!("table `{table}`, transformed: {}", chain(error)))
    };
    let arrays = codec.rows_to_wire(rows).map_err(|error| invalid(&error))?;
    let fields = codec.wire().fields().iter().zip(rows.schema_ref().fields());
    let fields: Vec<Field> = fields
        .map(|(wire, rows)| Field::clone(wire).with_nullable(wire.is_nullable() || rows.is_nullable()))
        .collect();
    let wire = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|error| invalid(&error))?;
    encoder.encode(&wire).map_err(|error| invalid(&error))
}

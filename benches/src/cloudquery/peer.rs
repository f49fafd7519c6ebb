//! A plugin that costs next to nothing: as a source it sends one record over and over, as a destination it counts rows.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, TimeUnit};
use bytes::Bytes;
use proto::discovery_v1::discovery_server::{Discovery, DiscoveryServer};
use proto::discovery_v1::get_versions;
use proto::plugin_v3::plugin_server::{Plugin, PluginServer};
use proto::plugin_v3::sync::response::Message as Synced;
use proto::plugin_v3::write::request::Message as Written;
use proto::plugin_v3::{
    assess_tables, close, get_name, get_spec_schema, get_tables, get_version, init, read, sync, test_connection,
    transform, transform_schema, write,
};
use proto::{Column, Decoder, Encoder, Table, encode_schema};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::rig::Result;

type Answers<T> = Pin<Box<dyn Stream<Item = std::result::Result<T, Status>> + Send>>;
type Answer<T> = std::result::Result<Response<T>, Status>;

/// Records of a table.
#[derive(Clone)]
pub(crate) struct Records {
    pub(crate) table: Bytes,
    pub(crate) record: Bytes,
    pub(crate) count: u64,
}

impl Records {
    /// `count` records of so many rows, of a table with so many columns.
    pub(crate) fn new(columns: usize, rows: usize, count: u64) -> Result<Records> {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut table = Table::named("bench");
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for column in 0..columns {
            let at = |row: usize| (column * rows + row) as i64;
            let (name, data_type, array): (_, _, ArrayRef) = match column % 5 {
                0 => (
                    "id",
                    DataType::Int64,
                    Arc::new(Int64Array::from_iter_values((0..rows).map(at))),
                ),
                1 => {
                    let texts = (0..rows).map(|row| format!("a name of some length {}", at(row)));
                    ("name", DataType::Utf8, Arc::new(StringArray::from_iter_values(texts)))
                }
                2 => {
                    let amounts = (0..rows).map(|row| at(row) as f64 / 7.0);
                    (
                        "amount",
                        DataType::Float64,
                        Arc::new(Float64Array::from_iter_values(amounts)),
                    )
                }
                3 => {
                    let times = (0..rows).map(|row| 1_700_000_000_000_000 + at(row));
                    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
                    ("at", utc.clone(), Arc::new(times))
                }
                _ => {
                    let flags: BooleanArray = (0..rows).map(|row| Some(row % 3 == 0)).collect();
                    ("is_open", DataType::Boolean, Arc::new(flags))
                }
            };
            let field = Field::new(format!("{name}_{column}"), data_type, column > 0);
            table.columns.push(Column::new(field).key(column == 0));
            arrays.push(array);
        }
        let schema = Arc::new(table.to_schema());
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
        Ok(Records {
            table: encode_schema(&schema)?,
            record: Encoder::new(schema)?.encode(&batch)?,
            count,
        })
    }
}

/// The plugin.
#[derive(Clone)]
pub(crate) struct Peer {
    records: Records,
    /// Rows that were written to it.
    pub(crate) written: Arc<AtomicU64>,
}

impl Peer {
    pub(crate) fn new(records: Records) -> Peer {
        Peer {
            records,
            written: Arc::default(),
        }
    }

    /// Serves on a port of its own until the runtime ends.
    pub(crate) async fn serve(self) -> Result<String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let plugin = PluginServer::new(self)
            .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
        let router = tonic::transport::Server::builder()
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20)
            .add_service(DiscoveryServer::new(Versions))
            .add_service(plugin);
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(address)
    }

    fn take(&self, decoder: &mut Decoder, message: &Written) -> std::result::Result<(), Status> {
        if let Written::Insert(insert) = message {
            let rows = decoder.record(&insert.record);
            let rows = rows.map_err(|error| Status::invalid_argument(error.to_string()))?;
            self.written.fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Plugin for Peer {
    type SyncStream = Answers<sync::Response>;
    type ReadStream = Answers<read::Response>;
    type WriteStreamStream = ReceiverStream<std::result::Result<write::Response, Status>>;
    type TransformStream = Answers<transform::Response>;

    async fn get_name(&self, _: Request<get_name::Request>) -> Answer<get_name::Response> {
        Ok(Response::new(get_name::Response {
            name: "peer".to_owned(),
        }))
    }

    async fn get_version(&self, _: Request<get_version::Request>) -> Answer<get_version::Response> {
        Ok(Response::new(get_version::Response {
            version: "v1.0.0".to_owned(),
        }))
    }

    async fn get_spec_schema(&self, _: Request<get_spec_schema::Request>) -> Answer<get_spec_schema::Response> {
        Ok(Response::new(get_spec_schema::Response { json_schema: None }))
    }

    async fn init(&self, _: Request<init::Request>) -> Answer<init::Response> {
        Ok(Response::new(init::Response { supports_flush: true }))
    }

    async fn test_connection(&self, _: Request<test_connection::Request>) -> Answer<test_connection::Response> {
        Err(Status::unimplemented("the peer needs none"))
    }

    async fn get_tables(&self, _: Request<get_tables::Request>) -> Answer<get_tables::Response> {
        let tables = vec![self.records.table.clone()];
        Ok(Response::new(get_tables::Response { tables }))
    }

    async fn sync(&self, _: Request<sync::Request>) -> Answer<Self::SyncStream> {
        let Records { table, record, count } = self.records.clone();
        let begin = Synced::MigrateTable(sync::MessageMigrateTable { table });
        let inserts = (0..count).map(move |_| {
            let record = record.clone();
            Synced::Insert(sync::MessageInsert { record })
        });
        let messages = std::iter::once(begin).chain(inserts);
        let answers = messages.map(|message| Ok(sync::Response { message: Some(message) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
    }

    async fn read(&self, _: Request<read::Request>) -> Answer<Self::ReadStream> {
        Err(Status::unimplemented("the peer keeps nothing"))
    }

    async fn write(&self, request: Request<Streaming<write::Request>>) -> Answer<write::Response> {
        let (mut messages, mut decoder) = (request.into_inner(), Decoder::default());
        while let Some(request) = messages.message().await? {
            if let Some(message) = request.message {
                self.take(&mut decoder, &message)?;
            }
        }
        Ok(Response::new(write::Response::default()))
    }

    async fn write_stream(&self, request: Request<Streaming<write::Request>>) -> Answer<Self::WriteStreamStream> {
        let (mut messages, mut decoder) = (request.into_inner(), Decoder::default());
        let (send, answers) = tokio::sync::mpsc::channel(4);
        let peer = self.clone();
        // Ends with the caller's stream.
        tokio::spawn(async move {
            loop {
                let answer = match messages.message().await {
                    Ok(None) => return,
                    Err(status) => Err(status),
                    Ok(Some(request)) => match request.message {
                        Some(Written::Flush(flush)) => Ok(write::Response {
                            flush_id: flush.id,
                            ..write::Response::default()
                        }),
                        Some(message) => match peer.take(&mut decoder, &message) {
                            Ok(()) => continue,
                            Err(status) => Err(status),
                        },
                        None => Err(Status::invalid_argument("no message")),
                    },
                };
                let is_over = answer.is_err();
                if send.send(answer).await.is_err() || is_over {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn transform(&self, _: Request<Streaming<transform::Request>>) -> Answer<Self::TransformStream> {
        Err(Status::unimplemented("the peer changes nothing"))
    }

    async fn transform_schema(&self, _: Request<transform_schema::Request>) -> Answer<transform_schema::Response> {
        Err(Status::unimplemented("the peer changes nothing"))
    }

    async fn assess_tables(&self, _: Request<assess_tables::Request>) -> Answer<assess_tables::Response> {
        Err(Status::unimplemented("the peer keeps nothing"))
    }

    async fn close(&self, _: Request<close::Request>) -> Answer<close::Response> {
        Ok(Response::new(close::Response {}))
    }
}

struct Versions;

#[tonic::async_trait]
impl Discovery for Versions {
    async fn get_versions(&self, _: Request<get_versions::Request>) -> Answer<get_versions::Response> {
        Ok(Response::new(get_versions::Response { versions: vec![3] }))
    }
}

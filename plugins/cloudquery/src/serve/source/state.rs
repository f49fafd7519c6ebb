//! The caller's state table: a table of some destination plugin, whose client we are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, UInt64Type};
use hyper_util::rt::TokioIo;
use proto::plugin_v3::plugin_client::PluginClient;
use proto::plugin_v3::write::request::Message;
use proto::plugin_v3::{read, sync, write};
use proto::{Column, Decoder, Encoder, Table, TableCodec, encode_schema};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::super::spec::{chain, invalid};

/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(60);
/// What our rows of a state table may take: a checkpoint is some hundred bytes a table, so this is a hundred thousand tables.
const STATE_BYTES_MAX: usize = 64 << 20;

/// An open state table.
pub(super) struct StateTable {
    client: PluginClient<Channel>,
    table: Table,
    /// What lies there: by key, the value and its version.
    rows: BTreeMap<String, (String, u64)>,
}

/// `key`, `value`, `version`, in this order: other clients take them by their place.
fn table(name: &str) -> Table {
    let mut table = Table::named(name);
    table.columns = vec![
        Column::new(Field::new("key", DataType::Utf8, true)).key(true),
        Column::new(Field::new("value", DataType::Utf8, true)),
        Column::new(Field::new("version", DataType::UInt64, true)),
    ];
    table
}

impl StateTable {
    /// Makes the table if there is none, and reads the rows whose keys begin with `prefix`.
    pub(super) async fn open(options: &sync::BackendOptions, prefix: &str) -> Result<Self, Status> {
        let connection = &options.connection;
        let channel = dial(connection).await.map_err(|error| {
            Status::unavailable(format!(
                "the state backend at `{connection}` cannot be reached: {}",
                chain(&error)
            ))
        })?;
        let client = PluginClient::new(channel).max_decoding_message_size(proto::MESSAGE_BYTES_MAX);
        let mut state = StateTable {
            client,
            table: table(&options.table_name),
            rows: BTreeMap::new(),
        };
        let table = encode_schema(&state.table.to_schema()).map_err(invalid)?;
        let migrate = write::MessageMigrateTable {
            table: table.clone(),
            migrate_force: false,
        };
        state.write(Message::MigrateTable(migrate)).await?;
        let read = tokio::time::timeout(CALL_MAX, state.read(table, prefix)).await;
        read.map_err(|_| {
            Status::deadline_exceeded(format!(
                "the state backend at `{connection}` has not sent all rows of `{}` in {} s",
                options.table_name,
                CALL_MAX.as_secs()
            ))
        })??;
        Ok(state)
    }

    /// The values by key.
    pub(super) fn values(&self) -> BTreeMap<String, String> {
        let value = |(key, (value, _)): (&String, &(String, u64))| (key.clone(), value.clone());
        self.rows.iter().map(value).collect()
    }

    async fn read(&mut self, table: bytes::Bytes, prefix: &str) -> Result<(), Status> {
        let codec = TableCodec::of_table(self.table.clone()).map_err(invalid)?;
        let mut records = self.client.read(timed(read::Request { table })).await?.into_inner();
        let mut decoder = Decoder::default();
        while let Some(record) = records.message().await? {
            let rows = decoder.record(&record.record).map_err(invalid)?;
            let rows = codec.rows_from_wire(&rows).map_err(invalid)?;
            let (keys, values) = (rows.column(0).as_string::<i32>(), rows.column(1).as_string::<i32>());
            let versions = rows.column(2).as_primitive::<UInt64Type>();
            // Other sources keep theirs in the same table.
            for row in (0..rows.num_rows()).filter(|&row| keys.value(row).starts_with(prefix)) {
                let version = if versions.is_valid(row) { versions.value(row) } else { 0 };
                // A backend that appends has every version: the newest counts.
                let is_newer = |earlier: &(String, u64)| earlier.1 <= version;
                if self.rows.get(keys.value(row)).is_none_or(is_newer) {
                    self.rows
                        .insert(keys.value(row).to_owned(), (values.value(row).to_owned(), version));
                }
            }
            let bytes: usize = self.rows.iter().map(|(key, (value, _))| key.len() + value.len()).sum();
            if bytes > STATE_BYTES_MAX {
                return Err(Status::resource_exhausted(format!(
                    "the state table `{}` holds more than {STATE_BYTES_MAX} bytes for this source",
                    self.table.name
                )));
            }
        }
        Ok(())
    }

    /// Puts what has changed; durable when this returns, if the backend's answers mean that.
    pub(super) async fn put(&mut self, rows: BTreeMap<String, String>) -> Result<(), Status> {
        let changed: Vec<(String, String, u64)> = rows
            .into_iter()
            .filter_map(|(key, value)| match self.rows.get(&key) {
                Some((earlier, _)) if *earlier == value => None,
                earlier => Some((key, value, earlier.map_or(0, |(_, version)| version.saturating_add(1)))),
            })
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let texts = |of: fn(&(String, String, u64)) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(changed.iter().map(of)))
        };
        let versions: ArrayRef = Arc::new(UInt64Array::from_iter_values(changed.iter().map(|row| row.2)));
        let columns = vec![texts(|row| &row.0), texts(|row| &row.1), versions];
        let record = record(&self.table, columns)?;
        self.write(Message::Insert(write::MessageInsert { record })).await?;
        for (key, value, version) in changed {
            self.rows.insert(key, (value, version));
        }
        Ok(())
    }

    async fn write(&mut self, message: Message) -> Result<(), Status> {
        let request = write::Request { message: Some(message) };
        let messages = tokio_stream::iter([request]);
        self.client.write(timed(messages)).await.map(drop)
    }
}

/// The same rows inside a sync: the caller stores them when everything before them is committed.
pub(super) fn checkpoint(name: &str, rows: &BTreeMap<String, String>) -> Result<sync::MessageCheckpoint, Status> {
    let mut table = table(name);
    table.columns.truncate(2);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.keys())),
        Arc::new(StringArray::from_iter_values(rows.values())),
    ];
    Ok(sync::MessageCheckpoint {
        record: record(&table, columns)?,
    })
}

fn record(table: &Table, columns: Vec<ArrayRef>) -> Result<bytes::Bytes, Status> {
    let schema = Arc::new(table.to_schema());
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(invalid)?;
    Encoder::new(schema).map_err(invalid)?.encode(&rows).map_err(invalid)
}

fn timed<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_MAX);
    request
}

/// `host:port`, or `unix://` and a path.
async fn dial(connection: &str) -> Result<Channel, tonic::transport::Error> {
    let timeout = Duration::from_secs(10);
    match connection.strip_prefix("unix://") {
        Some(path) => {
            let path = path.to_owned();
            let connect = tower::service_fn(move |_| {
                let path = path.clone();
                async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
            });
            let endpoint = Endpoint::from_static("http://localhost").connect_timeout(timeout);
            endpoint.connect_with_connector(connect).await
        }
        None => {
            let endpoint = Endpoint::from_shared(format!("http://{connection}"))?.connect_timeout(timeout);
            endpoint.connect().await
        }
    }
}

//! A caller's calls.

use std::path::Path;
use std::sync::Arc;

use api::conformance::text_of;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use proto::plugin_v3::plugin_client::PluginClient;
use proto::plugin_v3::write::request::Message;
use proto::plugin_v3::{close, init, read, write};
use proto::{Decoder, Table, encode_schema};
use serde_json::Value;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// One connection to a plugin.
#[derive(Clone)]
pub struct Caller(pub PluginClient<Channel>);

impl Caller {
    /// Waits for the socket as long as CloudQuery's runtime does.
    pub async fn dial(socket: &Path) -> Caller {
        let socket = Arc::<Path>::from(socket);
        let dial = async || {
            let socket = Arc::clone(&socket);
            let connect = tower::service_fn(move |_| {
                let socket = Arc::clone(&socket);
                async move { UnixStream::connect(&*socket).await.map(TokioIo::new) }
            });
            Endpoint::from_static("http://localhost")
                .connect_with_connector(connect)
                .await
        };
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
        let channel = loop {
            match dial().await {
                Ok(channel) => break channel,
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error:?}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        let client = PluginClient::new(channel)
            .max_decoding_message_size(200 << 20)
            .max_encoding_message_size(200 << 20);
        Caller(client)
    }

    pub async fn init(&self, spec: &Value) -> Result<bool, Status> {
        self.init_bytes(spec.to_string()).await
    }

    pub async fn init_bytes(&self, spec: impl Into<Bytes>) -> Result<bool, Status> {
        let request = init::Request {
            spec: spec.into(),
            no_connection: false,
            invocation_id: "00112233-4455-6677-8899-aabbccddeeff".to_owned(),
        };
        Ok(self.0.clone().init(request).await?.into_inner().supports_flush)
    }

    /// One write from its first message to its answer.
    pub async fn write(&self, messages: Vec<Message>) -> Result<(), Status> {
        let requests = messages
            .into_iter()
            .map(|message| write::Request { message: Some(message) });
        let requests: Vec<_> = requests.collect();
        self.0.clone().write(tokio_stream::iter(requests)).await.map(drop)
    }

    pub async fn close(&self) -> Result<(), Status> {
        self.0.clone().close(close::Request {}).await.map(drop)
    }

    /// All rows of a table: their texts, joined by commas, in order.
    pub async fn read(&self, table: &Table) -> Result<Vec<String>, Status> {
        let request = read::Request {
            table: encode_schema(&table.to_schema()).unwrap(),
        };
        let mut answers = self.0.clone().read(request).await?.into_inner();
        let mut decoder = Decoder::default();
        let mut rows = Vec::new();
        while let Some(answer) = answers.message().await? {
            let record = decoder.record(&answer.record).unwrap();
            for row in 0..record.num_rows() {
                let cell = |column| text_of(record.column(column).as_ref(), row).unwrap_or_else(|| "NULL".to_owned());
                rows.push((0..record.num_columns()).map(cell).collect::<Vec<_>>().join(","));
            }
        }
        rows.sort();
        Ok(rows)
    }
}

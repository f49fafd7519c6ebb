//! One server for all tests that run at the same time, a database for each test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use highwater_plugin_postgres::copy::{CopyDecoder, CopyEncoder, CopyError};
use highwater_plugin_postgres::identifier::quote_ident;
use highwater_plugin_postgres::types::{Column, ColumnDecoder, ColumnEncoder, TypeCatalogue};
use test_systems::Postgres;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// What our connections pin.
const SETTINGS: &str = "-c DateStyle=ISO -c IntervalStyle=iso_8601 -c TimeZone=UTC -c extra_float_digits=3 \
                        -c bytea_output=hex -c lc_monetary=C -c client_encoding=UTF8";

/// A database of its own.
pub struct Database {
    pub client: Client,
    pub catalogue: TypeCatalogue,
    _server: Arc<Postgres>,
}

fn server() -> Option<Arc<Postgres>> {
    let mut shared = SERVER.lock().unwrap();
    if let Some(server) = shared.upgrade() {
        return Some(server);
    }
    match Postgres::start() {
        Ok(server) => {
            let server = Arc::new(server);
            *shared = Arc::downgrade(&server);
            Some(server)
        }
        Err(missing) => {
            eprintln!("skipped: {missing}");
            None
        }
    }
}

async fn connect(server: &Postgres, database: &str) -> Client {
    let mut config: tokio_postgres::Config = server.url(database).parse().unwrap();
    config.options(SETTINGS);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// `None`: this machine has no server.
pub async fn database(setup: &str) -> Option<Database> {
    let server = server()?;
    let name = format!("types_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let client = connect(&server, "postgres").await;
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let client = connect(&server, &name).await;
    client.batch_execute(setup).await.unwrap();
    let catalogue = TypeCatalogue::load(&client).await.unwrap();
    Some(Database {
        client,
        catalogue,
        _server: server,
    })
}

impl Database {
    pub async fn execute(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}: {error:?}");
        }
    }

    /// The type of `v`.
    pub async fn type_of(&self, table: &str) -> u32 {
        let sql = "SELECT atttypid FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = 'v'";
        self.client.query_one(sql, &[&table]).await.unwrap().get(0)
    }

    /// The column `v` of a table.
    pub async fn column(&self, table: &str) -> Column {
        let sql = "SELECT atttypid, atttypmod FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = 'v'";
        let row = self.client.query_one(sql, &[&table]).await.unwrap();
        Column {
            name: "v".to_owned(),
            ty: self.catalogue.get(row.get(0)).unwrap(),
            typmod: row.get(1),
            nullable: true,
        }
    }

    pub async fn declared(&self, table: &str) -> String {
        let sql = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
                   WHERE attrelid = $1::text::regclass AND attname = 'v'";
        self.client.query_one(sql, &[&table]).await.unwrap().get(0)
    }

    /// `v` of the table by COPY in the binary format, in pieces that do not end where rows do.
    pub async fn read_binary(&self, table: &str, column: &Column, field: &Field) -> Result<RecordBatch, CopyError> {
        let sql = format!(
            "COPY (SELECT {} FROM {} ORDER BY id) TO STDOUT (FORMAT binary)",
            column.read_expression(),
            quote_ident(table)
        );
        let stream = self.client.copy_out(&sql).await.unwrap();
        let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
        let whole: Vec<u8> = pieces.concat();
        let schema = Arc::new(Schema::new(vec![field.clone()]));
        let mut decoder = CopyDecoder::new(std::slice::from_ref(column), schema, &[]).unwrap();
        for piece in whole.chunks(1_000) {
            decoder.push(Bytes::copy_from_slice(piece))?;
        }
        assert!(decoder.is_ended());
        decoder.finish_batch()
    }

    /// `v` of the table as the output functions write it.
    pub async fn read_text(&self, table: &str, column: &Column, field: &Field) -> RecordBatch {
        let sql = format!("SELECT v FROM {} ORDER BY id", quote_ident(table));
        let mut decoder = ColumnDecoder::new(column, field).unwrap();
        for message in self.client.simple_query(&sql).await.unwrap() {
            let SimpleQueryMessage::Row(row) = message else {
                continue;
            };
            match row.get(0) {
                Some(text) => decoder
                    .append_text(text.as_bytes())
                    .unwrap_or_else(|misfit| panic!("{table}: {text}: {misfit}")),
                None => decoder.append_null(),
            }
        }
        let schema = Arc::new(Schema::new(vec![field.clone()]));
        RecordBatch::try_new(schema, vec![decoder.finish()]).unwrap()
    }

    /// Fills `v` of the table, which has `id` from 1 by default.
    pub async fn write(&self, table: &str, batch: &RecordBatch) -> Result<(), String> {
        let column = self.column(table).await;
        let field = batch.schema_ref().field(0);
        let encoder = ColumnEncoder::new(batch.column(0).as_ref(), field, &column.ty, column.typmod)
            .map_err(|unsuited| unsuited.to_string())?;
        let mut copy = CopyEncoder::new();
        copy.append_rows(&[encoder], 0..batch.num_rows())
            .map_err(|misfit| format!("{misfit:?}"))?;
        let sql = format!("COPY {} (v) FROM STDIN (FORMAT binary)", quote_ident(table));
        let sink = self.client.copy_in(&sql).await.unwrap();
        futures::pin_mut!(sink);
        sink.send(copy.finish()).await.map_err(|error| format!("{error:?}"))?;
        sink.finish().await.map_err(|error| format!("{error:?}"))?;
        Ok(())
    }

    /// Rows whose values are not the same to the last byte.
    pub async fn differences(&self, left: &str, right: &str) -> Vec<String> {
        let sql = format!(
            "SELECT id, concat(l.v), concat(r.v) FROM {} l FULL JOIN {} r USING (id) \
             WHERE record_send(ROW(l.v)) IS DISTINCT FROM record_send(ROW(r.v)) ORDER BY id LIMIT 20",
            quote_ident(left),
            quote_ident(right)
        );
        let rows = self
            .client
            .query(&sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        rows.iter()
            .map(|row| {
                format!(
                    "{}: {} <> {}",
                    row.get::<_, i32>(0),
                    row.get::<_, String>(1),
                    row.get::<_, String>(2)
                )
            })
            .collect()
    }
}

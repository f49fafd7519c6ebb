//! One connection to the destination's server, and the few ways in which it is used.
//!
//! Constraints:
//! - nothing outlives a transaction when a pooler may give each transaction another server connection: no named prepared
//!   statement, no temporary table, no `SET`, no session lock;
//! - a COPY is sent in chunks of [`CHUNK_BYTES`], so that a large one is never a second time in memory.

use std::collections::HashMap;
use std::pin::pin;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::SinkExt as _;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{CopyInSink, Error, SimpleQueryMessage, SimpleQueryRow, Statement};

use crate::connect::{Connection, session_sql};

/// One COPY message. Smaller costs a message header and a wake-up more often, larger delays the first byte.
const CHUNK_BYTES: usize = 64 << 10;

/// COPY statements that a session keeps prepared; beyond, each is prepared again.
const STATEMENTS_MAX: usize = 1_024;

/// The eleven bytes that a binary COPY begins with, then flags and the length of the (absent) extension.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A connection, and whether the next transaction may get another one.
pub(crate) struct Link {
    connection: Connection,
    is_pooled: bool,
    copies: HashMap<String, Statement>,
}

/// A value in the binary form that PostgreSQL itself uses, with the type known from its catalogue.
#[derive(Debug)]
pub(crate) struct Encoded<'a>(pub(crate) Option<&'a [u8]>);

impl ToSql for Encoded<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Some(bytes) => {
                out.put_slice(bytes);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Link {
    pub(crate) fn new(connection: Connection, is_pooled: bool) -> Self {
        Link {
            connection,
            is_pooled,
            copies: HashMap::new(),
        }
    }

    /// Whether nothing may outlive a transaction.
    pub(crate) fn is_pooled(&self) -> bool {
        self.is_pooled
    }

    /// What a transaction begins with where the session has no settings of its own.
    pub(crate) fn transaction_settings(&self) -> String {
        match self.is_pooled {
            true => session_sql(self.connection.major(), true),
            false => String::new(),
        }
    }

    /// For what reads the catalogue.
    pub(crate) fn client(&self) -> &tokio_postgres::Client {
        &self.connection
    }

    /// Runs statements in one round trip.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), Error> {
        self.connection.batch_execute(sql).await
    }

    /// Runs statements in one round trip; the rows that they give, as text.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, Error> {
        let messages = self.connection.simple_query(sql).await?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .collect())
    }

    /// Runs statements in one round trip; the number of rows that the first one changed.
    pub(crate) async fn count(&self, sql: &str) -> Result<u64, Error> {
        let messages = self.connection.simple_query(sql).await?;
        let first = messages.into_iter().find_map(|message| match message {
            SimpleQueryMessage::CommandComplete(count) => Some(count),
            _ => None,
        });
        Ok(first.unwrap_or(0))
    }

    /// Runs one statement with parameters, without a named prepared statement.
    pub(crate) async fn execute(&self, sql: &str, params: &[(&(dyn ToSql + Sync), Type)]) -> Result<u64, Error> {
        self.connection.execute_typed(sql, params).await
    }

    /// The same, for its rows.
    pub(crate) async fn query(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        self.connection.query_typed(sql, params).await
    }

    /// Sends tuples by a `COPY ... FROM STDIN (FORMAT binary)`. `put` appends one tuple after the other until it returns
    /// false. Returns how many rows the server took.
    pub(crate) async fn copy(&mut self, sql: &str, mut put: impl FnMut(&mut BytesMut) -> bool) -> Result<u64, Error> {
        let sink = match self.prepared(sql).await? {
            Some(statement) => self.connection.copy_in(&statement).await?,
            None => self.connection.copy_in(sql).await?,
        };
        let mut sink = pin!(sink);
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 2));
        chunk.put_slice(COPY_HEADER);
        let mut has_more = true;
        while has_more {
            has_more = put(&mut chunk);
            if !has_more {
                chunk.put_i16(-1);
            }
            if !has_more || chunk.len() >= CHUNK_BYTES {
                let sent: Result<(), Error> = sink.send(chunk.split().freeze()).await;
                if sent.is_err() {
                    // The server has refused a row; the end of the COPY says which.
                    break;
                }
            }
        }
        let sink: std::pin::Pin<&mut CopyInSink<Bytes>> = sink.as_mut();
        sink.finish().await
    }

    async fn prepared(&mut self, sql: &str) -> Result<Option<Statement>, Error> {
        if self.is_pooled {
            return Ok(None);
        }
        if let Some(statement) = self.copies.get(sql) {
            return Ok(Some(statement.clone()));
        }
        let statement = self.connection.prepare(sql).await?;
        if self.copies.len() < STATEMENTS_MAX {
            self.copies.insert(sql.to_owned(), statement.clone());
        }
        Ok(Some(statement))
    }
}

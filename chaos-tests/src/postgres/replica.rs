//! What a PostgreSQL destination shows: its rows and its checkpoint, in one snapshot.

use std::io;

use super::client::Client;
use super::tables::parse;
use crate::copy::Shown;
use crate::shop::Table;
use crate::value::Row;
use crate::view::{TableView, View};

/// A destination database, looked at again and again.
pub struct Replica {
    url: String,
    client: Option<Client>,
}

impl Replica {
    /// The database at `url`, which may come and go.
    pub fn new(url: String) -> Self {
        Replica { url, client: None }
    }

    /// Reads what it shows.
    pub fn read(&mut self, view: &View, destination: &str) -> io::Result<Shown> {
        self.with(|client| {
            client.rows("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
            let mut shown = Shown::default();
            if let Some(text) = stored_checkpoint(client, destination)? {
                shown.checkpoint = serde_json::from_str(&text).map_err(io::Error::other)?;
            }
            for table in view.tables() {
                if exists(client, &format!("public.{}", table.name()))? {
                    shown.rows.insert(table.table(), read_rows(client, table)?);
                }
            }
            client.rows("COMMIT")?;
            Ok(shown)
        })
    }

    /// The stored checkpoint as text; to see whether it moves.
    pub fn ledger_text(&mut self, destination: &str) -> io::Result<Option<String>> {
        self.with(|client| stored_checkpoint(client, destination))
    }

    fn with<T>(&mut self, work: impl Fn(&Client) -> io::Result<T>) -> io::Result<T> {
        // The server may have been started again since; a session on which something failed is not used again.
        if let Some(client) = self.client.take()
            && let Ok(done) = work(&client)
        {
            self.client = Some(client);
            return Ok(done);
        }
        let client = Client::connect(&self.url)?;
        let done = work(&client)?;
        self.client = Some(client);
        Ok(done)
    }
}

fn exists(client: &Client, table: &str) -> io::Result<bool> {
    let found = client.value(&format!("SELECT to_regclass('{table}') IS NOT NULL"))?;
    Ok(found.as_deref() == Some("t"))
}

fn stored_checkpoint(client: &Client, destination: &str) -> io::Result<Option<String>> {
    if !exists(client, "_highwater.ledger")? {
        return Ok(None);
    }
    client.value(&format!(
        "SELECT checkpoint FROM _highwater.ledger WHERE destination = '{destination}'"
    ))
}

/// All rows of a table, in no order.
pub fn read_rows(client: &Client, view: &TableView) -> io::Result<Vec<Row>> {
    let columns: Vec<String> = view.columns().map(|name| format!("\"{name}\"")).collect();
    let rows = client.rows(&format!("SELECT {} FROM public.{}", columns.join(", "), view.name()))?;
    rows.iter().map(|row| typed(view.table(), row)).collect()
}

fn typed(table: Table, row: &[Option<String>]) -> io::Result<Row> {
    let cell = |(at, text): (usize, &Option<String>)| parse(table, at, text.as_deref());
    let row_of_values: Option<Row> = row.iter().enumerate().map(cell).collect();
    row_of_values.ok_or_else(|| io::Error::other(format!("{table} has a row of other types: {row:?}")))
}

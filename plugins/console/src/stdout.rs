//! `stdout`: prints every change.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{
    BuildContext, Capabilities, CommitPoint, Destination, DestinationConnector, DestinationOptions, Error, Guarantee,
    Holds, Lane, OnSchemaChange, Result, Retry, SpecError, WriteMode, Written,
};
use async_trait::async_trait;
use model::ChangeSet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::print;

/// What is kept from `write` to `commit`; more is printed at once. Small, since a terminal is slower than this anyway.
const BUFFER_BYTES: usize = 1 << 20;

/// The spec of `stdout`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdoutSpec {
    /// How rows are printed.
    #[serde(default)]
    pub format: Format,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A table for each batch, for people.
    #[default]
    Table,
    /// One JSON object for each row, for programs.
    Ndjson,
}

/// The connector `stdout`.
pub struct Stdout;

impl DestinationConnector for Stdout {
    const NAME: &'static str = "stdout";
    const ABOUT: &'static str = "Prints every change, as tables or as NDJSON: for looking.";
    type Spec = StdoutSpec;

    fn build(
        spec: StdoutSpec,
        options: DestinationOptions,
        _cx: &BuildContext,
    ) -> Result<Box<dyn Destination>, SpecError> {
        Stdout::printing_to(spec, options, Arc::new(Mutex::new(io::stdout())))
    }

    fn capabilities() -> Capabilities {
        Capabilities {
            // What was printed cannot be taken back, and after a restart it is printed again.
            guarantee: Guarantee::AtLeastOnce,
            writes: &[WriteMode::Append],
            deletes: true,
            truncate: false,
            delete_where: false,
            unavailable: true,
            ddl_in_transaction: false,
            keeps_checkpoint: false,
            reads_back: false,
            buffer_bytes: BUFFER_BYTES,
            commit_interval_min: Duration::ZERO,
        }
    }
}

impl Stdout {
    /// A destination that prints to something else.
    pub fn printing_to(
        spec: StdoutSpec,
        options: DestinationOptions,
        out: Arc<Mutex<dyn io::Write + Send>>,
    ) -> Result<Box<dyn Destination>, SpecError> {
        if let Some(mode) = options.write.filter(|mode| *mode != WriteMode::Append) {
            return Err(SpecError::at("", format!("cannot print in mode `{}`", mode.name()))
                .hint("use `write: append`: every change is printed"));
        }
        if options
            .on_schema_change
            .is_some_and(|choice| choice != OnSchemaChange::Apply)
        {
            return Err(SpecError::at(
                "",
                "cannot hold back a schema change: there is no table that would change",
            )
            .hint("leave `on_schema_change` out: each row is printed with the columns that it has"));
        }
        Ok(Box::new(Printer {
            format: spec.format,
            out,
            pending: String::new(),
        }))
    }
}

struct Printer {
    format: Format,
    out: Arc<Mutex<dyn io::Write + Send>>,
    /// Written and not printed yet.
    pending: String,
}

impl Printer {
    /// Prints what is pending. On a thread of its own: whoever reads may be slow, and nobody else should wait for that.
    async fn print(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (out, text) = (Arc::clone(&self.out), std::mem::take(&mut self.pending));
        let printing = tokio::task::spawn_blocking(move || {
            let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
            out.write_all(text.as_bytes())?;
            out.flush()
        });
        let printed = printing.await.unwrap_or_else(|ended| Err(io::Error::other(ended)));
        printed.map_err(|error| {
            Error::new("E0570", Retry::Operator, "cannot print to standard output")
                .hint("start the program that reads it again, or send the output elsewhere")
                .caused_by(error)
        })
    }
}

#[async_trait]
impl Destination for Printer {
    fn capabilities(&self) -> Capabilities {
        Stdout::capabilities()
    }

    async fn open(&mut self, _lane: &Lane) -> Result<Holds> {
        Ok(Holds::default())
    }

    async fn write(&mut self, changeset: Arc<ChangeSet>) -> Result<Written> {
        match self.format {
            Format::Ndjson => print::ndjson(&changeset, &mut self.pending),
            Format::Table => print::table(&changeset, &mut self.pending)
                .map_err(|error| Error::new("E0570", Retry::Never, "cannot print rows as a table").caused_by(error))?,
        }
        if self.pending.len() > BUFFER_BYTES {
            self.print().await?;
        }
        Ok(Written {
            buffered_bytes: self.pending.len(),
        })
    }

    async fn commit(&mut self, _at: CommitPoint<'_>) -> Result<()> {
        self.print().await
    }

    async fn close(self: Box<Self>) -> Result<()> {
        // What was not committed is void.
        Ok(())
    }
}

//! Reading both sides of a stream, and telling where they differ.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Error, Retry, Stored, StoredView, Transformer, transform_changeset};
use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use model::{
    BUCKETS, Batch, Buckets, ChangeSet, Checkpoint, Delta, DestinationId, Fingerprints, Inspection, Order, Partition,
    Side, StreamId, StreamSchema, StreamState, Timestamp,
};

use super::work::View;
use super::{ComparedAs, Comparison, DIFFERENCES_MAX, VerifyProgress};

/// One comparison of several destinations with one source.
pub(super) struct Comparing {
    pub(super) view: View,
    /// Those before the spool.
    pub(super) transformers: Vec<Box<dyn Transformer>>,
    pub(super) contestants: Vec<Contestant>,
    pub(super) pace: Pace,
    pub(super) sample: Sample,
    pub(super) inspect_bytes: usize,
    pub(super) progress: Arc<VerifyProgress>,
}

/// A destination.
pub(super) struct Contestant {
    pub(super) destination: DestinationId,
    pub(super) stored: Box<dyn StoredView>,
    /// Its own.
    pub(super) transformers: Vec<Box<dyn Transformer>>,
    pub(super) checkpoint: Checkpoint,
}

/// A stream at one destination, while it is compared.
struct Round {
    /// Its contestant.
    at: usize,
    comparison: Comparison,
    /// The shape of the stream there.
    schema: Arc<StreamSchema>,
    /// Which of the compared columns are the key.
    key: Vec<usize>,
    columns: Vec<String>,
    source: Buckets,
    destination: Buckets,
    inspection: Option<Inspection>,
}

impl Round {
    /// Takes rows of one side, as they lie at the destination; `shown` has their keys as they are shown.
    fn take(&mut self, side: Side, rows: &RecordBatch, shown: &RecordBatch, sample: Sample) -> Result<(), Error> {
        let mut prints = Fingerprints::new(rows, &self.key)
            .map_err(|error| Error::new("E0713", Retry::Never, "cannot compare a batch").caused_by(error))?;
        for row in 0..rows.num_rows() {
            if !sample.has(|| prints.key(row)) {
                continue;
            }
            let print = prints.of(row);
            match (&mut self.inspection, side) {
                (Some(inspection), _) if inspection.wants(print.key) => {
                    let columns = prints.by_column(row);
                    inspection.take(side, print, columns, || key_text(&self.comparison.key, shown, row));
                }
                (Some(_), _) => {}
                (None, Side::Source) => self.source.add(print),
                (None, Side::Destination) => self.destination.add(print),
            }
        }
        Ok(())
    }
}

/// The key of a row as it is shown.
fn key_text(key: &[String], rows: &RecordBatch, row: usize) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let value = |name: &String| {
        let column = rows.column_by_name(name)?;
        let formatter = ArrayFormatter::try_new(column.as_ref() as &dyn Array, &options).ok()?;
        formatter.value(row).try_to_string().ok()
    };
    key.iter().map(|name| value(name).unwrap_or_default()).collect()
}

impl Comparing {
    /// Compares one stream at every destination.
    pub(super) async fn compare(&mut self, stream: &StreamId) -> Result<Vec<Comparison>, Error> {
        let mut done = Vec::new();
        let mut rounds = Vec::new();
        let source = self.view.begin(stream).await?;
        let schema = match &source {
            Some(schema) => through(&self.transformers, Arc::clone(schema)).await?,
            None => None,
        };
        for at in 0..self.contestants.len() {
            let comparison = Comparison::new(stream, &self.contestants[at].destination);
            match self.begin(at, stream, schema.as_ref(), comparison).await? {
                Ok(round) => rounds.push(round),
                Err(not_compared) => done.push(not_compared),
            }
        }
        let Some(source) = source.filter(|_| !rounds.is_empty()) else {
            return Ok(done);
        };
        self.read(&source, &mut rounds).await?;
        let mut different = Vec::new();
        for mut round in rounds {
            let differing = round.source.differing(&round.destination);
            round.comparison.source_rows = round.source.row_count();
            round.comparison.destination_rows = round.destination.row_count();
            round.comparison.buckets = BUCKETS as u64;
            round.comparison.buckets_different = differing.len() as u64;
            if differing.is_empty() {
                done.push(round.comparison);
                continue;
            }
            let inspection = Inspection::new(round.columns.clone(), differing, self.inspect_bytes);
            round.comparison.outcome = ComparedAs::Different;
            round.comparison.buckets_inspected = inspection.bucket_count() as u64;
            round.inspection = Some(inspection);
            different.push(round);
        }
        if different.iter().any(|round| round.comparison.buckets_inspected > 0) {
            self.progress
                .say(format!("looking at the rows of {stream} that differ"));
            self.view.begin(stream).await?;
            for round in &different {
                self.contestants[round.at].stored.begin(&round.schema).await?;
            }
            self.read(&source, &mut different).await?;
        }
        for mut round in different {
            let mut differences = round.inspection.take().map(Inspection::finish).unwrap_or_default();
            round.comparison.difference_count = differences.len() as u64;
            differences.truncate(DIFFERENCES_MAX);
            round.comparison.differences = differences;
            done.push(round.comparison);
        }
        done.sort_by(|a, b| a.destination.cmp(&b.destination));
        Ok(done)
    }

    /// Begins a stream at a destination, or says why it cannot be compared there.
    async fn begin(
        &mut self,
        at: usize,
        stream: &StreamId,
        schema: Option<&Arc<StreamSchema>>,
        mut comparison: Comparison,
    ) -> Result<Result<Round, Comparison>, Error> {
        let contestant = &mut self.contestants[at];
        if !matches!(
            contestant.checkpoint.streams.get(stream),
            Some(StreamState::Live { .. })
        ) {
            return Ok(Err(comparison.not_compared("its existing rows are still being read")));
        }
        let schema = match schema {
            Some(schema) => through(&contestant.transformers, Arc::clone(schema)).await?,
            None => None,
        };
        let Some(schema) = schema else {
            return Ok(Err(comparison.not_compared(
                "the source has no such table now, or no transformer lets it through",
            )));
        };
        let columns = match contestant.stored.begin(&schema).await? {
            Stored::Comparable(columns) => columns,
            Stored::Not(why) => return Ok(Err(comparison.not_compared(why))),
        };
        let fields = schema.arrow().fields();
        let key = schema.key().iter();
        comparison.key = schema.key_names().map(str::to_owned).collect();
        comparison.columns_left_out = (0..fields.len())
            .filter(|column| !columns.contains(column))
            .map(|column| fields[column].name().clone())
            .collect();
        Ok(Ok(Round {
            at,
            comparison,
            key: key
                .filter_map(|key| columns.iter().position(|column| column == key))
                .collect(),
            columns: columns.iter().map(|&column| fields[column].name().clone()).collect(),
            schema,
            source: Buckets::default(),
            destination: Buckets::default(),
            inspection: None,
        }))
    }

    /// Reads the source once for all, then each destination.
    async fn read(&mut self, schema: &Arc<StreamSchema>, rounds: &mut [Round]) -> Result<(), Error> {
        while let Some(rows) = self.view.next().await? {
            self.progress.read_at_source(rows.num_rows());
            self.pace.keep(rows.num_rows()).await;
            // Existing rows, for the transformers.
            let range = Partition::Range {
                stream: schema.stream().clone(),
                run: 0,
                range: 0,
            };
            let batch = Batch::of_page(range, 1, Arc::clone(schema), rows, Order::MIN, Timestamp::default());
            let before = transformed(&mut self.transformers, ChangeSet::rows(Delta::none(), vec![batch])).await?;
            for round in &mut *rounds {
                let contestant = &mut self.contestants[round.at];
                let after = transformed(&mut contestant.transformers, before.clone()).await?;
                for batch in after.batches() {
                    let stored = contestant.stored.as_stored(&batch.rows)?;
                    round.take(Side::Source, &stored, &batch.rows, self.sample)?;
                }
            }
        }
        for round in rounds {
            while let Some(rows) = self.contestants[round.at].stored.next().await? {
                self.progress.read_back(rows.num_rows());
                self.pace.keep(rows.num_rows()).await;
                round.take(Side::Destination, &rows, &rows, self.sample)?;
            }
        }
        Ok(())
    }
}

/// The shape of a stream behind transformers; `None` if its rows are dropped.
async fn through(
    transformers: &[Box<dyn Transformer>],
    mut schema: Arc<StreamSchema>,
) -> Result<Option<Arc<StreamSchema>>, Error> {
    for transformer in transformers {
        let mut out = transformer.output_schema(&schema).await?.into_iter();
        match out.next() {
            Some(out) => schema = out.schema,
            None => return Ok(None),
        }
    }
    Ok(Some(schema))
}

async fn transformed(transformers: &mut [Box<dyn Transformer>], mut changeset: ChangeSet) -> Result<ChangeSet, Error> {
    for transformer in transformers {
        changeset = transform_changeset(transformer.as_mut(), &changeset).await?;
    }
    Ok(changeset)
}

/// Which keys are compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample(Option<u64>);

impl Sample {
    pub(super) fn new(share: Option<f64>) -> Self {
        Sample(
            share
                .filter(|share| *share < 1.0)
                .map(|share| (share.max(0.0) * u64::MAX as f64) as u64),
        )
    }

    /// By the low half of its hash; the high half says which bucket it falls in.
    fn has(self, key: impl FnOnce() -> u128) -> bool {
        self.0.is_none_or(|below| (key() as u64) < below)
    }
}

/// No faster than so many rows in a second.
pub(super) struct Pace {
    rows_per_second: Option<f64>,
    begun: Instant,
    rows: f64,
}

impl Pace {
    pub(super) fn new(rows_per_second: Option<f64>) -> Self {
        Pace {
            rows_per_second,
            begun: Instant::now(),
            rows: 0.0,
        }
    }

    async fn keep(&mut self, rows: usize) {
        let Some(rate) = self.rows_per_second else { return };
        self.rows += rows as f64;
        let due = Duration::from_secs_f64(self.rows / rate.max(1e-3));
        tokio::time::sleep(due.saturating_sub(self.begun.elapsed())).await;
    }
}

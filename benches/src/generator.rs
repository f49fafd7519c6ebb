//! A source that makes change rows as fast as it can: what is left is the runtime's own cost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::{
    Context, Emission, Error, Head, HeadMark, Held, LagUnit, Opened, Plan, ReadExisting, Reader, Retry, Source,
    SourceCapabilities, SourceControl, Verdict,
};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};
use async_trait::async_trait;
use model::{
    Batch, ChangeSet, Checkpoint, Commit, Control, Delta, Op, Ops, Order, Partition, Position, StreamId, StreamSchema,
    StreamState, Timestamp,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Rows in each transaction, and in each changeset.
pub(crate) const BATCH_ROWS: i64 = 1_000;
const LOG: &str = "generated";

/// Emits `rows_max` inserts into `items (id, name, amount)`, then nothing more.
pub(crate) struct Generator {
    schema: Arc<StreamSchema>,
    rows_max: i64,
}

impl Generator {
    pub(crate) fn new(rows_max: i64) -> crate::rig::Result<Self> {
        let fields = vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
            Field::new("amount", DataType::Int64, true),
        ];
        let schema = StreamSchema::new(StreamId::new("items"), fields, ["id"])?;
        Ok(Generator {
            schema: Arc::new(schema),
            rows_max,
        })
    }
}

/// What reader and control share.
struct Shared {
    schema: Arc<StreamSchema>,
    controls: std::sync::Mutex<VecDeque<ChangeSet>>,
    wake: Notify,
    head: AtomicU64,
    closed: CancellationToken,
}

#[async_trait]
impl Source for Generator {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            deletes: false,
            old_images: false,
            unavailable: false,
            is_bounded: false,
            rereads: false,
            cursors_elsewhere: false,
        }
    }

    async fn discover(&self) -> api::Result<Vec<Arc<StreamSchema>>> {
        Ok(vec![Arc::clone(&self.schema)])
    }

    async fn open(&self, _plan: &Plan, held: &[Held], cx: Context) -> api::Result<Opened> {
        let shared = Arc::new(Shared {
            schema: Arc::clone(&self.schema),
            controls: std::sync::Mutex::default(),
            wake: Notify::new(),
            head: AtomicU64::new(0),
            closed: CancellationToken::new(),
        });
        let verdicts = held.iter().map(|held| (held.destination.clone(), Verdict::Continue));
        Ok(Opened {
            verdicts: BTreeMap::from_iter(verdicts),
            reader: Box::new(Rows {
                shared: Arc::clone(&shared),
                cx,
                made: 0,
                rows_max: self.rows_max,
                is_begun: false,
            }),
            control: Arc::new(Controls { shared }),
            identity: LOG.to_owned(),
        })
    }
}

struct Rows {
    shared: Arc<Shared>,
    cx: Context,
    made: i64,
    rows_max: i64,
    is_begun: bool,
}

impl Rows {
    fn control(&mut self) -> Option<ChangeSet> {
        let control = self.shared.controls.lock().ok()?.pop_front();
        self.is_begun |= control.is_some();
        control
    }

    fn changeset(&self) -> api::Result<ChangeSet> {
        let ids = self.made + 1..=self.made + BATCH_ROWS;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(ids.clone())),
            Arc::new(StringArray::from_iter_values(
                ids.clone().map(|_| "a name of some length"),
            )),
            Arc::new(Int64Array::from_iter_values(ids.map(|id| id % 1_000))),
        ];
        let rows = RecordBatch::try_new(Arc::clone(self.shared.schema.arrow()), columns)
            .map_err(|error| Error::new("E0299", Retry::Never, "cannot make rows").caused_by(error))?;
        let at = |rows: i64| Order::new(0, rows as u64, 0);
        let (from, to) = (at(self.made), at(self.made + BATCH_ROWS));
        let batch = Batch {
            partition: Partition::log(LOG),
            page: 0,
            schema: Arc::clone(&self.shared.schema),
            ops: Ops::all(Op::Insert, rows.num_rows()),
            commits: vec![Commit {
                row_end: rows.num_rows(),
                order: to,
                time: Timestamp(0),
            }],
            rows,
            before: None,
            unavailable: None,
            page_tags: Vec::new(),
        };
        let delta = Delta::of(Partition::log(LOG), Some(from), Position::at(to));
        Ok(ChangeSet::rows(delta, vec![batch]))
    }
}

#[async_trait]
impl Reader for Rows {
    async fn next(&mut self) -> api::Result<Option<Emission>> {
        loop {
            let control = self.control();
            let changeset = match control {
                Some(control) => control,
                None if self.is_begun && self.made < self.rows_max => self.changeset()?,
                None => {
                    tokio::select! {
                        () = self.shared.wake.notified() => continue,
                        () = self.shared.closed.cancelled() => return Ok(None),
                        () = self.cx.stop.cancelled() => return Ok(None),
                    }
                }
            };
            let reservation = self.cx.memory.reserve(changeset.size_bytes).await;
            if changeset.row_count() > 0 {
                self.made += BATCH_ROWS;
                self.shared.head.store(self.made as u64, Ordering::Relaxed);
            }
            return Ok(Some(Emission { changeset, reservation }));
        }
    }
}

struct Controls {
    shared: Arc<Shared>,
}

#[async_trait]
impl SourceControl for Controls {
    async fn head(&self) -> api::Result<Head> {
        Ok(Head {
            marks: vec![HeadMark {
                log: LOG.into(),
                order: Order::new(0, self.shared.head.load(Ordering::Relaxed), 0),
                time: None,
            }],
            unit: LagUnit::Rows,
        })
    }

    async fn acknowledge(&self, _everywhere: &Checkpoint) -> api::Result<()> {
        Ok(())
    }

    /// A read without rows: the stream is live at once.
    async fn read_existing(&self, request: ReadExisting) -> api::Result<u32> {
        let (stream, run) = (self.shared.schema.stream().clone(), 1);
        let here = Order::new(0, 0, 0);
        let begin = Control::BeginRead {
            schema: Arc::clone(&self.shared.schema),
            run,
            destinations: request.destinations,
            empty_first: false,
        };
        let end = Control::EndRead {
            stream: stream.clone(),
            run,
        };
        let begun = Delta::of(Partition::log(LOG), Some(here), Position::at(here))
            .with_stream(stream.clone(), StreamState::reading(run, Vec::new()));
        let live = Delta::none().with_stream(stream, StreamState::Live { run });
        if let Ok(mut controls) = self.shared.controls.lock() {
            controls.extend([ChangeSet::control(begun, begin), ChangeSet::control(live, end)]);
        }
        self.shared.wake.notify_one();
        Ok(run)
    }

    async fn close(&self) -> api::Result<()> {
        self.shared.closed.cancel();
        Ok(())
    }
}

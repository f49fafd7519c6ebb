//! The one who writes: recovery when it opens, then journal before database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use model::{DestinationId, PipelineId};
use tokio::sync::oneshot;

use super::database::{self, Change, Database, Refusal};
use super::directory::{self, Lock};
use super::journal::{self, Journal};
use super::record::{BODY_BYTES_MAX, FORMAT, Item, Key, NAME_BYTES_MAX, Record, Value};
use super::recovery::{self, InDatabase};
use super::{Held, lock};
use crate::{Notice, StateError, Stored, codes};

/// What a caller wants to have written.
pub(super) enum Wish {
    Put {
        pipeline: PipelineId,
        destination: DestinationId,
        value: Box<Stored>,
        expected_epoch: u64,
    },
    Keep {
        pipeline: PipelineId,
        kept: BTreeMap<String, Bytes>,
    },
    Forget {
        pipeline: PipelineId,
    },
}

/// A wish and who waits for it. The answer is the new epoch, or how many values were forgotten.
pub(super) struct Order {
    pub(super) wish: Wish,
    pub(super) reply: oneshot::Sender<Result<u64, StateError>>,
}

/// A wish that was found right, ready to be written.
struct Planned {
    record: Record,
    changes: Vec<Change>,
    effect: Effect,
    answer: u64,
    reply: oneshot::Sender<Result<u64, StateError>>,
}

enum Effect {
    Set(Key, Value),
    Forget(PipelineId),
}

type Live = BTreeMap<Key, Held>;

/// Writes until something fails, and then never again.
pub(super) struct Writer {
    dir: PathBuf,
    journal: Journal,
    database: Database,
    seq: u64,
    /// Everything up to here is durable in the database.
    settled: u64,
    is_stopped: bool,
    /// Last, so that it is given back after the database is closed.
    _lock: Lock,
}

impl Writer {
    /// Opens the directory: the steps are in the module's documentation.
    pub(super) fn open(dir: &Path) -> Result<(Writer, Live, Vec<Notice>), StateError> {
        directory::ensure(dir)?;
        let lock = Lock::take(dir)?;
        fail::fail_point!("state.open_locked");
        let is_old = directory::read_format(dir)?;
        directory::ensure(&dir.join("journal"))?;
        let journal = journal::read(dir)?;
        let number = journal.number + 1;
        let (database, in_database, mut notices) = open_database(dir, is_old, true)?;
        fail::fail_point!("state.open_read");

        let recovered = recovery::merge(journal, in_database, is_old);
        notices.extend(recovered.notices);
        let live = decode_all(recovered.values.clone())?;
        let (database, moved) = repair(dir, database, &recovered.values, recovered.repairs, recovered.seq)?;
        notices.extend(moved);
        fail::fail_point!("state.open_repaired");

        let seq = recovered.seq;
        let journal = Journal::begin(dir, number, recovered.values.into_values(), seq, seq)?;
        fail::fail_point!("state.open_before_format");
        if !is_old {
            directory::write_format(dir)?;
        }
        fail::fail_point!("state.open_ready");
        let writer = Writer {
            dir: dir.to_owned(),
            journal,
            database,
            seq,
            settled: seq,
            is_stopped: false,
            _lock: lock,
        };
        Ok((writer, live, notices))
    }

    /// Writes what is wished, as many wishes with one sync as do not touch each other, and answers everybody.
    pub(super) fn serve(&mut self, orders: Vec<Order>, live: &Mutex<Live>) {
        let mut waiting = orders.into_iter().peekable();
        while waiting.peek().is_some() {
            let mut group = Vec::new();
            let mut touched = BTreeSet::new();
            while let Some(order) = waiting.next_if(|order| may_join(&order.wish, &mut touched)) {
                let is_forget = matches!(order.wish, Wish::Forget { .. });
                group.extend(self.plan(order, live));
                if is_forget {
                    break;
                }
            }
            self.write(group, live);
        }
    }

    /// Checks a wish against what is durable; refuses it, or gives it its seq.
    fn plan(&mut self, order: Order, live: &Mutex<Live>) -> Option<Planned> {
        let Order { wish, reply } = order;
        let planned = if self.is_stopped {
            Err(StateError::Stopped)
        } else {
            self.try_plan(wish, &lock(live))
        };
        match planned {
            Ok(Some((record, changes, effect, answer))) => Some(Planned {
                record,
                changes,
                effect,
                answer,
                reply,
            }),
            Ok(None) => {
                let _ = reply.send(Ok(0));
                None
            }
            Err(error) => {
                let _ = reply.send(Err(error));
                None
            }
        }
    }

    /// `None` where there is nothing to do.
    #[allow(clippy::type_complexity, reason = "taken apart at once by its only caller")]
    fn try_plan(&mut self, wish: Wish, live: &Live) -> Result<Option<(Record, Vec<Change>, Effect, u64)>, StateError> {
        let (key, value) = match wish {
            Wish::Forget { pipeline } => return Ok(self.plan_forget(pipeline, live)),
            Wish::Keep { pipeline, kept } => (Key::Kept(pipeline), Value::Kept(kept)),
            Wish::Put {
                pipeline,
                destination,
                mut value,
                expected_epoch,
            } => {
                let key = Key::Destination(pipeline.clone(), destination.clone());
                let found = live.get(&key).map_or(0, |held| held.value.epoch());
                if found != expected_epoch {
                    return Err(StateError::Epoch {
                        pipeline,
                        destination,
                        expected: expected_epoch,
                        found,
                    });
                }
                value.epoch = expected_epoch + 1;
                (key, Value::Destination(value))
            }
        };
        let body = encode(&key, &value)?;
        let record = self.next_record(Item::Value(key.clone()), body);
        let change = (key.to_bytes(), Some(record.encode()));
        let epoch = value.epoch();
        Ok(Some((record, vec![change], Effect::Set(key, value), epoch)))
    }

    fn plan_forget(&mut self, pipeline: PipelineId, live: &Live) -> Option<(Record, Vec<Change>, Effect, u64)> {
        let keys = live.keys().filter(|key| *key.pipeline() == pipeline);
        let changes: Vec<Change> = keys.map(|key| (key.to_bytes(), None)).collect();
        if changes.is_empty() {
            return None;
        }
        let record = self.next_record(Item::Forgotten(pipeline.clone()), Vec::new());
        let count = changes.len() as u64;
        Some((record, changes, Effect::Forget(pipeline), count))
    }

    fn next_record(&mut self, item: Item, body: Vec<u8>) -> Record {
        self.seq += 1;
        Record {
            item,
            seq: self.seq,
            settled: self.settled,
            body,
        }
    }

    fn write(&mut self, group: Vec<Planned>, live: &Mutex<Live>) {
        if group.is_empty() {
            return;
        }
        let outcome = self.try_write(&group, live);
        if let Err(error) = &outcome {
            self.is_stopped = true;
            if matches!(error, StateError::Database { .. }) {
                self.database.suspect();
            }
        }
        let mut answers = Vec::with_capacity(group.len());
        if outcome.is_ok() {
            let mut live = lock(live);
            for planned in group {
                match planned.effect {
                    Effect::Set(key, value) => {
                        let seq = planned.record.seq;
                        live.insert(key, Held { seq, value });
                    }
                    Effect::Forget(pipeline) => live.retain(|key, _| *key.pipeline() != pipeline),
                }
                answers.push((planned.reply, planned.answer));
            }
        } else {
            answers.extend(group.into_iter().map(|planned| (planned.reply, 0)));
        }
        for (reply, answer) in answers {
            // Nobody may be waiting any more; it is written all the same.
            let _ = reply.send(outcome.clone().map(|()| answer));
        }
    }

    fn try_write(&mut self, group: &[Planned], live: &Mutex<Live>) -> Result<(), StateError> {
        self.keep_small(live)?;
        let records: Vec<Record> = group.iter().map(|planned| planned.record.clone()).collect();
        self.journal.append(&records)?;
        let changes: Vec<Change> = group.iter().flat_map(|planned| planned.changes.clone()).collect();
        self.database.write(&changes)?;
        self.settled = records.last().map_or(self.settled, |record| record.seq);
        Ok(())
    }

    /// Cuts the journal short when it is full, and makes the database anew when it has grown out of proportion.
    fn keep_small(&mut self, live: &Mutex<Live>) -> Result<(), StateError> {
        if !self.journal.is_full() {
            return Ok(());
        }
        let records = encode_all(&lock(live), self.settled)?;
        let value_bytes: usize = records.iter().map(|record| record.body.len()).sum();
        if self.database.is_bloated(value_bytes as u64) {
            let values = records.iter().filter_map(as_change).collect();
            self.database = create_database(&self.dir, values)?;
        }
        let number = self.journal.next_number();
        self.journal = Journal::begin(&self.dir, number, records, self.settled, self.settled)?;
        Ok(())
    }
}

/// Wishes that touch the same value need each other's outcome, and a forgetting touches what it does not name.
fn may_join(wish: &Wish, touched: &mut BTreeSet<Key>) -> bool {
    match wish {
        Wish::Put {
            pipeline, destination, ..
        } => touched.insert(Key::Destination(pipeline.clone(), destination.clone())),
        Wish::Keep { pipeline, .. } => touched.insert(Key::Kept(pipeline.clone())),
        Wish::Forget { .. } => touched.is_empty(),
    }
}

fn encode(key: &Key, value: &Value) -> Result<Vec<u8>, StateError> {
    let too_large = |size_bytes, limit_bytes| StateError::TooLarge {
        whose: key.to_string(),
        size_bytes,
        limit_bytes,
    };
    let name = key.pipeline().as_str().len();
    let destination = match key {
        Key::Destination(_, destination) => destination.as_str().len(),
        Key::Kept(_) => 0,
    };
    if name.max(destination) > NAME_BYTES_MAX {
        return Err(too_large(name.max(destination), NAME_BYTES_MAX));
    }
    let body = value.encode().map_err(|source| StateError::Decode {
        whose: key.to_string(),
        source: Arc::new(source),
    })?;
    if body.len() > BODY_BYTES_MAX {
        return Err(too_large(body.len(), BODY_BYTES_MAX));
    }
    Ok(body)
}

fn encode_all(live: &Live, settled: u64) -> Result<Vec<Record>, StateError> {
    let encode_one = |(key, held): (&Key, &Held)| {
        Ok(Record {
            item: Item::Value(key.clone()),
            seq: held.seq,
            settled,
            body: encode(key, &held.value)?,
        })
    };
    live.iter().map(encode_one).collect()
}

pub(super) fn decode_all(records: BTreeMap<Key, Record>) -> Result<Live, StateError> {
    let decode_one = |(key, record): (Key, Record)| match Value::decode(&key, &record.body) {
        Ok(value) => Ok((key, Held { seq: record.seq, value })),
        Err(source) => Err(StateError::Decode {
            whose: key.to_string(),
            source: Arc::new(source),
        }),
    };
    records.into_iter().map(decode_one).collect()
}

fn as_change(record: &Record) -> Option<Change> {
    match &record.item {
        Item::Value(key) => Some((key.to_bytes(), Some(record.encode()))),
        Item::Forgotten(_) | Item::Base => None,
    }
}

type Opened = (Option<Database>, Option<InDatabase>, Vec<Notice>);

/// Opens the database if it can be opened, moved aside if not. `is_kept` says whether the caller goes on with it.
pub(super) fn open_database(dir: &Path, is_old: bool, is_kept: bool) -> Result<Opened, StateError> {
    let reason = match Database::open(dir) {
        Ok((database, entries)) => {
            let in_database = InDatabase::read(entries).map_err(|found| StateError::Newer {
                path: dir.join("sled"),
                found,
                known: FORMAT,
            })?;
            return Ok((Some(database), Some(in_database), Vec::new()));
        }
        Err(Refusal::System(path, error)) => return Err(directory::cannot(dir, "open", &path, error)),
        Err(Refusal::Absent) if !is_old => return Ok((None, None, Vec::new())),
        Err(Refusal::Absent) => "it is missing".to_owned(),
        Err(Refusal::Unusable(reason)) => reason,
    };
    let moved = if is_kept { move_aside(dir)? } else { None };
    Ok((None, None, vec![rebuilt(&reason, moved.as_deref())]))
}

fn rebuilt(reason: &str, moved: Option<&Path>) -> Notice {
    let whereto = moved.map_or(String::new(), |path| format!("; it was moved to `{}`", path.display()));
    Notice::new(
        codes::W0402.id,
        format!("the database was rebuilt from the journal: {reason}{whereto}"),
    )
}

fn move_aside(dir: &Path) -> Result<Option<PathBuf>, StateError> {
    database::move_aside(dir).map_err(|refusal| refused(dir, refusal))
}

fn create_database(dir: &Path, values: Vec<Change>) -> Result<Database, StateError> {
    Database::create(dir, values).map_err(|refusal| refused(dir, refusal))
}

/// A new database does not open either: whatever the reason, it is none that a new database could mend.
fn refused(dir: &Path, refusal: Refusal) -> StateError {
    match refusal {
        Refusal::System(path, source) => StateError::Write {
            doing: "write",
            path,
            source: Arc::new(source),
        },
        Refusal::Unusable(detail) => StateError::Database {
            path: dir.join("sled"),
            detail,
        },
        Refusal::Absent => StateError::Database {
            path: dir.join("sled"),
            detail: "it vanished".to_owned(),
        },
    }
}

/// Makes the database say what is true, in place if it can be written to, else with a new one.
fn repair(
    dir: &Path,
    database: Option<Database>,
    values: &BTreeMap<Key, Record>,
    repairs: Vec<Change>,
    seq: u64,
) -> Result<(Database, Option<Notice>), StateError> {
    let all = || values.values().filter_map(as_change).collect();
    let Some(mut database) = database else {
        return Ok((create_database(dir, all())?, None));
    };
    if database.is_bloated(values.values().map(|record| record.body.len() as u64).sum()) {
        drop(database);
        return Ok((create_database(dir, all())?, None));
    }
    match database.repair(&repairs, seq) {
        Ok(()) => Ok((database, None)),
        Err(Refusal::System(path, error)) => Err(refused(dir, Refusal::System(path, error))),
        Err(Refusal::Absent) => Ok((create_database(dir, all())?, None)),
        Err(Refusal::Unusable(reason)) => {
            drop(database);
            let moved = move_aside(dir)?;
            let notice = rebuilt(&reason, moved.as_deref());
            Ok((create_database(dir, all())?, Some(notice)))
        }
    }
}

//! The one who writes: the journal before the database, and never again after a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use model::{DestinationId, PipelineId};
use tokio::sync::oneshot;

use super::database::{Change, Database};
use super::directory::Lock;
use super::journal::Journal;
use super::opening::{as_change, create_database};
use super::record::{BODY_BYTES_MAX, Item, Key, NAME_BYTES_MAX, Record, Value};
use super::{Held, lock};
use crate::{StateError, Stored};

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
pub(super) struct Request {
    pub(super) wish: Wish,
    pub(super) reply: Reply,
}

type Reply = oneshot::Sender<Result<u64, StateError>>;

/// A wish that was found right, ready to be written.
struct Plan {
    record: Record,
    changes: Vec<Change>,
    effect: Effect,
    answer: u64,
}

enum Effect {
    Set(Key, Value),
    Forget(PipelineId),
}

pub(super) type Live = BTreeMap<Key, Held>;

/// The two homes of every value, and who may write to them.
pub(super) struct Writer {
    pub(super) dir: PathBuf,
    pub(super) journal: Journal,
    pub(super) database: Database,
    pub(super) seq: u64,
    /// Everything up to here is durable in the database.
    pub(super) settled: u64,
    pub(super) is_stopped: bool,
    /// Last, so that it is given back after the database is closed.
    pub(super) _lock: Lock,
}

impl Writer {
    /// Writes what is wished, as many wishes with one sync as do not touch each other, and answers everybody.
    pub(super) fn serve(&mut self, requests: Vec<Request>, live: &Mutex<Live>) {
        let mut waiting = requests.into_iter().peekable();
        while waiting.peek().is_some() {
            let mut group = Vec::new();
            let mut touched = BTreeSet::new();
            while let Some(Request { wish, reply }) = waiting.next_if(|request| may_join(&request.wish, &mut touched)) {
                let is_forget = matches!(wish, Wish::Forget { .. });
                match self.plan(wish, &lock(live)) {
                    Ok(Some(plan)) => group.push((plan, reply)),
                    Ok(None) => answer(reply, Ok(0)),
                    Err(error) => answer(reply, Err(error)),
                }
                if is_forget {
                    break;
                }
            }
            self.write(group, live);
        }
    }

    /// Checks a wish against what is durable, and gives it its seq. `None` where there is nothing to do.
    fn plan(&mut self, wish: Wish, live: &Live) -> Result<Option<Plan>, StateError> {
        if self.is_stopped {
            return Err(StateError::Stopped);
        }
        let (key, value) = match wish {
            Wish::Forget { pipeline } => return Ok(self.plan_forget(pipeline, live)),
            Wish::Keep { pipeline, kept } => (Key::Kept(pipeline), Value::Kept(kept)),
            Wish::Put {
                pipeline,
                destination,
                mut value,
                expected_epoch: expected,
            } => {
                let key = Key::Destination(pipeline.clone(), destination.clone());
                let found = live.get(&key).map_or(0, |held| held.value.epoch());
                if found != expected {
                    return Err(StateError::Epoch {
                        pipeline,
                        destination,
                        expected,
                        found,
                    });
                }
                value.epoch = expected + 1;
                (key, Value::Destination(value))
            }
        };
        let body = encode(&key, &value)?;
        let record = self.next_record(Item::Value(key.clone()), body);
        Ok(Some(Plan {
            changes: vec![(key.to_bytes(), Some(record.encode()))],
            record,
            answer: value.epoch(),
            effect: Effect::Set(key, value),
        }))
    }

    fn plan_forget(&mut self, pipeline: PipelineId, live: &Live) -> Option<Plan> {
        let keys = live.keys().filter(|key| *key.pipeline() == pipeline);
        let changes: Vec<Change> = keys.map(|key| (key.to_bytes(), None)).collect();
        (!changes.is_empty()).then(|| Plan {
            record: self.next_record(Item::Forgotten(pipeline.clone()), Vec::new()),
            answer: changes.len() as u64,
            changes,
            effect: Effect::Forget(pipeline),
        })
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

    fn write(&mut self, group: Vec<(Plan, Reply)>, live: &Mutex<Live>) {
        if group.is_empty() {
            return;
        }
        let (plans, replies): (Vec<Plan>, Vec<Reply>) = group.into_iter().unzip();
        let outcome = self.try_write(&plans, live);
        if let Err(error) = &outcome {
            self.is_stopped = true;
            if matches!(error, StateError::Database { .. }) {
                self.database.suspect();
            }
        }
        let answers: Vec<u64> = plans.iter().map(|plan| plan.answer).collect();
        if outcome.is_ok() {
            let mut live = lock(live);
            for plan in plans {
                plan.take_effect(&mut live);
            }
        }
        for (reply, epoch) in replies.into_iter().zip(answers) {
            answer(reply, outcome.clone().map(|()| epoch));
        }
    }

    fn try_write(&mut self, plans: &[Plan], live: &Mutex<Live>) -> Result<(), StateError> {
        self.keep_small(live)?;
        let records: Vec<&Record> = plans.iter().map(|plan| &plan.record).collect();
        self.journal.append(&records)?;
        let changes: Vec<Change> = plans.iter().flat_map(|plan| plan.changes.clone()).collect();
        self.database.write(&changes)?;
        self.settled = self.seq;
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

impl Plan {
    fn take_effect(self, live: &mut Live) {
        match self.effect {
            Effect::Set(key, value) => {
                let seq = self.record.seq;
                live.insert(key, Held { seq, value });
            }
            Effect::Forget(pipeline) => live.retain(|key, _| *key.pipeline() != pipeline),
        }
    }
}

/// Nobody may be waiting any more; what is written is written all the same.
fn answer(reply: Reply, outcome: Result<u64, StateError>) {
    let _ = reply.send(outcome);
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
    let body = value.encode().map_err(|source| StateError::Encode {
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

//! Opening: what the two homes hold, made one. The order of the steps is in the documentation of [`super`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Held;
use super::database::{self, Change, Database, Refusal};
use super::directory::{self, Lock};
use super::journal::{self, Journal};
use super::record::{FORMAT, Item, Key, Record, Value};
use super::recovery::{self, InDatabase};
use super::writer::{Live, Writer};
use crate::{Notice, StateError, codes};

impl Writer {
    /// Opens the directory; the error leaves it as it was, or in a state from which the next open goes on.
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

pub(super) fn as_change(record: &Record) -> Option<Change> {
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

pub(super) fn create_database(dir: &Path, values: Vec<Change>) -> Result<Database, StateError> {
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

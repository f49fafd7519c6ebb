//! The journal: every value reaches it, synced, before it reaches the database.
//!
//! `journal/0000000042.log` is the line `highwater-journal 1` and then [records](super::record): all values that there are, a
//! *base* record, and after it one record for each write, in the order of their seq. When the part after the base has grown
//! to [`TAIL_BYTES_MAX`], or to the size of the base if that is more, the next file is written as
//! `0000000043.log.new`, synced, renamed, and the directory synced. So is one at every open: a journal that is appended to
//! never has a damaged part. The file before the newest stays as a spare, so the journal takes at most twice the values and
//! twice the tail.
//!
//! A damaged part costs the records in it and no more: reading goes on at the next record. A part at the end is either the
//! beginning of a record that a kill cut off, or damage; both are told.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::PipelineId;

use super::directory;
use super::record::{FORMAT, Item, Key, MAGIC, Parsed, Record};
use crate::StateError;

/// How much is appended before the journal is written anew. Less costs a rewrite (three syncs) more often than every
/// two thousand writes or so, more costs disk and time to open.
const TAIL_BYTES_MAX: u64 = 1 << 20;

const FIRST_LINE: &[u8] = b"highwater-journal 1\n";

/// The journal that is being written.
pub(super) struct Journal {
    dir: PathBuf,
    number: u64,
    path: PathBuf,
    file: File,
    base_bytes: u64,
    tail_bytes: u64,
}

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The newest record of each key.
    pub(super) values: BTreeMap<Key, Record>,
    /// The seq of the record before the newest, where the files still have it.
    pub(super) superseded: BTreeMap<Key, u64>,
    /// The newest forgetting of each pipeline.
    pub(super) forgotten: BTreeMap<PipelineId, u64>,
    /// The largest seq.
    pub(super) seq: u64,
    /// The largest settled seq.
    pub(super) settled: u64,
    /// Whether the newest file is whole: then a key that is not in `values` does not exist up to `seq`.
    pub(super) is_whole: bool,
    /// What is wrong, for the message.
    pub(super) damage: Vec<String>,
    /// How many bytes of a record that was cut off stand at the end.
    pub(super) unfinished_bytes: usize,
    /// The number of the newest file; 0 where there is none.
    pub(super) number: u64,
}

impl Content {
    fn take(&mut self, record: Record) {
        self.seq = self.seq.max(record.seq);
        self.settled = self.settled.max(record.settled);
        match &record.item {
            Item::Value(key) => {
                let key = key.clone();
                let held_seq = self.values.get(&key).map(|held| held.seq);
                if held_seq.is_none_or(|held| held < record.seq) {
                    self.values.insert(key.clone(), record);
                    self.superseded.extend(held_seq.map(|seq| (key, seq)));
                }
            }
            Item::Forgotten(pipeline) => {
                let last = self.forgotten.entry(pipeline.clone()).or_default();
                *last = record.seq.max(*last);
            }
            Item::Base => {}
        }
    }

    fn drop_forgotten(&mut self) {
        let forgotten = &self.forgotten;
        self.values
            .retain(|key, record| forgotten.get(key.pipeline()).is_none_or(|&seq| record.seq > seq));
    }
}

/// Reads the journal without changing anything.
///
/// A newest file that is whole says everything. Otherwise the spare adds what it has.
pub(super) fn read(state_dir: &Path) -> Result<Content, StateError> {
    let dir = state_dir.join("journal");
    let mut content = Content::default();
    let numbers = match numbers(&dir) {
        Ok(numbers) => numbers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(directory::cannot(state_dir, "read", &dir, error)),
    };
    content.number = numbers.last().copied().unwrap_or(0);
    if numbers.is_empty() {
        content.damage.push("there is no journal".to_owned());
    }
    for number in numbers.into_iter().rev() {
        let path = dir.join(file_name(number));
        let bytes = fs::read(&path).map_err(|error| directory::cannot(state_dir, "read", &path, error))?;
        let is_whole = scan(&path, &bytes, &mut content)?;
        if number == content.number && is_whole {
            content.is_whole = true;
            break;
        }
    }
    content.drop_forgotten();
    Ok(content)
}

/// Takes the records of one file; says whether it has its base and no damage.
fn scan(path: &Path, bytes: &[u8], content: &mut Content) -> Result<bool, StateError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut is_whole = true;
    let mut has_base = false;
    let mut at = FIRST_LINE.len();
    if !bytes.starts_with(FIRST_LINE) {
        is_whole = false;
        content.damage.push(format!("`{name}` lacks its first line"));
        at = next_record(bytes, 0).unwrap_or(bytes.len());
    }
    while at < bytes.len() {
        let parsed = Record::parse(&bytes[at..]);
        match parsed {
            Parsed::Whole(record, length) => {
                has_base |= record.item == Item::Base;
                content.take(record);
                at += length;
                continue;
            }
            Parsed::Newer(found) => {
                return Err(StateError::Newer {
                    path: path.to_owned(),
                    found,
                    known: FORMAT,
                });
            }
            Parsed::Unfinished | Parsed::Damaged => {}
        }
        let end = next_record(bytes, at + 1);
        let part = &bytes[at..end.unwrap_or(bytes.len())];
        // A file system may lengthen a file before it writes what is in it, so zeros are an end cut off as well.
        let is_cut_off = end.is_none() && (parsed == Parsed::Unfinished || part.iter().all(|&byte| byte == 0));
        if is_cut_off && has_base {
            content.unfinished_bytes = part.len();
        } else {
            is_whole = false;
            let damage = format!("`{name}` is unreadable from byte {at} for {} bytes", part.len());
            content.damage.push(damage);
        }
        at += part.len();
    }
    if !has_base && is_whole {
        content
            .damage
            .push(format!("`{name}` ends before its base is complete"));
    }
    Ok(is_whole && has_base)
}

/// Where the next record begins that is whole (or of a newer format), from `from` on.
fn next_record(bytes: &[u8], from: usize) -> Option<usize> {
    let tail = bytes.get(from..)?;
    tail.windows(MAGIC.len())
        .enumerate()
        .filter(|(_, window)| window == MAGIC)
        .map(|(offset, _)| from + offset)
        .find(|&at| matches!(Record::parse(&bytes[at..]), Parsed::Whole(..) | Parsed::Newer(_)))
}

fn file_name(number: u64) -> String {
    format!("{number:010}.log")
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".log")?.parse().ok()
}

/// The numbers of the journal's files, smallest first.
fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        numbers.extend(number_of(&name.to_string_lossy()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

impl Journal {
    /// Begins file `number` with `records` as its base, and removes all but the file before it.
    ///
    /// Durability: when it returns, the file is in place and synced. Until its rename the files before it are untouched.
    pub(super) fn begin(
        state_dir: &Path,
        number: u64,
        records: impl IntoIterator<Item = Record>,
        seq: u64,
        settled: u64,
    ) -> Result<Journal, StateError> {
        let dir = state_dir.join("journal");
        let path = dir.join(file_name(number));
        let unnamed = dir.join(format!("{}.new", file_name(number)));
        fn refused<'p>(doing: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> StateError + 'p {
            move |error| write_failed(doing, path, error)
        }

        let mut bytes = FIRST_LINE.to_vec();
        for record in records {
            bytes.extend_from_slice(&record.encode());
        }
        let base = Record {
            item: Item::Base,
            seq,
            settled,
            body: Vec::new(),
        };
        bytes.extend_from_slice(&base.encode());

        let file = directory::create_file(&unnamed).map_err(refused("create", &unnamed))?;
        (&file).write_all(&bytes).map_err(refused("write", &unnamed))?;
        file.sync_all().map_err(refused("sync", &unnamed))?;
        fail::fail_point!("state.before_journal_rename");
        fs::rename(&unnamed, &path).map_err(refused("rename", &unnamed))?;
        directory::sync(&dir).map_err(refused("sync", &dir))?;
        fail::fail_point!("state.after_journal_rename");

        let journal = Journal {
            dir,
            number,
            path,
            file,
            base_bytes: bytes.len() as u64,
            tail_bytes: 0,
        };
        journal.remove_older();
        Ok(journal)
    }

    /// Whether it is time to [`begin`](Journal::begin) the next file.
    pub(super) fn is_full(&self) -> bool {
        self.tail_bytes >= TAIL_BYTES_MAX.max(self.base_bytes)
    }

    /// The number of the file after this one.
    pub(super) fn next_number(&self) -> u64 {
        self.number + 1
    }

    /// Appends records and syncs them.
    pub(super) fn append(&mut self, records: &[&Record]) -> Result<(), StateError> {
        let bytes: Vec<u8> = records.iter().flat_map(|record| record.encode()).collect();
        fail::fail_point!("state.before_journal");
        // Only a build with fail-points can be killed between two halves of a record.
        let half = if fail::has_failpoints() { bytes.len() / 2 } else { 0 };
        let (front, back) = bytes.split_at(half);
        let written = self.file.write_all(front).and_then(|()| {
            fail::fail_point!("state.mid_journal_write");
            self.file.write_all(back)
        });
        written.map_err(|error| write_failed("write", &self.path, error))?;
        fail::fail_point!("state.before_journal_fsync");
        self.file
            .sync_data()
            .map_err(|error| write_failed("sync", &self.path, error))?;
        fail::fail_point!("state.after_journal_fsync");
        self.tail_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Best effort: a file too many is read in vain, and removed at the next turn.
    fn remove_older(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let number = number_of(&name);
            let is_spare = number.is_some_and(|number| number + 1 >= self.number);
            if !is_spare && (number.is_some() || name.ends_with(".log.new")) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn write_failed(doing: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Write {
        doing,
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

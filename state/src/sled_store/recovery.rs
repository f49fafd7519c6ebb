//! Which values are true, given what the journal and the database say. No I/O.
//!
//! | journal, newest file | database | value taken | told |
//! |---|---|---|---|
//! | whole | has it at the same seq | that | |
//! | whole | has the one before it, the newest is not settled | the journal's | N0401: a kill between the two |
//! | whole | lacks it, or one before it, that was settled | the journal's | W0401: the database went back |
//! | whole | has one that the journal lacks, seq <= the journal's | none: it was forgotten | W0401 |
//! | whole | has a newer one, seq > the journal's | the database's | W0403: the journal lost its end |
//! | damaged or missing | either | the newer | W0403 |
//! | without a record | unreadable or missing | none | W0404, if there ever was one |

use std::collections::{BTreeMap, BTreeSet};

use super::database::Change;
use super::journal;
use super::record::{FORMAT, Item, Key, Parsed, Record};
use crate::{Notice, codes};

/// The truth, and what must be done so that the database says the same.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) values: BTreeMap<Key, Record>,
    /// The largest seq of all.
    pub(super) seq: u64,
    pub(super) repairs: Vec<Change>,
    pub(super) notices: Vec<Notice>,
}

/// What the database holds.
#[derive(Debug, Default)]
pub(super) struct InDatabase {
    values: BTreeMap<Key, Record>,
    /// Keys under which something unreadable stands.
    unreadable: BTreeSet<Vec<u8>>,
}

impl InDatabase {
    /// Understands what stands in the database; the error is the format of a newer version.
    pub(super) fn read(entries: Vec<Change>) -> Result<InDatabase, u16> {
        let mut read = InDatabase::default();
        for (key, bytes) in entries {
            let bytes = bytes.unwrap_or_default();
            match Record::parse(&bytes) {
                Parsed::Whole(record, length) if length == bytes.len() => match &record.item {
                    // A sound value under another's key would be as wrong as a broken one.
                    Item::Value(whose) if whose.to_bytes() == key => {
                        read.values.insert(whose.clone(), record);
                    }
                    _ => {
                        read.unreadable.insert(key);
                    }
                },
                Parsed::Newer(format) if format > FORMAT => return Err(format),
                _ => {
                    read.unreadable.insert(key);
                }
            }
        }
        Ok(read)
    }
}

/// Merges the two. `is_old` says that the directory was complete once, so that something must be there.
pub(super) fn merge(journal: journal::Content, database: Option<InDatabase>, is_old: bool) -> Recovered {
    let has_database = database.is_some();
    let mut database = database.unwrap_or_default();
    let is_empty = database.values.is_empty() && journal.values.is_empty() && journal.seq == 0;
    let mut findings = Findings {
        unreadable_count: database.unreadable.len(),
        ..Findings::default()
    };
    let newest_in_database = database.values.values().map(|record| record.seq).max().unwrap_or(0);
    let mut out = Recovered {
        seq: journal.seq.max(newest_in_database),
        ..Recovered::default()
    };

    for (key, record) in &database.values {
        if is_gone(key, record, &journal) {
            let by = journal.forgotten.get(key.pipeline()).copied().unwrap_or(0);
            findings
                .of_database(by <= journal.settled)
                .note(key, "is forgotten".to_owned());
            out.repairs.push((key.to_bytes(), None));
        } else if journal.values.get(key).is_none_or(|known| known.seq < record.seq) {
            findings.ahead.note(key, epochs(journal.values.get(key), record));
            out.values.insert(key.clone(), record.clone());
        }
    }
    for (key, record) in &journal.values {
        if out.values.contains_key(key) {
            continue;
        }
        let held = database.values.get(key);
        if held.is_none_or(|held| held.seq < record.seq) {
            if has_database {
                let lacks = |seq: u64| seq <= journal.settled && held.is_none_or(|held| held.seq < seq);
                let went_back = lacks(record.seq) || journal.superseded.get(key).copied().is_some_and(lacks);
                findings.of_database(went_back).note(key, epochs(held, record));
            }
            let bytes = key.to_bytes();
            database.unreadable.remove(&bytes);
            out.repairs.push((bytes, Some(record.encode())));
        }
        out.values.insert(key.clone(), record.clone());
    }
    out.repairs
        .extend(database.unreadable.into_iter().map(|key| (key, None)));
    findings.is_database_sound = has_database && findings.back.is_empty() && findings.unreadable_count == 0;
    out.notices = findings.notices(&journal, is_old, is_empty);
    out
}

/// Whether the journal proves that a value of the database exists no more.
fn is_gone(key: &Key, record: &Record, journal: &journal::Content) -> bool {
    let is_forgotten = |&seq: &u64| record.seq <= seq;
    let is_unknown = journal.is_whole && record.seq <= journal.seq && !journal.values.contains_key(key);
    is_unknown || journal.forgotten.get(key.pipeline()).is_some_and(is_forgotten)
}

/// How the two differ.
#[derive(Default)]
struct Findings {
    /// The database lacks what it once had.
    back: Found,
    /// The database lacks what a kill kept from it.
    interrupted: Found,
    /// The journal lacks it.
    ahead: Found,
    unreadable_count: usize,
    /// Whether it can bear witness to where the journal ended.
    is_database_sound: bool,
}

impl Findings {
    fn of_database(&mut self, went_back: bool) -> &mut Found {
        if went_back {
            &mut self.back
        } else {
            &mut self.interrupted
        }
    }

    fn notices(&self, journal: &journal::Content, is_old: bool, is_empty: bool) -> Vec<Notice> {
        let unaffected = "destinations that keep their own checkpoint are not affected";
        let damage = journal.damage.join("; ");
        if is_empty && !journal.is_whole {
            let message = format!("no state could be read, so nothing is known: {damage}");
            let lost = Notice::new(codes::W0404.id, message).hint(unaffected);
            return if is_old { vec![lost] } else { Vec::new() };
        }
        let mut notices = Vec::new();
        if !journal.is_whole {
            let taken = self.ahead.or("nothing was newer in the database");
            let message = format!("the journal is damaged: {damage}; from the database: {taken}");
            notices.push(Notice::new(codes::W0403.id, message).hint(format!("look after the disk; {unaffected}")));
        } else if !self.ahead.is_empty() {
            let taken = self.ahead.or("");
            let message = format!("the journal lost its end; taken from the database: {taken}");
            notices.push(Notice::new(codes::W0403.id, message).hint("look after the disk"));
        }
        if !self.back.is_empty() || self.unreadable_count > 0 {
            let found = self.back.or("no value was older");
            let mut message = format!("the database had lost what the journal proves, and was repaired: {found}");
            if self.unreadable_count > 0 {
                message.push_str(&format!("; {} unreadable", self.unreadable_count));
            }
            notices.push(Notice::new(codes::W0401.id, message));
        }
        if !self.interrupted.is_empty() {
            let found = self.interrupted.or("");
            let message = format!("a write that a kill had interrupted was finished: {found}");
            notices.push(Notice::new(codes::N0401.id, message));
        }
        if journal.unfinished_bytes > 0 {
            let bytes = journal.unfinished_bytes;
            let message = format!("an unfinished record of {bytes} bytes was dropped from the journal");
            notices.push(if self.is_database_sound || !is_old {
                Notice::new(codes::N0402.id, message)
            } else {
                Notice::new(
                    codes::W0403.id,
                    format!("{message}, and the database cannot tell what it was"),
                )
                .hint(format!("look after the disk; {unaffected}"))
            });
        }
        notices
    }
}

/// A list for a message, cut short.
#[derive(Default)]
struct Found {
    count: usize,
    named: Vec<String>,
}

impl Found {
    const NAMED_MAX: usize = 5;

    fn note(&mut self, key: &Key, what: String) {
        self.count += 1;
        if self.named.len() < Self::NAMED_MAX {
            self.named.push(format!("{key} {what}"));
        }
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn or(&self, nothing: &str) -> String {
        match self.count - self.named.len() {
            _ if self.count == 0 => nothing.to_owned(),
            0 => self.named.join(", "),
            more => format!("{} and {more} more", self.named.join(", ")),
        }
    }
}

/// `at epoch 418 instead of 399`, or by seq where there are no epochs.
fn epochs(old: Option<&Record>, new: &Record) -> String {
    #[derive(serde::Deserialize)]
    struct Epoch {
        epoch: u64,
    }
    let epoch = |record: &Record| {
        serde_json::from_slice::<Epoch>(&record.body)
            .ok()
            .map(|found| found.epoch)
    };
    match (old.and_then(epoch), epoch(new)) {
        (Some(old), Some(new)) => format!("at epoch {new} instead of {old}"),
        (None, Some(new)) => format!("at epoch {new}"),
        (_, None) => format!("at write {}", new.seq),
    }
}

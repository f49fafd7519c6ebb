//! Changes of one stream that are accepted and not yet sent, brought down to one for each key.
//!
//! Constraints:
//! - what stands here for a key is what all its changes since the last flush come to, in their order;
//! - rows are kept as the bytes that a COPY takes, so nothing of the changeset is held and nothing is encoded twice;
//! - a value that was not sent never overwrites one that was.
//!
//! What two changes of one key come to (columns: what comes later):
//!
//! | | put | patch | delete | remove |
//! |---|---|---|---|---|
//! | **put** | the later put | put with the patch's values | delete | remove |
//! | **patch** | the put | patch with both's values | delete | remove |
//! | **delete**, **remove** | the put | error: there is no row to patch | as it was | remove |

use std::collections::HashMap;
use std::ops::Range;

/// What is to be done to the row of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Inserted, or overwritten.
    Put,
    /// The values that were sent are set; which, says the mask of that number.
    Patch(usize),
    /// Deleted, as the options say.
    Delete,
    /// Deleted for real: the row has another key now.
    Remove,
}

/// One change.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) step: Step,
    /// Whether the source made the key's row after the last flush, so that the table does not have it.
    is_new: bool,
    /// Where its fields lie. Put and patch: every written column. Delete and remove: the key's.
    row: Range<usize>,
}

/// A patch came for a row that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRow;

/// The changes of one stream.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    bytes: Vec<u8>,
    changes: Vec<Change>,
    by_key: HashMap<Box<[u8]>, usize>,
    key_bytes: usize,
    /// Sets of columns that were sent, one bit for each written column.
    masks: Vec<Box<[bool]>>,
}

/// What an entry costs beside its bytes.
const ENTRY_BYTES: usize = size_of::<Change>() + size_of::<Box<[u8]>>() + 2 * size_of::<usize>();

impl Pending {
    /// Number of changes.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Memory that it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.len() + self.key_bytes + self.changes.len() * ENTRY_BYTES
    }

    /// Adds a row that stands for itself: an appended one.
    pub(crate) fn append(&mut self, row: &[u8]) {
        let row = self.store(row);
        self.changes.push(Change {
            step: Step::Put,
            is_new: true,
            row,
        });
    }

    /// A row that the source has made.
    pub(crate) fn insert(&mut self, key: &[u8], row: &[u8]) {
        self.set(key, Step::Put, row, true);
    }

    /// A row that was there before, with all its values.
    pub(crate) fn put(&mut self, key: &[u8], row: &[u8]) {
        self.set(key, Step::Put, row, false);
    }

    /// The key's row is gone at the source.
    pub(crate) fn delete(&mut self, key: &[u8]) {
        if self.step_of(key) != Some(Step::Remove) {
            self.set(key, Step::Delete, key, false);
        }
    }

    /// The key's row has another key.
    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.set(key, Step::Remove, key, false);
    }

    /// A row of which only the values in `sent` came; the others are null in `row`.
    pub(crate) fn patch(&mut self, key: &[u8], row: &[u8], sent: &[bool]) -> Result<(), NoRow> {
        let Some(&at) = self.by_key.get(key) else {
            let mask = self.mask(sent.to_vec());
            self.set(key, Step::Patch(mask), row, false);
            return Ok(());
        };
        let merged = overlay(self.fields(at), row, sent);
        match self.changes[at].step {
            Step::Put => {
                let row = self.store(&merged);
                self.changes[at].row = row;
            }
            Step::Patch(earlier) => {
                let both = self.masks[earlier].iter().zip(sent).map(|(a, b)| *a || *b).collect();
                let mask = self.mask(both);
                let row = self.store(&merged);
                self.changes[at].step = Step::Patch(mask);
                self.changes[at].row = row;
            }
            Step::Delete | Step::Remove => return Err(NoRow),
        }
        Ok(())
    }

    /// What is to be done to a key's row so far.
    pub(crate) fn step_of(&self, key: &[u8]) -> Option<Step> {
        self.by_key.get(key).map(|&at| self.changes[at].step)
    }

    pub(crate) fn step(&self, at: usize) -> Step {
        self.changes[at].step
    }

    /// Whether the source made the row after the last flush, so that the table does not have it.
    pub(crate) fn is_new(&self, at: usize) -> bool {
        self.changes[at].is_new
    }

    /// Which of the written columns a patch sets.
    pub(crate) fn sent(&self, mask: usize) -> &[bool] {
        &self.masks[mask]
    }

    /// The bytes of a change's fields.
    pub(crate) fn row(&self, at: usize) -> &[u8] {
        &self.bytes[self.changes[at].row.clone()]
    }

    /// The fields of a change, each with its length before it.
    pub(crate) fn fields(&self, at: usize) -> Fields<'_> {
        Fields(self.row(at))
    }

    /// What is known of whether the table has the row is known from the first change of its key.
    fn set(&mut self, key: &[u8], step: Step, row: &[u8], is_new: bool) {
        let row = self.store(row);
        match self.by_key.get(key) {
            Some(&at) => {
                self.changes[at].step = step;
                self.changes[at].row = row;
            }
            None => {
                self.by_key.insert(key.into(), self.changes.len());
                self.key_bytes += key.len();
                self.changes.push(Change { step, is_new, row });
            }
        }
    }

    fn store(&mut self, row: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(row);
        start..self.bytes.len()
    }

    fn mask(&mut self, sent: Vec<bool>) -> usize {
        match self.masks.iter().position(|mask| **mask == *sent) {
            Some(at) => at,
            None => {
                self.masks.push(sent.into());
                self.masks.len() - 1
            }
        }
    }
}

/// The fields of `under`, with those of `over` in their place that were sent.
fn overlay(under: Fields<'_>, over: &[u8], sent: &[bool]) -> Vec<u8> {
    let fields = under.zip(Fields(over)).zip(sent);
    fields
        .flat_map(|((under, over), sent)| if *sent { over } else { under })
        .copied()
        .collect()
}

/// Walks the fields of a tuple: four bytes of length, -1 for NULL, then the value.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = i32::from_be_bytes(self.0.get(..4)?.try_into().ok()?);
        let end = 4 + usize::try_from(length).unwrap_or(0);
        let (field, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some(field)
    }
}

/// The value of a field; `None` for NULL.
pub(crate) fn value_of(field: &[u8]) -> Option<&[u8]> {
    let (length, value) = field.split_at_checked(4)?;
    (length != (-1_i32).to_be_bytes()).then_some(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn row(values: &[Option<&str>]) -> Vec<u8> {
        let mut row = Vec::new();
        for value in values {
            match value {
                Some(text) => {
                    row.extend((text.len() as i32).to_be_bytes());
                    row.extend(text.as_bytes());
                }
                None => row.extend((-1_i32).to_be_bytes()),
            }
        }
        row
    }

    fn key(text: &str) -> Vec<u8> {
        row(&[Some(text)])
    }

    fn shown(pending: &Pending, at: usize) -> (Step, String) {
        let fields: Vec<String> = pending
            .fields(at)
            .map(|field| value_of(field).map_or("-".to_owned(), |value| String::from_utf8(value.to_vec()).unwrap()))
            .collect();
        (pending.step(at), fields.join(","))
    }

    #[test]
    fn last_of_several_puts_stays() {
        let mut pending = Pending::default();
        pending.put(&key("1"), &row(&[Some("1"), Some("a")]));
        pending.put(&key("2"), &row(&[Some("2"), Some("b")]));
        pending.put(&key("1"), &row(&[Some("1"), Some("c")]));
        assert_eq!(pending.len(), 2);
        assert_eq!(shown(&pending, 0), (Step::Put, "1,c".to_owned()));
        assert!(!pending.is_new(0));
    }

    #[test]
    fn patch_changes_only_what_was_sent() {
        let mut pending = Pending::default();
        pending.put(&key("1"), &row(&[Some("1"), Some("a"), Some("b")]));
        pending
            .patch(&key("1"), &row(&[Some("1"), None, Some("c")]), &[true, false, true])
            .unwrap();
        assert_eq!(shown(&pending, 0), (Step::Put, "1,a,c".to_owned()));
    }

    #[test]
    fn row_is_new_from_its_insert_on_whatever_else_happens_to_it() {
        let mut pending = Pending::default();
        pending.insert(&key("1"), &key("1"));
        pending.put(&key("1"), &key("1"));
        pending.patch(&key("1"), &key("1"), &[true]).unwrap();
        assert!(pending.is_new(0));
        pending.delete(&key("1"));
        assert_eq!((pending.step(0), pending.is_new(0)), (Step::Delete, true));
        pending.insert(&key("1"), &key("1"));
        assert_eq!((pending.step(0), pending.is_new(0)), (Step::Put, true));
    }

    #[test]
    fn row_that_was_there_is_not_new_when_it_is_made_again() {
        let mut pending = Pending::default();
        pending.delete(&key("1"));
        pending.insert(&key("1"), &key("1"));
        assert_eq!((pending.step(0), pending.is_new(0)), (Step::Put, false));
        pending.remove(&key("2"));
        pending.insert(&key("2"), &key("2"));
        assert!(!pending.is_new(1));
    }

    #[test]
    fn patches_of_one_key_come_together() {
        let mut pending = Pending::default();
        pending
            .patch(&key("1"), &row(&[Some("1"), None, Some("c")]), &[true, false, true])
            .unwrap();
        pending
            .patch(&key("1"), &row(&[Some("1"), Some("b"), None]), &[true, true, false])
            .unwrap();
        let (step, fields) = shown(&pending, 0);
        assert_eq!(fields, "1,b,c");
        let Step::Patch(mask) = step else { panic!("{step:?}") };
        assert_eq!(pending.sent(mask), [true, true, true]);
    }

    #[test]
    fn deleted_row_cannot_be_patched_but_put() {
        let mut pending = Pending::default();
        pending.delete(&key("1"));
        assert_eq!(pending.patch(&key("1"), &key("1"), &[true]), Err(NoRow));
        pending.put(&key("1"), &key("1"));
        assert_eq!(pending.step(0), Step::Put);
    }

    #[test]
    fn removed_row_is_not_merely_marked_by_a_later_delete() {
        let mut pending = Pending::default();
        pending.remove(&key("1"));
        pending.delete(&key("1"));
        assert_eq!(shown(&pending, 0), (Step::Remove, "1".to_owned()));
    }

    #[test]
    fn null_and_empty_are_two_values() {
        let tuple = row(&[None, Some("")]);
        let values: Vec<_> = Fields(&tuple).map(value_of).collect();
        assert_eq!(values, [None, Some(&b""[..])]);
    }
}

//! Where in the log each transaction lies, as the writer notes it in the source.

use std::io;

use super::client::Client;
use crate::oracle::{Place, Places};

/// Between what two places of the log a transaction's commit record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Committed {
    number: u64,
    /// Where the log was just before the record.
    after: i64,
    /// Where it was just after; not known if the server died before that was noted.
    until: Option<i64>,
}

/// The notes in the source's table `chaos_position`.
pub struct Positions {
    url: String,
    known: Vec<Committed>,
}

impl Positions {
    /// Those of the database at `url`.
    pub fn new(url: String) -> Self {
        Positions { url, known: Vec::new() }
    }

    fn refresh(&mut self) -> io::Result<()> {
        // The last one may have been noted in part.
        self.known.pop();
        let sql = format!(
            "SELECT txn, lsn - '0/0'::pg_lsn, ends - '0/0'::pg_lsn FROM public.chaos_position WHERE txn > {} ORDER BY txn",
            self.known.len()
        );
        let committed = |row: &Vec<Option<String>>| {
            let number = |at: usize| row.get(at)?.as_deref()?.parse::<i64>().ok();
            Some(Committed {
                number: number(0)? as u64,
                after: number(1)?,
                until: number(2),
            })
        };
        for row in Client::connect(&self.url)?.rows(&sql)? {
            let new = committed(&row).filter(|new| new.number == self.known.len() as u64 + 1);
            let new = new.ok_or_else(|| io::Error::other(format!("position {} is {row:?}", self.known.len() + 1)))?;
            self.known.push(new);
        }
        Ok(())
    }
}

impl Places for Positions {
    fn place(&mut self, seq: i64) -> io::Result<Place> {
        self.refresh()?;
        Ok(Place::After(count_covered(&self.known, seq)))
    }

    fn last_written(&mut self) -> io::Result<u64> {
        self.refresh()?;
        Ok(self.known.len() as u64)
    }
}

/// What the note itself (a row and an index entry) and the commit record take at least, in bytes.
const COMMIT_BYTES: i64 = 184;

/// How many transactions a position covers. Records begin at multiples of 8: a position that is one is that of a commit
/// record. Any other is the last byte before a place up to which the log was read. There the record of something else may
/// begin, such as a list of running transactions, before or after the commit record: what comes before does so within the note.
///
/// That is a guess where the note took more than usual (after a checkpoint, when whole pages are logged): if it is
/// wrong, a position just before a commit record counts as one after it, and the changes of that one transaction seem to be
/// missing while `txn_mark` is still being read. One full drill failed so; that it was the guess and no lost change is not proven.
fn count_covered(known: &[Committed], seq: i64) -> u64 {
    let is_of_a_commit = seq % 8 == 0;
    let covered = known.partition_point(|committed| match committed.until {
        Some(until) if !is_of_a_commit => until.min(committed.after + COMMIT_BYTES) <= seq + 1,
        _ => committed.after <= seq,
    });
    covered as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_between_the_note_and_the_commit_record_does_not_cover_it() {
        let committed = |number, after, until| Committed { number, after, until };
        let known = [
            committed(1, 800, Some(1_040)),
            committed(2, 1_600, Some(1_800)),
            committed(3, 2_000, None),
        ];
        let covered = |seq| count_covered(&known, seq);
        assert_eq!(covered(792), 0);
        assert_eq!(covered(880), 1, "its commit record");
        assert_eq!(covered(887), 0, "something else that lies before it");
        assert_eq!(covered(983), 1, "everything up to its end, where something else begins");
        assert_eq!(covered(1_679), 1);
        assert_eq!(covered(1_680), 2);
        assert_eq!(covered(2_007), 3);
    }
}

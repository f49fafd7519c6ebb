//! Where in the log each transaction's commit record lies: read from a replication slot of the test's own, so that nothing is
//! guessed from places of the log that were noted around it.

use std::io;

use super::client::Client;
use crate::oracle::{Place, Places};

/// Of the slot, and of the publication that shows it `chaos_position` alone.
const NAME: &str = "chaos_oracle";

/// What the slot has told of the transactions, each of which inserts its number into `chaos_position`.
pub struct Positions {
    url: String,
    /// The place of the commit record of transaction 1, 2, ...
    known: Vec<i64>,
}

impl Positions {
    /// Those of the database at `url`, which has had no transaction yet.
    pub fn begin(url: String) -> io::Result<Self> {
        let client = Client::connect(&url)?;
        client.rows("CREATE TABLE public.chaos_position (txn bigint PRIMARY KEY)")?;
        client.rows(&format!(
            "CREATE PUBLICATION {NAME} FOR TABLE public.chaos_position WITH (publish = 'insert')"
        ))?;
        client.rows(&format!(
            "SELECT pg_create_logical_replication_slot('{NAME}', 'pgoutput')"
        ))?;
        Ok(Positions { url, known: Vec::new() })
    }

    fn refresh(&mut self) -> io::Result<()> {
        let sql = format!(
            "SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('{NAME}', NULL, NULL, \
             'proto_version', '1', 'publication_names', '{NAME}')"
        );
        let mut commit = None;
        for row in Client::connect(&self.url)?.rows(&sql)? {
            let text = row.into_iter().next().flatten().unwrap_or_default();
            let message = parse(&text).ok_or_else(|| io::Error::other(format!("a message that is not one: {text}")))?;
            match (message, commit) {
                (Message::Begin { commit_record }, _) => commit = Some(commit_record),
                (Message::Inserted { number }, Some(at)) => self.learn(number, at)?,
                (Message::Inserted { .. }, None) => return Err(io::Error::other("a row outside a transaction")),
                (Message::Other, _) => {}
            }
        }
        Ok(())
    }

    fn learn(&mut self, number: u64, at: i64) -> io::Result<()> {
        match number.checked_sub(self.known.len() as u64 + 1) {
            Some(0) => self.known.push(at),
            // A server that was killed may tell again what it told.
            None if self.known[number as usize - 1] == at => {}
            _ => {
                let known = self.known.len();
                return Err(io::Error::other(format!(
                    "transaction {number} at {at} after {known} of them"
                )));
            }
        }
        Ok(())
    }
}

impl Places for Positions {
    fn place(&mut self, seq: i64) -> io::Result<Place> {
        // Commit records come in order: with a later one known, all up to here are.
        if self.known.last().is_none_or(|&last| last <= seq) {
            self.refresh()?;
        }
        let covered = self.known.partition_point(|&commit| commit <= seq);
        Ok(Place::After(covered as u64))
    }

    fn last_written(&mut self) -> io::Result<u64> {
        self.refresh()?;
        Ok(self.known.len() as u64)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Message {
    Begin { commit_record: i64 },
    Inserted { number: u64 },
    Other,
}

/// One `pgoutput` message of protocol 1, in hexadecimal; the only table has one column.
fn parse(hex: &str) -> Option<Message> {
    let byte = |at: usize| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok();
    let number = |at: usize, bytes: usize| i64::from_str_radix(hex.get(2 * at..2 * (at + bytes))?, 16).ok();
    match byte(0)? {
        b'B' => Some(Message::Begin {
            commit_record: number(1, 8)?,
        }),
        // Relation, 'N', one column, 't', its length, its text.
        b'I' => {
            let length = number(9, 4)?;
            let digits = (13..13 + usize::try_from(length).ok()?).map(|at| Some(byte(at)? as char));
            let number = digits.collect::<Option<String>>()?.parse().ok()?;
            Some(Message::Inserted { number })
        }
        _ => Some(Message::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_transaction_are_read() {
        let begin = format!("42{:016x}{:016x}{:08x}", 0x16_B374_D848_i64, 0, 731);
        assert_eq!(
            parse(&begin),
            Some(Message::Begin {
                commit_record: 0x16_B374_D848
            })
        );
        let inserted = format!("49{:08x}4e{:04x}74{:08x}313530{}", 16_385, 1, 4, "35");
        assert_eq!(parse(&inserted), Some(Message::Inserted { number: 1_505 }));
        assert_eq!(parse("43"), Some(Message::Other));
        assert_eq!(parse("4900"), None);
    }
}

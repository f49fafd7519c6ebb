//! Transactions that are sent while they run: kept until it is known whether they commit.
//!
//! Messages are kept as they were sent, each with the id of its sub-transaction, so that a ROLLBACK TO SAVEPOINT takes away its
//! part alone. In memory as far as the budget has room, then in files in the scratch directory, one for each transaction:
//!
//! | part | meaning |
//! |---|---|
//! | 4 bytes | length of the message |
//! | 4 bytes | id of the sub-transaction |
//! | rest | the message, as `pgoutput` sends it inside a block |

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use api::{Reservation, Share};
use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

use super::error::Error;

/// What is gathered before it is written to a file when there is no room in memory: a file is not written message by message.
const WRITE_BYTES: usize = 64 << 10;

/// All transactions that are being sent.
pub(crate) struct Streamed {
    scratch: PathBuf,
    memory: Share,
    bytes_max: usize,
    /// Taken with the first message, if it can be had then.
    room: Option<Reservation>,
    bytes: usize,
    running: HashMap<u32, Running>,
    /// Whose block is being sent.
    pub(crate) current: Option<u32>,
}

#[derive(Default)]
struct Running {
    unwritten: Vec<u8>,
    file: Option<(PathBuf, File)>,
    rolled_back: HashSet<u32>,
}

impl Streamed {
    /// At most `bytes_max` bytes are kept in memory.
    pub(crate) fn new(scratch: &Path, memory: Share, bytes_max: usize) -> Self {
        Streamed {
            scratch: scratch.to_owned(),
            memory,
            bytes_max,
            room: None,
            bytes: 0,
            running: HashMap::new(),
            current: None,
        }
    }

    /// Keeps a message of the transaction whose block is being sent.
    pub(crate) async fn keep(&mut self, subxid: u32, message: &[u8]) -> api::Result<()> {
        let Some(xid) = self.current else {
            return Ok(());
        };
        if self.room.is_none() {
            self.room = self.memory.try_reserve(self.bytes_max);
        }
        let running = self.running.entry(xid).or_default();
        let before = running.unwritten.len();
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        running.unwritten.extend_from_slice(&length.to_be_bytes());
        running.unwritten.extend_from_slice(&subxid.to_be_bytes());
        running.unwritten.extend_from_slice(message);
        self.bytes += running.unwritten.len() - before;
        let bytes_max = self
            .room
            .as_ref()
            .map_or(WRITE_BYTES, |room| room.bytes().max(WRITE_BYTES));
        if self.bytes > bytes_max {
            let largest = self.running.iter().max_by_key(|(_, running)| running.unwritten.len());
            if let Some(xid) = largest.map(|(xid, _)| *xid) {
                self.spill(xid).await?;
            }
        }
        Ok(())
    }

    async fn spill(&mut self, xid: u32) -> api::Result<()> {
        let Some(running) = self.running.get_mut(&xid) else {
            return Ok(());
        };
        let path = self.scratch.join(format!("transaction-{xid}"));
        let failed = |source| Error::Spill {
            path: path.display().to_string(),
            source,
        };
        let (_, file) = match &mut running.file {
            Some(file) => file,
            none => none.insert((path.clone(), File::create_new(&path).await.map_err(failed)?)),
        };
        file.write_all(&running.unwritten).await.map_err(failed)?;
        self.bytes -= running.unwritten.len();
        running.unwritten = Vec::new();
        Ok(())
    }

    /// Forgets a transaction, or one of its sub-transactions.
    pub(crate) fn roll_back(&mut self, xid: u32, subxid: u32) {
        if xid == subxid {
            if let Some(running) = self.running.remove(&xid) {
                self.bytes -= running.unwritten.len();
                remove(running.file.map(|(path, _)| path));
            }
        } else if let Some(running) = self.running.get_mut(&xid) {
            running.rolled_back.insert(subxid);
        }
        self.give_back();
    }

    /// Takes a transaction out, to be read from its beginning.
    pub(crate) async fn take(&mut self, xid: u32) -> api::Result<Kept> {
        let mut running = self.running.remove(&xid).unwrap_or_default();
        self.bytes -= running.unwritten.len();
        self.give_back();
        let mut file = None;
        if let Some((path, mut written)) = running.file.take() {
            let failed = |source| Error::Spill {
                path: path.display().to_string(),
                source,
            };
            written.flush().await.map_err(failed)?;
            let read = File::open(&path).await.map_err(failed)?;
            file = Some((path, BufReader::with_capacity(1 << 20, read)));
        }
        Ok(Kept {
            file,
            rest: running.unwritten.into(),
            rolled_back: running.rolled_back,
        })
    }

    fn give_back(&mut self) {
        if self.running.is_empty() {
            self.room = None;
        }
    }
}

/// The messages of a transaction that has committed.
pub(crate) struct Kept {
    file: Option<(PathBuf, BufReader<File>)>,
    rest: Bytes,
    rolled_back: HashSet<u32>,
}

impl Kept {
    /// The next message that was not rolled back.
    pub(crate) async fn next(&mut self) -> api::Result<Option<Bytes>> {
        loop {
            let Some((subxid, message)) = self.next_of_any().await? else {
                return Ok(None);
            };
            if !self.rolled_back.contains(&subxid) {
                return Ok(Some(message));
            }
        }
    }

    async fn next_of_any(&mut self) -> api::Result<Option<(u32, Bytes)>> {
        if let Some((path, file)) = &mut self.file {
            let failed = |source| Error::Spill {
                path: path.display().to_string(),
                source,
            };
            match file.read_u32().await {
                Ok(length) => {
                    let subxid = file.read_u32().await.map_err(failed)?;
                    let mut message = vec![0; length as usize];
                    file.read_exact(&mut message).await.map_err(failed)?;
                    return Ok(Some((subxid, message.into())));
                }
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(failed(error).into()),
            }
            remove(self.file.take().map(|(path, _)| path));
        }
        let Some((head, _)) = self.rest.split_first_chunk::<8>() else {
            return Ok(None);
        };
        let [a, b, c, d, e, f, g, h] = *head;
        let (length, subxid) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        let mut message = self.rest.split_to((8 + length as usize).min(self.rest.len()));
        Ok(Some((subxid, message.split_off(8))))
    }
}

fn remove(path: Option<PathBuf>) {
    if let Some(path) = path {
        // Left behind, it goes with the scratch directory.
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut kept: Kept) -> Vec<Bytes> {
        let mut messages = Vec::new();
        while let Some(message) = kept.next().await.expect("readable") {
            messages.push(message);
        }
        messages
    }

    #[tokio::test]
    async fn messages_come_back_in_order_from_memory_and_file_without_what_was_rolled_back() {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut streamed = Streamed::new(scratch.path(), Share::alone(1 << 20), 100_000);
        for i in 0..600_u32 {
            streamed.current = Some(1 + i % 2);
            let message = vec![i as u8; 1_000];
            streamed.keep(10 + i % 3, &message).await.expect("room");
        }
        streamed.roll_back(1, 11);
        let kept = all(streamed.take(1).await.expect("kept")).await;
        let expected: Vec<u8> = (0..600_u32)
            .filter(|i| i % 2 == 0 && i % 3 != 1)
            .map(|i| i as u8)
            .collect();
        assert_eq!(kept.iter().map(|message| message[0]).collect::<Vec<_>>(), expected);
        streamed.roll_back(2, 2);
        assert_eq!(all(streamed.take(2).await.expect("nothing")).await.len(), 0);
        assert_eq!(streamed.bytes, 0);
        assert_eq!(std::fs::read_dir(scratch.path()).expect("a directory").count(), 0);
    }
}

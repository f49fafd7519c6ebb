//! Positions of this source, and their tokens.
//!
//! Log: the partition is `sqlite:<history>`, the order `incarnation ‖ seq`. The token is 24 bytes, what proves that the
//! database still is the one that the position was taken in: `seq` and nonce of the newest mark at or below the position,
//! and the fingerprint of the change row at the position (0 if there is none), each as a big-endian 64-bit integer.
//!
//! Range: the order is the number of the last whole page; the token is that page's upper bound: `k` and the key's values
//! (see [`Key`]), or `e` for a page that was the stream's last, and has no bound.

use model::{Order, Partition, Position};

use super::key::Key;
use crate::capture::marks::Mark;
use crate::error::{Error, Result};

/// What the id of a log begins with.
const LOG: &str = "sqlite:";

pub(crate) fn log_partition(history: &str) -> Partition {
    Partition::log(format!("{LOG}{history}"))
}

pub(crate) fn order(incarnation: u32, seq: i64) -> Order {
    Order::new(incarnation, seq.unsigned_abs(), 0)
}

pub(crate) fn seq_of(order: Order) -> i64 {
    i64::try_from(order.key()).unwrap_or(i64::MAX)
}

/// What a log position carries so that it can be checked against a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The newest mark at or below it.
    pub(crate) mark: Mark,
    /// Of the change row at it; marks are a second apart, and a backup may have been taken in between.
    pub(crate) fingerprint: u64,
}

pub(crate) fn log_position(incarnation: u32, seq: i64, proof: Proof) -> Position {
    let mut token = Vec::with_capacity(24);
    token.extend_from_slice(&proof.mark.seq.to_be_bytes());
    token.extend_from_slice(&proof.mark.nonce.to_be_bytes());
    token.extend_from_slice(&proof.fingerprint.to_be_bytes());
    Position::with_token(order(incarnation, seq), token)
}

/// Reads a log position's token.
pub(crate) fn proof_of(partition: &Partition, position: &Position) -> Result<Proof> {
    let read = |token: &[u8]| -> Option<Proof> {
        let (seq, rest) = token.split_first_chunk::<8>()?;
        let (nonce, rest) = rest.split_first_chunk::<8>()?;
        let (fingerprint, rest) = rest.split_first_chunk::<8>()?;
        let mark = Mark {
            seq: i64::from_be_bytes(*seq),
            nonce: i64::from_be_bytes(*nonce),
        };
        rest.is_empty().then_some(Proof {
            mark,
            fingerprint: u64::from_be_bytes(*fingerprint),
        })
    };
    read(&position.token).ok_or_else(|| Error::BadToken {
        partition: partition.to_string(),
        why: format!("its token has {} bytes, expected 24", position.token.len()),
    })
}

/// Where a page ends.
pub(crate) type Bound = api::Bound<Key>;

/// The page number and bound of a range's position.
pub(crate) fn bound_of(partition: &Partition, position: &Position) -> Result<(u32, Bound)> {
    Bound::of(position).ok_or_else(|| Error::BadToken {
        partition: partition.to_string(),
        why: format!("its token of {} bytes is not one of this source", position.token.len()),
    })
}

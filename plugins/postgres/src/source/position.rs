//! Positions of this source, and their tokens.
//!
//! Log: the partition is `postgres:<system>/<database>/<slot>` (the server's system identifier, the database's oid, the
//! slot's name), the order's key an LSN. A transaction's order is the LSN of its commit record. A position with key K covers
//! exactly the transactions whose commit LSN is at most K; what PostgreSQL calls a flushed LSN F is the position F - 1,
//! because it covers the commit records that begin before F.
//!
//! The token is the timeline, a big-endian 32-bit integer.
//!
//! Range: the order is the number of the last whole page; the token is that page's upper bound: `k` and the key
//! (see [`Key`]), or `e` for a page that was the stream's last, and has no bound.

use model::{Order, Partition, Position};

use super::error::Error;
use super::key::Key;
use crate::replication::Lsn;

pub(crate) fn log_id(system_id: &str, database: u32, slot: &str) -> String {
    format!("postgres:{system_id}/{database}/{slot}")
}

/// The order of the transaction whose commit record is at `lsn`.
pub(crate) fn order_at(lsn: Lsn) -> Order {
    Order::new(0, lsn.0, 0)
}

/// The order that covers every commit record which begins before `end`.
pub(crate) fn order_before(end: Lsn) -> Order {
    Order::new(0, end.0.saturating_sub(1), 0)
}

/// The LSN before which every commit record is covered by `order`.
pub(crate) fn end_of(order: Order) -> Lsn {
    Lsn(order.key().saturating_add(1))
}

/// The position before `end` on a timeline.
pub(crate) fn log_position(end: Lsn, timeline: u32) -> Position {
    Position::with_token(order_before(end), timeline.to_be_bytes().to_vec())
}

/// The timeline that a position was taken on.
pub(crate) fn timeline_of(partition: &Partition, position: &Position) -> api::Result<u32> {
    let timeline: Result<[u8; 4], _> = position.token.as_ref().try_into();
    timeline.map(u32::from_be_bytes).map_err(|_| {
        Error::BadToken {
            partition: partition.to_string(),
            why: format!("its token has {} bytes, expected 4", position.token.len()),
        }
        .into()
    })
}

/// Where a page ends.
pub(crate) type Bound = api::Bound<Key>;

/// The end of a page that has no bound in key order.
pub(crate) fn nameless() -> Bound {
    Bound::Key(Key {
        values: Vec::new(),
        texts: Vec::new(),
    })
}

/// The page number and bound of a range's position.
pub(crate) fn bound_of(partition: &Partition, position: &Position) -> api::Result<(u32, Bound)> {
    Bound::of(position).ok_or_else(|| {
        Error::BadToken {
            partition: partition.to_string(),
            why: format!("its token of {} bytes is not one of this source", position.token.len()),
        }
        .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushed_lsn_is_one_after_the_position_that_covers_it() {
        let at = log_position(Lsn(0x1000), 3);
        assert_eq!(end_of(at.order), Lsn(0x1000));
        assert!(
            at.order < order_at(Lsn(0x1000)),
            "a commit record that begins there is not covered"
        );
        assert_eq!(timeline_of(&Partition::log("x"), &at).ok(), Some(3));
    }
}

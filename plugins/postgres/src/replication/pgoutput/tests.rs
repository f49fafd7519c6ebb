#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::replication::{Lsn, ServerTime};

/// Builds messages by hand.
#[derive(Clone, Default)]
struct Frame(Vec<u8>);

impl Frame {
    fn tag(tag: u8) -> Self {
        Frame(vec![tag])
    }
    fn bytes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }
    fn text(self, text: &str) -> Self {
        self.bytes(text).bytes([0])
    }
    fn u16(self, number: u16) -> Self {
        self.bytes(number.to_be_bytes())
    }
    fn u32(self, number: u32) -> Self {
        self.bytes(number.to_be_bytes())
    }
    fn u64(self, number: u64) -> Self {
        self.bytes(number.to_be_bytes())
    }
    fn cell(self, kind: u8, value: &[u8]) -> Self {
        self.bytes([kind]).u32(value.len() as u32).bytes(value)
    }
}

/// One of every kind, outside a streamed block.
fn one_of_each() -> Vec<Frame> {
    let tuple = |frame: Frame| frame.u16(4).cell(b't', b"7").bytes(b"nu").cell(b'b', &[1, 2, 3]);
    let commit = |frame: Frame| frame.bytes([0]).u64(100).u64(108).u64(5);
    vec![
        Frame::tag(b'B').u64(100).u64(5).u32(9),
        commit(Frame::tag(b'C')),
        Frame::tag(b'O').u64(100).text("elsewhere"),
        Frame::tag(b'R')
            .u32(16_384)
            .text("public")
            .text("Ünï \"x\"")
            .bytes(b"d")
            .u16(2)
            .bytes([1])
            .text("id")
            .u32(20)
            .u32(u32::MAX)
            .bytes([0])
            .text("name")
            .u32(1043)
            .u32(24),
        Frame::tag(b'Y').u32(17_000).text("public").text("mood"),
        tuple(Frame::tag(b'I').u32(16_384).bytes(b"N")),
        tuple(Frame::tag(b'U').u32(16_384).bytes(b"N")),
        tuple(tuple(Frame::tag(b'U').u32(16_384).bytes(b"K")).bytes(b"N")),
        tuple(tuple(Frame::tag(b'U').u32(16_384).bytes(b"O")).bytes(b"N")),
        tuple(Frame::tag(b'D').u32(16_384).bytes(b"K")),
        tuple(Frame::tag(b'D').u32(16_384).bytes(b"O")),
        Frame::tag(b'T').u32(2).bytes([3]).u32(1).u32(2),
        Frame::tag(b'M').bytes([1]).u64(99).text("app").u32(3).bytes(b"a\0b"),
        Frame::tag(b'c').u32(9).bytes([0]).u64(100).u64(108).u64(5),
        Frame::tag(b'A').u32(9).u32(10),
        Frame::tag(b'A').u32(9).u32(10).u64(100).u64(5),
        Frame::tag(b'b').u64(100).u64(108).u64(5).u32(9).text("gid"),
        Frame::tag(b'P').bytes([0]).u64(100).u64(108).u64(5).u32(9).text("gid"),
        commit(Frame::tag(b'K')).u32(9).text("gid"),
        Frame::tag(b'r')
            .bytes([0])
            .u64(100)
            .u64(108)
            .u64(5)
            .u64(6)
            .u32(9)
            .text("gid"),
        Frame::tag(b'p').bytes([0]).u64(100).u64(108).u64(5).u32(9).text("gid"),
        Frame::tag(b'S').u32(9).bytes([1]),
    ]
}

/// Looks at everything that a message offers.
fn walk(message: &Message<'_>) -> usize {
    let tuple = |tuple: &Tuple<'_>| {
        assert_eq!(
            tuple.cells().count(),
            tuple.column_count(),
            "a decoded tuple can be walked"
        );
        tuple.column_count()
    };
    let old = |old: &Old<'_>| match old {
        Old::Key(row) | Old::Row(row) => tuple(row),
    };
    format!("{message:?}").len()
        + match message {
            Message::Relation(relation) => {
                assert_eq!(
                    relation.columns().count(),
                    relation.column_count(),
                    "all columns can be read"
                );
                relation.column_count()
            }
            Message::Insert(insert) => tuple(&insert.new),
            Message::Update(update) => tuple(&update.new) + update.old.as_ref().map_or(0, old),
            Message::Delete(delete) => old(&delete.old),
            Message::Truncate(truncate) => truncate.relations().count(),
            _ => 0,
        }
}

#[test]
fn every_message_is_decoded_and_every_shorter_or_longer_one_is_refused() {
    for frame in one_of_each() {
        let whole = Decoder::new().decode(&frame.0).unwrap();
        walk(&whole);
        for length in 0..frame.0.len() {
            // An abort without its place and time is whole too.
            if frame.0[0] == b'A' && length == 9 {
                continue;
            }
            let cut = Decoder::new().decode(&frame.0[..length]);
            assert!(cut.is_err(), "{whole:?} cut to {length} bytes was taken for {cut:?}");
        }
        let longer = frame.bytes([0]);
        assert!(Decoder::new().decode(&longer.0).is_err());
    }
}

#[test]
fn update_shows_old_key_new_row_nulls_and_unchanged_toast() {
    let frame = Frame::tag(b'U')
        .u32(5)
        .bytes(b"K")
        .u16(2)
        .cell(b't', b"1")
        .bytes(b"n")
        .bytes(b"N")
        .u16(2)
        .cell(b'b', &[0, 0, 0, 2])
        .bytes(b"u");
    let Message::Update(update) = Decoder::new().decode(&frame.0).unwrap() else {
        panic!("no update")
    };
    let Some(Old::Key(old)) = update.old else {
        panic!("no key")
    };
    assert_eq!(old.cells().collect::<Vec<_>>(), [Cell::Text(b"1"), Cell::Null]);
    assert_eq!(
        update.new.cells().collect::<Vec<_>>(),
        [Cell::Binary(&[0, 0, 0, 2]), Cell::Unchanged]
    );
    assert_eq!((update.relation, update.xid), (5, None));
}

#[test]
fn relation_shows_its_columns() {
    let frame = &one_of_each()[3];
    let Message::Relation(relation) = Decoder::new().decode(&frame.0).unwrap() else {
        panic!("no relation")
    };
    assert_eq!(
        (relation.schema, relation.name, relation.oid),
        ("public", "Ünï \"x\"", 16_384)
    );
    let columns: Vec<_> = relation
        .columns()
        .map(|c| (c.is_key, c.name, c.type_oid, c.type_modifier))
        .collect();
    assert_eq!(columns, [(true, "id", 20, -1), (false, "name", 1043, 24)]);
}

#[test]
fn data_messages_carry_a_transaction_id_inside_a_streamed_block_only() {
    let mut decoder = Decoder::new();
    let start = Frame::tag(b'S').u32(9).bytes([1]);
    let inside = Frame::tag(b'I').u32(11).u32(5).bytes(b"N").u16(0);
    let outside = Frame::tag(b'I').u32(5).bytes(b"N").u16(0);
    decoder.decode(&start.0).unwrap();
    assert!(decoder.decode(&start.0).is_err(), "blocks do not nest");
    let Message::Insert(insert) = decoder.decode(&inside.0).unwrap() else {
        panic!("no insert")
    };
    assert_eq!((insert.xid, insert.relation), (Some(11), 5));
    assert_eq!(decoder.decode(b"E").unwrap(), Message::StreamStop);
    assert!(decoder.decode(b"E").is_err(), "the block has ended");
    let Message::Insert(insert) = decoder.decode(&outside.0).unwrap() else {
        panic!("no insert")
    };
    assert_eq!((insert.xid, insert.relation), (None, 5));
}

#[test]
fn abort_has_its_place_only_in_protocol_4() {
    let short = Frame::tag(b'A').u32(9).u32(10);
    let long = short.clone().u64(100).u64(5);
    let aborted = |frame: &Frame| match Decoder::new().decode(&frame.0).unwrap() {
        Message::StreamAbort(abort) => abort.aborted,
        other => panic!("{other:?}"),
    };
    assert_eq!(aborted(&short), None);
    assert_eq!(aborted(&long), Some((Lsn(100), ServerTime(5))));
}

#[test]
fn neither_messages_nor_errors_show_cells() {
    let frame = Frame::tag(b'I').u32(5).bytes(b"N").u16(1).cell(b't', b"s3cret");
    let shown = format!("{:?}", Decoder::new().decode(&frame.0).unwrap());
    assert!(!shown.contains("s3cret") && !shown.contains("115"), "{shown}");
    let error = Decoder::new().decode(&frame.0[..frame.0.len() - 1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "message `I` is malformed at byte 13: it ends too early"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), streaming in any::<bool>()) {
        let mut decoder = Decoder::new();
        if streaming {
            decoder.decode(&Frame::tag(b'S').u32(9).bytes([1]).0).unwrap();
        }
        if let Ok(message) = decoder.decode(&bytes) {
            walk(&message);
        }
    }

    #[test]
    fn damaged_messages_never_panic(
        which in 0..one_of_each().len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        streaming in any::<bool>(),
    ) {
        let mut bytes = one_of_each()[which].0.clone();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let mut decoder = Decoder::new();
        if streaming {
            decoder.decode(&Frame::tag(b'S').u32(9).bytes([1]).0).unwrap();
        }
        if let Ok(message) = decoder.decode(&bytes) {
            walk(&message);
        }
    }
}

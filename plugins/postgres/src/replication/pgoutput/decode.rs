use super::cursor::{Cursor, Malformed};
use super::message::{
    Begin, Commit, CommitPrepared, Delete, Insert, Logical, Message, Old, Origin, Prepare, Relation, RelationColumn,
    ReplicaIdentity, RollbackPrepared, StreamAbort, StreamStart, Truncate, TypeName, Update,
};
use super::tuple::Tuple;

/// Decodes the messages of one replication session, in their order.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    is_streaming: bool,
}

impl Decoder {
    /// For a session that begins.
    pub fn new() -> Self {
        Decoder::default()
    }

    /// Whether the last message was inside a streamed block.
    pub fn is_streaming(&self) -> bool {
        self.is_streaming
    }

    /// Decodes one message: the bytes of one `XLogData` frame.
    ///
    /// Malformed bytes are an error and leave the decoder as it was. They mean that the two sides do not speak the same
    /// protocol: reading on would be guessing.
    pub fn decode<'a>(&mut self, bytes: &'a [u8]) -> Result<Message<'a>, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let message = self.read(&mut cursor)?;
        if !cursor.is_empty() {
            return Err(cursor.malformed("bytes are left over"));
        }
        match message {
            Message::StreamStart(_) => self.is_streaming = true,
            Message::StreamStop => self.is_streaming = false,
            _ => {}
        }
        Ok(message)
    }

    fn read<'a>(&self, cursor: &mut Cursor<'a>) -> Result<Message<'a>, Malformed> {
        let tag = cursor.u8()?;
        Ok(match tag {
            b'B' => Message::Begin(Begin {
                commit_lsn: cursor.lsn()?,
                committed_at: cursor.time()?,
                xid: cursor.u32()?,
            }),
            b'C' => Message::Commit(commit(cursor)?),
            b'O' => Message::Origin(Origin {
                commit_lsn: cursor.lsn()?,
                name: cursor.text()?,
            }),
            b'R' => Message::Relation(relation(self.xid(cursor)?, cursor)?),
            b'Y' => Message::Type(TypeName {
                xid: self.xid(cursor)?,
                oid: cursor.u32()?,
                schema: cursor.text()?,
                name: cursor.text()?,
            }),
            b'I' => Message::Insert(Insert {
                xid: self.xid(cursor)?,
                relation: cursor.u32()?,
                new: new_tuple(cursor)?,
            }),
            b'U' => Message::Update(update(self.xid(cursor)?, cursor)?),
            b'D' => Message::Delete(delete(self.xid(cursor)?, cursor)?),
            b'T' => Message::Truncate(truncate(self.xid(cursor)?, cursor)?),
            b'M' => Message::Logical(logical(self.xid(cursor)?, cursor)?),
            b'S' if self.is_streaming => return Err(cursor.malformed("a streamed block begins inside another")),
            b'S' => Message::StreamStart(StreamStart {
                xid: cursor.u32()?,
                is_first: cursor.u8()? != 0,
            }),
            b'E' if !self.is_streaming => return Err(cursor.malformed("a streamed block ends that did not begin")),
            b'E' => Message::StreamStop,
            b'c' => Message::StreamCommit {
                xid: cursor.u32()?,
                commit: commit(cursor)?,
            },
            b'A' => Message::StreamAbort(stream_abort(cursor)?),
            b'b' => Message::BeginPrepare(prepare(cursor)?),
            b'P' => {
                cursor.u8()?;
                Message::Prepare(prepare(cursor)?)
            }
            b'K' => Message::CommitPrepared(CommitPrepared {
                commit: commit(cursor)?,
                xid: cursor.u32()?,
                gid: cursor.text()?,
            }),
            b'r' => {
                cursor.u8()?;
                Message::RollbackPrepared(RollbackPrepared {
                    prepare_end_lsn: cursor.lsn()?,
                    end_lsn: cursor.lsn()?,
                    prepared_at: cursor.time()?,
                    rolled_back_at: cursor.time()?,
                    xid: cursor.u32()?,
                    gid: cursor.text()?,
                })
            }
            b'p' => {
                cursor.u8()?;
                Message::StreamPrepare(prepare(cursor)?)
            }
            _ => return Err(cursor.malformed("its kind is unknown")),
        })
    }

    fn xid(&self, cursor: &mut Cursor<'_>) -> Result<Option<u32>, Malformed> {
        self.is_streaming.then(|| cursor.u32()).transpose()
    }
}

/// Flags, of which none is defined yet, and then where and when.
fn commit(cursor: &mut Cursor<'_>) -> Result<Commit, Malformed> {
    cursor.u8()?;
    Ok(Commit {
        commit_lsn: cursor.lsn()?,
        end_lsn: cursor.lsn()?,
        committed_at: cursor.time()?,
    })
}

fn prepare<'a>(cursor: &mut Cursor<'a>) -> Result<Prepare<'a>, Malformed> {
    Ok(Prepare {
        prepare_lsn: cursor.lsn()?,
        end_lsn: cursor.lsn()?,
        prepared_at: cursor.time()?,
        xid: cursor.u32()?,
        gid: cursor.text()?,
    })
}

fn relation<'a>(xid: Option<u32>, cursor: &mut Cursor<'a>) -> Result<Relation<'a>, Malformed> {
    let oid = cursor.u32()?;
    let schema = cursor.text()?;
    let name = cursor.text()?;
    let replica_identity = match cursor.u8()? {
        b'd' => ReplicaIdentity::Default,
        b'n' => ReplicaIdentity::Nothing,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        _ => return Err(cursor.malformed("the replica identity is unknown")),
    };
    let column_count = cursor.u16()?;
    let start = cursor.at();
    for _ in 0..column_count {
        relation_column(cursor)?;
    }
    Ok(Relation {
        xid,
        oid,
        schema,
        name,
        replica_identity,
        column_count,
        columns: cursor.since(start),
    })
}

fn relation_column<'a>(cursor: &mut Cursor<'a>) -> Result<RelationColumn<'a>, Malformed> {
    Ok(RelationColumn {
        is_key: cursor.u8()? & 1 != 0,
        name: cursor.text()?,
        type_oid: cursor.u32()?,
        type_modifier: cursor.i32()?,
    })
}

impl<'a> Relation<'a> {
    /// The columns that are published, in the order of the cells.
    pub fn columns(&self) -> impl Iterator<Item = RelationColumn<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.columns);
        // They were read once when the message was decoded.
        (0..self.column_count).map_while(move |_| relation_column(&mut cursor).ok())
    }

    /// How many there are.
    pub fn column_count(&self) -> usize {
        usize::from(self.column_count)
    }
}

fn new_tuple<'a>(cursor: &mut Cursor<'a>) -> Result<Tuple<'a>, Malformed> {
    match cursor.u8()? {
        b'N' => Tuple::read(cursor),
        _ => Err(cursor.malformed("the new row is missing")),
    }
}

fn update<'a>(xid: Option<u32>, cursor: &mut Cursor<'a>) -> Result<Update<'a>, Malformed> {
    let relation = cursor.u32()?;
    let (old, new) = match cursor.u8()? {
        b'N' => (None, Tuple::read(cursor)?),
        b'K' => (Some(Old::Key(Tuple::read(cursor)?)), new_tuple(cursor)?),
        b'O' => (Some(Old::Row(Tuple::read(cursor)?)), new_tuple(cursor)?),
        _ => return Err(cursor.malformed("a row is of an unknown kind")),
    };
    Ok(Update {
        xid,
        relation,
        old,
        new,
    })
}

fn delete<'a>(xid: Option<u32>, cursor: &mut Cursor<'a>) -> Result<Delete<'a>, Malformed> {
    let relation = cursor.u32()?;
    let old = match cursor.u8()? {
        b'K' => Old::Key(Tuple::read(cursor)?),
        b'O' => Old::Row(Tuple::read(cursor)?),
        _ => return Err(cursor.malformed("the old row is missing")),
    };
    Ok(Delete { xid, relation, old })
}

fn truncate<'a>(xid: Option<u32>, cursor: &mut Cursor<'a>) -> Result<Truncate<'a>, Malformed> {
    let relation_count = cursor.length()?;
    let flags = cursor.u8()?;
    let length = relation_count.checked_mul(4);
    let length = length.ok_or_else(|| cursor.malformed("a length is too large"))?;
    Ok(Truncate {
        xid,
        cascade: flags & 1 != 0,
        restart_identity: flags & 2 != 0,
        relations: cursor.take(length)?,
    })
}

fn logical<'a>(xid: Option<u32>, cursor: &mut Cursor<'a>) -> Result<Logical<'a>, Malformed> {
    let flags = cursor.u8()?;
    let lsn = cursor.lsn()?;
    let prefix = cursor.text()?;
    let length = cursor.length()?;
    Ok(Logical {
        xid,
        is_transactional: flags & 1 != 0,
        lsn,
        prefix,
        content: cursor.take(length)?,
    })
}

fn stream_abort(cursor: &mut Cursor<'_>) -> Result<StreamAbort, Malformed> {
    let xid = cursor.u32()?;
    let subxid = cursor.u32()?;
    // Present if both sides agreed on `streaming 'parallel'`.
    let aborted = match cursor.is_empty() {
        true => None,
        false => Some((cursor.lsn()?, cursor.time()?)),
    };
    Ok(StreamAbort { xid, subxid, aborted })
}

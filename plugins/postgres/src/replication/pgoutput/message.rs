use super::tuple::Tuple;
use crate::replication::{Lsn, ServerTime};

/// One message. Transactions arrive whole and in commit order, or streamed in blocks while they run; a block is between
/// `StreamStart` and `StreamStop`, and what is in it counts only when `StreamCommit` (or `StreamPrepare` and then
/// `CommitPrepared`) names its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A transaction begins.
    Begin(Begin),
    /// The transaction that began has committed.
    Commit(Commit),
    /// The transaction came here from another server by replication.
    Origin(Origin<'a>),
    /// The shape of a relation, before its first row in a session and again after it changed.
    Relation(Relation<'a>),
    /// The name of a type that is not built in.
    Type(TypeName<'a>),
    /// A row is new.
    Insert(Insert<'a>),
    /// A row has changed.
    Update(Update<'a>),
    /// A row is gone.
    Delete(Delete<'a>),
    /// Relations were emptied.
    Truncate(Truncate<'a>),
    /// `pg_logical_emit_message`.
    Logical(Logical<'a>),
    /// A block of a running transaction begins.
    StreamStart(StreamStart),
    /// The block ends.
    StreamStop,
    /// A streamed transaction has committed.
    StreamCommit {
        /// The transaction.
        xid: u32,
        /// Where and when.
        commit: Commit,
    },
    /// A streamed transaction, or a sub-transaction of one, was rolled back.
    StreamAbort(StreamAbort),
    /// A transaction begins that was prepared for two-phase commit.
    BeginPrepare(Prepare<'a>),
    /// The transaction that began was prepared; it is not committed.
    Prepare(Prepare<'a>),
    /// A prepared transaction has committed.
    CommitPrepared(CommitPrepared<'a>),
    /// A prepared transaction was rolled back.
    RollbackPrepared(RollbackPrepared<'a>),
    /// A streamed transaction was prepared.
    StreamPrepare(Prepare<'a>),
}

/// The beginning of a transaction that comes whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The LSN of its commit record.
    pub commit_lsn: Lsn,
    /// When it committed.
    pub committed_at: ServerTime,
    /// Its id.
    pub xid: u32,
}

/// Where and when a transaction committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The LSN of the commit record: what [`Begin`] named.
    pub commit_lsn: Lsn,
    /// The end of the commit record: what is confirmed to the server when the transaction is durable.
    pub end_lsn: Lsn,
    /// When it committed.
    pub committed_at: ServerTime,
}

/// Where a transaction came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Its commit LSN there.
    pub commit_lsn: Lsn,
    /// The name of the replication origin.
    pub name: &'a str,
}

/// What an update or delete says of the old row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// Nothing.
    Nothing,
    /// The whole row.
    Full,
    /// The columns of a unique index.
    Index,
}

/// The shape of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The transaction, inside a streamed block.
    pub xid: Option<u32>,
    /// `pg_class.oid`.
    pub oid: u32,
    /// The schema. Empty for `pg_catalog`.
    pub schema: &'a str,
    /// The name.
    pub name: &'a str,
    /// What an update or delete says of the old row.
    pub replica_identity: ReplicaIdentity,
    pub(super) column_count: u16,
    pub(super) columns: &'a [u8],
}

/// One column of a [`Relation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationColumn<'a> {
    /// Whether it is part of the replica identity.
    pub is_key: bool,
    /// The name.
    pub name: &'a str,
    /// `pg_type.oid`.
    pub type_oid: u32,
    /// The type modifier; -1 if there is none.
    pub type_modifier: i32,
}

/// The name of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeName<'a> {
    /// The transaction, inside a streamed block.
    pub xid: Option<u32>,
    /// `pg_type.oid`.
    pub oid: u32,
    /// The schema. Empty for `pg_catalog`.
    pub schema: &'a str,
    /// The name.
    pub name: &'a str,
}

/// A new row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insert<'a> {
    /// The (sub-)transaction, inside a streamed block.
    pub xid: Option<u32>,
    /// The relation's oid.
    pub relation: u32,
    /// The row.
    pub new: Tuple<'a>,
}

/// What is known of the old row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old<'a> {
    /// The columns of the replica identity; the others are `Null` and mean nothing.
    Key(Tuple<'a>),
    /// The whole row.
    Row(Tuple<'a>),
}

/// A changed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update<'a> {
    /// The (sub-)transaction, inside a streamed block.
    pub xid: Option<u32>,
    /// The relation's oid.
    pub relation: u32,
    /// `None` if the replica identity did not change and is not `FULL`.
    pub old: Option<Old<'a>>,
    /// The row as it is now.
    pub new: Tuple<'a>,
}

/// A row that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete<'a> {
    /// The (sub-)transaction, inside a streamed block.
    pub xid: Option<u32>,
    /// The relation's oid.
    pub relation: u32,
    /// What is known of it.
    pub old: Old<'a>,
}

/// Relations that were emptied by one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncate<'a> {
    /// The (sub-)transaction, inside a streamed block.
    pub xid: Option<u32>,
    /// `CASCADE` was said. The relations that it reached are listed.
    pub cascade: bool,
    /// `RESTART IDENTITY` was said.
    pub restart_identity: bool,
    pub(super) relations: &'a [u8],
}

/// A message of the application.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Logical<'a> {
    /// The (sub-)transaction, inside a streamed block.
    pub xid: Option<u32>,
    /// Whether it belongs to the transaction; if not, it arrives at once and alone.
    pub is_transactional: bool,
    /// Where it stands in the log.
    pub lsn: Lsn,
    /// What kind of message it is, in the application's words.
    pub prefix: &'a str,
    /// What it says.
    pub content: &'a [u8],
}

/// The beginning of a block of a running transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStart {
    /// The top-level transaction.
    pub xid: u32,
    /// Whether this is its first block.
    pub is_first: bool,
}

/// A rollback of what was streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamAbort {
    /// The top-level transaction.
    pub xid: u32,
    /// What was rolled back: the same, or a sub-transaction of it.
    pub subxid: u32,
    /// Where and when, from protocol 4 on with `streaming 'parallel'`.
    pub aborted: Option<(Lsn, ServerTime)>,
}

/// A transaction that was prepared for two-phase commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepare<'a> {
    /// The LSN of the prepare record.
    pub prepare_lsn: Lsn,
    /// Its end.
    pub end_lsn: Lsn,
    /// When.
    pub prepared_at: ServerTime,
    /// The transaction.
    pub xid: u32,
    /// The name that the application gave it.
    pub gid: &'a str,
}

/// The commit of a prepared transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPrepared<'a> {
    /// Where and when it committed.
    pub commit: Commit,
    /// The transaction.
    pub xid: u32,
    /// The name that the application gave it.
    pub gid: &'a str,
}

/// The rollback of a prepared transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackPrepared<'a> {
    /// The end of the prepare record.
    pub prepare_end_lsn: Lsn,
    /// The end of the rollback record.
    pub end_lsn: Lsn,
    /// When it was prepared.
    pub prepared_at: ServerTime,
    /// When it was rolled back.
    pub rolled_back_at: ServerTime,
    /// The transaction.
    pub xid: u32,
    /// The name that the application gave it.
    pub gid: &'a str,
}

impl Truncate<'_> {
    /// The oids of the relations.
    pub fn relations(&self) -> impl ExactSizeIterator<Item = u32> {
        let (oids, _) = self.relations.as_chunks::<4>();
        oids.iter().map(|oid| u32::from_be_bytes(*oid))
    }
}

// What an application writes into its messages never reaches a log.
impl std::fmt::Debug for Logical<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Logical({} at {}, {} bytes)",
            self.prefix,
            self.lsn,
            self.content.len()
        )
    }
}

use model::Code;

/// What a PostgreSQL source's errors and warnings mean, for `highwater explain`.
pub const CODES: &[Code] = &[
    Code {
        id: "E0250",
        title: "a statement of the PostgreSQL source failed",
        explain: "\
The message says what was being done; the server's own words are the cause beneath it. A lost connection or a server that
restarts is tried again by itself. A missing privilege is not: grant it to the role in `connection`.",
    },
    Code {
        id: "E0251",
        title: "the server does not write what logical decoding needs",
        explain: "\
`wal_level` must be `logical`. It takes effect at a restart of the server:

    ALTER SYSTEM SET wal_level = 'logical';

On a managed service the parameter has a name of its own (`rds.logical_replication`, `cloudsql.logical_decoding`,
`azure.replication_support`).",
    },
    Code {
        id: "E0252",
        title: "the server is too old to be read",
        explain: "Changes are asked for in binary form, which servers before PostgreSQL 14 do not send.",
    },
    Code {
        id: "E0253",
        title: "the role of the PostgreSQL source lacks a privilege",
        explain: "\
The role needs the attribute REPLICATION for the slot (on Amazon RDS: membership in `rds_replication`), USAGE on the schema and
SELECT on each table for existing rows, and ownership of the tables to put them into a publication. If somebody else makes the
publication, set `create: false`.",
    },
    Code {
        id: "E0254",
        title: "all replication slots of the server are taken",
        explain: "\
`max_replication_slots` counts those of standbys and other tools too; while existing rows are read one more is needed for
moments. A slot that nobody reads keeps the log for ever and fills the disk: look for those first.",
    },
    Code {
        id: "E0255",
        title: "a configured stream is no table of the database",
        explain: "\
Streams are `schema.table`, in the database's own spelling. Views, foreign tables and temporary tables have no changes in the
log. Partitions are read under the name of their partitioned table.",
    },
    Code {
        id: "E0256",
        title: "the publication is missing",
        explain: "\
With `create: false` the publication has to be there before the slot is: what a slot decodes is looked up in the catalogue as
it was then. The statement that makes it is in the hint.",
    },
    Code {
        id: "E0257",
        title: "the publication does not show every change of a stream",
        explain: "\
A table that is not in it, an operation that it does not publish, a row filter, or partitions under their own names: existing
rows and changes would be of different things, and a destination would drift apart from the source in silence. A publication that Highwater did not make
is not changed by it.",
    },
    Code {
        id: "E0258",
        title: "the replica identity of a table does not say which row changed",
        explain: "\
The log names the old row of an UPDATE or DELETE by the replica identity: the primary key by default. A table that has none
cannot be published without making those statements fail. `REPLICA IDENTITY FULL` writes whole old rows; it makes the log larger.",
    },
    Code {
        id: "E0259",
        title: "the replication slot is missing",
        explain: "\
With `create: false` somebody else makes the slot. If there was one, what was committed since it went is lost to the pipeline, and
its destinations have to be read again.",
    },
    Code {
        id: "E0260",
        title: "the replication slot is somebody else's",
        explain: "It is of another database, another output plugin, a physical standby, or a session's own. Set `slot` to another name.",
    },
    Code {
        id: "E0261",
        title: "the replication slot is in use",
        explain: "\
One connection can read a slot. Another highwater runs the same pipeline, or one has died and the server has not noticed: that
takes up to `wal_sender_timeout` (60 s) when the host went away, and is tried again until then. `highwater run --take-over` ends the other connection, once every destination is its own.",
    },
    Code {
        id: "E0262",
        title: "the replication slot is lost",
        explain: "\
The server removed log that the slot needs (`max_slot_wal_keep_size`, `idle_replication_slot_timeout`), or invalidated it otherwise. It
cannot be mended: drop it, and read the streams again. Then give the server more room, or the pipeline a disk spool, so that a
slow destination does not hold the slot back.",
    },
    Code {
        id: "E0263",
        title: "the replication slot no longer has what a destination lacks",
        explain: "\
The slot starts after the destination's position: it was made anew, or somebody moved it. PostgreSQL would skip the difference in silence,
so nothing is sent to that destination until its streams are read again.",
    },
    Code {
        id: "E0264",
        title: "a destination's position is of another history",
        explain: "\
The server, the database or the slot is another one than the position was taken at; or the server was restored to a time before
the position, or went on another timeline before it. What the destination holds may never have happened here.",
    },
    Code {
        id: "E0265",
        title: "a stored position of the PostgreSQL source cannot be read",
        explain: "It was written by another connector or a newer version, or damaged. Use the version that wrote it, or resync.",
    },
    Code {
        id: "E0266",
        title: "a column setting of a stream does not fit the table",
        explain: "`key`, `types` and `exclude` name columns of the table; a type is one of those that the connector's page lists.",
    },
    Code {
        id: "E0267",
        title: "a value cannot be carried exactly",
        explain: "\
The value has no exact form in the column's type: an infinity in a date, NaN in a numeric of fixed scale. It is named by stream,
column and key, and nothing is rounded or replaced. Set the column's type to `text`, or exclude it.",
    },
    Code {
        id: "E0268",
        title: "the server's stream does not make sense",
        explain: "\
A message contradicts what came before it, or a batch could not be built of it. This is a defect of Highwater or of a server that
is not quite PostgreSQL; please report it with the version of the server.",
    },
    Code {
        id: "E0269",
        title: "existing rows wait for a snapshot",
        explain: "\
A snapshot with a known place in the log exists only once every transaction that was running when it was asked for has ended. The oldest
one is named. Changes go on meanwhile, and it is tried again.",
    },
    Code {
        id: "E0270",
        title: "a running transaction cannot be kept on disk",
        explain: "\
With `streaming: true` large transactions are sent while they run, and wait in the scratch directory until they commit. It is full or
cannot be written. With `streaming: false` the server keeps them instead.",
    },
    Code {
        id: "E0271",
        title: "a task of the PostgreSQL source ended by itself",
        explain: "This is a defect; the log has its panic. The source is opened again.",
    },
    Code {
        id: "E0272",
        title: "a row moved without all of its values while existing rows are read",
        explain: "\
An UPDATE that changes the key does not send large values that it left alone. While a stream is read page by page, whoever holds the
page of the new key and not that of the old one lacks them. A small transaction makes the read begin again by itself; in one that
is larger than a changeset that is too late. Read the stream again, or set REPLICA IDENTITY FULL, with which old rows are sent whole.",
    },
    Code {
        id: "W0273",
        title: "messages are asked for, and no stream has them",
        explain: "\
`messages` in the source's spec makes a stream of what applications write with `pg_logical_emit_message`. It is passed on only if the
pipeline's `streams` name it.",
    },
    Code {
        id: "W0274",
        title: "no replication slot is left for snapshots",
        explain: "\
Each snapshot of existing rows comes with a temporary replication slot, which is there for moments. All slots of the server are taken, so existing rows
wait until one is free. Changes go on.",
    },
    Code {
        id: "N0275",
        title: "the role of the PostgreSQL source may do far more than it needs",
        explain: "\
A role that may log in, replicate and select from the tables is enough, if somebody else makes the publication: only the owner of a
table can put it into one. `validate --connect` prints the statements.",
    },
    Code {
        id: "N0276",
        title: "columns of a table are not read",
        explain: "\
The publication does not send them: it has a list of columns, or they are generated, which PostgreSQL sends from 18 on if the publication says
so. They are left out of existing rows, too, so that rows and changes are alike.",
    },
    Code {
        id: "N0277",
        title: "the replication slot of a pipeline that does not run keeps log",
        explain: "\
The pipeline is in this configuration, and nobody reads its slot: the server keeps what it has not read. The longer it is stopped, the more that
is. Run it, or `highwater forget` it.",
    },
    Code {
        id: "W0278",
        title: "a table is read by key after all, because in one piece it takes too long",
        explain: "\
While a table is read from one snapshot the log waits, and `window_max` is how long it may. The table turned out to take longer, because it is larger
than was thought or a destination is slow. Its read begins again, emptied first, page by page: slower, but changes go on between the pages, and
a kill costs one page. `read_order: disk` in the source's spec reads it in one piece however long that takes.",
    },
    Code {
        id: "W0250",
        title: "a stream's table is gone",
        explain: "Its rows cannot be read. Destinations keep what they have.",
    },
    Code {
        id: "W0251",
        title: "a table is read in one piece",
        explain: "\
Pages are cut by the primary key, which must have an order that can be told outside the server: integers, oid, uuid, bytea,
dates, timestamps, and text with COLLATE \"C\". Without one the first read is made from one snapshot, which holds back vacuum and the
log for as long, and starts again after a kill.",
    },
    Code {
        id: "W0252",
        title: "the slot was made anew because its publication was gone",
        explain: "What was committed in between is lost to the pipeline: destinations that stood before it need a resync.",
    },
    Code {
        id: "W0253",
        title: "a read begins again, because a row moved without all of its values",
        explain: "See E0272. Nothing is lost; the rows are read once more.",
    },
    Code {
        id: "W0254",
        title: "a read begins again, because its table was replaced",
        explain: "\
TRUNCATE, VACUUM FULL, CLUSTER, an ALTER TABLE that rewrites, or DROP and CREATE happened while existing rows were read. What a
rewrite writes is not in the log, so the pages that were read are of no use.",
    },
    Code {
        id: "W0255",
        title: "existing rows wait for a lock",
        explain: "\
Somebody holds a lock on the table that does not let it be read: an ALTER TABLE or VACUUM FULL that runs, or a transaction that
did such a thing and stays open. It is tried again; other tables are read meanwhile.",
    },
    Code {
        id: "W0256",
        title: "a stream is read again, because the publication had lost its table",
        explain: "\
A table that is dropped and made anew is not in the publication any more, nor is one that somebody took out of it. What changed
until now is not in the log. The table was put back, and the destinations that hold the stream get it again, emptied first.",
    },
    Code {
        id: "N0257",
        title: "how the existing rows of a table are read",
        explain: "\
By key, page by page: a kill costs one page. Or as the table lies on disk: faster where keys are scattered, as random ones are, but
from one snapshot, and a kill starts the read again. `read_order` in the source's spec decides otherwise.",
    },
    Code {
        id: "W0258",
        title: "the replication slot will soon be lost",
        explain: "\
The server keeps no more than `max_slot_wal_keep_size` of log for a slot. When that is used up the slot is invalidated, and every
stream has to be read again. Look which destination is behind (`highwater status`), or raise the setting; it needs no restart.",
    },
    Code {
        id: "W0259",
        title: "a replication slot of ours is read by nobody",
        explain: "\
Its name is one that Highwater gives, no connection reads it, and no pipeline of this configuration has that name. If its pipeline is gone, it
keeps the server's log for ever, until the disk is full: drop it. If another configuration has it, it keeps what that has not read.",
    },
    Code {
        id: "N0260",
        title: "how much log the replication slot keeps",
        explain: "\
The slot keeps the log from the oldest change that some destination lacks. What is left until it is invalidated follows from
`max_slot_wal_keep_size`.",
    },
];

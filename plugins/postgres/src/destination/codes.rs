use model::Code;

/// What a PostgreSQL destination's errors mean, for `highwater explain`.
pub const CODES: &[Code] = &[
    Code {
        id: "E0540",
        title: "another process holds the PostgreSQL destination",
        explain: "\
A session of the server holds the advisory lock of this pipeline and destination. Only one process may write it.

Stop that process. If it is unreachable, or is to be replaced, start with `--take-over`: its server process is ended, it is
fenced, and its pipeline stops. If the process is gone and only its server process lives on (the network broke without a
word), end that one: the message has the statement.

Behind a pooler in transaction mode (`pooler: transaction`) there is no such lock: a newcomer is not refused, it fences.",
    },
    Code {
        id: "E0541",
        title: "the ledger of the PostgreSQL destination cannot be read",
        explain: "\
The row in `_highwater.ledger` has a format that this version does not know, or was changed by hand.

Use the version that wrote it. If the row is damaged, `highwater forget` removes it; the streams are read again then.",
    },
    Code {
        id: "E0542",
        title: "another runtime took the PostgreSQL destination over",
        explain: "\
The generation in `_highwater.ledger` is not ours any more: another process has opened the same pipeline and destination.
Nothing of what we had not committed is kept. The pipeline stops and is not tried again; only one may run.",
    },
    Code {
        id: "E0543",
        title: "the ledger of the PostgreSQL destination is gone or went back",
        explain: "\
The row in `_highwater.ledger` vanished or is older than what we committed: the database was restored from a backup, or
somebody removed the row, or the server failed over to a standby that had not received the last commits.

The destination is opened again, and what its ledger says now decides where it goes on. If the source cannot go back that
far, run `highwater resync`. For a failover without loss, set `synchronous_standby_names` and keep `synchronous_commit: on`.",
    },
    Code {
        id: "E0544",
        title: "the role may not do what the PostgreSQL destination needs",
        explain: "\
The role needs CONNECT and TEMPORARY on the database, a schema `_highwater` and the schemas of the tables as its own (or
CREATE on the database, to create them). `highwater validate --connect` prints the statements.

Tables that highwater creates belong to the role. For tables that are there already it needs SELECT, INSERT, UPDATE and
DELETE; to change their columns it must own them.",
    },
    Code {
        id: "E0545",
        title: "the PostgreSQL destination would write the tables that its pipeline reads",
        explain: "\
The table is in the publication that the same pipeline reads, so each row written would come back as a change.

Give the destination a schema of its own: `schema: NAME`.",
    },
    Code {
        id: "E0546",
        title: "the connection was lost in a commit of the PostgreSQL destination",
        explain: "\
The connection broke while a commit was under way. The ledger was read back on a new connection: if the commit had
succeeded, the destination goes on as if nothing had happened, without this error. This error means that the server had
not committed, or could not be reached for 30 seconds. The destination is opened again and goes on from what it holds;
nothing is lost or doubled.",
    },
    Code {
        id: "E0547",
        title: "a statement of the PostgreSQL destination failed",
        explain: "\
The server refused a statement for the reason that is printed with its code, or the connection broke. Reasons that pass (a
restart, a timeout, too many connections) are tried again; others wait for an operator.",
    },
    Code {
        id: "E0548",
        title: "other sessions keep the PostgreSQL destination from writing",
        explain: "\
A deadlock, a serialization failure or a lock that was not free within 20 seconds ended the same rows five times. They are
sent again from the last commit.

Look for long transactions that hold locks on the table: SELECT * FROM pg_stat_activity WHERE state LIKE 'idle in%'. Other
programs should not write the tables.",
    },
    Code {
        id: "N0549",
        title: "the role of the PostgreSQL destination may do more than it needs",
        explain: "\
The destination writes as a superuser. `validate --connect` prints the role and the grants that are enough; a role that can
do no more can also break no more.",
    },
    Code {
        id: "E0560",
        title: "a stream without a key cannot be upserted into PostgreSQL",
        explain: "\
`write: upsert` and `mirror` find rows by their key, and the stream has none. Set `write: append`, or name the columns that
identify a row: `overrides: { public.orders: { key: [id] } }`.",
    },
    Code {
        id: "E0561",
        title: "a stream cannot be a table in PostgreSQL",
        explain: "\
A column's name is longer than 63 bytes, which PostgreSQL would cut, contains a zero byte, or begins with `_highwater_`; or
a column has a type that the table's column cannot take. The message says which. Rename or exclude it with transformer
`select`. Names of tables that are too long are cut and get a hash.",
    },
    Code {
        id: "E0562",
        title: "a table in PostgreSQL is written already",
        explain: "\
Two streams, or two pipelines, come to one table. Each needs a table of its own: set `schema`, or use `{schema}` in `table`.",
    },
    Code {
        id: "E0563",
        title: "a table of the PostgreSQL destination is gone",
        explain: "\
The ledger says that the stream's rows are in a table that is not there. It is not created empty in silence. Restore it, or
read the stream again with `highwater resync`.",
    },
    Code {
        id: "E0564",
        title: "a table that is there does not fit the stream",
        explain: "\
The table has no unique key of exactly the key columns, a column of another type or one that must be given, is a view, has
row security, rules, triggers, or a foreign key that is checked row by row. The message names the difference, and the hint
has a statement that removes it.

Triggers: `triggers: fire` lets them run; `triggers: skip` runs none and checks no foreign keys, as PostgreSQL's own
subscriptions do. Foreign keys are otherwise deferred to the commit, which needs them DEFERRABLE.",
    },
    Code {
        id: "E0565",
        title: "a schema change waits at the PostgreSQL destination",
        explain: "\
The source's table changed. Columns that are added, types that grow and NOT NULLs that go are applied by themselves unless
`on_schema_change` says `pause`. Others could lose values: the statement is printed. Change it where it is not what you
want, run it, and the destination goes on.",
    },
    Code {
        id: "E0566",
        title: "a row for PostgreSQL comes without its key",
        explain: "\
A key column is NULL or was not sent, so the row cannot be found. At a PostgreSQL source check the table's replica identity;
with a key set by `overrides`, choose columns that are never NULL.",
    },
    Code {
        id: "E0567",
        title: "a partial change has no row in PostgreSQL",
        explain: "\
A change came without all of its values, and the row that has the others is not in the table: something else has deleted it.
It is an error, because a row full of NULL would be wrong. Read the stream again with `highwater resync`.",
    },
    Code {
        id: "E0568",
        title: "rows cannot be deleted by that condition in PostgreSQL",
        explain: "\
A delete by condition names a column that the table does not have, or a value of another type.",
    },
    Code {
        id: "E0569",
        title: "PostgreSQL refuses a row",
        explain: "\
A value does not fit its column, or a constraint of the table forbids the row. The message names stream, table, column and
key. Nothing of the commit is kept; the destination waits.

Drop the constraint that the source does not have, give the column a type that holds every value, or exclude the column.",
    },
];

use model::Code;

/// What a SQLite source's errors, warnings and notes mean, for `highwater explain`.
pub const CODES: &[Code] = &[
    Code {
        id: "E0210",
        title: "the SQLite file is not there",
        explain: "\
There is no file at `path`, or it is a directory or a device. A relative path starts at the directory of the configuration
file. A source never creates the file.",
    },
    Code {
        id: "E0211",
        title: "the file is not a SQLite database that can be read",
        explain: "\
The file is empty, or its first bytes are not SQLite's. An encrypted database looks like random bytes; it cannot be read
without the library that encrypted it. The first 16 bytes are shown: a SQLite database begins with
`53 51 4c 69 74 65 20 66 6f 72 6d 61 74 20 33 00`.",
    },
    Code {
        id: "E0212",
        title: "the SQLite file cannot be opened",
        explain: "The operating system or SQLite refused, for a reason that is printed as the cause.",
    },
    Code {
        id: "E0213",
        title: "a permission on the SQLite file is missing",
        explain: "\
A database in WAL mode is three files: the database, `-wal` and `-shm`. Whoever reads it must be able to read all three, and
to write the directory if the side files are not there. With `capture: triggers` the database itself is written as well.
The message names the file and its mode.

Run as the user that owns the database, or add its group, or use `capture: poll` if only reading is allowed. After a crash
of the application a transaction may have to be undone first: let its owner open it once.",
    },
    Code {
        id: "E0214",
        title: "the SQLite database is damaged",
        explain: "\
SQLite found its structure broken. Run `sqlite3 FILE 'PRAGMA quick_check'`, stop the application, restore a backup, and find
out why: a failing disk, a copy made while it was written, two machines on one network file.",
    },
    Code {
        id: "E0215",
        title: "the SQLite file lies on a network file system",
        explain: "\
SQLite's locks and the shared memory of WAL mode work among the processes of one host only. Reading from another host sees
torn states, and writing from two destroys the database. Run highwater on the host that has the disk.",
    },
    Code {
        id: "E0216",
        title: "the SQLite database is not in WAL mode",
        explain: "\
In the other journal modes a reader blocks every writer while it reads, so capturing changes all the time would make the
application wait. Set it once, it stays set:

    sqlite3 FILE 'PRAGMA journal_mode=WAL'

With `capture: poll` any mode will do, with short waits for writers.",
    },
    Code {
        id: "E0217",
        title: "the SQLite file was replaced while it was open",
        explain: "\
The path leads to another file than the one that was opened: a restore or a deploy moved a new file into its place. Going on
would read the old file in silence. The source stops, opens the new file, and checks every position against it; destinations
that are beyond what the new file has get E0229.",
    },
    Code {
        id: "E0218",
        title: "a configured stream is no table of the database",
        explain: "Names are matched as SQLite matches them. `highwater schema` lists what there is.",
    },
    Code {
        id: "E0219",
        title: "the changes of a table cannot be captured",
        explain: "\
Views, virtual tables (FTS, R-Tree) and their shadow tables have no row triggers. A table may have at most 990 columns,
because the change table needs two for each. A table whose columns hide all names of the rowid needs a primary key. The
message says which it is; name another table or exclude this one.",
    },
    Code {
        id: "E0220",
        title: "a value does not fit its column's declared type",
        explain: "\
SQLite stores any value in any column. Highwater reads a column by its declared type, and carries no value that would have to
be changed for that: text in an INTEGER column, a REAL with more digits than DECIMAL(p, s) has, bytes that are not UTF-8. The
message names the table, the column, the row's key and what was found, but not the value.

Correct the row; or set the column's type under `streams.overrides`: `text` takes everything.",
    },
    Code {
        id: "E0221",
        title: "a primary key holds NULL",
        explain: "\
For historical reasons SQLite allows NULL in primary key columns that are not declared NOT NULL (except INTEGER PRIMARY KEY
and WITHOUT ROWID). Such rows cannot be told apart by key. Correct them and declare the column NOT NULL.",
    },
    Code {
        id: "E0222",
        title: "the change table is full, and capture was given up",
        explain: "\
More than `changes_max` change rows waited in the database, and for `changes_stalled_after` (a minute) no destination took any. So that the database
does not fill its disk, the triggers were removed; the application is not affected. What changed since is unknown.

Bring the destinations back or remove them, then run `highwater resync` for all streams. Raise `changes_max` if the disk
allows it.",
    },
    Code {
        id: "E0223",
        title: "the change table belongs to somebody else",
        explain: "\
The tables named after this pipeline were made by a pipeline whose name differs in case, or by a later version of highwater.
Use another pipeline name, or remove them with `highwater forget` of the pipeline that owns them.",
    },
    Code {
        id: "E0224",
        title: "the change table disappeared or went back",
        explain: "\
Somebody dropped a table whose name begins with `_highwater_`, or the database went back to an earlier state under an open
connection. Until the triggers are made anew, writes of the application may fail. The source is opened again at once, which
does that. Positions of before are worth nothing then: run `highwater resync`.",
    },
    Code {
        id: "E0225",
        title: "an override names what is not there",
        explain: "\
`streams.overrides` names a column that the table does not have, a key made of columns that are excluded, or an unknown type.
Types are text, int64, float64, boolean, binary, json, date, timestamp and decimal(p, s).",
    },
    Code {
        id: "E0226",
        title: "a stream cannot be polled",
        explain: "\
`capture: poll` needs for each table a column that grows with every insert and update: an integer, or a time as text in one
form. Name it under `cursor`.",
    },
    Code {
        id: "E0227",
        title: "a stored position is not one of this source",
        explain: "The checkpoint was written by another connector or damaged. Run `highwater resync` for the destination.",
    },
    Code {
        id: "E0228",
        title: "the position is lost: change rows after it are gone",
        explain: "\
The destination stands at an earlier point than what was acknowledged and pruned, because it was restored from a backup or
was left out while others went on. Run `highwater resync` for it.",
    },
    Code {
        id: "E0229",
        title: "the position is of another history",
        explain: "\
The database does not contain the change that the destination stands at. It was restored from a backup, replaced by another
one, or highwater's tables were removed (`highwater forget`) since. The destination may hold rows that the source never had.
Run `highwater resync` for it.",
    },
    Code {
        id: "E0230",
        title: "SQLite refused a statement of ours",
        explain: "The message says what was attempted, the cause is SQLite's own. A busy or locked database is tried again.",
    },
    Code {
        id: "W0210",
        title: "a stream is read again",
        explain: "\
Something happened to a table that triggers cannot follow: it was re-created or replaced, columns were renamed, a column came
with values for existing rows, or a trigger was added that fires before ours. The stream is read anew, emptied first; the
other streams go on. An appending destination gets the rows once more, as `read`.",
    },
    Code {
        id: "W0211",
        title: "the change table fills up",
        explain: "\
More than `changes_warn` change rows wait in the database, because a destination is away or slow. At `changes_max`, and with
nothing taken for `changes_stalled_after`, capture is given up (E0222).",
    },
    Code {
        id: "W0212",
        title: "a captured table is gone",
        explain: "\
The table was dropped or renamed. Destinations keep its rows. If a table of that name comes back, it is read again.",
    },
    Code {
        id: "N0213",
        title: "a table's shape changed and was followed",
        explain: "Columns were added without a default or dropped, or a unique key came or went. Nothing was missed.",
    },
    Code {
        id: "W0214",
        title: "a stream is read in one piece",
        explain: "\
Its rows have no key order that highwater can compare: no primary key, a collation other than BINARY, a key with ascending
and descending columns, or a text key in a UTF-16 database. The first read of it cannot be resumed: after a kill it starts
again, emptied first. While it is copied (about a microsecond a row) one view is held open.",
    },
    Code {
        id: "W0215",
        title: "capture begins anew after it was given up",
        explain: "An earlier run removed the triggers because the change table was full (E0222). What changed since is unknown.",
    },
];

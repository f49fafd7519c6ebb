use model::Code;

/// What a SQLite destination's errors mean, for `highwater explain`.
pub const CODES: &[Code] = &[
    Code {
        id: "E0520",
        title: "the SQLite destination cannot be opened",
        explain: "\
The file or its directory is missing, cannot be written, lies on a network file system, is no SQLite database, or is
damaged. The message says which.

The file is created if there is none, but its directory is not: a mount that is not there should not be written around.
The directory must be writable as well, because SQLite keeps `-wal` and `-shm` files beside the database. Network file
systems are refused, because SQLite's locks and shared memory do not hold on them. A file that is open elsewhere with
another journal mode cannot be switched to WAL until that program closes it.",
    },
    Code {
        id: "E0521",
        title: "another process holds the SQLite destination",
        explain: "\
A lock file beside the database is held by a living process that runs the same pipeline and destination. Only one may.

Stop that process. If it is unreachable, or is to be replaced, start with `--take-over`: it is fenced then, its next commit
fails, and its pipeline stops.",
    },
    Code {
        id: "E0522",
        title: "the session lock of the SQLite destination cannot be taken",
        explain: "\
A file named `<database>.highwater.<pipeline>.<destination>.lock` is kept beside the database while it is written. It could
not be created or locked; the cause is printed. The directory must be writable and on a local disk.",
    },
    Code {
        id: "E0523",
        title: "another program keeps the SQLite destination from being written",
        explain: "\
SQLite has one writer at a time. Something has had a write transaction open on the file for longer than 5 seconds. It is
tried again.

If the message names an owner, that process was the last one to write here. One that was stopped (`kill -STOP`, a
debugger, a frozen container) inside a transaction keeps its lock until it is continued or killed; even `--take-over` has to
wait for that. A transaction of many hundred MiB also takes its time.",
    },
    Code {
        id: "E0524",
        title: "the ledger in the SQLite destination cannot be read",
        explain: "\
The table `_highwater_ledger` holds what this database has of each pipeline. Its row was written by a later version of
highwater, or was changed by hand. Use the version that wrote it, restore the file, or start with another file.",
    },
    Code {
        id: "E0525",
        title: "another owner took over the SQLite destination",
        explain: "\
Each open of a destination takes the next generation, and a commit checks that the generation is still its own. This
process found a later one: another runtime was started for the same pipeline with `--take-over`. Nothing that this process
had not committed was kept, and the pipeline stops here so that the two do not fight.",
    },
    Code {
        id: "E0526",
        title: "the SQLite destination was replaced while it was written",
        explain: "\
The path names another file than the one that was opened, or the ledger row of this pipeline has vanished from it: the file
was moved, restored from a backup, or cleaned. It is opened again, and what it holds then decides. If it is older than what
was acknowledged, the destination needs a `highwater resync`.",
    },
    Code {
        id: "E0527",
        title: "the SQLite destination's file is used by the same pipeline already",
        explain: "\
A pipeline cannot write into the database that it reads: it would overwrite its own source. And two destinations of one
pipeline cannot share a file: SQLite has one writer at a time, and each would wait for the other. Give each destination a file
of its own.",
    },
    Code {
        id: "E0528",
        title: "writing to the SQLite destination failed",
        explain: "\
SQLite refused a statement; the cause is printed. Passing causes (a lock, an I/O error) are tried again. A full disk, missing
permissions and a damaged file wait for you. Everything since the last commit was rolled back, so nothing is half there.",
    },
    Code {
        id: "E0530",
        title: "a stream without a key cannot be upserted",
        explain: "\
`write: upsert` and `write: mirror` find rows by the stream's key, and this stream has none. Set `write: append` for the
destination (or leave `write` out: streams without a key are appended then), or name columns that identify a row under
`overrides`.",
    },
    Code {
        id: "E0531",
        title: "a stream's names or types cannot be carried to SQLite",
        explain: "\
SQLite ignores case in names, so columns `id` and `ID` are one. Names that start with `_highwater_` are ours, tables that
start with `sqlite_` are SQLite's, and no name may contain a zero byte. Rename it with the transformer `select`.",
    },
    Code {
        id: "E0532",
        title: "two streams would share a table in the SQLite destination",
        explain: "\
A stream goes to the table of its name; with a schema, to `schema_name`. Two streams of one destination, or of two
pipelines that write one file, came to the same table, and each would overwrite or delete the other's rows. Use another
file, or exclude one of them.",
    },
    Code {
        id: "E0533",
        title: "a table of the SQLite destination is gone",
        explain: "\
The ledger says that the stream's rows are there, but the table is not: someone dropped or renamed it. It is not created empty
in silence, because the rows that were there would be missing. Restore it, or read the stream again with
`highwater resync`.",
    },
    Code {
        id: "E0534",
        title: "a table of the SQLite destination does not fit its stream",
        explain: "\
A table that is there already is used if every value keeps its exact form in it. The message says what does not fit: a
column whose declared type would convert values (a decimal in a `NUMERIC` column becomes a float), a missing unique key, a
key that compares without case, a generated column, a column that must be given and that the stream does not have, or a
column whose type at the source changed so that the stored values would mean something else.

Where one statement would make it fit, the hint has it. Otherwise use another file, or rename the table. After a changed type,
`highwater resync` with an emptied table creates it anew.",
    },
    Code {
        id: "E0535",
        title: "a schema change waits for you",
        explain: "\
The stream changed its shape and the destination says `on_schema_change: pause`. Run the statement in the hint, or set
`on_schema_change: apply`; the destination goes on by itself then. The same code says that SQLite refused a change of a table:
a column that an index, view or trigger of yours needs cannot be made anew.",
    },
    Code {
        id: "E0536",
        title: "a row has no whole key",
        explain: "\
A key column is NULL or was not sent, so nobody can say which row is meant. SQLite as a source allows NULL in most primary
keys: correct the row there, or name another key under `overrides`.",
    },
    Code {
        id: "E0537",
        title: "a partial change met no row",
        explain: "\
The source sent only some values of a changed row (values that did not change can be left out), and the row is not in the
table. Writing it would put NULL where there is a value. Something else deleted it here. Read the stream again with
`highwater resync`.",
    },
    Code {
        id: "E0538",
        title: "rows cannot be deleted by that condition",
        explain: "\
A source asked to delete all rows that compare in a certain way with a value, and the column is not there, has another type,
or has no order in SQLite (JSON, intervals).",
    },
    Code {
        id: "E0539",
        title: "a constraint of the SQLite destination refused a row",
        explain: "\
The table has a constraint (UNIQUE, CHECK, NOT NULL, or a trigger of yours) that the source's row violates. Tables that
highwater creates have a primary key and nothing else. Drop the constraint, or correct the row at the source.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_increase_and_say_something() {
        assert!(CODES.windows(2).all(|w| w[0].id < w[1].id));
        assert!(
            CODES
                .iter()
                .all(|code| code.id.starts_with("E05") && code.explain.len() > 100)
        );
    }
}

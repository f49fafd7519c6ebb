//! What `highwater explain` says about this crate's errors.

use model::Code;

/// A file operation failed.
pub(crate) const IO: &str = "E0550";
/// A path cannot be used.
pub(crate) const PATH: &str = "E0551";
/// A disk is full.
pub(crate) const FULL: &str = "E0552";
/// Another process writes there.
pub(crate) const HELD: &str = "E0553";
/// Another owner took over.
pub(crate) const FENCED: &str = "E0554";
/// A value has no form in the format.
pub(crate) const VALUE: &str = "E0555";
/// A column has a reserved name.
pub(crate) const RESERVED: &str = "E0556";
/// A schema change needs a decision.
pub(crate) const SCHEMA: &str = "E0557";
/// What is stored cannot be read.
pub(crate) const STORED: &str = "E0558";
/// A change has no form in a history.
pub(crate) const CONTROL: &str = "E0559";

/// The codes of the connectors `parquet`, `csv` and `ndjson`.
pub const CODES: &[Code] = &[
    Code {
        id: IO,
        title: "a file operation failed",
        explain: "The operating system refused to read, write or sync a file of a `parquet`, `csv` or `ndjson` destination. \
                  The message names the file and the cause.\n\n\
                  Nothing is lost: what was not committed is written again after a pause, from the last manifest. If it \
                  keeps failing, look at the disk (`dmesg`, `smartctl`) and at whoever else changes files in that directory.",
    },
    Code {
        id: PATH,
        title: "a path cannot be used",
        explain: "The directory of a `parquet`, `csv` or `ndjson` destination is a file, is read-only, belongs to another \
                  user, or a part of it is a symbolic link or another file system.\n\n\
                  The destination is parked. Make the directory writable for the user that runs Highwater (`chown`, `chmod`, \
                  `mount -o remount,rw`), or set another `path`. All directories below the one that holds `_highwater/` must \
                  be real directories on the same file system, because a file is published by giving it a second name.",
    },
    Code {
        id: FULL,
        title: "the disk is full",
        explain: "No space (or no quota) was left while rows were written. Nothing uncommitted is visible, and what was \
                  staged is removed at the next start.\n\n\
                  Free space on that file system or move the directory to a larger one, then restart the pipeline. Files that \
                  a manifest lists may be deleted or moved away when you no longer need them; Highwater does not read them.",
    },
    Code {
        id: HELD,
        title: "another process writes to this directory",
        explain: "A destination holds a lock (`_highwater/<pipeline>.<destination>/lock`) while it is open, and another \
                  live process has it. Two writers would commit the same changes.\n\n\
                  Stop the other process; its host and process id are in the message. If it hangs and cannot be stopped, start \
                  with `--take-over`: the old process is fenced and can commit nothing any more.",
    },
    Code {
        id: FENCED,
        title: "another owner has taken the destination over",
        explain: "When this process wanted to commit, another one had already written the next manifest. Its commits are \
                  the ones that count; what this process had not committed will be written by the new owner.\n\n\
                  Nothing is lost or doubled. Make sure that only one runtime is configured for this destination.",
    },
    Code {
        id: VALUE,
        title: "a value or a type has no form in this file format",
        explain: "The message names the stream and the column. Every type of Highwater has a form in Parquet, CSV and NDJSON \
                  except a few: a map whose keys are not text (CSV, NDJSON), an interval inside a list (Parquet), a struct \
                  without fields (Parquet), a date beyond the year 262142, or, in CSV, a text that equals the `null` text.\n\n\
                  Exclude the column, cast it with a transformer, choose another `null`, or another format.",
    },
    Code {
        id: RESERVED,
        title: "a column has a reserved name",
        explain: "Appended rows carry the columns `_highwater_op`, `_highwater_position`, `_highwater_committed_at` and \
                  `_highwater_unavailable`, and a column of the stream has one of these names.\n\n\
                  Rename or drop that column with the transformer `select`.",
    },
    Code {
        id: SCHEMA,
        title: "a schema change needs a decision",
        explain: "The columns of a stream changed in a way that `on_schema_change` does not allow: by default added columns and \
                  wider types are applied, removed columns and other types pause the destination; `pause` pauses at every change.\n\n\
                  Old files are never rewritten. With `on_schema_change: apply` new files simply lack a removed column. With \
                  `on_schema_change: new_version` files of the new shape go to a directory of their own (`orders~v2`). Set one \
                  of them and restart the pipeline.",
    },
    Code {
        id: STORED,
        title: "a manifest cannot be read",
        explain: "A file in `_highwater/` is not what Highwater wrote, or was written by a newer version. Manifests are synced \
                  before they get their names, so a crash does not cause this; an editor, a copy or a failing disk may.\n\n\
                  Restore the file from a copy, or use the newer version. As a last resort, move the whole directory away and \
                  let the destination be read again.",
    },
    Code {
        id: CONTROL,
        title: "a history cannot record this change",
        explain: "The source asked to delete all rows that match a condition, which has no form as an appended row.\n\n\
                  Use a destination that can delete, such as `sqlite`, for this stream.",
    },
];

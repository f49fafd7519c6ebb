//! The codes of everything that this crate reports, with what `highwater explain` says about each.

use model::Code;

macro_rules! codes {
    ($( $id:ident $title:literal $explain:literal )+) => {
        $(
            #[doc = $title]
            pub(crate) const $id: Code = Code { id: stringify!($id), title: $title, explain: $explain };
        )+

        /// Every code of the state directory.
        pub const CODES: &[Code] = &[$($id),+];
    };
}

codes! {
    E0401 "the state directory is in use"
"One process at a time may use a state directory, and another one holds the lock on its file `LOCK`. The message names it.

Two runtimes with one state directory would overwrite each other's checkpoints, so the second is refused. `state show` and
`state export` need the lock too; ask a running runtime with `highwater status` instead.

The lock belongs to the process, not to the file: it vanishes when the process ends, however it ends. Deleting `LOCK` never
helps. If the process on that host is gone and the lock is not, the directory lies on a network file system whose server
has not noticed yet."

    E0402 "the state directory cannot be opened"
"The directory could not be made, read or written. The message says which file and what the system answered.

The user that runs Highwater needs read and write permission for the directory and all that is in it, and the disk needs
some MiB of room: opening rewrites the journal. `runtime.state.path` chooses another directory."

    E0403 "there is no state"
"No runtime has used this directory yet, so there is nothing to show or export. The path comes from `runtime.state.path`
and is relative to the working directory: are you where the runtime was started?"

    E0404 "the state was written by a newer version"
"What is stored is whole, and its format or content is not known to this version. Nothing was changed.

Run the version that wrote it, or a newer one. Every version reads the state of the versions before it."

    E0405 "another write came first"
"Each checkpoint carries a number, its epoch, that grows with each write, and a write must name the epoch that it replaces.
It named another one, so somebody else wrote in between, and nothing was changed.

Only one runtime can hold the directory's lock. If this is not a network file system that grants locks twice, please report
it: it is a fault of Highwater."

    E0406 "a value cannot be stored"
"The checkpoint of one destination, or what a source keeps for one pipeline, is far beyond any reasonable size, so it was not
stored. A checkpoint grows with the number of streams and of ranges that are being read at once.

Split the pipeline into several with fewer streams. Where the message says that the value cannot be encoded, it is a fault of
Highwater: please report it."

    E0407 "the disk refused a write"
"Writing, flushing or syncing the state directory failed, so nobody can say what the disk holds of the last write. The
process ends: it would be wrong to sync again, because a second sync is answered with success for data that the first one
lost. Nothing that was acknowledged to a source is lost.

Make room or look after the disk, then start again. The start finds out what was durable: what the last write left behind
is either complete or dropped, and destinations that keep their own checkpoint go on from there in any case."

    E0408 "the database failed"
"The embedded database refused a write with something other than an I/O error, or crashed inside. The value may be in the
journal already, and the journal is what counts. The process ends; the next start moves the database aside to
`state.corrupt-N` and rebuilds it from the journal."

    E0409 "the state store has stopped"
"An earlier write failed (E0407, E0408) or the process is shutting down; nothing is written any more. The first error in the
log is the one to look at."

    W0401 "the database had lost values, the journal had them"
"Some values were unreadable or older in the database than the journal proves, for instance after a power loss or because an
old copy of the files was restored in part. The journal's values were taken and written back. Nothing is lost.

If it comes back without a power loss in between, look after the disk."

    W0402 "the database was moved aside and rebuilt"
"The database was missing or would not open. What was there is in `state.corrupt-N` in the state directory, and a new
database was made from the journal. Nothing is lost, unless a second warning says that the journal was damaged too.

Delete the directory `state.corrupt-N` when nobody wants to look into it."

    W0403 "the journal was damaged"
"The journal is missing or a part of it is unreadable, so values were taken from the database as well, whichever is newer. If
the database had lost its newest values too, some destination may have stepped back to an older checkpoint.

A destination that keeps its own checkpoint (every transactional and staged one) is not affected: its own answer wins. One
that keeps none may receive some changes again.

Look after the disk: this does not happen without a fault of it, or of somebody who copied files while they were written."

    W0404 "no state could be read"
"This directory held state once, and neither the journal nor the database can be read. The runtime starts without a hint:
destinations that keep their own checkpoint go on exactly where they stood; the others go on from what the source last
acknowledged, and may receive changes again.

What was unreadable was kept in `state.corrupt-N`."

    N0401 "an interrupted write was finished"
"The process ended between writing a value to the journal and to the database. The journal's value was taken. This is what an
ordinary kill leaves behind."

    N0402 "an unfinished record was dropped"
"The journal ends in the middle of a record, as it does when the process or the machine ends while one is being written. Its
write had not returned, so nobody relied on it."
}

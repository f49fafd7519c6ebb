//! The codes of this crate, and of all others together, for `highwater explain`.

use model::Code;

macro_rules! codes {
    ($( $id:ident $title:literal $explain:literal )+) => {
        $(
            #[doc = $title]
            pub(crate) const $id: Code = Code { id: stringify!($id), title: $title, explain: $explain };
        )+

        /// Those of this crate.
        pub(crate) const CODES: &[Code] = &[$($id),+];
    };
}

codes! {
    E0720 "the address of the admin API is in use"
"Another process listens on `runtime.admin.listen`, mostly a second Highwater on this machine.

Give this one an address of its own (`runtime.admin.listen: 127.0.0.1:7401`), or none (`off`): `highwater status` and
`highwater resync` use the socket in the state directory and need no port."

    E0721 "the admin API cannot listen"
"The address of `runtime.admin.listen` does not belong to this machine, its port needs a privilege, or the Unix socket cannot
be made in the state directory. The message has what the system said."

    E0722 "no runtime answers"
"A command that talks to a running Highwater found none. It looks at the Unix socket in the state directory of the
configuration, or at `--address`.

Start one with `highwater run`, name its configuration with `--config`, or its address with `--address http://HOST:PORT`."

    E0723 "unknown pipeline"
"The name is none of the configured pipelines. Names are compared exactly."

    E0724 "the answer was no"
"The command changes something and was not told to go on. At a terminal it asks; elsewhere it wants `--yes`."

    E0725 "the runtime refused the request"
"The running Highwater understood the request and cannot do it. The message has its reason."

    E0726 "the token is missing or wrong"
"`runtime.admin.token` is set, so every request over TCP must carry it: `Authorization: Bearer TOKEN`. The commands of
`highwater` take it from the same configuration. The Unix socket needs none: whoever may open it owns the state directory."

    E0727 "a request from elsewhere"
"Without a token the admin API answers only requests that name it by an address of this machine, so that a web page cannot
reach it through a browser by a name that points here. Use `http://127.0.0.1:PORT`, or set `runtime.admin.token`."

    E0728 "a request that cannot be understood"
"The body is not the JSON that the path takes, is larger than 1 MiB, or the path does not exist. `docs/reference/http-api.md`
lists all paths."

    E0729 "an unknown fail-point"
"`HIGHWATER_FAILPOINT` is `NAME:NTH`, several separated by commas. `highwater failpoints` lists the names. Only builds with the
feature `failpoints` look at it."

    E0730 "a file is in the way"
"The command would overwrite a file that exists. `--force` does it."

    E0731 "a file cannot be written or read"
"The message has the file and what the system said."

    E0732 "a command that needs a terminal"
"Without a terminal nothing is asked. Give the answers as options."

    E0733 "unknown code"
"`highwater explain` knows the codes of errors (`E`), warnings (`W`) and notes (`N`). Without a code it lists all of them."

    E0734 "it did not catch up"
"A bounded run ended before every destination had everything: a destination is parked, needs a resync, or was never opened. The
log and the summary name it. What is durable is kept; the next run goes on from there."

    E0735 "draining took too long"
"At the end of `runtime.shutdown.timeout` some destination had not committed yet. Nothing is lost: the next run starts from its
last checkpoint and reads the rest again."

    E0736 "unknown job"
"Jobs are numbered from 1 and remembered for a while after their end; those of an earlier process are gone."

    E0738 "a plugin cannot listen"
"`highwater plugin serve` was given an address that is in use, that does not belong to this machine, or a socket whose directory does
not exist or whose file does. Give it another one with `--address`."

    E0737 "the pipeline is being compared already"
"One comparison of a pipeline goes on at a time: each reads every row at both ends. Wait for it, or end it with
`DELETE /api/v1/jobs/N`."

    E0201 "unknown stream"
"A stream that the pipeline selects does not exist at the source. Names are compared exactly. The label suggests the nearest;
`highwater validate --connect` checks them without running anything."

    E0202 "no stream is left"
"The source has no stream that `include` selects and `exclude` leaves in."

    E0203 "unknown column"
"`columns` or `overrides` name a column that the stream does not have. It would have no effect, and a misspelt `exclude` would
copy what it should keep back."

    W0201 "a pattern selects nothing"
"No stream of the source matches this pattern. It may be right later: streams are resolved at each start."

    N0201 "the source does not see deletes"
"Rows that are deleted at the source stay at the destination. With `write: mirror` a resync removes them; so does each sync of a
source that reads everything anew, such as a CloudQuery plugin."

    W0501 "the destination cannot delete"
"The source sends deletes, and this destination has no way to apply them: deleted rows stay. Choose `deletes: ignore` to say that
this is meant."

    E0502 "the destination cannot carry missing values"
"The source may send rows of which not every value is known (such as an unchanged large text), and this destination cannot leave
those columns alone. Choose a destination that can, or make the source send whole rows."

    W0502 "cursors can run ahead of rows"
"A destination plugin keeps the cursors of the source (`state_backend`), as under CloudQuery. It moves them when the source plugin says so,
not when the rows are durable: after a crash a cursor can be behind rows that no destination has. Leave `state_backend` out, and the
cursors lie in the state directory and never run ahead."

    N0502 "rows may be doubled"
"The route promises at-least-once. Either the destination does: after a crash, what was written since the last commit is written
again. Or the source reads everything anew each time, and the destination appends: what an aborted reading had brought is there twice."

    E0742 "a table cannot be made without a sync"
"`highwater migrate` makes tables from what the source says of its streams. Of a stream whose columns have types of their own
(`overrides`), or whose key is not carried, only a sync shows what arrives. Run `highwater sync`, which makes the table as well."

    E0745 "a new plugin cannot be made so"
"`highwater plugin new` makes a crate of the plugin's name, so the name is one that Cargo takes: lower-case letters, digits, `-`
and `_`, a letter first. `--path` names a checkout of Highwater: the folder that has `plugins/sdk` in it."
}

/// Every code of the product, by id.
pub(crate) fn all() -> Vec<Code> {
    let connectors: [&[Code]; 6] = [
        sqlite::CODES,
        files::CODES,
        transform::CODES,
        console::CODES,
        cloudquery::CODES,
        sdk::CODES,
    ];
    let house: [&[Code]; 5] = [api::CODES, config::CODES, state::CODES, actors::CODES, CODES];
    let lists = connectors.into_iter().chain(postgres::CODES).chain(house);
    let mut codes: Vec<Code> = lists.flatten().copied().collect();
    codes.sort_by_key(|code| (code.id[1..].to_owned(), code.id.as_bytes()[0]));
    codes
}

/// The code of this id; ids are not case-sensitive here.
pub(crate) fn find(id: &str) -> Option<Code> {
    all().into_iter().find(|code| code.id.eq_ignore_ascii_case(id))
}

/// The code of this id, also if nobody has explained it.
pub(crate) fn of(id: &'static str) -> Code {
    find(id).unwrap_or(Code {
        id,
        title: "",
        explain: "",
    })
}

/// The same for a text that comes from elsewhere; what nobody knows is the runtime's.
pub(crate) fn of_text(id: &str) -> &'static str {
    find(id).unwrap_or(E0725).id
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Tests and doubles for tests make up codes that no user meets.
    const NOT_FOR_USERS: [&str; 5] = ["E0299", "E0590", "E0591", "E0598", "E0599"];

    const NOT_HERE: [&str; 3] = ["target", "tests", "testing"];

    #[test]
    fn every_code_in_the_sources_is_explained() {
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..")];
        let mut seen = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("our own sources").flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                let name = name.to_string_lossy();
                if path.is_dir() && !name.starts_with('.') && !NOT_HERE.contains(&&*name) {
                    folders.push(path);
                } else if name.ends_with(".rs") {
                    let text = std::fs::read_to_string(&path).expect("our own sources");
                    seen.extend(text.split('"').filter(|word| is_code(word)).map(str::to_owned));
                }
            }
        }
        let unknown: Vec<_> = seen
            .iter()
            .filter(|id| find(id).is_none() && !NOT_FOR_USERS.contains(&id.as_str()))
            .collect();
        assert!(seen.len() > 100, "this does not look at the sources");
        assert!(unknown.is_empty(), "nobody explains {unknown:?}");
    }

    fn is_code(word: &str) -> bool {
        word.len() == 5 && word.starts_with(['E', 'W', 'N']) && word[1..].bytes().all(|byte| byte.is_ascii_digit())
    }

    #[test]
    fn codes_of_all_crates_are_unique_and_explained() {
        let all = all();
        let ids: BTreeSet<&str> = all.iter().map(|code| code.id).collect();
        assert_eq!(ids.len(), all.len(), "an id is used twice");
        for code in all {
            assert!(
                !code.title.is_empty() && code.explain.len() > 40,
                "{} is not explained",
                code.id
            );
        }
    }
}

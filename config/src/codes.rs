//! The codes of everything that this crate finds, with what `highwater explain` says about each.

use model::Code;

macro_rules! codes {
    ($( $id:ident $title:literal $explain:literal )+) => {
        $(
            #[doc = $title]
            pub const $id: Code = Code { id: stringify!($id), title: $title, explain: $explain };
        )+

        /// All of them.
        pub const CODES: &[Code] = &[$($id),+];
    };
}

codes! {
    E0101 "the file is not YAML"
"The text breaks a rule of YAML 1.2, so nothing in it can be relied on. The arrow is where the parser noticed; the cause is
often just before it.

Usual causes:

- a tab in the indentation: indent with spaces;
- `${NAME` that is not closed on its line;
- a text that begins with `*`, `&`, `!`, `@`, `%` or a backtick, or that holds `: ` or ` #`: put it in quotes;
- lines of one block that are not indented alike.

JSON is accepted too, as it is YAML."

    E0102 "the configuration is too large, too deep, or expands too far"
"A configuration may have 1 MiB of text a file, 64 lists and maps inside each other, 64 aliases (`*name`) and 100,000 values
after aliases are written out. A file beyond that is a mistake of a generator or an attack; nothing of it is used.

Split the file (`--config` may be given several times, or name a directory), or write aliases out."

    E0103 "a value that does not fit its field"
"The value has the right type and means nothing here: a size or duration without a unit, a number out of range, an address
that is none.

Sizes are a number and `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024) or `kB`, `MB`, `GB`, `TB` (powers of 1000).
Durations are numbers with `us`, `ms`, `s`, `m`, `h` or `d`, such as `1h30m`. Neither is ever a bare number: nobody remembers
which unit that would be."

    E0104 "unknown field"
"The field does not exist here. Fields are never ignored: a misspelt `exclude` would copy what it should keep back.

If the label suggests a name, use it. What belongs to the connector stands inside `spec`, everything else beside it.
`highwater schema` writes a JSON Schema with which an editor completes all names."

    E0105 "a value of the wrong type"
"The field wants another kind of value: a list, a map, a whole number, `true` or `false`.

Texts keep their text: `NO`, `1.10` and `0755` are what they look like. A number in quotes is text; remove the quotes. `yes`,
`no`, `on` and `off` are texts in YAML 1.2."

    E0106 "not available in this version"
"The format knows this, and this version of Highwater cannot do it. It is refused, as ignoring it would promise what does not
happen. The hint says what to use instead; a later version accepts the file as it is."

    E0107 "missing field"
"A field that has no default is not there. Fields of a connector stand inside `spec`."

    E0108 "missing or unknown version"
"Each document of a configuration says by which rules it is to be read: `version: 1`. There is one version so far."

    E0109 "a feature of YAML that is refused"
"Merge keys (`<<`), tags (`!name`) and keys that are not text are refused: they mean different things to different readers.

To use one definition several times, put it under `sources:`, `destinations:` or `transformers:` and use its name. Plain
aliases (`*name`) work, up to 64."

    E0110 "duplicate key"
"The same key stands twice in one map. YAML forbids it, and most readers silently take the last."

    E0111 "a name that is taken"
"Two pipelines, two definitions of one kind, two destinations of a pipeline, or two transformers of a chain have the same name,
or there is a second `runtime` block. All files and documents are one configuration, and names are keys of stored state."

    E0112 "unknown connector"
"This version has no connector of that name in this role. The hint lists those it has; `highwater schema` describes them."

    E0113 "a connector in a role that it does not have"
"The connector exists, but not as a source, destination or transformer, whichever was asked for."

    E0114 "reference to something that is not defined"
"A name stands where a source, destination or transformer is expected, and nothing is defined under it in `sources:`,
`destinations:` or `transformers:` of any file."

    E0115 "not one of the allowed values"
"The field takes one of a few words, or names something that the connector must know, such as a type. The label says which it
takes, or which was probably meant. Words are compared exactly."

    E0116 "values that contradict each other"
"Each value is fine alone; together they make no sense, such as a shortest wait that is longer than the longest."

    E0117 "the connector cannot write in this way"
"`append` adds a row for every change. `upsert` replaces the row with the same key. `mirror` also removes rows that vanished
from the source, after a resync. Files can only be appended to; tables can do all three.

Use one of the values that the connector supports, or a connector that supports what you need."

    E0118 "the connector cannot do this"
"The value is known and the connector does not support it. The label names what it supports."

    E0119 "nothing to do"
"The configuration is empty, has no pipeline, or a pipeline has no destination or selects no stream."

    E0120 "a configuration file cannot be read"
"The path does not exist, may not be read by this user, or is not UTF-8 text. Without `--config`, `./highwater.yaml`, then
`./highwater.d/`, then `/etc/highwater/highwater.yaml` is used."

    E0121 "an environment variable is not set"
"`${NAME}` or `${secret:env:NAME}` names a variable that is not in the environment of this process, and there is no default.

Set it, load it with `--env-file`, or write a default: `${NAME:-default}`. An empty variable counts as missing only for
`:-` and `:?`. A service manager starts with an environment of its own: a variable of your shell is not there."

    E0122 "a `${...}` that cannot be understood"
"Written are `${NAME}`, `${file:/path}`, `${secret:env:NAME}` and `${secret:file:/path}`, each with `:-default` or `:?message`
behind it if wanted, and `${time:now}` or `${time:10 days ago|2006-01-02}` (a time in UTC, in a layout of Go's). A dollar that is meant as one is `$$` where `{` follows. A value is never expanded again."

    E0123 "a file with a value cannot be read"
"`${file:/path}` or `${secret:file:/path}` names a file that does not exist, may not be read by this user, is larger than
64 KiB, or is empty where that is not allowed. One line break at its end is dropped."

    E0124 "listening beyond loopback without a token"
"The HTTP API can pause, resync and inspect pipelines. On an address that other machines reach it needs `runtime.admin.token`,
best from a secret: `token: \"${secret:file:/run/secrets/highwater_admin}\"`. Or keep it on `127.0.0.1`."

    E0125 "reservations exceed the memory limit"
"`runtime.memory.limit` is one budget for all pipelines. Out of it come, for each pipeline, the spool's window
(`runtime.spool.window_max`) and a floor of 1 MiB that no other pipeline can take; and for each destination the buffer that its
connector declares. If they do not fit, a pipeline would wait for memory that never comes, so it is refused here.

Raise the limit, make the window smaller, or run fewer destinations in one process."

    E0126 "a name that cannot be used"
"Names of pipelines and destinations are keys of stored state and parts of metric labels, table names and paths: letters,
digits, `_` and `-`, at most 63, beginning with a letter or digit."

    E0127 "a connector refuses its spec"
"The spec has the right shape, and the connector says that it makes no sense. The label says why."

    E0128 "settings for a stream that is not selected"
"`columns` and `overrides` are set for a stream that `include` does not select or `exclude` leaves out. They would have no
effect; mostly the name is misspelt. Names are compared exactly, with the schema where the source has schemas."

    W0110 "a secret in plain text"
"The configuration holds a password or token as it is. Whoever reads the file, its backup or its repository has it.

Put it in a file that only this user can read and write `${secret:file:/path}`, or in the environment and write
`${secret:env:NAME}`. Values that come in that way are shown as `***` everywhere."

    W0111 "a secret file that every user can read"
"The file of a `${secret:file:...}` is readable by all users of this machine. `chmod o-r` it. Files under `/run` are not
looked at: they belong to one container or service."

    W0112 "a definition that is not used"
"No pipeline names this source, destination or transformer. It is checked, and nothing else happens with it."

    W0113 "two destinations that write to the same place"
"Two destinations of one pipeline have the same connector and the same spec, so each would write over, or beside, what the other
wrote."

    W0114 "a setting that has no effect"
"CloudQuery has this setting, and it changes nothing here. The message says why, and the hint what to use instead."

    N0111 "cursors are kept in the state directory"
"`backend_options` name a destination plugin that is to keep the cursors of incremental tables. Under CloudQuery the source writes
them there by itself, whether its rows have arrived or not. Highwater keeps them in its own state, with the checkpoints: they become
visible when all rows of their sync are durable in every destination. What the named plugin has kept so far is not read, so the
first sync reads incremental tables whole."

    N0112 "a variable that is read as a list or a map"
"In CloudQuery's documents a value is `${NAME}` and nothing else, without quotes, and the variable holds a list or a map. CloudQuery
replaces variables before it reads the document, so it is one there, too. In quotes it is text."

    N0113 "the pipeline has another name than its source"
"A source of CloudQuery's becomes a pipeline of its name. Names of pipelines are parts of paths and metric labels: letters, digits,
`_` and `-`, at most 63. What else the source's name has became `_`. In `_cq_source_name` it stays as it is."

    N0110 "a slow destination can hold the others"
"With the memory spool, destinations can be apart by `runtime.spool.window_max`. One that falls further behind makes the others
wait (`hold`), or is let go and caught up later by reading the source again (`rewind`), which costs the source that reading.
Set `when_behind` for each destination to choose, and this note goes away."
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_in_the_config_range() {
        let ids: BTreeSet<&str> = CODES.iter().map(|code| code.id).collect();
        assert_eq!(ids.len(), CODES.len());
        for code in CODES {
            assert!(
                ["E01", "W01", "N01"].iter().any(|range| code.id.starts_with(range)),
                "{}",
                code.id
            );
            assert!(code.explain.len() > 60, "{} is not explained", code.id);
        }
    }
}

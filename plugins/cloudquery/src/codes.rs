//! What the errors of plugins mean.

use model::Code;

pub(crate) const START: &str = "E0801";
pub(crate) const NOT_READY: &str = "E0802";
pub(crate) const PROTOCOL: &str = "E0803";
pub(crate) const CALL: &str = "E0804";
pub(crate) const DEADLINE: &str = "E0805";
pub(crate) const PAYLOAD: &str = "E0806";
pub(crate) const VALUE: &str = "E0807";
pub(crate) const LOST_BATCH: &str = "E0808";
pub(crate) const TABLE: &str = "E0809";
pub(crate) const REGISTRY: &str = "E0810";
pub(crate) const UNSUPPORTED: &str = "E0811";
pub(crate) const OTHER_FILE: &str = "E0812";
pub(crate) const UNREACHABLE: &str = "E0813";
pub(crate) const ASSESSED: &str = "N0814";
pub(crate) const MIGRATION: &str = "W0815";

/// Those of every role.
pub const CODES: &[Code] = &[
    Code {
        id: START,
        title: "a plugin cannot be started",
        explain: "The file that `path` names is not there, may not be run, or the system refused to run it. The message has its path and \
the system's word. A script needs its first line (`#!/usr/bin/env python3`) and the execute permission (`chmod +x`).",
    },
    Code {
        id: NOT_READY,
        title: "a plugin does not answer",
        explain: "The plugin was started, or its address dialled, and nobody answered in time. If its process ended, the message says how, \
and its last log lines are beneath. With `registry: grpc` the plugin must be running before Highwater is.",
    },
    Code {
        id: PROTOCOL,
        title: "a plugin speaks another protocol",
        explain: "Highwater speaks version 3 of CloudQuery's plugin protocol, which plugins have spoken since the middle of 2023. Update the \
plugin; if `registry: grpc`, look whether the address is a plugin's at all.",
    },
    Code {
        id: CALL,
        title: "a plugin failed",
        explain: "A call of the plugin ended with an error, or its connection broke. The plugin's own message, the way its process ended and its \
last log lines are beneath. What it had not made durable is sent again once it was started anew.",
    },
    Code {
        id: DEADLINE,
        title: "a plugin does not come to an end",
        explain: "The plugin took a call and has neither answered nor failed within the time that the message names. It is stopped and started anew. \
If its work does take that long (a large table, a slow API), raise `timeout` in the component's spec.",
    },
    Code {
        id: PAYLOAD,
        title: "a plugin sent something that cannot be read",
        explain: "What a plugin sends is checked before it is used: the frames of its messages, its Arrow buffers, its lengths and names. This one \
does not hold together, or is beyond the limits. It is a fault of the plugin; report it there with the message.",
    },
    Code {
        id: VALUE,
        title: "a value that the other side cannot hold",
        explain: "A column's type, or one value in it, has no exact counterpart on the other side of the plugin protocol. The message names column \
and row. Leave the column out or change it with a transformer.",
    },
    Code {
        id: LOST_BATCH,
        title: "a plugin lost a batch",
        explain: "Some destination plugins write in batches in the background, and when a batch fails they only log it: their answer to the write \
says that all is well. Highwater reads those log lines and counts the commit as failed, so that the rows are sent again.",
    },
    Code {
        id: TABLE,
        title: "a table failed in a plugin",
        explain: "The source plugin could not read one of its tables, or the destination plugin could not write one; the message names it. The other \
tables are complete. Rows that the failed read did not meet are kept, not removed as stale. A table whose parent failed counts as failed, too.",
    },
    Code {
        id: REGISTRY,
        title: "a plugin cannot be had from its registry",
        explain: "`registry: local` takes the path of an executable, `registry: grpc` the address of a running plugin. A plugin of the hub \
(`registry: cloudquery`) is taken from `.highwater/plugins` beside the configuration, where `highwater plugins install` puts it, from \
`.cq/plugins`, where CloudQuery's own command does, or from the mirror that `mirror` or `HIGHWATER_PLUGIN_MIRROR` names. \
`registry: docker` needs the command `docker`.",
    },
    Code {
        id: UNSUPPORTED,
        title: "a plugin cannot do what is asked",
        explain: "The pipeline asks for something that the plugin, or the plugin protocol, does not have. The message says what.",
    },
    Code {
        id: OTHER_FILE,
        title: "a plugin's file is not the one that was meant",
        explain: "The configuration says which SHA-256 the plugin's file has (`sha256`), and the file has another one, so it was not started. If \
the plugin was updated on purpose, put the new sum into the configuration (`sha256sum FILE` prints it); if not, find out who changed it.",
    },
    Code {
        id: UNREACHABLE,
        title: "a plugin does not reach its system",
        explain: "The plugin runs, tried to connect to its system with the settings in its `spec`, and could not. The message is the plugin's own: \
mostly a wrong address, a credential that is missing or has no permission, or a network that is closed.",
    },
    Code {
        id: ASSESSED,
        title: "what a plugin would do with a changed table",
        explain: "A stream has another shape than the destination plugin was told of. `validate --connect` asks the plugin what it would do with its table (`AssessTables`), which changes nothing, and prints its words. Many plugins have no such call and say nothing.",
    },
    Code {
        id: MIGRATION,
        title: "a plugin cannot alter a table by itself",
        explain: "The destination plugin says that the new shape of a stream does not fit the table that it has, and that it would not alter it. Change the table by hand, leave the column out, or set `migrate_force: true`, with which the plugin may drop the table and make it again.",
    },
];

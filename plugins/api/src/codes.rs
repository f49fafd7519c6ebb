use model::Code;

/// What the errors mean that come from here and not from a connector.
pub const CODES: &[Code] = &[
    Code {
        id: "E0601",
        title: "a transformer's answer cannot be put together",
        explain: "A transformer gave back rows that do not belong to those it was given: a row that it was not asked about, the \
same row twice, old and new images of different shape, or a key column that it dropped.

It is a fault of the transformer, not of the data: report it with the message. Without that transformer the pipeline goes on.",
    },
    Code {
        id: "E0602",
        title: "a transformer renames a stream",
        explain: "Checkpoints are kept by the source's stream names, so a transformer may change columns and rows but not the \
stream's name. Name the table or path at the destination instead (`table`, `path`).",
    },
    Code {
        id: "E0603",
        title: "the source cannot be viewed as of one position",
        explain: "`verify` compares rows as of one position in the source's log while writers run. This source cannot read all of its \
rows as of one: a polled database does not say which of its rows a position covers. Compare with the pipeline at rest instead.",
    },
    Code {
        id: "E0604",
        title: "the destination cannot be read back",
        explain: "`verify` reads what a destination holds in one snapshot. This destination does not offer that (files, a console). \
Name the ones that do with `--destination`; `docs/reference/cli.md` lists them.",
    },
];

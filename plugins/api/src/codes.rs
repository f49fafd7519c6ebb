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
];

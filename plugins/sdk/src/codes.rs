use model::Code;

/// What the errors of a [`LogSource`](crate::change_log::LogSource) mean.
pub const CODES: &[Code] = &[
    Code {
        id: "E0620",
        title: "rows of a change log do not fit their table",
        explain: "A source that was written with the plugin SDK hands out rows as JSON, and they become columns of the types that it \
gave its table. One of them has a value that its column cannot hold: the source's table and its rows disagree.

It is a fault of that source. The cause names the column or the value's type.",
    },
    Code {
        id: "E0621",
        title: "a destination's position is not in the change log",
        explain: "A source that was written with the plugin SDK either forgot what came after the destination's position, or is \
another system than the one that the position is of. Read that destination again: `highwater resync`.",
    },
    Code {
        id: "E0622",
        title: "a table of a change log cannot be read",
        explain: "A source that was written with the plugin SDK has no table of that name any more, or the table has no key, or the \
columns that were left out are part of it. Every table of such a source needs a key, by which a later change finds its row.",
    },
];

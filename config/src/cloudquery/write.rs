//! Making trees: what nobody wrote stands where it follows from.

use crate::sources::Span;
use crate::tree::{Entry, Key, Kind, Node, Origin, Scalar};

/// A word at a place.
pub(super) fn word(text: impl Into<String>, span: Span) -> Node {
    Node {
        span,
        kind: Kind::Scalar(Scalar::literal(text)),
    }
}

/// A value that is missing or wrong, which has been reported: whoever reads it stays silent.
pub(super) fn failed(span: Span) -> Node {
    Node {
        span,
        kind: Kind::Scalar(Scalar {
            origin: Origin::Failed,
            ..Scalar::literal("")
        }),
    }
}

pub(super) fn list(items: Vec<Node>, span: Span) -> Node {
    Node {
        span,
        kind: Kind::List(items),
    }
}

/// A map that grows.
pub(super) struct Map {
    span: Span,
    entries: Vec<Entry>,
}

impl Map {
    pub(super) fn at(span: Span) -> Map {
        Map {
            span,
            entries: Vec::new(),
        }
    }

    /// Adds a field whose key stands at `key`.
    pub(super) fn put(&mut self, name: impl Into<String>, key: Span, value: Node) -> &mut Map {
        let key = Key {
            text: name.into(),
            span: key,
        };
        self.entries.push(Entry { key, value });
        self
    }

    pub(super) fn node(self) -> Node {
        Node {
            span: self.span,
            kind: Kind::Map(self.entries),
        }
    }
}

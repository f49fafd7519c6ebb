//! JSON pointers (RFC 6901), and what they point at in a tree.

use crate::sources::Span;
use crate::tree::{Kind, Node};

/// The pointer of a key or an index below another pointer.
pub(crate) fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// The last part, unescaped. Of an index the field that holds the list.
pub(crate) fn last(pointer: &str) -> String {
    let mut parts = pointer
        .rsplit('/')
        .filter(|part| !part.chars().all(|c| c.is_ascii_digit()));
    parts.next().unwrap_or("").replace("~1", "/").replace("~0", "~")
}

/// What a pointer leads to.
pub(crate) struct Target {
    /// The value, or the key where the value has no place of its own to show.
    pub(crate) span: Span,
    /// How far it led: the pointer itself, or that of the nearest value that exists.
    pub(crate) pointer: String,
}

/// Follows a pointer as far as it leads. A default that nobody wrote is found at the nearest map that could hold it.
pub(crate) fn follow(root: &Node, pointer: &str) -> Target {
    let mut node = root;
    let mut target = Target {
        span: root.span,
        pointer: String::new(),
    };
    for part in pointer.split('/').skip(1) {
        let key = part.replace("~1", "/").replace("~0", "~");
        let (value, owner) = match &node.kind {
            Kind::Map(entries) => match entries.iter().find(|entry| entry.key.text == key) {
                Some(entry) => (&entry.value, Some(entry.key.span)),
                None => break,
            },
            Kind::List(items) => match key.parse::<usize>().ok().and_then(|index| items.get(index)) {
                Some(item) => (item, None),
                None => break,
            },
            Kind::Scalar(_) => break,
        };
        // A block of many lines is better shown by its key.
        target.span = match (&value.kind, owner) {
            (Kind::Scalar(_), _) | (_, None) => value.span,
            (_, Some(key)) => key,
        };
        target.pointer = child(&target.pointer, &key);
        node = value;
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_and_last_escape_and_unescape() {
        assert_eq!(child("/a", "b/c~d"), "/a/b~1c~0d");
        assert_eq!(last("/a/b~1c~0d"), "b/c~d");
        assert_eq!(last("/streams/include/3"), "include");
    }
}

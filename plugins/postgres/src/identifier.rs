//! Names and literals as SQL text: everything that comes from outside is quoted, nothing is pasted.

use std::fmt;

/// The longest identifier in bytes; the server cuts longer ones in silence.
pub const IDENTIFIER_BYTES_MAX: usize = 63;

/// `name` in double quotes, whatever it contains.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` in single quotes, whatever it contains and whatever `standard_conforming_strings` is.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// A table, view or type by its full name. Displays quoted: `"public"."orders"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Relation {
    /// The schema, unquoted.
    pub schema: String,
    /// The name, unquoted.
    pub name: String,
}

impl Relation {
    /// A relation.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Relation {
            schema: schema.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_are_quoted_whatever_they_contain() {
        assert_eq!(quote_ident(r#"Or"der"#), r#""Or""der""#);
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal(r"a\'b"), r"E'a\\''b'");
        assert_eq!(Relation::new("public", "a.b").to_string(), r#""public"."a.b""#);
    }
}

//! Reading and writing small pieces of SQL text: quoted names, and the parts of a `CREATE INDEX` statement.
//!
//! The tokenizer knows just enough of SQLite's grammar to find commas, parentheses and keywords outside of strings,
//! quoted names and comments. It never interprets an expression: it hands the text on, to be pasted back into SQL that
//! runs in the same database.

use std::ops::Range;

/// `name` as a double-quoted identifier, whatever characters it contains.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The terms and the condition of a `CREATE INDEX` statement, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexText {
    /// One expression for each indexed term, without its `COLLATE`, `ASC` and `DESC`.
    pub(crate) terms: Vec<String>,
    /// The `WHERE` expression of a partial index.
    pub(crate) condition: Option<String>,
}

/// Takes a `CREATE INDEX` statement apart; `None` if it does not look like one.
pub(crate) fn parse_create_index(sql: &str) -> Option<IndexText> {
    let tokens = tokens(sql);
    let on = tokens.iter().position(|t| t.is_word(sql, "ON"))?;
    let open = on + tokens[on..].iter().position(|t| t.text(sql) == "(")?;
    let close = open + closing(sql, &tokens[open..])?;
    let inner = &tokens[open + 1..close];
    let terms = split_at_commas(sql, inner)
        .into_iter()
        .map(|term| expression_of_term(sql, term))
        .collect::<Option<Vec<_>>>()?;
    let condition = match tokens.get(close + 1) {
        Some(t) if t.is_word(sql, "WHERE") => Some(span(sql, tokens.get(close + 2..)?)?),
        _ => None,
    };
    Some(IndexText { terms, condition })
}

/// A term without the collation and the direction that may follow it.
fn expression_of_term(sql: &str, mut term: &[Token]) -> Option<String> {
    if let [rest @ .., last] = term
        && (last.is_word(sql, "ASC") || last.is_word(sql, "DESC"))
    {
        term = rest;
    }
    if let [rest @ .., collate, _name] = term
        && collate.is_word(sql, "COLLATE")
    {
        term = rest;
    }
    span(sql, term)
}

fn span(sql: &str, tokens: &[Token]) -> Option<String> {
    Some(sql[tokens.first()?.0.start..tokens.last()?.0.end].to_owned())
}

/// Index of the parenthesis that closes the first token.
fn closing(sql: &str, tokens: &[Token]) -> Option<usize> {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate() {
        match token.text(sql) {
            "(" => depth += 1,
            ")" => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

fn split_at_commas<'a>(sql: &str, tokens: &'a [Token]) -> Vec<&'a [Token]> {
    let mut depth = 0usize;
    tokens
        .split(|token| {
            match token.text(sql) {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                "," => return depth == 0,
                _ => {}
            }
            false
        })
        .collect()
}

/// Byte range of one token; comments and white space are no tokens.
#[derive(Debug, Clone)]
struct Token(Range<usize>);

impl Token {
    fn text<'a>(&self, sql: &'a str) -> &'a str {
        &sql[self.0.clone()]
    }

    fn is_word(&self, sql: &str, word: &str) -> bool {
        self.text(sql).eq_ignore_ascii_case(word)
    }
}

fn tokens(sql: &str) -> Vec<Token> {
    let bytes = sql.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at = after(bytes, at, b"\n");
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at = after(bytes, at + 2, b"*/");
                continue;
            }
            quote @ (b'\'' | b'"' | b'`') => at = after_quoted(bytes, at, quote),
            b'[' => at = after(bytes, at, b"]"),
            b if is_word_byte(b) => {
                while at < bytes.len() && is_word_byte(bytes[at]) {
                    at += 1;
                }
            }
            _ => at += 1,
        }
        found.push(Token(start..at));
    }
    found
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn after(bytes: &[u8], from: usize, end: &[u8]) -> usize {
    bytes[from.min(bytes.len())..]
        .windows(end.len())
        .position(|window| window == end)
        .map_or(bytes.len(), |found| from + found + end.len())
}

/// Past the closing quote; a doubled quote is part of the text.
fn after_quoted(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, terms: &[&str], condition: Option<&str>) {
        let got = parse_create_index(sql).expect("is a CREATE INDEX statement");
        assert_eq!(got.terms, terms, "{sql}");
        assert_eq!(got.condition.as_deref(), condition, "{sql}");
    }

    #[test]
    fn index_text_is_cut_into_terms_and_condition() {
        check("CREATE UNIQUE INDEX u ON t(a)", &["a"], None);
        check(
            "create unique index if not exists u on t ( a collate nocase desc, b asc)",
            &["a", "b"],
            None,
        );
        check(
            "CREATE UNIQUE INDEX u ON t(lower(a, ','), \"x, (y\" COLLATE \"no case\") WHERE b > ')' AND c",
            &["lower(a, ',')", "\"x, (y\""],
            Some("b > ')' AND c"),
        );
        check(
            "CREATE UNIQUE INDEX [on] ON [t(] /* ( */ (a -- ,\n + 1)",
            &["a -- ,\n + 1"],
            None,
        );
        check(
            "CREATE UNIQUE INDEX u ON t(coalesce(a, 'it''s'), (b))",
            &["coalesce(a, 'it''s')", "(b)"],
            None,
        );
    }

    #[test]
    fn names_are_quoted_whatever_they_contain() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}

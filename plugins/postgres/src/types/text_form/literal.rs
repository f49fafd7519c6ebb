//! The text forms of what has parts: `{a,"b c",NULL}`, `(a,"b c",)`, `[a,"b c")`, and hstore's `"k"=>"v"`.

use crate::types::Misfit;

/// The server's idea of white space in these forms.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Writes an element of an array, quoted if it must be.
pub(crate) fn write_element(text: &str, delimiter: u8, out: &mut String) {
    let needs_quotes = text.is_empty()
        || text.eq_ignore_ascii_case("null")
        || text
            .bytes()
            .any(|byte| matches!(byte, b'"' | b'\\' | b'{' | b'}') || byte == delimiter || is_space(byte));
    if !needs_quotes {
        return out.push_str(text);
    }
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// Writes an attribute of a row or a bound of a range; `special` are the characters that ask for quotes there.
pub(crate) fn write_part(text: &str, special: &[u8], out: &mut String) {
    let needs_quotes = text.is_empty()
        || text
            .bytes()
            .any(|byte| matches!(byte, b'"' | b'\\') || special.contains(&byte) || is_space(byte));
    if !needs_quotes {
        return out.push_str(text);
    }
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push(c);
        }
        out.push(c);
    }
    out.push('"');
}

/// Reads one of these forms from the left.
pub(crate) struct Literal<'a> {
    text: &'a str,
    at: usize,
    type_name: &'static str,
}

impl<'a> Literal<'a> {
    pub(crate) fn new(text: &'a str, type_name: &'static str) -> Self {
        Literal { text, at: 0, type_name }
    }

    pub(crate) fn malformed(&self) -> Misfit {
        Misfit::malformed(self.type_name)
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Misfit> {
        if self.eat(byte) { Ok(()) } else { Err(self.malformed()) }
    }

    pub(crate) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    pub(crate) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Reads text until one of `ends` stands outside of quotes. Returns whether any of it was quoted.
    pub(crate) fn part(&mut self, ends: &[u8], out: &mut String) -> Result<bool, Misfit> {
        out.clear();
        let (mut was_quoted, mut in_quotes) = (false, false);
        loop {
            // Whole runs between special bytes, which are all ASCII, so that the text is cut between characters.
            let run = self.rest();
            let len = run
                .bytes()
                .position(|byte| matches!(byte, b'"' | b'\\') || (!in_quotes && ends.contains(&byte)))
                .unwrap_or(run.len());
            out.push_str(&run[..len]);
            self.at += len;
            match self.peek() {
                None if in_quotes => return Err(self.malformed()),
                None => return Ok(was_quoted),
                Some(b'\\') => {
                    self.at += 1;
                    let c = self.rest().chars().next().ok_or_else(|| self.malformed())?;
                    out.push(c);
                    self.at += c.len_utf8();
                    was_quoted = true;
                }
                Some(b'"') => {
                    self.at += 1;
                    // Rows and ranges double a quote; arrays never write two quotes in a row inside of quotes.
                    if in_quotes && self.peek() == Some(b'"') {
                        self.at += 1;
                        out.push('"');
                    } else {
                        in_quotes = !in_quotes;
                    }
                    was_quoted = true;
                }
                Some(_) => return Ok(was_quoted),
            }
        }
    }
}

/// The dimensions of an array: how many elements, and the first index of each.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) lens: Vec<i32>,
    pub(crate) lower_bounds: Vec<i32>,
}

/// The server's own limit.
const DIMENSIONS_MAX: usize = 6;

/// Reads the text of an array; calls `element` for each, `None` for NULL.
pub(crate) fn read_array(
    text: &str,
    delimiter: u8,
    mut element: impl FnMut(Option<&str>) -> Result<(), Misfit>,
) -> Result<Shape, Misfit> {
    let mut literal = Literal::new(text, "array");
    let lower_bounds = read_bounds(&mut literal)?;
    let mut lens: Vec<Option<i32>> = Vec::new();
    // How many parts were read at each open level.
    let mut counts: Vec<i32> = Vec::new();
    let mut scratch = String::new();
    // How deep the elements are, known with the first of them.
    let mut depth = None;
    let mut expects_part = true;
    literal.expect(b'{')?;
    counts.push(0);
    while !counts.is_empty() {
        match literal.peek().ok_or_else(|| literal.malformed())? {
            b'{' if expects_part => {
                literal.next();
                counts.push(0);
                if counts.len() > DIMENSIONS_MAX || depth.is_some_and(|depth| counts.len() > depth) {
                    return Err(literal.malformed());
                }
            }
            b'}' if !expects_part || counts.last() == Some(&0) => {
                literal.next();
                let level = counts.len() - 1;
                let count = counts.pop().unwrap_or(0);
                if lens.len() <= level {
                    lens.resize(level + 1, None);
                }
                match lens[level] {
                    Some(len) if len != count => return Err(literal.malformed()),
                    _ => lens[level] = Some(count),
                }
                if let Some(outer) = counts.last_mut() {
                    *outer += 1;
                }
                expects_part = false;
            }
            byte if byte == delimiter && !expects_part => {
                literal.next();
                expects_part = true;
            }
            _ if expects_part && depth.is_none_or(|depth| depth == counts.len()) => {
                depth = Some(counts.len());
                let was_quoted = literal.part(&[delimiter, b'{', b'}'], &mut scratch)?;
                if !was_quoted && scratch.eq_ignore_ascii_case("null") {
                    element(None)?;
                } else if scratch.is_empty() && !was_quoted {
                    return Err(literal.malformed());
                } else {
                    element(Some(&scratch))?;
                }
                if let Some(count) = counts.last_mut() {
                    *count += 1;
                }
                expects_part = false;
            }
            _ => return Err(literal.malformed()),
        }
    }
    if !literal.is_at_end() {
        return Err(literal.malformed());
    }
    if depth.is_none() {
        return Ok(Shape::default());
    }
    let lens: Vec<i32> = lens.into_iter().flatten().collect();
    let lower_bounds = if lower_bounds.is_empty() {
        vec![1; lens.len()]
    } else {
        lower_bounds
    };
    if lower_bounds.len() != lens.len() {
        return Err(literal.malformed());
    }
    Ok(Shape { lens, lower_bounds })
}

/// `[2:3][0:1]=` in front, if it is there.
fn read_bounds(literal: &mut Literal<'_>) -> Result<Vec<i32>, Misfit> {
    let mut bounds = Vec::new();
    let mut scratch = String::new();
    while literal.eat(b'[') {
        literal.part(b":]", &mut scratch)?;
        bounds.push(scratch.parse().map_err(|_| literal.malformed())?);
        literal.expect(b':')?;
        literal.part(b"]", &mut scratch)?;
        literal.expect(b']')?;
    }
    if !bounds.is_empty() {
        literal.expect(b'=')?;
    }
    Ok(bounds)
}

/// Reads the text of a row; calls `attribute` for each with its place, `None` for NULL.
pub(crate) fn read_row(
    text: &str,
    mut attribute: impl FnMut(usize, Option<&str>) -> Result<(), Misfit>,
) -> Result<usize, Misfit> {
    let mut literal = Literal::new(text, "record");
    literal.expect(b'(')?;
    let mut scratch = String::new();
    let mut count = 0;
    if literal.eat(b')') {
        // A row of one attribute that is NULL looks the same as one of none.
        attribute(0, None)?;
        return if literal.is_at_end() {
            Ok(1)
        } else {
            Err(literal.malformed())
        };
    }
    loop {
        let was_quoted = literal.part(b",()", &mut scratch)?;
        let is_null = scratch.is_empty() && !was_quoted;
        attribute(count, (!is_null).then_some(&scratch))?;
        count += 1;
        match literal.next() {
            Some(b',') => {}
            Some(b')') if literal.is_at_end() => return Ok(count),
            _ => return Err(literal.malformed()),
        }
    }
}

/// Reads the text of an hstore; calls `pair` for each.
pub(crate) fn read_hstore(
    text: &str,
    mut pair: impl FnMut(&str, Option<&str>) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    let mut literal = Literal::new(text, "hstore");
    let (mut key, mut value) = (String::new(), String::new());
    while !literal.is_at_end() {
        literal.part(b"=", &mut key)?;
        literal.expect(b'=')?;
        literal.expect(b'>')?;
        let was_quoted = literal.part(b",", &mut value)?;
        let is_null = !was_quoted && value.eq_ignore_ascii_case("null");
        pair(&key, (!is_null).then_some(&value))?;
        if literal.eat(b',') {
            literal.eat(b' ');
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn elements(text: &str) -> Result<(Shape, Vec<Option<String>>), Misfit> {
        let mut found = Vec::new();
        let shape = read_array(text, b',', |element| {
            found.push(element.map(str::to_owned));
            Ok(())
        })?;
        Ok((shape, found))
    }

    #[test]
    fn arrays_are_read_with_quotes_nulls_and_dimensions() {
        let (shape, found) = elements(r#"{a,"b,\"c\\",NULL,"NULL",""}"#).unwrap();
        assert_eq!(shape.lens, [5]);
        let texts: Vec<_> = found.iter().map(Option::as_deref).collect();
        assert_eq!(texts, [Some("a"), Some("b,\"c\\"), None, Some("NULL"), Some("")]);
        let (shape, found) = elements("[0:1][2:3]={{1,2},{3,4}}").unwrap();
        assert_eq!((shape.lens, shape.lower_bounds), (vec![2, 2], vec![0, 2]));
        assert_eq!(found.len(), 4);
        assert_eq!(elements("{}").unwrap().0, Shape::default());
        for wrong in ["", "{", "{a", "{a}}", "{{1,2},{3}}", "{a,}", "{1,{2}}", "{\"a}", "{,a}"] {
            assert!(elements(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rows_are_read_with_quotes_and_nulls() {
        let mut found = Vec::new();
        let count = read_row(r#"(1,"a ""b"" \\c",,"")"#, |_, text| {
            found.push(text.map(str::to_owned));
            Ok(())
        });
        assert_eq!(count, Ok(4));
        let texts: Vec<_> = found.iter().map(Option::as_deref).collect();
        assert_eq!(texts, [Some("1"), Some("a \"b\" \\c"), None, Some("")]);
    }
}

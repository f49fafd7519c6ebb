/// A place in a document, as gjson writes it: `a.0.b`, `#` for every element of an array, and a backslash before a
/// character that means itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<Segment>);

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// The member of this name, or the element of this number.
    Name(String),
    /// Every element.
    Each,
}

impl Path {
    /// Reads the text of a path; `None` if a part of it is empty.
    pub(crate) fn parse(text: &str) -> Option<Path> {
        let mut segments = Vec::new();
        let (mut part, mut is_escaped) = (String::new(), false);
        let mut chars = text.chars();
        loop {
            let next = chars.next();
            match next {
                Some('\\') => {
                    part.push(chars.next()?);
                    is_escaped = true;
                }
                Some('.') | None => {
                    if part.is_empty() {
                        return None;
                    }
                    segments.push(match part.as_str() {
                        "#" if !is_escaped => Segment::Each,
                        _ => Segment::Name(std::mem::take(&mut part)),
                    });
                    (part, is_escaped) = (String::new(), false);
                    if next.is_none() {
                        return Some(Path(segments));
                    }
                }
                Some(c) => part.push(c),
            }
        }
    }

    /// The steps, at least one.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.0
    }
}

/// A column and, where the text has a dot, a place in its documents. A backslash before a dot makes it part of the name.
pub(crate) fn split_column(text: &str) -> (String, Option<&str>) {
    let mut column = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => column.extend(chars.next().map(|(_, c)| c)),
            '.' => return (column, Some(&text[at + 1..])),
            c => column.push(c),
        }
    }
    (column, None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn name(text: &str) -> Segment {
        Segment::Name(text.to_owned())
    }

    #[test]
    fn dots_part_and_a_backslash_takes_their_meaning() {
        assert_eq!(
            Path::parse("a.0.b").unwrap().segments(),
            [name("a"), name("0"), name("b")]
        );
        assert_eq!(Path::parse("a.#.b").unwrap().segments()[1], Segment::Each);
        assert_eq!(Path::parse(r"a.\#").unwrap().segments()[1], name("#"));
        assert_eq!(Path::parse(r"k8s\.io\/last").unwrap().segments(), [name("k8s.io/last")]);
        for text in ["", "a.", ".a", "a..b", r"a\"] {
            assert_eq!(Path::parse(text), None, "{text}");
        }
    }

    #[test]
    fn column_ends_at_its_first_dot() {
        assert_eq!(split_column("tags.a.b"), ("tags".to_owned(), Some("a.b")));
        assert_eq!(split_column(r"odd\.name.a"), ("odd.name".to_owned(), Some("a")));
        assert_eq!(split_column("tags"), ("tags".to_owned(), None));
    }
}

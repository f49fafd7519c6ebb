//! The texts that findings point into, and places in them.

use serde::Serialize;

/// A half-open range of bytes in one of the [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) file: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// From the start of `self` to the end of `last`.
    pub(crate) fn to(self, last: Span) -> Span {
        Span {
            end: last.end.max(self.start),
            ..self
        }
    }
}

/// Where something stands, as a person counts: lines and columns from 1, columns in characters.
///
/// A place lies on one line; what spans several is cut at the end of the first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// The first column.
    pub column: usize,
    /// The column after the last.
    pub end_column: usize,
}

/// One text with its name.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
    /// Byte offset of the first character of each line.
    line_starts: Vec<usize>,
}

impl Source {
    fn new(name: String, text: String) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            name,
            text,
            line_starts,
        }
    }

    /// The number of lines; a final line break begins no line of its own unless the text is empty.
    pub(crate) fn line_count(&self) -> usize {
        self.line_starts.len()
    }

    /// Byte range of a line (from 1), without its line break.
    pub(crate) fn line_range(&self, line: usize) -> (usize, usize) {
        let start = self.line_starts.get(line - 1).copied().unwrap_or(self.text.len());
        let end = self.line_starts.get(line).map_or(self.text.len(), |next| next - 1);
        let end = if end > start && self.text.as_bytes()[end - 1] == b'\r' {
            end - 1
        } else {
            end
        };
        (start, end)
    }

    fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).max(1)
    }
}

/// All texts of one load. Spans are meaningless without it.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    files: Vec<Source>,
}

impl Sources {
    /// Adds a text; a byte order mark is dropped, so columns are those that an editor shows.
    pub(crate) fn add(&mut self, name: String, text: &str) -> u32 {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        self.files.push(Source::new(name, text.to_owned()));
        (self.files.len() - 1) as u32
    }

    pub(crate) fn file(&self, id: u32) -> &Source {
        &self.files[id as usize]
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Source> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The number of a text in the order in which they were given.
    pub(crate) fn index_of(&self, name: &str) -> usize {
        self.files
            .iter()
            .position(|file| file.name == name)
            .unwrap_or(self.files.len())
    }

    /// How many texts there are.
    pub(crate) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// A hash of all texts, whatever the files are called.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for file in &self.files {
            hasher.update(&(file.text.len() as u64).to_le_bytes());
            hasher.update(file.text.as_bytes());
        }
        hasher.digest()
    }

    /// The text of a span.
    pub(crate) fn slice(&self, span: Span) -> &str {
        self.file(span.file)
            .text
            .get(span.start as usize..span.end as usize)
            .unwrap_or("")
    }

    /// The place of a span.
    pub(crate) fn place(&self, span: Span) -> Place {
        let file = self.file(span.file);
        let start = (span.start as usize).min(file.text.len());
        let line = file.line_of(start);
        let (line_start, line_end) = file.line_range(line);
        let start = start.min(line_end);
        let end = (span.end as usize).clamp(start, line_end);
        let width = |from: usize, to: usize| file.text.get(from..to).map_or(0, |text| text.chars().count());
        let column = width(line_start, start) + 1;
        Place {
            file: file.name.clone(),
            line,
            column,
            end_column: column + width(start, end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_counts_characters_from_one_and_stops_at_the_line_end() {
        let mut sources = Sources::default();
        let file = sources.add("a.yaml".to_owned(), "\u{feff}x: 1\r\nkäse: ja\r\n  z: 3\r\n");
        let at = |start, end| {
            let place = sources.place(Span { file, start, end });
            (place.line, place.column, place.end_column)
        };
        assert_eq!(at(0, 1), (1, 1, 2));
        assert_eq!(at(13, 15), (2, 7, 9));
        assert_eq!(at(6, 23), (2, 1, 9), "a span over two lines ends with the first");
        assert_eq!(at(99, 120), (4, 1, 1), "an offset beyond the text is its end");
    }
}

use super::cursor::{Cursor, Malformed};

/// PostgreSQL's own limit of columns in a table is 1,600, of those in a tuple 1,664.
const COLUMNS_MAX: u16 = 1_664;

/// One row, or the key of one, as it was sent. Its cells stand in the order of the relation's columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'a> {
    column_count: u16,
    /// The cells, checked.
    bytes: &'a [u8],
}

/// One cell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// NULL; in an old key also every column that is not in the key.
    Null,
    /// A TOASTed value that did not change and was not sent. Not NULL.
    Unchanged,
    /// The text form of the type.
    Text(&'a [u8]),
    /// The binary form of the type.
    Binary(&'a [u8]),
}

impl<'a> Tuple<'a> {
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let column_count = cursor.u16()?;
        if column_count > COLUMNS_MAX {
            return Err(cursor.malformed("a row has more columns than a table can have"));
        }
        let start = cursor.at();
        for _ in 0..column_count {
            match cursor.u8()? {
                b'n' | b'u' => {}
                b't' | b'b' => {
                    let length = cursor.length()?;
                    cursor.take(length)?;
                }
                _ => return Err(cursor.malformed("a cell is of an unknown kind")),
            }
        }
        Ok(Tuple {
            column_count,
            bytes: cursor.since(start),
        })
    }

    /// A row of values in their binary form, none of them NULL, written into `room`.
    pub(crate) fn of_binary<const N: usize>(values: [&[u8]; N], room: &'a mut Vec<u8>) -> Self {
        room.clear();
        for value in values {
            room.push(b'b');
            // No value is larger than a message of the protocol, which has a length of 31 bits.
            room.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
            room.extend_from_slice(value);
        }
        Tuple {
            column_count: u16::try_from(N).unwrap_or(u16::MAX),
            bytes: room,
        }
    }

    /// How many cells there are.
    pub fn column_count(&self) -> usize {
        usize::from(self.column_count)
    }

    /// Bytes of the cells, with their lengths: a measure of the row's size.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The cells.
    #[inline]
    pub fn cells(&self) -> Cells<'a> {
        Cells {
            left: self.column_count,
            bytes: self.bytes,
        }
    }
}

/// Walks the cells of a [`Tuple`].
#[derive(Clone)]
pub struct Cells<'a> {
    left: u16,
    bytes: &'a [u8],
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    #[inline]
    fn next(&mut self) -> Option<Cell<'a>> {
        if self.left == 0 {
            return None;
        }
        let (kind, rest) = self.bytes.split_first()?;
        let (cell, rest) = match kind {
            b'n' => (Cell::Null, rest),
            b'u' => (Cell::Unchanged, rest),
            kind => {
                let (length, rest) = rest.split_first_chunk::<4>()?;
                // `read` has checked that it is not negative and that this much follows.
                let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
                (
                    if *kind == b'b' {
                        Cell::Binary(value)
                    } else {
                        Cell::Text(value)
                    },
                    rest,
                )
            }
        };
        self.bytes = rest;
        self.left -= 1;
        Some(cell)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Cells<'_> {}

// Cells never reach a log.
impl std::fmt::Debug for Tuple<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tuple({} columns, {} bytes)", self.column_count, self.bytes.len())
    }
}

impl std::fmt::Debug for Cell<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cell::Null => write!(f, "Null"),
            Cell::Unchanged => write!(f, "Unchanged"),
            Cell::Text(value) => write!(f, "Text({} bytes)", value.len()),
            Cell::Binary(value) => write!(f, "Binary({} bytes)", value.len()),
        }
    }
}

use crate::replication::{Lsn, ServerTime};

/// Bytes that are no message of the protocol. Never shows them: they may hold cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message `{}` is malformed at byte {at}: {what}", char_of(*tag))]
pub struct Malformed {
    /// The first byte of the message; 0 if it is empty.
    pub tag: u8,
    /// Where reading stopped.
    pub at: usize,
    /// What was expected or found.
    pub what: &'static str,
}

fn char_of(tag: u8) -> char {
    if tag.is_ascii_graphic() { tag as char } else { '?' }
}

/// Reads one message from front to back.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    pub(super) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed {
            tag: self.bytes.first().copied().unwrap_or(0),
            at: self.at,
            what,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.at.checked_add(length).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| self.malformed("it ends too early"))?;
        self.at += length;
        Ok(taken)
    }

    /// What was read since `start`.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn lsn(&mut self) -> Result<Lsn, Malformed> {
        self.array().map(u64::from_be_bytes).map(Lsn)
    }

    pub(super) fn time(&mut self) -> Result<ServerTime, Malformed> {
        self.array().map(i64::from_be_bytes).map(ServerTime)
    }

    /// A length that the protocol sends as a signed number.
    pub(super) fn length(&mut self) -> Result<usize, Malformed> {
        let length = self.i32()?;
        usize::try_from(length).map_err(|_| self.malformed("a length is negative"))
    }

    /// A text that ends with a zero byte.
    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == 0);
        let length = length.ok_or_else(|| self.malformed("a text has no end"))?;
        let text = std::str::from_utf8(&rest[..length]).map_err(|_| self.malformed("a name is not UTF-8"))?;
        self.at += length + 1;
        Ok(text)
    }
}

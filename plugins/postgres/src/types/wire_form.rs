//! Reading the binary form of a value, piece by piece.

use super::Misfit;

/// A cursor over the bytes of one value.
pub(crate) struct WireForm<'a> {
    bytes: &'a [u8],
    type_name: &'static str,
}

impl<'a> WireForm<'a> {
    pub(crate) fn new(bytes: &'a [u8], type_name: &'static str) -> Self {
        WireForm { bytes, type_name }
    }

    pub(crate) fn malformed(&self) -> Misfit {
        Misfit::malformed(self.type_name)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Misfit> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or_else(|| self.malformed())?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Misfit> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or_else(|| self.malformed())?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Misfit> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Misfit> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Misfit> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Misfit> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Misfit> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Misfit> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Misfit> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn f32(&mut self) -> Result<f32, Misfit> {
        self.array().map(f32::from_be_bytes)
    }

    pub(crate) fn f64(&mut self) -> Result<f64, Misfit> {
        self.array().map(f64::from_be_bytes)
    }

    /// A count that is not negative and not more than the bytes that are left, at `size_min` bytes each.
    pub(crate) fn count(&mut self, size_min: usize) -> Result<usize, Misfit> {
        let count = self.i32()?;
        let count = usize::try_from(count).map_err(|_| self.malformed())?;
        if count.saturating_mul(size_min) > self.bytes.len() {
            return Err(self.malformed());
        }
        Ok(count)
    }

    /// A value with its length in front; `None` is NULL.
    pub(crate) fn value(&mut self) -> Result<Option<&'a [u8]>, Misfit> {
        match self.i32()? {
            -1 => Ok(None),
            len => {
                let len = usize::try_from(len).map_err(|_| self.malformed())?;
                self.take(len).map(Some)
            }
        }
    }

    /// Text up to a zero byte.
    pub(crate) fn zero_ended(&mut self) -> Result<&'a str, Misfit> {
        let end = self
            .bytes
            .iter()
            .position(|&byte| byte == 0)
            .ok_or_else(|| self.malformed())?;
        let text = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(text).map_err(|_| self.malformed())
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Result<(), Misfit> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }
}

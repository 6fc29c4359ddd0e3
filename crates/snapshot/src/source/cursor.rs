//! A position in bytes from which nothing can be read past the end.

use super::{Format, SourceError};
use crate::json::Refused;

/// Reads forwards; every failure tells the format and the place.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    format: Format,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(format: Format, bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at: at.min(bytes.len()), format }
    }

    pub(crate) fn error(&self, detail: &'static str) -> SourceError {
        SourceError { format: self.format, offset: self.at as u64, detail: detail.into() }
    }

    /// Turns a refusal of the writer into an error at this place.
    pub(crate) fn refused(&self, refused: Refused) -> SourceError {
        self.error(refused.text())
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, SourceError> {
        let b = self.peek().ok_or_else(|| self.error("the bytes end in the middle of a value"))?;
        self.at += 1;
        Ok(b)
    }

    /// The next `n` bytes; `n` may be any number that the input claims.
    pub(crate) fn take(&mut self, n: u64) -> Result<&'a [u8], SourceError> {
        let taken = usize::try_from(n)
            .ok()
            .and_then(|n| self.rest().get(..n))
            .ok_or_else(|| self.error("a length that reaches past the end"))?;
        self.at += taken.len();
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], SourceError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    /// The bytes before the next `end`, which is passed over.
    pub(crate) fn until(&mut self, end: u8) -> Result<&'a [u8], SourceError> {
        let rest = self.rest();
        let n = memchr::memchr(end, rest).ok_or_else(|| self.error("a text without an end"))?;
        self.at += n + 1;
        Ok(&rest[..n])
    }

    pub(crate) fn utf8(&self, bytes: &'a [u8]) -> Result<&'a str, SourceError> {
        std::str::from_utf8(bytes).map_err(|_| self.error("a text that is not UTF-8"))
    }
}

//! A checked cursor over the bytes of a file, and Lucene's primitive types.
//!
//! Follows Lucene's `DataInput`: variable-length integers take seven bits a byte, lowest first; a string is its length in
//! bytes and UTF-8; a set is a count and strings, a map a count and pairs of strings.

use crate::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};

/// The order of the bytes of fixed-width numbers in a file's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endian {
    /// Highest byte first: written by Lucene 8 and before.
    Big,
    /// Lowest byte first: written by Lucene 9 and later.
    Little,
}

/// A cursor over bytes of a file that never reads past them. Every error names the file and the offset.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    file: &'a str,
    bytes: &'a [u8],
    pos: usize,
    base: u64,
    endian: Endian,
}

impl<'a> Input<'a> {
    /// A cursor at the start of `bytes`, which begin at the start of `file`. Big-endian until told otherwise, as headers are.
    pub fn new(file: &'a str, bytes: &'a [u8]) -> Self {
        Self { file, bytes, pos: 0, base: 0, endian: Endian::Big }
    }

    /// The same for bytes that begin `base` bytes into the file, so that errors state offsets of the file.
    #[must_use]
    pub fn at(mut self, base: u64) -> Self {
        self.base = base;
        self
    }

    /// Sets the byte order of [`Self::i16`], [`Self::i32`] and [`Self::i64`].
    #[must_use]
    pub fn with_endian(mut self, endian: Endian) -> Self {
        self.endian = endian;
        self
    }

    /// The file's name.
    pub fn file(&self) -> &'a str {
        self.file
    }

    /// The byte order of fixed-width numbers.
    pub fn endian(&self) -> Endian {
        self.endian
    }

    /// Bytes read or skipped so far.
    pub fn pos(&self) -> usize {
        self.pos
    }

    /// The cursor's place in the file, in bytes.
    pub fn offset(&self) -> u64 {
        self.base.saturating_add(self.pos as u64)
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.pos
    }

    /// All bytes not read yet, without reading them.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.pos..).unwrap_or_default()
    }

    /// A [`ErrorKind::Corrupt`] error here.
    pub fn corrupt(&self, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> Error {
        Error::corrupt(self.file, self.offset(), expected, found)
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] when fewer are left.
    #[inline]
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        match self.bytes.get(self.pos..).and_then(|rest| rest.get(..n)) {
            Some(taken) => {
                self.pos += n;
                Ok(taken)
            }
            None => Err(self.truncated(n as u64)),
        }
    }

    /// Passes over `n` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] when fewer are left.
    pub fn skip(&mut self, n: u64) -> Result<()> {
        match usize::try_from(n) {
            Ok(n) => self.bytes(n).map(|_| ()),
            Err(_) => Err(self.truncated(n)),
        }
    }

    fn truncated(&self, n: u64) -> Error {
        let message = format!("expected {n} more bytes, found {}", self.remaining());
        Error::new(ErrorKind::Truncated, self.file, self.offset(), message)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.bytes.get(self.pos..).and_then(|rest| rest.first_chunk::<N>()) {
            Some(taken) => {
                self.pos += N;
                Ok(*taken)
            }
            None => Err(self.truncated(N as u64)),
        }
    }

    /// One byte.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] at the end.
    pub fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[b]| b)
    }

    /// Two bytes in the file's byte order.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] at the end.
    pub fn i16(&mut self) -> Result<i16> {
        let b = self.array()?;
        Ok(if self.endian == Endian::Big { i16::from_be_bytes(b) } else { i16::from_le_bytes(b) })
    }

    /// Four bytes in the file's byte order.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] at the end.
    pub fn i32(&mut self) -> Result<i32> {
        let b = self.array()?;
        Ok(if self.endian == Endian::Big { i32::from_be_bytes(b) } else { i32::from_le_bytes(b) })
    }

    /// Eight bytes in the file's byte order.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] at the end.
    pub fn i64(&mut self) -> Result<i64> {
        let b = self.array()?;
        Ok(if self.endian == Endian::Big { i64::from_be_bytes(b) } else { i64::from_le_bytes(b) })
    }

    /// Four bytes as a number that can not be negative; `what` names it in the error.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] at the end, [`ErrorKind::Corrupt`] when negative.
    pub fn count32(&mut self, what: &str) -> Result<u32> {
        let at = self.offset();
        let n = self.i32()?;
        u32::try_from(n).map_err(|_| Error::corrupt(self.file, at, format_args!("{what} of at least 0"), n))
    }

    /// Eight bytes as a number that can not be negative; `what` names it in the error.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] at the end, [`ErrorKind::Corrupt`] when negative.
    pub fn count64(&mut self, what: &str) -> Result<u64> {
        let at = self.offset();
        let n = self.i64()?;
        u64::try_from(n).map_err(|_| Error::corrupt(self.file, at, format_args!("{what} of at least 0"), n))
    }

    /// A generation: eight bytes, -1 for none; `what` names it in the error.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] at the end, [`ErrorKind::Corrupt`] for other negative numbers.
    pub fn generation(&mut self, what: &str) -> Result<Option<u64>> {
        let at = self.offset();
        match self.i64()? {
            -1 => Ok(None),
            n => u64::try_from(n)
                .map(Some)
                .map_err(|_| Error::corrupt(self.file, at, format_args!("{what} of at least -1"), n)),
        }
    }

    /// A variable-length integer of 32 bits in at most five bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] at the end, [`ErrorKind::Corrupt`] when it has more than 32 bits.
    #[inline]
    pub fn vint(&mut self) -> Result<u32> {
        if let Some(n) = self.short() {
            return Ok(n);
        }
        let at = self.offset();
        let n = self.variable(5)?;
        u32::try_from(n).map_err(|_| Error::corrupt(self.file, at, "a vInt of 32 bits", n))
    }

    /// A variable-length integer of 63 bits in at most nine bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] at the end, [`ErrorKind::Corrupt`] when a tenth byte would follow.
    #[inline]
    pub fn vlong(&mut self) -> Result<u64> {
        if let Some(n) = self.short() {
            return Ok(n.into());
        }
        self.variable(9)
    }

    /// A zig-zag encoded integer of 64 bits in at most ten bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] at the end, [`ErrorKind::Corrupt`] when it has more than 64 bits.
    pub fn zlong(&mut self) -> Result<i64> {
        self.variable(10).map(zigzag64)
    }

    /// A variable-length integer if it has one or two bytes, as most have.
    #[inline]
    pub(crate) fn short(&mut self) -> Option<u32> {
        let (n, length) = match self.bytes.get(self.pos..)? {
            [a @ ..0x80, ..] => (u32::from(*a), 1),
            [a, b @ ..0x80, ..] => (u32::from(a & 0x7f) | u32::from(*b) << 7, 2),
            _ => return None,
        };
        self.pos += length;
        Some(n)
    }

    /// A number and the bytes that it is the length of, if it is short and they are there; else nothing is read.
    #[inline]
    pub(crate) fn short_bytes(&mut self) -> Option<&'a [u8]> {
        let start = self.pos;
        let length = self.short()? as usize;
        let taken = self.bytes.get(self.pos..).and_then(|rest| rest.get(..length));
        self.pos = if taken.is_some() { self.pos + length } else { start };
        taken
    }

    fn variable(&mut self, max_bytes: u32) -> Result<u64> {
        let start = self.offset();
        let mut n = 0u64;
        for i in 0..max_bytes {
            let b = self.u8()?;
            let part = u64::from(b & 0x7f);
            let shifted = part << (7 * i);
            if shifted >> (7 * i) != part {
                break;
            }
            n |= shifted;
            if b & 0x80 == 0 {
                return Ok(n);
            }
        }
        let expected = format_args!("a variable-length integer of at most {max_bytes} bytes");
        Err(Error::corrupt(self.file, start, expected, "more bits"))
    }

    /// A vInt that counts things of at least `each` bytes, so that it is bounded by what is left; `what` names it.
    ///
    /// # Errors
    /// As [`Self::vint`]; [`ErrorKind::Corrupt`] when so many can not follow.
    pub fn counted(&mut self, what: &str, each: usize) -> Result<usize> {
        let at = self.offset();
        let n = self.vint()?;
        self.bounded(at, u64::from(n), what, each)
    }

    /// The same for a count of four bytes.
    ///
    /// # Errors
    /// As [`Self::count32`]; [`ErrorKind::Corrupt`] when so many can not follow.
    pub fn counted32(&mut self, what: &str, each: usize) -> Result<usize> {
        let at = self.offset();
        let n = self.count32(what)?;
        self.bounded(at, u64::from(n), what, each)
    }

    /// Checks that `n` things of at least `each` bytes can follow; `at` is where the number was read.
    pub(crate) fn bounded(&self, at: u64, n: u64, what: &str, each: usize) -> Result<usize> {
        let most = self.remaining() / each.max(1);
        match usize::try_from(n) {
            Ok(n) if n <= most => Ok(n),
            _ => Err(Error::corrupt(self.file, at, format_args!("{what} of at most {most}"), n)),
        }
    }

    /// A string: its length in bytes as a vInt, then UTF-8.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] or [`ErrorKind::Corrupt`] when it is longer than what is left or not UTF-8.
    pub fn string(&mut self) -> Result<&'a str> {
        let length = self.counted("a string length", 1)?;
        let at = self.offset();
        let bytes = self.bytes(length)?;
        std::str::from_utf8(bytes).map_err(|e| Error::corrupt(self.file, at, "UTF-8", e))
    }

    /// A set of strings.
    ///
    /// # Errors
    /// As [`Self::string`].
    pub fn string_set(&mut self) -> Result<BTreeSet<String>> {
        let n = self.counted("a number of strings", 1)?;
        (0..n).map(|_| self.string().map(str::to_owned)).collect()
    }

    /// A map from strings to strings.
    ///
    /// # Errors
    /// As [`Self::string`].
    pub fn string_map(&mut self) -> Result<BTreeMap<String, String>> {
        let n = self.counted("a number of pairs", 2)?;
        (0..n).map(|_| Ok((self.string()?.to_owned(), self.string()?.to_owned()))).collect()
    }

    /// A set of strings as Lucene wrote it before 5.1: with a count of four bytes.
    ///
    /// # Errors
    /// As [`Self::string`].
    pub fn old_string_set(&mut self) -> Result<BTreeSet<String>> {
        let n = self.counted32("a number of strings", 1)?;
        (0..n).map(|_| self.string().map(str::to_owned)).collect()
    }

    /// A map from strings to strings as Lucene wrote it before 5.1: with a count of four bytes.
    ///
    /// # Errors
    /// As [`Self::string`].
    pub fn old_string_map(&mut self) -> Result<BTreeMap<String, String>> {
        let n = self.counted32("a number of pairs", 2)?;
        (0..n).map(|_| Ok((self.string()?.to_owned(), self.string()?.to_owned()))).collect()
    }

    /// That everything has been read.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when bytes are left.
    pub fn end(&self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(self.corrupt("the end", format_args!("{n} more bytes"))),
        }
    }
}

/// Undoes the zig-zag code, in which small numbers of either sign have small codes.
pub(crate) fn zigzag64(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -((n & 1).cast_signed())
}

/// As [`zigzag64`] for 32 bits.
pub(crate) fn zigzag32(n: u32) -> i32 {
    (n >> 1).cast_signed() ^ -((n & 1).cast_signed())
}

//! A part of a file, checked by the checksum of the whole file, of which no more than a piece is in memory.

use super::{FOOTER_LEN, footer, too_short, verify_footer};
use crate::{Error, ErrorKind, Result};
use std::ops::Range;

/// Takes a file piece by piece, keeps a part of it, and checks all of it.
#[derive(Debug)]
pub struct CheckedPart<'a> {
    file: &'a str,
    length: u64,
    part: Range<u64>,
    piece: u64,
    /// How many bytes have been taken, and their checksum.
    taken: u64,
    crc: crc32fast::Hasher,
    kept: Vec<u8>,
    footer: Vec<u8>,
}

impl<'a> CheckedPart<'a> {
    /// Begins with a file of `length` bytes, of which `part` is to be kept, in pieces of about `piece` bytes.
    pub fn new(file: &'a str, length: u64, part: Range<u64>, piece: u64) -> Self {
        let crc = crc32fast::Hasher::new();
        Self { file, length, part, piece: piece.max(1), taken: 0, crc, kept: Vec::new(), footer: Vec::new() }
    }

    /// Where in the file the next piece is; none when all have been taken.
    pub fn next(&self) -> Option<Range<u64>> {
        let end = self.taken.saturating_add(self.piece);
        // The last piece has all of the footer.
        let is_last = end.saturating_add(FOOTER_LEN as u64) > self.length;
        (self.taken < self.length).then_some(self.taken..if is_last { self.length } else { end })
    }

    /// Takes the bytes of [`Self::next`].
    ///
    /// # Errors
    /// When these are not as many.
    pub fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let expected = self.next().map_or(0, |next| next.end - next.start);
        if bytes.len() as u64 != expected {
            let message = format!("expected a piece of {expected} bytes, found {}", bytes.len());
            return Err(Error::new(ErrorKind::Truncated, self.file, self.taken, message));
        }
        // What lies before a place in the file.
        let before = |place: u64| place.saturating_sub(self.taken).min(expected) as usize;
        let kept = bytes.get(before(self.part.start)..before(self.part.end));
        self.kept.extend_from_slice(kept.unwrap_or_default());
        // The checksum covers all but itself.
        self.crc.update(&bytes[..before(self.length.saturating_sub(8))]);
        self.taken += expected;
        if self.taken == self.length {
            self.footer = bytes[bytes.len().saturating_sub(FOOTER_LEN)..].to_vec();
        }
        Ok(())
    }

    /// The part, and the checksum of the file, which its footer states.
    ///
    /// # Errors
    /// As [`super::verify_checksum`].
    pub fn finish(self) -> Result<(Vec<u8>, u32)> {
        if self.taken < self.length || self.footer.len() < FOOTER_LEN {
            return Err(too_short(self.file, self.taken));
        }
        let footer = footer(self.file, &self.footer)?;
        verify_footer(self.file, &footer, self.crc.finalize())?;
        Ok((self.kept, footer.crc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{FOOTER_MAGIC, verify_checksum};
    use proptest::prelude::*;

    fn read(file: &[u8], part: Range<u64>, piece: u64) -> Result<(Vec<u8>, u32)> {
        let mut checked = CheckedPart::new("file", file.len() as u64, part, piece);
        while let Some(next) = checked.next() {
            assert!(next.end - next.start < piece.max(1) + FOOTER_LEN as u64, "{next:?} at once");
            checked.take(&file[next.start as usize..next.end as usize])?;
        }
        checked.finish()
    }

    proptest! {
        #[test]
        fn a_part_is_that_of_the_file_and_nothing_if_a_byte_of_it_is_another(
            body: Vec<u8>,
            ends: (prop::sample::Index, prop::sample::Index),
            piece in 0..60u64,
            flipped: prop::sample::Index,
            bit in 0..8,
        ) {
            let mut file = [&body[..], &FOOTER_MAGIC.to_be_bytes(), &[0; 4]].concat();
            file.extend(u64::from(crc32fast::hash(&file)).to_be_bytes());
            let (a, b) = (ends.0.index(file.len() + 1), ends.1.index(file.len() + 1));
            let part = a.min(b)..a.max(b);
            let (kept, crc) = read(&file, part.start as u64..part.end as u64, piece).unwrap();
            prop_assert_eq!(&kept, &file[part.clone()]);
            prop_assert_eq!(crc, verify_checksum("file", &file).unwrap());
            let at = flipped.index(file.len());
            file[at] ^= 1u8 << bit;
            let error = read(&file, part.start as u64..part.end as u64, piece).unwrap_err();
            prop_assert_eq!(error.to_string(), verify_checksum("file", &file).unwrap_err().to_string());
        }
    }

    #[test]
    fn what_ends_early_is_refused() {
        for len in 0..FOOTER_LEN {
            let error = read(&vec![0; len], 0..1, 4).unwrap_err();
            assert_eq!(error.to_string(), verify_checksum("file", &vec![0; len]).unwrap_err().to_string());
        }
        let mut checked = CheckedPart::new("file", 100, 0..1, 50);
        assert!(checked.take(&[0; 49]).is_err());
        checked.take(&[0; 50]).unwrap();
        assert!(checked.finish().is_err(), "half is missing");
    }
}

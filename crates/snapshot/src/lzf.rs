//! LZF, by which Elasticsearch compressed metadata before 2.0, and sources where a mapping asked for it.
//!
//! ```text
//! "ZV", 0, length (2 bytes), bytes                           a chunk as it is
//! "ZV", 1, compressed length (2), length (2), compressed     a chunk that was worth it
//! ```
//!
//! Numbers are big-endian. Compressed bytes are runs of literals (a byte below 32: one less than there are) and copies
//! of what came before in the same chunk (three bits of length, thirteen of distance; length 7 is followed by more).

/// What begins every chunk.
pub(crate) const MAGIC: &[u8] = b"ZV";

/// Why bytes are not what the format demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// They are damaged, at this place.
    Damaged { offset: u64, detail: &'static str },
    /// They would take more memory than was allowed.
    TooLarge,
}

/// Decompresses all chunks of `bytes` to the end of `out`, which may grow by `limit` bytes.
pub(crate) fn decompress(bytes: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Refused> {
    let begin = out.len();
    let mut input = Input { bytes, at: 0 };
    while input.at < bytes.len() {
        if input.take(2)? != MAGIC {
            return Err(input.damaged("a chunk begins with \"ZV\""));
        }
        match input.byte()? {
            0 => {
                let length = input.length()?;
                room(out, begin, length, limit)?;
                out.extend_from_slice(input.take(length)?);
            }
            1 => {
                let (packed, length) = (input.length()?, input.length()?);
                room(out, begin, length, limit)?;
                let start = input.at;
                let mut chunk = Input { bytes: input.take(packed)?, at: 0 };
                expand(&mut chunk, out, length).map_err(|refused| refused.shifted(start))?;
            }
            _ => return Err(input.damaged("a chunk is of kind 0 or 1")),
        }
    }
    Ok(())
}

fn room(out: &[u8], begin: usize, more: usize, limit: usize) -> Result<(), Refused> {
    if out.len() - begin + more > limit { Err(Refused::TooLarge) } else { Ok(()) }
}

/// One chunk, which must become exactly `length` bytes.
fn expand(input: &mut Input<'_>, out: &mut Vec<u8>, length: usize) -> Result<(), Refused> {
    let begin = out.len();
    let end = begin + length;
    while input.at < input.bytes.len() {
        let control = usize::from(input.byte()?);
        if control < 32 {
            out.extend_from_slice(input.take(control + 1)?);
        } else {
            let mut copied = control >> 5;
            if copied == 7 {
                copied += usize::from(input.byte()?);
            }
            let distance = (control & 31) << 8 | usize::from(input.byte()?);
            let Some(from) = (out.len() - begin).checked_sub(distance + 1) else {
                return Err(input.damaged("a copy reaches back before its chunk"));
            };
            // What is copied may overlap what it becomes.
            for at in begin + from..begin + from + copied + 2 {
                out.push(out[at]);
            }
        }
        if out.len() > end {
            return Err(input.damaged("a chunk is longer than it says"));
        }
    }
    if out.len() == end { Ok(()) } else { Err(input.damaged("a chunk is shorter than it says")) }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn damaged(&self, detail: &'static str) -> Refused {
        Refused::Damaged { offset: self.at as u64, detail }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Refused> {
        let taken =
            self.bytes[self.at..].get(..count).ok_or_else(|| self.damaged("the bytes are cut off"))?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Refused> {
        Ok(self.take(1)?[0])
    }

    fn length(&mut self) -> Result<usize, Refused> {
        let bytes = self.take(2)?;
        Ok(usize::from(bytes[0]) << 8 | usize::from(bytes[1]))
    }
}

impl Refused {
    fn shifted(self, by: usize) -> Self {
        match self {
            Self::Damaged { offset, detail } => Self::Damaged { offset: offset + by as u64, detail },
            Self::TooLarge => Self::TooLarge,
        }
    }
}

/// Compresses as servers did, well enough to test with.
#[cfg(test)]
pub(crate) mod build {
    pub(crate) fn compress(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for chunk in bytes.chunks(0xffff) {
            let packed = pack(chunk);
            let length = |n: usize| [(n >> 8) as u8, n as u8];
            if packed.len() < chunk.len() {
                out.extend_from_slice(b"ZV\x01");
                out.extend_from_slice(&length(packed.len()));
                out.extend_from_slice(&length(chunk.len()));
                out.extend_from_slice(&packed);
            } else {
                out.extend_from_slice(b"ZV\x00");
                out.extend_from_slice(&length(chunk.len()));
                out.extend_from_slice(chunk);
            }
        }
        out
    }

    fn pack(chunk: &[u8]) -> Vec<u8> {
        let (mut out, mut literals, mut at) = (Vec::new(), Vec::new(), 0);
        let flush = |literals: &mut Vec<u8>, out: &mut Vec<u8>| {
            for run in literals.chunks(32) {
                out.push(run.len() as u8 - 1);
                out.extend_from_slice(run);
            }
            literals.clear();
        };
        while at < chunk.len() {
            let found = (at.saturating_sub(200)..at)
                .map(|from| {
                    (
                        chunk[at..].iter().zip(&chunk[from..]).take(264).take_while(|(a, b)| a == b).count(),
                        from,
                    )
                })
                .max()
                .filter(|(length, _)| *length >= 3);
            let Some((length, from)) = found else {
                literals.push(chunk[at]);
                at += 1;
                continue;
            };
            flush(&mut literals, &mut out);
            let (code, distance) = (length - 2, at - from - 1);
            out.push((code.min(7) << 5 | distance >> 8) as u8);
            if code >= 7 {
                out.push((code - 7) as u8);
            }
            out.push(distance as u8);
            at += length;
        }
        flush(&mut literals, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut out = Vec::new();
        decompress(bytes, &mut out, 1 << 20).map(|()| out)
    }

    #[test]
    fn what_a_server_wrote_is_read() {
        // Both from repositories of Elasticsearch 1.7.6: one chunk as it is, one begun with a run of literals.
        let plain = b"ZV\0\0\x20{\"snapshots\":[\"first\",\"second\"]}";
        assert_eq!(read(plain).unwrap(), &plain[5..]);
        assert_eq!(
            read(b"ZV\x01\0\x07\0\x0a\x02abc\xa0\x02").unwrap_err(),
            Refused::Damaged { offset: 7, detail: "the bytes are cut off" }
        );
        assert_eq!(read(b"ZV\x01\0\x06\0\x0a\x02abc\xa0\x02").unwrap(), b"abcabcabca");
    }

    #[test]
    fn damage_is_told() {
        for (bytes, text) in [
            (b"ZW\0\0\0".as_slice(), "begins with"),
            (b"Z", "cut off"),
            (b"ZV\x02\0\0", "kind 0 or 1"),
            (b"ZV\0\0\x05abc", "cut off"),
            (b"ZV\x01\0\x02\0\x03\x20\0", "before its chunk"),
            (b"ZV\x01\0\x02\0\x03\0a", "shorter"),
            (b"ZV\x01\0\x04\0\x01\x02abc", "longer"),
        ] {
            let Err(Refused::Damaged { detail, .. }) = read(bytes) else { panic!("{text}") };
            assert!(detail.contains(text), "{detail}");
        }
    }

    #[test]
    fn growth_stops_at_the_limit() {
        let bomb = build::compress(&[b' '; 200_000]);
        assert_eq!(decompress(&bomb, &mut Vec::new(), 199_999), Err(Refused::TooLarge));
        assert_eq!(decompress(&bomb, &mut Vec::new(), 200_000), Ok(()));
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..2000),
            proptest::collection::vec(0u8..3, 0..2000),
            "[ab]{0,40}".prop_map(|s| s.repeat(40).into_bytes()),
        ]) {
            prop_assert_eq!(read(&build::compress(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            bytes.splice(0..0, *b"ZV\x01\0\x40\0\xff");
            let _ = read(&bytes);
        }
    }
}

//! CRC-32 of the stored-fields bytes that workers consumed, range by range, and how ranges add up to a file.
//!
//! Lucene ends each file with a CRC-32 over everything before the checksum field. No worker reads a whole
//! file, but the CRCs of adjoining ranges can be combined, so the ranges of all chunks together prove the file.

use serde::{Deserialize, Serialize};

/// Length of the checksum field at the end of a Lucene file, which the checksum itself does not cover.
pub const CHECKSUM_FIELD: u64 = 8;

/// The CRC-32 of a byte range of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeCrc {
    /// CRC-32 (zlib polynomial) of the bytes.
    pub crc: u32,
    /// Number of bytes.
    pub len: u64,
}

impl RangeCrc {
    /// Extends the range by the bytes that follow it.
    #[must_use]
    pub fn update(self, bytes: &[u8]) -> RangeCrc {
        let mut hasher = crc32fast::Hasher::new_with_initial_len(self.crc, self.len);
        hasher.update(bytes);
        RangeCrc { crc: hasher.finalize(), len: self.len + bytes.len() as u64 }
    }

    /// Appends the range that follows this one.
    #[must_use]
    pub fn combine(self, next: RangeCrc) -> RangeCrc {
        let mut hasher = crc32fast::Hasher::new_with_initial_len(self.crc, self.len);
        hasher.combine(&crc32fast::Hasher::new_with_initial_len(next.crc, next.len));
        RangeCrc { crc: hasher.finalize(), len: self.len + next.len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_combine_to_the_crc_of_the_whole(data in proptest::collection::vec(any::<u8>(), 0..400), cuts in proptest::collection::vec(0usize..400, 0..5)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(data.len())).collect();
            cuts.extend([0, data.len()]);
            cuts.sort_unstable();
            let whole = cuts
                .windows(2)
                .map(|w| RangeCrc::default().update(&data[w[0]..w[1]]))
                .fold(RangeCrc::default(), RangeCrc::combine);
            prop_assert_eq!(whole, RangeCrc { crc: crc32fast::hash(&data), len: data.len() as u64 });
        }
    }
}

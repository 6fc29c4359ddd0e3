//! `.cfe`: where in a segment's compound file `.cfs` its files lie. Lucene's `Lucene50CompoundFormat` and
//! `Lucene90CompoundFormat`, and `CompoundFileWriter` of Lucene 4.

use crate::codec::{self, FOOTER_LEN, Known};
use crate::{Error, ErrorKind, Result, SegmentId};
use std::collections::BTreeMap;

const KNOWN: &[Known] = &[
    Known::little("Lucene90CompoundEntries", 0..=0),
    Known::big("Lucene50CompoundEntries", 0..=0),
    Known::big("CompoundFileWriterEntries", 0..=1),
];

/// Files of a segment, at most: a few for each format of doc values, points or vectors that its fields have.
const MOST_FILES: usize = 100_000;

/// The files in a compound file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompoundEntries {
    entries: BTreeMap<String, (u64, u64)>,
}

impl CompoundEntries {
    /// Reads a whole `.cfe` file of the segment with this id, whose `.cfs` file is `cfs_len` bytes long.
    ///
    /// # Errors
    /// When the checksum or the id does not match, the format is not known, the content is corrupt, or the last file does
    /// not end where the `.cfs` file's footer begins.
    pub fn parse(file: &str, bytes: &[u8], id: Option<&SegmentId>, cfs_len: u64) -> Result<Self> {
        let (_, mut input, _) = codec::open(file, bytes, KNOWN, id, Some(""))?;
        // Both files of a segment have a footer, or none of them.
        let footer = if codec::is_without_footer(file, bytes) { 0 } else { FOOTER_LEN as u64 };
        let at = input.offset();
        let count = input.counted("a number of files", 17)?;
        if count > MOST_FILES {
            let message = format!("{count} files are more than the {MOST_FILES} that are read");
            return Err(Error::new(ErrorKind::TooLarge, file, at, message));
        }
        let mut entries = BTreeMap::new();
        let mut last_end = None;
        for _ in 0..count {
            let at = input.offset();
            let name = input.string()?.to_owned();
            let offset = input.count64("an offset")?;
            let length = input.count64("a length")?;
            let end = offset.checked_add(length).filter(|end| *end <= cfs_len);
            let Some(end) = end else {
                let expected = format_args!("{name} within the {cfs_len} bytes of the .cfs file");
                return Err(Error::corrupt(
                    file,
                    at,
                    expected,
                    format_args!("{length} bytes from {offset} on"),
                ));
            };
            last_end = last_end.max(Some(end));
            if entries.insert(name, (offset, length)).is_some() {
                return Err(Error::corrupt(file, at, "each file once", "one twice"));
            }
        }
        input.end()?;
        if let Some(end) = last_end.filter(|end| end.checked_add(footer) != Some(cfs_len)) {
            let message = format!(
                "expected a .cfs file of {end} bytes and a footer of {footer}, found {cfs_len} bytes"
            );
            return Err(Error::new(ErrorKind::LengthMismatch, file, None, message));
        }
        Ok(Self { entries })
    }

    /// Offset and length in the `.cfs` file, in bytes, of the file whose name ends in this after the segment's name, such
    /// as `.fdt` or `_Lucene90_0.dvm`.
    pub fn get(&self, suffix: &str) -> Option<(u64, u64)> {
        self.entries.get(suffix).copied()
    }

    /// All files: their suffixes with offset and length.
    pub fn iter(&self) -> impl Iterator<Item = (&str, (u64, u64))> {
        self.entries.iter().map(|(name, range)| (name.as_str(), *range))
    }
}

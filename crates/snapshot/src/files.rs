//! A shard's files by their Lucene names, as ranges of blobs.

use std::collections::HashMap;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::shard_manifest::{FileInfo, ShardManifest};

/// A contiguous piece of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BlobRange {
    /// Path of the blob, relative to the repository root.
    pub blob: String,
    /// Bytes of the blob.
    pub range: Range<u64>,
}

impl BlobRange {
    /// How many bytes these are.
    pub fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A shard's files by their Lucene names.
#[derive(Debug, Clone)]
pub struct ShardFiles {
    dir: String,
    manifest: ShardManifest,
    by_name: HashMap<String, usize>,
}

impl ShardFiles {
    /// The files of `manifest`, whose blobs lie in `dir` (see [`crate::paths::shard_dir`]).
    pub fn new(dir: &str, manifest: ShardManifest) -> Self {
        let by_name = manifest.files.iter().enumerate().map(|(i, f)| (f.physical_name.clone(), i)).collect();
        Self { dir: dir.trim_end_matches('/').to_owned(), manifest, by_name }
    }

    /// The list that this was made from.
    pub fn manifest(&self) -> &ShardManifest {
        &self.manifest
    }

    /// The Lucene names of all files, in the order of the list.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.manifest.files.iter().map(|f| f.physical_name.as_str())
    }

    /// Whether there is a file of this Lucene name.
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The file of this Lucene name.
    pub fn get(&self, name: &str) -> Result<&FileInfo> {
        self.by_name
            .get(name)
            .and_then(|i| self.manifest.files.get(*i))
            .ok_or_else(|| Error::mismatch(&self.manifest.file, format!("it does not list the file {name}")))
    }

    /// The one `segments_N`.
    pub fn segments_file(&self) -> Result<&FileInfo> {
        let mut found = self.manifest.files.iter().filter(|f| f.physical_name.starts_with("segments_"));
        match (found.next(), found.next()) {
            (Some(file), None) => Ok(file),
            (None, _) => Err(Error::mismatch(&self.manifest.file, "it lists no segments_N")),
            (Some(_), Some(_)) => {
                Err(Error::mismatch(&self.manifest.file, "it lists more than one segments_N"))
            }
        }
    }

    /// Whether the file has no blob, because the list holds its bytes.
    pub fn is_virtual(&self, name: &str) -> Result<bool> {
        Ok(self.get(name)?.is_virtual())
    }

    /// All bytes of the file, when the list holds them: no request is needed.
    pub fn inline(&self, name: &str) -> Result<Option<&[u8]>> {
        Ok(self.get(name)?.inline())
    }

    /// All blobs of the file, each whole.
    pub fn blobs(&self, name: &str) -> Result<Vec<BlobRange>> {
        let length = self.get(name)?.length;
        self.ranges(name, 0..length)
    }

    /// Where bytes `range` of the file are: in the order of the file, without gaps, and none empty.
    pub fn ranges(&self, name: &str, range: Range<u64>) -> Result<Vec<BlobRange>> {
        let file = self.get(name)?;
        if range.start > range.end || range.end > file.length {
            let detail = format!(
                "bytes {}..{} of file {name}, which has {} bytes",
                range.start, range.end, file.length
            );
            return Err(Error::mismatch(&self.manifest.file, detail));
        }
        if file.is_virtual() {
            return Err(Error::mismatch(
                &self.manifest.file,
                format!("file {name} has no blob: its bytes are inline"),
            ));
        }
        let part_size = match file.part_size {
            Some(size) if file.parts() > 1 => size,
            _ => {
                let blob = format!("{}/{}", self.dir, file.name);
                return Ok(if range.is_empty() { Vec::new() } else { vec![BlobRange { blob, range }] });
            }
        };
        let mut pieces = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let part = at / part_size;
            let start = part * part_size;
            let end = range.end.min(start.saturating_add(part_size));
            let blob = format!("{}/{}.part{part}", self.dir, file.name);
            pieces.push(BlobRange { blob, range: at - start..end - start });
            at = end;
        }
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(length: u64, part_size: Option<u64>) -> ShardFiles {
        let file = |name: &str, physical_name: &str, length, meta_hash| FileInfo {
            name: name.into(),
            physical_name: physical_name.into(),
            length,
            checksum: None,
            part_size,
            written_by: None,
            meta_hash,
        };
        let files = vec![
            file("__a", "_0.fdt", length, vec![]),
            file("v__b", "_0.si", 2, vec![1, 2]),
            file("__c", "segments_3", 3, vec![7, 8, 9]),
        ];
        let manifest = ShardManifest { file: "m".into(), name: "s".into(), index_version: 1, files };
        ShardFiles::new("indices/I/0/", manifest)
    }

    fn texts(pieces: &[BlobRange]) -> Vec<String> {
        pieces.iter().map(|p| format!("{} {}..{}", p.blob, p.range.start, p.range.end)).collect()
    }

    #[test]
    fn ranges_are_split_where_the_file_is() {
        type Case<'a> = (u64, Option<u64>, Range<u64>, &'a [&'a str]);
        let cases: [Case<'_>; 7] = [
            (10, None, 0..10, &["indices/I/0/__a 0..10"]),
            (10, Some(10), 2..5, &["indices/I/0/__a 2..5"]),
            (
                10,
                Some(4),
                0..10,
                &["indices/I/0/__a.part0 0..4", "indices/I/0/__a.part1 0..4", "indices/I/0/__a.part2 0..2"],
            ),
            (10, Some(4), 3..5, &["indices/I/0/__a.part0 3..4", "indices/I/0/__a.part1 0..1"]),
            (10, Some(4), 4..8, &["indices/I/0/__a.part1 0..4"]),
            (10, Some(4), 5..5, &[]),
            (0, Some(4), 0..0, &[]),
        ];
        for (length, part_size, range, expected) in cases {
            assert_eq!(texts(&files(length, part_size).ranges("_0.fdt", range).unwrap()), expected);
        }
    }

    #[test]
    fn files_are_found_by_name_or_not_at_all() {
        let files = files(10, Some(4));
        assert_eq!(files.names().collect::<Vec<_>>(), ["_0.fdt", "_0.si", "segments_3"]);
        assert!(files.is_virtual("_0.si").unwrap());
        assert_eq!(files.inline("_0.si"), Ok(Some([1, 2].as_slice())));
        assert_eq!(files.inline("segments_3"), Ok(Some([7, 8, 9].as_slice())));
        assert_eq!(files.inline("_0.fdt"), Ok(None));
        assert_eq!(files.segments_file().unwrap().physical_name, "segments_3");
        assert_eq!(files.blobs("_0.fdt").unwrap().len(), 3);
        assert!(files.get("_1.si").unwrap_err().to_string().contains("_1.si"));
        for range in [0..11, 11..11, Range { start: 3, end: 2 }] {
            assert!(files.ranges("_0.fdt", range).is_err());
        }
        assert!(files.ranges("_0.si", 0..1).is_err());
    }

    proptest! {
        #[test]
        fn ranges_cover_exactly_what_was_asked(
            length in 0u64..5000, part in 1u64..600, from in 0u64..5000, to in 0u64..5000,
        ) {
            let (from, to) = (from.min(to).min(length), from.max(to).min(length));
            let pieces = files(length, Some(part)).ranges("_0.fdt", from..to).unwrap();
            let mut at = from;
            for piece in &pieces {
                prop_assert!(!piece.is_empty() && piece.range.end <= part.max(length.min(part)));
                let start = match piece.blob.rsplit_once(".part") {
                    Some((_, n)) => n.parse::<u64>().unwrap() * part,
                    None => 0,
                };
                prop_assert_eq!(start + piece.range.start, at);
                at += piece.len();
            }
            prop_assert_eq!(at, to);
        }
    }
}

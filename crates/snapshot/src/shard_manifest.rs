//! The files of a shard in a snapshot: `indices/<id>/<shard>/snap-<uuid>.dat`, or what stands in its place in old
//! repositories.

use std::collections::HashSet;

use base64::Engine as _;
use serde::Deserialize;

use crate::container;
use crate::error::{Error, Result};
use crate::pairs::{at_most, or_default};

/// What begins the name of a blob that does not exist: the file's bytes stand in the list itself.
const VIRTUAL: &str = "v__";
/// A file of more parts than this has a damaged size of parts.
const MOST_PARTS: u64 = 1_000_000;
/// Files of a shard, at most. Thousands of segments have fewer.
const MOST_FILES: usize = 100_000;
/// Stands for a checksum that was not known.
const UNKNOWN_CHECKSUM: &str = "_na_";

/// A file of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// The name of its blob in the shard's folder.
    pub name: String,
    /// Its name in Lucene.
    pub physical_name: String,
    /// Its length in bytes.
    pub length: u64,
    /// The checksum in its footer, in base 36, as it is written. Of files from before Lucene 4.8, which have no footer,
    /// an Adler-32 of the whole.
    pub checksum: Option<String>,
    /// How long each part but the last is; `None` when it is never split.
    pub part_size: Option<u64>,
    /// The version of Lucene that wrote it.
    pub written_by: Option<String>,
    /// Its bytes, for small files; else empty.
    pub meta_hash: Vec<u8>,
}

impl FileInfo {
    /// Whether there is no blob, because all bytes are in [`Self::meta_hash`].
    pub fn is_virtual(&self) -> bool {
        self.name.starts_with(VIRTUAL)
    }

    /// All bytes of the file, when the list holds them.
    pub fn inline(&self) -> Option<&[u8]> {
        let whole = self.meta_hash.len() as u64 == self.length;
        (whole && (self.is_virtual() || self.length > 0)).then_some(self.meta_hash.as_slice())
    }

    /// The CRC-32 that must stand in the file's footer.
    pub fn crc(&self) -> Option<u32> {
        self.checksum.as_deref().filter(|_| self.has_footer()).and_then(parse_checksum)
    }

    /// Whether the file ends with a checksum of its own, as all do since Lucene 4.8.
    pub fn has_footer(&self) -> bool {
        let mut numbers = self.written_by.as_deref().unwrap_or_default().split('.').map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(4)), Some(Ok(minor))) => minor >= 8,
            (Some(Ok(major)), _) => major > 4,
            _ => false,
        }
    }

    /// Of how many blobs the file consists.
    pub fn parts(&self) -> u64 {
        match self.part_size {
            Some(size) if self.length > size => self.length.div_ceil(size),
            _ => 1,
        }
    }
}

fn parse_checksum(text: &str) -> Option<u32> {
    // The standard library would take a sign.
    let digits = text.bytes().all(|b| b.is_ascii_alphanumeric());
    digits.then(|| u32::from_str_radix(text, 36).ok()).flatten()
}

/// The files of a shard in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardManifest {
    /// The blob that this was read from.
    pub file: String,
    /// The name of the snapshot.
    pub name: String,
    /// The version of the shard's Lucene commit.
    pub index_version: u64,
    /// The files, in the order of the list.
    pub files: Vec<FileInfo>,
}

#[derive(Deserialize)]
struct Body {
    name: Option<String>,
    #[serde(rename = "index_version", alias = "index-version")]
    index_version: Option<u64>,
    #[serde(default, deserialize_with = "some_at_most::<MOST_FILES, _, _>")]
    files: Option<Vec<RawFile>>,
    remote_store_repository: Option<String>,
}

/// [`at_most`] for a list that must be there and not be empty.
fn some_at_most<'de, const N: usize, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Vec<T>>, D::Error> {
    Ok(Some(at_most::<N, T, D>(deserializer)?).filter(|list| !list.is_empty()))
}

#[derive(Deserialize)]
struct RawFile {
    name: String,
    physical_name: String,
    length: i64,
    checksum: Option<String>,
    part_size: Option<Size>,
    written_by: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    meta_hash: String,
}

/// A number of bytes, as such or with a unit.
#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(i64),
    Text(String),
}

impl Size {
    fn bytes(&self) -> Option<i64> {
        let text = match self {
            Self::Bytes(bytes) => return Some(*bytes),
            Self::Text(text) => text.trim().to_ascii_lowercase(),
        };
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match &text[number.len()..] {
            "" | "b" => 0,
            "k" | "kb" => 10,
            "m" | "mb" => 20,
            "g" | "gb" => 30,
            "t" | "tb" => 40,
            _ => return None,
        };
        number.trim().parse::<i64>().ok()?.checked_mul(1 << shift)
    }
}

impl ShardManifest {
    /// Reads `snap-<uuid>.dat` or `snapshot-<name>` of a shard; `file` is its path, for errors.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        Self::parse_with_limit(file, bytes, container::DEFAULT_LIMIT)
    }

    /// Like [`Self::parse`]; what is compressed may become `limit` bytes.
    pub fn parse_with_limit(file: &str, bytes: &[u8], limit: usize) -> Result<Self> {
        let shallow = || {
            Error::unsupported(
                file,
                "the shard's data stayed in a remote store (a shallow snapshot); take the snapshot again into a \
                 repository with the setting remote_store_index_shallow_copy=false",
            )
        };
        let base = file.rsplit('/').next().unwrap_or(file);
        if base.starts_with("shallow-snap-") {
            return Err(shallow());
        }
        let body: Body = container::parse_with_limit(file, bytes, container::SNAPSHOT, limit)?;
        if body.remote_store_repository.is_some() {
            return Err(shallow());
        }
        let (Some(name), Some(index_version), Some(files)) = (body.name, body.index_version, body.files)
        else {
            return Err(Error::corrupt(file, "a list of a shard's files was expected"));
        };
        let files = files.into_iter().map(|raw| raw.check(file)).collect::<Result<Vec<_>>>()?;
        let mut names = HashSet::new();
        if let Some(twice) = files.iter().find(|f| !names.insert(f.physical_name.as_str())) {
            return Err(Error::mismatch(file, format!("file {} is listed twice", twice.physical_name)));
        }
        Ok(Self { file: file.to_owned(), name, index_version, files })
    }
}

impl RawFile {
    fn check(self, file: &str) -> Result<FileInfo> {
        let bad = |what: &str| Err(Error::corrupt(file, format!("file {:?}: {what}", self.physical_name)));
        if !is_file_name(&self.physical_name) {
            return bad("its name is not that of a file");
        }
        if !is_file_name(&self.name) {
            return bad("the name of its blob is not that of a file");
        }
        let Ok(length) = u64::try_from(self.length) else { return bad("its length is negative") };
        // Zero and less mean that files are not split.
        let part_size = match self.part_size.as_ref().map(Size::bytes) {
            Some(None) => return bad("the size of its parts is no number of bytes"),
            size => size.flatten().and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0),
        };
        let Ok(meta_hash) = base64::engine::general_purpose::STANDARD.decode(&self.meta_hash) else {
            return bad("its bytes are not valid Base64");
        };
        let checksum = self.checksum.clone().filter(|c| c != UNKNOWN_CHECKSUM);
        if checksum.as_deref().is_some_and(|c| parse_checksum(c).is_none()) {
            return bad("its checksum is no CRC-32 in base 36");
        }
        let info = FileInfo {
            name: self.name.clone(),
            physical_name: self.physical_name.clone(),
            length,
            checksum,
            part_size,
            written_by: self.written_by.clone(),
            meta_hash,
        };
        if info.is_virtual() && info.meta_hash.len() as u64 != info.length {
            return bad("it has no blob, but its bytes are not in the list either");
        }
        if !info.is_virtual() && info.parts() > MOST_PARTS {
            return bad("it consists of more parts than any file");
        }
        Ok(info)
    }
}

/// What names of files have at most, in bytes: more than any store in which a repository can lie takes.
const MAX_NAME: usize = 255;

fn is_file_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::build;
    use serde_json::{Value, json};

    fn parse(value: &Value) -> Result<ShardManifest> {
        ShardManifest::parse("indices/I/0/snap-U.dat", &build::json(container::SNAPSHOT, value))
    }

    fn example() -> Value {
        json!({"name": "s", "index_version": 6, "start_time": 1, "time": 2, "number_of_files": 2, "total_size": 3,
            "files": [
                {"name": "__a", "physical_name": "_0.cfs", "length": 700, "checksum": "1uyau3q", "part_size": 300, "written_by": "9.12.3"},
                {"name": "v__b", "physical_name": "_0.si", "length": 3, "checksum": "_na_", "part_size": 300, "meta_hash": "AAEC", "written_by": "9.12.3"}]})
    }

    #[test]
    fn everything_that_is_said_is_read() {
        let manifest = parse(&example()).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.index_version), ("s", 6));
        let [cfs, si] = manifest.files.as_slice() else { panic!("two files") };
        assert_eq!((cfs.crc(), cfs.parts(), cfs.inline()), (Some(4_048_380_134), 3, None));
        assert_eq!((si.crc(), si.parts(), si.inline()), (None, 1, Some([0, 1, 2].as_slice())));
        assert!(si.is_virtual() && !cfs.is_virtual());
    }

    #[test]
    fn parts_are_as_many_as_are_needed() {
        for (length, part_size, parts) in [
            (0, 300, 1),
            (300, 300, 1),
            (301, 300, 2),
            (600, 300, 2),
            (601, 300, 3),
            (700, 0, 1),
            (700, -1, 1),
        ] {
            let mut value = example();
            value["files"][0]["length"] = length.into();
            value["files"][0]["part_size"] = part_size.into();
            assert_eq!(parse(&value).unwrap().files[0].parts(), parts, "{length}/{part_size}");
        }
    }

    #[test]
    fn sizes_of_parts_may_have_units() {
        for (text, size) in [("300", Some(300)), ("2kb", Some(2048)), ("1g", Some(1 << 30)), ("-1b", None)] {
            let mut value = example();
            value["files"][0]["part_size"] = text.into();
            value["files"][0]["length"] = 1.into();
            assert_eq!(parse(&value).unwrap().files[0].part_size, size, "{text}");
        }
    }

    #[test]
    fn checksums_of_files_without_a_footer_are_no_crc() {
        let crc = |written_by: Value| {
            let mut value = example();
            value["files"][0]["written_by"] = written_by;
            parse(&value).unwrap().files[0].crc().is_some()
        };
        for footer in ["4.8.0", "4.10.4", "5.5.4", "10.3.2"] {
            assert!(crc(footer.into()), "{footer}");
        }
        for none in ["4.7.2".into(), "3.6.2".into(), "4".into(), "".into(), "x".into(), Value::Null] {
            assert!(!crc(none));
        }
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let edits: [fn(&mut Value); 16] = [
            |v| v["files"][0]["length"] = (-1).into(),
            |v| v["files"][0]["length"] = i64::MAX.into(),
            |v| v["files"][0]["name"] = "../x".into(),
            |v| v["files"][0]["name"] = "".into(),
            |v| v["files"][0]["physical_name"] = "a/b".into(),
            |v| v["files"][0]["physical_name"] = "_0.si".into(),
            |v| v["files"][0]["part_size"] = "a lot".into(),
            |v| v["files"][0]["checksum"] = "zzzzzzz".into(),
            |v| v["files"][0]["checksum"] = "-1".into(),
            |v| v["files"][0]["checksum"] = "".into(),
            |v| v["files"][1]["length"] = 4.into(),
            |v| v["files"][1]["meta_hash"] = "?".into(),
            |v| v["files"][1]["meta_hash"] = Value::Null,
            |v| v["files"] = Value::Null,
            |v| v["name"] = Value::Null,
            |v| *v = json!([]),
        ];
        for (i, edit) in edits.iter().enumerate() {
            let mut value = example();
            edit(&mut value);
            assert!(parse(&value).is_err(), "edit {i}");
        }
    }

    #[test]
    fn shallow_snapshots_are_refused_with_advice() {
        let shallow = json!({"version": "1", "name": "s", "index_version": 1, "remote_store_repository": "r", "file_names": ["_0.si"]});
        let by_content = parse(&shallow).unwrap_err();
        let by_name = ShardManifest::parse("indices/I/0/shallow-snap-U.dat", b"").unwrap_err();
        for error in [by_content, by_name] {
            assert!(matches!(error, Error::Unsupported { .. }));
            assert!(error.to_string().contains("remote_store_index_shallow_copy=false"));
        }
    }
}

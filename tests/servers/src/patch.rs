//! Lets the oldest servers run on a Java that can still be had.

use std::{
    fs,
    io::{BufReader, Read, Write},
    path::Path,
};

use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::{Error, error::At};

const CLASS: &str = "org/elasticsearch/monitor/jvm/JvmInfo.class";

/// What Elasticsearch 1 asks Java for when it starts, which Java refuses to tell since version 9.
const REFUSED: &str = "getBootClassPath";
/// Another question with an answer of the same type.
const ANSWERED: &str = "getSpecName";

/// Changes one name in the constant pool of one class, so that Elasticsearch 1 starts on Java 11. Nothing that is
/// written to indices or snapshots depends on it.
pub(crate) fn for_newer_java(jar: &Path) -> Result<(), Error> {
    let fail = |reason: String| Error::Content { place: jar.display().to_string(), reason };
    let zipped = |e: zip::result::ZipError| fail(e.to_string());
    let file = fs::File::open(jar).at(jar)?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(zipped)?;
    let patched = jar.with_extension("patched");
    let mut out = ZipWriter::new(fs::File::create(&patched).at(&patched)?);
    for number in 0..archive.len() {
        let mut entry = archive.by_index(number).map_err(zipped)?;
        if entry.name().map_err(zipped)? != CLASS {
            out.raw_copy_file(entry).map_err(zipped)?;
            continue;
        }
        let mut class = Vec::new();
        entry.read_to_end(&mut class).at(jar)?;
        let class = rename(&class, REFUSED, ANSWERED)
            .ok_or_else(|| fail(format!("{CLASS} does not call {REFUSED} once")))?;
        out.start_file(CLASS, SimpleFileOptions::default()).map_err(zipped)?;
        out.write_all(&class).at(&patched)?;
    }
    out.finish().map_err(zipped)?;
    fs::rename(&patched, jar).at(jar)
}

/// A class with another name in its constant pool; none unless the name is there exactly once.
fn rename(class: &[u8], from: &str, to: &str) -> Option<Vec<u8>> {
    let constant = |name: &str| -> Option<Vec<u8>> {
        let length = u16::try_from(name.len()).ok()?;
        Some([&[1], &length.to_be_bytes()[..], name.as_bytes()].concat())
    };
    let (from, to) = (constant(from)?, constant(to)?);
    let mut places = (0..class.len()).filter(|&at| class[at..].starts_with(&from));
    let (at, None) = (places.next()?, places.next()) else { return None };
    Some([&class[..at], &to, &class[at + from.len()..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_replaced_with_its_length() {
        assert_eq!(rename(b"..\x01\0\x03abc..", "abc", "de").unwrap(), b"..\x01\0\x02de..");
    }

    #[test]
    fn a_name_that_is_not_there_once_is_not_replaced() {
        assert!(rename(b"abc", "abc", "de").is_none());
        assert!(rename(b"\x01\0\x01a\x01\0\x01a", "a", "b").is_none());
    }
}

//! The container of all metadata blobs but the root: a header, a body that may be compressed, and a checksum.
//!
//! ```text
//! magic, name of the codec, version      as every Lucene file begins
//! body                                   SMILE or JSON; as it is, or after "DFL\0" (DEFLATE) or "ZSTD\0", or in LZF
//! magic, algorithm, CRC-32               as every Lucene file ends
//! ```
//!
//! Before Elasticsearch 2.0 blobs were the body alone, and their names did not end in `.dat`.

use std::borrow::Cow;
use std::io::Read;

use lucene::codec::FOOTER_LEN;
use lucene::input::Input;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::lzf;
use crate::source::smile;

/// Codec of `snap-*.dat`, at the root and in a shard.
pub const SNAPSHOT: &str = "snapshot";
/// Codec of `meta-*.dat` at the root.
pub const GLOBAL_METADATA: &str = "metadata";
/// Codec of `meta-*.dat` in an index.
pub const INDEX_METADATA: &str = "index-metadata";

/// How the names of blobs end that are in a container.
pub(crate) const CONTAINED: &str = ".dat";

/// How large a body may become unless the caller says otherwise.
pub const DEFAULT_LIMIT: usize = 1 << 30;

/// The one version of the container there has been.
const VERSION: u32 = 1;

/// Reads a container of codec `codec` and its body; `file` is the blob's path, for errors.
pub fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8], codec: &str) -> Result<T> {
    parse_with_limit(file, bytes, codec, DEFAULT_LIMIT)
}

/// Like [`parse`], with a bound on what the body may become in memory.
pub fn parse_with_limit<T: DeserializeOwned>(
    file: &str,
    bytes: &[u8],
    codec: &str,
    limit: usize,
) -> Result<T> {
    let json = text(file, bytes, codec, limit)?;
    from_json(file, &json)
}

/// Checks a container of codec `codec`, and returns its body as JSON text of at most `limit` bytes.
pub(crate) fn text(file: &str, bytes: &[u8], codec: &str, limit: usize) -> Result<Vec<u8>> {
    let body = if file.ends_with(CONTAINED) { body(file, bytes, codec)? } else { bytes };
    json(file, body, limit)
}

/// Reads a body alone.
pub(crate) fn parse_body<T: DeserializeOwned>(file: &str, body: &[u8], limit: usize) -> Result<T> {
    let json = json(file, body, limit)?;
    from_json(file, &json)
}

/// Parses the JSON text of a body.
pub(crate) fn from_json<'a, T: Deserialize<'a>>(file: &str, json: &'a [u8]) -> Result<T> {
    serde_json::from_slice(json)
        .map_err(|e| Error::corrupt(file, format!("the content is not as expected: {e}")))
}

/// Checks header and checksum; returns what lies between them.
fn body<'a>(file: &str, bytes: &'a [u8], codec: &str) -> Result<&'a [u8]> {
    // First: what a damaged byte says is damage, not another kind of file or a format from the future.
    lucene::codec::verify_checksum(file, bytes).map_err(located)?;
    let mut input = Input::new(file, bytes);
    let header = lucene::codec::header(&mut input).map_err(located)?;
    if header.codec != codec {
        let detail = format!("codec {codec:?} was expected, not {:?}", header.codec);
        return Err(Error::corrupt_at(file, 4, detail));
    }
    if header.version != VERSION {
        return Err(Error::unsupported(
            file,
            format!(
                "version {} of the metadata container is not supported; the newest supported version is {VERSION}",
                header.version
            ),
        ));
    }
    bytes
        .get(input.pos()..bytes.len().saturating_sub(FOOTER_LEN))
        .ok_or_else(|| Error::corrupt(file, "the file is cut off"))
}

fn located(error: lucene::Error) -> Error {
    if error.is_damage() {
        Error::Damaged { file: error.file, offset: error.offset, detail: error.message }
    } else {
        Error::Corrupt { file: error.file, offset: error.offset, detail: error.message }
    }
}

/// The body as JSON text.
pub(crate) fn json(file: &str, body: &[u8], limit: usize) -> Result<Vec<u8>> {
    let too_large = || Error::TooLarge { file: file.to_owned(), limit: limit as u64 };
    let plain = match decompress(file, body, limit)? {
        Some(plain) if !plain.starts_with(smile::MAGIC) => return Ok(plain),
        Some(plain) => Cow::Owned(plain),
        None if body.len() > limit => return Err(too_large()),
        None => Cow::Borrowed(body),
    };
    if !plain.starts_with(smile::MAGIC) {
        return Ok(plain.into_owned());
    }
    let mut out = Vec::new();
    match smile::to_json(&plain, &mut out, limit) {
        Ok(()) => Ok(out),
        // Repeated names and strings stand in SMILE once.
        Err(_) if out.len() > limit => Err(too_large()),
        Err(e) => Err(Error::corrupt_at(file, e.offset, format!("invalid SMILE: {}", e.detail))),
    }
}

/// The decompressed body; `None` when it is not compressed.
fn decompress(file: &str, body: &[u8], limit: usize) -> Result<Option<Vec<u8>>> {
    if let Some(deflated) = body.strip_prefix(b"DFL\0") {
        return read_all(file, "DEFLATE", flate2::bufread::DeflateDecoder::new(deflated), limit).map(Some);
    }
    if let Some(frames) = body.strip_prefix(b"ZSTD\0") {
        let decoder = zstd::stream::read::Decoder::with_buffer(frames)
            .map_err(|e| Error::corrupt(file, format!("the body is not valid zstd: {e}")))?;
        return read_all(file, "zstd", decoder, limit).map(Some);
    }
    if body.starts_with(lzf::MAGIC) {
        let mut out = Vec::new();
        return match lzf::decompress(body, &mut out, limit) {
            Ok(()) => Ok(Some(out)),
            Err(lzf::Refused::TooLarge) => {
                Err(Error::TooLarge { file: file.to_owned(), limit: limit as u64 })
            }
            Err(lzf::Refused::Damaged { offset, detail }) => {
                Err(Error::corrupt_at(file, offset, format!("the body is not valid LZF: {detail}")))
            }
        };
    }
    Ok(None)
}

/// Everything that `reader` gives, in memory that grows with what has arrived, and not beyond `limit`.
fn read_all(file: &str, what: &str, reader: impl Read, limit: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let most = (limit as u64).saturating_add(1);
    reader
        .take(most)
        .read_to_end(&mut out)
        .map_err(|e| Error::corrupt(file, format!("the body is not valid {what}: {e}")))?;
    if out.len() > limit {
        return Err(Error::TooLarge { file: file.to_owned(), limit: limit as u64 });
    }
    Ok(out)
}

/// Builds containers as servers do.
#[cfg(test)]
pub(crate) mod build {
    use std::io::Write;

    const HEADER_MAGIC: u32 = 0x3fd7_6c17;

    pub(crate) fn container(codec: &str, version: u32, body: &[u8]) -> Vec<u8> {
        let mut out = HEADER_MAGIC.to_be_bytes().to_vec();
        out.push(codec.len() as u8);
        out.extend_from_slice(codec.as_bytes());
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(&(!HEADER_MAGIC).to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        let crc = u64::from(crc32fast::hash(&out));
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    pub(crate) fn deflated(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(b"DFL\0".to_vec(), flate2::Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    pub(crate) fn json(codec: &str, value: &serde_json::Value) -> Vec<u8> {
        container(codec, 1, value.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::build::{container, deflated};
    use super::*;
    use serde_json::{Value, json};

    const SMILE: &[u8] = b":)\n\x01\xfa\x80a\xc2\xfb";

    fn read(bytes: &[u8]) -> Result<Value> {
        parse("x.dat", bytes, SNAPSHOT)
    }

    #[test]
    fn all_forms_of_the_body() {
        let zstd = [b"ZSTD\0".as_slice(), &zstd::encode_all(SMILE, 1).unwrap()].concat();
        let lzf = crate::lzf::build::compress(SMILE);
        for body in
            [SMILE.to_vec(), b"{\"a\":1}".to_vec(), deflated(SMILE), deflated(b"{\"a\":1}"), zstd, lzf]
        {
            assert_eq!(read(&container(SNAPSHOT, 1, &body)), Ok(json!({"a": 1})));
            // As it was before there were containers; and a name that promises one is held to that.
            assert_eq!(parse("snapshot-x", &body, SNAPSHOT), Ok(json!({"a": 1})));
            assert!(read(&body).unwrap_err().is_damage());
        }
    }

    #[test]
    fn any_flipped_byte_and_any_cut_is_noticed() {
        let good = container(SNAPSHOT, 1, &deflated(SMILE));
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 4;
            assert!(read(&bad).unwrap_err().is_damage(), "byte {i}");
            assert!(read(&good[..i]).unwrap_err().is_damage(), "length {i}");
        }
    }

    #[test]
    fn errors_name_the_file_and_the_reason() {
        let cases = [
            (container("metadata", 1, SMILE), "codec \"snapshot\" was expected, not \"metadata\""),
            (container(SNAPSHOT, 2, SMILE), "version 2 of the metadata container is not supported"),
            (container(SNAPSHOT, 1, b"DFL\0\xff\xff"), "not valid DEFLATE"),
            (container(SNAPSHOT, 1, b"ZSTD\0\xff\xff"), "not valid zstd"),
            (container(SNAPSHOT, 1, b"ZV\x01"), "not valid LZF"),
            (container(SNAPSHOT, 1, b":)\n\x01\xfa"), "invalid SMILE"),
            (container(SNAPSHOT, 1, b"{"), "not as expected"),
            (b"{\"snapshots\":[]}                     ".to_vec(), "footer magic"),
        ];
        for (bytes, text) in cases {
            let error = read(&bytes).unwrap_err();
            // What has the right checksum is not damaged, whatever it says.
            assert_eq!(error.is_damage(), text == "footer magic", "{error}");
            assert_eq!(error.is_unsupported(), text.contains("supported"), "{error}");
            let error = error.to_string();
            assert!(error.starts_with("x.dat") && error.contains(text), "{error}");
        }
    }

    #[test]
    fn decompression_stops_at_the_limit() {
        let bomb = container(SNAPSHOT, 1, &deflated(&vec![b' '; 1 << 20]));
        let error = parse_with_limit::<Value>("x.dat", &bomb, SNAPSHOT, 1000).unwrap_err();
        assert_eq!(error, Error::TooLarge { file: "x.dat".into(), limit: 1000 });
    }
}

//! A document's `_source` as JSON text that can stand on one line.
//!
//! Sources are stored as they were sent: mostly JSON, which passes byte for byte, and otherwise SMILE, CBOR or YAML,
//! which are converted: names keep their order, numbers every digit, and binary values become the Base64 that
//! servers write. Nothing is parsed on the way of common JSON; it is only searched for line breaks, which a bulk
//! request cannot hold. Before Elasticsearch 2.0 a mapping could ask for sources to be compressed; LZF is undone.

mod cbor;
mod compact;
mod cursor;
pub(crate) mod smile;
mod yaml;

use std::borrow::Cow;

use crate::lzf;

/// How large a document may grow by conversion, for its size: a reference of one byte can stand for 65.
const GROWTH: usize = 128;
/// How large any document may grow by conversion.
const LARGEST: usize = 1 << 30;
/// What every document may grow to, however small.
const SMALLEST: usize = 1 << 16;

/// The forms in which a source may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON text in UTF-8.
    Json,
    /// The binary JSON of the Jackson library.
    Smile,
    /// Concise Binary Object Representation, RFC 8949.
    Cbor,
    /// YAML text in UTF-8.
    Yaml,
    /// One of the others, compressed.
    Lzf,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Smile => "SMILE",
            Self::Cbor => "CBOR",
            Self::Yaml => "YAML",
            Self::Lzf => "LZF",
        })
    }
}

/// A source that cannot be turned into JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the source is not valid {format}: {detail} (at byte {offset})")]
pub struct SourceError {
    /// What the source was taken for.
    pub format: Format,
    /// Where it goes wrong.
    pub offset: u64,
    /// What is wrong.
    pub detail: Cow<'static, str>,
}

/// What a source is, judged by its first bytes; `None` when it is nothing that a server stores.
pub fn detect(bytes: &[u8]) -> Option<Format> {
    match bytes {
        [b'{', ..] => Some(Format::Json),
        [b':', b')', b'\n', ..] => Some(Format::Smile),
        [b'-', b'-', b'-', ..] => Some(Format::Yaml),
        [b'Z', b'V', ..] => Some(Format::Lzf),
        // A map, or the tag by which CBOR describes itself.
        [0xa0..=0xbb | 0xbf, ..] | [0xd9, 0xd9, 0xf7, ..] => Some(Format::Cbor),
        _ => trimmed(bytes).starts_with(b"{").then_some(Format::Json),
    }
}

/// Without a byte order mark and white space before the value.
fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start()
}

/// The source as JSON without line breaks: `bytes` itself wherever that is possible, else what was put in `scratch`.
///
/// JSON is not checked, and neither are its numbers, escapes, or order touched. A byte order mark is left out. Where
/// line breaks have to go, so does all white space between values, and comments, which servers accept.
#[inline]
pub fn to_json<'a>(bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], SourceError> {
    if bytes.first() == Some(&b'{') && !has_line_break(bytes) {
        return Ok(bytes);
    }
    convert(bytes, scratch)
}

fn has_line_break(bytes: &[u8]) -> bool {
    // Hardly any source has a control character, and the least byte of all is found sooner than one of two.
    least(bytes) <= b'\r' && memchr::memchr2(b'\n', b'\r', bytes).is_some()
}

/// The least of all bytes.
#[inline]
fn least(bytes: &[u8]) -> u8 {
    // So many at once are a few registers. The end is gone through as the last so many, some of them for the second time,
    // since one byte after the other would take as long as all before.
    const LANES: usize = 64;
    let mut lanes = [u8::MAX; LANES];
    let Some(last) = bytes.last_chunk::<LANES>() else {
        return bytes.iter().fold(u8::MAX, |least, byte| least.min(*byte));
    };
    for chunk in bytes.as_chunks::<LANES>().0.iter().chain([last]) {
        for (least, byte) in lanes.iter_mut().zip(chunk) {
            *least = (*least).min(*byte);
        }
    }
    lanes.iter().fold(u8::MAX, |least, byte| least.min(*byte))
}

fn convert<'a>(bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], SourceError> {
    let format = match bytes.first() {
        Some(b'{') => Format::Json,
        _ => detect(bytes).ok_or(SourceError {
            format: Format::Json,
            offset: 0,
            detail: "it starts like none of JSON, SMILE, CBOR and YAML".into(),
        })?,
    };
    scratch.clear();
    let limit = bytes.len().saturating_mul(GROWTH).clamp(SMALLEST, LARGEST);
    match format {
        Format::Json => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            if !has_line_break(bytes) {
                return Ok(bytes);
            }
            compact::compact(bytes, scratch)?;
        }
        Format::Smile => smile::to_json(bytes, scratch, limit)?,
        Format::Cbor => cbor::to_json(bytes, scratch, limit)?,
        Format::Yaml => yaml::to_json(bytes, scratch, limit)?,
        Format::Lzf => return compressed(bytes, scratch),
    }
    if scratch.first() != Some(&b'{') {
        return Err(SourceError { format, offset: 0, detail: "it is not an object".into() });
    }
    Ok(scratch)
}

/// The source within LZF, which shrinks nothing to less than its hundredth part.
fn compressed<'a>(bytes: &[u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], SourceError> {
    let bad =
        |offset, detail: &'static str| SourceError { format: Format::Lzf, offset, detail: detail.into() };
    let limit = bytes.len().saturating_mul(GROWTH).clamp(SMALLEST, LARGEST);
    let mut plain = Vec::new();
    lzf::decompress(bytes, &mut plain, limit).map_err(|refused| match refused {
        lzf::Refused::Damaged { offset, detail } => bad(offset, detail),
        lzf::Refused::TooLarge => bad(0, "the document takes too much memory"),
    })?;
    if detect(&plain) == Some(Format::Lzf) {
        return Err(bad(0, "it is compressed twice"));
    }
    let mut converted = Vec::new();
    let json = to_json(&plain, &mut converted)?;
    scratch.extend_from_slice(json);
    Ok(scratch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> Result<String, SourceError> {
        let mut scratch = vec![1, 2, 3];
        to_json(bytes, &mut scratch).map(|json| String::from_utf8(json.to_vec()).unwrap())
    }

    #[test]
    fn json_passes_byte_for_byte() {
        let texts = [
            r#"{"a":0.12345678901234567890123,"b":1.10,"c":1E5,"d":-0.0}"#,
            r#"{ "sp" : [ 1 , 2 ] , "e":"\u00e9\ud83d\ude42" }"#,
            r#"{"dup":1,"dup":2,"z":{"b":1,"a":2}}"#,
            r#"{"a":1 /* no line break */}"#,
            "  {}",
            "{not checked",
        ];
        for text in texts {
            let mut scratch = Vec::new();
            let out = to_json(text.as_bytes(), &mut scratch).unwrap();
            assert!(std::ptr::eq(out, text.as_bytes()), "{text} was copied");
        }
        assert_eq!(json(b"\xef\xbb\xbf{\"a\":1}").as_deref(), Ok("{\"a\":1}"));
    }

    #[test]
    fn a_line_break_is_found_wherever_it_is() {
        for length in (0..70).chain([127, 128, 129, 200]) {
            let mut text = vec![b'x'; length];
            assert!(!has_line_break(&text));
            for at in 0..length {
                for (byte, expected) in
                    [(b'\n', true), (b'\r', true), (b'\t', false), (0, false), (0x0e, false)]
                {
                    text[at] = byte;
                    assert_eq!(has_line_break(&text), expected, "{byte} at {at} of {length}");
                }
                text[at] = b'x';
            }
        }
    }

    #[test]
    fn every_form_becomes_json_on_one_line() {
        let cases: [(&[u8], &str); 8] = [
            (b"ZV\0\0\x0a{ \"a\": 1 }", "{ \"a\": 1 }"),
            (b"ZV\0\0\x09---\na: 1\n", "{\"a\":1}"),
            (b"{\n \"a\" : 1.0\r\n}", "{\"a\":1.0}"),
            (b"\n {}", "{}"),
            (b":)\n\x01\xfa\x80a\xc2\xfb", "{\"a\":1}"),
            (b"\xa1\x61a\x01", "{\"a\":1}"),
            (b"\xd9\xd9\xf7\xbf\x61a\x01\xff", "{\"a\":1}"),
            (b"---\na: 1\n", "{\"a\":1}"),
        ];
        for (bytes, text) in cases {
            assert_eq!(json(bytes).as_deref(), Ok(text));
        }
    }

    #[test]
    fn anything_else_is_an_error_that_says_what_it_was_taken_for() {
        let cases: [(&[u8], Format); 9] = [
            (b"ZV\0\0\x0a{", Format::Lzf),
            (b"ZV\0\0\x07ZV\0\0\x02{}", Format::Lzf),
            (b"ZV\0\0\x02[]", Format::Json),
            (b"", Format::Json),
            (b"[1]", Format::Json),
            (b"\n\"x\"", Format::Json),
            (b":)\n\x01\xc2", Format::Smile),
            (b"\xa1\x61a", Format::Cbor),
            (b"--- x", Format::Yaml),
        ];
        for (bytes, format) in cases {
            assert_eq!(json(bytes).unwrap_err().format, format, "{bytes:?}");
        }
    }
}

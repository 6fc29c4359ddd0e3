//! A document's `_source` as one JSON object that can stand on one line.
//!
//! Sources are stored as they were sent: mostly JSON, which passes byte for byte, and otherwise SMILE, CBOR or YAML,
//! which are converted: names keep their order, numbers every digit, and binary values become the Base64 that
//! servers write. Before Elasticsearch 2.0 a mapping could ask for sources to be compressed; LZF is undone.
//!
//! What servers accept as JSON is not always JSON: comments, names without quotes, UTF-16, and in old versions any text after
//! the object. How closely a source is looked at depends on who reads it next, and is given by [`Check`].

mod cbor;
mod cursor;
mod encoding;
mod relaxed;
pub(crate) mod smile;
mod yaml;

use std::borrow::Cow;

use crate::lzf;

/// How large a document may grow by conversion, for its size: a reference of one byte can stand for 65.
const GROWTH: usize = 128;
/// What every document may grow to, however small.
const SMALLEST: usize = 1 << 16;
/// Memory that is kept from one conversion to the next.
const KEPT: usize = 16 << 20;
/// The default of [`Rules::limit`]: no server takes a request that is larger than 100 MB unless it is told to.
pub const DEFAULT_LIMIT: usize = 128 << 20;

/// How closely JSON is checked before it is passed on as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// The reader parses each source by itself, as a target does with those of a bulk request. It is enough that a source
    /// stands on one line and looks like one object at both ends, which costs next to nothing.
    #[default]
    Framing,
    /// The reader takes a source for what it must be: it is checked completely that it is one JSON object in UTF-8.
    Complete,
}

/// What is demanded of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How closely JSON is checked.
    pub check: Check,
    /// Bytes that a source may come to by conversion.
    pub limit: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self { check: Check::default(), limit: DEFAULT_LIMIT }
    }
}

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

/// What a source is, judged by its first bytes: JSON if it is none of the others.
pub fn detect(bytes: &[u8]) -> Format {
    match bytes {
        [b':', b')', b'\n', ..] => Format::Smile,
        [b'-', b'-', b'-', ..] => Format::Yaml,
        [b'Z', b'V', ..] => Format::Lzf,
        // A map, or the tag by which CBOR describes itself.
        [0xa0..=0xbb | 0xbf, ..] | [0xd9, 0xd9, 0xf7, ..] => Format::Cbor,
        _ => Format::Json,
    }
}

/// The source as JSON without line breaks: `bytes` itself wherever that is possible, else what was put in `scratch`.
///
/// Numbers, escapes and the order of names are never touched. Where line breaks have to go, so does all white space between
/// values; so it is where something has to be converted, such as a comment.
///
/// # Errors
/// When the source is not one JSON object as far as `rules` want it checked, or would become too large.
#[inline]
pub fn to_json<'a>(
    bytes: &'a [u8],
    scratch: &'a mut Vec<u8>,
    rules: &Rules,
) -> Result<&'a [u8], SourceError> {
    if passes(bytes, rules) {
        return Ok(bytes);
    }
    match convert(bytes, scratch, rules)? {
        Outcome::AsItIs { skipped } => Ok(&bytes[skipped..]),
        Outcome::Converted => Ok(scratch),
    }
}

/// Where the JSON of a source is.
enum Outcome {
    /// In the source itself, after so many bytes.
    AsItIs { skipped: usize },
    /// In what was given to take it.
    Converted,
}

/// Whether it is JSON that can be passed on as it is, as far as that is checked.
fn passes(bytes: &[u8], rules: &Rules) -> bool {
    looks_like_an_object(bytes)
        && is_one_line(bytes)
        && (rules.check == Check::Framing || object(bytes).is_ok())
}

/// Whether both ends are those of a JSON object. What is between them may be anything.
#[inline]
fn looks_like_an_object(bytes: &[u8]) -> bool {
    matches!(bytes, [b'{', b'"', .., b'}']) || spaced_object(bytes)
}

fn spaced_object(bytes: &[u8]) -> bool {
    let [b'{', inner @ ..] = bytes else { return false };
    let [inner @ .., b'}'] = inner.trim_ascii_end() else { return false };
    matches!(inner.trim_ascii_start(), [] | [b'"', ..])
}

/// Whether there are neither line breaks nor zero bytes, as UTF-16 and UTF-32 have them.
fn is_one_line(bytes: &[u8]) -> bool {
    // Hardly any source has a control character, and the least byte of all is found sooner than one of three.
    least(bytes) > b'\r' || memchr::memchr3(b'\n', b'\r', 0, bytes).is_none()
}

/// Checks that the bytes are one JSON object in UTF-8 and nothing else.
fn object(bytes: &[u8]) -> Result<(), SourceError> {
    let at = |offset: usize, detail: Cow<'static, str>| SourceError {
        format: Format::Json,
        offset: offset as u64,
        detail,
    };
    let text = std::str::from_utf8(bytes).map_err(|e| at(e.valid_up_to(), "it is not UTF-8".into()))?;
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(bad(Format::Json, "it is not an object"));
    }
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|e| {
        let lines = text.split_inclusive('\n').take(e.line().saturating_sub(1)).map(str::len);
        let offset = lines.sum::<usize>() + e.column().saturating_sub(1);
        let detail = e.to_string();
        at(offset, detail.split(" at line ").next().unwrap_or_default().to_owned().into())
    })?;
    Ok(())
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

#[cold]
fn convert(bytes: &[u8], out: &mut Vec<u8>, rules: &Rules) -> Result<Outcome, SourceError> {
    if out.capacity() > KEPT {
        *out = Vec::new();
    }
    out.clear();
    let format = detect(bytes);
    let limit = bytes.len().saturating_mul(GROWTH).max(SMALLEST).min(rules.limit);
    let converted = match format {
        Format::Json => return text(bytes, out, rules),
        Format::Lzf => return compressed(bytes, out, limit, rules),
        Format::Smile => smile::to_json(bytes, out, limit),
        Format::Cbor => cbor::to_json(bytes, out, limit),
        Format::Yaml => yaml::to_json(bytes, out, limit),
    };
    if let Err(error) = converted {
        // It may have become large, and the next document may need none of it.
        *out = Vec::new();
        return Err(error);
    }
    if out.first() != Some(&b'{') {
        return Err(bad(format, "it is not an object"));
    }
    Ok(Outcome::Converted)
}

/// A text that does not pass as it is, or not without a closer look.
fn text(bytes: &[u8], out: &mut Vec<u8>, rules: &Rules) -> Result<Outcome, SourceError> {
    if bytes.len() > rules.limit {
        return Err(bad(Format::Json, "it is too large to be converted"));
    }
    let text = encoding::to_utf8(bytes)?;
    if !matches!(text.trim_ascii_start(), [b'{' | b'/', ..]) {
        return Err(bad(Format::Json, "it starts like none of JSON, SMILE, CBOR and YAML"));
    }
    if let Cow::Borrowed(text) = text
        && is_one_line(text)
        && object(text).is_ok()
    {
        return Ok(Outcome::AsItIs { skipped: bytes.len() - text.len() });
    }
    relaxed::to_json(&text, out)?;
    if rules.check == Check::Complete || !looks_like_an_object(out) {
        object(out)?;
    }
    Ok(Outcome::Converted)
}

/// The source within LZF.
fn compressed(bytes: &[u8], out: &mut Vec<u8>, limit: usize, rules: &Rules) -> Result<Outcome, SourceError> {
    let mut plain = Vec::new();
    lzf::decompress(bytes, &mut plain, limit).map_err(|refused| match refused {
        lzf::Refused::Damaged { offset, detail } => {
            SourceError { format: Format::Lzf, offset, detail: detail.into() }
        }
        lzf::Refused::TooLarge => bad(Format::Lzf, "the document takes too much memory"),
    })?;
    if detect(&plain) == Format::Lzf {
        return Err(bad(Format::Lzf, "it is compressed twice"));
    }
    if passes(&plain, rules) {
        *out = plain;
    } else if let Outcome::AsItIs { skipped } = convert(&plain, out, rules)? {
        plain.drain(..skipped);
        *out = plain;
    }
    Ok(Outcome::Converted)
}

fn bad(format: Format, detail: &'static str) -> SourceError {
    SourceError { format, offset: 0, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: [Rules; 2] = [
        Rules { check: Check::Framing, limit: DEFAULT_LIMIT },
        Rules { check: Check::Complete, limit: DEFAULT_LIMIT },
    ];

    fn json(bytes: &[u8], rules: &Rules) -> Result<String, SourceError> {
        let mut scratch = vec![1, 2, 3];
        to_json(bytes, &mut scratch, rules).map(|json| String::from_utf8(json.to_vec()).unwrap())
    }

    #[test]
    fn json_passes_byte_for_byte() {
        let texts = [
            r#"{"a":0.12345678901234567890123,"b":1.10,"c":1E5,"d":-0.0,"e":1e999}"#,
            r#"{ "sp" : [ 1 , 2 ] , "e":"\u00e9\ud83d\ude42\ud800" }"#,
            r#"{"dup":1,"dup":2,"z":{"b":1,"a":2}}"#,
            "  {} ",
            "{\t}",
            "{\"\":\"\u{7f}\"}\t",
        ];
        for (text, rules) in texts.iter().flat_map(|text| RULES.iter().map(move |rules| (text, rules))) {
            let mut scratch = Vec::new();
            let out = to_json(text.as_bytes(), &mut scratch, rules).unwrap();
            assert!(std::ptr::eq(out, text.as_bytes()), "{text} was copied");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
        for rules in &RULES {
            assert_eq!(json(b"\xef\xbb\xbf{\"a\":1}", rules).as_deref(), Ok("{\"a\":1}"));
            assert_eq!(json(deep.as_bytes(), rules).as_deref(), Ok(&*deep));
        }
    }

    #[test]
    fn a_line_break_is_found_wherever_it_is() {
        for length in (0..70).chain([127, 128, 129, 200]) {
            let mut text = vec![b'x'; length];
            assert!(is_one_line(&text));
            for at in 0..length {
                for (byte, expected) in
                    [(b'\n', false), (b'\r', false), (0, false), (b'\t', true), (0x0e, true)]
                {
                    text[at] = byte;
                    assert_eq!(is_one_line(&text), expected, "{byte} at {at} of {length}");
                }
                text[at] = b'x';
            }
        }
    }

    #[test]
    fn every_form_becomes_json_on_one_line() {
        let utf16: Vec<u8> = "{ \"ü\":\"\u{a0a}\" }".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: [(&[u8], &str); 15] = [
            (b"ZV\0\0\x0a{ \"a\": 1 }", "{ \"a\": 1 }"),
            (b"ZV\0\0\x0b\xef\xbb\xbf{\"a\":1}\n", "{\"a\":1}"),
            (b"ZV\0\0\x0a\xef\xbb\xbf{\"a\":1}", "{\"a\":1}"),
            (b"ZV\0\0\x09---\na: 1\n", "{\"a\":1}"),
            (b"{\n \"a\" : 1.0\r\n}", "{\"a\":1.0}"),
            (b"\n {}", "{}"),
            (b":)\n\x01\xfa\x80a\xc2\xfb", "{\"a\":1}"),
            (b"\xa1\x61a\x01", "{\"a\":1}"),
            (b"\xd9\xd9\xf7\xbf\x61a\x01\xff", "{\"a\":1}"),
            (b"---\na: 1\n", "{\"a\":1}"),
            (&utf16, "{\"ü\":\"\u{a0a}\"}"),
            (b"\0\0\0{\0\0\0}", "{}"),
            (b"{ a: 1 }", "{\"a\":1}"),
            (b"/* c */ {\"a\":1} // d", "{\"a\":1}"),
            (b"{/* } */}", "{}"),
        ];
        for (bytes, text) in cases {
            for rules in &RULES {
                assert_eq!(json(bytes, rules).as_deref(), Ok(text), "{bytes:?}");
            }
        }
    }

    /// A target refuses what looks like an object at both ends and is none, and takes comments; an export must not have either.
    #[test]
    fn a_complete_check_finds_what_the_ends_do_not_show() {
        let [framing, complete] = RULES;
        for (text, converted) in [
            ("{\"a\":1, /* c */ \"b\":2}", Some("{\"a\":1,\"b\":2}")),
            ("{\"a\":{b:1}}", Some("{\"a\":{\"b\":1}}")),
            ("{\"a\":\"\t\"}", Some("{\"a\":\"\\t\"}")),
            ("{\"a\":1},\"_id\":\"EVIL\",\"_source\":{\"pwned\":1}", None),
            ("{\"a\":[1]}}", None),
            ("{\"a\":1}{\"a\":2}", None),
            ("{\"a\":[1,,2]}", None),
            ("{\"a\":\"\\q\"}", None),
            ("{\"a\":007}", None),
            ("{\"a\":1 // x }", None),
        ] {
            assert_eq!(json(text.as_bytes(), &framing).as_deref(), Ok(text));
            assert_eq!(json(text.as_bytes(), &complete).ok().as_deref(), converted, "{text}");
        }
        let no_utf8 = b"{\"a\":\"\xff\"}";
        assert_eq!(to_json(no_utf8, &mut Vec::new(), &framing), Ok(&no_utf8[..]));
        let error = json(no_utf8, &complete).unwrap_err().to_string();
        assert_eq!(error, "the source is not valid JSON: it is not UTF-8 (at byte 6)");
        let error = json(b"{\"a\":1}{\"a\":2}", &complete).unwrap_err().to_string();
        assert_eq!(error, "the source is not valid JSON: trailing characters (at byte 7)");
    }

    #[test]
    fn anything_else_is_an_error_that_says_what_it_was_taken_for() {
        let cases: [(&[u8], Format); 15] = [
            (b"ZV\0\0\x0a{", Format::Lzf),
            (b"ZV\0\0\x07ZV\0\0\x02{}", Format::Lzf),
            (b"ZV\0\0\x02[]", Format::Json),
            (b"", Format::Json),
            (b"[1]", Format::Json),
            (b"\n\"x\"", Format::Json),
            (b"{\"a\":1} and more", Format::Json),
            (b"{\"a\":1}\0", Format::Json),
            (b"{\"a\":1},\"_id\":\"EVIL\"", Format::Json),
            (b"{\"a\":1", Format::Json),
            (b"{'a':1}", Format::Json),
            (b"{", Format::Json),
            (b":)\n\x01\xc2", Format::Smile),
            (b"\xa1\x61a", Format::Cbor),
            (b"--- x", Format::Yaml),
        ];
        for (bytes, format) in cases {
            for rules in &RULES {
                assert_eq!(json(bytes, rules).unwrap_err().format, format, "{bytes:?}");
            }
        }
    }

    #[test]
    fn no_source_grows_beyond_the_limit() {
        // A name of 1000 bytes, referred to again and again.
        let mut smile = b":)\n\x01\xf8".to_vec();
        smile.extend([b"\xfa\x34".as_slice(), &[b'n'; 1000], b"\xfc\xc2\xfb"].concat());
        smile.extend(b"\xfa\x40\xc2\xfb".repeat(100_000));
        let lzf = lzf::build::compress(&[b"{\"a\":\"".as_slice(), &[b' '; 300_000], b"\"}"].concat());
        let pretty = [b"{\n\"a\":\"".as_slice(), &[b' '; 300_000], b"\"}"].concat();
        for bomb in [&smile, &lzf, &pretty] {
            let mut scratch = Vec::new();
            let rules = Rules { limit: 200_000, ..Rules::default() };
            let error = to_json(bomb, &mut scratch, &rules).unwrap_err().to_string();
            assert!(error.contains("too much memory") || error.contains("too large"), "{error}");
            assert!(scratch.capacity() <= 200_000);
        }
        // JSON that passes takes no more memory than it does already.
        let plain = [b"{\"a\":\"".as_slice(), &[b' '; 300_000], b"\"}"].concat();
        let rules = Rules { limit: 1000, ..Rules::default() };
        assert_eq!(to_json(&plain, &mut Vec::new(), &rules), Ok(&*plain));
    }
}

//! Text that servers take for JSON although it is none, as JSON on one line.
//!
//! All versions accept comments, Elasticsearch before 6.0 also names without quotes. Where an object is disabled in the
//! mappings, the oldest versions store a source without reading it to the end, so raw control characters in strings occur.
//! These have one plain meaning each. White space and comments are left out, names are quoted, and control characters in
//! strings are escaped; every other byte stays as it is. Whether the outcome is JSON is not checked here.

use super::{Format, SourceError};

/// Appends `bytes` to `out` as JSON on one line, as far as they have a plain meaning.
pub(crate) fn to_json(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), SourceError> {
    let error = |at: usize, detail: &'static str| SourceError {
        format: Format::Json,
        offset: at as u64,
        detail: detail.into(),
    };
    out.reserve(bytes.len());
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        match b {
            b'"' => at = string(bytes, at, out).ok_or_else(|| error(at, "a string without an end"))?,
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {
                out.push(b);
                at += 1;
            }
            _ => {
                let next = after_space(bytes, at).ok_or_else(|| error(at, "a comment without an end"))?;
                if next > at {
                    at = next;
                    continue;
                }
                let end = at + bytes[at..].iter().position(|b| ends_word(*b)).unwrap_or(bytes.len() - at);
                let word = &bytes[at..end];
                // Without the space, "1 2" would become another number.
                if word.is_empty() || out.last().is_some_and(|last| !is_structural(*last)) {
                    return Err(error(at, "two values without a comma between them"));
                }
                let next = after_space(bytes, end).ok_or_else(|| error(end, "a comment without an end"))?;
                if bytes.get(next) == Some(&b':') {
                    if !word.iter().all(|b| is_of_name(*b)) {
                        return Err(error(at, "a name that needs quotes"));
                    }
                    out.push(b'"');
                    out.extend_from_slice(word);
                    out.push(b'"');
                } else {
                    out.extend_from_slice(word);
                }
                at = next;
            }
        }
    }
    Ok(())
}

fn is_structural(b: u8) -> bool {
    matches!(b, b'{' | b'}' | b'[' | b']' | b',' | b':')
}

/// Whether a name without quotes, a number or a literal ends before this byte.
fn ends_word(b: u8) -> bool {
    is_structural(b) || matches!(b, b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'/')
}

/// Whether the servers' parser takes this byte as part of a name without quotes.
fn is_of_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b >= 0x7f || matches!(b, b'_' | b'$' | b'@' | b'#' | b'*' | b'-' | b'+')
}

/// Where the white space and the comments end that begin at `at`, if there are any; `None` when a comment has no end.
fn after_space(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let rest = &bytes[at..];
        at += match rest {
            [b' ' | b'\t' | b'\n' | b'\r', ..] => 1,
            [b'/', b'*', inner @ ..] => memchr::memmem::find(inner, b"*/")? + 4,
            [b'/', b'/', ..] => memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len()),
            _ => return Some(at),
        }
    }
}

/// Appends the string that starts at `start`, and returns where it ends, its quotes included; `None` when it does not.
fn string(bytes: &[u8], start: usize, out: &mut Vec<u8>) -> Option<usize> {
    let mut at = start + 1;
    loop {
        let stop = at + memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[stop] == b'"' {
            push_escaped(&bytes[start..=stop], out);
            return Some(stop + 1);
        }
        at = stop + 2;
    }
}

/// Appends a string with escapes in the place of control characters.
fn push_escaped(mut string: &[u8], out: &mut Vec<u8>) {
    if string.iter().all(|b| *b >= 0x20) {
        out.extend_from_slice(string);
        return;
    }
    while let Some(at) = string.iter().position(|b| *b < 0x20) {
        out.extend_from_slice(&string[..at]);
        crate::json::push_control(out, string[at]);
        string = &string[at + 1..];
    }
    out.extend_from_slice(string);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &str) -> Result<String, SourceError> {
        let mut out = Vec::new();
        to_json(bytes.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_has_a_plain_meaning_becomes_json() {
        let cases = [
            ("{\n  \"a\" : 1.50,\r\n  \"b\" : [\n    \"x\\n\"\n  ]\n}\n", "{\"a\":1.50,\"b\":[\"x\\n\"]}"),
            ("{\"a b\": \" \\\" \\\\\",\n\"c\":1E5}", "{\"a b\":\" \\\" \\\\\",\"c\":1E5}"),
            ("{\"a\":1, // one\n\"b\":/* two */2}", "{\"a\":1,\"b\":2}"),
            ("{\"a\":\"//\",\n\"b\":\"/*\"}", "{\"a\":\"//\",\"b\":\"/*\"}"),
            ("{} // end", "{}"),
            ("/* { */ {/**/} /* } */", "{}"),
            ("{\"k\":\"\\u00e9\",\n\"k\":1e-7}", "{\"k\":\"\\u00e9\",\"k\":1e-7}"),
            ("{a:1}", "{\"a\":1}"),
            (
                "{ a /*:*/ : tru, b-c: true, 1x:null, $d :[-1], é:{_:{}}, true:false }",
                "{\"a\":tru,\"b-c\":true,\"1x\":null,\"$d\":[-1],\"é\":{\"_\":{}},\"true\":false}",
            ),
            ("{\"a\r\n\":\"\t\u{1}\u{7f}\"}", "{\"a\\r\\n\":\"\\t\\u0001\u{7f}\"}"),
            ("{\"a\":1}}", "{\"a\":1}}"),
        ];
        for (from, to) in cases {
            assert_eq!(text(from).as_deref(), Ok(to), "{from}");
        }
    }

    #[test]
    fn what_would_change_is_an_error() {
        for bad in [
            "\n\"abc",
            "\n\"abc\\",
            "\"abc\\\"",
            "[1\n2]",
            "[tr\nue]",
            "{\"a\" b:1}",
            "{a b:1}",
            "{a.b:1}",
            "{a\u{0}:1}",
            "\n/x",
            "\n/",
            "\n/*",
            "{a/*",
            "/*/\n",
        ] {
            assert!(text(bad).is_err(), "{bad:?}");
        }
    }
}

//! JSON without the white space between its values.

use super::{Format, SourceError};

/// Appends `bytes` to `out` without white space and comments outside of strings; everything else stays as it is.
pub(crate) fn compact(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), SourceError> {
    let error = |at: usize, detail: &'static str| SourceError {
        format: Format::Json,
        offset: at as u64,
        detail: detail.into(),
    };
    out.reserve(bytes.len());
    let mut at = 0;
    // Whether something was left out since the last byte that was kept.
    let mut gap = false;
    while let Some(&b) = bytes.get(at) {
        match b {
            b' ' | b'\t' | b'\n' | b'\r' => {
                gap = true;
                at += 1;
            }
            b'/' => {
                let rest = &bytes[at..];
                let length = match rest.get(1) {
                    Some(b'*') => memchr::memmem::find(&rest[2..], b"*/").map(|n| n + 4),
                    Some(b'/') => Some(memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len())),
                    _ => None,
                };
                at += length.ok_or_else(|| error(at, "a slash that starts no comment"))?;
                gap = true;
            }
            b'"' => {
                let end = string_end(bytes, at).map_err(|(at, detail)| error(at, detail))?;
                out.extend_from_slice(&bytes[at..end]);
                at = end;
                gap = false;
            }
            _ => {
                // Without the space, "1 2" would become another number.
                if gap && !is_structural(b) && out.last().is_some_and(|l| !is_structural(*l) && *l != b'"') {
                    return Err(error(at, "two values without a comma between them"));
                }
                out.push(b);
                gap = false;
                at += 1;
            }
        }
    }
    Ok(())
}

fn is_structural(b: u8) -> bool {
    matches!(b, b'{' | b'}' | b'[' | b']' | b',' | b':')
}

/// Where the string that starts at `start` ends, its quotes included.
fn string_end(bytes: &[u8], start: usize) -> Result<usize, (usize, &'static str)> {
    let mut at = start + 1;
    loop {
        let found = memchr::memchr3(b'"', b'\\', b'\n', bytes.get(at..).unwrap_or_default());
        let stop = at + found.ok_or((start, "a string without an end"))?;
        if let Some(n) = memchr::memchr(b'\r', &bytes[at..stop]) {
            return Err((at + n, "a line break within a string"));
        }
        match bytes[stop] {
            b'"' => return Ok(stop + 1),
            b'\\' if bytes.get(stop + 1).is_some_and(|b| !matches!(b, b'\n' | b'\r')) => at = stop + 2,
            b'\\' if stop + 1 >= bytes.len() => return Err((start, "a string without an end")),
            _ => return Err((stop, "a line break within a string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &str) -> Result<String, SourceError> {
        let mut out = Vec::new();
        compact(bytes.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn only_white_space_and_comments_go() {
        let cases = [
            ("{\n  \"a\" : 1.50,\r\n  \"b\" : [\n    \"x\\n\"\n  ]\n}\n", "{\"a\":1.50,\"b\":[\"x\\n\"]}"),
            ("{\"a b\": \" \\\" \\\\\",\n\"c\":1E5}", "{\"a b\":\" \\\" \\\\\",\"c\":1E5}"),
            ("{\"a\":1, // one\n\"b\":/* two */2}", "{\"a\":1,\"b\":2}"),
            ("{\"a\":\"//\",\n\"b\":\"/*\"}", "{\"a\":\"//\",\"b\":\"/*\"}"),
            ("{} // end", "{}"),
            ("{\"k\":\"\\u00e9\",\n\"k\":1e-7}", "{\"k\":\"\\u00e9\",\"k\":1e-7}"),
        ];
        for (from, to) in cases {
            assert_eq!(text(from).as_deref(), Ok(to), "{from}");
        }
    }

    #[test]
    fn what_would_change_is_an_error() {
        for bad in [
            "{\"a\n\":1}",
            "{\"a\r\":1\n}",
            "\n\"abc",
            "\n\"abc\\",
            "[1\n2]",
            "[tr\nue]",
            "\n/x",
            "\n/",
            "\n/*",
            "\"\\\n\"",
            "/*/\n",
        ] {
            assert!(text(bad).is_err(), "{bad:?}");
        }
    }
}

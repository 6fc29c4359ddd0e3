//! The bytes under which a document's `_id` is stored since Elasticsearch 6.0.
//!
//! | first byte | the rest |
//! |---|---|
//! | `0xFF` | the id in UTF-8 |
//! | `0xFE` | an id of digits only: a digit each half byte, high half first, `0xF` after an odd number |
//! | `0xFD` | Base64 (URL alphabet, no padding) whose first byte is `0xFD` or above |
//! | other | the first byte of such Base64 |

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const UTF8: u8 = 0xff;
const NUMERIC: u8 = 0xfe;
const BASE64_ESCAPE: u8 = 0xfd;

/// Bytes that no server stores as an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored _id is damaged: {0}")]
pub struct IdError(&'static str);

/// The id that `bytes` stand for.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, IdError> {
    match bytes {
        [UTF8, text @ ..] => utf8(text).map(Cow::Borrowed),
        _ => {
            let mut out = String::new();
            decode_into(bytes, &mut out)?;
            Ok(Cow::Owned(out))
        }
    }
}

/// Puts the id that `bytes` stand for in `out`, in place of what is there.
pub fn decode_into(bytes: &[u8], out: &mut String) -> Result<(), IdError> {
    out.clear();
    match bytes {
        [] => Err(IdError("no bytes")),
        [UTF8, text @ ..] => {
            out.push_str(utf8(text)?);
            Ok(())
        }
        [NUMERIC, digits @ ..] => numeric(digits, out),
        [BASE64_ESCAPE, rest @ ..] => match rest.first() {
            Some(BASE64_ESCAPE..) => base64(rest, out),
            _ => Err(IdError("an escape before a byte that needs none")),
        },
        _ => base64(bytes, out),
    }
}

/// Bytes of a short id at most, as all that servers generate are, and characters of as many bytes.
const SHORT: (usize, usize) = (48, 64);

fn base64(bytes: &[u8], out: &mut String) -> Result<(), IdError> {
    if bytes.len() > SHORT.0 {
        URL_SAFE_NO_PAD.encode_string(bytes, out);
        return Ok(());
    }
    // The above goes through a kilobyte of zeros each time, which takes longer than all the rest where the id is short.
    let mut text = [0; SHORT.1];
    let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).ok().and_then(|len| text.get(..len));
    out.push_str(utf8(written.ok_or(IdError("bytes that are no Base64"))?)?);
    Ok(())
}

fn utf8(text: &[u8]) -> Result<&str, IdError> {
    std::str::from_utf8(text).map_err(|_| IdError("text that is not UTF-8"))
}

fn numeric(bytes: &[u8], out: &mut String) -> Result<(), IdError> {
    let Some((last, first)) = bytes.split_last() else { return Err(IdError("a number without digits")) };
    let digit = |half: u8| match half {
        0..=9 => Ok(char::from(b'0' + half)),
        _ => Err(IdError("a number with something else than digits")),
    };
    out.reserve(bytes.len() * 2);
    for byte in first {
        out.push(digit(byte >> 4)?);
        out.push(digit(byte & 15)?);
    }
    out.push(digit(last >> 4)?);
    if last & 15 != 15 {
        out.push(digit(last & 15)?);
    }
    Ok(())
}

/// The bytes under which servers store `id`.
pub fn encode(id: &str) -> Vec<u8> {
    if !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) {
        let halves = |pair: &[u8]| match *pair {
            [high, low] => (high - b'0') << 4 | (low - b'0'),
            [high] => (high - b'0') << 4 | 15,
            _ => 0xff,
        };
        return std::iter::once(NUMERIC).chain(id.as_bytes().chunks(2).map(halves)).collect();
    }
    // The engine refuses what would not come back as it was.
    if let Ok(mut bytes) = URL_SAFE_NO_PAD.decode(id)
        && let Some(&first) = bytes.first()
    {
        if first >= BASE64_ESCAPE {
            bytes.insert(0, BASE64_ESCAPE);
        }
        return bytes;
    }
    [&[UTF8], id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stored_forms() {
        let cases: [(&str, &[u8]); 11] = [
            ("0", &[0xfe, 0x0f]),
            ("12", &[0xfe, 0x12]),
            ("007", &[0xfe, 0x00, 0x7f]),
            ("", &[0xff]),
            ("é", &[0xff, 0xc3, 0xa9]),
            ("a b", &[0xff, b'a', b' ', b'b']),
            // Five characters are never Base64; two are, if the last has no stray bits.
            ("abcde", &[0xff, b'a', b'b', b'c', b'd', b'e']),
            ("AQ", &[0x01]),
            ("AR", &[0xff, b'A', b'R']),
            ("_w", &[0xfd, 0xff]),
            ("-_8A", &[0xfb, 0xff, 0x00]),
        ];
        for (id, stored) in cases {
            assert_eq!(encode(id), stored, "{id}");
            assert_eq!(decode(stored).unwrap(), id);
        }
    }

    #[test]
    fn what_no_server_stores_is_an_error() {
        let cases: [&[u8]; 8] = [
            &[],
            &[0xfe],
            &[0xfe, 0xa0],
            &[0xfe, 0x1f, 0x12],
            &[0xfe, 0x1a],
            &[0xfd],
            &[0xfd, 0x00],
            &[0xff, 0xff],
        ];
        for stored in cases {
            assert!(decode(stored).is_err(), "{stored:x?}");
        }
    }

    proptest! {
        #[test]
        fn every_id_comes_back(id in prop_oneof!["[0-9]{1,20}", "[A-Za-z0-9_-]{0,24}", "[A-Za-z0-9_-]{60,70}", ".*"]) {
            let stored = encode(&id);
            prop_assert_eq!(decode(&stored).unwrap(), id);
        }

        #[test]
        fn any_bytes_are_an_id_or_an_error(bytes: Vec<u8>) {
            if let Ok(id) = decode(&bytes) {
                let stored = encode(&id);
                prop_assert_eq!(decode(&stored).unwrap(), id);
            }
        }
    }
}

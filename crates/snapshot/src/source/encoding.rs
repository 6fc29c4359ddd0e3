//! JSON in UTF-16 and UTF-32, which servers accept as well and store as it was sent.

use std::borrow::Cow;

use super::{Format, SourceError};

/// How the bytes of a text stand for its characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16(Endian),
    Utf32(Endian),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endian {
    Big,
    Little,
}

/// The text in UTF-8 and without a byte order mark; copied only where it is in another encoding. UTF-8 is not checked.
///
/// The encoding is told as the servers' parser does it: by the byte order mark, or by the place of the zero bytes in the first
/// character, which in JSON is one of ASCII.
pub(crate) fn to_utf8(bytes: &[u8]) -> Result<Cow<'_, [u8]>, SourceError> {
    let (encoding, mark) = detect(bytes);
    let text = &bytes[mark..];
    let (size, decoded) = match encoding {
        Encoding::Utf8 => return Ok(Cow::Borrowed(text)),
        Encoding::Utf16(endian) => (2, from_utf16(text, endian)),
        Encoding::Utf32(endian) => (4, from_utf32(text, endian)),
    };
    if let Ok(decoded) = decoded {
        return Ok(Cow::Owned(decoded.into_bytes()));
    }
    let detail = if size == 2 { "a text that is not UTF-16" } else { "a text that is not UTF-32" };
    Err(SourceError { format: Format::Json, offset: mark as u64, detail: detail.into() })
}

/// The encoding, and the length of the byte order mark.
fn detect(bytes: &[u8]) -> (Encoding, usize) {
    use Endian::{Big, Little};
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8, 3),
        [0, 0, 0xfe, 0xff, ..] => (Encoding::Utf32(Big), 4),
        [0xff, 0xfe, 0, 0, ..] => (Encoding::Utf32(Little), 4),
        [0xfe, 0xff, ..] => (Encoding::Utf16(Big), 2),
        [0xff, 0xfe, ..] => (Encoding::Utf16(Little), 2),
        [0, 0, 0, _, ..] => (Encoding::Utf32(Big), 0),
        [_, 0, 0, 0, ..] => (Encoding::Utf32(Little), 0),
        [0, _, ..] => (Encoding::Utf16(Big), 0),
        [_, 0, ..] => (Encoding::Utf16(Little), 0),
        _ => (Encoding::Utf8, 0),
    }
}

/// The text does not fit its encoding.
struct Malformed;

fn from_utf16(bytes: &[u8], endian: Endian) -> Result<String, Malformed> {
    let (units, []) = bytes.as_chunks::<2>() else { return Err(Malformed) };
    let units = units.iter().map(|unit| match endian {
        Endian::Big => u16::from_be_bytes(*unit),
        Endian::Little => u16::from_le_bytes(*unit),
    });
    char::decode_utf16(units).collect::<Result<_, _>>().map_err(|_| Malformed)
}

fn from_utf32(bytes: &[u8], endian: Endian) -> Result<String, Malformed> {
    let (units, []) = bytes.as_chunks::<4>() else { return Err(Malformed) };
    let units = units.iter().map(|unit| match endian {
        Endian::Big => u32::from_be_bytes(*unit),
        Endian::Little => u32::from_le_bytes(*unit),
    });
    units.map(char::from_u32).collect::<Option<_>>().ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_is_read_with_and_without_a_mark() {
        let text = "{\"a\":\"ü日🙂\n\"}";
        let marked = format!("\u{feff}{text}");
        for text in [text, &marked] {
            let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
            let utf32 =
                |bytes: fn(u32) -> [u8; 4]| text.chars().flat_map(|c| bytes(c as u32)).collect::<Vec<u8>>();
            for encoded in [
                text.as_bytes().to_vec(),
                utf16(u16::to_le_bytes),
                utf16(u16::to_be_bytes),
                utf32(u32::to_le_bytes),
                utf32(u32::to_be_bytes),
            ] {
                let decoded = to_utf8(&encoded).unwrap();
                assert_eq!(std::str::from_utf8(&decoded), Ok(text.trim_start_matches('\u{feff}')));
            }
        }
        for bad in [&b"{\0}"[..], b"{\0\x3d\xd8", b"{\0\0\0\0\0\x11\0", b"\0\0\0{\0"] {
            assert!(to_utf8(bad).is_err(), "{bad:x?}");
        }
    }
}

//! CBOR (RFC 8949) to JSON text, in the way of the servers' own parser.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::{Format, SourceError};
use crate::json::{self, Place, Writer};

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const BREAK: u8 = 0xff;

const TAG_BIG_POSITIVE: u64 = 2;
const TAG_BIG_NEGATIVE: u64 = 3;
const TAG_DECIMAL: u64 = 4;
const TAG_BIG_FLOAT: u64 = 5;
const TAG_STRING_REFERENCE: u64 = 25;
const TAG_SHAREABLE: u64 = 28;
const TAG_SHARED_REFERENCE: u64 = 29;
const TAG_STRING_REFERENCES: u64 = 256;

/// How many tags a value may carry.
const MOST_TAGS: usize = 16;

/// Appends the JSON of one CBOR value to `out`, which may grow to `limit` bytes.
pub(crate) fn to_json(bytes: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), SourceError> {
    let mut decoder = Decoder { cursor: Cursor::new(Format::Cbor, bytes, 0), open: Vec::new() };
    let mut writer = Writer::new(out, limit);
    loop {
        decoder.close(&mut writer)?;
        if writer.is_done() {
            break;
        }
        match writer.place() {
            Place::Name => decoder.name(&mut writer)?,
            _ => decoder.value(&mut writer)?,
        }
    }
    match decoder.cursor.peek() {
        None => Ok(()),
        Some(_) => Err(decoder.cursor.error("bytes after the end of the value")),
    }
}

/// The start of an item.
struct Head {
    major: u8,
    info: u8,
    /// The number that goes with it; `None` when the length is not known before.
    argument: Option<u64>,
}

struct Decoder<'a> {
    cursor: Cursor<'a>,
    /// For each array and map that is open, how many elements or pairs are still to come, where that is known.
    open: Vec<Option<u64>>,
}

impl<'a> Decoder<'a> {
    fn head(&mut self) -> Result<Head, SourceError> {
        let first = self.cursor.byte()?;
        let (major, info) = (first >> 5, first & 0x1f);
        let argument = match info {
            0..=23 => Some(u64::from(info)),
            24 => Some(u64::from(self.cursor.byte()?)),
            25 => Some(u64::from(u16::from_be_bytes(self.cursor.array()?))),
            26 => Some(u64::from(u32::from_be_bytes(self.cursor.array()?))),
            27 => Some(u64::from_be_bytes(self.cursor.array()?)),
            31 if matches!(major, BYTES | TEXT | ARRAY | MAP) => None,
            _ => return Err(self.cursor.error("a byte that starts no item")),
        };
        Ok(Head { major, info, argument })
    }

    /// Ends every array and map that is complete.
    fn close(&mut self, writer: &mut Writer<'_>) -> Result<(), SourceError> {
        while let Some(left) = self.open.last() {
            if writer.place() == Place::Member {
                break;
            }
            match left {
                Some(0) => {}
                None if self.cursor.peek() == Some(BREAK) => {
                    self.cursor.byte()?;
                }
                _ => break,
            }
            self.open.pop();
            writer.end().map_err(|e| self.cursor.refused(e))?;
        }
        Ok(())
    }

    /// Counts an element or a pair of the innermost array or map.
    fn count(&mut self) {
        if let Some(Some(left)) = self.open.last_mut() {
            *left = left.saturating_sub(1);
        }
    }

    fn name(&mut self, writer: &mut Writer<'_>) -> Result<(), SourceError> {
        self.count();
        let head = self.head()?;
        let name: Cow<'_, str> = match (head.major, head.argument) {
            (TEXT, _) => self.text(&head)?,
            (UNSIGNED, Some(n)) => n.to_string().into(),
            (NEGATIVE, Some(n)) => (-1 - i128::from(n)).to_string().into(),
            _ => return Err(self.cursor.error("a name that is neither text nor an integer")),
        };
        writer.name(&name).map_err(|e| self.cursor.refused(e))
    }

    fn value(&mut self, writer: &mut Writer<'_>) -> Result<(), SourceError> {
        if writer.place() == Place::Element {
            self.count();
        }
        let (tags, head) = self.tagged()?;
        let special = match tags.last() {
            Some(&(TAG_BIG_POSITIVE | TAG_BIG_NEGATIVE | TAG_DECIMAL | TAG_BIG_FLOAT)) => tags.last(),
            _ => None,
        };
        let written = match (head.major, head.argument) {
            (BYTES, _) => {
                let bytes = self.bytes(&head)?;
                match special {
                    Some(&TAG_BIG_POSITIVE) => writer.big_magnitude(false, &bytes),
                    Some(&TAG_BIG_NEGATIVE) => writer.big_magnitude(true, &bytes),
                    Some(_) => return Err(self.cursor.error("a tag for numbers on bytes")),
                    None => writer.binary(&bytes),
                }
            }
            (ARRAY, length) if special == Some(&TAG_DECIMAL) => {
                let (unscaled, exponent) = self.decimal(length)?;
                writer.big_decimal(&unscaled, exponent.wrapping_neg())
            }
            _ if special.is_some() => return Err(self.cursor.error("a tag for numbers on what is none")),
            (UNSIGNED, Some(n)) => writer.integer(i128::from(n)),
            (NEGATIVE, Some(n)) => writer.integer(-1 - i128::from(n)),
            (TEXT, _) => writer.string(&self.text(&head)?),
            (ARRAY, length) => {
                self.open.push(length);
                writer.begin_array()
            }
            (MAP, length) => {
                self.open.push(length);
                writer.begin_object()
            }
            (_, argument) => self.simple(head.info, argument, writer)?,
        };
        written.map_err(|e| self.cursor.refused(e))
    }

    /// The tags before an item, and the item's head. Tags that only describe are read over.
    fn tagged(&mut self) -> Result<(Vec<u64>, Head), SourceError> {
        let mut tags = Vec::new();
        loop {
            let head = self.head()?;
            match (head.major, head.argument) {
                (
                    TAG,
                    Some(TAG_STRING_REFERENCE | TAG_SHAREABLE | TAG_SHARED_REFERENCE | TAG_STRING_REFERENCES),
                ) => {
                    return Err(self.cursor.error("references within the document, which are not supported"));
                }
                (TAG, Some(tag)) if tags.len() < MOST_TAGS => tags.push(tag),
                (TAG, _) => return Err(self.cursor.error("too many tags on one value")),
                _ => return Ok((tags, head)),
            }
        }
    }

    /// The mantissa in decimal, and the exponent, of a decimal fraction.
    fn decimal(&mut self, length: Option<u64>) -> Result<(String, i64), SourceError> {
        if length != Some(2) {
            return Err(self.cursor.error("a decimal fraction that does not have two parts"));
        }
        let exponent = match self.head()? {
            Head { major: UNSIGNED, argument: Some(n), .. } => i64::try_from(n).ok(),
            Head { major: NEGATIVE, argument: Some(n), .. } => i64::try_from(n).ok().map(|n| -1 - n),
            _ => None,
        }
        .filter(|e| i32::try_from(*e).is_ok())
        .ok_or_else(|| self.cursor.error("a decimal fraction with an impossible exponent"))?;
        let (tags, head) = self.tagged()?;
        let mantissa = match (head.major, head.argument, tags.last()) {
            (UNSIGNED, Some(n), None) => n.to_string(),
            (NEGATIVE, Some(n), None) => (-1 - i128::from(n)).to_string(),
            (BYTES, _, Some(&tag @ (TAG_BIG_POSITIVE | TAG_BIG_NEGATIVE))) => {
                let bytes = self.bytes(&head)?;
                json::magnitude_text(tag == TAG_BIG_NEGATIVE, &bytes).map_err(|e| self.cursor.refused(e))?
            }
            _ => return Err(self.cursor.error("a decimal fraction without an integer")),
        };
        Ok((mantissa, exponent))
    }

    fn simple(
        &mut self,
        info: u8,
        argument: Option<u64>,
        writer: &mut Writer<'_>,
    ) -> Result<Result<(), json::Refused>, SourceError> {
        let bits = argument.unwrap_or_default();
        Ok(match info {
            20 => writer.literal("false"),
            21 => writer.literal("true"),
            22 | 23 => writer.literal("null"),
            25 => writer.float(half(bits as u16)),
            26 => writer.float(f32::from_bits(bits as u32)),
            27 => writer.double(f64::from_bits(bits)),
            _ => return Err(self.cursor.error("a simple value without a meaning")),
        })
    }

    fn text(&mut self, head: &Head) -> Result<Cow<'a, str>, SourceError> {
        match head.argument {
            Some(length) => {
                let bytes = self.cursor.take(length)?;
                Ok(Cow::Borrowed(self.cursor.utf8(bytes)?))
            }
            None => {
                let mut text = String::new();
                while let Some(piece) = self.piece(TEXT)? {
                    text.push_str(self.cursor.utf8(piece)?);
                }
                Ok(Cow::Owned(text))
            }
        }
    }

    fn bytes(&mut self, head: &Head) -> Result<Cow<'a, [u8]>, SourceError> {
        match head.argument {
            Some(length) => Ok(Cow::Borrowed(self.cursor.take(length)?)),
            None => {
                let mut bytes = Vec::new();
                while let Some(piece) = self.piece(BYTES)? {
                    bytes.extend_from_slice(piece);
                }
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// The next piece of a text or bytes whose length was not known before.
    fn piece(&mut self, major: u8) -> Result<Option<&'a [u8]>, SourceError> {
        if self.cursor.peek() == Some(BREAK) {
            self.cursor.byte()?;
            return Ok(None);
        }
        match self.head()? {
            Head { major: m, argument: Some(length), .. } if m == major => {
                Ok(Some(self.cursor.take(length)?))
            }
            _ => Err(self.cursor.error("a piece of another kind within a text or bytes")),
        }
    }
}

/// The value of a float of 16 bits.
fn half(bits: u16) -> f32 {
    let fraction = f32::from(bits & 0x3ff);
    let magnitude = match (bits >> 10) & 0x1f {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        exponent => (1024.0 + fraction) * 2f32.powi(i32::from(exponent) - 25),
    };
    if bits & 0x8000 != 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> Result<String, SourceError> {
        let mut out = Vec::new();
        to_json(bytes, &mut out, 1 << 20)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_examples_of_the_standard() {
        let cases: [(&[u8], &str); 37] = [
            (b"\x00", "0"),
            (b"\x17", "23"),
            (b"\x18\x18", "24"),
            (b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00", "18446744073709551616"),
            (b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", "-18446744073709551616"),
            (b"\xc3\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00", "-18446744073709551617"),
            (b"\x20", "-1"),
            (b"\x39\x03\xe7", "-1000"),
            (b"\xf9\x00\x00", "0.0"),
            (b"\xf9\x80\x00", "-0.0"),
            (b"\xf9\x3c\x00", "1.0"),
            (b"\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a", "1.1"),
            (b"\xf9\x3e\x00", "1.5"),
            (b"\xf9\x7b\xff", "65504.0"),
            (b"\xfa\x47\xc3\x50\x00", "100000.0"),
            (b"\xf9\x00\x01", "5.9604645e-8"),
            (b"\xf9\xc4\x00", "-4.0"),
            (b"\xf9\x7c\x00", "\"Infinity\""),
            (b"\xf9\x7e\x00", "\"NaN\""),
            (b"\xf9\xfc\x00", "\"-Infinity\""),
            (b"\xf4", "false"),
            (b"\xf6", "null"),
            (b"\xf7", "null"),
            (b"\xc0\x61a", "\"a\""),
            (b"\x44\x01\x02\x03\x04", "\"AQIDBA==\""),
            (b"\x64\xf0\x90\x85\x91", "\"\u{10151}\""),
            (b"\x80", "[]"),
            (b"\x83\x01\x82\x02\x03\x82\x04\x05", "[1,[2,3],[4,5]]"),
            (b"\xa0", "{}"),
            (b"\xa2\x01\x02\x20\x04", "{\"1\":2,\"-1\":4}"),
            (b"\xa2\x61a\x01\x61b\x82\x02\x03", "{\"a\":1,\"b\":[2,3]}"),
            (b"\x5f\x42\x01\x02\x43\x03\x04\x05\xff", "\"AQIDBAU=\""),
            (b"\x7f\x65strea\x64ming\xff", "\"streaming\""),
            (b"\x9f\x01\x82\x02\x03\x9f\x04\x05\xff\xff", "[1,[2,3],[4,5]]"),
            (b"\xbf\x61a\xa0\x61b\x9f\xff\xff", "{\"a\":{},\"b\":[]}"),
            // 273.15 as a decimal fraction
            (b"\xc4\x82\x21\x19\x6a\xb3", "273.15"),
        ];
        for (bytes, text) in cases {
            assert_eq!(json(bytes).as_deref(), Ok(text), "{bytes:x?}");
        }
        assert_eq!(json(b"\xd9\xd9\xf7\xa1\x61a\xc4\x82\x01\xc2\x41\x05").as_deref(), Ok("{\"a\":5E1}"));
    }

    #[test]
    fn damage_is_an_error() {
        let deep = vec![0x81u8; 5000];
        let cases: [&[u8]; 27] = [
            b"",
            b"\x18",
            b"\x1c",
            b"\x1f",
            b"\xff",
            b"\x81",
            b"\x81\xff",
            b"\x9f",
            b"\xa1\x61a",
            b"\xbf\x61a\xff",
            b"\xa1\x80\x01",
            b"\x61\xff",
            b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x7f\x41a\xff",
            b"\x7f\x7f\x61a\xff\xff",
            b"\x00\x00",
            b"\xf0",
            b"\xf8\x20",
            b"\xc2\x01",
            b"\xc4\x01",
            b"\xc5\x82\x01\x01",
            b"\xc4\x83\x01\x01\x01",
            b"\xd8\x19\x00",
            b"\xd9\x01\x00\x80",
            b"\xc6",
            b"\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0\x00",
            &deep,
        ];
        for bytes in cases {
            assert!(json(bytes).is_err(), "{bytes:x?}");
        }
    }
}

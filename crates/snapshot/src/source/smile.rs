//! SMILE, the binary JSON of the Jackson library, to JSON text.
//!
//! The encoding is specified at <https://github.com/FasterXML/smile-format-specification>.

use super::cursor::Cursor;
use super::{Format, SourceError};
use crate::json::{self, Place, Writer};

/// The first bytes of every SMILE document; a byte of version and flags follows.
pub(crate) const MAGIC: &[u8; 3] = b":)\n";

/// How many names, and how many strings, can be referred to; then the table starts anew.
const SHARED: usize = 1024;

/// What can be referred to.
type Shared<'a> = Vec<&'a str>;

fn share<'a>(table: &mut Shared<'a>, text: &'a str) {
    if table.len() >= SHARED {
        table.clear();
    }
    table.push(text);
}

/// Appends the JSON of one SMILE value to `out`, which may grow to `limit` bytes.
pub(crate) fn to_json(bytes: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), SourceError> {
    let mut decoder = Decoder::new(bytes)?;
    let mut writer = Writer::new(out, limit);
    while !writer.is_done() {
        match writer.place() {
            Place::Name => decoder.name(&mut writer)?,
            place => decoder.value(&mut writer, place)?,
        }
    }
    decoder.finish()
}

struct Decoder<'a> {
    cursor: Cursor<'a>,
    names: Option<Shared<'a>>,
    strings: Option<Shared<'a>>,
}

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, SourceError> {
        let mut cursor = Cursor::new(Format::Smile, bytes, 0);
        if cursor.take(3)? != MAGIC {
            return Err(Cursor::new(Format::Smile, bytes, 0).error("no SMILE header"));
        }
        let flags = cursor.byte()?;
        if flags >> 4 != 0 {
            return Err(cursor.error("a version of SMILE other than 0"));
        }
        Ok(Self { cursor, names: (flags & 1 != 0).then(Vec::new), strings: (flags & 2 != 0).then(Vec::new) })
    }

    /// Only the end marker may follow the value.
    fn finish(&mut self) -> Result<(), SourceError> {
        if self.cursor.peek() == Some(0xff) {
            self.cursor.byte()?;
        }
        match self.cursor.peek() {
            None => Ok(()),
            Some(_) => Err(self.cursor.error("bytes after the end of the value")),
        }
    }

    fn name(&mut self, writer: &mut Writer<'_>) -> Result<(), SourceError> {
        let token = self.cursor.byte()?;
        let name = match token {
            0x20 => "",
            0x30..=0x33 => {
                let index = usize::from(token & 3) << 8 | usize::from(self.cursor.byte()?);
                self.shared(self.names.as_ref(), index)?
            }
            0x34 => {
                let bytes = self.cursor.until(0xfc)?;
                self.new_name(bytes)?
            }
            0x40..=0x7f => self.shared(self.names.as_ref(), usize::from(token & 0x3f))?,
            0x80..=0xbf => self.short_name(u64::from(token & 0x3f) + 1)?,
            0xc0..=0xf7 => self.short_name(u64::from(token & 0x3f) + 2)?,
            0xfb => return writer.end().map_err(|e| self.cursor.refused(e)),
            _ => return Err(self.cursor.error("a byte that starts no name")),
        };
        writer.name(name).map_err(|e| self.cursor.refused(e))
    }

    fn short_name(&mut self, length: u64) -> Result<&'a str, SourceError> {
        let bytes = self.cursor.take(length)?;
        self.new_name(bytes)
    }

    /// A name that can be referred to from now on. Unlike strings, names can be of any length.
    fn new_name(&mut self, bytes: &'a [u8]) -> Result<&'a str, SourceError> {
        let name = self.cursor.utf8(bytes)?;
        if let Some(names) = &mut self.names {
            share(names, name);
        }
        Ok(name)
    }

    fn short_string(&mut self, length: u64) -> Result<&'a str, SourceError> {
        let bytes = self.cursor.take(length)?;
        let text = self.cursor.utf8(bytes)?;
        if let Some(strings) = &mut self.strings {
            share(strings, text);
        }
        Ok(text)
    }

    fn shared(&self, table: Option<&Shared<'a>>, index: usize) -> Result<&'a str, SourceError> {
        table
            .and_then(|t| t.get(index).copied())
            .ok_or_else(|| self.cursor.error("a reference to a text that was not there before"))
    }

    fn value(&mut self, writer: &mut Writer<'_>, place: Place) -> Result<(), SourceError> {
        let token = self.cursor.byte()?;
        let written = match token {
            0x01..=0x1f => writer.string(self.shared(self.strings.as_ref(), usize::from(token) - 1)?),
            0x20 => writer.string(""),
            0x21 => writer.literal("null"),
            0x22 => writer.literal("false"),
            0x23 => writer.literal("true"),
            0x24 | 0x25 => {
                let value = zigzag(self.vint()?);
                writer.integer(i128::from(value))
            }
            0x26 => {
                let bytes = self.seven_bit()?;
                writer.big_integer(&bytes)
            }
            0x28 => {
                let bits = self.sevens::<5>()?;
                let bits =
                    u32::try_from(bits).map_err(|_| self.cursor.error("a float of more than 32 bits"))?;
                writer.float(f32::from_bits(bits))
            }
            0x29 => {
                let bits = self.sevens::<10>()?;
                let bits =
                    u64::try_from(bits).map_err(|_| self.cursor.error("a double of more than 64 bits"))?;
                writer.double(f64::from_bits(bits))
            }
            0x2a => {
                let scale = zigzag(self.vint()?);
                let bytes = self.seven_bit()?;
                json::big_integer_text(&bytes).and_then(|unscaled| writer.big_decimal(&unscaled, scale))
            }
            0x40..=0x7f => writer.string(self.short_string(u64::from(token - 0x40) + 1)?),
            0x80..=0xbf => writer.string(self.short_string(u64::from(token - 0x80) + 2)?),
            0xc0..=0xdf => writer.integer(i128::from(zigzag(u64::from(token & 0x1f)))),
            0xe0 | 0xe4 => {
                let bytes = self.cursor.until(0xfc)?;
                writer.string(self.cursor.utf8(bytes)?)
            }
            0xe8 => {
                let bytes = self.seven_bit()?;
                writer.binary(&bytes)
            }
            0xec..=0xef => {
                let index = usize::from(token & 3) << 8 | usize::from(self.cursor.byte()?);
                writer.string(self.shared(self.strings.as_ref(), index)?)
            }
            0xf8 => writer.begin_array(),
            0xf9 if place == Place::Element => writer.end(),
            0xfa => writer.begin_object(),
            0xfd => {
                let length = self.vint()?;
                let bytes = self.cursor.take(length)?;
                writer.binary(bytes)
            }
            _ => return Err(self.cursor.error("a byte that starts no value")),
        };
        written.map_err(|e| self.cursor.refused(e))
    }

    /// Seven bits a byte, most significant first; the last byte has the high bit set and six bits.
    fn vint(&mut self) -> Result<u64, SourceError> {
        let mut value: u64 = 0;
        loop {
            let b = self.cursor.byte()?;
            let (bits, shift, last) = if b & 0x80 != 0 { (b & 0x3f, 6, true) } else { (b, 7, false) };
            if value >> (64 - shift) != 0 {
                return Err(self.cursor.error("an integer of more than 64 bits"));
            }
            value = value << shift | u64::from(bits);
            if last {
                return Ok(value);
            }
        }
    }

    /// The bits of a float: `N` bytes of seven bits.
    fn sevens<const N: usize>(&mut self) -> Result<u128, SourceError> {
        let mut bits = 0u128;
        for b in self.cursor.array::<N>()? {
            if b & 0x80 != 0 {
                return Err(self.cursor.error("a byte of more than seven bits in a number"));
            }
            bits = bits << 7 | u128::from(b);
        }
        Ok(bits)
    }

    /// Bytes that were spread over seven bits each.
    fn seven_bit(&mut self) -> Result<Vec<u8>, SourceError> {
        let length = self.vint()?;
        let (whole, rest) = (length / 7, length % 7);
        let stored = whole
            .checked_mul(8)
            .and_then(|n| n.checked_add(if rest > 0 { rest + 1 } else { 0 }))
            .ok_or_else(|| self.cursor.error("a length that reaches past the end"))?;
        let stored = self.cursor.take(stored)?;
        if stored.iter().any(|b| b & 0x80 != 0) {
            return Err(self.cursor.error("a byte of more than seven bits in binary data"));
        }
        let mut out = Vec::with_capacity(stored.len() / 8 * 7 + 7);
        for group in stored.chunks(8) {
            // All but the last byte of a group give their seven bits; the last gives what is still missing.
            let Some((last, first)) = group.split_last() else { continue };
            let missing = first.len() as u32;
            let high = first.iter().fold(0u64, |bits, b| bits << 7 | u64::from(*b));
            if u32::from(*last) >> missing != 0 {
                return Err(self.cursor.error("stray bits at the end of binary data"));
            }
            let bits = high << missing | u64::from(*last);
            out.extend_from_slice(&bits.to_be_bytes()[8 - first.len()..]);
        }
        Ok(out)
    }
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> Result<String, SourceError> {
        let mut out = Vec::new();
        to_json(bytes, &mut out, 1 << 20)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn body(flags: u8, body: &[u8]) -> Vec<u8> {
        [b":)\n".as_slice(), &[flags], body].concat()
    }

    #[test]
    fn every_kind_of_value() {
        let cases: Vec<(u8, Vec<u8>, &str)> = vec![
            (
                1,
                b"\xfa\x85number\x24\x32\x80\x85street\x52Pennsylvania Avenue\xfb".to_vec(),
                "{\"number\":1600,\"street\":\"Pennsylvania Avenue\"}",
            ),
            (1, vec![0xfa, 0x80, b'a', 0xfa, 0x40, 0xc1, 0xfb, 0xfb, 0xff], r#"{"a":{"a":-1}}"#),
            // A long name can be referred to, a long string cannot.
            (
                3,
                vec![
                    0xfa, 0x34, b'n', 0xfc, 0xe0, b'l', 0xfc, 0x80, b'm', 0x40, b's', 0x40, 0x01, 0x41, 0x01,
                    0xfb,
                ],
                r#"{"n":"l","m":"s","n":"s","m":"s"}"#,
            ),
            (3, vec![0xf8, 0x40, b'x', 0x01, 0xec, 0x00, 0xf9], r#"["x","x","x"]"#),
            (0, vec![0xf8, 0x20, 0x21, 0x22, 0x23, 0xc2, 0xdf, 0xf9], r#"["",null,false,true,1,-16]"#),
            (0, vec![0xe4, 0xc3, 0xa9, 0xfc], "\"é\""),
            (0, vec![0x80, 0xc3, 0xa9], "\"é\""),
            // 2.5 as a double, 0.1 as a float
            (0, vec![0x29, 0x00, 0x40, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00], "2.5"),
            (0, vec![0x28, 0x03, 0x6e, 0x33, 0x19, 0x4d], "0.1"),
            // BigInteger 1; BigDecimal 10 * 10^-1
            (0, vec![0x26, 0x81, 0x00, 0x01], "1"),
            (0, vec![0x2a, 0x82, 0x81, 0x05, 0x00], "1.0"),
            (0, vec![0xfd, 0x83, b'a', b'b', b'c'], "\"YWJj\""),
            // the same in the form of seven bits: "abc" = 0110000 1011000 1001100 011
            (0, vec![0xe8, 0x83, 0x30, 0x58, 0x4c, 0x03], "\"YWJj\""),
            (
                0,
                vec![0x25, 0x03, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0xbf],
                "-9223372036854775808",
            ),
        ];
        for (flags, bytes, text) in cases {
            let got = json(&body(flags, &bytes));
            assert_eq!(got.as_deref(), Ok(text), "{bytes:x?}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        let cases: Vec<Vec<u8>> = vec![
            vec![],
            b":)".to_vec(),
            b":(\n\x00\x21".to_vec(),
            body(0x10, &[0x21]),
            body(0, &[]),
            body(0, &[0x21, 0x21]),
            body(0, &[0xf9]),
            body(0, &[0xfa, 0xf9]),
            body(0, &[0xfa, 0x80, b'a', 0xfb]),
            body(0, &[0xf8, 0xfb]),
            body(0, &[0x01]),
            body(0, &[0xfa, 0x40, 0x21, 0xfb]),
            body(0, &[0xe0, b'a']),
            body(0, &[0xfd, 0x7f, 0x7f, 0x7f, 0xbf]),
            body(0, &[0xe8, 0x01, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0xbf]),
            body(0, &[0x24, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0xbf]),
            body(0, &[0x41, 0xff, 0xff]),
            body(0, &[0x27]),
            body(0, &vec![0xf8; 5000]),
        ];
        for bytes in cases {
            assert!(json(&bytes).is_err(), "{bytes:x?}");
        }
    }
}

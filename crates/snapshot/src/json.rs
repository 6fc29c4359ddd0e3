//! Writes JSON text piece by piece, within bounds of depth and size.

use base64::Engine as _;

/// How deep objects and arrays may lie in each other.
pub(crate) const MAX_DEPTH: usize = 1000;

/// How many bytes an integer of arbitrary size may take: turning one into digits costs the square of its length.
const MAX_INTEGER_BYTES: usize = 4096;

/// What the writer refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    TooDeep,
    TooLarge,
    IntegerTooLong,
    Misplaced,
}

impl Refused {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::TooDeep => "objects and arrays lie more than 1000 deep in each other",
            Self::TooLarge => "the document takes too much memory as JSON",
            Self::IntegerTooLong => "an integer of more than 4096 bytes",
            Self::Misplaced => "a value stands where none may stand",
        }
    }
}

type Result<T> = std::result::Result<T, Refused>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before or after the one value at the top.
    Top,
    /// In an array.
    Element,
    /// In an object, where a name must come.
    Name,
    /// In an object, where the value of a name must come.
    Member,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    object: bool,
    empty: bool,
    named: bool,
}

/// Appends one JSON value to a buffer.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
    frames: Vec<Frame>,
    done: bool,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `out` and lets it grow to `limit` bytes.
    pub(crate) fn new(out: &'a mut Vec<u8>, limit: usize) -> Self {
        Self { out, limit, frames: Vec::new(), done: false }
    }

    /// Whether the one value has been written completely.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// What may come next.
    pub(crate) fn place(&self) -> Place {
        match self.frames.last() {
            None => Place::Top,
            Some(f) if !f.object => Place::Element,
            Some(f) if f.named => Place::Member,
            Some(_) => Place::Name,
        }
    }

    /// Makes room for `more` bytes. Escapes may take more than that, but no more than a few times what the input has.
    fn room(&mut self, more: usize) -> Result<()> {
        let needed = self.out.len().saturating_add(more);
        if needed > self.limit {
            return Err(Refused::TooLarge);
        }
        if needed > self.out.capacity() {
            // What is large is not copied from one place to the next, each of which may stay in memory for a while. Room that is
            // not written to costs nothing.
            let doubled = self.out.capacity().saturating_mul(2).clamp(needed, self.limit);
            let capacity = if needed > self.limit / 8 { self.limit } else { doubled };
            self.out.reserve_exact(capacity - self.out.len());
        }
        Ok(())
    }

    /// `length` is that of the value, as far as it is known.
    fn before_value(&mut self, length: usize) -> Result<()> {
        // With a comma, and the quotes.
        self.room(length.saturating_add(3))?;
        match self.frames.last_mut() {
            None if self.done => Err(Refused::Misplaced),
            None => Ok(()),
            Some(f) if f.object => {
                if !f.named {
                    return Err(Refused::Misplaced);
                }
                f.named = false;
                Ok(())
            }
            Some(f) => {
                if !f.empty {
                    self.out.push(b',');
                }
                f.empty = false;
                Ok(())
            }
        }
    }

    fn after_value(&mut self) {
        self.done = self.frames.is_empty();
    }

    fn begin(&mut self, object: bool) -> Result<()> {
        self.before_value(1)?;
        if self.frames.len() >= MAX_DEPTH {
            return Err(Refused::TooDeep);
        }
        self.out.push(if object { b'{' } else { b'[' });
        self.frames.push(Frame { object, empty: true, named: false });
        Ok(())
    }

    pub(crate) fn begin_object(&mut self) -> Result<()> {
        self.begin(true)
    }

    pub(crate) fn begin_array(&mut self) -> Result<()> {
        self.begin(false)
    }

    /// Ends the innermost object or array.
    pub(crate) fn end(&mut self) -> Result<()> {
        match self.frames.pop() {
            Some(Frame { named: true, .. }) | None => Err(Refused::Misplaced),
            Some(frame) => {
                self.out.push(if frame.object { b'}' } else { b']' });
                self.after_value();
                Ok(())
            }
        }
    }

    pub(crate) fn name(&mut self, name: &str) -> Result<()> {
        self.room(name.len().saturating_add(4))?;
        match self.frames.last_mut() {
            Some(f) if f.object && !f.named => {
                if !f.empty {
                    self.out.push(b',');
                }
                f.empty = false;
                f.named = true;
                quote(self.out, name);
                self.out.push(b':');
                Ok(())
            }
            _ => Err(Refused::Misplaced),
        }
    }

    pub(crate) fn string(&mut self, text: &str) -> Result<()> {
        self.before_value(text.len())?;
        quote(self.out, text);
        self.after_value();
        Ok(())
    }

    /// `true`, `false`, `null`, or a number that is already JSON text.
    pub(crate) fn literal(&mut self, text: &str) -> Result<()> {
        self.before_value(text.len())?;
        self.out.extend_from_slice(text.as_bytes());
        self.after_value();
        Ok(())
    }

    /// An integer; wide enough for both signs of 64 bits.
    pub(crate) fn integer(&mut self, value: i128) -> Result<()> {
        self.literal(&value.to_string())
    }

    /// A double in the shortest text that reads back as the same; what is no number becomes a string, as servers do.
    pub(crate) fn double(&mut self, value: f64) -> Result<()> {
        match not_a_number(value) {
            Some(text) => self.string(text),
            None => self.display(&value),
        }
    }

    /// A float in the shortest text that reads back as the same float.
    pub(crate) fn float(&mut self, value: f32) -> Result<()> {
        match not_a_number(f64::from(value)) {
            Some(text) => self.string(text),
            None => self.display(&value),
        }
    }

    fn display(&mut self, value: &impl serde::Serialize) -> Result<()> {
        // A finite number always has a text; the writer is a vector, which takes everything.
        let text = serde_json::to_string(value).map_err(|_| Refused::Misplaced)?;
        self.literal(&text)
    }

    /// Bytes, in the Base64 that servers write.
    pub(crate) fn binary(&mut self, bytes: &[u8]) -> Result<()> {
        self.string(&base64::engine::general_purpose::STANDARD.encode(bytes))
    }

    /// An integer of any size from its two's complement, big-endian.
    pub(crate) fn big_integer(&mut self, bytes: &[u8]) -> Result<()> {
        let (negative, digits) = decimal(bytes)?;
        self.literal(&signed(negative, digits))
    }

    /// `magnitude` and then, if negative, minus one more: the big integers of CBOR.
    pub(crate) fn big_magnitude(&mut self, negative: bool, magnitude: &[u8]) -> Result<()> {
        self.literal(&magnitude_text(negative, magnitude)?)
    }

    /// `unscaled × 10^-scale`, exactly; `unscaled` is an integer in decimal text.
    pub(crate) fn big_decimal(&mut self, unscaled: &str, scale: i64) -> Result<()> {
        self.literal(&scaled(unscaled, scale))
    }
}

/// The decimal text of a two's complement, big-endian integer.
pub(crate) fn big_integer_text(bytes: &[u8]) -> Result<String> {
    let (negative, digits) = decimal(bytes)?;
    Ok(signed(negative, digits))
}

/// The decimal text of a CBOR big integer: `magnitude`, or `-1 - magnitude`.
pub(crate) fn magnitude_text(negative: bool, magnitude: &[u8]) -> Result<String> {
    if magnitude.len() > MAX_INTEGER_BYTES {
        return Err(Refused::IntegerTooLong);
    }
    let mut limbs = limbs_of(magnitude.iter().copied());
    if negative {
        add_one(&mut limbs);
    }
    Ok(signed(negative, digits_of(limbs)))
}

/// The shapes of a JSON number that says exactly `unscaled × 10^-scale`.
fn scaled(unscaled: &str, scale: i64) -> String {
    /// Longer than this, zeros are counted rather than written.
    const PLAIN: usize = 40;
    let (sign, digits) = match unscaled.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", unscaled),
    };
    match usize::try_from(scale) {
        Ok(0) => unscaled.to_owned(),
        Ok(scale) if scale < digits.len() => {
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
        Ok(scale) if scale <= PLAIN => format!("{sign}0.{digits:0>scale$}"),
        _ => format!("{sign}{digits}E{}", i128::from(scale).wrapping_neg()),
    }
}

fn not_a_number(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("Infinity")
    } else if value == f64::NEG_INFINITY {
        Some("-Infinity")
    } else {
        None
    }
}

fn signed(negative: bool, mut digits: String) -> String {
    if negative && digits != "0" {
        digits.insert(0, '-');
    }
    digits
}

fn decimal(bytes: &[u8]) -> Result<(bool, String)> {
    if bytes.len() > MAX_INTEGER_BYTES {
        return Err(Refused::IntegerTooLong);
    }
    let negative = bytes.first().is_some_and(|b| b & 0x80 != 0);
    let limbs = if negative {
        let mut limbs = limbs_of(bytes.iter().map(|b| !b));
        add_one(&mut limbs);
        limbs
    } else {
        limbs_of(bytes.iter().copied())
    };
    Ok((negative, digits_of(limbs)))
}

/// Big-endian bytes as little-endian limbs.
fn limbs_of(bytes: impl DoubleEndedIterator<Item = u8>) -> Vec<u32> {
    let mut limbs = Vec::new();
    for (i, byte) in bytes.rev().enumerate() {
        if i % 4 == 0 {
            limbs.push(0u32);
        }
        if let Some(last) = limbs.last_mut() {
            *last |= u32::from(byte) << (8 * (i % 4));
        }
    }
    limbs
}

fn add_one(limbs: &mut Vec<u32>) {
    for limb in limbs.iter_mut() {
        let (sum, carry) = limb.overflowing_add(1);
        *limb = sum;
        if !carry {
            return;
        }
    }
    limbs.push(1);
}

fn digits_of(mut limbs: Vec<u32>) -> String {
    const BILLION: u64 = 1_000_000_000;
    let mut groups = Vec::new();
    loop {
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        if limbs.is_empty() {
            break;
        }
        let mut rest = 0u64;
        for limb in limbs.iter_mut().rev() {
            let value = (rest << 32) | u64::from(*limb);
            // The quotient fits: the rest before was below the divisor.
            *limb = (value / BILLION) as u32;
            rest = value % BILLION;
        }
        groups.push(rest);
    }
    let mut text = groups.pop().unwrap_or(0).to_string();
    for group in groups.iter().rev() {
        text.push_str(&format!("{group:09}"));
    }
    text
}

/// Appends the escape of a control character.
pub(crate) fn push_control(out: &mut Vec<u8>, b: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match b {
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(b >> 4)]);
            out.push(HEX[usize::from(b & 15)]);
        }
    }
}

/// Appends `text` in quotes, with as few escapes as JSON needs.
pub(crate) fn quote(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (i, &b) in bytes.iter().enumerate() {
        if b >= 0x20 && b != b'"' && b != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[start..i]);
        start = i + 1;
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            _ => push_control(out, b),
        }
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn big_integers_are_exact() {
        let cases: [(&[u8], &str); 9] = [
            (&[], "0"),
            (&[0], "0"),
            (&[0x7f], "127"),
            (&[0x80], "-128"),
            (&[0xff], "-1"),
            (&[0x00, 0xff], "255"),
            (&[0x01, 0, 0, 0, 0, 0, 0, 0, 0], "18446744073709551616"),
            (&[0x80, 0, 0, 0, 0, 0, 0, 0], "-9223372036854775808"),
            (&[0x3b, 0x9a, 0xca, 0x00], "1000000000"),
        ];
        for (bytes, text) in cases {
            assert_eq!(big_integer_text(bytes).unwrap(), text, "{bytes:x?}");
        }
        assert_eq!(magnitude_text(true, &[0xff; 8]).unwrap(), "-18446744073709551616");
        assert_eq!(magnitude_text(false, &[]).unwrap(), "0");
        assert_eq!(big_integer_text(&[1; 4097]), Err(Refused::IntegerTooLong));
    }

    #[test]
    fn decimals_keep_every_digit() {
        let cases = [
            ("150", 2, "1.50"),
            ("-150", 2, "-1.50"),
            ("5", 3, "0.005"),
            ("-5", 1, "-0.5"),
            ("12", 0, "12"),
            ("12", -3, "12E3"),
            ("12", 1000, "12E-1000"),
            ("7", i64::MIN, "7E9223372036854775808"),
        ];
        for (unscaled, scale, text) in cases {
            assert_eq!(scaled(unscaled, scale), text);
            serde_json::from_str::<serde_json::Value>(text).unwrap();
        }
    }

    #[test]
    fn what_is_misplaced_is_refused() {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out, 1000);
        assert_eq!(w.end(), Err(Refused::Misplaced));
        assert_eq!(w.name("a"), Err(Refused::Misplaced));
        w.begin_object().unwrap();
        assert_eq!(w.string("a"), Err(Refused::Misplaced));
        w.name("a").unwrap();
        assert_eq!(w.name("a"), Err(Refused::Misplaced));
        w.begin_array().unwrap();
        w.double(1.0).unwrap();
        w.double(f64::NAN).unwrap();
        w.float(0.1).unwrap();
        w.integer(-5).unwrap();
        w.end().unwrap();
        w.end().unwrap();
        assert!(w.is_done());
        assert_eq!(w.literal("1"), Err(Refused::Misplaced));
        assert_eq!(out, br#"{"a":[1.0,"NaN",0.1,-5]}"#);
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out, 10_000);
        for _ in 0..MAX_DEPTH {
            w.begin_array().unwrap();
        }
        assert_eq!(w.begin_array(), Err(Refused::TooDeep));
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out, 100);
        w.begin_array().unwrap();
        for _ in 0..9 {
            w.string("abcdef").unwrap();
        }
        assert_eq!(w.string(&"x".repeat(30)), Err(Refused::TooLarge));
        assert!(out.capacity() <= 100);
    }

    proptest! {
        #[test]
        fn quoted_text_reads_back(text in ".*") {
            let mut out = Vec::new();
            quote(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn integers_agree_with_the_machine(value: i128) {
            prop_assert_eq!(big_integer_text(&value.to_be_bytes()).unwrap(), value.to_string());
        }
    }
}

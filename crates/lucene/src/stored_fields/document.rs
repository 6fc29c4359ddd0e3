//! A stored document: its fields one after another, each a number and kind, then the value.

use crate::input::{Endian, Input, zigzag32, zigzag64};
use crate::{Error, Result};

/// A document as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct StoredDocument<'a> {
    /// Its number in the segment.
    pub doc: u32,
    file: &'a str,
    field_count: u32,
    numbers: Numbers,
    bytes: &'a [u8],
}

/// How a format stores numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// In as few bytes as each needs; those of fixed width in this order.
    Variable(Endian),
    /// All in their full width, big-endian; Lucene 4.
    Fixed,
}

/// The value of a stored field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A string: UTF-8, as its writer promises. It is not checked here, since most strings are skipped or passed on.
    String(&'a [u8]),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A 32-bit integer.
    Int(i32),
    /// A 32-bit floating-point number.
    Float(f32),
    /// A 64-bit integer.
    Long(i64),
    /// A 64-bit floating-point number.
    Double(f64),
}

impl<'a> Value<'a> {
    /// The text of a string, or nothing when it is no string or no UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            Self::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The bytes of a string or of bytes.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::String(bytes) | Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl<'a> StoredDocument<'a> {
    pub(crate) fn new(file: &'a str, doc: u32, field_count: u32, numbers: Numbers, bytes: &'a [u8]) -> Self {
        Self { doc, file, field_count, numbers, bytes }
    }

    /// How many fields are stored.
    pub fn field_count(&self) -> u32 {
        self.field_count
    }

    /// The size of the stored document, uncompressed, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Its fields in stored order: the number of each and its value. Values borrow from the block. After the last field,
    /// an error when the document does not end there; after an error, nothing more.
    pub fn fields(&self) -> Fields<'a> {
        let (endian, fixed) = match self.numbers {
            Numbers::Variable(endian) => (endian, false),
            Numbers::Fixed => (Endian::Big, true),
        };
        let input = Input::new(self.file, self.bytes).with_endian(endian);
        Fields { doc: self.doc, input, fixed, left: self.field_count }
    }

    /// Shows each of [`Self::fields`] to `see`, until the first error.
    ///
    /// Faster than the iterator: results that may be errors are large and go through memory, which for a small document takes
    /// as long as all the rest.
    #[inline]
    pub fn try_for_each_field<E: From<Error>>(
        &self,
        mut see: impl FnMut(u32, Value<'a>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut fields = self.fields();
        while let Some(left) = fields.left.checked_sub(1) {
            fields.left = left;
            // Called in two places, so that what is usual stays in registers.
            if let Some((number, value)) = fields.usual_field() {
                see(number, value)?;
            } else {
                let (number, value) = fields.any_field()?;
                see(number, value)?;
            }
        }
        Ok(())
    }
}

/// The fields of a [`StoredDocument`].
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    doc: u32,
    input: Input<'a>,
    fixed: bool,
    left: u32,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.usual_field().map_or_else(|| self.any_field(), Ok))
    }
}

impl<'a> Fields<'a> {
    /// The next field, which is not among those left any more, if it is text or bytes as most are, and nothing is amiss; else
    /// nothing is read.
    #[inline]
    fn usual_field(&mut self) -> Option<(u32, Value<'a>)> {
        let mut input = self.input.clone();
        let number_and_kind = input.short()?;
        let bytes = input.short_bytes()?;
        if self.left == 0 && input.remaining() > 0 {
            return None;
        }
        let value = match number_and_kind & 7 {
            0 => Value::String(bytes),
            1 => Value::Bytes(bytes),
            _ => return None,
        };
        self.input = input;
        Some((number_and_kind >> 3, value))
    }

    /// The next field, which is not among those left any more, whatever it is.
    #[inline(never)]
    fn any_field(&mut self) -> Result<(u32, Value<'a>)> {
        let field = field(&mut self.input, self.fixed).and_then(|field| {
            if self.left == 0 {
                self.input.end()?;
            }
            Ok(field)
        });
        field.map_err(|e| {
            self.left = 0;
            self.in_document(e)
        })
    }

    /// The error of a document: offsets are those within it, since those in the file are of compressed bytes.
    #[cold]
    fn in_document(&self, e: Error) -> Error {
        let at = e.offset.unwrap_or_default();
        let message = format!("document {} at its byte {at}: {}", self.doc, e.message);
        Error { offset: None, message, ..e }
    }
}

fn field<'a>(input: &mut Input<'a>, fixed: bool) -> Result<(u32, Value<'a>)> {
    let number_and_kind = input.vlong()?;
    let number = u32::try_from(number_and_kind >> 3)
        .map_err(|_| input.corrupt("a field number of 32 bits", number_and_kind >> 3))?;
    let value = match number_and_kind & 7 {
        0 => Value::String(bytes(input)?),
        1 => Value::Bytes(bytes(input)?),
        2 if fixed => Value::Int(input.i32()?),
        3 if fixed => Value::Float(f32::from_bits(input.i32()?.cast_unsigned())),
        4 if fixed => Value::Long(input.i64()?),
        5 if fixed => Value::Double(f64::from_bits(input.i64()?.cast_unsigned())),
        2 => Value::Int(zigzag32(input.vint()?)),
        3 => Value::Float(float(input)?),
        4 => Value::Long(long(input)?),
        5 => Value::Double(double(input)?),
        other => return Err(input.corrupt("a kind of field of 0 to 5", other)),
    };
    Ok((number, value))
}

fn bytes<'a>(input: &mut Input<'a>) -> Result<&'a [u8]> {
    let length = input.vint()?;
    input.bytes(length as usize)
}

/// A float in 1 to 5 bytes: a small integer, a positive one without its sign bit, or after 0xff any.
fn float(input: &mut Input<'_>) -> Result<f32> {
    Ok(match input.u8()? {
        0xff => f32::from_bits(input.i32()?.cast_unsigned()),
        small @ 0x80.. => f32::from(small & 0x7f) - 1.0,
        first => {
            let middle = u32::from(input.i16()?.cast_unsigned());
            f32::from_bits(u32::from(first) << 24 | middle << 8 | u32::from(input.u8()?))
        }
    })
}

/// A double in 1 to 9 bytes: a small integer, a float after 0xfe, a positive one, or after 0xff any.
fn double(input: &mut Input<'_>) -> Result<f64> {
    Ok(match input.u8()? {
        0xff => f64::from_bits(input.i64()?.cast_unsigned()),
        0xfe => f64::from(f32::from_bits(input.i32()?.cast_unsigned())),
        small @ 0x80.. => f64::from(small & 0x7f) - 1.0,
        first => {
            let high = u64::from(input.i32()?.cast_unsigned());
            let low = u64::from(input.i16()?.cast_unsigned());
            f64::from_bits(u64::from(first) << 56 | high << 24 | low << 8 | u64::from(input.u8()?))
        }
    })
}

/// A long in 1 to 10 bytes: the two highest bits of the first say which unit of time it counts, since most are times.
fn long(input: &mut Input<'_>) -> Result<i64> {
    let head = input.u8()?;
    let mut bits = u64::from(head & 0x1f);
    if head & 0x20 != 0 {
        bits |= input.vlong()? << 5;
    }
    let unit = match head >> 6 {
        0 => 1,
        1 => 1000,
        2 => 60 * 60 * 1000,
        _ => 24 * 60 * 60 * 1000,
    };
    Ok(zigzag64(bits).wrapping_mul(unit))
}

#[cfg(test)]
mod tests;

//! Reads a large JSON object piece by piece, so that memory depends on its largest part and not on its length.
//!
//! The root of a repository with hundreds of snapshots of thousands of indices has hundreds of megabytes, nearly all of
//! which is about other snapshots. It is one object, whose members are lists and objects of many small values. This
//! splits it into those values, two levels deep, and hands each one to a [`Visitor`], which parses it with serde and
//! keeps what it needs. Only the values of the third level are ever in memory whole.
//!
//! Serde can also read from [`std::io::Read`], but that takes ten times as long as from a slice, and would need a
//! thread of its own beside an asynchronous source.

use std::borrow::Cow;

use serde::Deserialize;

use crate::error::{Error, Result};

/// What kind of value a member of the outermost object has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An object; its members are handed over one by one.
    Object,
    /// A list; its elements are handed over one by one.
    Array,
    /// Anything else; it is handed over whole.
    Scalar,
}

/// Takes the values of the second level.
pub(super) trait Visitor {
    /// A member of the outermost object begins.
    fn begin(&mut self, member: &str, kind: Kind) -> std::result::Result<(), String>;

    /// Parses one value, with [`Value::parse`] exactly once.
    fn value(&mut self, member: &str, value: &mut Value<'_>) -> Taken<()>;

    /// A member is complete. Returns whether the rest is not needed.
    fn end(&mut self, member: &str) -> bool;
}

/// Why a value was not taken.
#[derive(Debug)]
pub(super) enum Stop {
    /// Its end has not arrived yet.
    Incomplete,
    /// It is not what was expected.
    Invalid {
        /// Bytes of it before the fault.
        offset: usize,
        /// What was expected.
        detail: String,
    },
}

/// A value, or why it was not taken.
pub(super) type Taken<T> = std::result::Result<T, Stop>;

impl Stop {
    /// The same, where the value began after so many bytes.
    fn after(self, bytes: usize) -> Self {
        match self {
            Self::Invalid { offset, detail } => Self::Invalid { offset: offset + bytes, detail },
            Self::Incomplete => Self::Incomplete,
        }
    }
}

impl From<String> for Stop {
    fn from(detail: String) -> Self {
        Self::Invalid { offset: 0, detail }
    }
}

/// A value that is to be parsed.
pub(super) struct Value<'a> {
    /// Its name, if it is a member of an object.
    pub(super) key: Option<Cow<'a, str>>,
    /// Where it begins in the file.
    pub(super) offset: u64,
    bytes: &'a [u8],
    last: bool,
    parsed: usize,
}

impl<'a> Value<'a> {
    /// Parses the value.
    pub(super) fn parse<T: Deserialize<'a>>(&mut self) -> Taken<T> {
        let (value, length) = parse(self.bytes, self.last)?;
        self.parsed = length;
        Ok(value)
    }

    /// How many bytes the parsed value has.
    pub(super) fn len(&self) -> usize {
        self.parsed
    }
}

/// The value at the start of `bytes`, and its length.
fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], last: bool) -> Taken<(T, usize)> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<T>();
    match values.next() {
        None if last => Err(Stop::from("it is cut off".to_owned())),
        None => Err(Stop::Incomplete),
        Some(Ok(value)) => {
            let length = values.byte_offset();
            // A number may go on in the bytes to come.
            if length == bytes.len()
                && !last
                && !bytes.ends_with(b"\"")
                && !bytes.ends_with(b"}")
                && !bytes.ends_with(b"]")
            {
                return Err(Stop::Incomplete);
            }
            Ok((value, length))
        }
        Some(Err(error)) => {
            let offset = offset_of(bytes, error.line(), error.column());
            // What looks wrong at the very end may be cut off there.
            if !last && (error.is_eof() || offset + 1 >= bytes.len()) {
                return Err(Stop::Incomplete);
            }
            let text = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            let detail = text.strip_suffix(&place).unwrap_or(&text).to_owned();
            Err(Stop::Invalid { offset, detail })
        }
    }
}

/// The offset of a line and column, both from one.
fn offset_of(bytes: &[u8], line: usize, column: usize) -> usize {
    let before =
        bytes.split_inclusive(|b| *b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum::<usize>();
    (before + column.saturating_sub(1)).min(bytes.len())
}

/// What must come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The outermost object.
    Start,
    /// A member of the outermost object, or its end where one may come.
    Member { first: bool },
    /// A value of the present member, or the member's end.
    Inner { kind: Kind, first: bool },
    /// What follows a member.
    AfterMember,
    /// Nothing.
    End,
}

/// Splits an object that arrives in pieces.
#[derive(Debug)]
pub(super) struct Members {
    file: String,
    /// Bytes that have arrived and are not parsed.
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    offset: u64,
    place: Place,
    /// The present member.
    member: String,
    /// How long the buffer has to be before its first value is tried again.
    retry: usize,
    /// How long a value may be.
    limit: usize,
}

impl Members {
    /// Reads an object from its first byte on. No value may be longer than `limit`.
    pub(super) fn new(file: &str, limit: usize) -> Self {
        Self {
            file: file.to_owned(),
            buffer: Vec::new(),
            offset: 0,
            place: Place::Start,
            member: String::new(),
            retry: 0,
            limit,
        }
    }

    /// Reads the rest of an object from `offset` on, where a member has just ended: see [`Self::position`].
    pub(super) fn after_member(file: &str, limit: usize, offset: u64) -> Self {
        Self { offset, place: Place::AfterMember, ..Self::new(file, limit) }
    }

    /// How many bytes of the file have been parsed.
    pub(super) fn position(&self) -> u64 {
        self.offset
    }

    /// Parses the next bytes. Returns whether the visitor needs no more.
    pub(super) fn feed(&mut self, bytes: &[u8], visitor: &mut impl Visitor) -> Result<bool> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < self.retry {
            return Ok(false);
        }
        self.run(visitor, false)
    }

    /// Parses what is left, which must be the end.
    pub(super) fn finish(&mut self, visitor: &mut impl Visitor) -> Result<()> {
        if self.run(visitor, true)? || self.place == Place::End {
            return Ok(());
        }
        Err(Error::corrupt_at(&self.file, self.offset + self.buffer.len() as u64, "it is cut off"))
    }

    fn run(&mut self, visitor: &mut impl Visitor, last: bool) -> Result<bool> {
        let buffer = std::mem::take(&mut self.buffer);
        let (mut at, base) = (0, self.offset);
        let stopped = loop {
            at += buffer[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
            if at == buffer.len() {
                break Ok(false);
            }
            match self.step(&buffer[at..], base + at as u64, visitor, last) {
                Ok((length, stop)) => {
                    at += length;
                    if stop {
                        break Ok(true);
                    }
                }
                Err(Stop::Incomplete) => break Ok(false),
                Err(Stop::Invalid { offset, detail }) => {
                    break Err(Error::corrupt_at(&self.file, base + (at + offset) as u64, detail));
                }
            }
        };
        self.offset = base + at as u64;
        self.buffer = buffer;
        self.buffer.drain(..at);
        // A value is tried again only when twice as much of it is there: so the time that a long one takes stays
        // proportional to its length.
        self.retry = self.buffer.len() * 2;
        match stopped {
            Ok(false) if self.buffer.len() > self.limit => {
                Err(Error::TooLarge { file: self.file.clone(), limit: self.limit as u64 })
            }
            other => other,
        }
    }

    /// Parses one thing at the start of `bytes`, which are not empty; its length, and whether no more is needed.
    fn step(
        &mut self,
        bytes: &[u8],
        offset: u64,
        visitor: &mut impl Visitor,
        last: bool,
    ) -> Taken<(usize, bool)> {
        let first_byte = bytes.first().copied().unwrap_or_default();
        match self.place {
            Place::Start if first_byte == b'{' => self.place = Place::Member { first: true },
            Place::Start => return Err(Stop::from("an object was expected".to_owned())),
            Place::Member { first: true } | Place::AfterMember if first_byte == b'}' => {
                self.place = Place::End
            }
            Place::AfterMember if first_byte == b',' => self.place = Place::Member { first: false },
            Place::AfterMember => {
                return Err(Stop::from("a comma or the end of the object was expected".to_owned()));
            }
            Place::End => return Err(Stop::from("nothing was expected after the object".to_owned())),
            Place::Member { .. } => return self.member(bytes, offset, visitor, last),
            Place::Inner { kind, first } => return self.inner(bytes, offset, visitor, last, kind, first),
        }
        Ok((1, false))
    }

    /// The name of a member and, unless it is split, its value.
    fn member(
        &mut self,
        bytes: &[u8],
        offset: u64,
        visitor: &mut impl Visitor,
        last: bool,
    ) -> Taken<(usize, bool)> {
        let (name, value) = name(bytes, last)?;
        let kind = match bytes.get(value) {
            None => return Err(Stop::Incomplete),
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(_) => Kind::Scalar,
        };
        if kind == Kind::Scalar {
            let length = hand_over(visitor, &name, None, &bytes[value..], offset + value as u64, last, true)
                .map_err(|stop| stop.after(value))?;
            self.place = Place::AfterMember;
            return Ok((value + length, visitor.end(&name)));
        }
        visitor.begin(&name, kind)?;
        self.member = name.into_owned();
        self.place = Place::Inner { kind, first: true };
        Ok((value + 1, false))
    }

    /// A value of the present member, or the member's end.
    fn inner(
        &mut self,
        bytes: &[u8],
        offset: u64,
        visitor: &mut impl Visitor,
        last: bool,
        kind: Kind,
        first: bool,
    ) -> Taken<(usize, bool)> {
        let close = if kind == Kind::Object { b'}' } else { b']' };
        if bytes.first() == Some(&close) {
            self.place = Place::AfterMember;
            return Ok((1, visitor.end(&self.member)));
        }
        let mut at = 0;
        if !first {
            if bytes.first() != Some(&b',') {
                return Err(Stop::from(format!("a comma or {:?} was expected", char::from(close))));
            }
            at = 1 + bytes[1..].iter().take_while(|b| b.is_ascii_whitespace()).count();
        }
        let mut key = None;
        if kind == Kind::Object {
            let (name, value) = name(&bytes[at..], last).map_err(|stop| stop.after(at))?;
            key = Some(name);
            at += value;
        }
        let length = hand_over(visitor, &self.member, key, &bytes[at..], offset + at as u64, last, false)
            .map_err(|stop| stop.after(at))?;
        self.place = Place::Inner { kind, first: false };
        Ok((at + length, false))
    }
}

/// Lets the visitor parse a value; its length.
fn hand_over<'a>(
    visitor: &mut impl Visitor,
    member: &str,
    key: Option<Cow<'a, str>>,
    bytes: &'a [u8],
    offset: u64,
    last: bool,
    scalar: bool,
) -> Taken<usize> {
    if bytes.is_empty() && !last {
        return Err(Stop::Incomplete);
    }
    let mut value = Value { key, offset, bytes, last, parsed: 0 };
    if scalar {
        // Whether the value is complete comes first: the visitor is asked once.
        value.parse::<serde::de::IgnoredAny>()?;
        visitor.begin(member, Kind::Scalar)?;
    }
    visitor.value(member, &mut value)?;
    Ok(value.parsed)
}

/// A name at the start of `bytes`, and where the value after its colon begins.
fn name(bytes: &[u8], last: bool) -> Taken<(Cow<'_, str>, usize)> {
    #[derive(Deserialize)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
    let (Name(name), mut at) = parse(bytes, last)?;
    let blank = |at: usize| bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
    at += blank(at);
    match bytes.get(at) {
        Some(b':') => at += 1,
        Some(_) => return Err(Stop::Invalid { offset: at, detail: "a colon was expected".to_owned() }),
        None if last => return Err(Stop::Invalid { offset: at, detail: "it is cut off".to_owned() }),
        None => return Err(Stop::Incomplete),
    }
    Ok((name, at + blank(at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    /// Writes down all that it is given.
    #[derive(Default)]
    struct Recorder(Vec<String>);

    impl Visitor for Recorder {
        fn begin(&mut self, member: &str, kind: Kind) -> std::result::Result<(), String> {
            self.0.push(format!("{member} {kind:?}"));
            Ok(())
        }

        fn value(&mut self, member: &str, value: &mut Value<'_>) -> Taken<()> {
            let raw: &RawValue = value.parse()?;
            let key = value.key.as_deref().map(|key| format!(" {key:?}")).unwrap_or_default();
            self.0.push(format!("{member}{key} @{} {}", value.offset, raw.get()));
            Ok(())
        }

        fn end(&mut self, member: &str) -> bool {
            self.0.push(format!("{member} ends"));
            member == "stop"
        }
    }

    /// What a recorder gets of a text that arrives in pieces of this size.
    fn read(text: &str, piece: usize) -> Result<Vec<String>> {
        let mut recorder = Recorder::default();
        let mut members = Members::new("f", 1000);
        for piece in text.as_bytes().chunks(piece) {
            if members.feed(piece, &mut recorder)? {
                return Ok(recorder.0);
            }
        }
        members.finish(&mut recorder)?;
        Ok(recorder.0)
    }

    const TEXT: &str = " { \"a\" : [ 1 , {\"x\":[2]}, \"\\\"]\" ] ,\"b\":{\"k\\u0031\": 12, \"ö\":{} }, \"c\":-1.5e3,\n\
                        \"d\":null,\"e\":[],\"f\":{}}";

    #[test]
    fn values_of_the_second_level_are_handed_over_one_by_one() {
        let all = read(TEXT, TEXT.len()).unwrap();
        let expected = [
            "a Array",
            "a @11 1",
            "a @15 {\"x\":[2]}",
            "a @26 \"\\\"]\"",
            "a ends",
            "b Object",
            "b \"k1\" @51 12",
            "b \"ö\" @60 {}",
            "b ends",
            "c Scalar",
            "c @70 -1.5e3",
            "c ends",
            "d Scalar",
            "d @82 null",
            "d ends",
            "e Array",
            "e ends",
            "f Object",
            "f ends",
        ];
        assert_eq!(all, expected);
        for piece in 1..TEXT.len() {
            assert_eq!(read(TEXT, piece).unwrap(), expected, "in pieces of {piece} bytes");
        }
        assert_eq!(
            read("{\"stop\":{\"a\":1},\"b\":2}", 4).unwrap(),
            ["stop Object", "stop \"a\" @13 1", "stop ends"]
        );
    }

    #[test]
    fn a_reader_can_go_on_after_a_member() {
        let text = "{\"stop\":[1],\"b\":[2]}";
        let mut members = Members::new("f", 1000);
        assert!(members.feed(text.as_bytes(), &mut Recorder::default()).unwrap());
        let at = members.position();
        let mut recorder = Recorder::default();
        let mut rest = Members::after_member("f", 1000, at);
        rest.feed(&text.as_bytes()[usize::try_from(at).unwrap()..], &mut recorder).unwrap();
        rest.finish(&mut recorder).unwrap();
        assert_eq!(recorder.0, ["b Array", "b @17 2", "b ends"]);
    }

    #[test]
    fn what_is_no_object_is_refused_at_its_place() {
        for (text, offset, detail) in [
            ("", 0, "cut off"),
            ("[]", 0, "an object was expected"),
            ("{\"a\":[1,]}", 8, "expected value"),
            ("{\"a\":[1 2]}", 8, "a comma or ']'"),
            ("{\"a\":{\"b\" 1}}", 10, "a colon"),
            ("{\"a\":1 \"b\":2}", 7, "a comma or the end"),
            ("{\"a\":1,}", 7, "expected value"),
            ("{\"a\":1}}", 7, "nothing was expected"),
            ("{\"a\":[1", 7, "cut off"),
            ("{\"a\":tru}", 8, "expected ident"),
        ] {
            for piece in [1, 3, 100] {
                let Err(Error::Corrupt { offset: at, detail: found, .. }) = read(text, piece) else {
                    panic!("{text} is taken");
                };
                assert!(
                    found.contains(detail) && at == Some(offset),
                    "{text} in pieces of {piece}: {at:?} {found}"
                );
            }
        }
    }

    #[test]
    fn a_value_may_not_be_longer_than_the_limit() {
        let text = format!("{{\"a\":[\"{}\"]}}", "x".repeat(5000));
        assert_eq!(read(&text, 64), Err(Error::TooLarge { file: "f".into(), limit: 1000 }));
    }

    proptest! {
        #[test]
        fn any_text_is_the_same_whole_and_in_pieces(text in "[{}\\[\\]:,\"a1 ]{0,40}", piece in 1usize..10) {
            let whole = read(&text, 1000);
            let pieces = read(&text, piece);
            prop_assert_eq!(whole.is_ok(), pieces.is_ok());
            if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
                prop_assert_eq!(whole, pieces);
            }
        }
    }
}

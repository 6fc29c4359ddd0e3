//! Cuts the answer to a bulk request into its items as it arrives.
//!
//! An answer has an item for each document, and each item may have an error as long as the target pleases, so an answer is
//! never kept whole. A lexer that knows no more of JSON than strings and brackets follows the bytes. It hands out one
//! complete item at a time, and shortens long strings on the way. What is around the items, the frame, is kept and parsed at
//! the end, so that an answer that breaks off or is no JSON is never taken for a complete one.

use memchr::memchr2;
use serde::Deserialize;

/// Bytes of a string that are kept. No name is longer, and hardly any reason.
const MAX_STRING: usize = 8 << 10;
/// Bytes of an item with its strings shortened, at most.
const MAX_ITEM: usize = 64 << 10;
/// Bytes of everything but the items, at most.
const MAX_FRAME: usize = 64 << 10;

/// Why an answer cannot be cut into items.
#[derive(Debug)]
pub(super) enum Fault {
    /// The frame is not JSON of the right form.
    Frame(serde_json::Error),
    /// Something in the list of items is not an item.
    NoItem,
    /// An item, or everything around the items, is longer than makes sense.
    TooLong,
}

/// Where in the answer the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Outside the list of items.
    Frame,
    /// At the beginning of the list: an item or its end follows.
    Begin,
    /// In an item.
    Item,
    /// After an item: a comma or the end of the list follows.
    Between,
    /// After a comma: an item follows.
    Comma,
}

/// A part of an answer that is handed out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    /// An item, with its long strings cut.
    Item(&'a [u8]),
    /// What is an item if it is JSON.
    Guess(&'a [u8]),
}

/// Cuts after the first `}}`, unless strings up to there might have to be cut.
fn guess(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let head = &part[..part.len().min(MAX_STRING)];
    let end = memchr::memchr_iter(b'}', head).find(|at| head.get(at + 1) == Some(&b'}'))?;
    Some(part.split_at(end + 2))
}

/// Takes an answer part by part.
#[derive(Debug)]
pub(super) struct Splitter {
    place: Place,
    lexer: Lexer,
    frame: Vec<u8>,
    item: Vec<u8>,
    /// Whether the list of items has begun, and perhaps ended.
    listed: bool,
}

impl Splitter {
    pub(super) fn new() -> Splitter {
        let (frame, item) = (Vec::new(), Vec::new());
        Splitter { place: Place::Frame, lexer: Lexer::default(), frame, item, listed: false }
    }

    /// Takes the next part of the answer, and hands each item that it completes to `each`.
    ///
    /// Most items end at their first `}}` and lie in one part, so such a piece is handed out before the lexer has looked at
    /// it: [`Piece::Guess`]. If it is JSON, it is the whole item, because no beginning of a JSON object is one itself. If it
    /// is none, `each` returns `false`, and the item comes again when the lexer has found its end.
    pub(super) fn push<E: From<Fault>>(
        &mut self,
        mut part: &[u8],
        mut each: impl FnMut(Piece<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        while let Some((&byte, rest)) = part.split_first() {
            match self.place {
                Place::Frame => {
                    let bracket;
                    (part, bracket) = self.lexer.copy(part, &mut self.frame);
                    if self.frame.len() > MAX_FRAME {
                        return Err(Fault::TooLong.into());
                    }
                    if bracket == Some(b'[') && self.lexer.depth == 2 && !self.listed && self.at_items() {
                        (self.place, self.listed) = (Place::Begin, true);
                    }
                }
                Place::Item => {
                    let bracket;
                    (part, bracket) = self.lexer.copy(part, &mut self.item);
                    if self.item.len() > MAX_ITEM {
                        return Err(Fault::TooLong.into());
                    }
                    if bracket.is_some() && self.lexer.depth == 0 {
                        each(Piece::Item(&self.item))?;
                        self.item.clear();
                        self.place = Place::Between;
                    }
                }
                Place::Begin | Place::Between | Place::Comma => {
                    if byte == b'{'
                        && self.place != Place::Between
                        && let Some((guess, after)) = guess(part)
                        && each(Piece::Guess(guess))?
                    {
                        (self.place, part) = (Place::Between, after);
                        continue;
                    }
                    self.place = match (self.place, byte) {
                        (place, b' ' | b'\n' | b'\r' | b'\t') => place,
                        (Place::Begin | Place::Comma, b'{') => {
                            (self.place, self.lexer.depth) = (Place::Item, 0);
                            continue;
                        }
                        (Place::Between, b',') => Place::Comma,
                        (Place::Begin | Place::Between, b']') => {
                            self.frame.push(b']');
                            self.lexer.depth = 1;
                            Place::Frame
                        }
                        _ => return Err(Fault::NoItem.into()),
                    };
                    part = rest;
                }
            }
        }
        Ok(())
    }

    /// Whether the bracket at the end of the frame opens the member `items`.
    fn at_items(&self) -> bool {
        let name = || {
            let frame = self.frame.strip_suffix(b"[")?.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
            Some(frame.strip_suffix(b"\"items\"")?.trim_ascii_end())
        };
        name().is_some_and(|before| before.ends_with(b"{") || before.ends_with(b","))
    }

    /// Checks that the answer is complete.
    pub(super) fn finish(self) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Frame {
            #[serde(rename = "items")]
            _items: [(); 0],
        }
        // An answer that ends within the items leaves a frame that is no JSON.
        serde_json::from_slice::<Frame>(&self.frame).map(drop).map_err(Fault::Frame)
    }
}

/// Follows brackets and strings.
#[derive(Debug, Default)]
struct Lexer {
    depth: u32,
    string: Option<Text>,
}

/// A string that has begun.
#[derive(Debug, Default)]
struct Text {
    /// Bytes of it that were kept.
    kept: usize,
    /// Bytes that still belong to an escape.
    escape: u8,
    /// Whether the rest of it is left out.
    cut: bool,
}

impl Lexer {
    /// Copies until after the next bracket outside of strings; returns what follows, and the bracket, if one came.
    fn copy<'a>(&mut self, mut part: &'a [u8], out: &mut Vec<u8>) -> (&'a [u8], Option<u8>) {
        while !part.is_empty() {
            if let Some(text) = &mut self.string {
                let ended;
                (part, ended) = text.copy(part, out);
                if ended {
                    self.string = None;
                }
                continue;
            }
            let next = part.iter().position(|b| matches!(b, b'"' | b'{' | b'}' | b'[' | b']'));
            let Some(at) = next else {
                out.extend_from_slice(part);
                break;
            };
            out.extend_from_slice(&part[..=at]);
            let byte = part[at];
            part = &part[at + 1..];
            match byte {
                b'"' => self.string = Some(Text::default()),
                b'{' | b'[' => {
                    self.depth = self.depth.saturating_add(1);
                    return (part, Some(byte));
                }
                _ => {
                    self.depth = self.depth.saturating_sub(1);
                    return (part, Some(byte));
                }
            }
        }
        (&[], None)
    }
}

impl Text {
    /// Copies up to and including the quote at the end, but leaves out what is too long; returns what follows, and whether
    /// the end came.
    fn copy<'a>(&mut self, mut part: &'a [u8], out: &mut Vec<u8>) -> (&'a [u8], bool) {
        while let Some((&first, rest)) = part.split_first() {
            if self.escape > 0 {
                self.escape = if self.escape == 1 && first == b'u' && out.last() == Some(&b'\\') && !self.cut
                {
                    4
                } else {
                    self.escape - 1
                };
                self.keep(&[first], out);
                part = rest;
                continue;
            }
            let end = memchr2(b'"', b'\\', part).unwrap_or(part.len());
            let (plain, rest) = part.split_at(end);
            self.plain(plain, out);
            let Some((&byte, rest)) = rest.split_first() else { return (&[], false) };
            part = rest;
            if byte == b'"' {
                out.push(byte);
                return (part, true);
            }
            // Half of a surrogate pair would be no JSON.
            self.cut |= self.kept >= MAX_STRING && !ends_with_high_surrogate(out);
            self.escape = 1;
            self.keep(&[byte], out);
        }
        (&[], false)
    }

    fn plain(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let room = MAX_STRING.saturating_sub(self.kept);
        if self.cut || plain.len() <= room {
            return self.keep(plain, out);
        }
        // A character is not cut in two.
        let rest = plain.get(room..).unwrap_or_default();
        let more = rest.iter().position(|b| b & 0xc0 != 0x80);
        self.keep(&plain[..room + more.unwrap_or(rest.len())], out);
        self.cut = more.is_some();
    }

    fn keep(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if !self.cut {
            out.extend_from_slice(bytes);
            self.kept += bytes.len();
        }
    }
}

fn ends_with_high_surrogate(text: &[u8]) -> bool {
    matches!(text, [.., b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', _, _])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[derive(Debug)]
    struct Failed;

    impl From<Fault> for Failed {
        fn from(_: Fault) -> Failed {
            Failed
        }
    }

    /// The items of an answer that arrives in parts of this size.
    fn items(answer: &[u8], part: usize) -> Result<Vec<Vec<u8>>, Failed> {
        let mut splitter = Splitter::new();
        let mut items = Vec::new();
        for part in answer.chunks(part) {
            splitter.push(part, |piece| {
                let item = match piece {
                    Piece::Guess(item) if serde_json::from_slice::<Value>(item).is_err() => return Ok(false),
                    Piece::Guess(item) | Piece::Item(item) => item,
                };
                items.push(item.to_vec());
                Ok::<_, Failed>(true)
            })?;
        }
        splitter.finish()?;
        Ok(items)
    }

    /// Values with strings that are full of what a lexer stumbles over.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[a\"\\\\\\[\\]{}:,é😀\u{1}]{0,9}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::vec(("[a\"{}]{0,3}", inner), 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn items_are_the_same_however_an_answer_arrives(
            values in proptest::collection::vec(value(), 0..5), before in value(), after in value(), part in 1usize..40,
        ) {
            let values: Vec<Value> = values.into_iter().map(|v| serde_json::json!({ "index": v })).collect();
            let answer = serde_json::json!({ "before": before, "items": values, "after": after }).to_string();
            let found = items(answer.as_bytes(), part).unwrap();
            let found: Vec<Value> = found.iter().map(|item| serde_json::from_slice(item).unwrap()).collect();
            prop_assert_eq!(found, values);
            prop_assert!(items(&answer.as_bytes()[..answer.len() - 1], part).is_err());
        }

        #[test]
        fn strings_are_cut_to_what_is_still_json(
            unit in prop_oneof![Just("é"), Just("\\n"), Just("\\ud83d\\ude00"), Just("a"), Just("\\u00e9b")],
            shift in 0usize..13, part in 1usize..5000,
        ) {
            let long = format!("{}{}", "x".repeat(shift), unit.repeat(2 * MAX_STRING));
            let answer = format!(r#"{{"items":[{{"index":{{"reason":"{long}","status":400}}}}]}}"#);
            let found = items(answer.as_bytes(), part).unwrap();
            prop_assert!(found[0].len() < MAX_STRING + 100, "{}", found[0].len());
            let item: Value = serde_json::from_slice(&found[0]).unwrap();
            prop_assert_eq!(&item["index"]["status"], &Value::from(400));
            let whole: String = serde_json::from_str(&format!("\"{long}\"")).unwrap();
            prop_assert!(whole.starts_with(item["index"]["reason"].as_str().unwrap()));
        }
    }

    #[test]
    fn no_answer_is_kept_whole() {
        let endless = format!(r#"{{"items":[{{"index":{{"a":[{}"#, "1,".repeat(1 << 20));
        assert!(items(endless.as_bytes(), 5000).is_err());
        let frame = format!(r#"{{"took":[{}]}}"#, "1,".repeat(1 << 20));
        assert!(items(frame.as_bytes(), 5000).is_err());
    }
}

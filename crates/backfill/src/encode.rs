//! How a document is written into a batch: the bytes that go to the target.
//!
//! `_source` is copied as it is. Only `_id`, `_routing`, `_type` and `_parent` are escaped into JSON.

use crate::buffers::Buffers;
use crate::model::{Position, WriteMode};
use crate::ports::{Batch, BatchEntry};
use std::io::Write;

/// Bytes that a batch is expected to have, at most: one that has more holds a giant, of which the next one says nothing.
const MAX_EXPECTED: usize = 32 << 20;

/// How action lines begin.
const INDEX: &[u8] = b"{\"index\":{\"_id\":";
const CREATE: &[u8] = b"{\"create\":{\"_id\":";

/// The form of a batch's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The body of a bulk request to one index: an action line and a source line a document.
    Bulk,
    /// One JSON object a line: `_index`, `_id`, `_routing`, `_type`, `_parent`, `_timestamp`, `_ttl`, `_source`.
    Export,
}

/// A document to encode. `source` is JSON without raw newlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Where it goes, if not to the batch's destination: only in a bulk.
    pub index: Option<&'a str>,
    /// `_id`.
    pub id: &'a str,
    /// Custom routing.
    pub routing: Option<&'a str>,
    /// Mapping type, of sources that have types.
    pub doc_type: Option<&'a str>,
    /// Parent, of sources that have parents.
    pub parent: Option<&'a str>,
    /// The time that it was given, in milliseconds.
    pub timestamp: Option<i64>,
    /// When it ends, in milliseconds.
    pub expires: Option<i64>,
    /// `_source`.
    pub source: &'a [u8],
}

/// Builds batches.
#[derive(Debug)]
pub struct Encoder {
    encoding: Encoding,
    mode: WriteMode,
    /// The start of each line of an export: `{"_index":"…"`.
    prefix: Vec<u8>,
    body: Vec<u8>,
    entries: Vec<BatchEntry>,
    buffers: Buffers,
    /// Bytes that a batch may come to.
    expected: usize,
    /// Bytes and documents of the batch before.
    last: (usize, usize),
}

impl Encoder {
    /// An encoder for documents of one destination.
    pub fn new(encoding: Encoding, mode: WriteMode, destination: &str) -> Encoder {
        let mut prefix = b"{\"_index\":".to_vec();
        write_json_string(&mut prefix, destination);
        Encoder {
            encoding,
            mode,
            prefix,
            body: Vec::new(),
            entries: Vec::new(),
            buffers: Buffers::default(),
            expected: 0,
            last: (0, 0),
        }
    }

    /// The same with memory from these, for batches of up to `expected` bytes.
    #[must_use]
    pub fn with_buffers(self, buffers: Buffers, expected: usize) -> Encoder {
        Encoder { buffers, expected, ..self }
    }

    /// Bytes in the batch so far.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether the batch has no documents yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of documents in the batch so far.
    pub fn documents(&self) -> usize {
        self.entries.len()
    }

    /// Adds a document.
    pub fn push(&mut self, position: Position, document: &Document<'_>) {
        if self.entries.is_empty() {
            self.begin();
        }
        let start = self.body.len();
        let body = &mut self.body;
        match self.encoding {
            Encoding::Bulk => {
                let action: &[u8] = match self.mode {
                    WriteMode::Index => INDEX,
                    WriteMode::Distinct | WriteMode::PerRouting => CREATE,
                };
                body.extend_from_slice(action);
                write_json_string(body, document.id);
                write_member(body, b",\"_index\":", document.index);
                // Parents are routed to: that is all that was ever stored of the relation outside `_source`.
                write_member(body, b",\"routing\":", document.routing.or(document.parent));
                body.extend_from_slice(b"}}\n");
            }
            Encoding::Export => {
                body.extend_from_slice(&self.prefix);
                body.extend_from_slice(b",\"_id\":");
                write_json_string(body, document.id);
                write_member(body, b",\"_routing\":", document.routing);
                write_member(body, b",\"_type\":", document.doc_type);
                write_member(body, b",\"_parent\":", document.parent);
                write_number(body, b",\"_timestamp\":", document.timestamp);
                write_number(body, b",\"_ttl\":", document.expires);
                body.extend_from_slice(b",\"_source\":");
            }
        }
        // With what follows it: a byte more than there is room for would double the memory of a large document.
        body.reserve(document.source.len() + 2);
        let source = body.len()..body.len() + document.source.len();
        body.extend_from_slice(document.source);
        body.extend_from_slice(if self.encoding == Encoding::Bulk { b"\n" } else { b"}\n" });
        self.entries.push(BatchEntry { bytes: start..self.body.len(), source, position });
    }

    /// Asks for the memory of a batch: only for its first document, since that may take long to come.
    fn begin(&mut self) {
        // It will be about as large as the last: were it a little larger, its memory would have to be doubled and copied. Nor is
        // less asked for, so that batches which grow from one to the next use the same memory; untouched it costs nothing.
        let (bytes, documents) = self.last;
        self.body = self.buffers.take(bytes.max(self.expected).min(MAX_EXPECTED));
        self.entries.reserve(documents + documents / 8);
    }

    /// The batch so far; the encoder begins a new one.
    pub fn take(&mut self) -> Batch {
        if !self.entries.is_empty() {
            self.last = (self.body.len(), self.entries.len());
        }
        let body = self.buffers.freeze(std::mem::take(&mut self.body));
        Batch { body, entries: std::mem::take(&mut self.entries) }
    }
}

fn write_member(out: &mut Vec<u8>, name: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        out.extend_from_slice(name);
        write_json_string(out, value);
    }
}

fn write_number(out: &mut Vec<u8>, name: &[u8], value: Option<i64>) {
    if let Some(value) = value {
        out.extend_from_slice(name);
        out.extend_from_slice(value.to_string().as_bytes());
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn write_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\') {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', b]),
            // Writing into a vector cannot fail.
            b => drop(write!(out, "\\u{b:04x}")),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

impl Batch {
    /// The batch with only these entries, which were to be created, as ones that replace what is there.
    #[must_use]
    pub fn replacing(&self, indices: &[usize]) -> Batch {
        let mut body = Vec::new();
        let mut entries = Vec::with_capacity(indices.len());
        for entry in indices.iter().map(|i| &self.entries[*i]) {
            let start = body.len();
            let bytes = &self.body[entry.bytes.clone()];
            let (action, rest) = match bytes.strip_prefix(CREATE) {
                Some(rest) => (INDEX, rest),
                None => (&[][..], bytes),
            };
            body.extend_from_slice(action);
            body.extend_from_slice(rest);
            // The source ends as far from the end as before.
            let end = body.len() - (entry.bytes.end - entry.source.end);
            entries.push(BatchEntry {
                bytes: start..body.len(),
                source: end - entry.source.len()..end,
                position: entry.position,
            });
        }
        Batch { body: body.into(), entries }
    }

    /// The batch with only these entries (indices in ascending order), their bytes the same as before.
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Batch {
        let length = indices.iter().map(|i| self.entries[*i].bytes.len()).sum();
        let mut body = Vec::with_capacity(length);
        let mut entries = Vec::with_capacity(indices.len());
        for entry in indices.iter().map(|i| &self.entries[*i]) {
            let start = body.len();
            body.extend_from_slice(&self.body[entry.bytes.clone()]);
            let shift = |at: usize| at - entry.bytes.start + start;
            entries.push(BatchEntry {
                bytes: start..body.len(),
                source: shift(entry.source.start)..shift(entry.source.end),
                position: entry.position,
            });
        }
        Batch { body: body.into(), entries }
    }
}

/// The raw JSON strings that name a document in its action line, quotes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action<'a> {
    /// `_id`.
    pub id: &'a [u8],
    /// `_index`, if the document does not go to the batch's destination.
    pub index: Option<&'a [u8]>,
}

/// Returns how the action line of a bulk's entry names its document, without parsing it: the encoder wrote it.
/// `None` if the line has another form.
pub fn action<'a>(batch: &'a Batch, entry: &BatchEntry) -> Option<Action<'a>> {
    const ID: &[u8] = b"{\"_id\":";
    const INDEX: &[u8] = b",\"_index\":";
    let line = batch.body.get(entry.bytes.start..entry.source.start)?;
    let line = line.strip_prefix(b"{\"index\":").or_else(|| line.strip_prefix(b"{\"create\":"))?;
    let (id, rest) = json_string(line.strip_prefix(ID)?)?;
    let index = match rest.strip_prefix(INDEX) {
        Some(rest) => Some(json_string(rest)?.0),
        None => None,
    };
    Some(Action { id, index })
}

/// The JSON string that `text` begins with, quotes included, and what follows it.
fn json_string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return text.split_at_checked(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// What names an encoded document, as far as it can be read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Where it goes, if not to the batch's destination.
    pub index: Option<String>,
    /// `_id`.
    pub id: Option<String>,
    /// Custom routing.
    pub routing: Option<String>,
}

/// Reads back what names an encoded document.
pub fn names(encoding: Encoding, batch: &Batch, entry: &BatchEntry) -> Names {
    #[derive(serde::Deserialize)]
    struct Metadata {
        _index: Option<String>,
        _id: Option<String>,
        #[serde(alias = "_routing")]
        routing: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Action {
        #[serde(alias = "create")]
        index: Metadata,
    }
    let line = match encoding {
        Encoding::Bulk => &batch.body[entry.bytes.start..entry.source.start],
        Encoding::Export => &batch.body[entry.bytes.clone()],
    };
    let metadata = match encoding {
        Encoding::Bulk => serde_json::from_slice::<Action>(line).map(|a| a.index),
        Encoding::Export => serde_json::from_slice::<Metadata>(line),
    };
    metadata.map_or_else(|_| Names::default(), |m| Names { index: m._index, id: m._id, routing: m.routing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOCUMENT: Document<'_> = Document {
        index: None,
        id: "a\"b\n",
        routing: Some("r"),
        doc_type: Some("t"),
        parent: Some("p"),
        timestamp: Some(-1),
        expires: Some(2),
        source: b"{\"n\":1.10}",
    };

    #[test]
    fn documents_that_were_to_be_created_can_replace_what_is_there() {
        let batch = |mode, ids: &[&str]| {
            let mut encoder = Encoder::new(Encoding::Bulk, mode, "i");
            for (doc, id) in ids.iter().enumerate() {
                encoder.push(Position { range: 0, doc: doc as u32 }, &Document { id, ..DOCUMENT });
            }
            encoder.take()
        };
        let all = batch(WriteMode::PerRouting, &["a", "b", "c"]);
        let mut expected = batch(WriteMode::Index, &["a", "c"]);
        expected.entries[1].position.doc = 2;
        let found = all.replacing(&[0, 2]);
        assert_eq!((found.body, found.entries), (expected.body, expected.entries));
    }

    #[test]
    fn bodies_have_the_form_that_targets_expect() {
        let cases = [
            (
                Encoding::Bulk,
                WriteMode::Index,
                "{\"index\":{\"_id\":\"a\\\"b\\u000a\",\"routing\":\"r\"}}\n{\"n\":1.10}\n",
            ),
            (
                Encoding::Bulk,
                WriteMode::Distinct,
                "{\"create\":{\"_id\":\"a\\\"b\\u000a\",\"routing\":\"r\"}}\n{\"n\":1.10}\n",
            ),
            (
                Encoding::Export,
                WriteMode::Index,
                "{\"_index\":\"i\",\"_id\":\"a\\\"b\\u000a\",\"_routing\":\"r\",\"_type\":\"t\",\"_parent\":\"p\",\"_timestamp\":-1,\"_ttl\":2,\"_source\":{\"n\":1.10}}\n",
            ),
        ];
        for (encoding, mode, expected) in cases {
            let mut encoder = Encoder::new(encoding, mode, "i");
            encoder.push(Position::default(), &DOCUMENT);
            let batch = encoder.take();
            assert_eq!(std::str::from_utf8(&batch.body).unwrap(), expected);
            assert_eq!(&batch.body[batch.entries[0].source.clone()], DOCUMENT.source);
            let names = names(encoding, &batch, &batch.entries[0]);
            assert_eq!(
                (names.id.as_deref(), names.routing.as_deref()),
                (Some(DOCUMENT.id), DOCUMENT.routing)
            );
            assert_eq!(names.index.as_deref(), (encoding == Encoding::Export).then_some("i"));
            assert!(encoder.is_empty());
        }
    }

    #[test]
    fn memory_is_used_again_and_no_larger_than_a_document() {
        let buffers = Buffers::default();
        let mut encoder =
            Encoder::new(Encoding::Bulk, WriteMode::Index, "i").with_buffers(buffers.clone(), 0);
        let source = vec![b'1'; 1 << 20];
        encoder.push(Position::default(), &Document { source: &source, ..DOCUMENT });
        assert!(encoder.body.capacity() < source.len() + 1000, "{}", encoder.body.capacity());
        drop(encoder.take());
        drop(encoder.take());
        encoder.push(Position::default(), &Document { source: &source[..900_000], ..DOCUMENT });
        assert!(encoder.body.capacity() > source.len(), "that of the first batch");
        assert_eq!(buffers.take(0).capacity(), 0, "there are no others");
    }

    #[test]
    fn a_document_may_go_elsewhere_than_its_batch() {
        let mut encoder = Encoder::new(Encoding::Bulk, WriteMode::Distinct, "i");
        encoder.push(
            Position::default(),
            &Document { index: Some("i-\"t"), routing: None, parent: None, ..DOCUMENT },
        );
        let batch = encoder.take();
        let expected = "{\"create\":{\"_id\":\"a\\\"b\\u000a\",\"_index\":\"i-\\\"t\"}}\n{\"n\":1.10}\n";
        assert_eq!(std::str::from_utf8(&batch.body).unwrap(), expected);
        assert_eq!(names(Encoding::Bulk, &batch, &batch.entries[0]).index.as_deref(), Some("i-\"t"));
        let named = action(&batch, &batch.entries[0]).unwrap();
        assert_eq!((named.id, named.index), (br#""a\"b\u000a""#.as_slice(), Some(br#""i-\"t""#.as_slice())));
    }

    proptest! {
        #[test]
        fn strings_are_escaped_as_json(text in any::<String>()) {
            let mut out = Vec::new();
            write_json_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn a_subset_keeps_the_bytes_of_its_documents(ids in proptest::collection::vec("[a-z]{1,9}", 1..20), keep in proptest::collection::vec(any::<bool>(), 20)) {
            let mut encoder = Encoder::new(Encoding::Bulk, WriteMode::Index, "i");
            for (n, id) in ids.iter().enumerate() {
                let source = format!("{{\"id\":\"{id}\"}}");
                encoder.push(Position { range: 0, doc: n as u32 }, &Document { id, source: source.as_bytes(), ..DOCUMENT });
            }
            let batch = encoder.take();
            let kept: Vec<usize> = (0..ids.len()).filter(|i| keep[*i]).collect();
            let subset = batch.subset(&kept);
            for (entry, at) in subset.entries.iter().zip(&kept) {
                let whole = &batch.entries[*at];
                prop_assert_eq!(entry.position, whole.position);
                prop_assert_eq!(&subset.body[entry.bytes.clone()], &batch.body[whole.bytes.clone()]);
                prop_assert_eq!(&subset.body[entry.source.clone()], &batch.body[whole.source.clone()]);
            }
        }
    }
}

//! What a Lucene document is: a document of the index, a child of one, or a trace of a deletion.
//!
//! In Elasticsearch since 6.0 and in OpenSearch a document stores `_id`, `_source` and, where given, `_routing`. Each of
//! its nested objects is a Lucene document before it, which stores neither. A deletion leaves a tombstone with an
//! `_id` only, an operation that did nothing one with a `_source` only (the reason, as text). Tombstones are always
//! soft-deleted, so whoever reads only live documents never meets one.

use lucene::field_infos::FieldInfos;
use lucene::stored_fields::{StoredDocument, Value};

use crate::id::{self, IdError};
use crate::source::{self, SourceError};

/// Stored fields that cannot be understood: the block that they are from is damaged, or no server wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The stored fields themselves are damaged.
    #[error(transparent)]
    Fields(#[from] lucene::Error),
    /// The id is.
    #[error("document {doc}: {error}")]
    Id {
        /// Number of the document in its segment.
        doc: u32,
        /// What is wrong.
        error: IdError,
    },
    /// A field that holds something else than it must.
    #[error("document {doc}: the field {field} {detail}")]
    Field {
        /// Number of the document in its segment.
        doc: u32,
        /// The name of the field.
        field: &'static str,
        /// What is wrong with it.
        detail: &'static str,
    },
}

/// Memory that is used again for each document.
#[derive(Debug, Default)]
pub struct Scratch {
    id: String,
    source: Vec<u8>,
}

/// What a document's source is.
#[derive(Debug, Clone, PartialEq)]
pub enum Source<'a> {
    /// JSON without line breaks; the very bytes that were sent, wherever that is possible.
    Json(&'a [u8]),
    /// None is stored: it is disabled or synthetic in this index, or this is the tombstone of a deletion.
    Missing,
    /// It cannot be turned into JSON.
    Unreadable {
        /// The bytes, as they are stored.
        raw: &'a [u8],
        /// Why not.
        error: SourceError,
    },
}

/// A document of the index.
#[derive(Debug, Clone, PartialEq)]
pub struct Root<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its routing, where one was given.
    pub routing: Option<&'a str>,
    /// Its type, in versions that store one.
    pub doc_type: Option<&'a str>,
    /// The id of its parent, in versions that store one.
    pub parent: Option<&'a str>,
    /// Its source.
    pub source: Source<'a>,
    /// The complete source, as it is stored, that servers keep for a while where the other is disabled or filtered.
    pub recovery_source: Option<&'a [u8]>,
}

/// What a Lucene document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A nested object of the next root document.
    NestedChild,
    /// A trace of an operation that did nothing.
    Tombstone,
    /// A document of the index.
    Root,
}

/// What a Lucene document is, and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Interpreted<'a> {
    /// A nested object of the next root document.
    NestedChild,
    /// A trace of an operation that did nothing.
    Tombstone,
    /// A document of the index.
    Root(Root<'a>),
}

impl Interpreted<'_> {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NestedChild => Kind::NestedChild,
            Self::Tombstone => Kind::Tombstone,
            Self::Root(_) => Kind::Root,
        }
    }
}

/// Understands the documents of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentReader {
    id: Option<u32>,
    source: Option<u32>,
    routing: Option<u32>,
    recovery_source: Option<u32>,
}

/// What is stored of the fields that matter.
#[derive(Default)]
struct Stored<'a> {
    id: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    routing: Option<&'a str>,
    recovery_source: Option<&'a [u8]>,
}

impl DocumentReader {
    /// A reader for the segment with these fields.
    pub fn new(fields: &FieldInfos) -> Self {
        let number = |name| fields.by_name(name).map(|f| f.number);
        Self {
            id: number("_id"),
            source: number("_source"),
            routing: number("_routing"),
            recovery_source: number("_recovery_source"),
        }
    }

    /// Says what `doc` is; what it holds borrows from its block or from `scratch`.
    pub fn read<'a>(
        &self,
        doc: &StoredDocument<'a>,
        scratch: &'a mut Scratch,
    ) -> Result<Interpreted<'a>, DocumentError> {
        self.interpret(doc.doc, doc.fields(), scratch)
    }

    fn interpret<'a>(
        &self,
        doc: u32,
        fields: impl Iterator<Item = lucene::Result<(u32, Value<'a>)>>,
        scratch: &'a mut Scratch,
    ) -> Result<Interpreted<'a>, DocumentError> {
        let stored = self.collect(doc, fields)?;
        let Some(id) = stored.id else {
            return Ok(match stored.source {
                Some(_) => Interpreted::Tombstone,
                None => Interpreted::NestedChild,
            });
        };
        let Scratch { id: id_text, source: source_text } = scratch;
        id::decode_into(id, id_text).map_err(|error| DocumentError::Id { doc, error })?;
        let source = match stored.source {
            None => Source::Missing,
            Some(raw) => match source::to_json(raw, source_text) {
                Ok(json) => Source::Json(json),
                Err(error) => Source::Unreadable { raw, error },
            },
        };
        Ok(Interpreted::Root(Root {
            id: id_text,
            routing: stored.routing,
            doc_type: None,
            parent: None,
            source,
            recovery_source: stored.recovery_source,
        }))
    }

    fn collect<'a>(
        &self,
        doc: u32,
        fields: impl Iterator<Item = lucene::Result<(u32, Value<'a>)>>,
    ) -> Result<Stored<'a>, DocumentError> {
        let mut stored = Stored::default();
        for field in fields {
            let (number, value) = field?;
            let number = Some(number);
            if number == self.id {
                put(doc, "_id", &mut stored.id, value.as_bytes())?;
            } else if number == self.source {
                put(doc, "_source", &mut stored.source, value.as_bytes())?;
            } else if number == self.routing {
                put(doc, "_routing", &mut stored.routing, value.as_str())?;
            } else if number == self.recovery_source {
                put(doc, "_recovery_source", &mut stored.recovery_source, value.as_bytes())?;
            }
        }
        Ok(stored)
    }
}

fn put<T>(
    doc: u32,
    field: &'static str,
    place: &mut Option<T>,
    value: Option<T>,
) -> Result<(), DocumentError> {
    let bad = |detail| Err(DocumentError::Field { doc, field, detail });
    match (value, &place) {
        (None, _) => bad("holds a value of another kind"),
        (Some(_), Some(_)) => bad("is stored twice"),
        (value, None) => {
            *place = value;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: DocumentReader =
        DocumentReader { id: Some(1), source: Some(0), routing: Some(4), recovery_source: Some(7) };

    fn read<'a>(
        fields: &[(u32, Value<'a>)],
        scratch: &'a mut Scratch,
    ) -> Result<Interpreted<'a>, DocumentError> {
        READER.interpret(9, fields.iter().map(|f| Ok(*f)), scratch)
    }

    #[test]
    fn documents_of_every_kind() {
        let id = Value::Bytes(&[0xfe, 0x12]);
        let source = Value::Bytes(b"{}");
        let root = |source, routing| {
            Interpreted::Root(Root {
                id: "12",
                routing,
                doc_type: None,
                parent: None,
                source,
                recovery_source: None,
            })
        };
        let cases: Vec<(Vec<(u32, Value<'_>)>, Interpreted<'_>)> = vec![
            (vec![], Interpreted::NestedChild),
            (vec![(3, Value::String(b"user"))], Interpreted::NestedChild),
            (vec![(0, Value::Bytes(b"filling gaps"))], Interpreted::Tombstone),
            (vec![(0, source), (1, id)], root(Source::Json(b"{}"), None)),
            (vec![(1, id), (4, Value::String(b"r")), (0, source)], root(Source::Json(b"{}"), Some("r"))),
            (vec![(1, id)], root(Source::Missing, None)),
        ];
        for (fields, expected) in cases {
            assert_eq!(read(&fields, &mut Scratch::default()).unwrap(), expected);
        }
        let mut scratch = Scratch::default();
        let Interpreted::Root(root) =
            read(&[(1, id), (0, Value::Bytes(b"\xff")), (7, source)], &mut scratch).unwrap()
        else {
            panic!("a root")
        };
        assert!(matches!(root.source, Source::Unreadable { raw: b"\xff", .. }));
        assert_eq!((root.id, root.recovery_source), ("12", Some(b"{}".as_slice())));
    }

    #[test]
    fn what_no_server_stores_is_an_error() {
        let id = Value::Bytes(&[0xfe, 0x12]);
        let cases: [Vec<(u32, Value<'_>)>; 5] = [
            vec![(1, Value::Bytes(&[]))],
            vec![(1, Value::Int(5))],
            vec![(1, id), (1, id)],
            vec![(1, id), (4, Value::String(b"\xff"))],
            vec![(1, id), (0, Value::Double(0.5))],
        ];
        for fields in cases {
            let error = read(&fields, &mut Scratch::default()).unwrap_err();
            assert!(error.to_string().starts_with("document 9: "), "{error}");
        }
    }
}

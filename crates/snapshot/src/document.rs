//! What a Lucene document is: a document of the index, a child of one, or a trace of a deletion.
//!
//! In Elasticsearch since 6.0 and in OpenSearch a document stores `_id`, `_source` and, where given, `_routing`. Each of
//! its nested objects is a Lucene document before it, which stores neither. A deletion leaves a tombstone with an
//! `_id` only, an operation that did nothing one with a `_source` only (the reason, as text). Tombstones are always
//! soft-deleted, so whoever reads only live documents never meets one.
//!
//! In indices created before 6.0, whoever reads them now, a document stores `_uid` instead: its type, a `#`, its id.
//! Nested objects store nothing. A child of a parent stores `_parent`, the `_uid` of that, up to 2.x; its
//! routing is the parent's id unless another was given, so nothing is lost where later versions store no parent.

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
    /// Whether that is the copy of the whole source that servers keep for a while where they store none, or a part.
    pub recovered: bool,
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
    uid: Option<u32>,
    source: Option<u32>,
    routing: Option<u32>,
    parent: Option<u32>,
    recovery_source: Option<u32>,
}

/// What is stored of the fields that matter.
#[derive(Default)]
struct Stored<'a> {
    id: Option<&'a [u8]>,
    uid: Option<&'a str>,
    parent: Option<&'a str>,
    source: Option<&'a [u8]>,
    routing: Option<&'a str>,
    recovery_source: Option<&'a [u8]>,
}

impl DocumentReader {
    /// A reader for the segment with these fields.
    pub fn new(fields: &FieldInfos) -> Self {
        let number = |name| fields.by_name(name).map(|f| f.number);
        let uid = number("_uid");
        Self {
            // Beside a `_uid`, it is a copy that somebody asked for.
            id: number("_id").filter(|_| uid.is_none()),
            uid,
            source: number("_source"),
            routing: number("_routing"),
            parent: number("_parent"),
            recovery_source: number("_recovery_source"),
        }
    }

    /// Says what `doc` is; what it holds borrows from its block or from `scratch`.
    #[inline]
    pub fn read<'a>(
        &self,
        doc: &StoredDocument<'a>,
        scratch: &'a mut Scratch,
    ) -> Result<Interpreted<'a>, DocumentError> {
        let mut stored = Stored::default();
        doc.try_for_each_field(|number, value| self.collect(&mut stored, doc.doc, number, value))?;
        self.interpret(doc.doc, &stored, scratch)
    }

    #[inline]
    fn interpret<'a>(
        &self,
        doc: u32,
        stored: &Stored<'a>,
        scratch: &'a mut Scratch,
    ) -> Result<Interpreted<'a>, DocumentError> {
        let Scratch { id: id_text, source: source_text } = scratch;
        let (doc_type, id) = match (stored.uid, stored.id) {
            (Some(uid), _) => {
                let (doc_type, id) = split_uid(doc, "_uid", uid)?;
                (Some(doc_type), id)
            }
            (None, Some(id)) => {
                id::decode_into(id, id_text).map_err(|error| DocumentError::Id { doc, error })?;
                (None, id_text.as_str())
            }
            (None, None) => {
                return Ok(match stored.source {
                    Some(_) => Interpreted::Tombstone,
                    None => Interpreted::NestedChild,
                });
            }
        };
        let parent = stored.parent.map(|uid| split_uid(doc, "_parent", uid)).transpose()?;
        let recovered = stored.recovery_source.is_some();
        let source = match stored.recovery_source.or(stored.source) {
            None => Source::Missing,
            Some(raw) => match source::to_json(raw, source_text) {
                Ok(json) => Source::Json(json),
                Err(error) => Source::Unreadable { raw, error },
            },
        };
        Ok(Interpreted::Root(Root {
            id,
            routing: stored.routing,
            doc_type,
            parent: parent.map(|(_, id)| id),
            source,
            recovered,
        }))
    }

    /// Takes a field of document `doc`, if it matters.
    #[inline]
    fn collect<'a>(
        &self,
        stored: &mut Stored<'a>,
        doc: u32,
        number: u32,
        value: Value<'a>,
    ) -> Result<(), DocumentError> {
        let number = Some(number);
        if number == self.id {
            put(doc, "_id", &mut stored.id, value.as_bytes())
        } else if number == self.uid {
            put(doc, "_uid", &mut stored.uid, value.as_str())
        } else if number == self.parent {
            put(doc, "_parent", &mut stored.parent, value.as_str())
        } else if number == self.source {
            put(doc, "_source", &mut stored.source, value.as_bytes())
        } else if number == self.routing {
            put(doc, "_routing", &mut stored.routing, value.as_str())
        } else if number == self.recovery_source {
            put(doc, "_recovery_source", &mut stored.recovery_source, value.as_bytes())
        } else {
            Ok(())
        }
    }
}

/// The type and the id in a `_uid`. Types hold no `#`, ids may.
fn split_uid<'a>(doc: u32, field: &'static str, uid: &'a str) -> Result<(&'a str, &'a str), DocumentError> {
    uid.split_once('#').ok_or(DocumentError::Field { doc, field, detail: "has no type before its id" })
}

#[inline]
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

    const READER: DocumentReader = DocumentReader {
        id: Some(1),
        uid: None,
        source: Some(0),
        routing: Some(4),
        parent: None,
        recovery_source: Some(7),
    };

    const OLD: DocumentReader = DocumentReader { id: None, uid: Some(2), parent: Some(5), ..READER };

    fn read<'a>(
        fields: &[(u32, Value<'a>)],
        scratch: &'a mut Scratch,
    ) -> Result<Interpreted<'a>, DocumentError> {
        interpret(&READER, fields, scratch)
    }

    fn interpret<'a>(
        reader: &DocumentReader,
        fields: &[(u32, Value<'a>)],
        scratch: &'a mut Scratch,
    ) -> Result<Interpreted<'a>, DocumentError> {
        let mut stored = Stored::default();
        fields.iter().try_for_each(|(number, value)| reader.collect(&mut stored, 9, *number, *value))?;
        reader.interpret(9, &stored, scratch)
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
                recovered: false,
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
        // The whole source counts where there is one.
        for (fields, expected) in [
            (vec![(1, id), (0, Value::Bytes(b"\xff"))], None),
            (vec![(1, id), (7, source)], Some(b"{}".as_slice())),
            (vec![(1, id), (0, Value::Bytes(b"{\"part\":1}")), (7, source)], Some(b"{}")),
        ] {
            let mut scratch = Scratch::default();
            let Interpreted::Root(root) = read(&fields, &mut scratch).unwrap() else { panic!("a root") };
            assert_eq!(root.recovered, expected.is_some());
            match (root.source, expected) {
                (Source::Json(json), Some(expected)) => assert_eq!(json, expected),
                (Source::Unreadable { raw, .. }, None) => assert_eq!(raw, b"\xff"),
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn documents_with_types() {
        let text = |s: &'static str| Value::String(s.as_bytes());
        let mut scratch = Scratch::default();
        let mut read = |fields: &[(u32, Value<'static>)]| match interpret(&OLD, fields, &mut scratch)? {
            Interpreted::Root(root) => {
                Ok(format!("{:?} {} {:?} {:?}", root.doc_type, root.id, root.routing, root.parent))
            }
            other => Ok(format!("{:?}", other.kind())),
        };
        let source = Value::Bytes(b"{}");
        let cases: Vec<(Vec<(u32, Value<'static>)>, &str)> = vec![
            (vec![(0, source), (2, text("t#1"))], "Some(\"t\") 1 None None"),
            // A stored copy of the id is not looked at.
            (vec![(1, text("a#b")), (2, text("t#a#b"))], "Some(\"t\") a#b None None"),
            (
                vec![(2, text("child#c")), (4, text("r")), (5, text("mother#m#1")), (0, source)],
                "Some(\"child\") c Some(\"r\") Some(\"m#1\")",
            ),
            (vec![], "NestedChild"),
        ];
        for (fields, expected) in cases {
            assert_eq!(read(&fields).unwrap(), expected);
        }
        for fields in [[(2, text("no type")), (0, source)], [(2, text("t#1")), (5, text("no type"))]] {
            let error: DocumentError = read(&fields).unwrap_err();
            assert!(error.to_string().contains("has no type before its id"), "{error}");
        }
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

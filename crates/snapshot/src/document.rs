//! What a Lucene document is: a document of the index, a child of one, or a trace of a deletion.
//!
//! In Elasticsearch since 6.0 and in OpenSearch a document stores `_id`, `_source` and, where given, `_routing`. Each of
//! its nested objects is a Lucene document before it, which stores neither. A deletion leaves a tombstone with an
//! `_id` only, an operation that did nothing one with a `_source` only (the reason, as text). Tombstones are always
//! soft-deleted, so whoever reads only live documents never meets one. In a time series of Elasticsearch, which has no nested
//! objects, a document that stores no id is one that was merged: its id is made again from other fields, and so is its source
//! unless that is stored.
//!
//! In indices created before 6.0, whoever reads them now, a document stores `_uid` instead: its type, a `#`, its id.
//! Where such an index allows but one type (`index.mapping.single_type` of 5.x), it stores `_id`, as text. From 6.0 on, `_id`
//! is always bytes, and `_uid` and `_parent` are names that users may give to fields of theirs: so an `_id` of bytes
//! tells that neither means anything.
//! Nested objects store nothing. A child of a parent stores `_parent`, the `_uid` of that, up to 2.x; its
//! routing is the parent's id unless another was given, so nothing is lost where later versions store no parent. Up to 2.x,
//! a mapping can ask for `_timestamp` and `_ttl`, which are stored as milliseconds since 1970: the second as the time at
//! which the document ends.

use lucene::field_infos::FieldInfos;
use lucene::stored_fields::{StoredDocument, Value};

use crate::id::{self, IdError};
use crate::source::{self, Rules, SourceError};

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
    /// The time that it was given (`_timestamp`), in milliseconds, in versions that store one.
    pub timestamp: Option<i64>,
    /// When it ends (`_ttl`), in milliseconds, in versions that store that.
    pub expires: Option<i64>,
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
    /// A trace of an operation that did nothing; or what is left of a document of a time series that was merged.
    Tombstone {
        /// Why nothing was done; of a time series, the source as it is stored.
        source: &'a [u8],
        /// The routing, where one was given.
        routing: Option<&'a str>,
    },
    /// A document of the index.
    Root(Root<'a>),
}

impl Interpreted<'_> {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NestedChild => Kind::NestedChild,
            Self::Tombstone { .. } => Kind::Tombstone,
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
    timestamp: Option<u32>,
    ttl: Option<u32>,
    rules: Rules,
}

/// What is stored of the fields that matter.
#[derive(Default)]
struct Stored<'a> {
    id: Option<&'a [u8]>,
    text_id: Option<&'a str>,
    uid: Option<&'a str>,
    parent: Option<&'a str>,
    source: Option<&'a [u8]>,
    routing: Option<&'a str>,
    recovery_source: Option<&'a [u8]>,
    timestamp: Option<i64>,
    expires: Option<i64>,
    /// A fault of what only indices from before 6.0 store, and what of it: none in others.
    old_fault: Option<(&'static str, &'static str)>,
}

/// What a document and its parent are called.
struct Names<'a> {
    id: &'a str,
    doc_type: Option<&'a str>,
    parent: Option<&'a str>,
}

impl DocumentReader {
    /// A reader for the segment with these fields.
    pub fn new(fields: &FieldInfos) -> Self {
        let number = |name| fields.by_name(name).map(|f| f.number);
        Self {
            id: number("_id"),
            uid: number("_uid"),
            source: number("_source"),
            routing: number("_routing"),
            parent: number("_parent"),
            recovery_source: number("_recovery_source"),
            timestamp: number("_timestamp"),
            ttl: number("_ttl"),
            rules: Rules::default(),
        }
    }

    /// The same with other demands on sources.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
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

    /// The id and the routing of a document that is not whole, as far as they are there.
    #[cold]
    pub fn identify<'a>(
        &self,
        doc: &StoredDocument<'a>,
        scratch: &'a mut Scratch,
    ) -> (Option<&'a str>, Option<&'a str>) {
        let mut stored = Stored::default();
        // It ends with an error, since the end is missing.
        for (number, value) in doc.fields().map_while(Result::ok) {
            if self.collect(&mut stored, doc.doc, number, value).is_err() {
                break;
            }
        }
        let id = match stored.id {
            Some(id) => id::decode_into(id, &mut scratch.id).ok().map(|()| scratch.id.as_str()),
            None => stored.old_names(doc.doc).ok().flatten().map(|names| names.id),
        };
        (id, stored.routing)
    }

    #[inline]
    fn interpret<'a>(
        &self,
        doc: u32,
        stored: &Stored<'a>,
        scratch: &'a mut Scratch,
    ) -> Result<Interpreted<'a>, DocumentError> {
        let Scratch { id: id_text, source: source_text } = scratch;
        let (Names { doc_type, id, parent }, (timestamp, expires)) = if let Some(id) = stored.id {
            id::decode_into(id, id_text).map_err(|error| DocumentError::Id { doc, error })?;
            (Names { id: id_text, doc_type: None, parent: None }, (None, None))
        } else {
            match stored.old_names(doc)? {
                Some(names) => (names, (stored.timestamp, stored.expires)),
                None => {
                    return Ok(match stored.source {
                        Some(source) => Interpreted::Tombstone { source, routing: stored.routing },
                        None => Interpreted::NestedChild,
                    });
                }
            }
        };
        let recovered = stored.recovery_source.is_some();
        let source = match stored.recovery_source.or(stored.source) {
            None => Source::Missing,
            Some(raw) => match source::to_json(raw, source_text, &self.rules) {
                Ok(json) => Source::Json(json),
                Err(error) => Source::Unreadable { raw, error },
            },
        };
        Ok(Interpreted::Root(Root {
            id,
            routing: stored.routing,
            doc_type,
            parent,
            timestamp,
            expires,
            source,
            recovered,
        }))
    }

    /// Takes a field of document `doc`, if it matters. Small, so that it becomes a part of the loop over all fields.
    #[inline]
    fn collect<'a>(
        &self,
        stored: &mut Stored<'a>,
        doc: u32,
        number: u32,
        value: Value<'a>,
    ) -> Result<(), DocumentError> {
        let number = Some(number);
        if number == self.id && !matches!(value, Value::String(_)) {
            put(doc, "_id", &mut stored.id, value.as_bytes())
        } else if number == self.source {
            put(doc, "_source", &mut stored.source, value.as_bytes())
        } else if number == self.routing {
            put(doc, "_routing", &mut stored.routing, value.as_str())
        } else {
            self.collect_seldom(stored, doc, number, value)
        }
    }

    /// Takes a field that is none of those which most documents have.
    #[inline(never)]
    fn collect_seldom<'a>(
        &self,
        stored: &mut Stored<'a>,
        doc: u32,
        number: Option<u32>,
        value: Value<'a>,
    ) -> Result<(), DocumentError> {
        if number == self.recovery_source {
            return put(doc, "_recovery_source", &mut stored.recovery_source, value.as_bytes());
        }
        if number == self.id {
            stored.old("_id", value);
        } else if number == self.uid {
            stored.old("_uid", value);
        } else if number == self.parent {
            stored.old("_parent", value);
        } else if number == self.timestamp {
            stored.timestamp = milliseconds(value);
        } else if number == self.ttl {
            stored.expires = milliseconds(value);
        }
        Ok(())
    }
}

impl<'a> Stored<'a> {
    /// Takes a field that only indices from before 6.0 store so. In others it is a user's, who may store what he likes in it.
    #[cold]
    fn old(&mut self, field: &'static str, value: Value<'a>) {
        let place = match field {
            "_id" => &mut self.text_id,
            "_uid" => &mut self.uid,
            _ => &mut self.parent,
        };
        if let Err(detail) = place_once(place, value.as_str()) {
            self.old_fault.get_or_insert((field, detail));
        }
    }

    /// What a document from before 6.0 is called, if it has an id.
    fn old_names(&self, doc: u32) -> Result<Option<Names<'a>>, DocumentError> {
        if let Some((field, detail)) = self.old_fault {
            return Err(DocumentError::Field { doc, field, detail });
        }
        let parent = self.parent.map(|uid| split_uid(doc, "_parent", uid)).transpose()?.map(|(_, id)| id);
        // Beside a `_uid`, an `_id` is a copy that somebody asked for.
        if let Some(uid) = self.uid {
            let (doc_type, id) = split_uid(doc, "_uid", uid)?;
            return Ok(Some(Names { doc_type: Some(doc_type), id, parent }));
        }
        Ok(self.text_id.map(|id| Names { doc_type: None, id, parent }))
    }
}

/// A time, unless it is something that a user stores in a field of this name.
fn milliseconds(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Long(time) => Some(time),
        _ => None,
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
    place_once(place, value).map_err(|detail| DocumentError::Field { doc, field, detail })
}

#[inline]
fn place_once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), &'static str> {
    match (value, &place) {
        (None, _) => Err("holds a value of another kind"),
        (Some(_), Some(_)) => Err("is stored twice"),
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
        uid: Some(2),
        source: Some(0),
        routing: Some(4),
        parent: Some(5),
        recovery_source: Some(7),
        timestamp: Some(8),
        ttl: Some(9),
        rules: Rules { check: source::Check::Framing, limit: source::DEFAULT_LIMIT },
    };

    fn read<'a>(
        fields: &[(u32, Value<'a>)],
        scratch: &'a mut Scratch,
    ) -> Result<Interpreted<'a>, DocumentError> {
        let mut stored = Stored::default();
        fields.iter().try_for_each(|(number, value)| READER.collect(&mut stored, 9, *number, *value))?;
        READER.interpret(9, &stored, scratch)
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
                timestamp: None,
                expires: None,
                source,
                recovered: false,
            })
        };
        let cases: Vec<(Vec<(u32, Value<'_>)>, Interpreted<'_>)> = vec![
            (vec![], Interpreted::NestedChild),
            (vec![(3, Value::String(b"user"))], Interpreted::NestedChild),
            (
                vec![(0, Value::Bytes(b"filling gaps"))],
                Interpreted::Tombstone { source: b"filling gaps", routing: None },
            ),
            (vec![(0, source), (1, id)], root(Source::Json(b"{}"), None)),
            (vec![(1, id), (4, Value::String(b"r")), (0, source)], root(Source::Json(b"{}"), Some("r"))),
            (vec![(1, id)], root(Source::Missing, None)),
            // As users may call theirs since there are ids of bytes.
            (
                vec![(1, id), (0, source), (8, Value::Long(7)), (9, Value::Long(8))],
                root(Source::Json(b"{}"), None),
            ),
            // What a user calls so, before and after the id, and whatever is in it.
            (
                vec![(2, Value::Int(1000)), (5, Value::String(b"a#b")), (0, source), (1, id)],
                root(Source::Json(b"{}"), None),
            ),
            (
                vec![(1, id), (0, source), (2, Value::String(b"t#1")), (2, Value::String(b"")), (5, id)],
                root(Source::Json(b"{}"), None),
            ),
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
        let mut read = |fields: &[(u32, Value<'static>)]| match read(fields, &mut scratch)? {
            Interpreted::Root(root) => {
                let times = match (root.timestamp, root.expires) {
                    (None, None) => String::new(),
                    times => format!(" {times:?}"),
                };
                let Root { doc_type, id, routing, parent, .. } = root;
                Ok(format!("{doc_type:?} {id} {routing:?} {parent:?}{times}"))
            }
            other => Ok(format!("{:?}", other.kind())),
        };
        let source = Value::Bytes(b"{}");
        let cases: Vec<(Vec<(u32, Value<'static>)>, &str)> = vec![
            (vec![(0, source), (2, text("t#1"))], "Some(\"t\") 1 None None"),
            (
                vec![(0, source), (2, text("t#1")), (8, Value::Long(-1)), (9, Value::Long(7))],
                "Some(\"t\") 1 None None (Some(-1), Some(7))",
            ),
            (
                vec![(0, source), (2, text("t#1")), (8, text("2015")), (9, Value::Int(7))],
                "Some(\"t\") 1 None None",
            ),
            // A stored copy of the id is not looked at.
            (vec![(1, text("a#b")), (2, text("t#a#b"))], "Some(\"t\") a#b None None"),
            (
                vec![(2, text("child#c")), (4, text("r")), (5, text("mother#m#1")), (0, source)],
                "Some(\"child\") c Some(\"r\") Some(\"m#1\")",
            ),
            (vec![], "NestedChild"),
            // Of an index that allows but one type: text, even where it looks like more.
            (vec![(1, text("YWJj")), (0, source)], "None YWJj None None"),
            (vec![(0, source), (1, text("a#b")), (4, text("r"))], "None a#b Some(\"r\") None"),
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
        let text = |s: &'static str| Value::String(s.as_bytes());
        let cases: [Vec<(u32, Value<'_>)>; 9] = [
            vec![(1, Value::Bytes(&[]))],
            vec![(1, Value::Int(5))],
            vec![(1, id), (1, id)],
            vec![(1, id), (4, Value::String(b"\xff"))],
            vec![(1, id), (0, Value::Double(0.5))],
            vec![(2, Value::Int(1000)), (0, Value::Bytes(b"{}"))],
            vec![(2, text("t#1")), (2, text("t#2"))],
            vec![(1, text("1")), (1, text("2"))],
            vec![(1, Value::String(b"\xff"))],
        ];
        for fields in cases {
            let error = read(&fields, &mut Scratch::default()).unwrap_err();
            assert!(error.to_string().starts_with("document 9: "), "{error}");
        }
    }
}

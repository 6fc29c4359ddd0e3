//! What the answer to a bulk request means for each of its documents.

use super::stream::{Fault, Piece, Splitter};
use crate::words::{Words, clean, malformed, shorten};
use backfill::encode::action;
use backfill::model::WriteMode;
use backfill::ports::{Batch, ItemOutcome, Refusal, TargetError};
use backfill::secrets::Redactor;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::fmt;

/// Characters of a name that are shown.
const MAX_NAME: usize = 100;
/// Other indices than those asked for that one answer may name.
const MAX_ELSEWHERE: usize = 64;

/// How the item of a document that was written ends.
const WRITTEN: [&[u8]; 4] = [
    b",\"result\":\"created\",\"status\":201}}",
    b",\"result\":\"updated\",\"status\":200}}",
    b",\"status\":201}}",
    b",\"status\":200}}",
];

/// A bulk request, as far as the meaning of its answer goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'a> {
    /// The documents in it.
    pub(crate) batch: &'a Batch,
    /// Where they go that do not name an index of their own.
    pub(crate) destination: &'a str,
    /// How it writes.
    pub(crate) mode: WriteMode,
    /// Removes what was sent in secret.
    pub(crate) redactor: &'a Redactor,
}

/// Why the answer to a batch is not one for each document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    Denied(String),
    Unexpected(String),
    Garbled(String),
}

impl Halt {
    pub(crate) fn into_error(self, target: &str) -> TargetError {
        let target = target.to_owned();
        match self {
            Halt::Denied(reason) => TargetError::Denied { target, reason },
            Halt::Unexpected(reason) => TargetError::Unexpected { target, reason },
            Halt::Garbled(reason) => TargetError::Garbled { target, reason },
        }
    }
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Halt {
        let what = match fault {
            Fault::Frame(error) => malformed(&error),
            Fault::NoItem => "its list of items has something else in it".to_owned(),
            Fault::TooLong => "one of its parts is longer than makes sense".to_owned(),
        };
        Halt::Garbled(format!(
            "its answer to a bulk request is not one ({what}); check what is between it and us"
        ))
    }
}

/// What is below the name of the action.
#[derive(Deserialize)]
struct Inner<'a> {
    status: u16,
    #[serde(borrow, default, rename = "_id")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_index")]
    index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
}

/// `{"index":{…}}`, `{"create":{…}}`.
struct Item<'a>(Inner<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an action with its result")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item<'de>, A::Error> {
        let inner = match map.next_entry::<IgnoredAny, Inner<'de>>()? {
            Some((_, inner)) => inner,
            None => return Err(A::Error::custom("an item without an action")),
        };
        match map.next_key::<IgnoredAny>()? {
            None => Ok(Item(inner)),
            Some(_) => Err(A::Error::custom("an item with two actions")),
        }
    }
}

/// An answer to a bulk request as it arrives.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    splitter: Splitter,
    judge: Judge<'a>,
}

/// What a complete answer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The outcome of each document. Statuses count; the answer's own summary (`errors`) does not.
    pub(crate) items: Vec<ItemOutcome>,
    /// Indices that were asked for, each with another one that answered: right if the first is an alias or a data stream and
    /// the second is behind it.
    pub(crate) elsewhere: BTreeSet<(String, String)>,
    /// The first `_id` that was sent where the answer has another, the index that was asked for, and the other `_id`.
    pub(crate) renamed: Option<Renamed>,
}

/// A document that the answer gives another name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Renamed {
    pub(crate) index: String,
    pub(crate) sent: String,
    pub(crate) answered: String,
}

impl<'a> Answer<'a> {
    /// The answer to this request. Its outcomes need no more than `room` bytes for all reasons together.
    pub(crate) fn new(sent: Sent<'a>, room: usize) -> Answer<'a> {
        let judged = Judged {
            items: Vec::with_capacity(sent.batch.entries.len()),
            elsewhere: BTreeSet::new(),
            renamed: None,
        };
        Answer { splitter: Splitter::new(), judge: Judge { sent, room, judged, last: Vec::new() } }
    }

    /// Takes the next part of the body.
    pub(crate) fn push(&mut self, part: &[u8]) -> Result<(), Halt> {
        let judge = &mut self.judge;
        self.splitter.push(part, |piece| judge.piece(piece))
    }

    /// Checks that the answer is complete.
    pub(crate) fn finish(self) -> Result<Judged, Halt> {
        self.splitter.finish()?;
        let (items, entries) = (self.judge.judged.items.len(), self.judge.sent.batch.entries.len());
        if items != entries { Err(wrong_number(items, entries)) } else { Ok(self.judge.judged) }
    }
}

fn wrong_number(items: usize, entries: usize) -> Halt {
    Halt::Garbled(format!(
        "it answered for {items} documents when {entries} were sent; check what is between it and us"
    ))
}

/// Judges one item after the other.
#[derive(Debug)]
struct Judge<'a> {
    sent: Sent<'a>,
    /// Bytes that are left for reasons.
    room: usize,
    judged: Judged,
    /// The last name of an index that was recorded as another one than the destination.
    last: Vec<u8>,
}

impl Judge<'_> {
    /// Judges what is handed out of the answer; returns whether it was an item.
    fn piece(&mut self, piece: Piece<'_>) -> Result<bool, Halt> {
        if let Piece::Guess(item) = piece
            && self.is_plainly_written(item).is_some()
        {
            self.judged.items.push(ItemOutcome::Indexed);
            return Ok(true);
        }
        let Item(inner) = match piece {
            Piece::Item(item) => serde_json::from_slice(item).map_err(|e| Halt::from(Fault::Frame(e)))?,
            Piece::Guess(item) => match serde_json::from_slice(item) {
                Ok(item) => item,
                Err(_) => return Ok(false),
            },
        };
        self.item(&inner).map(|()| true)
    }

    /// Returns something if an item says, byte for byte as clusters write it, that the document at its place was written to the
    /// index that answered for the document before. Nearly all items are of this form, and to parse each of them would take
    /// a tenth of the time that a small document needs.
    fn is_plainly_written(&self, item: &[u8]) -> Option<()> {
        let batch = self.sent.batch;
        let action = action(batch, batch.entries.get(self.judged.items.len())?)?;
        if action.index.is_some() || self.last.is_empty() {
            return None;
        }
        let item = item.strip_prefix(b"{\"index\":{").or_else(|| item.strip_prefix(b"{\"create\":{"))?;
        let item = item.strip_prefix(b"\"_index\":")?.strip_prefix(&self.last[..])?;
        let rest = item.strip_prefix(b",\"_id\":")?.strip_prefix(action.id)?;
        WRITTEN.contains(&rest).then_some(())
    }

    fn item(&mut self, inner: &Inner<'_>) -> Result<(), Halt> {
        let (number, entries) = (self.judged.items.len(), self.sent.batch.entries.len());
        if number >= entries {
            return Err(wrong_number(number + 1, entries));
        }
        self.check_names(number, inner)?;
        let mut outcome = outcome(inner, &self.sent)?;
        if let ItemOutcome::Failed { reason, .. }
        | ItemOutcome::Refused(Refusal::Blocked(reason) | Refusal::Fault(reason)) = &mut outcome
        {
            // Thousands of documents may be refused for reasons of a kilobyte each.
            let share = self.room / (entries - number);
            if reason.len() > share {
                reason.truncate(reason.floor_char_boundary(share.saturating_sub("…".len())));
                reason.push('…');
            }
            self.room = self.room.saturating_sub(reason.len());
        }
        self.judged.items.push(outcome);
        Ok(())
    }

    /// Compares the names in the item with those of the document that was sent at its place.
    fn check_names(&mut self, number: usize, item: &Inner<'_>) -> Result<(), Halt> {
        let nameless = || Halt::Garbled("an item of its answer does not name its document".to_owned());
        let (id, index) = item.id.zip(item.index).ok_or_else(nameless)?;
        let batch = self.sent.batch;
        let action = action(batch, &batch.entries[number])
            .ok_or_else(|| Halt::Garbled("the name of a document that was sent cannot be read".to_owned()))?;
        let other_id = differs(action.id, id)?;
        if other_id.is_none() && action.index.is_none() && index.get().as_bytes() == self.last {
            return Ok(());
        }
        let destination = self.sent.destination;
        let asked = match action.index {
            None => destination.to_owned(),
            Some(raw) => text(raw)?,
        };
        if let (Some(answered), None) = (other_id, &self.judged.renamed) {
            let sent = shorten(&text(action.id)?, MAX_NAME);
            let answered = clean(&answered, self.sent.redactor, MAX_NAME);
            self.judged.renamed = Some(Renamed { index: asked.clone(), sent, answered });
        }
        let answered = text(index.get().as_bytes())?;
        if asked != answered {
            if self.judged.elsewhere.len() >= MAX_ELSEWHERE {
                return Err(Halt::Garbled(format!(
                    "it wrote to more than {MAX_ELSEWHERE} other indices than {asked}, which was asked for"
                )));
            }
            self.judged.elsewhere.insert((asked, answered));
        }
        if action.index.is_none() {
            self.last = index.get().as_bytes().to_vec();
        }
        Ok(())
    }
}

/// The second JSON string as text, if it is another one than the first, escapes apart.
fn differs(sent: &[u8], answered: &RawValue) -> Result<Option<String>, Halt> {
    if sent == answered.get().as_bytes() {
        return Ok(None);
    }
    let answered = text(answered.get().as_bytes())?;
    Ok((text(sent)? != answered).then_some(answered))
}

fn text(raw: &[u8]) -> Result<String, Halt> {
    serde_json::from_slice(raw).map_err(|e| Halt::from(Fault::Frame(e)))
}

/// Reasons with status 400 that are the index's or the request's, the same for every document.
const NOT_THE_DOCUMENT: [(&str, &str); 2] = [
    ("illegal_argument_exception", "only write ops with an op_type of create are allowed in data streams"),
    ("illegal_argument_exception", "no write index is defined for alias"),
];

fn outcome(item: &Inner<'_>, sent: &Sent<'_>) -> Result<ItemOutcome, Halt> {
    let Some(error) = item.error else {
        return match item.status {
            // What is written is created or updated. Nothing was done where an ingest pipeline dropped the document.
            200..300 if item.result.is_some_and(|result| result.get() == "\"noop\"") => Ok(ItemOutcome::Failed {
                error_type: "dropped_by_target".to_owned(),
                reason: "the target answered that it did nothing: an ingest pipeline there dropped the document".to_owned(),
            }),
            200..300 => Ok(ItemOutcome::Indexed),
            status => judge(status, Words::default(), sent.mode),
        };
    };
    match item.status {
        200..300 => {
            let words = Words::of_error(error, sent.redactor).sentence();
            Err(Halt::Garbled(format!(
                "a document has both succeeded and failed ({words}); check what is between it and us"
            )))
        }
        status => judge(status, Words::of_error(error, sent.redactor), sent.mode),
    }
}

fn judge(status: u16, words: Words, mode: WriteMode) -> Result<ItemOutcome, Halt> {
    let kind = words.kind.as_str();
    let refused = |refusal| Ok(ItemOutcome::Refused(refusal));
    match (kind, status) {
        ("cluster_block_exception" | "index_closed_exception" | "index_not_found_exception", _) => {
            refused(Refusal::Blocked(words.sentence()))
        }
        ("security_exception", _) | (_, 401) => {
            Err(Halt::Denied(format!("{}; check the permissions", words.sentence())))
        }
        (
            "es_rejected_execution_exception" | "rejected_execution_exception" | "circuit_breaking_exception",
            _,
        )
        | (_, 429) => refused(Refusal::Overloaded),
        ("version_conflict_engine_exception", 409) if mode != WriteMode::Index => {
            Ok(ItemOutcome::AlreadyThere)
        }
        (_, 408 | 409 | 500..600) => refused(Refusal::Fault(words.sentence())),
        ("", 403) => Err(Halt::Denied(format!("{}; check the permissions", words.sentence()))),
        // Whatever is forbidden now is no fault of the document.
        (_, 403) => refused(Refusal::Blocked(words.sentence())),
        ("invalid_index_name_exception", _) => {
            Err(Halt::Unexpected(format!("{}; choose another name", words.sentence())))
        }
        // The cluster may not have another shard: nothing is wrong with the document.
        ("validation_exception", _) => refused(Refusal::Blocked(words.sentence())),
        _ if NOT_THE_DOCUMENT.iter().any(|(k, reason)| *k == kind && words.reason.contains(reason)) => {
            refused(Refusal::Blocked(words.sentence()))
        }
        // Serverless collections of some types choose the ids themselves.
        _ if words.reason.contains("Document ID is not supported") => Err(Halt::Unexpected(format!(
            "{}; use a collection of type search, which keeps ids",
            words.sentence()
        ))),
        (_, 400..500) => {
            Ok(ItemOutcome::Failed { error_type: named(words.kind, status), reason: words.reason })
        }
        _ => {
            Err(Halt::Garbled(format!("a document has the status {status}; check what is between it and us")))
        }
    }
}

fn named(kind: String, status: u16) -> String {
    if kind.is_empty() { format!("http_{status}") } else { kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    use backfill::encode::{Document, Encoder, Encoding};
    use backfill::model::Position;

    /// Documents with the ids 0, 1 and so on, of which every second one from `split` on goes to an index of its own.
    fn batch(documents: usize, mode: WriteMode, split: usize) -> Batch {
        let mut encoder = Encoder::new(Encoding::Bulk, mode, "i");
        for number in 0..documents {
            let (id, index) = (number.to_string(), (number >= split && number % 2 == 1).then_some("own"));
            let (routing, doc_type, parent) = (None, None, None);
            let document = Document {
                index,
                id: &id,
                routing,
                doc_type,
                parent,
                timestamp: None,
                expires: None,
                source: b"{}",
            };
            encoder.push(Position::default(), &document);
        }
        encoder.take()
    }

    /// What an answer means that arrives in parts of this size.
    fn judged(body: &[u8], batch: &Batch, mode: WriteMode, room: usize, part: usize) -> Result<Judged, Halt> {
        let redactor = Redactor::default();
        let mut answer = Answer::new(Sent { batch, destination: "i", mode, redactor: &redactor }, room);
        for part in body.chunks(part) {
            answer.push(part)?;
        }
        answer.finish()
    }

    /// The outcomes of an answer whose items name no documents yet: the right ones are put in.
    fn outcomes(body: &[u8], (documents, mode): (usize, WriteMode)) -> Result<Vec<ItemOutcome>, Halt> {
        let body = std::str::from_utf8(body).unwrap();
        let mut named = String::new();
        let mut parts = body.split_inclusive("e\":{").flat_map(|part| part.split_inclusive("x\":{"));
        for number in 0.. {
            let Some(part) = parts.next() else { break };
            named.push_str(part);
            if part.ends_with('{') {
                named.push_str(&format!(r#""_id":"{number}","_index":"i","#));
            }
        }
        let judged = judged(named.as_bytes(), &batch(documents, mode, documents), mode, 1 << 20, 7)?;
        assert_eq!((judged.elsewhere.len(), judged.renamed), (0, None));
        Ok(judged.items)
    }

    fn sent(documents: usize, mode: WriteMode) -> (usize, WriteMode) {
        (documents, mode)
    }

    fn one(status: u16, kind: &str, reason: &str, mode: WriteMode) -> Result<ItemOutcome, Halt> {
        let body = format!(
            r#"{{"took":1,"errors":true,"items":[{{"index":{{"status":{status},"error":{{"type":"{kind}","reason":"{reason}","caused_by":{{"type":"x","reason":"deep"}}}}}}}}]}}"#
        );
        outcomes(body.as_bytes(), sent(1, mode)).map(|mut items| items.remove(0))
    }

    #[test]
    fn acknowledged_documents_need_nothing_but_their_status() {
        let body =
            br#"{"took":3,"errors":false,"items":[{"index":{"status":200}},{"create":{"status":201}}]}"#;
        assert_eq!(
            outcomes(body, sent(2, WriteMode::Index)),
            Ok(vec![ItemOutcome::Indexed, ItemOutcome::Indexed])
        );
        assert_eq!(outcomes(br#"{"items":[]}"#, sent(0, WriteMode::Index)), Ok(vec![]));
    }

    #[test]
    fn each_refusal_of_a_document_has_its_meaning() {
        use WriteMode::{Distinct, Index};
        let name = |outcome: Result<ItemOutcome, Halt>| match outcome {
            Ok(ItemOutcome::Indexed) => "indexed",
            Ok(ItemOutcome::AlreadyThere) => "already there",
            Ok(ItemOutcome::Refused(Refusal::Overloaded)) => "overloaded",
            Ok(ItemOutcome::Refused(Refusal::Blocked(_))) => "blocked",
            Ok(ItemOutcome::Refused(Refusal::Fault(_))) => "fault",
            Ok(ItemOutcome::Failed { .. }) => "failed",
            Err(Halt::Denied(_)) => "denied",
            Err(Halt::Unexpected(_)) => "unexpected",
            Err(Halt::Garbled(_)) => "garbled",
        };
        for (status, kind, mode, expected) in [
            (409, "version_conflict_engine_exception", Distinct, "already there"),
            (409, "version_conflict_engine_exception", Index, "fault"),
            (409, "resource_already_exists_exception", Distinct, "fault"),
            (429, "es_rejected_execution_exception", Index, "overloaded"),
            (429, "rejected_execution_exception", Index, "overloaded"),
            (503, "rejected_execution_exception", Index, "overloaded"),
            (429, "circuit_breaking_exception", Index, "overloaded"),
            (503, "circuit_breaking_exception", Index, "overloaded"),
            (429, "", Index, "overloaded"),
            (403, "cluster_block_exception", Index, "blocked"),
            (429, "cluster_block_exception", Index, "blocked"),
            (503, "cluster_block_exception", Index, "blocked"),
            (400, "index_closed_exception", Index, "blocked"),
            (403, "index_closed_exception", Index, "blocked"),
            (404, "index_not_found_exception", Index, "blocked"),
            (400, "validation_exception", Index, "blocked"),
            (403, "security_exception", Index, "denied"),
            (403, "index_create_block_exception", Index, "blocked"),
            (401, "security_exception", Index, "denied"),
            (401, "", Index, "denied"),
            (403, "", Index, "denied"),
            (503, "unavailable_shards_exception", Index, "fault"),
            (503, "process_cluster_event_timeout_exception", Index, "fault"),
            (500, "node_not_connected_exception", Index, "fault"),
            (500, "null_pointer_exception", Index, "fault"),
            (408, "", Index, "fault"),
            (400, "mapper_parsing_exception", Index, "failed"),
            (400, "strict_dynamic_mapping_exception", Index, "failed"),
            (400, "illegal_argument_exception", Index, "failed"),
            (400, "document_parsing_exception", Index, "failed"),
            (400, "routing_missing_exception", Index, "failed"),
            (400, "", Index, "failed"),
            (404, "document_missing_exception", Index, "failed"),
            (413, "whatever", Index, "failed"),
            (400, "invalid_index_name_exception", Index, "unexpected"),
            (0, "", Index, "garbled"),
            (100, "", Index, "garbled"),
            (302, "", Index, "garbled"),
            (600, "", Index, "garbled"),
            (201, "mapper_parsing_exception", Index, "garbled"),
        ] {
            assert_eq!(name(one(status, kind, "why", mode)), expected, "{status} {kind} {mode:?}");
        }
        for (_, reason) in NOT_THE_DOCUMENT {
            assert_eq!(name(one(400, "illegal_argument_exception", reason, Index)), "blocked");
        }
        let ids = "Document ID is not supported in create/index operation request";
        assert_eq!(name(one(400, "illegal_argument_exception", ids, Index)), "unexpected");
    }

    #[test]
    fn failed_documents_keep_the_reason_and_its_cause() {
        assert_eq!(
            one(400, "mapper_parsing_exception", "failed to parse", WriteMode::Index),
            Ok(ItemOutcome::Failed {
                error_type: "mapper_parsing_exception".into(),
                reason: "failed to parse: deep".into()
            })
        );
    }

    #[test]
    fn documents_that_a_pipeline_dropped_are_not_acknowledged() {
        let body = br#"{"items":[{"index":{"result":"created","status":201}},{"index":{"result":"updated","status":200}},
            {"index":{"result":"noop","status":200}}]}"#;
        let found = outcomes(body, sent(3, WriteMode::Index)).unwrap();
        assert_eq!(found[..2], [ItemOutcome::Indexed, ItemOutcome::Indexed]);
        assert!(
            matches!(&found[2], ItemOutcome::Failed { error_type, .. } if error_type == "dropped_by_target")
        );
    }

    #[test]
    fn errors_of_the_oldest_form_are_understood() {
        let body = br#"{"items":[{"index":{"status":400,"error":"MapperParsingException[no]"}}]}"#;
        assert_eq!(
            outcomes(body, sent(1, WriteMode::Index)),
            Ok(vec![ItemOutcome::Failed {
                error_type: "http_400".into(),
                reason: "MapperParsingException[no]".into()
            }])
        );
    }

    #[test]
    fn a_summary_does_not_overrule_the_statuses() {
        let body = br#"{"errors":false,"items":[{"index":{"status":503}}]}"#;
        assert!(matches!(
            outcomes(body, sent(1, WriteMode::Index)).as_deref(),
            Ok([ItemOutcome::Refused(Refusal::Fault(_))])
        ));
    }

    #[test]
    fn nothing_malformed_counts_as_acknowledged() {
        let deep = format!(r#"{{"x":{}{},"items":[]}}"#, "[".repeat(9999), "]".repeat(9999));
        for body in [
            "",
            "{}",
            "null",
            "[]",
            "<html>",
            r#"{"took":1,"errors":false}"#,
            r#"{"errors":false,"items":[]}"#,
            r#"{"errors":false,"items":null}"#,
            r#"{"errors":false,"items":{"index":{"status":200}}}"#,
            r#"{"errors":false,"items":[{}]}"#,
            r#"{"errors":false,"items":[null]}"#,
            r#"{"errors":false,"items":[{"index":{}}]}"#,
            r#"{"errors":false,"items":[{"index":null}]}"#,
            r#"{"errors":false,"items":[{"index":{"status":null}}]}"#,
            r#"{"errors":false,"items":[{"index":{"status":"200"}}]}"#,
            r#"{"errors":false,"items":[{"index":{"status":200.5}}]}"#,
            r#"{"errors":false,"items":[{"index":{"status":-200}}]}"#,
            r#"{"errors":false,"items":[{"index":{"status":65736}}]}"#,
            r#"{"errors":false,"items":[{"index":{"status":200},"create":{"status":200}}]}"#,
            r#"{"errors":false,"items":[{"index":{"status":200,"status":200}}]}"#,
            r#"{"errors":false,"items":[{"index":{"status":200}},{"index":{"status":200}}]}"#,
            r#"{"errors":false,"items":[{"index":{"status":200}}]"#,
            r#"{"errors":false,"items":[{"index":{"status":200}}]} x"#,
            r#"{"error":{"type":"a"},"status":200}"#,
            deep.as_str(),
        ] {
            let outcome = outcomes(body.as_bytes(), sent(1, WriteMode::Index));
            assert!(matches!(outcome, Err(Halt::Garbled(_))), "{body}: {outcome:?}");
        }
    }

    const INDEX: WriteMode = WriteMode::Index;

    #[test]
    fn no_document_gets_the_outcome_of_another_one() {
        let items = |items: &[(&str, &str)]| {
            let item = |(index, id): &(&str, &str)| {
                format!(
                    r#"{{"index":{{"_index":"{index}","_id":"{id}","status":400,"error":{{"type":"a"}}}}}}"#
                )
            };
            let items: Vec<_> = items.iter().map(item).collect();
            format!(r#"{{"items":[{}]}}"#, items.join(","))
        };
        let meaning = |answer: &str| judged(answer.as_bytes(), &batch(3, INDEX, 1), INDEX, 1 << 20, 99);
        let right = items(&[("i", "0"), ("own", "1"), ("\\u0069", "\\u0032")]);
        let judged = meaning(&right).unwrap();
        assert_eq!((judged.items.len(), judged.elsewhere.len(), judged.renamed), (3, 0, None));

        let reversed = meaning(&items(&[("i", "2"), ("own", "1"), ("i", "0")])).unwrap();
        let renamed = Renamed { index: "i".into(), sent: "0".into(), answered: "2".into() };
        assert_eq!(reversed.renamed, Some(renamed));
        let elsewhere = meaning(&items(&[(".ds-i-1", "0"), ("i", "1"), (".ds-i-1", "2")])).unwrap();
        let pairs = [("i", ".ds-i-1"), ("own", "i")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!((elsewhere.elsewhere, elsewhere.renamed), (BTreeSet::from(pairs), None));

        for wrong in [
            right.replace(r#""_id":"0","#, ""),
            right.replace(r#""_index":"own","#, ""),
            right.replace(r#""_id":"0""#, r#""_id":0"#),
            right.replace(r#""_id":"0""#, r#""_id":null"#),
            items(&[("i", "0"), ("own", "1")]),
            items(&[("i", "0"), ("own", "1"), ("i", "2"), ("own", "3")]),
        ] {
            assert!(matches!(meaning(&wrong), Err(Halt::Garbled(_))), "{wrong}");
        }
    }

    #[test]
    fn documents_that_were_plainly_written_are_those_that_were_sent() {
        let item = |index: &str, id: &str, end: &str| {
            format!(r#"{{"index":{{"_index":"{index}","_id":"{id}"{end}}}}}"#)
        };
        let created = r#","result":"created","status":201"#;
        let answer = |second: &str| {
            format!(r#"{{"items":[{},{second},{}]}}"#, item("i", "0", created), item("i", "2", created))
        };
        let meaning =
            |answer: &str, part| judged(answer.as_bytes(), &batch(3, INDEX, 3), INDEX, 1 << 20, part);
        for (second, renamed, elsewhere) in [
            (item("i", "1", created), false, 0),
            (item("i", "1", r#","status":200"#), false, 0),
            (item("i", "1", r#","result":"updated","status":200"#), false, 0),
            // Whatever differs in a byte is looked at closely.
            (item("i", "2", created), true, 0),
            (item("i", "11", created), true, 0),
            (item("i2", "1", created), false, 1),
            (item("", "1", created), false, 1),
        ] {
            let answer = answer(&second);
            // In one part, and in parts that no item is whole in.
            let (whole, parts) = (meaning(&answer, 9999).unwrap(), meaning(&answer, 7).unwrap());
            assert_eq!(whole, parts, "{second}");
            assert_eq!((whole.renamed.is_some(), whole.elsewhere.len()), (renamed, elsewhere), "{second}");
            assert_eq!(whole.items, vec![ItemOutcome::Indexed; 3], "{second}");
        }
        for (end, expected) in [
            (r#","status":429"#, ItemOutcome::Refused(Refusal::Overloaded)),
            (
                r#","status":400,"error":{"type":"a","reason":"b"}"#,
                ItemOutcome::Failed { error_type: "a".to_owned(), reason: "b".to_owned() },
            ),
        ] {
            let judged = meaning(&answer(&item("i", "1", end)), 9999).unwrap();
            assert_eq!(judged.items, [ItemOutcome::Indexed, expected, ItemOutcome::Indexed]);
        }
        for wrong in [r#","status":0"#, r#","status":201"#.repeat(2).as_str(), ""] {
            let answer = answer(&item("i", "1", wrong));
            assert!(matches!(meaning(&answer, 9999), Err(Halt::Garbled(_))), "{wrong}");
        }
    }

    #[test]
    fn reasons_of_many_documents_share_what_room_there_is() {
        const DOCUMENTS: usize = 500;
        // Characters may have four bytes each.
        for word in ["why ", "\u{1f980}\u{1f980} "] {
            let reason = word.repeat(3000);
            let items: Vec<_> = (0..DOCUMENTS)
                .map(|n| format!(r#"{{"index":{{"_index":"i","_id":"{n}","status":400,"error":{{"type":"a","reason":"{reason}"}}}}}}"#))
                .collect();
            let answer = format!(r#"{{"items":[{}]}}"#, items.join(","));
            let batch = batch(DOCUMENTS, INDEX, DOCUMENTS);
            let judged = judged(answer.as_bytes(), &batch, INDEX, 100 * DOCUMENTS, 16 << 10).unwrap();
            let lengths: Vec<usize> = judged
                .items
                .iter()
                .map(|item| if let ItemOutcome::Failed { reason, .. } = item { reason.len() } else { 0 })
                .collect();
            assert!(lengths.iter().all(|length| (50..=110).contains(length)), "{lengths:?}");
            assert!(lengths.iter().sum::<usize>() <= 100 * DOCUMENTS);
        }
    }

    /// An answer of OpenSearch 2.19.5 to two documents.
    const RECORDED: &str = r#"{"took":12,"errors":true,"items":[{"index":{"_index":"i","_id":"0","result":"updated","status":200}},{"index":{"_index":"i","_id":"1","status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse field [n]","caused_by":{"reason":"For input string: \\"seven\\""}}}}]}"#;

    proptest::proptest! {
        #[test]
        fn an_answer_that_was_changed_on_its_way_never_misleads(
            at in 0..RECORDED.len(), drop in 0usize..30, put in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..9),
        ) {
            let batch = batch(2, INDEX, 2);
            let mut bytes = RECORDED.as_bytes().to_vec();
            bytes.splice(at..(at + drop).min(RECORDED.len()), put);
            if let Ok(judged) = judged(&bytes, &batch, INDEX, 1 << 20, 11) {
                proptest::prop_assert_eq!(judged.items.len(), 2);
            }
            let _ = Words::of_body(&bytes, &Redactor::default());
        }
    }
}

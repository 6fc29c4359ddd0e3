//! What the answer to a bulk request means for each of its documents.

use super::Sent;
use crate::words::{Words, malformed};
use backfill::model::WriteMode;
use backfill::ports::{ItemOutcome, Refusal, TargetError};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Why the answer to a batch is not one for each document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Halt {
    Denied(String),
    Unexpected(String),
}

impl Halt {
    pub(super) fn into_error(self, target: &str) -> TargetError {
        let target = target.to_owned();
        match self {
            Halt::Denied(reason) => TargetError::Denied { target, reason },
            Halt::Unexpected(reason) => TargetError::Unexpected { target, reason },
        }
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

/// What is below the name of the action.
#[derive(Deserialize)]
struct Inner<'a> {
    status: u16,
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

/// The outcome of each document. Statuses count; the answer's own summary (`errors`) does not.
pub(super) fn outcomes(body: &[u8], sent: Sent) -> Result<Vec<ItemOutcome>, Halt> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|e| {
        Halt::Unexpected(format!(
            "its answer to a bulk request is not one ({}); check that the address is right",
            malformed(&e)
        ))
    })?;
    if body.items.len() != sent.entries {
        let (items, entries) = (body.items.len(), sent.entries);
        return Err(Halt::Unexpected(format!(
            "it answered for {items} documents when {entries} were sent; check what is between it and us"
        )));
    }
    body.items.iter().map(|item| outcome(&item.0, sent.mode)).collect()
}

/// Reasons with status 400 that are the index's or the request's, the same for every document.
const NOT_THE_DOCUMENT: [(&str, &str); 2] = [
    ("illegal_argument_exception", "only write ops with an op_type of create are allowed in data streams"),
    ("illegal_argument_exception", "no write index is defined for alias"),
];

fn outcome(item: &Inner<'_>, mode: WriteMode) -> Result<ItemOutcome, Halt> {
    let Some(error) = item.error else {
        return match item.status {
            // What is written is created or updated. Nothing was done where an ingest pipeline dropped the document.
            200..300 if item.result.is_some_and(|result| result.get() == "\"noop\"") => Ok(ItemOutcome::Failed {
                error_type: "dropped_by_target".to_owned(),
                reason: "the target answered that it did nothing: an ingest pipeline there dropped the document".to_owned(),
            }),
            200..300 => Ok(ItemOutcome::Indexed),
            status => judge(status, Words::default(), mode),
        };
    };
    match item.status {
        200..300 => {
            let words = Words::of_error(error).sentence();
            Err(Halt::Unexpected(format!(
                "a document has both succeeded and failed ({words}); check what is between it and us"
            )))
        }
        status => judge(status, Words::of_error(error), mode),
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
        _ => Err(Halt::Unexpected(format!(
            "a document has the status {status}; check what is between it and us"
        ))),
    }
}

fn named(kind: String, status: u16) -> String {
    if kind.is_empty() { format!("http_{status}") } else { kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(entries: usize, mode: WriteMode) -> Sent {
        Sent { entries, bytes: 1, mode }
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
            (0, "", Index, "unexpected"),
            (100, "", Index, "unexpected"),
            (302, "", Index, "unexpected"),
            (600, "", Index, "unexpected"),
            (201, "mapper_parsing_exception", Index, "unexpected"),
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
            assert!(matches!(outcome, Err(Halt::Unexpected(_))), "{body}: {outcome:?}");
        }
    }
}

//! A shard of the snapshot within a run.

use super::{DocumentPlan, Finding};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names a shard: the index as the snapshot names it, and the shard's number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId {
    /// Name of the index in the snapshot (for a data stream, the backing index).
    pub index: String,
    /// Shard number, from 0.
    pub shard: u32,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}][{}]", self.index, self.shard)
    }
}

/// What planning found out about a shard. Immutable once stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which shard.
    pub id: ShardId,
    /// Directory of the shard in the repository, relative to its root, without a trailing slash; with a slash before
    /// it, relative to the store that the repository is in.
    pub path: String,
    /// ETag (or its like) of the shard's manifest: a worker that meets another one knows that the snapshot changed.
    pub manifest_etag: String,
    /// Live Lucene documents by the segments' metadata: maxDoc − deleted − soft-deleted, nested children included. Those of
    /// segments that cannot be read are included, too, as far as their number is known.
    pub live_docs: u64,
    /// Bytes of stored fields that its chunks will read.
    pub stored_bytes: u64,
    /// Number of its chunks.
    pub chunks: u32,
    /// Why (part of) the shard could not be planned, one finding of each kind. Any of them makes the run end as damaged.
    #[serde(rename = "damage", default, with = "super::finding::as_text")]
    pub findings: Vec<Finding>,
    /// Live documents of segments that could not be planned.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub damaged_docs: u64,
    /// Segments that could not be planned and whose live documents nobody can count; 1 for a shard whose segments are not
    /// known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uncounted_segments: u64,
    /// Whether documents of it have a routing or a parent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub routed: bool,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Shard {
    /// A shard of which nothing is known yet but where it lies.
    pub fn new(id: ShardId, path: String) -> Shard {
        Shard {
            id,
            path,
            manifest_etag: String::new(),
            live_docs: 0,
            stored_bytes: 0,
            chunks: 0,
            findings: Vec::new(),
            damaged_docs: 0,
            uncounted_segments: 0,
            routed: false,
        }
    }

    /// Records that a segment with so many live documents cannot be read; without a number when nobody knows it.
    pub fn lose_segment(&mut self, segment: &str, live: Option<u32>, why: &Finding) {
        let live_docs = u64::from(live.unwrap_or(0));
        self.live_docs += live_docs;
        self.damaged_docs += live_docs;
        self.uncounted_segments += u64::from(live.is_none());
        let lost = live.map_or_else(|| "an unknown number of".to_owned(), |live| live.to_string());
        let segment = format!("segment {segment} ({lost} documents)");
        let Some(same) = self.findings.iter_mut().find(|finding| finding.kind == why.kind) else {
            let text = format!("{segment}: {}", why.text);
            self.findings.push(Finding { kind: why.kind, text }.clipped());
            return;
        };
        // When there are many segments the reasons of the first have to do, but each is named.
        let few = same.text.len() < MAX_DESCRIPTION / 2;
        let reason = if few { format!(": {}", why.text) } else { String::new() };
        same.text = clipped(&format!("{}; {segment}{reason}", same.text));
    }
}

/// An index of the snapshot within a run. Immutable once stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexPlan {
    /// Name in the snapshot.
    pub name: String,
    /// Index or data stream that is written to.
    pub destination: String,
    /// Whether the destination is a data stream, so that documents are written with `create`.
    pub data_stream: bool,
    /// What becomes of its documents on the way.
    #[serde(default)]
    pub documents: DocumentPlan,
    /// What the operator should know before anything runs, e.g. that documents have no `_source`.
    pub warnings: Vec<String>,
}

/// Bytes of a description of damage that are kept: names in it come from the snapshot, and may be of any length.
const MAX_DESCRIPTION: usize = 2000;

/// As much of a description as is kept.
pub fn clipped(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_DESCRIPTION)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FindingKind;

    #[test]
    fn every_lost_segment_is_named_and_counted() {
        let mut shard = Shard::new(ShardId { index: "i".to_owned(), shard: 0 }, "indices/i/0".to_owned());
        shard.live_docs = 5;
        for segment in ["_0", "_1", "_2"] {
            shard.lose_segment(segment, Some(10), &Finding::unreadable("x".repeat(600)));
        }
        shard.lose_segment("_3", None, &Finding::damaged("y"));
        let [unreadable, damaged] = &shard.findings[..] else { panic!("{:?}", shard.findings) };
        assert_eq!(unreadable.kind, FindingKind::Unreadable);
        assert!(unreadable.text.starts_with("segment _0 (10 documents): xxx"), "{unreadable}");
        assert!(unreadable.text.ends_with("; segment _2 (10 documents)"), "{unreadable}");
        assert_eq!(*damaged, Finding::damaged("segment _3 (an unknown number of documents): y"));
        let stored = serde_json::to_value(&shard).unwrap();
        assert_eq!(serde_json::from_value::<Shard>(stored.clone()).unwrap(), shard);
        // As an earlier version stored it.
        let earlier =
            serde_json::json!({"damage": "damaged: segment _0 (10 documents): y; segment _1 (1 documents)"});
        let mut record = stored.as_object().unwrap().clone();
        record.extend(earlier.as_object().unwrap().clone());
        let read: Shard = serde_json::from_value(record.into()).unwrap();
        assert_eq!(
            read.findings,
            [Finding::damaged("segment _0 (10 documents): y; segment _1 (1 documents)")]
        );
        assert_eq!((shard.live_docs, shard.damaged_docs, shard.uncounted_segments), (35, 30, 1));
    }
}

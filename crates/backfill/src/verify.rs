//! Verification: compares the snapshot with the target, by exact counts and by documents.
//!
//! Counts come from the segments' metadata, minus nested children by a field that only root documents have; where it
//! does not tell (indices made before Elasticsearch 6.1), children are counted as they are read. Documents
//! are read from the snapshot and compared by id, routing and source; JSON is compared as values, with numbers as
//! they are written, because a target may answer with other white space than it was sent.
//!
//! Whatever cannot be read or asked for is a [`Problem`] of its index: the rest of the index and all others are compared. Only a
//! repository or a target that is out of reach as a whole ends the verification.

use crate::indices::{Handling, plan_indices};
use crate::model::{IndexPlan, Selection};
use crate::ports::TargetError;
use crate::source::{IndexSource, OpenedSnapshot, Repository, Segment, ShardSource, SourceError};
use async_trait::async_trait;
use lucene::bits::Bits;
use lucene::stored_fields::BlockDecoder;
use serde::Serialize;
use serde_json::Value;
use snapshot::document::{DocumentReader, Interpreted, Root, Scratch, Source};
use snapshot::source::{Check, Rules, to_json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Documents fetched from the target at once, at most.
const FETCH_DOCUMENTS: usize = 500;
/// The version of an index from which on every root document has a `_primary_term`, and no child
/// (`SeqNoFieldMapper` of Elasticsearch 6.1.0); those of OpenSearch are above.
const ONLY_ROOTS_SINCE: u64 = 6_010_000;
/// Bytes of sources compared at once, about.
const FETCH_BYTES: usize = 4 << 20;
/// Differences, and problems, described for each index, at most.
const MAX_DIFFERENCES: usize = 20;

/// A document as the target returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetDocument {
    /// Custom routing, if it has any.
    pub routing: Option<String>,
    /// `_source`, as it is stored: mostly JSON. `None` where the index keeps none.
    pub source: Option<Vec<u8>>,
}

/// What verification asks of a target.
#[async_trait]
pub trait VerifiableTarget: Send + Sync {
    /// Whether it can be reached and lets us in.
    async fn check(&self) -> Result<(), TargetError>;

    /// How many documents an index or data stream has, as a search would find them; `None` if it does not exist.
    async fn count(&self, index: &str) -> Result<Option<u64>, TargetError>;

    /// Documents by id and routing, in the order asked; `None` where there is none.
    async fn fetch(
        &self,
        index: &str,
        keys: &[(String, Option<String>)],
    ) -> Result<Vec<Option<TargetDocument>>, TargetError>;
}

/// Why verification could not be carried out at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The target cannot be asked.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// What kept a part of an index from being compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where it lies.
    pub kind: ProblemKind,
    /// What it is.
    pub message: String,
}

/// Where a [`Problem`] lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// A part of the snapshot is damaged or cannot be read.
    Snapshot,
    /// The target does not show an index.
    Target,
    /// It is not known what should have become of the index.
    Refused,
}

/// How much is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// About so many documents of each index, spread over its segments.
    Sample(u32),
    /// Every document.
    Full,
}

/// What was found out about an index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IndexVerification {
    /// Name in the snapshot.
    pub index: String,
    /// Index or data stream in the target; several, separated by commas, of an index that was split by type.
    pub destination: String,
    /// Live root documents in the snapshot; of all backing indices, for a data stream.
    pub snapshot_count: u64,
    /// Documents in the target; `None` if it has no such index.
    pub target_count: Option<u64>,
    /// Documents compared.
    pub compared: u64,
    /// Documents that the target lacks.
    pub missing: u64,
    /// Documents that differ.
    pub different: u64,
    /// Documents that cannot be compared because their source is not stored or not readable.
    pub incomparable: u64,
    /// The first differences, in words.
    pub differences: Vec<String>,
    /// The first problems: not everything could be compared if there are any.
    pub problems: Vec<Problem>,
}

impl IndexVerification {
    /// Whether the target holds what the snapshot holds.
    pub fn is_equal(&self) -> bool {
        self.target_count == Some(self.snapshot_count)
            && self.missing == 0
            && self.different == 0
            && self.problems.is_empty()
    }

    fn describe(&mut self, what: String) {
        if self.differences.len() < MAX_DIFFERENCES {
            self.differences.push(what);
        }
    }

    fn problem(&mut self, kind: ProblemKind, message: impl ToString) {
        if self.problems.len() < MAX_DIFFERENCES {
            self.problems.push(Problem { kind, message: message.to_string() });
        }
    }

    /// An index of which nothing can be compared.
    fn impossible(index: String, kind: ProblemKind, why: impl ToString) -> IndexVerification {
        let mut result = IndexVerification { index, ..IndexVerification::default() };
        result.problem(kind, why);
        result
    }
}

/// Compares a selection of a snapshot's indices with the target.
///
/// # Errors
/// When the repository or the target is out of reach.
pub async fn verify(
    repository: &Repository,
    opened: &OpenedSnapshot,
    selection: &Selection,
    handling: &Handling,
    target: &dyn VerifiableTarget,
    depth: Depth,
) -> Result<Vec<IndexVerification>, VerifyError> {
    let (indices, damaged) = repository.indices(opened, selection).await?;
    let (plans, refused) = plan_indices(&indices, handling);
    let damaged = damaged.into_iter().map(|(name, why)| (name, ProblemKind::Snapshot, why.to_string()));
    let refused = refused.into_iter().map(|(name, why)| (name, ProblemKind::Refused, why));
    let mut results: Vec<IndexVerification> = damaged
        .chain(refused)
        .map(|(index, kind, why)| IndexVerification::impossible(index, kind, why))
        .collect();
    let missing = opened.missing_shards(&indices);
    for plan in &plans {
        let Some(index) = indices.iter().find(|index| index.entry.name == plan.name) else { continue };
        let result = IndexVerification {
            index: plan.name.clone(),
            destination: plan.destinations().join(","),
            ..IndexVerification::default()
        };
        let (pending, bytes) = (Vec::new(), 0);
        let mut comparison =
            Comparison { repository, opened, index, plan, target, depth, pending, bytes, result };
        for number in 0..index.metadata.number_of_shards {
            if !missing.iter().any(|m| m.index == index.entry.name && m.shard == number) {
                match comparison.shard(number).await {
                    Ok(()) => {}
                    Err(Stop::Index) => break,
                    Err(Stop::Everything(error)) => return Err(error),
                }
            }
        }
        results.push(comparison.result);
    }
    results.sort_by(|a, b| a.index.cmp(&b.index));
    count_destinations(&mut results, target).await?;
    Ok(results)
}

/// Fills in the target's counts. A data stream is counted once for all of its backing indices.
async fn count_destinations(
    results: &mut [IndexVerification],
    target: &dyn VerifiableTarget,
) -> Result<(), VerifyError> {
    let mut sums = BTreeMap::<String, u64>::new();
    for result in results.iter().filter(|result| !result.destination.is_empty()) {
        *sums.entry(result.destination.clone()).or_default() += result.snapshot_count;
    }
    for (destination, expected) in sums {
        let mut count = Ok(Some(0));
        for name in destination.split(',') {
            count = match (count, target.count(name).await) {
                (Ok(sum), Ok(more)) => Ok(sum.zip(more).map(|(sum, more)| sum + more)),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        if count.is_err() {
            target.check().await?;
        }
        for result in results.iter_mut().filter(|r| r.destination == destination) {
            result.snapshot_count = expected;
            match &count {
                Ok(count) => result.target_count = *count,
                Err(error) => result.problem(ProblemKind::Target, error),
            }
        }
    }
    Ok(())
}

/// Why a comparison does not go on.
enum Stop {
    /// The target does not show the index.
    Index,
    /// The repository or the target is out of reach.
    Everything(VerifyError),
}

/// What is compared, and what was found.
struct Comparison<'a> {
    repository: &'a Repository,
    opened: &'a OpenedSnapshot,
    index: &'a IndexSource,
    plan: &'a IndexPlan,
    target: &'a dyn VerifiableTarget,
    depth: Depth,
    /// Documents of the snapshot that wait to be compared, and their bytes, about.
    pending: Vec<Expected>,
    bytes: usize,
    result: IndexVerification,
}

/// What is compared of a segment.
struct Extent {
    live: Bits,
    /// One document in so many.
    every: u64,
    /// Whether nested children have to be told from documents by reading them.
    count_children: bool,
}

impl Comparison<'_> {
    /// Notes what cannot be read, unless the whole repository is out of reach.
    async fn unreadable(&mut self, error: SourceError) -> Result<(), Stop> {
        let there = self.repository.is_there_beside(&error).await;
        there.map_err(|error| Stop::Everything(error.into()))?;
        self.result.problem(ProblemKind::Snapshot, error);
        Ok(())
    }

    async fn shard(&mut self, number: u32) -> Result<(), Stop> {
        let path = self.index.shard_dir(number);
        let opened = ShardSource::open(self.repository.blobs.clone(), path, &self.opened.info.uuid).await;
        let shard = match opened {
            Ok(shard) => Arc::new(shard),
            Err(error) => return self.unreadable(error).await,
        };
        let segments = shard.commit.segments.clone();
        let shards = u64::from(self.index.metadata.number_of_shards);
        let parts = shards * segments.len() as u64;
        for commit in &segments {
            let segment = match Segment::open(shard.clone(), commit).await {
                Ok(segment) => segment,
                Err(error) => {
                    self.unreadable(error).await?;
                    continue;
                }
            };
            let extent = match self.extent(&segment, parts).await {
                Ok(Some(extent)) => extent,
                Ok(None) => continue,
                Err(error) => {
                    self.unreadable(error).await?;
                    continue;
                }
            };
            match self.segment(&segment, &extent).await {
                Ok(()) => {}
                Err(SegmentStop::Stop(stop)) => return Err(stop),
                Err(SegmentStop::Unreadable(error)) => self.unreadable(error).await?,
            }
        }
        self.compare().await
    }

    /// What is to be compared of a segment of one of so many parts; counts its documents.
    async fn extent(&mut self, segment: &Segment, parts: u64) -> Result<Option<Extent>, SourceError> {
        if segment.live_count() == 0 {
            return Ok(None);
        }
        let metadata = &self.index.metadata;
        let mut live = segment.live_docs().await?;
        // In indices made before Elasticsearch 6.1 children have the field, too, and older documents lack it.
        let told = metadata.created.is_some_and(|version| version.0 >= ONLY_ROOTS_SINCE);
        let roots = if told { segment.root_docs().await? } else { None };
        let count_children = roots.is_none() && metadata.mappings.has_nested;
        if let Some(roots) = roots {
            let mut children = Bits::all(segment.info.doc_count);
            children.and_not(&roots);
            live.and_not(&children);
        }
        self.result.snapshot_count += u64::from(live.count());
        let every = match self.depth {
            Depth::Full => 1,
            // Spread over shards and segments by their size; the first of each is always in.
            Depth::Sample(0) if !count_children => return Ok(None),
            Depth::Sample(wanted) => {
                let wanted = u64::from(wanted).div_ceil(parts).max(1);
                u64::from(live.count()).div_ceil(wanted).max(1)
            }
        };
        Ok(Some(Extent { live, every, count_children }))
    }

    async fn segment(&mut self, segment: &Segment, extent: &Extent) -> Result<(), SegmentStop> {
        let Extent { live, every, count_children } = extent;
        let (every, count_children) = (*every, *count_children);
        let damage = |error| segment.error(error);
        let index = segment.block_index().await?;
        let header = segment.data_header().await?;
        let decoder = BlockDecoder::new(&segment.data_file(), &header, &index).map_err(damage)?;
        let mut decoder = decoder.with_limit(segment.budget().document);
        let rules = Rules { limit: segment.budget().document, ..Rules::default() };
        let documents = DocumentReader::new(&segment.fields).with_rules(rules);
        let time_series = self.plan.documents.time_series;
        let mut scratch = Scratch::default();
        let mut seen = 0u64;
        for number in 0..index.len() {
            let block = index.block(number).map_err(damage)?;
            let docs = block.first_doc..block.first_doc.saturating_add(block.doc_count);
            let alive = docs.filter(|doc| live.get(*doc)).count() as u64;
            // Skip blocks that hold none of the sample.
            let sampled = seen.div_ceil(every) != (seen + alive).div_ceil(every);
            if alive == 0 || !(sampled || count_children) {
                seen += alive;
                continue;
            }
            let data = segment.read_data(block.offset..block.offset + block.length).await?;
            let stored = match decoder.decode(&block, &data) {
                Ok(stored) => stored,
                Err(error) => {
                    seen += alive;
                    self.unreadable(damage(error)).await?;
                    continue;
                }
            };
            for document in stored.iter().filter(|d| live.get(d.doc)) {
                let sampled = seen.is_multiple_of(every);
                seen += 1;
                if !(sampled || count_children) {
                    continue;
                }
                match documents.read(&document, &mut scratch) {
                    Ok(Interpreted::NestedChild) if count_children => self.result.snapshot_count -= 1,
                    _ if !sampled => {}
                    Ok(Interpreted::Root(root)) => match expected(&root, self.plan) {
                        Some(expected) => {
                            self.bytes += expected.source.len();
                            self.pending.push(expected);
                        }
                        None => self.result.incomparable += 1,
                    },
                    Ok(Interpreted::NestedChild) if !time_series => {}
                    Ok(Interpreted::NestedChild | Interpreted::Tombstone { .. }) => {
                        self.result.incomparable += 1;
                    }
                    Err(_) => self.result.incomparable += 1,
                }
                if self.pending.len() >= FETCH_DOCUMENTS || self.bytes >= FETCH_BYTES {
                    self.compare().await?;
                }
            }
            // Too large to be decompressed.
            for _ in stored.cut_off().filter(|(d, _)| live.get(d.doc)) {
                self.result.incomparable += u64::from(seen.is_multiple_of(every));
                seen += 1;
            }
        }
        Ok(())
    }

    /// Compares the documents that wait for it.
    async fn compare(&mut self) -> Result<(), Stop> {
        self.bytes = 0;
        let limit = self.repository.blobs.budget().document;
        let mut by_index: BTreeMap<String, Vec<Expected>> = BTreeMap::new();
        for document in std::mem::take(&mut self.pending) {
            by_index.entry(document.index.clone()).or_default().push(document);
        }
        for (index, expected) in by_index {
            let keys: Vec<_> = expected.iter().map(|e| (e.id.clone(), e.routing.clone())).collect();
            match self.target.fetch(&index, &keys).await {
                Ok(found) => {
                    for (position, expected) in expected.iter().enumerate() {
                        let found = found.get(position).and_then(Option::as_ref);
                        compare(expected, found, limit, &mut self.result);
                    }
                }
                Err(error) => {
                    let reached = self.target.check().await;
                    reached.map_err(|error| Stop::Everything(error.into()))?;
                    self.result.problem(ProblemKind::Target, error);
                    return Err(Stop::Index);
                }
            }
        }
        Ok(())
    }
}

/// Why the comparison of a segment does not go on.
enum SegmentStop {
    Stop(Stop),
    /// It cannot be read any further.
    Unreadable(SourceError),
}

impl From<Stop> for SegmentStop {
    fn from(stop: Stop) -> SegmentStop {
        SegmentStop::Stop(stop)
    }
}

impl From<SourceError> for SegmentStop {
    fn from(error: SourceError) -> SegmentStop {
        SegmentStop::Unreadable(error)
    }
}

/// A document of the snapshot that waits to be compared.
struct Expected {
    index: String,
    id: String,
    routing: Option<String>,
    source: Vec<u8>,
}

/// What should be in the target, if the source tells.
fn expected(root: &Root<'_>, plan: &IndexPlan) -> Option<Expected> {
    let Source::Json(source) = root.source else { return None };
    if plan.documents.withholds(root.doc_type, root.recovered) {
        return None;
    }
    let routing = plan.documents.routing_of(root).ok()?;
    Some(Expected {
        index: plan.destination_of(root.doc_type)?.to_owned(),
        id: root.id.to_owned(),
        routing: routing.or(root.parent.map(Cow::Borrowed)).map(Cow::into_owned),
        source: plan.documents.sent(root, source).into_owned(),
    })
}

/// Compares one document with what the target has in its place. Their values may take about `limit` bytes of memory.
fn compare(
    expected: &Expected,
    found: Option<&TargetDocument>,
    limit: usize,
    result: &mut IndexVerification,
) {
    let id = &expected.id;
    let Some(document) = found else {
        result.compared += 1;
        result.missing += 1;
        result.describe(format!("document {id:?} is not in the target"));
        return;
    };
    let same = document.source.as_ref().and_then(|source| same_source(&expected.source, source, limit));
    let Some(same) = same else {
        result.incomparable += 1;
        return;
    };
    result.compared += 1;
    if document.routing != expected.routing {
        result.different += 1;
        let (here, there) = (&expected.routing, &document.routing);
        result.describe(format!(
            "document {id:?} has routing {there:?} in the target, {here:?} in the snapshot"
        ));
    } else if !same {
        result.different += 1;
        result.describe(format!("document {id:?} has another source in the target"));
    }
}

/// How many times more memory the values of a document may take than its text, about: a number of one digit becomes a value
/// of dozens of bytes.
const VALUE_GROWTH: usize = 16;

/// Whether two sources are the same but for white space, escapes, and what servers accept beside JSON, such as comments and
/// UTF-16. Numbers are compared as they are written.
///
/// `None` if that cannot be found out because their values might take more than a few times `limit` bytes of memory. Sources
/// that are the same byte for byte may have any length.
pub fn same_source(a: &[u8], b: &[u8], limit: usize) -> Option<bool> {
    if a == b {
        return Some(true);
    }
    let longest = limit / VALUE_GROWTH;
    let stored = a.len().max(b.len());
    // UTF-16 may become shorter by half, and hardly anything else does.
    if stored / 2 > longest {
        return None;
    }
    let rules = Rules { check: Check::Complete, limit: longest };
    let (mut room_for_a, mut room_for_b) = (Vec::new(), Vec::new());
    let (Ok(a), Ok(b)) = (to_json(a, &mut room_for_a, &rules), to_json(b, &mut room_for_b, &rules)) else {
        // What is short enough is refused because it is no document, and not because it would become too long.
        return (stored.saturating_mul(2) <= longest).then_some(false);
    };
    if a.len().max(b.len()) > longest {
        return None;
    }
    let value = |json| serde_json::from_slice::<Value>(json).ok();
    Some(value(a).zip(value(b)).is_some_and(|(a, b)| a == b))
}

#[cfg(test)]
mod tests {
    use super::same_source;

    #[test]
    fn sources_are_compared_by_value_with_numbers_as_written() {
        let utf16: Vec<u8> = "{ \"a\":\"é\" }".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let same: [(&[u8], &[u8]); 7] = [
            (b"{\"a\":1.10}", b"{ \"a\" : 1.10 }"),
            (b"{\"a\":\"\\u00e9\"}", "{\"a\":\"é\"}".as_bytes()),
            (b"x", b"x"),
            (b"{\"a\":\"\xed\xa0\x80\"}", b"{\"a\":\"\xed\xa0\x80\"}"),
            (b"{\"a\":1, /* c */ \"b\":2}", b"{\"a\":1,\"b\":2}"),
            (b"{\"a\":1, /* c */ \"b\":2}", b"{\"a\":1,\"b\":/* d */2}"),
            (&utf16, "{\"a\":\"é\"}".as_bytes()),
        ];
        let different: [(&[u8], &[u8]); 4] = [
            (b"{\"a\":1.10}", b"{\"a\":1.1}"),
            (b"{\"a\":1}", b"{\"a\":\"1\"}"),
            (b"{}", b"x"),
            (b"{\"a\":1 /* 1 */}", b"{\"a\":2 /* 1 */}"),
        ];
        assert!(same.iter().all(|(a, b)| same_source(a, b, 1 << 20) == Some(true)));
        assert!(different.iter().all(|(a, b)| same_source(a, b, 1 << 20) == Some(false)));
    }
    #[test]
    fn sources_are_compared_by_value_only_as_far_as_there_is_memory() {
        let long = |separator: &str| format!("{{\"a\":[{}]}}", vec!["0"; 1000].join(separator)).into_bytes();
        let (here, there) = (long(","), long(", "));
        assert_eq!(same_source(&here, &there, 1 << 20), Some(true));
        assert_eq!(same_source(&here, &there, 16 << 10), None);
        assert_eq!(same_source(&here, &here, 0), Some(true));
    }
}

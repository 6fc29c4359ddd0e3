//! Verification: compares the snapshot with the target, by exact counts and by documents.
//!
//! Counts come from the segments' metadata, minus nested children by a field that only root documents have; where it
//! does not tell (indices made before Elasticsearch 6.1), children are counted as they are read. Documents
//! are read from the snapshot and compared by id, routing and source; JSON is compared as values, with numbers as
//! they are written, because a target may answer with other white space than it was sent.

use crate::indices::{Handling, plan_indices};
use crate::model::{IndexPlan, Selection, Types, type_member, with_member};
use crate::source::{IndexSource, OpenedSnapshot, Repository, Segment, ShardSource, SourceError};
use async_trait::async_trait;
use lucene::bits::Bits;
use lucene::stored_fields::BlockDecoder;
use serde::Serialize;
use serde_json::Value;
use snapshot::document::{DocumentReader, Interpreted, Root, Scratch, Source};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Documents fetched from the target at once, at most.
const FETCH_DOCUMENTS: usize = 500;
/// The version of an index from which on every root document has a `_primary_term`, and no child
/// (`SeqNoFieldMapper` of Elasticsearch 6.1.0); those of OpenSearch are above.
const ONLY_ROOTS_SINCE: u64 = 6_010_000;
/// Bytes of sources compared at once, about.
const FETCH_BYTES: usize = 4 << 20;
/// Differences described for each index, at most.
const MAX_DIFFERENCES: usize = 20;

/// A document as the target returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetDocument {
    /// Custom routing, if it has any.
    pub routing: Option<String>,
    /// `_source`, as text.
    pub source: Box<str>,
}

/// What verification asks of a target.
#[async_trait]
pub trait VerifiableTarget: Send + Sync {
    /// How many documents an index or data stream has, as a search would find them; `None` if it does not exist.
    async fn count(&self, index: &str) -> Result<Option<u64>, crate::ports::TargetError>;

    /// Documents by id and routing, in the order asked; `None` where there is none.
    async fn fetch(
        &self,
        index: &str,
        keys: &[(String, Option<String>)],
    ) -> Result<Vec<Option<TargetDocument>>, crate::ports::TargetError>;
}

/// Why verification could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The target cannot be asked.
    #[error(transparent)]
    Target(#[from] crate::ports::TargetError),
    /// What should have become of an index is not known.
    #[error("{index}: {why}")]
    Refused {
        /// The index.
        index: String,
        /// Why.
        why: String,
    },
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
}

impl IndexVerification {
    /// Whether the target holds what the snapshot holds.
    pub fn is_equal(&self) -> bool {
        self.target_count == Some(self.snapshot_count) && self.missing == 0 && self.different == 0
    }

    fn describe(&mut self, what: String) {
        if self.differences.len() < MAX_DIFFERENCES {
            self.differences.push(what);
        }
    }
}

/// Compares a selection of a snapshot's indices with the target.
pub async fn verify(
    repository: &Repository,
    opened: &OpenedSnapshot,
    selection: &Selection,
    handling: &Handling,
    target: &dyn VerifiableTarget,
    depth: Depth,
) -> Result<Vec<IndexVerification>, VerifyError> {
    let (indices, refused) = repository.indices(opened, selection).await?;
    if let Some((_, error)) = refused.into_iter().next() {
        return Err(error.into());
    }
    let (plans, refused) = plan_indices(&indices, handling);
    if let Some((index, why)) = refused.into_iter().next() {
        return Err(VerifyError::Refused { index, why });
    }
    let missing = opened.missing_shards(&indices);
    let mut results: Vec<IndexVerification> = Vec::new();
    for (index, plan) in indices.iter().zip(&plans) {
        let mut result = IndexVerification {
            index: index.entry.name.clone(),
            destination: plan.destinations().join(","),
            ..IndexVerification::default()
        };
        for number in 0..index.metadata.number_of_shards {
            if missing.iter().any(|m| m.index == index.entry.name && m.shard == number) {
                continue;
            }
            let sides = Sides { index, plan, target };
            verify_shard(repository, opened, &sides, number, depth, &mut result).await?;
        }
        results.push(result);
    }
    count_destinations(&mut results, target).await?;
    Ok(results)
}

/// Fills in the target's counts. A data stream is counted once for all of its backing indices.
async fn count_destinations(
    results: &mut [IndexVerification],
    target: &dyn VerifiableTarget,
) -> Result<(), VerifyError> {
    let mut sums = BTreeMap::<String, u64>::new();
    for result in results.iter() {
        *sums.entry(result.destination.clone()).or_default() += result.snapshot_count;
    }
    for (destination, expected) in sums {
        let mut count = Some(0);
        for name in destination.split(',') {
            count = count.zip(target.count(name).await?).map(|(sum, more)| sum + more);
        }
        for result in results.iter_mut().filter(|r| r.destination == destination) {
            result.snapshot_count = expected;
            result.target_count = count;
        }
    }
    Ok(())
}

/// What is compared.
struct Sides<'a> {
    index: &'a IndexSource,
    plan: &'a IndexPlan,
    target: &'a dyn VerifiableTarget,
}

async fn verify_shard(
    repository: &Repository,
    opened: &OpenedSnapshot,
    sides: &Sides<'_>,
    number: u32,
    depth: Depth,
    result: &mut IndexVerification,
) -> Result<(), VerifyError> {
    let metadata = &sides.index.metadata;
    let path = sides.index.shard_dir(number);
    let shard = Arc::new(ShardSource::open(repository.blobs.clone(), path, &opened.info.uuid).await?);
    let segments: Vec<_> = shard.commit.segments.clone();
    for commit in &segments {
        let segment = Segment::open(shard.clone(), commit).await?;
        if segment.live_count() == 0 {
            continue;
        }
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
        result.snapshot_count += u64::from(live.count());
        let every = match depth {
            Depth::Full => 1,
            // Spread over shards and segments by their size; the first of each is always in.
            Depth::Sample(0) if !count_children => continue,
            Depth::Sample(wanted) => {
                let shards = u64::from(metadata.number_of_shards);
                let parts = shards * segments.len() as u64;
                let wanted = u64::from(wanted).div_ceil(parts).max(1);
                u64::from(live.count()).div_ceil(wanted).max(1)
            }
        };
        compare_segment(&segment, &live, every, count_children, sides, result).await?;
    }
    Ok(())
}

/// A document of the snapshot that waits to be compared.
struct Expected {
    index: String,
    id: String,
    routing: Option<String>,
    source: Vec<u8>,
}

async fn compare_segment(
    segment: &Segment,
    live: &Bits,
    every: u64,
    count_children: bool,
    sides: &Sides<'_>,
    result: &mut IndexVerification,
) -> Result<(), VerifyError> {
    let damage = |error| VerifyError::Source(segment.damage(error));
    let index = segment.block_index().await?;
    let header = segment.data_header().await?;
    let mut decoder = BlockDecoder::new(&segment.data_file(), &header, &index).map_err(damage)?;
    let documents = DocumentReader::new(&segment.fields);
    let mut scratch = Scratch::default();
    let mut pending: Vec<Expected> = Vec::new();
    let mut bytes = 0;
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
        let stored = decoder.decode(&block, &data).map_err(damage)?;
        for document in stored.iter().filter(|d| live.get(d.doc)) {
            let sampled = seen.is_multiple_of(every);
            seen += 1;
            if !(sampled || count_children) {
                continue;
            }
            match documents.read(&document, &mut scratch) {
                Ok(Interpreted::NestedChild) if count_children => result.snapshot_count -= 1,
                _ if !sampled => {}
                Ok(Interpreted::Root(root)) => match expected(&root, sides.plan) {
                    Some(expected) => {
                        bytes += expected.source.len();
                        pending.push(expected);
                    }
                    None => result.incomparable += 1,
                },
                Ok(Interpreted::NestedChild) if !sides.plan.documents.time_series => {}
                Ok(Interpreted::NestedChild | Interpreted::Tombstone { .. }) => result.incomparable += 1,
                Err(_) => result.incomparable += 1,
            }
            if pending.len() >= FETCH_DOCUMENTS || bytes >= FETCH_BYTES {
                compare(std::mem::take(&mut pending), sides.target, result).await?;
                bytes = 0;
            }
        }
    }
    compare(pending, sides.target, result).await
}

/// What should be in the target, if the source tells.
fn expected(root: &Root<'_>, plan: &IndexPlan) -> Option<Expected> {
    let Source::Json(source) = root.source else { return None };
    if plan.documents.withholds(root.doc_type, root.recovered) {
        return None;
    }
    let source = match (&plan.documents.types, root.doc_type) {
        (Types::Field(name), Some(doc_type)) => {
            with_member(source, &type_member(name, doc_type)).into_owned()
        }
        _ => source.to_vec(),
    };
    Some(Expected {
        index: plan.destination_of(root.doc_type)?.to_owned(),
        id: root.id.to_owned(),
        routing: root.routing.or(root.parent).map(str::to_owned),
        source,
    })
}

async fn compare(
    expected: Vec<Expected>,
    target: &dyn VerifiableTarget,
    result: &mut IndexVerification,
) -> Result<(), VerifyError> {
    let mut by_index: BTreeMap<String, Vec<Expected>> = BTreeMap::new();
    for document in expected {
        by_index.entry(document.index.clone()).or_default().push(document);
    }
    for (index, expected) in by_index {
        compare_in(&index, expected, target, result).await?;
    }
    Ok(())
}

async fn compare_in(
    index: &str,
    expected: Vec<Expected>,
    target: &dyn VerifiableTarget,
    result: &mut IndexVerification,
) -> Result<(), VerifyError> {
    let keys: Vec<_> = expected.iter().map(|e| (e.id.clone(), e.routing.clone())).collect();
    let found = target.fetch(index, &keys).await?;
    for (position, expected) in expected.iter().enumerate() {
        result.compared += 1;
        let id = &expected.id;
        match found.get(position).and_then(Option::as_ref) {
            None => {
                result.missing += 1;
                result.describe(format!("document {id:?} is not in the target"));
            }
            Some(document) if document.routing != expected.routing => {
                result.different += 1;
                let (here, there) = (&expected.routing, &document.routing);
                result.describe(format!(
                    "document {id:?} has routing {there:?} in the target, {here:?} in the snapshot"
                ));
            }
            Some(document) if !same_json(&expected.source, document.source.as_bytes()) => {
                result.different += 1;
                result.describe(format!("document {id:?} has another source in the target"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Whether two JSON texts are the same but for white space and escapes. Numbers are compared as they are written.
pub fn same_json(a: &[u8], b: &[u8]) -> bool {
    a == b
        || match (serde_json::from_slice::<Value>(a), serde_json::from_slice::<Value>(b)) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::same_json;

    #[test]
    fn sources_are_compared_by_value_with_numbers_as_written() {
        let same =
            [("{\"a\":1.10}", "{ \"a\" : 1.10 }"), ("{\"a\":\"\\u00e9\"}", "{\"a\":\"é\"}"), ("x", "x")];
        let different = [("{\"a\":1.10}", "{\"a\":1.1}"), ("{\"a\":1}", "{\"a\":\"1\"}"), ("{}", "x")];
        assert!(same.iter().all(|(a, b)| same_json(a.as_bytes(), b.as_bytes())));
        assert!(!different.iter().any(|(a, b)| same_json(a.as_bytes(), b.as_bytes())));
    }
}

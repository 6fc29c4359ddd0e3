//! What any adapter of the ports must do, as functions that panic where one does not. One suite for all adapters.
//!
//! Each function makes runs of its own, so a checkpoint store need not be empty; a queue must be.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc)]

mod checkpoints;
#[cfg(feature = "dynamodb")]
mod dynamodb;
mod ending;
mod failed;
mod model;
mod planning;
mod queue;

pub use checkpoints::checkpoints;
#[cfg(feature = "dynamodb")]
pub use dynamodb::{Item, all_items, create_table, item_from_json, item_to_json, put_items};
pub use ending::ending;
pub use failed::{failed_document, failed_documents, failed_part};
pub use model::{Action, Step, agrees_with_the_model, steps};
pub use planning::planning;
pub use queue::{RealTime, Time, ToldTime, queue};

use backfill::chunking::queue_rank;
use backfill::model::chunk::ClaimRefused;
use backfill::model::{
    AttemptError, Cause, Chunk, ChunkId, Counters, DocumentPlan, IndexPlan, Millis, Notes, Planning,
    Position, Progress, RangeCrc, Reason, Run, RunId, RunSpec, RunState, SegmentRange, Selection, Shard,
    ShardId, TimeFields, Types, TypesChoice,
};
use backfill::ports::{Checkpoints, ClaimOutcome, Creation};

/// Documents of each chunk of [`plan`].
pub const DOCS: u32 = 10;

/// Stored-field bytes of each chunk of [`plan`].
pub const BYTES: u64 = 1000;

/// A run of this name over the indices `a` and `b`, each with `shards` shards of `chunks` chunks, in queue order.
pub fn plan(name: &str, shards: u32, chunks: u32) -> (Run, Vec<Shard>, Vec<Chunk>) {
    let spec = RunSpec {
        repository: "/repository".to_owned(),
        snapshot: "snapshot".to_owned(),
        snapshot_uuid: "uuid".to_owned(),
        selection: Selection { patterns: "*".to_owned(), include_hidden: false },
        target: "http://target".to_owned(),
        allow_partial: false,
        types: Some(TypesChoice::Split),
        allow_partial_source: true,
        time_fields: TimeFields { timestamp: Some("at".parse().unwrap()), ttl: None },
        chunk_bytes: BYTES,
    };
    let index = |name: &str| IndexPlan {
        name: name.to_owned(),
        destination: name.to_owned(),
        data_stream: false,
        documents: DocumentPlan {
            types: Types::Split([("t".to_owned(), format!("{name}-t"))].into()),
            ..DocumentPlan::default()
        },
        warnings: vec![format!("a warning of {name}")],
    };
    let run = Run {
        id: RunId(name.to_owned()),
        spec,
        state: RunState::Running,
        planning: Planning::Complete,
        desired_workers: 2,
        // Far ahead, so that no store takes its records for expired.
        created: 4_102_444_800_000,
        finished: None,
        indices: vec![index("b"), index("a")],
        missing_shards: Vec::new(),
        refused: vec![("broken".to_owned(), "its metadata is missing".to_owned())],
        damage: Vec::new(),
        notes: Notes::default(),
    };
    let ids: Vec<ShardId> = ["a", "b"]
        .iter()
        .flat_map(|index| (0..shards).map(|shard| ShardId { index: (*index).to_owned(), shard }))
        .collect();
    let all_shards = ids.iter().map(|id| Shard {
        id: id.clone(),
        path: format!("indices/{}/{}", id.index, id.shard),
        manifest_etag: "etag".to_owned(),
        live_docs: u64::from(DOCS * chunks),
        stored_bytes: BYTES * u64::from(chunks),
        chunks,
        findings: Vec::new(),
        damaged_docs: 0,
        uncounted_segments: 0,
        routed: false,
    });
    let all_chunks = (0..chunks).flat_map(|number| ids.iter().map(move |id| (id.clone(), number)));
    let all_chunks = all_chunks.map(|(shard, number)| {
        let range = SegmentRange {
            segment: "_0".to_owned(),
            first_doc: number * DOCS,
            end_doc: (number + 1) * DOCS,
            start: u64::from(number) * BYTES,
            end: u64::from(number + 1) * BYTES,
            file_len: u64::from(chunks) * BYTES,
            file_crc: 7,
        };
        let order = queue_rank(&shard, number, chunks);
        Chunk { order, ..Chunk::new(ChunkId { shard, number }, vec![range]) }
    });
    let mut all_chunks: Vec<Chunk> = all_chunks.collect();
    all_chunks.sort_by_key(|chunk| chunk.order);
    (run, all_shards.collect(), all_chunks)
}

/// The progress of a chunk of [`plan`] after `docs` of its documents.
pub fn progress(chunk: &Chunk, docs: u32) -> Progress {
    let first = chunk.ranges.first().map_or(0, |range| range.first_doc);
    let cursor = if docs >= DOCS { chunk.end() } else { Position { range: 0, doc: first + docs } };
    let docs = u64::from(docs.min(DOCS));
    Progress {
        cursor,
        counters: Counters {
            indexed: docs - docs / 5,
            failed: docs / 5,
            source_bytes: docs * 200,
            stored_bytes: docs * BYTES / u64::from(DOCS),
            requests: docs,
            busy_ms: docs * 3,
            ..Counters::default()
        },
        crcs: vec![RangeCrc { crc: docs as u32, len: docs }],
        damage: Vec::new(),
    }
}

/// Stores a run that is planned already, as the newest.
pub async fn store_plan(store: &dyn Checkpoints, run: &Run, shards: &[Shard], chunks: &[Chunk]) {
    let newest = store.latest_run().await.unwrap().map(|run| run.id);
    assert_eq!(store.create_run(run, newest.as_ref()).await.unwrap(), Creation::Created);
    for shard in shards {
        let chunks: Vec<Chunk> = chunks.iter().filter(|c| c.id.shard == shard.id).cloned().collect();
        store.add_shard(&run.id, shard, &chunks).await.unwrap();
    }
}

async fn create(store: &dyn Checkpoints, name: &str) -> (RunId, Vec<Chunk>) {
    let (run, shards, chunks) = plan(name, 1, 2);
    store_plan(store, &run, &shards, &chunks).await;
    (run.id, chunks)
}

/// An attempt's end with an error.
fn error(message: &str) -> Reason {
    Reason::Error(AttemptError { cause: Cause::Snapshot, message: message.to_owned() })
}

async fn granted(store: &dyn Checkpoints, run: &RunId, id: &ChunkId, now: Millis, until: Millis) -> Chunk {
    match store.claim(run, id, "owner", now, until).await.unwrap() {
        ClaimOutcome::Granted(chunk) => *chunk,
        ClaimOutcome::Refused(refused) => panic!("the claim of {id} was refused: {refused:?}"),
    }
}

async fn refused(store: &dyn Checkpoints, run: &RunId, id: &ChunkId, now: Millis) -> ClaimRefused {
    match store.claim(run, id, "another", now, now + 60).await.unwrap() {
        ClaimOutcome::Granted(chunk) => panic!("{id} was granted: {chunk:?}"),
        ClaimOutcome::Refused(refused) => refused,
    }
}

async fn stored(store: &dyn Checkpoints, run: &RunId, id: &ChunkId) -> Chunk {
    let chunks = store.chunks(run, &id.shard).await.unwrap();
    chunks.into_iter().find(|chunk| chunk.id == *id).expect("the chunk is stored")
}

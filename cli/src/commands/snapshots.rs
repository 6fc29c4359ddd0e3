//! `console snapshot list | describe`: what is in the repository.

use super::{Context, open_repository, open_snapshot, print_json, print_line, stack};
use crate::args::{RepositoryArgs, SnapshotArgs};
use crate::exit::{Exit, Result};
use crate::render::{Align, bytes, count, table};
use crate::settings::{selection, snapshot_name};
use crate::terminal::{Text, notice};
use backfill::indices::Handling;
use backfill::model::Finding;
use backfill::plan::{Plan, plan};
use backfill::source::SourceError;
use futures::StreamExt;
use serde::Serialize;
use snapshot::repository::SnapshotEntry;
use snapshot::snapshot_info::SnapshotInfo;

#[derive(Serialize)]
struct Listed {
    name: String,
    uuid: String,
    state: String,
    started_ms: Option<i64>,
    finished_ms: Option<i64>,
    indices: usize,
    shards_total: u64,
    shards_missing: usize,
    version: Option<String>,
    /// Why nothing else is known of it.
    error: Option<String>,
}

pub(super) async fn list(context: &Context<'_>, repository: &RepositoryArgs) -> Result<Exit> {
    let blobs = stack::repository(context, repository).await?.open().await?;
    let repository = open_repository(blobs).await?;
    let mut listed: Vec<Listed> =
        repository.snapshot_infos().map(|(entry, info)| Listed::new(entry, info)).collect().await;
    listed.sort_by_key(|snapshot| snapshot.started_ms);
    for (name, error) in listed.iter().filter_map(|snapshot| Some((&snapshot.name, snapshot.error.as_ref()?)))
    {
        notice(&format!("error: snapshot {name} cannot be read: {error}"));
    }
    let exit =
        if listed.iter().any(|snapshot| snapshot.error.is_some()) { Exit::Snapshot } else { Exit::Done };
    if context.json {
        print_json(&listed)?;
        return Ok(exit);
    }
    let columns = [
        ("snapshot", Align::Left),
        ("state", Align::Left),
        ("finished (UTC)", Align::Left),
        ("indices", Align::Right),
        ("shards", Align::Right),
        ("missing", Align::Right),
        ("version", Align::Left),
    ];
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|s| {
            vec![
                s.name.clone(),
                s.state.clone(),
                s.finished_ms.map_or_else(|| "-".to_owned(), crate::render::utc),
                s.indices.to_string(),
                s.shards_total.to_string(),
                s.shards_missing.to_string(),
                s.version.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    table(&columns, &rows).print();
    Ok(exit)
}

impl Listed {
    fn new(entry: &SnapshotEntry, info: std::result::Result<SnapshotInfo, SourceError>) -> Listed {
        match info {
            Ok(info) => Listed {
                name: info.name,
                uuid: info.uuid,
                state: info.state.to_string(),
                started_ms: info.start_millis,
                finished_ms: info.end_millis,
                indices: info.indices.len(),
                shards_total: info.total_shards,
                shards_missing: info.failures.len(),
                version: info.version.map(|version| version.to_string()),
                error: None,
            },
            Err(error) => Listed {
                name: entry.name.clone(),
                uuid: entry.uuid.clone(),
                state: "UNREADABLE".to_owned(),
                started_ms: None,
                finished_ms: None,
                indices: 0,
                shards_total: 0,
                shards_missing: 0,
                version: None,
                error: Some(error.to_string()),
            },
        }
    }
}

pub(super) async fn describe(
    context: &Context<'_>,
    repository: &RepositoryArgs,
    snapshot: &SnapshotArgs,
) -> Result<Exit> {
    let blobs = stack::repository(context, repository).await?.open().await?;
    // Looking at an incomplete snapshot does no harm.
    let (repository, opened) = open_snapshot(blobs, &snapshot_name(snapshot, context.config), true).await?;
    let selection = selection(snapshot, context.config);
    let plan = plan(&repository, &opened, &selection, &Handling::default(), u64::MAX).await?;
    let described = Described::new(&plan, opened.info.state.to_string());
    if context.json {
        print_json(&described)?;
        return Ok(Exit::Done);
    }
    print_line(&format!(
        "Snapshot {} ({}), {} indices",
        described.snapshot,
        described.state,
        described.indices.len()
    ));
    index_table(&described.indices, false).print();
    for note in &described.notes {
        print_line(note);
    }
    Ok(Exit::Done)
}

/// What a snapshot holds, index by index.
#[derive(Serialize)]
pub(super) struct Described {
    pub(super) snapshot: String,
    pub(super) state: String,
    pub(super) indices: Vec<DescribedIndex>,
    /// What the operator should know: warnings, missing and damaged shards, indices that cannot be read.
    pub(super) notes: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct DescribedIndex {
    pub(super) index: String,
    pub(super) destination: String,
    pub(super) shards: usize,
    pub(super) chunks: usize,
    pub(super) documents: u64,
    /// Those of the documents that cannot be read, as far as their number is known.
    pub(super) documents_damaged: u64,
    pub(super) bytes: u64,
}

impl Described {
    pub(super) fn new(plan: &Plan, state: String) -> Described {
        let indices = plan
            .indices
            .iter()
            .map(|index| {
                let shards = plan.shards.iter().filter(|s| s.id.index == index.name);
                let mut described = DescribedIndex {
                    index: index.name.clone(),
                    destination: index.destination.clone(),
                    shards: 0,
                    chunks: 0,
                    documents: 0,
                    documents_damaged: 0,
                    bytes: 0,
                };
                for shard in shards {
                    described.shards += 1;
                    described.chunks += shard.chunks as usize;
                    described.documents += shard.live_docs;
                    described.documents_damaged += shard.damaged_docs;
                    described.bytes += shard.stored_bytes;
                }
                described
            })
            .collect();
        let warnings = plan
            .indices
            .iter()
            .flat_map(|i| i.warnings.iter().map(move |w| format!("warning: {}: {w}", i.name)));
        let missing = plan
            .missing_shards
            .iter()
            .map(|m| format!("missing: [{}][{}] is not in the snapshot: {}", m.index, m.shard, m.reason));
        let damaged = plan
            .shards
            .iter()
            .flat_map(|s| s.findings.iter().map(|finding| finding.clone().within(&s.id).to_string()));
        let refused = plan.refused.iter().map(|(name, why)| Finding::of_index(name, why).to_string());
        Described {
            snapshot: plan.snapshot.clone(),
            state,
            indices,
            notes: warnings.chain(missing).chain(damaged).chain(refused).collect(),
        }
    }
}

/// A line for each index, and the sums.
pub(super) fn index_table(indices: &[DescribedIndex], chunks: bool) -> Text {
    let mut columns = vec![("index", Align::Left), ("destination", Align::Left), ("shards", Align::Right)];
    if chunks {
        columns.push(("chunks", Align::Right));
    }
    columns.extend([("live docs", Align::Right), ("stored fields", Align::Right)]);
    let row = |index: &str, destination: &str, sums: [u64; 4]| {
        let mut row = vec![index.to_owned(), destination.to_owned(), count(sums[0])];
        if chunks {
            row.push(count(sums[1]));
        }
        row.extend([count(sums[2]), bytes(sums[3])]);
        row
    };
    let mut total = [0u64; 4];
    let mut rows = Vec::new();
    for index in indices {
        let sums = [index.shards as u64, index.chunks as u64, index.documents, index.bytes];
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        rows.push(row(&index.index, &index.destination, sums));
    }
    rows.push(row("total", "", total));
    table(&columns, &rows)
}

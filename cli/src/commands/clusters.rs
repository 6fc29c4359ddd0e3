//! `console clusters cat-indices | connection-check`.

use super::{Context, open_snapshot, print_json, print_line, stack};
use crate::args::{ClustersArgs, Which};
use crate::exit::{CommandError, Exit, Result};
use crate::render::{Align, cat_bytes, table};
use crate::settings::{TargetSetting, snapshot_name, source_cluster};
use backfill::model::Selection;
use backfill::source::{BoundedBlobs, IndexSource, ShardSource};
use serde_json::{Map, Value};
use std::sync::Arc;
use target::{CatIndex, Cluster};

const COLUMNS: [(&str, Align); 10] = [
    ("health", Align::Left),
    ("status", Align::Left),
    ("index", Align::Left),
    ("uuid", Align::Left),
    ("pri", Align::Right),
    ("rep", Align::Right),
    ("docs.count", Align::Right),
    ("docs.deleted", Align::Right),
    ("store.size", Align::Right),
    ("pri.store.size", Align::Right),
];

pub(super) async fn cat_indices(context: &Context<'_>, args: &ClustersArgs) -> Result<Exit> {
    let mut json = Map::new();
    if args.cluster != Some(Which::Target) {
        let (title, rows) = match source_cluster(&args.source, context.config)? {
            Some(cluster) => ("SOURCE CLUSTER".to_owned(), cluster_rows(&cluster).await?),
            None => {
                let (name, rows) = snapshot_rows(context, args).await?;
                (format!("SOURCE CLUSTER (from snapshot {name}: no source cluster is configured)"), rows)
            }
        };
        show(context, &mut json, "source_cluster", &title, rows);
    }
    if args.cluster != Some(Which::Source) {
        let target = TargetSetting::new(&args.target, None, context.config)?;
        match target.cluster()? {
            Some(cluster) => {
                if args.cluster.is_none() && !context.json {
                    print_line("");
                }
                show(context, &mut json, "target_cluster", "TARGET CLUSTER", cluster_rows(&cluster).await?);
            }
            None => return Err(CommandError::usage("the target is no cluster: it has no indices to list")),
        }
    }
    if context.json {
        print_json(&Value::Object(json))?;
    }
    Ok(Exit::Done)
}

fn show(
    context: &Context<'_>,
    json: &mut Map<String, Value>,
    key: &str,
    title: &str,
    rows: Vec<Vec<String>>,
) {
    if context.json {
        let object = |row: Vec<String>| {
            let cells = COLUMNS.iter().zip(row);
            Value::Object(cells.map(|((name, _), cell)| ((*name).to_owned(), Value::String(cell))).collect())
        };
        json.insert(key.to_owned(), Value::Array(rows.into_iter().map(object).collect()));
    } else {
        print_line(title);
        table(&COLUMNS, &rows).print();
    }
}

async fn cluster_rows(cluster: &Cluster) -> Result<Vec<Vec<String>>> {
    let row = |index: CatIndex| index.values().map(str::to_owned).to_vec();
    Ok(cluster.cat_indices("").await?.into_iter().map(row).collect())
}

/// The table of a source cluster that is gone, made from the snapshot: exact counts by the segments' metadata.
async fn snapshot_rows(context: &Context<'_>, args: &ClustersArgs) -> Result<(String, Vec<Vec<String>>)> {
    let blobs = stack::repository(context, &args.repository).await?.open().await?;
    let name = snapshot_name(&args.snapshot, context.config);
    let (repository, opened) = open_snapshot(blobs, &name, true).await?;
    let patterns = args.snapshot.index.clone().unwrap_or_else(|| "*".to_owned());
    let selection =
        Selection { patterns, include_hidden: args.snapshot.index.is_none() || args.snapshot.include_hidden };
    let (indices, refused) = repository.indices(&opened, &selection).await?;
    let missing = opened.missing_shards(&indices);
    let mut rows = Vec::new();
    for index in &indices {
        let mut sums = Sums::default();
        for shard in 0..index.metadata.number_of_shards {
            if missing.iter().any(|m| m.index == index.entry.name && m.shard == shard) {
                sums.missing += 1;
                continue;
            }
            sums.add(repository.blobs.clone(), index, shard, &opened.info.uuid).await?;
        }
        rows.push(sums.row(index));
    }
    for (name, error) in refused {
        tracing::warn!(index = name, %error, "an index of the snapshot cannot be read");
    }
    Ok((opened.info.name.clone(), rows))
}

#[derive(Default)]
struct Sums {
    live: u64,
    deleted: u64,
    bytes: u64,
    missing: u32,
}

impl Sums {
    async fn add(&mut self, blobs: BoundedBlobs, index: &IndexSource, shard: u32, uuid: &str) -> Result<()> {
        let path = index.shard_dir(shard);
        let shard = Arc::new(ShardSource::open(blobs, path, uuid).await?);
        for commit in &shard.commit.segments {
            let info = shard.segment_info(commit).await?;
            let live = u64::from(commit.live_count(info.doc_count).unwrap_or(0));
            self.live += live;
            self.deleted += u64::from(info.doc_count) - live;
        }
        self.bytes += shard.store.total_size();
        Ok(())
    }

    fn row(&self, index: &IndexSource) -> Vec<String> {
        let setting = |key: &str| index.metadata.settings.get(key).cloned().unwrap_or_else(|| "-".to_owned());
        vec![
            if self.missing == 0 { "green" } else { "red" }.to_owned(),
            match index.metadata.state {
                snapshot::index_metadata::IndexState::Open => "open",
                snapshot::index_metadata::IndexState::Close => "close",
            }
            .to_owned(),
            index.entry.name.clone(),
            index.metadata.uuid.clone().unwrap_or_else(|| "-".to_owned()),
            index.metadata.number_of_shards.to_string(),
            setting("index.number_of_replicas"),
            self.live.to_string(),
            self.deleted.to_string(),
            // A snapshot holds the primaries only.
            cat_bytes(self.bytes),
            cat_bytes(self.bytes),
        ]
    }
}

pub(super) async fn connection_check(context: &Context<'_>, args: &ClustersArgs) -> Result<Exit> {
    let mut json = Map::new();
    let mut exit = Exit::Done;
    if args.cluster != Some(Which::Target) {
        let checked = match source_cluster(&args.source, context.config)? {
            Some(cluster) => cluster.check().await.map_err(CommandError::from),
            None => {
                let blobs = stack::repository(context, &args.repository).await?.open().await?;
                super::open_repository(blobs).await.map(drop)
            }
        };
        report(context, &mut json, &mut exit, ("source_cluster", "SOURCE CLUSTER"), checked);
    }
    if args.cluster != Some(Which::Source) {
        let target = TargetSetting::new(&args.target, None, context.config)?.open()?;
        let checked = target.check().await.map_err(CommandError::from);
        report(context, &mut json, &mut exit, ("target_cluster", "TARGET CLUSTER"), checked);
    }
    if context.json {
        print_json(&Value::Object(json))?;
    }
    Ok(exit)
}

fn report(
    context: &Context<'_>,
    json: &mut Map<String, Value>,
    exit: &mut Exit,
    (key, title): (&str, &str),
    checked: Result<()>,
) {
    let outcome = match checked {
        Ok(()) => "Successfully connected!".to_owned(),
        Err(error) => {
            *exit = error.exit;
            error.message
        }
    };
    if context.json {
        json.insert(key.to_owned(), Value::String(outcome));
    } else {
        print_line(title);
        print_line(&outcome);
    }
}

//! `backfill describe`: all that is recorded of a run.

use super::failed::indices;
use super::state::State;
use super::{Context, print_json, print_line};
use crate::args::DescribeArgs;
use crate::exit::{Exit, Result};
use crate::render::{Align, bytes, count, table, utc, worked};
use backfill::model::{
    Chunk, ChunkState, Counters, FieldName, Finding, FindingKind, Millis, Run, Shard, WriteMode,
};
use backfill::ports::{Clock, IndexSummary, Summary, SystemClock};
use local::Mode;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;

/// A shard, with the sums over its chunks.
#[derive(Debug, Serialize)]
struct ShardProgress<'a> {
    #[serde(flatten)]
    shard: &'a Shard,
    state: &'static str,
    chunks_done: u64,
    chunks_failed: u64,
    chunks_leased: u64,
    counters: Counters,
}

pub(super) async fn describe(context: &Context<'_>, args: &DescribeArgs) -> Result<Exit> {
    let state = State::open(&args.state, context, Mode::ReadOnlyExisting).await?;
    let run = state.run_named(args.run.as_deref()).await?;
    let wanted = args.index.as_deref().map(|patterns| indices(patterns, &run)).transpose()?;
    let wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted.contains(name));
    let now = SystemClock.now();
    let summary = state.checkpoints().summary(&run.id, now).await?;
    let location = state.failed().location(&run.id);
    let chosen: Vec<&IndexSummary> = summary.indices.iter().filter(|index| wanted(&index.index)).collect();
    if context.json {
        print_json(&json!({
            "run": run, "failed_documents_location": location, "waiting": summary.waits,
        }))?;
        for index in &chosen {
            print_json(&json!({ "index": index }))?;
        }
    } else {
        print_run(&summary, &location, now);
        print_line("");
        print_indices(&run, &chosen);
    }
    let mut rows = Vec::new();
    for shard in state.checkpoints().shards(&run.id).await? {
        if !wanted(&shard.id.index) {
            continue;
        }
        let chunks = state.checkpoints().chunks(&run.id, &shard.id).await?;
        let progress = ShardProgress::new(&shard, &chunks, now);
        if context.json {
            print_json(&json!({ "shard": progress }))?;
            for chunk in chunks.iter().filter(|_| args.chunks) {
                print_json(&json!({ "chunk": chunk }))?;
            }
        } else if args.chunks {
            print_line("");
            print_line(&format!("{}: {} {}", shard.id, progress.state, shard.path));
            print_chunks(&chunks, now);
        } else {
            rows.push(progress.row());
        }
    }
    if !rows.is_empty() {
        print_line("");
        table(&SHARD_COLUMNS, &rows).print();
    }
    Ok(Exit::Done)
}

const SHARD_COLUMNS: [(&str, Align); 8] = [
    ("shard", Align::Left),
    ("state", Align::Left),
    ("chunks", Align::Right),
    ("live documents", Align::Right),
    ("read", Align::Right),
    ("failed", Align::Right),
    ("stored bytes", Align::Right),
    ("time", Align::Right),
];

impl<'a> ShardProgress<'a> {
    fn new(shard: &'a Shard, chunks: &[Chunk], now: Millis) -> ShardProgress<'a> {
        let with = |test: &dyn Fn(&Chunk) -> bool| chunks.iter().filter(|chunk| test(chunk)).count() as u64;
        let done = with(&|chunk| chunk.state == ChunkState::Done);
        let failed = with(&|chunk| chunk.state == ChunkState::Failed);
        let all = chunks.len() as u64;
        let found = chunks.iter().flat_map(|chunk| &chunk.progress.damage);
        let found = found.map(|text| Finding::parse(text).kind);
        let worst = found.chain(shard.findings.iter().map(|finding| finding.kind)).max();
        let mut counters = Counters::default();
        chunks.iter().for_each(|chunk| counters += &chunk.progress.counters);
        ShardProgress {
            shard,
            state: match () {
                () if done + failed < all && chunks.iter().all(|chunk| chunk.epoch == 0) => "unclaimed",
                () if done + failed < all => "in progress",
                () if failed > 0 => "given up",
                () => match worst {
                    None => "completed",
                    Some(FindingKind::Damaged) => "damaged",
                    Some(FindingKind::Unreadable | FindingKind::Refused) => "unreadable",
                },
            },
            chunks_done: done,
            chunks_failed: failed,
            chunks_leased: with(&|chunk| held_until(chunk, now).is_some()),
            counters,
        }
    }

    fn row(&self) -> Vec<String> {
        let (shard, counters) = (self.shard, &self.counters);
        vec![
            shard.id.to_string(),
            self.state.to_owned(),
            format!("{}/{}", self.chunks_done, shard.chunks),
            count(shard.live_docs),
            count(counters.documents()),
            count(counters.failed),
            format!("{} of {}", bytes(counters.stored_bytes), bytes(shard.stored_bytes)),
            worked(counters.busy_ms),
        ]
    }
}

fn held_until(chunk: &Chunk, now: Millis) -> Option<Millis> {
    match &chunk.state {
        ChunkState::Leased(lease) if lease.until > now => Some(lease.until),
        _ => None,
    }
}

fn print_run(summary: &Summary, location: &str, now: Millis) {
    let Run { id, spec, state, planning, created, finished, .. } = &summary.run;
    let time = |at: Millis| utc(i64::try_from(at).unwrap_or(i64::MAX));
    let name = |field: Option<&FieldName>| field.map_or_else(|| "-".to_owned(), ToString::to_string);
    let mut lines = vec![
        ("run", id.to_string()),
        ("state", word(state)),
        ("planning", word(planning)),
        ("created", time(*created)),
        ("finished", finished.map_or_else(|| "-".to_owned(), time)),
        ("repository", spec.repository.clone()),
        ("snapshot", format!("{} ({})", spec.snapshot, spec.snapshot_uuid)),
        ("target", spec.target.clone()),
        ("indices", spec.selection.patterns.clone()),
        ("hidden indices", yes(spec.selection.include_hidden)),
        ("partial snapshots", yes(spec.allow_partial)),
        ("partial sources", yes(spec.allow_partial_source)),
        ("timestamp field", name(spec.time_fields.timestamp.as_ref())),
        ("ttl field", name(spec.time_fields.ttl.as_ref())),
        ("types", spec.types.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)),
        ("chunk size", bytes(spec.chunk_bytes)),
        ("workers wanted", summary.run.desired_workers.to_string()),
        (
            "chunks",
            format!(
                "{} of {} done, {} leased, {} given up",
                count(summary.chunks_done),
                count(summary.chunks_total),
                count(summary.chunks_leased),
                count(summary.chunks_failed)
            ),
        ),
        ("requests", count(summary.counters.requests)),
        ("documents sent again", count(summary.counters.retries)),
        ("failed documents", format!("{} in {location}", count(summary.counters.failed))),
    ];
    lines.extend(summary.run.notes.limit.map(|limit| ("failed documents allowed", limit.max.to_string())));
    if let Some(why) = summary.run.notes.limit_exceeded.as_ref().filter(|_| summary.run.is_stopped_by_limit())
    {
        lines.push(("stopped because", why.to_string()));
    }
    lines.extend(summary.waits.iter().map(|wait| ("waiting", wait.sentence(now))));
    let run = &summary.run;
    lines.extend(
        run.missing_shards.iter().map(|m| ("missing", format!("[{}][{}]: {}", m.index, m.shard, m.reason))),
    );
    let refused = run.refused.iter().map(|(index, why)| Finding::of_index(index, why).to_string());
    let found = run.damage.iter().map(|text| Finding::parse(text).to_string());
    // When the run has ended, what was refused is among what was found.
    let findings: BTreeSet<String> = refused.chain(found).collect();
    lines.extend(findings.into_iter().map(|finding| ("not migrated", finding)));
    for plan in &run.indices {
        lines.extend(plan.warnings.iter().map(|what| ("warning", format!("{}: {what}", plan.name))));
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in lines {
        print_line(&format!("{name:width$}  {value}"));
    }
}

fn yes(is: bool) -> String {
    if is { "accepted".to_owned() } else { "no".to_owned() }
}

/// A value as it is stored.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => "?".to_owned(),
    }
}

fn print_indices(run: &Run, indices: &[&IndexSummary]) {
    let columns = [
        ("index", Align::Left),
        ("destination", Align::Left),
        ("written with", Align::Left),
        ("shards", Align::Right),
        ("live documents", Align::Right),
        ("indexed", Align::Right),
        ("already there", Align::Right),
        ("failed", Align::Right),
        ("nested", Align::Right),
        ("damaged", Align::Right),
    ];
    let rows: Vec<Vec<String>> = indices
        .iter()
        .map(|index| {
            let plan = run.index(&index.index);
            let mode = plan.map(|plan| match run.write_mode(plan) {
                WriteMode::Index => "index",
                WriteMode::Distinct => "create, compared",
                WriteMode::PerRouting => "create, by routing",
            });
            let counters = &index.counters;
            let mut row = vec![
                index.index.clone(),
                plan.map_or_else(String::new, |plan| plan.destinations().join(",")),
                mode.unwrap_or_default().to_owned(),
                format!("{}/{}", index.shards.completed, index.shards.total),
                count(index.live_docs),
            ];
            row.extend(
                [
                    counters.indexed,
                    counters.already_there,
                    counters.failed,
                    counters.nested,
                    counters.damaged,
                ]
                .map(count),
            );
            row
        })
        .collect();
    table(&columns, &rows).print();
}

fn print_chunks(chunks: &[Chunk], now: Millis) {
    let columns = [
        ("chunk", Align::Right),
        ("state", Align::Left),
        ("lease", Align::Left),
        ("claims", Align::Right),
        ("idle", Align::Right),
        ("cursor", Align::Right),
        ("end", Align::Right),
        ("read", Align::Right),
        ("failed", Align::Right),
        ("stored bytes", Align::Right),
        ("last error", Align::Left),
    ];
    let row = |chunk: &Chunk| {
        let (state, lease) = match &chunk.state {
            ChunkState::Pending => ("pending", String::new()),
            ChunkState::Leased(lease) => {
                let left = lease.until.saturating_sub(now);
                let left = if left > 0 { format!("for {}", worked(left)) } else { "ended".to_owned() };
                ("leased", format!("{} {left}", lease.owner))
            }
            ChunkState::Done => ("done", String::new()),
            ChunkState::Failed => ("given up", String::new()),
        };
        let counters = &chunk.progress.counters;
        vec![
            chunk.id.number.to_string(),
            state.to_owned(),
            lease,
            chunk.epoch.to_string(),
            chunk.idle_claims.to_string(),
            chunk.progress.cursor.to_string(),
            chunk.end().to_string(),
            count(counters.documents()),
            count(counters.failed),
            format!("{} of {}", bytes(counters.stored_bytes), bytes(chunk.stored_bytes())),
            chunk.last_error.as_ref().map_or_else(String::new, ToString::to_string),
        ]
    };
    let rows: Vec<Vec<String>> = chunks.iter().map(row).collect();
    table(&columns, &rows).print();
}

//! The end of a run: compares what was read with the files' own checksums, and says whether the run is done or damaged.

use crate::limit::{FrequentError, LimitExceeded};
use crate::model::chunk::ChunkState;
use crate::model::crc::CHECKSUM_FIELD;
use crate::model::{
    Amendment, Chunk, Finding, FindingKind, Millis, Planning, RangeCrc, Run, RunState, SegmentRange, Shard,
};
use crate::ports::{Checkpoints, Clock, Fleet, StoreError, Summary};
use crate::walk::with_chunks;
use futures::TryStreamExt;
use std::collections::BTreeMap;

/// Descriptions of damage kept with a run, at most.
const MAX_DAMAGE: usize = 100;

/// How a run ends of which nothing is left to do.
struct Ending {
    state: RunState,
    damage: Vec<String>,
    /// Whether chunks were given up.
    given_up: bool,
}

/// Ends a run of which no chunk is left to claim; returns the state it ended in, or `None` if chunks, or shards to
/// plan, are left. One with chunks that were given up has failed: a start may try them again. So has one of which
/// destinations were `replaced`, as [`crate::destinations::replaced`] found after the last chunk: what was written to them
/// is gone. May be called again after it was interrupted.
///
/// # Errors
/// When the checkpoints do not work.
pub async fn finish(
    checkpoints: &dyn Checkpoints,
    clock: &dyn Clock,
    run: &Run,
    replaced: &[String],
) -> Result<Option<RunState>, StoreError> {
    match ending(checkpoints, run, replaced).await? {
        Some(ending) => end(checkpoints, clock, run, replaced, &ending).await,
        None => Ok(None),
    }
}

/// The same for a run whose workers are a fleet of their own: it starts no more of them, unless another run needs it.
/// The end is recorded only after that has succeeded. So a run whose fleet could not be stopped has not ended, and
/// whoever calls this next does all of it again.
///
/// # Errors
/// When checkpoints or fleet do not work.
pub async fn conclude(
    checkpoints: &dyn Checkpoints,
    fleet: &dyn Fleet,
    clock: &dyn Clock,
    run: &Run,
    replaced: &[String],
) -> Result<Option<RunState>, StoreError> {
    let Some(ending) = ending(checkpoints, run, replaced).await? else { return Ok(None) };
    if at_work(checkpoints).await?.is_some_and(|newest| newest.id != run.id) {
        return end(checkpoints, clock, run, replaced, &ending).await;
    }
    fleet.stop().await?;
    let ended = end(checkpoints, clock, run, replaced, &ending).await;
    // Even if the end could not be recorded.
    scale_if_at_work(checkpoints, fleet).await?;
    ended
}

/// Stops the fleet of a run that a worker has stopped.
///
/// # Errors
/// When checkpoints or fleet do not work.
pub async fn stop_fleet(checkpoints: &dyn Checkpoints, fleet: &dyn Fleet) -> Result<(), StoreError> {
    fleet.stop().await?;
    scale_if_at_work(checkpoints, fleet).await
}

/// Lets workers loose again after a stop of the fleet, if a start has come in between.
async fn scale_if_at_work(checkpoints: &dyn Checkpoints, fleet: &dyn Fleet) -> Result<(), StoreError> {
    match at_work(checkpoints).await? {
        Some(newest) => fleet.scale(newest.desired_workers).await,
        None => Ok(()),
    }
}

/// The newest run, if workers are to be at it.
async fn at_work(checkpoints: &dyn Checkpoints) -> Result<Option<Run>, StoreError> {
    Ok(checkpoints.latest_run().await?.filter(|run| run.state == RunState::Running))
}

/// How the run ends, if nothing of it is left to do.
async fn ending(
    checkpoints: &dyn Checkpoints,
    run: &Run,
    replaced: &[String],
) -> Result<Option<Ending>, StoreError> {
    if checkpoints.run(&run.id).await?.planning != Planning::Complete {
        return Ok(None);
    }
    let refused = run.refused.iter().map(|(index, why)| Finding::of_index(index, why));
    let mut damage: Vec<String> = refused.take(MAX_DAMAGE).map(|finding| finding.to_string()).collect();
    let mut given_up = false;
    let shards = checkpoints.shards(&run.id).await?;
    let mut shards = std::pin::pin!(with_chunks(checkpoints, &run.id, &shards));
    while let Some((shard, chunks)) = shards.try_next().await? {
        if chunks.iter().any(|c| matches!(c.state, ChunkState::Pending | ChunkState::Leased(_))) {
            return Ok(None);
        }
        let through = chunks.iter().all(|c| c.state == ChunkState::Done);
        given_up |= !through;
        let changed = if through { compare(shard, &chunks) } else { Vec::new() };
        let told = chunks.iter().flat_map(|c| &c.progress.damage).map(|text| explained(text, &changed));
        damage.extend(told.map(|finding| finding.to_string()));
        damage.extend(changed.iter().map(|file| file.finding.to_string()));
        damage.extend(shard.findings.iter().map(|finding| finding.clone().within(&shard.id).to_string()));
        damage.truncate(MAX_DAMAGE);
    }
    let state = match (given_up || !replaced.is_empty(), damage.is_empty()) {
        (true, _) => RunState::Failed,
        (false, true) => RunState::Done,
        (false, false) => RunState::Damaged,
    };
    Ok(Some(Ending { state, damage, given_up }))
}

/// Records the end, unless somebody else has ended the run meanwhile, or a start has made chunks pending again.
async fn end(
    checkpoints: &dyn Checkpoints,
    clock: &dyn Clock,
    run: &Run,
    replaced: &[String],
    ending: &Ending,
) -> Result<Option<RunState>, StoreError> {
    let now = checkpoints.summary(&run.id, clock.now()).await?;
    let ended = matches!(now.run.state, RunState::Done | RunState::Damaged | RunState::Failed);
    if ended || now.chunks_done.saturating_add(now.chunks_failed) < now.chunks_total {
        return Ok(None);
    }
    // Chunks that were given up may have been started again and be through since: that is to be looked at afresh.
    if (now.chunks_failed > 0) != ending.given_up {
        return Ok(None);
    }
    if now.run.notes.replaced != replaced {
        checkpoints.amend(&run.id, &Amendment::Replaced(replaced.to_vec())).await?;
    }
    checkpoints.set_state(&run.id, ending.state, clock.now(), &ending.damage).await?;
    if ending.state == RunState::Failed {
        // A start makes chunks pending and then the run running. If it did both just before, this was too late.
        let now = checkpoints.summary(&run.id, clock.now()).await?;
        if now.chunks_done.saturating_add(now.chunks_failed) < now.chunks_total {
            checkpoints.set_state(&run.id, RunState::Running, clock.now(), &[]).await?;
            return Ok(None);
        }
    }
    Ok(Some(ending.state))
}

/// Stops a run that goes on if more of its documents failed than it allows, and records why; [`crate::limit`] says how
/// that is decided. Returns whether the run is stopped. `error` is the most frequent error, as far as the caller has met
/// any.
///
/// # Errors
/// When the checkpoints do not work.
pub async fn stop_if_too_many_failed(
    checkpoints: &dyn Checkpoints,
    summary: &Summary,
    now: Millis,
    error: Option<FrequentError>,
) -> Result<bool, StoreError> {
    let run = &summary.run;
    let settled = summary.chunks_done.saturating_add(summary.chunks_failed);
    // Where every chunk has ended, nothing is left that a stop could prevent.
    let is_through = run.planning == Planning::Complete && settled >= summary.chunks_total;
    if run.state != RunState::Running || is_through {
        return Ok(run.state == RunState::Stopped);
    }
    let Some(limit) = run.notes.limit else { return Ok(false) };
    let Some(judged) = limit.exceeded(&summary.counters) else { return Ok(false) };
    let reason = LimitExceeded { max_failed: limit.max, judged, error };
    tracing::info!(run = %run.id, %reason, "the run is stopped");
    // The reason comes first, so that whoever finds the run stopped finds the reason as well.
    checkpoints.amend(&run.id, &Amendment::LimitExceeded(Box::new(reason))).await?;
    checkpoints.set_state(&run.id, RunState::Stopped, now, &[]).await?;
    Ok(true)
}

/// A file whose bytes are not those that were written.
struct ChangedFile {
    path: String,
    finding: Finding,
}

/// A finding of a worker. What it did not understand of a file turns out to be damage if the file's checksum is wrong.
fn explained(text: &str, changed: &[ChangedFile]) -> Finding {
    let finding = Finding::parse(text);
    let is_changed = changed.iter().any(|file| finding.text.contains(&file.path));
    let kind = if is_changed { FindingKind::Damaged } else { finding.kind };
    Finding { kind, ..finding }
}

/// Combines the CRCs of a shard's chunks file by file; describes each file for which they are not the file's own.
fn compare(shard: &Shard, chunks: &[Chunk]) -> Vec<ChangedFile> {
    let mut files = BTreeMap::<&str, Vec<(&SegmentRange, RangeCrc)>>::new();
    for chunk in chunks {
        for (number, range) in chunk.ranges.iter().enumerate() {
            let crc = chunk.progress.crcs.get(number).copied().unwrap_or_default();
            files.entry(&range.segment).or_default().push((range, crc));
        }
    }
    let mut changed = Vec::new();
    for (segment, mut parts) in files {
        parts.sort_by_key(|(range, _)| range.start);
        let mut whole = RangeCrc::default();
        for (range, crc) in &parts {
            if range.start != whole.len {
                break;
            }
            whole = whole.combine(*crc);
        }
        let Some((first, _)) = parts.first() else { continue };
        let covered = first.file_len.saturating_sub(CHECKSUM_FIELD);
        let ranges: Vec<String> = parts.iter().map(|(r, _)| format!("{}..{}", r.start, r.end)).collect();
        let (path, ranges) = (format!("{}/{segment}.fdt", shard.path), ranges.join(", "));
        // Where reading broke off there is no checksum to compare, and the reason is told already.
        let told = chunks.iter().any(|c| !c.progress.damage.is_empty());
        let what = if whole.len != covered && !told {
            format!("{path}: the bytes read ({ranges}) are {} where {covered} were expected", whole.len)
        } else if whole.len == covered && whole.crc != first.file_crc {
            format!(
                "{path}: the bytes read ({ranges}) have the CRC-32 {:08x}, but the file was written with {:08x}; \
                 documents from it may have been changed",
                whole.crc, first.file_crc
            )
        } else {
            continue;
        };
        changed.push(ChangedFile { path, finding: Finding::damaged(what) });
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChunkId, ShardId};

    fn fixture(data: &[u8], cut: usize) -> (Shard, Vec<Chunk>) {
        let file_crc = crc32fast::hash(&data[..data.len() - 8]);
        let id = ShardId { index: "i".to_owned(), shard: 3 };
        let range = |start: usize, end: usize| SegmentRange {
            segment: "_0".to_owned(),
            first_doc: start as u32,
            end_doc: end as u32,
            start: start as u64,
            end: end as u64,
            file_len: data.len() as u64,
            file_crc,
        };
        let chunk = |number, start: usize, end: usize, covered: usize| {
            let mut chunk = Chunk::new(ChunkId { shard: id.clone(), number }, vec![range(start, end)]);
            chunk.progress.crcs = vec![RangeCrc::default().update(&data[start..covered])];
            chunk
        };
        let chunks = vec![chunk(0, 0, cut, cut), chunk(1, cut, data.len(), data.len() - 8)];
        let shard = Shard {
            id: id.clone(),
            path: "indices/x/3".to_owned(),
            manifest_etag: String::new(),
            live_docs: 0,
            stored_bytes: 0,
            chunks: 2,
            findings: Vec::new(),
            damaged_docs: 0,
            uncounted_segments: 0,
            routed: false,
        };
        (shard, chunks)
    }

    fn compared(shard: &Shard, chunks: &[Chunk]) -> Vec<String> {
        compare(shard, chunks).into_iter().map(|file| file.finding.to_string()).collect()
    }

    #[test]
    fn ranges_that_add_up_to_the_file_pass() {
        let data: Vec<u8> = (0..200u8).collect();
        for cut in [1, 77, 191] {
            let (shard, chunks) = fixture(&data, cut);
            assert_eq!(compared(&shard, &chunks), Vec::<String>::new());
        }
    }

    #[test]
    fn a_flipped_byte_and_a_missing_part_are_named() {
        let data: Vec<u8> = (0..200u8).collect();
        let (shard, mut chunks) = fixture(&data, 50);
        chunks[1].progress.crcs[0].crc ^= 1;
        let told = compared(&shard, &chunks);
        assert!(
            told[0].starts_with("damaged: indices/x/3/_0.fdt: the bytes read (0..50, 50..200) have"),
            "{told:?}"
        );
        // What a worker did not understand of that file is explained by it, and nothing else is.
        let changed = compare(&shard, &chunks);
        let kind = |text: &str| explained(text, &changed).kind;
        let unreadable = Finding::unreadable("/r/indices/x/3: /r/indices/x/3/_0.fdt: a block").to_string();
        assert_eq!(kind(&unreadable), FindingKind::Damaged);
        let other = Finding::unreadable("/r/indices/x/3: _1.dvm").to_string();
        assert_eq!(kind(&other), FindingKind::Unreadable);
        let (shard, mut chunks) = fixture(&data, 50);
        chunks[0].progress.crcs.clear();
        assert!(compared(&shard, &chunks)[0].contains("where 192 were expected"));
        // Where damage is told already, only what it does not explain is.
        chunks[1].progress.damage.push("a block".to_owned());
        assert_eq!(compared(&shard, &chunks), Vec::<String>::new());
        let (shard, mut chunks) = fixture(&data, 50);
        chunks[1].progress.damage.push("a block".to_owned());
        chunks[0].progress.crcs[0].crc ^= 1;
        assert_eq!(compare(&shard, &chunks).len(), 1);
    }
}

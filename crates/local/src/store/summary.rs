//! What status says, from the sums that the shards carry.

use super::Fault;
use super::columns::{from_json, int, nat};
use super::records::{self, COUNTER_COLUMNS, FAILED};
use backfill::model::{AttemptError, ChunkId, Counters, Millis, RunId, ShardId};
use backfill::ports::{IndexSummary, Sample, ShardCounts, Summary};
use rusqlite::{Connection, params};
use std::collections::HashMap;

/// Errors of chunks that a summary names.
const ERRORS: u32 = 10;

/// A shard with the sums of its chunks.
struct ShardRow {
    id: ShardId,
    live_docs: u64,
    stored_bytes: u64,
    damage: Option<String>,
    chunks: u64,
    claimed: u64,
    done: u64,
    failed: u64,
    damaged_chunks: u64,
    counters: Counters,
}

impl ShardRow {
    /// The shard as part of the counts. One that is through but damaged, or given up, is in the total only.
    fn counts(&self) -> ShardCounts {
        let through = self.done + self.failed == self.chunks;
        let damaged = self.damage.is_some() || self.damaged_chunks > 0;
        ShardCounts {
            total: 1,
            completed: u64::from(self.done == self.chunks && !damaged),
            in_progress: u64::from(!through && self.claimed > 0),
            unclaimed: u64::from(!through && self.claimed == 0),
        }
    }
}

/// Aggregates a run at `now`.
pub(super) fn summary(tx: &Connection, id: &RunId, now: Millis) -> Result<Summary, Fault> {
    let seq = records::run_seq(tx, id)?;
    let run = records::read_run(tx, seq)?;
    let indices = run
        .indices
        .iter()
        .map(|plan| IndexSummary {
            index: plan.name.clone(),
            live_docs: 0,
            stored_bytes: 0,
            shards: ShardCounts::default(),
            counters: Counters::default(),
        })
        .collect();
    let by_name: HashMap<&str, usize> =
        run.indices.iter().enumerate().map(|(at, plan)| (plan.name.as_str(), at)).collect();
    let mut summary = Summary {
        shards: ShardCounts::default(),
        chunks_total: 0,
        chunks_done: 0,
        chunks_failed: 0,
        chunks_leased: leased(tx, seq, now)?,
        counters: Counters::default(),
        live_docs: 0,
        stored_bytes: 0,
        indices,
        damaged_shards: Vec::new(),
        last_errors: errors(tx, seq, false)?,
        given_up: errors(tx, seq, true)?,
        samples: samples(tx, seq)?,
        run: run.clone(),
    };
    for shard in shards(tx, seq)? {
        let counts = shard.counts();
        add(&mut summary.shards, &counts);
        summary.chunks_total += shard.chunks;
        summary.chunks_done += shard.done;
        summary.chunks_failed += shard.failed;
        summary.counters += &shard.counters;
        summary.live_docs += shard.live_docs;
        summary.stored_bytes += shard.stored_bytes;
        if let Some(at) = by_name.get(shard.id.index.as_str()) {
            let index = &mut summary.indices[*at];
            index.live_docs += shard.live_docs;
            index.stored_bytes += shard.stored_bytes;
            add(&mut index.shards, &counts);
            index.counters += &shard.counters;
        }
        if let Some(damage) = shard.damage {
            summary.damaged_shards.push((shard.id, damage));
        }
    }
    Ok(summary)
}

/// The sums over all chunks of a run.
pub(super) fn totals(tx: &Connection, run: i64) -> Result<Counters, Fault> {
    let sql = format!("SELECT {COUNTER_COLUMNS} FROM shards WHERE run = ?1");
    let mut statement = tx.prepare_cached(&sql)?;
    let mut totals = Counters::default();
    for counters in statement.query_map([run], |row| records::read_counters(row, 0))? {
        totals += &counters?;
    }
    Ok(totals)
}

fn add(sum: &mut ShardCounts, counts: &ShardCounts) {
    sum.total += counts.total;
    sum.completed += counts.completed;
    sum.in_progress += counts.in_progress;
    sum.unclaimed += counts.unclaimed;
}

fn shards(tx: &Connection, run: i64) -> Result<Vec<ShardRow>, Fault> {
    let sql = format!(
        "SELECT name, number, live_docs, stored_bytes, damage, chunks, claimed, done, failed, damaged_chunks,
         {COUNTER_COLUMNS} FROM shards WHERE run = ?1 ORDER BY seq"
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement.query_map([run], |row| {
        let nat_at = |at: usize| row.get(at).map(nat);
        Ok(ShardRow {
            id: ShardId { index: row.get(0)?, shard: row.get(1)? },
            live_docs: nat_at(2)?,
            stored_bytes: nat_at(3)?,
            damage: row.get(4)?,
            chunks: nat_at(5)?,
            claimed: nat_at(6)?,
            done: nat_at(7)?,
            failed: nat_at(8)?,
            damaged_chunks: nat_at(9)?,
            counters: records::read_counters(row, 10)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn leased(tx: &Connection, run: i64, now: Millis) -> Result<u64, Fault> {
    let sql = "SELECT count(*) FROM chunks WHERE run = ?1 AND state = 1 AND lease_until > ?2";
    Ok(tx.prepare_cached(sql)?.query_row(params![run, int(now)], |row| row.get(0).map(nat))?)
}

/// The first errors of chunks that were given up, or of those that were not.
fn errors(tx: &Connection, run: i64, given_up: bool) -> Result<Vec<(ChunkId, AttemptError)>, Fault> {
    let mut statement = tx.prepare_cached(
        "SELECT s.name, s.number, c.number, c.last_error FROM chunks c JOIN shards s ON s.seq = c.shard
         WHERE c.run = ?1 AND c.last_error IS NOT NULL AND (c.state = ?3) = ?4 ORDER BY c.ord LIMIT ?2",
    )?;
    let rows = statement.query_map(params![run, ERRORS, FAILED, given_up], |row| {
        let shard = ShardId { index: row.get(0)?, shard: row.get(1)? };
        Ok((ChunkId { shard, number: row.get(2)? }, row.get::<_, String>(3)?))
    })?;
    rows.map(|row| {
        let (chunk, error) = row?;
        let error = from_json(&format!("chunk {chunk}"), &error)?;
        Ok((chunk, error))
    })
    .collect()
}

fn samples(tx: &Connection, run: i64) -> Result<Vec<Sample>, Fault> {
    let mut statement =
        tx.prepare_cached("SELECT at, documents, stored_bytes FROM samples WHERE run = ?1 ORDER BY at")?;
    let rows = statement.query_map([run], |row| {
        let nat_at = |at: usize| row.get(at).map(nat);
        Ok(Sample { at: nat_at(0)?, documents: nat_at(1)?, stored_bytes: nat_at(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

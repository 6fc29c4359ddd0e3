//! What status says, from the sums that the shards carry.

use super::columns::{from_json, int, nat};
use super::records::{self, COUNTER_COLUMNS, FAILED};
use super::{Fault, schema};
use backfill::model::chunk::LONGEST_LEASE;
use backfill::model::finding::as_text;
use backfill::model::{AttemptError, ChunkId, Counters, Millis, RunId, ShardId, Wait};
use backfill::ports::{Sample, ShardSums, Summary};
use rusqlite::{Connection, params};

/// Errors of chunks that a summary names.
const ERRORS: u32 = 10;

/// Aggregates a run at `now`.
pub(super) fn summary(tx: &Connection, id: &RunId, now: Millis) -> Result<Summary, Fault> {
    let seq = records::run_seq(tx, id)?;
    Ok(Summary {
        chunks_leased: leased(tx, seq, now)?,
        last_errors: errors(tx, seq, false)?,
        given_up: errors(tx, seq, true)?,
        samples: samples(tx, seq)?,
        waits: waits(tx, seq, now)?,
        ..Summary::of(records::read_run(tx, seq)?, shards(tx, seq)?)
    })
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

fn shards(tx: &Connection, run: i64) -> Result<Vec<ShardSums>, Fault> {
    let sql = format!(
        "SELECT name, number, live_docs, stored_bytes, damage, chunks, claimed, done, failed, damaged_chunks,
         iif(damage IS NULL, 0, coalesce(record ->> 'damaged_docs', 0)),
         iif(damage IS NULL, 0, coalesce(record ->> 'uncounted_segments', 0)),
         {COUNTER_COLUMNS} FROM shards WHERE run = ?1 ORDER BY seq"
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement.query_map([run], |row| {
        let nat_at = |at: usize| row.get(at).map(nat);
        Ok(ShardSums {
            id: ShardId { index: row.get(0)?, shard: row.get(1)? },
            live_docs: nat_at(2)?,
            stored_bytes: nat_at(3)?,
            findings: as_text::split(row.get::<_, Option<String>>(4)?.as_deref()),
            chunks: nat_at(5)?,
            claimed: nat_at(6)?,
            done: nat_at(7)?,
            given_up: nat_at(8)?,
            damaged: nat_at(9)?,
            damaged_docs: nat_at(10)?,
            uncounted_segments: nat_at(11)?,
            counters: records::read_counters(row, 12)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn leased(tx: &Connection, run: i64, now: Millis) -> Result<u64, Fault> {
    let sql =
        "SELECT count(*) FROM chunks WHERE run = ?1 AND state = 1 AND lease_until > ?2 AND lease_until <= ?3";
    let longest = int(now.saturating_add(LONGEST_LEASE));
    Ok(tx.prepare_cached(sql)?.query_row(params![run, int(now), longest], |row| row.get(0).map(nat))?)
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

/// What is waited for, by the records that have not expired.
fn waits(tx: &Connection, run: i64, now: Millis) -> Result<Vec<Wait>, Fault> {
    if !schema::has_waits(tx)? {
        return Ok(Vec::new());
    }
    let sql = "SELECT record FROM waits WHERE run = ?1 AND expires > ?2 ORDER BY owner";
    let mut statement = tx.prepare_cached(sql)?;
    let records = statement.query_map(params![run, int(now)], |row| row.get::<_, String>(0))?;
    records.map(|record| from_json("what is waited for", &record?)).collect()
}

fn samples(tx: &Connection, run: i64) -> Result<Vec<Sample>, Fault> {
    let mut statement = tx.prepare_cached(
        "SELECT at, documents, stored_bytes, missing FROM samples WHERE run = ?1 ORDER BY at",
    )?;
    let rows = statement.query_map([run], |row| {
        let nat_at = |at: usize| row.get(at).map(nat);
        Ok(Sample { at: nat_at(0)?, documents: nat_at(1)?, stored_bytes: nat_at(2)?, missing: nat_at(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

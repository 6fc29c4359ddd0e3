//! Runs, shards and chunks as rows.

use super::Fault;
use super::columns::{from_json, int, nat, to_json};
use backfill::model::finding::as_text;
use backfill::model::{
    Amendment, Chunk, ChunkId, ChunkState, Counters, Lease, Notes, Progress, Run, RunId, RunState,
    SegmentRange, Shard, ShardId,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(super) const PENDING: i64 = 0;
pub(super) const LEASED: i64 = 1;
pub(super) const DONE: i64 = 2;
pub(super) const FAILED: i64 = 3;

pub(super) fn parse_state(name: &str) -> Result<RunState, Fault> {
    RunState::from_name(name)
        .ok_or_else(|| Fault::invalid(format!("a run has the unknown state {name:?}; give another --state")))
}

/// The key of a run.
pub(super) fn run_seq(connection: &Connection, id: &RunId) -> Result<i64, Fault> {
    connection
        .prepare_cached("SELECT seq FROM runs WHERE id = ?1")?
        .query_row([&id.0], |row| row.get(0))
        .optional()?
        .ok_or_else(|| no_run(id))
}

pub(super) fn no_run(id: &RunId) -> Fault {
    Fault::not_found(format!("there is no run {id} in this state file"))
}

pub(super) fn no_chunk(run: &RunId, chunk: &ChunkId) -> Fault {
    Fault::not_found(format!("run {run} has no chunk {chunk}"))
}

/// The run of this key, as it is now.
pub(super) fn read_run(connection: &Connection, seq: i64) -> Result<Run, Fault> {
    let (record, state, planning, desired, finished, damage, notes) = connection
        .prepare_cached(
            "SELECT record, state, planning, desired_workers, finished, damage, notes FROM runs WHERE seq = ?1",
        )?
        .query_row([seq], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, u32>(3)?,
                row.get::<_, Option<i64>>(4)?,
                row.get::<_, String>(5)?,
                row.get::<_, String>(6)?,
            ))
        })?;
    let mut run: Run = from_json("a run", &record)?;
    run.state = parse_state(&state)?;
    run.planning = from_json("a run's planning", &planning)?;
    run.desired_workers = desired;
    run.finished = finished.map(nat);
    run.damage = from_json("a run's damage", &damage)?;
    run.notes = run.notes.with_later(from_json("the notes on a run", &notes)?);
    Ok(run)
}

/// Changes the notes on a run.
pub(super) fn amend(connection: &Connection, id: &RunId, amendment: &Amendment) -> Result<(), Fault> {
    let seq = run_seq(connection, id)?;
    let notes: String =
        connection.query_row("SELECT notes FROM runs WHERE seq = ?1", [seq], |row| row.get(0))?;
    let mut notes: Notes = from_json("the notes on a run", &notes)?;
    notes.amend(amendment);
    connection.execute("UPDATE runs SET notes = ?2 WHERE seq = ?1", params![seq, to_json(&notes)?])?;
    Ok(())
}

/// Stores a run.
pub(super) fn insert_run(connection: &Connection, run: &Run) -> Result<(), Fault> {
    connection.execute(
        "INSERT INTO runs (id, record, state, planning, desired_workers, finished, damage)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            run.id.0,
            to_json(run)?,
            run.state.name(),
            to_json(&run.planning)?,
            run.desired_workers,
            run.finished.map(int),
            to_json(&run.damage)?
        ],
    )?;
    Ok(())
}

/// What a chunk adds to the sums of its shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    claimed: i64,
    done: i64,
    failed: i64,
    damaged: i64,
    counters: [i64; 11],
}

impl Share {
    pub(super) fn of(chunk: &Chunk) -> Share {
        Share {
            claimed: i64::from(chunk.epoch > 0 || chunk.state == ChunkState::Done),
            done: i64::from(chunk.state == ChunkState::Done),
            failed: i64::from(chunk.state == ChunkState::Failed),
            damaged: i64::from(!chunk.progress.damage.is_empty()),
            counters: counter_columns(&chunk.progress.counters),
        }
    }

    pub(super) fn plus(self, other: Share) -> Share {
        self.zip(other, i64::saturating_add)
    }

    pub(super) fn minus(self, other: Share) -> Share {
        self.zip(other, i64::saturating_sub)
    }

    fn zip(self, other: Share, each: fn(i64, i64) -> i64) -> Share {
        Share {
            claimed: each(self.claimed, other.claimed),
            done: each(self.done, other.done),
            failed: each(self.failed, other.failed),
            damaged: each(self.damaged, other.damaged),
            counters: std::array::from_fn(|at| each(self.counters[at], other.counters[at])),
        }
    }
}

/// The counters in the order of the columns.
fn counter_columns(counters: &Counters) -> [i64; 11] {
    // Named one by one, so that a new counter cannot be forgotten here.
    let Counters {
        indexed,
        already_there,
        failed,
        nested,
        damaged,
        source_bytes,
        stored_bytes,
        requests,
        retries,
        busy_ms,
        unsourced,
    } = *counters;
    [
        indexed,
        already_there,
        failed,
        nested,
        damaged,
        source_bytes,
        stored_bytes,
        requests,
        retries,
        busy_ms,
        unsourced,
    ]
    .map(int)
}

/// The columns of [`counter_columns`].
pub(super) const COUNTER_COLUMNS: &str = "sum_indexed, sum_already_there, sum_failed, sum_nested, sum_damaged, \
     sum_source_bytes, sum_stored_bytes, sum_requests, sum_retries, sum_busy_ms, sum_unsourced";

/// Reads the columns of [`COUNTER_COLUMNS`], of which the first is at `at`.
pub(super) fn read_counters(row: &Row<'_>, at: usize) -> rusqlite::Result<Counters> {
    let column = |n: usize| row.get::<_, i64>(at + n).map(nat);
    Ok(Counters {
        indexed: column(0)?,
        already_there: column(1)?,
        failed: column(2)?,
        nested: column(3)?,
        damaged: column(4)?,
        source_bytes: column(5)?,
        stored_bytes: column(6)?,
        requests: column(7)?,
        retries: column(8)?,
        busy_ms: column(9)?,
        unsourced: column(10)?,
    })
}

/// Stores a shard with the sums of its chunks, unless it is there; its key if it was not.
pub(super) fn insert_shard(
    connection: &Connection,
    run: i64,
    shard: &Shard,
    chunks: i64,
    share: &Share,
) -> Result<Option<i64>, Fault> {
    let c = share.counters;
    let sql = format!(
        "INSERT OR IGNORE INTO shards (run, name, number, record, live_docs, stored_bytes, damage, chunks, claimed,
         done, failed, damaged_chunks, {COUNTER_COLUMNS})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
         ?22, ?23)"
    );
    let inserted = connection.prepare_cached(&sql)?.execute(params![
        run,
        shard.id.index,
        shard.id.shard,
        to_json(shard)?,
        int(shard.live_docs),
        int(shard.stored_bytes),
        as_text::join(&shard.findings),
        chunks,
        share.claimed,
        share.done,
        share.failed,
        share.damaged,
        c[0],
        c[1],
        c[2],
        c[3],
        c[4],
        c[5],
        c[6],
        c[7],
        c[8],
        c[9],
        c[10]
    ])?;
    Ok((inserted == 1).then(|| connection.last_insert_rowid()))
}

/// Adds to the sums of a shard.
pub(super) fn add_to_shard(connection: &Connection, shard: i64, share: &Share) -> Result<(), Fault> {
    if *share == Share::default() {
        return Ok(());
    }
    let c = share.counters;
    connection
        .prepare_cached(
            "UPDATE shards SET claimed = claimed + ?2, done = done + ?3, failed = failed + ?4,
             damaged_chunks = damaged_chunks + ?5,
             sum_indexed = sum_indexed + ?6, sum_already_there = sum_already_there + ?7,
             sum_failed = sum_failed + ?8, sum_nested = sum_nested + ?9, sum_damaged = sum_damaged + ?10,
             sum_source_bytes = sum_source_bytes + ?11, sum_stored_bytes = sum_stored_bytes + ?12,
             sum_requests = sum_requests + ?13, sum_retries = sum_retries + ?14, sum_busy_ms = sum_busy_ms + ?15,
             sum_unsourced = sum_unsourced + ?16
             WHERE seq = ?1",
        )?
        .execute(params![
            shard,
            share.claimed,
            share.done,
            share.failed,
            share.damaged,
            c[0],
            c[1],
            c[2],
            c[3],
            c[4],
            c[5],
            c[6],
            c[7],
            c[8],
            c[9],
            c[10]
        ])?;
    Ok(())
}

/// The shards of a run, in the order in which they were stored.
pub(super) fn read_shards(connection: &Connection, run: i64) -> Result<Vec<Shard>, Fault> {
    let mut statement = connection.prepare_cached("SELECT record FROM shards WHERE run = ?1 ORDER BY seq")?;
    let mut shards = Vec::new();
    for record in statement.query_map([run], |row| row.get::<_, String>(0))? {
        shards.push(from_json("a shard", &record?)?);
    }
    Ok(shards)
}

/// The shard of this name, with its key.
pub(super) fn read_shard(connection: &Connection, run: &RunId, id: &ShardId) -> Result<(i64, Shard), Fault> {
    let found = connection
        .prepare_cached("SELECT seq, record FROM shards WHERE run = ?1 AND name = ?2 AND number = ?3")?
        .query_row(params![run_seq(connection, run)?, id.index, id.shard], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    let (seq, record) = found.ok_or_else(|| Fault::not_found(format!("run {run} has no shard {id}")))?;
    Ok((seq, from_json("a shard", &record)?))
}

/// A chunk with its keys.
pub(super) struct StoredChunk {
    pub(super) seq: i64,
    pub(super) shard: i64,
    pub(super) chunk: Chunk,
}

const CHUNK_COLUMNS: &str = "c.seq, c.shard, s.name, s.number, c.number, c.ord, c.ranges, c.state, c.owner, \
     c.lease_until, c.epoch, c.progress, c.idle_claims, c.last_error";

/// The chunk of this name.
pub(super) fn read_chunk(connection: &Connection, run: &RunId, id: &ChunkId) -> Result<StoredChunk, Fault> {
    let sql = format!(
        "SELECT {CHUNK_COLUMNS} FROM runs r
         JOIN shards s ON s.run = r.seq AND s.name = ?2 AND s.number = ?3
         JOIN chunks c ON c.shard = s.seq AND c.number = ?4 WHERE r.id = ?1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![run.0, id.shard.index, id.shard.shard, id.number])?;
    match rows.next()? {
        Some(row) => chunk_of(row),
        None => Err(no_chunk(run, id)),
    }
}

/// The chunks of a shard, by number.
pub(super) fn read_chunks(connection: &Connection, shard: i64) -> Result<Vec<Chunk>, Fault> {
    let sql = format!(
        "SELECT {CHUNK_COLUMNS} FROM chunks c JOIN shards s ON s.seq = c.shard
         WHERE c.shard = ?1 ORDER BY c.number"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([shard])?;
    let mut chunks = Vec::new();
    while let Some(row) = rows.next()? {
        chunks.push(chunk_of(row)?.chunk);
    }
    Ok(chunks)
}

/// The names of the chunks of a run that were given up, in their order.
pub(super) fn failed_chunks(connection: &Connection, run: i64) -> Result<Vec<ChunkId>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT s.name, s.number, c.number FROM chunks c JOIN shards s ON s.seq = c.shard
         WHERE c.run = ?1 AND c.last_error IS NOT NULL AND c.state = ?2 ORDER BY c.ord",
    )?;
    let rows = statement.query_map(params![run, FAILED], |row| {
        let shard = ShardId { index: row.get(0)?, shard: row.get(1)? };
        Ok(ChunkId { shard, number: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn chunk_of(row: &Row<'_>) -> Result<StoredChunk, Fault> {
    let shard = ShardId { index: row.get(2)?, shard: row.get(3)? };
    let id = ChunkId { shard, number: row.get(4)? };
    let name = format!("chunk {id}");
    let ranges: Vec<SegmentRange> =
        from_json(&name, row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?)?;
    let mut chunk = Chunk::new(id, ranges);
    chunk.order = nat(row.get(5)?);
    chunk.state = match row.get(7)? {
        PENDING => ChunkState::Pending,
        LEASED => ChunkState::Leased(Lease {
            owner: row.get::<_, Option<String>>(8)?.unwrap_or_default(),
            until: nat(row.get::<_, Option<i64>>(9)?.unwrap_or_default()),
        }),
        DONE => ChunkState::Done,
        FAILED => ChunkState::Failed,
        other => {
            return Err(Fault::invalid(format!(
                "{name} has the unknown state {other}; give another --state"
            )));
        }
    };
    chunk.epoch = nat(row.get(10)?);
    if let Some(progress) = row.get_ref(11)?.as_str_or_null().map_err(rusqlite::Error::from)? {
        chunk.progress = from_json(&name, progress)?;
    }
    chunk.idle_claims = row.get(12)?;
    if let Some(error) = row.get_ref(13)?.as_str_or_null().map_err(rusqlite::Error::from)? {
        chunk.last_error = Some(from_json(&name, error)?);
    }
    Ok(StoredChunk { seq: row.get(0)?, shard: row.get(1)?, chunk })
}

/// The changing columns of a chunk.
struct ChunkColumns {
    state: i64,
    owner: Option<String>,
    until: Option<i64>,
    progress: Option<String>,
    last_error: Option<String>,
}

fn chunk_columns(chunk: &Chunk) -> Result<ChunkColumns, Fault> {
    let (state, owner, until) = match &chunk.state {
        ChunkState::Pending => (PENDING, None, None),
        ChunkState::Leased(lease) => (LEASED, Some(lease.owner.clone()), Some(int(lease.until))),
        ChunkState::Done => (DONE, None, None),
        ChunkState::Failed => (FAILED, None, None),
    };
    let begun = chunk.progress != initial_progress(chunk);
    let progress = if begun { Some(to_json(&chunk.progress)?) } else { None };
    let last_error = chunk.last_error.as_ref().map(to_json).transpose()?;
    Ok(ChunkColumns { state, owner, until, progress, last_error })
}

/// The progress of a chunk as planned, which need not be stored.
fn initial_progress(chunk: &Chunk) -> Progress {
    let first = chunk.ranges.first().cloned().into_iter().collect();
    Chunk::new(chunk.id.clone(), first).progress
}

/// Stores a new chunk.
pub(super) fn insert_chunk(
    connection: &Connection,
    run: i64,
    shard: i64,
    chunk: &Chunk,
) -> Result<(), Fault> {
    let columns = chunk_columns(chunk)?;
    connection
        .prepare_cached(
            "INSERT INTO chunks (run, shard, number, ord, ranges, state, owner, lease_until, epoch, progress,
             idle_claims, last_error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            run,
            shard,
            chunk.id.number,
            int(chunk.order),
            to_json(&chunk.ranges)?,
            columns.state,
            columns.owner,
            columns.until,
            int(chunk.epoch),
            columns.progress,
            chunk.idle_claims,
            columns.last_error
        ])?;
    Ok(())
}

/// Stores what has changed of a chunk.
pub(super) fn update_chunk(connection: &Connection, seq: i64, chunk: &Chunk) -> Result<(), Fault> {
    let columns = chunk_columns(chunk)?;
    connection
        .prepare_cached(
            "UPDATE chunks SET state = ?2, owner = ?3, lease_until = ?4, epoch = ?5, progress = ?6,
             idle_claims = ?7, last_error = ?8 WHERE seq = ?1",
        )?
        .execute(params![
            seq,
            columns.state,
            columns.owner,
            columns.until,
            int(chunk.epoch),
            columns.progress,
            chunk.idle_claims,
            columns.last_error
        ])?;
    Ok(())
}

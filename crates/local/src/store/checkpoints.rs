//! The checkpoint port.

use super::columns::{from_json, int, nat, to_json};
use super::records::{self, Share};
use super::{Fault, SqliteStore, summary};
use async_trait::async_trait;
use backfill::model::chunk::LONGEST_LEASE;
use backfill::model::{
    Amendment, Chunk, ChunkId, HandedBack, Millis, Planning, Progress, Reason, Run, RunId, RunState, Settled,
    Shard, ShardId, Wait,
};
use backfill::ports::{
    Checkpoints, ClaimOutcome, Creation, RetryLease, RunControl, Sample, StoreError, Summary,
};
use rusqlite::{Connection, OptionalExtension, params};

/// Samples that are kept of a run.
const SAMPLES: i64 = 120;

#[async_trait]
impl Checkpoints for SqliteStore {
    async fn create_run(&self, run: &Run, newest: Option<&RunId>) -> Result<Creation, StoreError> {
        let (run, expected) = (run.clone(), newest.cloned());
        self.write(move |tx| {
            let found = newest_run(tx)?.map(|(_, id)| id);
            match found {
                Some(id) if id == run.id => return Ok(Creation::Created),
                Some(id) if expected.as_ref() != Some(&id) => return Ok(Creation::Superseded(id)),
                _ => {}
            }
            records::insert_run(tx, &run)?;
            Ok(Creation::Created)
        })
        .await
    }

    async fn add_shard(&self, run: &RunId, shard: &Shard, chunks: &[Chunk]) -> Result<(), StoreError> {
        let (run, shard, chunks) = (run.clone(), shard.clone(), chunks.to_vec());
        self.write(move |tx| add_shard(tx, &run, &shard, &chunks)).await
    }

    async fn advance_planning(
        &self,
        run: &RunId,
        from: Planning,
        to: Planning,
    ) -> Result<Planning, StoreError> {
        let run = run.clone();
        self.write(move |tx| {
            let (from, to) = (to_json(&from)?, to_json(&to)?);
            let sql = "UPDATE runs SET planning = ?3 WHERE id = ?1 AND planning = ?2";
            tx.execute(sql, params![run.0, from, to])?;
            let sql = "SELECT planning FROM runs WHERE id = ?1";
            let now = tx.query_row(sql, [&run.0], |row| row.get::<_, String>(0)).optional()?;
            from_json("a run's planning", &now.ok_or_else(|| records::no_run(&run))?)
        })
        .await
    }

    async fn run(&self, id: &RunId) -> Result<Run, StoreError> {
        let id = id.clone();
        self.read(move |tx| records::read_run(tx, records::run_seq(tx, &id)?)).await
    }

    async fn latest_run(&self) -> Result<Option<Run>, StoreError> {
        self.read(|tx| newest_run(tx)?.map(|(seq, _)| records::read_run(tx, seq)).transpose()).await
    }

    async fn control(&self, id: &RunId) -> Result<RunControl, StoreError> {
        let id = id.clone();
        self.read(move |tx| control(tx, &id)).await
    }

    async fn set_state(
        &self,
        id: &RunId,
        state: RunState,
        now: Millis,
        damage: &[String],
    ) -> Result<(), StoreError> {
        let (id, damage) = (id.clone(), damage.to_vec());
        self.write(move |tx| {
            let finished = state.is_finished().then(|| int(now));
            if state == RunState::Stopped && control(tx, &id)?.state != RunState::Running {
                return Ok(());
            }
            let changed = tx.execute(
                "UPDATE runs SET state = ?2, finished = ?3, damage = ?4 WHERE id = ?1",
                params![id.0, state.name(), finished, to_json(&damage)?],
            )?;
            if changed == 1 { Ok(()) } else { Err(records::no_run(&id)) }
        })
        .await
    }

    async fn set_desired_workers(&self, id: &RunId, workers: u32) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |tx| {
            let sql = "UPDATE runs SET desired_workers = ?2 WHERE id = ?1";
            if tx.execute(sql, params![id.0, workers])? == 1 { Ok(()) } else { Err(records::no_run(&id)) }
        })
        .await
    }

    async fn amend(&self, id: &RunId, amendment: &Amendment) -> Result<(), StoreError> {
        let (id, amendment) = (id.clone(), amendment.clone());
        self.write(move |tx| records::amend(tx, &id, &amendment)).await
    }

    async fn shard(&self, run: &RunId, shard: &ShardId) -> Result<Shard, StoreError> {
        let (run, shard) = (run.clone(), shard.clone());
        self.read(move |tx| Ok(records::read_shard(tx, &run, &shard)?.1)).await
    }

    async fn claim(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        owner: &str,
        now: Millis,
        until: Millis,
    ) -> Result<ClaimOutcome, StoreError> {
        let (run, chunk, owner) = (run.clone(), chunk.clone(), owner.to_owned());
        self.write(move |tx| {
            let mut outcome = Ok(());
            let chunk = transition(tx, &run, &chunk, |chunk| {
                outcome = chunk.claim(&owner, now, until);
                Ok(())
            })?;
            Ok(match outcome {
                Ok(()) => ClaimOutcome::Granted(Box::new(chunk)),
                Err(refused) => ClaimOutcome::Refused(refused),
            })
        })
        .await
    }

    async fn save(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        epoch: u64,
        progress: &Progress,
        until: Millis,
    ) -> Result<RunControl, StoreError> {
        let (run, chunk, progress) = (run.clone(), chunk.clone(), progress.clone());
        self.write(move |tx| {
            transition(tx, &run, &chunk, |chunk| Ok(chunk.save(epoch, progress, until)?))?;
            control(tx, &run)
        })
        .await
    }

    async fn hand_back(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        epoch: u64,
        progress: &Progress,
        reason: &Reason,
    ) -> Result<HandedBack, StoreError> {
        let (run, chunk, progress) = (run.clone(), chunk.clone(), progress.clone());
        let reason = reason.clone();
        self.write(move |tx| {
            let mut left = HandedBack::Failed;
            transition(tx, &run, &chunk, |chunk| {
                left = chunk.hand_back(epoch, progress, reason)?;
                Ok(())
            })?;
            Ok(left)
        })
        .await
    }

    async fn complete(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        epoch: u64,
        progress: &Progress,
    ) -> Result<(), StoreError> {
        let (run, chunk, progress) = (run.clone(), chunk.clone(), progress.clone());
        self.write(move |tx| {
            transition(tx, &run, &chunk, |chunk| Ok(chunk.complete(epoch, progress)?)).map(drop)
        })
        .await
    }

    async fn retry_failed(&self, run: &RunId) -> Result<Vec<ChunkId>, StoreError> {
        let run = run.clone();
        self.write(move |tx| {
            let failed = records::failed_chunks(tx, records::run_seq(tx, &run)?)?;
            for chunk in &failed {
                transition(tx, &run, chunk, |chunk| {
                    chunk.retry();
                    Ok(())
                })?;
            }
            Ok(failed)
        })
        .await
    }

    async fn redo(&self, run: &RunId, shard: &ShardId) -> Result<(), StoreError> {
        let (run, shard) = (run.clone(), shard.clone());
        self.write(move |tx| {
            for chunk in records::read_chunks(tx, records::read_shard(tx, &run, &shard)?.0)? {
                transition(tx, &run, &chunk.id, |chunk| {
                    chunk.redo();
                    Ok(())
                })?;
            }
            Ok(())
        })
        .await
    }

    async fn settle(&self, run: &RunId, chunk: &ChunkId, settled: &Settled) -> Result<(), StoreError> {
        let (run, chunk, settled) = (run.clone(), chunk.clone(), *settled);
        self.write(move |tx| transition(tx, &run, &chunk, |chunk| Ok(chunk.settle(&settled)?)).map(drop))
            .await
    }

    async fn hold_retry(
        &self,
        run: &RunId,
        owner: &str,
        now: Millis,
        until: Millis,
    ) -> Result<RetryLease, StoreError> {
        let (run, owner) = (run.clone(), owner.to_owned());
        self.write(move |tx| {
            let run = records::run_seq(tx, &run)?;
            let taken = tx.execute(
                "UPDATE runs SET retry_owner = ?2, retry_until = ?4
                 WHERE seq = ?1 AND (retry_owner IS NULL OR retry_owner = ?2 OR retry_until <= ?3
                 OR retry_until > ?5)",
                params![run, owner, int(now), int(until), int(now.saturating_add(LONGEST_LEASE))],
            )?;
            if taken == 1 {
                return Ok(RetryLease::Granted);
            }
            let sql = "SELECT retry_until FROM runs WHERE seq = ?1";
            Ok(RetryLease::Held { until: tx.query_row(sql, [run], |row| row.get(0).map(nat))? })
        })
        .await
    }

    async fn release_retry(&self, run: &RunId, owner: &str) -> Result<(), StoreError> {
        let (run, owner) = (run.clone(), owner.to_owned());
        self.write(move |tx| {
            let sql =
                "UPDATE runs SET retry_owner = NULL, retry_until = NULL WHERE id = ?1 AND retry_owner = ?2";
            tx.execute(sql, params![run.0, owner])?;
            Ok(())
        })
        .await
    }

    async fn delete_run(&self, run: &RunId) -> Result<(), StoreError> {
        let run = run.clone();
        self.write(move |tx| {
            let Some(run) = tx
                .query_row("SELECT seq FROM runs WHERE id = ?1", [&run.0], |row| row.get::<_, i64>(0))
                .optional()?
            else {
                return Ok(());
            };
            // What refers to others first.
            for table in ["messages", "samples", "waits", "chunks", "shards"] {
                tx.execute(&format!("DELETE FROM {table} WHERE run = ?1"), [run])?;
            }
            tx.execute("DELETE FROM runs WHERE seq = ?1", [run])?;
            Ok(())
        })
        .await
    }

    async fn shards(&self, run: &RunId) -> Result<Vec<Shard>, StoreError> {
        let run = run.clone();
        self.read(move |tx| {
            let run = records::run_seq(tx, &run)?;
            records::read_shards(tx, run)
        })
        .await
    }

    async fn chunks(&self, run: &RunId, shard: &ShardId) -> Result<Vec<Chunk>, StoreError> {
        let (run, shard) = (run.clone(), shard.clone());
        self.read(move |tx| records::read_chunks(tx, records::read_shard(tx, &run, &shard)?.0)).await
    }

    async fn add_sample(&self, run: &RunId, sample: &Sample) -> Result<(), StoreError> {
        let (run, sample) = (run.clone(), *sample);
        self.write(move |tx| {
            let run = records::run_seq(tx, &run)?;
            tx.prepare_cached("INSERT OR REPLACE INTO samples VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(
                params![
                    run,
                    int(sample.at),
                    int(sample.documents),
                    int(sample.stored_bytes),
                    int(sample.missing)
                ],
            )?;
            tx.prepare_cached(
                "DELETE FROM samples WHERE run = ?1 AND at <=
                 (SELECT at FROM samples WHERE run = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![run, SAMPLES])?;
            Ok(())
        })
        .await
    }

    async fn note_wait(
        &self,
        run: &RunId,
        owner: &str,
        wait: Option<&Wait>,
        now: Millis,
        until: Millis,
    ) -> Result<(), StoreError> {
        let (run, owner, wait) = (run.clone(), owner.to_owned(), wait.cloned());
        self.write(move |tx| {
            let run = records::run_seq(tx, &run)?;
            // Those of others that died are removed by the way.
            let sql = "DELETE FROM waits WHERE run = ?1 AND (owner = ?2 OR expires <= ?3)";
            tx.prepare_cached(sql)?.execute(params![run, owner, int(now)])?;
            if let Some(wait) = wait {
                let sql = "INSERT INTO waits (run, owner, record, expires) VALUES (?1, ?2, ?3, ?4)";
                tx.prepare_cached(sql)?.execute(params![run, owner, to_json(&wait)?, int(until)])?;
            }
            Ok(())
        })
        .await
    }

    async fn summary(&self, run: &RunId, now: Millis) -> Result<Summary, StoreError> {
        let run = run.clone();
        self.read(move |tx| summary::summary(tx, &run, now)).await
    }
}

/// Key and name of the run that was created last.
fn newest_run(tx: &Connection) -> Result<Option<(i64, RunId)>, Fault> {
    let sql = "SELECT seq, id FROM runs ORDER BY seq DESC LIMIT 1";
    Ok(tx.query_row(sql, [], |row| Ok((row.get(0)?, RunId(row.get(1)?)))).optional()?)
}

fn add_shard(tx: &Connection, run: &RunId, shard: &Shard, chunks: &[Chunk]) -> Result<(), Fault> {
    if let Some(foreign) = chunks.iter().find(|chunk| chunk.id.shard != shard.id) {
        return Err(Fault::Store(StoreError::Invalid {
            what: format!("the plan of shard {}", shard.id),
            reason: format!("chunk {} is of another shard: a defect", foreign.id),
        }));
    }
    let run = records::run_seq(tx, run)?;
    let share = chunks.iter().fold(Share::default(), |sum, chunk| sum.plus(Share::of(chunk)));
    let count = i64::try_from(chunks.len()).unwrap_or(i64::MAX);
    if let Some(seq) = records::insert_shard(tx, run, shard, count, &share)? {
        for chunk in chunks {
            records::insert_chunk(tx, run, seq, chunk)?;
        }
    }
    Ok(())
}

fn control(tx: &Connection, id: &RunId) -> Result<RunControl, Fault> {
    let found = tx
        .prepare_cached("SELECT state, desired_workers FROM runs WHERE id = ?1")?
        .query_row([&id.0], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))
        .optional()?;
    let (state, desired_workers) = found.ok_or_else(|| records::no_run(id))?;
    Ok(RunControl { state: records::parse_state(&state)?, desired_workers })
}

/// Reads a chunk, changes it, and stores what has changed, with the sums of its shard.
fn transition(
    tx: &Connection,
    run: &RunId,
    id: &ChunkId,
    change: impl FnOnce(&mut Chunk) -> Result<(), Fault>,
) -> Result<Chunk, Fault> {
    let stored = records::read_chunk(tx, run, id)?;
    let mut chunk = stored.chunk.clone();
    change(&mut chunk)?;
    if chunk != stored.chunk {
        records::update_chunk(tx, stored.seq, &chunk)?;
        records::add_to_shard(tx, stored.shard, &Share::of(&chunk).minus(Share::of(&stored.chunk)))?;
    }
    Ok(chunk)
}

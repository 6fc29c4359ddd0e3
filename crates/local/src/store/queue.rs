//! The queue port: messages beside the chunks that they are about.

use super::columns::int;
use super::records::{self, DONE, FAILED};
use super::{Fault, SqliteStore};
use async_trait::async_trait;
use backfill::model::{ChunkId, Millis, RunId, ShardId};
use backfill::ports::{Message, Queue, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

/// The first message in chunk order that is visible, of runs that are to be worked on. Runs are few, and few
/// messages are invisible at once, so following the index takes a handful of steps.
pub(super) const NEXT: &str = "
    SELECT m.chunk, r.id, s.name, s.number, c.number
    FROM runs r
    CROSS JOIN messages m ON m.run = r.seq
    CROSS JOIN chunks c ON c.seq = m.chunk
    CROSS JOIN shards s ON s.seq = c.shard
    WHERE r.state = 'running' AND (?2 IS NULL OR r.id = ?2) AND m.visible_at <= ?1
    ORDER BY r.seq, m.ord LIMIT 1";

impl SqliteStore {
    /// The queue of one run: never receives messages of another run in the same file.
    pub fn queue_of(&self, run: &RunId) -> RunQueue {
        RunQueue { store: self.clone(), run: run.clone() }
    }

    async fn receive_of(
        &self,
        run: Option<&RunId>,
        now: Millis,
        until: Millis,
    ) -> Result<Option<Message>, StoreError> {
        let run = run.cloned();
        self.write(move |tx| receive(tx, run.as_ref(), now, until)).await
    }

    /// Changes a message, unless it was delivered again since.
    async fn with_message(
        &self,
        message: &Message,
        sql: &'static str,
        visible_at: Option<Millis>,
    ) -> Result<(), StoreError> {
        let message = message.clone();
        self.write(move |tx| {
            let stored = match records::read_chunk(tx, &message.run, &message.chunk) {
                Err(Fault::Store(StoreError::NotFound(_))) => return Ok(()),
                stored => stored?,
            };
            let mut statement = tx.prepare_cached(sql)?;
            match visible_at {
                Some(at) => statement.execute(params![stored.seq, message.receipt, int(at)])?,
                None => statement.execute(params![stored.seq, message.receipt])?,
            };
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Queue for SqliteStore {
    /// Messages that are there already are left alone, and chunks that are done get none, so that a start that
    /// was killed half-way may simply do it again.
    async fn enqueue(&self, run: &RunId, chunks: &[ChunkId]) -> Result<(), StoreError> {
        let (run, chunks) = (run.clone(), chunks.to_vec());
        self.write(move |tx| enqueue(tx, &run, &chunks)).await
    }

    async fn receive(&self, now: Millis, until: Millis) -> Result<Option<Message>, StoreError> {
        self.receive_of(None, now, until).await
    }

    async fn extend(&self, message: &Message, until: Millis) -> Result<(), StoreError> {
        let sql = "UPDATE messages SET visible_at = ?3 WHERE chunk = ?1 AND receipt = ?2";
        self.with_message(message, sql, Some(until)).await
    }

    async fn hand_back(&self, message: &Message) -> Result<(), StoreError> {
        let sql = "UPDATE messages SET visible_at = 0, receipt = NULL WHERE chunk = ?1 AND receipt = ?2";
        self.with_message(message, sql, None).await
    }

    async fn delete(&self, message: &Message) -> Result<(), StoreError> {
        let sql = "DELETE FROM messages WHERE chunk = ?1 AND receipt = ?2";
        self.with_message(message, sql, None).await
    }
}

/// The part of the queue that is about one run. For the workers of that run.
#[derive(Clone, Debug)]
pub struct RunQueue {
    store: SqliteStore,
    run: RunId,
}

#[async_trait]
impl Queue for RunQueue {
    async fn enqueue(&self, run: &RunId, chunks: &[ChunkId]) -> Result<(), StoreError> {
        self.store.enqueue(run, chunks).await
    }

    async fn receive(&self, now: Millis, until: Millis) -> Result<Option<Message>, StoreError> {
        self.store.receive_of(Some(&self.run), now, until).await
    }

    async fn extend(&self, message: &Message, until: Millis) -> Result<(), StoreError> {
        self.store.extend(message, until).await
    }

    async fn hand_back(&self, message: &Message) -> Result<(), StoreError> {
        Queue::hand_back(&self.store, message).await
    }

    async fn delete(&self, message: &Message) -> Result<(), StoreError> {
        self.store.delete(message).await
    }
}

fn enqueue(tx: &Connection, run: &RunId, chunks: &[ChunkId]) -> Result<(), Fault> {
    let run_seq = records::run_seq(tx, run)?;
    let mut find = tx.prepare_cached(
        "SELECT c.seq, c.ord, c.state FROM shards s JOIN chunks c ON c.shard = s.seq AND c.number = ?4
         WHERE s.run = ?1 AND s.name = ?2 AND s.number = ?3",
    )?;
    let mut insert = tx.prepare_cached(
        "INSERT OR IGNORE INTO messages (chunk, run, ord, visible_at) VALUES (?1, ?2, ?3, 0)",
    )?;
    for chunk in chunks {
        let (seq, ord, state): (i64, i64, i64) = find
            .query_row(params![run_seq, chunk.shard.index, chunk.shard.shard, chunk.number], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?
            .ok_or_else(|| records::no_chunk(run, chunk))?;
        if state != DONE && state != FAILED {
            insert.execute(params![seq, run_seq, ord])?;
        }
    }
    Ok(())
}

fn receive(
    tx: &Connection,
    run: Option<&RunId>,
    now: Millis,
    until: Millis,
) -> Result<Option<Message>, Fault> {
    let found = tx
        .prepare_cached(NEXT)?
        .query_row(params![int(now), run.map(|run| &run.0)], |row| {
            let shard = ShardId { index: row.get(2)?, shard: row.get(3)? };
            let chunk = ChunkId { shard, number: row.get(4)? };
            Ok((row.get::<_, i64>(0)?, RunId(row.get(1)?), chunk))
        })
        .optional()?;
    let Some((seq, run, chunk)) = found else { return Ok(None) };
    let receipt = tx
        .prepare_cached(
            "UPDATE messages SET visible_at = ?2, receipt = lower(hex(randomblob(16))) WHERE chunk = ?1
             RETURNING receipt",
        )?
        .query_row(params![seq, int(until)], |row| row.get(0))?;
    Ok(Some(Message { run, chunk, receipt }))
}

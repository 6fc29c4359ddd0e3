//! What the runner asks of the store beyond the ports.

use super::SqliteStore;
use super::columns::int;
use super::records::{self, DONE, FAILED, PENDING};
use super::summary;
use backfill::model::{Counters, Millis, RunId};
use backfill::ports::StoreError;
use rusqlite::params;

/// What is left in the queue for a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Whether there are messages at all, in someone's hands or not.
    pub any: bool,
    /// Messages that a worker would receive now, counted no further than asked.
    pub visible: u32,
}

impl SqliteStore {
    /// Makes whatever earlier runners left in their hands available at once. Only for a runner that has just
    /// taken the lock: everyone who could still hold a lease is dead then. Epochs stay, so that the next claim
    /// raises them. Each unfinished chunk has a visible message afterwards, and no finished one has any; those that
    /// were given up keep none.
    /// Somebody has started the run anew, so all chunks have all their attempts again. Those on which attempts brought
    /// nothing come last: should one of them kill its process each time, it does so when all others are done.
    ///
    /// # Errors
    /// When there is no such run, or the file cannot be written.
    pub async fn reclaim(&self, run: &RunId) -> Result<(), StoreError> {
        let run = run.clone();
        self.write(move |tx| {
            let run = records::run_seq(tx, &run)?;
            tx.execute(
                // The state as a literal: the index of leased chunks is only used then.
                "UPDATE chunks SET state = ?2, owner = NULL, lease_until = NULL WHERE run = ?1 AND state = 1",
                params![run, PENDING],
            )?;
            tx.execute(
                "INSERT OR IGNORE INTO messages (chunk, run, ord, visible_at)
                 SELECT seq, run, ord, 0 FROM chunks WHERE run = ?1 AND state = ?2",
                params![run, PENDING],
            )?;
            tx.execute(
                "UPDATE messages SET ord = ord + 1 + (SELECT max(ord) FROM messages WHERE run = ?1)
                 WHERE run = ?1 AND chunk IN (SELECT seq FROM chunks WHERE run = ?1 AND state = ?2 AND idle_claims > 0)",
                params![run, PENDING],
            )?;
            tx.execute(
                "UPDATE chunks SET idle_claims = 0 WHERE run = ?1 AND state = ?2 AND idle_claims > 0",
                params![run, PENDING],
            )?;
            tx.execute(
                "DELETE FROM messages WHERE run = ?1
                 AND EXISTS (SELECT 1 FROM chunks c WHERE c.seq = messages.chunk AND c.state IN (?2, ?3))",
                params![run, DONE, FAILED],
            )?;
            tx.execute(
                "UPDATE messages SET visible_at = 0, receipt = NULL
                 WHERE run = ?1 AND (visible_at <> 0 OR receipt IS NOT NULL)",
                params![run],
            )?;
            Ok(())
        })
        .await
    }

    /// What is in the queue for a run at `now`; visible messages are counted up to `limit`.
    ///
    /// # Errors
    /// When there is no such run, or the file cannot be read.
    pub async fn work(&self, run: &RunId, now: Millis, limit: u32) -> Result<Work, StoreError> {
        let run = run.clone();
        self.read(move |tx| {
            let run = records::run_seq(tx, &run)?;
            let any = tx
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM messages WHERE run = ?1)")?
                .query_row([run], |row| row.get(0))?;
            let visible = tx
                .prepare_cached(
                    "SELECT count(*) FROM
                     (SELECT 1 FROM messages WHERE run = ?1 AND visible_at <= ?2 ORDER BY ord LIMIT ?3)",
                )?
                .query_row(params![run, int(now), limit], |row| row.get(0))?;
            Ok(Work { any, visible })
        })
        .await
    }

    /// The error of a run with work in its queue that no worker receives.
    pub(crate) fn stalled(&self, run: &RunId) -> StoreError {
        StoreError::Invalid {
            what: format!("the state file {}", self.path().display()),
            reason: format!(
                "its queue has work for run {run}, but no worker receives it: it is damaged; \
                 give another --state and start again"
            ),
        }
    }

    /// The sums over all chunks of a run.
    ///
    /// # Errors
    /// When there is no such run, or the file cannot be read.
    pub async fn totals(&self, run: &RunId) -> Result<Counters, StoreError> {
        let run = run.clone();
        self.read(move |tx| summary::totals(tx, records::run_seq(tx, &run)?)).await
    }
}

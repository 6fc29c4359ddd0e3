//! Stops the run if more documents fail than it allows. [`crate::limit`] says how that is decided.

use super::Worker;
use crate::limit::{FrequentError, LimitExceeded};
use crate::model::{Amendment, Planning, RunState};
use crate::ports::{StoreError, Summary};

/// Judges the whole run, and stops it if it is over its limit. Returns whether the run is stopped. `error` is what this
/// worker has met most often.
pub(super) async fn stop_if_exceeded(
    worker: &Worker,
    error: Option<FrequentError>,
) -> Result<bool, StoreError> {
    let (checkpoints, now) = (&worker.checkpoints, worker.clock.now());
    let summary = checkpoints.summary(&worker.run.id, now).await?;
    let run = &summary.run;
    if run.state != RunState::Running || is_through(&summary) {
        return Ok(run.state == RunState::Stopped);
    }
    // The worker may have known the run before a start gave it another limit.
    let Some(limit) = run.notes.limit else { return Ok(false) };
    let Some(judged) = limit.exceeded(&summary.counters) else { return Ok(false) };
    let reason = LimitExceeded { max_failed: limit.max, judged, error };
    tracing::warn!(run = %run.id, %reason, "the run is stopped");
    // The reason comes first, so that whoever finds the run stopped finds the reason as well.
    checkpoints.amend(&run.id, &Amendment::LimitExceeded(Box::new(reason))).await?;
    checkpoints.set_state(&run.id, RunState::Stopped, now, &[]).await?;
    Ok(true)
}

/// Whether nothing is left that a stop could prevent: then the run ends as one with failed documents.
fn is_through(summary: &Summary) -> bool {
    summary.run.planning == Planning::Complete
        && summary.chunks_done.saturating_add(summary.chunks_failed) >= summary.chunks_total
}

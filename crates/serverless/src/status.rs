//! The status function: tells where the newest run stands, and does what nobody else is there to do.
//!
//! A schedule invokes it each minute. Then it notes a point of progress, concludes the run when its last chunk has
//! ended, and enqueues chunks again whose messages were lost. Commands invoke it for its answer.

use crate::refusal::Refusal;
use crate::runtime::Invocation;
use crate::{Environment, Error};
use aws::LambdaFleet;
use aws::api::FunctionError;
use backfill::destinations::replaced;
use backfill::finish::{conclude, stop_fleet, stop_if_too_many_failed};
use backfill::model::{Millis, Planning, RunId, RunState, Wait, WaitCause};
use backfill::patient::PatientTarget;
use backfill::ports::{Checkpoints, Clock, FailedDocuments, Fleet, StoreError, Summary, SystemClock};
use backfill::reconcile::{QUIET, look};
use backfill::status::{FleetStatus, StatusReport};
use backfill::waits::Waits;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a target is waited for that does not answer; the next look is a minute later.
const PATIENCE: Duration = Duration::from_secs(20);
/// A run with more chunks is concluded by the schedule alone: each of its chunks must be read for that.
const QUICKLY_CONCLUDED: u64 = 5000;

/// The function that tells the status.
#[derive(Debug)]
pub struct StatusFunction {
    environment: Environment,
}

impl StatusFunction {
    /// The function in this environment.
    pub fn new(environment: Environment) -> StatusFunction {
        StatusFunction { environment }
    }

    /// Answers with `{"report": …, "reconciled": …}`: a [`StatusReport`] (`null` if nothing was ever started), and how
    /// many messages were replaced; or with a [`FunctionError`]. An event of a schedule has the member `scheduled`; any
    /// other is taken for a question.
    ///
    /// # Errors
    /// When a scheduled look could not be taken, so that it shows among the function's errors.
    pub async fn handle(&self, event: Value, _: Invocation) -> Result<Value, Error> {
        let scheduled = event.get("scheduled").and_then(Value::as_bool).unwrap_or(false);
        match self.answer(scheduled).await {
            Ok(answer) => Ok(answer),
            Err(refusal) if scheduled => Err(refusal.into()),
            Err(refusal) => {
                Ok(serde_json::to_value(FunctionError { error: refusal.message, exit: refusal.exit })?)
            }
        }
    }

    async fn answer(&self, scheduled: bool) -> Result<Value, Refusal> {
        let checkpoints = &self.environment.checkpoints;
        let Some(run) = checkpoints.latest_run().await? else {
            return Ok(json!({"report": null, "reconciled": 0}));
        };
        let fleet = self.environment.fleet()?;
        let now = SystemClock.now();
        let mut summary = checkpoints.summary(&run.id, now).await?;
        let mut reconciled = 0;
        let running = summary.run.state == RunState::Running;
        if scheduled && running && stop_if_too_many_failed(checkpoints, &summary, now, None).await? {
            summary = checkpoints.summary(&run.id, now).await?;
        }
        // A worker may stop the run, but not the fleet that it is part of.
        if scheduled && summary.run.is_stopped_by_limit() && !fleet.state().await?.stopped {
            stop_fleet(checkpoints, &fleet).await?;
        }
        if summary.run.state == RunState::Running {
            if scheduled {
                reconciled = self.look(&summary, now).await?;
            }
            if scheduled && is_start_broken_off(&summary, now) {
                if summary.run.desired_workers > 0 && fleet.state().await?.stopped {
                    fleet.scale(summary.run.desired_workers).await?;
                    tracing::warn!(run = %run.id, "a start broke off before its workers were let loose; they are now");
                }
                note_starting(checkpoints, &run.id, false).await?;
            }
            if scheduled && is_through_but_for_unreadable_shards(&summary) {
                fleet.stop().await?;
                checkpoints.set_state(&run.id, RunState::Failed, now, &[]).await?;
                tracing::warn!(run = %run.id, "all is done but shards that cannot be read");
                summary = checkpoints.summary(&run.id, now).await?;
            }
            if through(&summary) && (scheduled || summary.chunks_total <= QUICKLY_CONCLUDED) {
                match self.conclude(&summary, &fleet).await {
                    Ok(Some(concluded)) => summary = concluded,
                    Ok(None) => {}
                    // Whoever asks wants to know how things are, most of all while the target does not answer.
                    Err(refusal) if !scheduled => {
                        tracing::warn!(run = %run.id, reason = %refusal.message, "the run cannot be concluded yet");
                    }
                    Err(refusal) => return Err(refusal),
                }
            }
        }
        let fleet = FleetStatus::new(&fleet.state().await?, &summary);
        let location = self.environment.failed.location(&run.id);
        let report = StatusReport::new(&summary, fleet, location, now);
        Ok(json!({"report": report, "reconciled": reconciled}))
    }

    /// Ends a run of which every chunk has ended, and stops its workers. Whoever comes second finds it ended.
    async fn conclude(&self, summary: &Summary, fleet: &LambdaFleet) -> Result<Option<Summary>, Refusal> {
        let checkpoints = &self.environment.checkpoints;
        let run = &summary.run;
        let (target, waits) = (self.environment.target().await?, Waits::default());
        let asked = PatientTarget { target: &target, waits: &waits, patience: PATIENCE };
        let replaced = replaced(&asked, run).await?;
        let Some(state) = conclude(checkpoints, fleet, &SystemClock, run, &replaced).await? else {
            return Ok(None);
        };
        tracing::info!(run = %run.id, ?state, "the run has ended");
        Ok(Some(checkpoints.summary(&run.id, SystemClock.now()).await?))
    }

    /// Notes a point of progress, and sends messages again that were lost; how many.
    async fn look(&self, summary: &Summary, now: Millis) -> Result<u64, Refusal> {
        let Environment { checkpoints, queue, settings, .. } = &self.environment;
        let run = &summary.run.id;
        // Of a run that is through no message is missing, whatever the queue has.
        let in_queue = if through(summary) { 0 } else { queue.depth().await?.total() };
        let quiet = settings.quiet.unwrap_or(QUIET);
        let again = look(checkpoints, queue, summary, in_queue, quiet, now).await?;
        if again > 0 {
            tracing::warn!(%run, in_queue, again, "messages were lost; open chunks are enqueued again");
        }
        Ok(again)
    }
}

/// How long a start may take to let workers loose before it counts as killed.
const STARTING: Millis = 60_000;
/// For how long it is remembered that workers are being started.
const REMEMBERED: Millis = 86_400_000;

/// Records that workers are about to be let loose, or that they are.
pub(crate) async fn note_starting(
    checkpoints: &dyn Checkpoints,
    run: &RunId,
    starting: bool,
) -> Result<(), StoreError> {
    let now = SystemClock.now();
    let wait = Wait { cause: WaitCause::WorkersStarting, reason: String::new(), since: now, until: None };
    checkpoints.note_wait(run, "start", starting.then_some(&wait), now, now.saturating_add(REMEMBERED)).await
}

/// Whether a start has broken off while it let workers loose.
fn is_start_broken_off(summary: &Summary, now: Millis) -> bool {
    let starting = |wait: &Wait| wait.cause == WaitCause::WorkersStarting;
    summary.waits.iter().any(|wait| starting(wait) && wait.since.saturating_add(STARTING) <= now)
}

/// Whether all chunks that there are have ended, and the rest of the shards cannot be read.
fn is_through_but_for_unreadable_shards(summary: &Summary) -> bool {
    summary.run.planning == Planning::Shards
        && summary.chunks_done + summary.chunks_failed >= summary.chunks_total
        && summary.waits.iter().any(|wait| wait.cause == WaitCause::ShardsUnreadable)
}

/// Whether nothing is left for workers to do.
fn through(summary: &Summary) -> bool {
    summary.run.planning == Planning::Complete
        && summary.chunks_done + summary.chunks_failed >= summary.chunks_total
}

#[cfg(test)]
mod tests {
    use super::*;
    use backfill::ports::ShardSums;

    fn summary(planning: Planning, done: u64, waits: &[(WaitCause, Millis)]) -> Summary {
        let (mut run, shards, _) = conformance::plan("run", 1, 2);
        run.planning = planning;
        let shards = shards.into_iter().map(|shard| ShardSums {
            id: shard.id,
            live_docs: shard.live_docs,
            stored_bytes: shard.stored_bytes,
            findings: Vec::new(),
            damaged_docs: 0,
            uncounted_segments: 0,
            chunks: 2,
            claimed: done,
            done,
            given_up: 0,
            damaged: 0,
            counters: Default::default(),
        });
        let wait = |(cause, since): &(WaitCause, Millis)| Wait {
            cause: *cause,
            reason: String::new(),
            since: *since,
            until: None,
        };
        Summary { waits: waits.iter().map(wait).collect(), ..Summary::of(run, shards) }
    }

    #[test]
    fn a_start_that_broke_off_is_recognised_after_a_minute() {
        let starting = summary(Planning::Complete, 0, &[(WaitCause::WorkersStarting, 1000)]);
        assert!(!is_start_broken_off(&starting, 60_999));
        assert!(is_start_broken_off(&starting, 61_000));
        let waiting = summary(Planning::Complete, 0, &[(WaitCause::TargetBlocked, 0)]);
        assert!(!is_start_broken_off(&waiting, 61_000));
    }

    #[test]
    fn a_run_of_which_only_unreadable_shards_are_left_is_recognised() {
        let unreadable = [(WaitCause::ShardsUnreadable, 0)];
        assert!(is_through_but_for_unreadable_shards(&summary(Planning::Shards, 2, &unreadable)));
        assert!(!is_through_but_for_unreadable_shards(&summary(Planning::Shards, 1, &unreadable)));
        assert!(
            !is_through_but_for_unreadable_shards(&summary(Planning::Shards, 2, &[])),
            "it is still planned"
        );
        assert!(!is_through_but_for_unreadable_shards(&summary(Planning::Complete, 2, &unreadable)));
    }
}

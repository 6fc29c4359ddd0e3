//! What status says: made from a [`Summary`] alone, so it is exact and cheap at any number of chunks.

use crate::limit::{LimitExceeded, MaxFailed};
use crate::model::{Cause, Finding, FindingKind, Millis, RunState, Wait, WaitCause};
use crate::ports::{FleetState, Sample, Summary};
use serde::Serialize;
use std::collections::BTreeMap;

/// Rates are taken over the latest samples of this long.
const WINDOW_MS: Millis = 60_000;

/// Workers by state, as the fleet tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FleetStatus {
    /// Whether anything is there to run workers at all.
    pub active: bool,
    /// Workers at work.
    pub running: u32,
    /// Workers wanted but not at work yet.
    pub pending: u32,
    /// Workers wanted.
    pub desired: u32,
    /// Settings of the fleet that do not fit together, each with what to do.
    pub warnings: Vec<String>,
    /// Whether anything is there that may wait for something, whatever the state of the run.
    #[serde(skip)]
    pub present: bool,
}

impl FleetStatus {
    /// From how the fleet is set, and what its workers hold.
    pub fn new(fleet: &FleetState, summary: &Summary) -> FleetStatus {
        let active = fleet.active && summary.run.state == RunState::Running;
        let desired = if active { fleet.desired } else { 0 };
        let clamped = |chunks: u64| u32::try_from(chunks).unwrap_or(u32::MAX);
        let running = match summary.run.state {
            RunState::Running => clamped(summary.chunks_leased).min(desired),
            // They finish what they have in flight, and hand back.
            RunState::Stopped if fleet.active => clamped(summary.chunks_leased),
            _ => 0,
        };
        let waiting = summary
            .chunks_total
            .saturating_sub(summary.chunks_done)
            .saturating_sub(summary.chunks_failed)
            .saturating_sub(summary.chunks_leased);
        let pending = clamped(waiting).min(desired.saturating_sub(running));
        let mut warnings = fleet.warnings.clone();
        if active && fleet.stopped && desired == 0 && waiting > 0 && summary.run.desired_workers > 0 {
            warnings.push(format!(
                "no worker may run, though {} were asked for; `backfill scale N` or `backfill start` lets them",
                summary.run.desired_workers
            ));
        }
        FleetStatus { active, running, pending, desired, warnings, present: fleet.active }
    }
}

/// Whether the backfill runs. The words are the ones that users of `console backfill status` know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BackfillStatus {
    /// Nothing was ever started.
    NotStarted,
    /// Workers are at work or about to be.
    Running,
    /// The run was stopped, and its workers finish what they have in flight.
    Stopping,
    /// Nothing runs.
    Stopped,
}

/// What became of the run so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is work left.
    Unfinished,
    /// Every document arrived.
    Complete,
    /// Every document arrived or is kept as a failed document.
    CompleteWithFailedDocuments,
    /// Part of the snapshot is damaged, as its checksums or lengths prove.
    Damaged,
    /// Part of the snapshot cannot be read by this version of the program, and nothing of it is known to be damaged.
    Unreadable,
    /// Indices were refused, and everything else arrived or is kept as a failed document.
    Refused,
    /// Chunks were given up and nothing else is left: a start tries them again.
    Failed,
    /// Target indices were deleted or replaced while they were filled: documents that the target had acknowledged are gone.
    TargetReplaced,
    /// The run has stopped by itself, because more documents failed than its limit allows. A start lets it go on.
    TooManyFailed,
}

/// What is waited for, by all workers that wait for the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// The wait that began first.
    #[serde(flatten)]
    pub wait: Wait,
    /// How many workers wait.
    pub workers: u32,
    /// A sentence for people.
    pub text: String,
}

impl Waiting {
    /// Puts waits for the same together.
    fn all(waits: &[Wait], now: Millis) -> Vec<Waiting> {
        let mut all: BTreeMap<WaitCause, (&Wait, u32)> = BTreeMap::new();
        for wait in waits {
            let (first, workers) = all.entry(wait.cause).or_insert((wait, 0));
            if wait.since < first.since {
                *first = wait;
            }
            *workers += 1;
        }
        all.into_values()
            .map(|(wait, workers)| Waiting { wait: wait.clone(), workers, text: wait.sentence(now) })
            .collect()
    }
}

impl Outcome {
    /// That of a run that has ended with these findings.
    fn of_findings(findings: &[String]) -> Self {
        match findings.iter().map(|text| Finding::parse(text).kind).max() {
            Some(FindingKind::Refused) => Self::Refused,
            Some(FindingKind::Unreadable) => Self::Unreadable,
            Some(FindingKind::Damaged) | None => Self::Damaged,
        }
    }
}

/// How fast it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rate {
    /// Documents a second.
    pub documents: f64,
    /// Stored-field bytes a second.
    pub stored_bytes: f64,
    /// Over how long it was measured, in milliseconds.
    pub window_ms: Millis,
}

/// All that status tells.
#[derive(Clone, Debug, Serialize)]
pub struct StatusReport {
    /// Whether it runs.
    pub status: BackfillStatus,
    /// What became of it.
    pub outcome: Outcome,
    /// Workers.
    pub fleet: FleetStatus,
    /// The run.
    pub run: String,
    /// The snapshot.
    pub snapshot: String,
    /// Where documents go.
    pub target: String,
    /// When it was started, milliseconds since the epoch.
    pub started: Millis,
    /// When it ended.
    pub finished: Option<Millis>,
    /// Shards.
    pub shards_total: u64,
    /// Shards through.
    pub shards_completed: u64,
    /// Shards not through.
    pub shards_incomplete: u64,
    /// Shards begun, not through.
    pub shards_in_progress: u64,
    /// Shards not begun.
    pub shards_unclaimed: u64,
    /// Chunks.
    pub chunks_total: u64,
    /// Chunks through.
    pub chunks_completed: u64,
    /// Chunks given up after too many attempts that brought nothing.
    pub chunks_failed: u64,
    /// Root documents read: each is acknowledged or kept as failed.
    pub documents_done: u64,
    /// Root documents to read, as far as known: nested children are subtracted as they are met.
    pub documents_total: u64,
    /// Stored-field bytes read.
    pub bytes_done: u64,
    /// Stored-field bytes to read.
    pub bytes_total: u64,
    /// Documents that the target held already.
    pub documents_already_there: u64,
    /// Failed documents.
    pub documents_failed: u64,
    /// Documents that could not be read: in damaged blocks, and in segments that could not be planned.
    pub documents_damaged: u64,
    /// Segments whose documents nobody can count, so that the totals are too low.
    pub segments_uncounted: u64,
    /// Where the failed documents are kept.
    pub failed_documents_location: String,
    /// What is waited for. While all workers wait there is neither a rate nor a time until the end.
    pub waiting: Vec<Waiting>,
    /// How fast.
    pub rate: Rate,
    /// Milliseconds until the end at this rate.
    pub eta_ms: Option<Millis>,
    /// Shards that the snapshot lacks.
    pub missing_shards: Vec<String>,
    /// What is damaged, cannot be read or was refused: texts of [`Finding`]s.
    pub damage: Vec<String>,
    /// Indices that were refused, and nothing of them migrated.
    pub indices_refused: Vec<String>,
    /// Indices of which part is damaged or cannot be read by this version of the program.
    pub indices_incomplete: Vec<String>,
    /// Target indices that are not the ones that the run began to write to.
    pub replaced: Vec<String>,
    /// That the target does not tell whether its indices were replaced, if so.
    pub unvouched: Option<String>,
    /// How many documents may fail before the run stops by itself. A run of an earlier version has no limit until the
    /// next start.
    pub max_failed: Option<MaxFailed>,
    /// Why the run has stopped by itself, if more documents failed than it allows.
    pub limit_exceeded: Option<LimitExceeded>,
    /// What went wrong last with chunks that are to be tried again.
    pub last_errors: Vec<String>,
    /// What went wrong with chunks that were given up.
    pub given_up: Vec<String>,
    /// Whose fault it was that chunks were given up; the snapshot's before the target's before the workers'.
    pub given_up_cause: Option<Cause>,
}

impl StatusReport {
    /// Makes the report.
    pub fn new(
        summary: &Summary,
        fleet: FleetStatus,
        failed_documents_location: String,
        now: Millis,
    ) -> Self {
        let run = &summary.run;
        let finished = run.state.is_finished();
        let counters = &summary.counters;
        let incomplete = summary.shards.total.saturating_sub(summary.shards.completed);
        let documents_total = summary.live_docs.saturating_sub(counters.nested);
        let mut waiting = if finished { Vec::new() } else { Waiting::all(&summary.waits, now) };
        waiting.retain(|w| fleet.present || w.wait.cause == WaitCause::ShardsUnreadable);
        let at_work = |cause| !matches!(cause, WaitCause::ShardsUnreadable | WaitCause::WorkersStarting);
        let idle =
            waiting.iter().filter(|w| at_work(w.wait.cause)).map(|w| u64::from(w.workers)).sum::<u64>();
        let rate = match idle > 0 && idle >= summary.chunks_leased {
            true => Rate::default(),
            false => rate(&summary.samples, finished, now),
        };
        let bytes_left = summary.stored_bytes.saturating_sub(counters.stored_bytes);
        let eta_ms = (!finished && rate.stored_bytes > 0.0)
            .then(|| (bytes_left as f64 / rate.stored_bytes * 1000.0) as Millis);
        let mut damage = run.damage.clone();
        let left_out = |refused: bool| {
            let left_out = run.refused.iter().filter(move |(index, why)| {
                (Finding::of_index(index, why).kind == FindingKind::Refused) == refused
            });
            left_out.map(|(index, _)| index.clone())
        };
        let broken = summary.indices.iter().filter(|index| index.broken).map(|index| index.index.clone());
        // When the run has ended, these are part of its damage.
        if !finished {
            let refused = run.refused.iter().map(|(index, why)| Finding::of_index(index, why));
            let shards = summary.damaged_shards.iter();
            let unplanned = shards.map(|(shard, why)| why.clone().within(shard));
            damage.extend(refused.chain(unplanned).map(|finding| finding.to_string()));
        }
        StatusReport {
            status: match run.state {
                RunState::Running if fleet.active => BackfillStatus::Running,
                RunState::Stopped if fleet.running > 0 => BackfillStatus::Stopping,
                _ => BackfillStatus::Stopped,
            },
            outcome: match run.state {
                RunState::Damaged => Outcome::of_findings(&damage),
                RunState::Done if counters.failed > 0 => Outcome::CompleteWithFailedDocuments,
                RunState::Done => Outcome::Complete,
                RunState::Failed if !run.notes.replaced.is_empty() => Outcome::TargetReplaced,
                RunState::Failed => Outcome::Failed,
                RunState::Stopped if run.is_stopped_by_limit() => Outcome::TooManyFailed,
                RunState::Running | RunState::Stopped => Outcome::Unfinished,
            },
            fleet,
            run: run.id.to_string(),
            snapshot: run.spec.snapshot.clone(),
            target: run.spec.target.clone(),
            started: run.created,
            finished: run.finished,
            shards_total: summary.shards.total,
            shards_completed: summary.shards.completed,
            shards_incomplete: incomplete,
            shards_in_progress: summary.shards.in_progress,
            shards_unclaimed: summary.shards.unclaimed,
            chunks_total: summary.chunks_total,
            chunks_completed: summary.chunks_done,
            chunks_failed: summary.chunks_failed,
            documents_done: counters.documents(),
            documents_total,
            bytes_done: counters.stored_bytes,
            bytes_total: summary.stored_bytes,
            documents_already_there: counters.already_there,
            documents_failed: counters.failed,
            documents_damaged: counters.damaged,
            segments_uncounted: summary.uncounted_segments,
            failed_documents_location,
            waiting,
            rate,
            eta_ms,
            missing_shards: run
                .missing_shards
                .iter()
                .map(|m| format!("[{}][{}]: {}", m.index, m.shard, m.reason))
                .collect(),
            damage,
            indices_refused: left_out(true).collect(),
            indices_incomplete: left_out(false).chain(broken).collect(),
            replaced: run.notes.replaced.clone(),
            unvouched: run.unvouched(),
            limit_exceeded: run.notes.limit_exceeded.clone().filter(|_| run.is_stopped_by_limit()),
            max_failed: run.notes.limit.map(|limit| limit.max),
            last_errors: summary.last_errors.iter().map(|(chunk, why)| format!("{chunk}: {why}")).collect(),
            given_up: summary.given_up.iter().map(|(chunk, why)| format!("{chunk}: {why}")).collect(),
            given_up_cause: summary.given_up.iter().map(|(_, why)| why.cause).max(),
        }
    }

    /// Whether part of the snapshot cannot arrive, so that nothing may be shown as complete.
    pub fn lacks_something(&self) -> bool {
        self.documents_damaged > 0 || self.segments_uncounted > 0 || !self.damage.is_empty()
    }

    /// Whether part of the snapshot is damaged or cannot be read, and not only left out as the run was told to.
    pub fn is_snapshot_at_fault(&self) -> bool {
        !self.damage.is_empty() && Outcome::of_findings(&self.damage) != Outcome::Refused
    }

    /// The last line for people: whether everything has been migrated, and if not, what that takes.
    pub fn conclusion(&self) -> String {
        let missing = match self.missing_shards.len() {
            0 => String::new(),
            n => format!(" {n} shards were missing from the snapshot and were not migrated."),
        };
        match self.outcome {
            Outcome::Complete if missing.is_empty() => {
                format!("Everything has been migrated: all {} documents.", self.documents_done)
            }
            Outcome::Complete => {
                format!("All {} documents in the snapshot have been migrated.{missing}", self.documents_done)
            }
            Outcome::CompleteWithFailedDocuments => format!(
                "Finished, but {} of {} documents failed; they are kept in {}.{missing}",
                self.documents_failed, self.documents_done, self.failed_documents_location
            ),
            Outcome::Damaged => format!(
                "Finished, but the snapshot is damaged: not everything was migrated as it was.{missing}"
            ),
            Outcome::TargetReplaced => format!(
                "Not everything is on the target: {}, and with it documents that were written before. `backfill redo INDEX` \
                 puts an index back to its beginning, and `backfill start` then migrates it again.{missing}",
                self.replaced.join("; ")
            ),
            Outcome::Failed if self.chunks_failed == 0 => format!(
                "Not everything has been migrated: shards could not be read; `backfill start` tries them again.{missing}"
            ),
            Outcome::Unreadable => format!(
                "Finished, but part of the snapshot cannot be read by this version of backfill and was not \
                 migrated: it is in {}. A version that can read it migrates these indices again with \
                 `backfill start --new --index '{}'`.{missing}",
                number_of_indices(self.indices_incomplete.len()),
                listed(&self.indices_incomplete, "")
            ),
            Outcome::Refused => format!(
                "Finished, but {} refused and not migrated. `backfill status --deep-check` gives the reasons. To migrate \
                 them, start again with `--new --index '{}'` and the option that the reason names, such as --types. To \
                 leave them out for good, exclude them by name with `--index '*,{}'`.{missing}",
                match self.indices_refused.len() {
                    1 => "1 index was".to_owned(),
                    n => format!("{n} indices were"),
                },
                listed(&self.indices_refused, ""),
                listed(&self.indices_refused, "-")
            ),
            Outcome::TooManyFailed => {
                let why = self.limit_exceeded.as_ref().map(LimitExceeded::to_string).unwrap_or_default();
                let workers = match self.status {
                    BackfillStatus::Stopping => " Workers finish what they have in flight.",
                    _ => "",
                };
                format!(
                    "Stopped because too many documents failed: {why}. The failed documents are kept in {}.{workers} \
                     About {} documents are left. Remove the cause, then run `backfill start`: it continues where the run \
                     stopped and counts failed documents anew; --max-failed sets another limit. At the end, `backfill \
                     failed-documents retry` sends those again that have failed.{missing}",
                    self.failed_documents_location,
                    self.documents_total.saturating_sub(self.documents_done)
                )
            }
            Outcome::Failed => format!(
                "Not everything has been migrated: {} of {} chunks were given up, with about {} documents; \
                 `backfill start` tries them again.{missing}",
                self.chunks_failed,
                self.chunks_total,
                self.documents_total.saturating_sub(self.documents_done)
            ),
            Outcome::Unfinished => {
                let left = self.documents_total.saturating_sub(self.documents_done);
                let how = match self.status {
                    BackfillStatus::Running => "",
                    BackfillStatus::Stopping => " Workers finish what they have in flight.",
                    _ => " Nothing runs now; `backfill start` continues.",
                };
                format!("Not everything has been migrated yet: about {left} documents are left.{how}")
            }
        }
    }
}

/// Names that are listed in a sentence, at most.
const MAX_LISTED: usize = 50;

/// Index patterns of these names, each with a prefix; the first of them, if there are many.
fn listed(names: &[String], prefix: &str) -> String {
    let mut listed: Vec<String> =
        names.iter().take(MAX_LISTED).map(|name| format!("{prefix}{name}")).collect();
    listed.extend((names.len() > MAX_LISTED).then(|| "…".to_owned()));
    listed.join(",")
}

fn number_of_indices(number: usize) -> String {
    if number == 1 { "1 index".to_owned() } else { format!("{number} indices") }
}

/// The rate over the latest window; over all samples when the run has ended.
fn rate(samples: &[Sample], finished: bool, now: Millis) -> Rate {
    let since = if finished { 0 } else { now.saturating_sub(WINDOW_MS) };
    let mut recent = samples.iter().filter(|s| s.at >= since);
    let (Some(first), Some(last)) = (recent.next(), samples.last()) else {
        return Rate::default();
    };
    let window_ms = last.at.saturating_sub(first.at);
    if window_ms == 0 {
        return Rate::default();
    }
    let per_second = |from: u64, to: u64| to.saturating_sub(from) as f64 * 1000.0 / window_ms as f64;
    Rate {
        documents: per_second(first.documents, last.documents),
        stored_bytes: per_second(first.stored_bytes, last.stored_bytes),
        window_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_damage_is_called_damage() {
        let (damaged, unreadable) = (Finding::damaged("a").to_string(), Finding::unreadable("b").to_string());
        let refused = Finding::of_index("c", "it has types").to_string();
        for (findings, outcome) in [
            (vec![damaged, unreadable.clone()], Outcome::Damaged),
            (vec![refused.clone(), unreadable], Outcome::Unreadable),
            (vec![refused], Outcome::Refused),
            // As a run of an earlier version recorded it.
            (vec!["[i][0]: _0.si".to_owned()], Outcome::Damaged),
        ] {
            assert_eq!(Outcome::of_findings(&findings), outcome, "{findings:?}");
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let sample = |at, documents| Sample { at, documents, stored_bytes: documents * 10, missing: 0 };
        let samples = [sample(0, 0), sample(100_000, 100), sample(140_000, 500)];
        let now = rate(&samples, false, 150_000);
        assert_eq!((now.documents, now.stored_bytes, now.window_ms), (10.0, 100.0, 40_000));
        assert_eq!(rate(&samples, true, 900_000).window_ms, 140_000);
        assert_eq!(rate(&samples, false, 900_000), Rate::default());
        assert_eq!(rate(&[], false, 0), Rate::default());
    }
}

//! Keeps track of what a process waits for, and records it where others look.
//!
//! A wait shows itself in many places at once: each delivery that is refused, each range that cannot be fetched.
//! All of them report here, and whatever succeeds ends the wait. What has lasted for a moment is recorded in the
//! checkpoint store, so that another terminal and the status function see it. Records are written only when a wait
//! begins, changes or ends, at most every few seconds, and expire by themselves should their writer die.

use crate::model::{Millis, RunId, Wait, WaitCause, clipped};
use crate::ports::{Checkpoints, TargetError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a wait must last before it is shown: overload that passes within a moment is flow control at work.
const SHOWN: Duration = Duration::from_secs(2);
/// The shortest time between two writes of a record that only changes its words.
const REWRITE: Duration = Duration::from_secs(5);
/// How often the record of a wait that goes on is renewed.
const RENEW: Duration = Duration::from_secs(20);
/// How long a record is valid: the wait of a process that died is gone after this time.
pub const VALID: Duration = Duration::from_secs(60);

/// The waits of one process, or of one of its workers. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Waits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Tells the records of this process from those of others.
    owner: String,
    waits: Mutex<Current>,
    recorded: Mutex<Option<Recorded>>,
}

impl Default for Shared {
    fn default() -> Shared {
        let owner = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        Shared { owner, waits: Mutex::default(), recorded: Mutex::default() }
    }
}

#[derive(Debug, Default)]
struct Current {
    target: Option<Waiting>,
    snapshot: Option<Waiting>,
}

#[derive(Clone, Debug)]
struct Waiting {
    cause: WaitCause,
    reason: String,
    since: Instant,
    until: Instant,
}

#[derive(Clone, Debug)]
struct Recorded {
    cause: WaitCause,
    reason: String,
    at: Instant,
}

impl Current {
    fn of(&mut self, cause: WaitCause) -> &mut Option<Waiting> {
        if cause.is_target() { &mut self.target } else { &mut self.snapshot }
    }
}

impl Waits {
    /// Notes that nothing has succeeded for as long as `idle`, and that whoever waits gives up when that has come to
    /// `patience`. A wait for the same thing that is under way goes on.
    pub fn note(&self, cause: WaitCause, reason: &str, idle: Duration, patience: Duration) {
        let now = Instant::now();
        let mut waits = self.waits();
        let slot = waits.of(cause);
        let began = now.checked_sub(idle).unwrap_or(now);
        let since = slot.as_ref().map_or(began, |waiting| waiting.since.min(began));
        *slot = Some(Waiting { cause, reason: clipped(reason), since, until: began + patience });
    }

    /// Notes what a target answered or did not answer, as [`Waits::note`] does.
    pub fn note_target(&self, error: &TargetError, idle: Duration, patience: Duration) {
        let (cause, reason) = match error {
            TargetError::Overloaded { .. } => (WaitCause::TargetOverloaded, ""),
            TargetError::Blocked { reason, .. } => (WaitCause::TargetBlocked, reason.as_str()),
            TargetError::Unreachable { reason, .. }
            | TargetError::Denied { reason, .. }
            | TargetError::Garbled { reason, .. }
            | TargetError::Unexpected { reason, .. } => (WaitCause::TargetUnreachable, reason.as_str()),
            TargetError::TooLarge { .. } | TargetError::Unwritable { .. } => return,
        };
        self.note(cause, reason, idle, patience);
    }

    /// Notes that the target took something.
    pub fn target_took(&self) {
        self.waits().target = None;
    }

    /// Notes that something of the snapshot was read.
    pub fn snapshot_read(&self) {
        self.waits().snapshot = None;
    }

    /// Returns the wait that is to be shown: the one that began first of those that have lasted for a moment.
    pub fn shown(&self, now: Millis) -> Option<Wait> {
        let instant = Instant::now();
        let waits = self.waits();
        let lasting = [&waits.target, &waits.snapshot].into_iter().flatten();
        let first = lasting.filter(|w| instant - w.since >= SHOWN).min_by_key(|w| w.since)?;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let since = now.saturating_sub(millis(instant - first.since));
        let until = since.saturating_add(millis(first.until.saturating_duration_since(first.since)));
        Some(Wait { cause: first.cause, reason: first.reason.clone(), since, until: Some(until) })
    }

    /// Records what is waited for, if that is due. To be called about every second; does nothing most of the time.
    ///
    /// A record that cannot be written is not worth an error: what it says is seen by others only.
    pub async fn record(&self, checkpoints: &dyn Checkpoints, run: &RunId, now: Millis) {
        let shown = self.shown(now);
        if !self.is_due(shown.as_ref()) {
            return;
        }
        let valid = u64::try_from(VALID.as_millis()).unwrap_or(u64::MAX);
        let written =
            checkpoints.note_wait(run, &self.0.owner, shown.as_ref(), now, now.saturating_add(valid)).await;
        if let Err(error) = written {
            tracing::debug!(%run, %error, "what is waited for could not be recorded");
        }
    }

    /// Whether something is to be written; notes that it is.
    fn is_due(&self, shown: Option<&Wait>) -> bool {
        let mut recorded = self.0.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let due = match (shown, recorded.as_ref()) {
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
            (Some(wait), Some(before)) => {
                let age = before.at.elapsed();
                age >= RENEW || age >= REWRITE && (wait.cause != before.cause || wait.reason != before.reason)
            }
        };
        if due {
            *recorded = shown.map(|wait| Recorded {
                cause: wait.cause,
                reason: wait.reason.clone(),
                at: Instant::now(),
            });
        }
        due
    }

    fn waits(&self) -> MutexGuard<'_, Current> {
        self.0.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(600);

    fn refused(reason: &str) -> TargetError {
        TargetError::Unreachable { target: "t".to_owned(), reason: reason.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_shown_when_it_has_lasted_and_until_something_succeeds() {
        let waits = Waits::default();
        waits.note_target(&refused("a"), Duration::from_secs(1), PATIENCE);
        assert_eq!(waits.shown(100_000), None, "it may pass within a moment");
        tokio::time::advance(Duration::from_secs(9)).await;
        waits.note_target(&refused("b"), Duration::from_secs(10), PATIENCE);
        let shown = waits.shown(100_000).unwrap();
        let expected = (90_000, Some(690_000), WaitCause::TargetUnreachable, "b");
        assert_eq!((shown.since, shown.until, shown.cause, shown.reason.as_str()), expected);
        // Another attempt has patience of its own, but the wait goes on.
        tokio::time::advance(Duration::from_secs(600)).await;
        waits.note_target(&refused("b"), Duration::ZERO, PATIENCE);
        let shown = waits.shown(700_000).unwrap();
        assert_eq!((shown.since, shown.until), (90_000, Some(1_300_000)));
        waits.snapshot_read();
        assert!(waits.shown(700_000).is_some(), "that is something else");
        waits.target_took();
        assert_eq!(waits.shown(700_000), None);
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_written_seldom() {
        let waits = Waits::default();
        let due = |reason: &str| {
            waits.note_target(&refused(reason), Duration::from_secs(3), PATIENCE);
            waits.is_due(waits.shown(0).as_ref())
        };
        assert!(due("a"), "it has begun");
        assert!(!due("a") && !due("b"), "no more than that for now");
        tokio::time::advance(REWRITE).await;
        assert!(!due("a"), "it is as it was");
        assert!(due("b"), "other words");
        tokio::time::advance(RENEW).await;
        assert!(due("b"), "or else it would expire");
        waits.target_took();
        assert!(waits.is_due(waits.shown(0).as_ref()), "it is over");
        assert!(!waits.is_due(waits.shown(0).as_ref()));
    }
}

//! What a run waits for, as it is recorded so that others can see it.

use super::Millis;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is out of order, so that nothing goes on until it has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitCause {
    /// The target does not answer, or not as itself.
    TargetUnreachable,
    /// The target answers, but accepts no writes.
    TargetBlocked,
    /// The target answers that it has too much to do, and accepts nothing at all.
    TargetOverloaded,
    /// The store of the snapshot does not answer, or only with errors.
    SnapshotUnreachable,
    /// Some shards cannot be read while others can; they are tried again.
    ShardsUnreadable,
    /// Workers were asked for and are not there yet.
    WorkersStarting,
}

impl WaitCause {
    /// Whether it is the target that is waited for.
    pub fn is_target(self) -> bool {
        matches!(self, WaitCause::TargetUnreachable | WaitCause::TargetBlocked | WaitCause::TargetOverloaded)
    }
}

/// A wait that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What is out of order.
    pub cause: WaitCause,
    /// The cause in the words of whoever reported it; may be empty.
    pub reason: String,
    /// When it began.
    pub since: Millis,
    /// When whoever waits gives up, if it ever does.
    pub until: Option<Millis>,
}

impl Wait {
    /// Returns the sentence for people: `Target unreachable for 42s: connection refused; gives up at 10m`.
    pub fn sentence(&self, now: Millis) -> String {
        if self.cause == WaitCause::ShardsUnreadable {
            return self.reason.clone();
        }
        let lasted = duration(now.saturating_sub(self.since));
        let what = match self.cause {
            WaitCause::TargetUnreachable => format!("Target unreachable for {lasted}"),
            WaitCause::TargetBlocked => format!("Target has accepted no writes for {lasted}"),
            WaitCause::TargetOverloaded => format!("Target overloaded for {lasted}"),
            WaitCause::SnapshotUnreachable => format!("Snapshot store unreachable for {lasted}"),
            WaitCause::ShardsUnreadable => String::new(),
            WaitCause::WorkersStarting => format!("Workers have been starting for {lasted}"),
        };
        let reason = match self.reason.as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        let end = self.until.map_or_else(String::new, |until| {
            format!("; gives up at {}", duration(until.saturating_sub(self.since)))
        });
        format!("{what}{reason}{end}")
    }
}

/// A length of time in at most two units: `42s`, `10m`, `1h 5m`.
fn duration(millis: Millis) -> impl fmt::Display {
    let seconds = millis / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, seconds) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, 0) => format!("{minutes}m"),
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, 0, _) => format!("{hours}h"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_says_what_since_when_and_for_how_much_longer() {
        let wait = |cause, reason: &str, until| Wait { cause, reason: reason.to_owned(), since: 1000, until };
        let sentences = [
            wait(WaitCause::TargetUnreachable, "connection refused", Some(601_000)).sentence(43_999),
            wait(WaitCause::TargetOverloaded, "", Some(91_000)).sentence(62_000),
            wait(WaitCause::SnapshotUnreachable, "HTTP 503", None).sentence(3_661_000),
            wait(WaitCause::TargetBlocked, "blocked", None).sentence(0),
        ];
        assert_eq!(
            sentences,
            [
                "Target unreachable for 42s: connection refused; gives up at 10m",
                "Target overloaded for 1m 1s; gives up at 1m 30s",
                "Snapshot store unreachable for 1h 1m: HTTP 503",
                "Target has accepted no writes for 0s: blocked",
            ]
        );
    }
}

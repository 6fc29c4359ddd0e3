//! The limit on failed documents, beyond which a run stops by itself.
//!
//! A wrong mapping, or a wrong target, refuses every document. Without a limit such a run goes on to its end and fills the
//! disk or the bucket with failed documents that all say the same. The limit applies to the run as a whole, because a few
//! bad indices among many good ones are no reason to stop.
//!
//! The sums of a large run are too expensive to read with each checkpoint. A [`Watch`] therefore decides from what one
//! worker has seen when that worker reads them: once when its chunk alone is over the limit, and otherwise by chance, so
//! that about one worker reads them at a time. If the run is over its limit, some worker's latest documents are. On AWS the status
//! function judges the run each minute as well, because it reads the sums anyway.
//!
//! A limit counts from the last start on. A run that was stopped can thus go on once the cause is removed, and one whose
//! cause remains stops again after as few documents as the first time. Judging all documents since the creation of the run
//! was rejected: chunks that are not done cannot be retried, so the failures of a stopped run could never become fewer.

use crate::model::Counters;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The number of documents from which on a share is judged.
const JUDGED_AFTER: u64 = 1000;

/// The types of failed documents that do not count: the plan has named their indices, since their sources are not in the
/// snapshot.
const UNSOURCED: [&str; 3] = ["missing_source", "partial_source", "masked_source"];

/// Returns whether failed documents of this type were expected when the run was planned.
pub fn is_unsourced(error_type: &str) -> bool {
    UNSOURCED.contains(&error_type)
}

/// How many documents may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MaxFailed {
    /// This number of documents.
    Documents(u64),
    /// This share of the documents, in hundredths of a percent.
    Share(u32),
}

impl Default for MaxFailed {
    fn default() -> MaxFailed {
        MaxFailed::Share(1000)
    }
}

impl fmt::Display for MaxFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MaxFailed::Documents(number) => write!(f, "{number}"),
            MaxFailed::Share(share) if share.is_multiple_of(100) => write!(f, "{}%", share / 100),
            MaxFailed::Share(share) => {
                let text = format!("{}.{:02}", share / 100, share % 100);
                write!(f, "{}%", text.trim_end_matches('0'))
            }
        }
    }
}

impl FromStr for MaxFailed {
    type Err = String;

    fn from_str(text: &str) -> Result<MaxFailed, String> {
        let wrong =
            || format!("{text:?} is no limit; give a number of documents, or a share such as 10% or 0.5%");
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let Some(share) = text.strip_suffix('%') else {
            return text.parse().ok().filter(|_| digits(text)).map(MaxFailed::Documents).ok_or_else(wrong);
        };
        let (whole, part) = share.split_once('.').unwrap_or((share, "0"));
        if !digits(whole) || !digits(part) || part.len() > 2 {
            return Err(wrong());
        }
        let hundredths = format!("{whole}{part:0<2}").parse().ok().filter(|share| *share <= 10_000);
        hundredths.map(MaxFailed::Share).ok_or_else(wrong)
    }
}

impl TryFrom<String> for MaxFailed {
    type Error = String;

    fn try_from(text: String) -> Result<MaxFailed, String> {
        text.parse()
    }
}

impl From<MaxFailed> for String {
    fn from(max: MaxFailed) -> String {
        max.to_string()
    }
}

impl MaxFailed {
    fn is_exceeded_by(self, judged: Judged) -> bool {
        match self {
            MaxFailed::Documents(max) => judged.failed > max,
            MaxFailed::Share(share) => {
                u128::from(judged.failed) * 10_000 > u128::from(judged.documents) * u128::from(share)
            }
        }
    }

    /// Whether there are enough documents to judge.
    fn can_judge(self, judged: Judged) -> bool {
        matches!(self, MaxFailed::Documents(_)) || judged.documents >= JUDGED_AFTER
    }
}

/// Documents that a limit judges: those that were settled, without those whose failure was expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Settled documents.
    pub documents: u64,
    /// Of those, documents that failed.
    pub failed: u64,
}

impl Judged {
    /// Those that are counted.
    pub fn of(counters: &Counters) -> Judged {
        Judged {
            documents: counters.documents().saturating_sub(counters.unsourced),
            failed: counters.failed.saturating_sub(counters.unsourced),
        }
    }

    /// The smaller of both, number by number.
    #[must_use]
    fn min(self, other: Judged) -> Judged {
        Judged { documents: self.documents.min(other.documents), failed: self.failed.min(other.failed) }
    }

    /// Those that were not counted before.
    #[must_use]
    pub fn since(self, before: Judged) -> Judged {
        Judged {
            documents: self.documents.saturating_sub(before.documents),
            failed: self.failed.saturating_sub(before.failed),
        }
    }
}

/// The limit of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureLimit {
    /// How many documents may fail.
    pub max: MaxFailed,
    /// What was counted before the last start, and is not judged any more.
    #[serde(default)]
    pub before: Judged,
}

impl FailureLimit {
    /// The limit of a new run.
    pub fn new(max: MaxFailed) -> FailureLimit {
        FailureLimit { max, before: Judged::default() }
    }

    /// The limit with which a start lets a run go on that has counted these documents, under a limit of its own unless an
    /// earlier version of the program began it. A run that `was_running` was not stopped by anybody, so it goes on
    /// counting from where it began.
    pub fn resumed(
        known: Option<FailureLimit>,
        max: MaxFailed,
        counters: &Counters,
        was_running: bool,
    ) -> FailureLimit {
        let counted = Judged::of(counters);
        // A `redo` may have taken back what was counted.
        let kept = known.filter(|_| was_running).map(|known| known.before.min(counted));
        FailureLimit { max, before: kept.unwrap_or(counted) }
    }

    /// Returns what was judged, if the run as a whole is over the limit with these counters.
    pub fn exceeded(&self, counters: &Counters) -> Option<Judged> {
        let judged = Judged::of(counters).since(self.before);
        (self.max.can_judge(judged) && self.max.is_exceeded_by(judged)).then_some(judged)
    }
}

/// What one worker has seen of one chunk, from which it decides when to judge the whole run.
#[derive(Debug)]
pub struct Watch {
    begun: Judged,
    latest: Judged,
    /// Whether the whole run was judged because of this chunk alone.
    alone: bool,
}

impl Watch {
    /// A watch over a chunk that was claimed with these counters.
    pub fn new(counters: &Counters) -> Watch {
        let begun = Judged::of(counters);
        Watch { begun, latest: begun, alone: false }
    }

    /// Notes what was counted until now, and returns whether the sums of the whole run are to be judged. `random` is a
    /// number of at least 0 and below 1.
    pub fn is_due(&mut self, max: MaxFailed, counters: &Counters, workers: u32, random: f64) -> bool {
        let now = Judged::of(counters);
        let latest = now.since(std::mem::replace(&mut self.latest, now));
        let of_chunk = now.since(self.begun);
        if !self.alone && max.can_judge(of_chunk) && max.is_exceeded_by(of_chunk) {
            self.alone = true;
            return true;
        }
        let suspicious = match max {
            MaxFailed::Documents(_) => latest.failed > 0,
            MaxFailed::Share(_) => max.is_exceeded_by(latest),
        };
        suspicious && random * f64::from(workers.max(1)) < 1.0
    }
}

/// Why a run has stopped by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitExceeded {
    /// The limit.
    pub max_failed: MaxFailed,
    /// What was judged.
    #[serde(flatten)]
    pub judged: Judged,
    /// The most frequent error, as the worker saw it that stopped the run.
    pub error: Option<FrequentError>,
}

/// The most frequent error among the failed documents that a worker has met in one chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrequentError {
    /// Its type, as failed documents have it.
    pub error_type: String,
    /// The failed documents of this type.
    pub documents: u64,
    /// The failed documents of all types.
    pub of: u64,
    /// The chunk.
    pub chunk: String,
    /// One of these documents, with the reason.
    pub example: String,
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Judged { documents, failed } = self.judged;
        let max = self.max_failed;
        write!(
            f,
            "{failed} of {documents} documents settled since the last start failed, and --max-failed is {max}"
        )?;
        match &self.error {
            None => f.write_str(". `backfill failed-documents count` shows the types of errors"),
            Some(FrequentError { error_type, documents, of, chunk, example }) => write!(
                f,
                ". The most frequent error is {error_type} ({documents} of {of} failed documents of {chunk}), \
                 for example {example}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(indexed: u64, failed: u64, unsourced: u64) -> Counters {
        Counters { indexed, failed, unsourced, ..Counters::default() }
    }

    #[test]
    fn limits_are_read_as_they_are_shown() {
        for (text, max) in [
            ("0", MaxFailed::Documents(0)),
            ("250", MaxFailed::Documents(250)),
            ("10%", MaxFailed::Share(1000)),
            ("0.5%", MaxFailed::Share(50)),
            ("12.34%", MaxFailed::Share(1234)),
            ("100%", MaxFailed::Share(10_000)),
        ] {
            assert_eq!(text.parse(), Ok(max));
            assert_eq!(max.to_string(), text);
            assert_eq!(
                serde_json::from_str::<MaxFailed>(&serde_json::to_string(&max).unwrap()).unwrap(),
                max
            );
        }
        for wrong in
            ["", "%", "ten", "-1", "+1", "101%", "1.234%", ".5%", "5.%", "1e3", "99999999999%", "10 %"]
        {
            assert!(wrong.parse::<MaxFailed>().unwrap_err().contains("is no limit"), "{wrong}");
        }
    }

    #[test]
    fn a_run_is_judged_by_what_has_failed_since_its_last_start() {
        let (share, none) = (MaxFailed::default(), Judged::default());
        let before = Judged { documents: 2000, failed: 2000 };
        for (max, before, counters, over) in [
            (share, none, counters(0, 999, 0), None),
            (share, none, counters(0, 1000, 0), Some((1000, 1000))),
            (share, none, counters(900, 100, 0), None),
            (share, none, counters(899, 101, 0), Some((1000, 101))),
            // Documents whose sources are not in the snapshot count neither as failed nor as documents.
            (share, none, counters(899, 5101, 5000), Some((1000, 101))),
            (share, none, counters(1000, 5000, 5000), None),
            (share, none, counters(0, 1500, 501), None),
            // Nor does what was counted before the last start.
            (share, before, counters(0, 2999, 0), None),
            (share, before, counters(0, 3000, 0), Some((1000, 1000))),
            (share, before, counters(999, 2001, 0), None),
            // Failed documents that were retried since have arrived.
            (share, none, counters(1000, 0, 0), None),
            (MaxFailed::Share(10_000), none, counters(0, 9000, 0), None),
            (MaxFailed::Share(0), none, counters(999, 1, 0), Some((1000, 1))),
            (MaxFailed::Documents(2), none, counters(0, 2, 0), None),
            (MaxFailed::Documents(2), none, counters(0, 3, 0), Some((3, 3))),
            (MaxFailed::Documents(0), none, counters(7, 1, 1), None),
            (MaxFailed::Documents(0), none, counters(7, 1, 0), Some((8, 1))),
        ] {
            let judged = FailureLimit { max, before }.exceeded(&counters);
            let expected = over.map(|(documents, failed)| Judged { documents, failed });
            assert_eq!(judged, expected, "{max} {before:?} {counters:?}");
        }
    }

    #[test]
    fn a_start_counts_anew_unless_the_run_was_killed() {
        let now = counters(10, 2000, 5);
        let (max, new) = (MaxFailed::Documents(7), FailureLimit::new(MaxFailed::default()));
        let anew = FailureLimit { max, before: Judged { documents: 2005, failed: 1995 } };
        assert_eq!(FailureLimit::resumed(Some(new), max, &now, false), anew);
        assert_eq!(FailureLimit::resumed(Some(new), max, &now, true), FailureLimit::new(max));
        assert_eq!(FailureLimit::resumed(None, max, &now, true), anew, "an earlier version began it");
        let taken_back = FailureLimit { max, before: Judged { documents: 9000, failed: 10 } };
        let before = Judged { documents: 2005, failed: 10 };
        assert_eq!(
            FailureLimit::resumed(Some(taken_back), max, &now, true),
            FailureLimit { max, before },
            "documents were put back to their beginning"
        );
    }

    #[test]
    fn a_worker_judges_the_run_once_for_its_chunk_and_then_by_chance() {
        let share = MaxFailed::default();
        let mut watch = Watch::new(&counters(50, 50, 0));
        assert!(!watch.is_due(share, &counters(140, 60, 0), 1, 0.0), "10 % of the latest documents");
        assert!(watch.is_due(share, &counters(140, 61, 0), 1, 0.9));
        assert!(!watch.is_due(share, &counters(140, 62, 0), 4, 0.25), "it is another worker's turn");
        assert!(watch.is_due(share, &counters(140, 63, 0), 4, 0.24));
        assert!(!watch.is_due(share, &counters(140, 63, 0), 1, 0.0), "nothing has come");
        assert!(
            watch.is_due(share, &counters(140, 1000, 0), 1000, 0.99),
            "this chunk alone is over the limit"
        );
        assert!(!watch.is_due(share, &counters(140, 2000, 0), 1000, 0.99));
        let number = MaxFailed::Documents(10);
        let mut watch = Watch::new(&counters(0, 0, 0));
        assert!(watch.is_due(number, &counters(1000, 1, 0), 1, 0.0));
        assert!(!watch.is_due(number, &counters(2000, 1, 0), 1, 0.0));
        assert!(watch.is_due(number, &counters(2000, 11, 0), 1000, 0.99));
    }
}

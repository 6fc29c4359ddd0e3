//! A run: one backfill of one snapshot (a selection of its indices) into one target.

use super::{IndexPlan, Millis, Notes, TimeFields, TypesChoice};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names a run. Sorts by time of creation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(pub String);

impl RunId {
    /// A name for a run that is created now: the time in UTC, `2026-07-21-14-02-11-042`.
    pub fn at(now: Millis) -> RunId {
        let (days, time) = (now / 86_400_000, now % 86_400_000);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (time / 3_600_000, time / 60_000 % 60, time / 1000 % 60);
        RunId(format!("{year:04}-{month:02}-{day:02}-{hour:02}-{minute:02}-{second:02}-{:03}", now % 1000))
    }
}

/// Year, month and day, so many days after the first of January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    // 400 years have 146,097 days, so that few years are left to count.
    let (mut year, mut left) = (1970 + days / 146_097 * 400, days % 146_097);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which indices of the snapshot are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Index patterns as in OpenSearch's own APIs: exact names, `*`, `-exclusions`, separated by commas.
    pub patterns: String,
    /// Whether wildcards also match hidden and dot-prefixed indices.
    pub include_hidden: bool,
}

/// How documents are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// `index`: a document with the same `_id` is replaced.
    Index,
    /// `create`: one that is there already is compared. The same was written before; unless it is the same, the second has
    /// failed. So it is where several documents of the snapshot may have the same `_id`: those of several types, and those
    /// of a data stream, each of whose indices has its own.
    Distinct,
    /// Documents are written with `create`. A document that the target already has under the same `_id` is replaced if its
    /// routing is the same, and otherwise the second document fails. Indices whose documents have routings need this mode,
    /// because two documents with one `_id` may be in different shards of the source and meet in one shard of the target.
    PerRouting,
}

/// What a run is to do. Two starts with the same spec mean the same run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Repository as the user named it: a directory or `s3://bucket/prefix`.
    pub repository: String,
    /// Name of the snapshot, resolved (never `latest`).
    pub snapshot: String,
    /// UUID of the snapshot: a snapshot deleted and taken again under the same name is another one.
    pub snapshot_uuid: String,
    /// Which indices.
    pub selection: Selection,
    /// Target as the user named it, without credentials.
    pub target: String,
    /// Whether a PARTIAL or FAILED snapshot was accepted.
    pub allow_partial: bool,
    /// What becomes of the types of indices that have several.
    #[serde(default)]
    pub types: Option<TypesChoice>,
    /// Whether documents of whose source only a part is stored are sent as they are.
    #[serde(default)]
    pub allow_partial_source: bool,
    /// The fields that take what documents have beside their source.
    #[serde(default)]
    pub time_fields: TimeFields,
    /// Intended size of a chunk in bytes of stored fields.
    pub chunk_bytes: u64,
}

/// A shard that the snapshot does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingShard {
    /// Name of the index.
    pub index: String,
    /// Shard number.
    pub shard: u32,
    /// The reason that the source cluster recorded.
    pub reason: String,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Workers may take its chunks.
    Running,
    /// Workers hand their chunks back; nothing new is claimed.
    Stopped,
    /// Nothing is left to claim, but chunks were given up. A start tries them again.
    Failed,
    /// Every document was acknowledged or kept as a failed document, and all checksums were right.
    Done,
    /// Every chunk ended, but part of the snapshot was left out or could not be read, or its checksums do not match. The
    /// run's findings tell which.
    Damaged,
}

impl RunState {
    /// The name under which stores keep it.
    pub fn name(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Stopped => "stopped",
            RunState::Failed => "failed",
            RunState::Done => "done",
            RunState::Damaged => "damaged",
        }
    }

    /// Returns the state of this name, if there is one.
    pub fn from_name(name: &str) -> Option<RunState> {
        let all = [RunState::Running, RunState::Stopped, RunState::Failed, RunState::Done, RunState::Damaged];
        all.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing is left to do.
    pub fn is_finished(self) -> bool {
        matches!(self, RunState::Done | RunState::Damaged)
    }
}

/// How far the planning of a run has come. It may break off anywhere, and goes on from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Planning {
    /// Shards are read and stored.
    #[default]
    Shards,
    /// All shards are stored; so many chunks, in the order of the queue, have been given their messages.
    Messages(u64),
    /// Every chunk is stored and was given its message.
    Complete,
}

/// The durable record of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// What it is to do.
    pub spec: RunSpec,
    /// Where it stands.
    pub state: RunState,
    /// How far its planning has come. The run cannot end before that is complete.
    pub planning: Planning,
    /// How many workers are wanted.
    pub desired_workers: u32,
    /// When it was created.
    pub created: Millis,
    /// When it ended, if it did.
    pub finished: Option<Millis>,
    /// The indices it covers.
    pub indices: Vec<IndexPlan>,
    /// Shards that the snapshot lacks (only with `allow_partial`).
    pub missing_shards: Vec<MissingShard>,
    /// Indices that could not be planned at all, each with the reason (see [`Finding::of_index`](super::Finding::of_index)).
    /// They make the run end as damaged.
    pub refused: Vec<(String, String)>,
    /// What could not be migrated, as texts of [`Finding`](super::Finding)s. Recorded when the run ends.
    pub damage: Vec<String>,
    /// What was learned of it since.
    #[serde(default)]
    pub notes: Notes,
}

impl Run {
    /// The plan of the index with this name in the snapshot.
    pub fn index(&self, name: &str) -> Option<&IndexPlan> {
        self.indices.iter().find(|i| i.name == name)
    }

    /// Whether the run has stopped by itself, because more documents failed than it allows.
    pub fn is_stopped_by_limit(&self) -> bool {
        self.state == RunState::Stopped && self.notes.limit_exceeded.is_some()
    }

    /// How the documents of an index are written.
    pub fn write_mode(&self, index: &IndexPlan) -> WriteMode {
        match index.write_mode() {
            WriteMode::Index if self.notes.routed.contains(&index.name) => WriteMode::PerRouting,
            mode => mode,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_time_and_sort_by_it() {
        assert_eq!(RunId::at(0).0, "1970-01-01-00-00-00-000");
        assert_eq!(RunId::at(951_782_400_007).0, "2000-02-29-00-00-00-007");
        assert_eq!(RunId::at(1_772_323_199_999).0, "2026-02-28-23-59-59-999");
        assert_eq!(RunId::at(1_772_323_200_000).0, "2026-03-01-00-00-00-000");
        assert_eq!(RunId::at(4_107_542_399_000).0, "2100-02-28-23-59-59-000");
        assert_eq!(RunId::at(4_107_542_400_000).0, "2100-03-01-00-00-00-000");
    }
}

//! What is learned of a run after it was created, apart from its state and its chunks.
//!
//! The record of a run never changes once it is stored. What does change, and is not read with each checkpoint, is kept
//! beside it: a store reads these notes, applies an [`Amendment`], and writes them back, all in one step.

use crate::limit::{FailureLimit, LimitExceeded};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Descriptions of replaced indices kept with a run, at most.
const MAX_REPLACED: usize = 100;

/// Which indices a name on the target stood for at some moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// UUIDs by index name: one for an index, several for an alias or a data stream, none for files.
    Indices(BTreeMap<String, String>),
    /// The target does not reveal them, for this reason.
    Unknown(String),
}

impl Identity {
    /// That of what cannot be replaced unnoticed, such as files.
    pub fn none() -> Identity {
        Identity::Indices(BTreeMap::new())
    }

    /// Returns what has become of the indices since they were recorded as `self`, if documents written to them
    /// meanwhile may be gone. An index that has come in addition, as by a rollover, is no such change.
    pub fn lost(&self, name: &str, now: Option<&Identity>) -> Option<String> {
        let (Identity::Indices(before), Some(Identity::Indices(_)) | None) = (self, now) else { return None };
        let now = match now {
            Some(Identity::Indices(now)) => now,
            _ => &BTreeMap::new(),
        };
        let described = before.iter().find_map(|(index, uuid)| match now.get(index) {
            Some(same) if same == uuid => None,
            Some(other) => Some(format!("{index} was deleted and created again (UUID {uuid}, now {other})")),
            None if index == name => Some(format!("{index} was deleted (UUID {uuid})")),
            None => Some(format!("{index} (UUID {uuid}) is no longer behind the name {name}")),
        })?;
        Some(format!("the target index {described}"))
    }

    /// Returns the indices that `now` has and `self` has not.
    pub fn added(&self, now: &Identity) -> Vec<String> {
        match (self, now) {
            (Identity::Indices(before), Identity::Indices(now)) => {
                now.keys().filter(|index| !before.contains_key(*index)).cloned().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The notes on a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// What the run's destinations were when it began to write to them. `None` for one that is to be recorded by the
    /// next start.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, Option<Identity>>,
    /// Indices of the snapshot in which documents have routings. Known when every shard is planned.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub routed: BTreeSet<String>,
    /// Target indices that had been replaced when the run ended, each in a sentence. They keep it from being done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<String>,
    /// How many documents may fail before the run stops by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<FailureLimit>,
    /// Why the run has stopped by itself, if more documents failed than it allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_exceeded: Option<LimitExceeded>,
}

/// One change of the notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amendment {
    /// Records what these destinations are, or that it is to be recorded anew.
    Targets(BTreeMap<String, Option<Identity>>),
    /// Records in which indices documents have routings.
    Routed(BTreeSet<String>),
    /// Records which target indices were found replaced; none when the run goes on.
    Replaced(Vec<String>),
    /// Records that more documents failed than the run allows, so that it stops by itself.
    LimitExceeded(Box<LimitExceeded>),
    /// Sets how many documents may fail from now on, when the run goes on.
    Limit(FailureLimit),
}

impl Notes {
    /// Applies a change.
    pub fn amend(&mut self, amendment: &Amendment) {
        match amendment {
            Amendment::Targets(targets) => {
                self.targets.extend(targets.iter().map(|(name, identity)| (name.clone(), identity.clone())));
            }
            Amendment::Routed(indices) => self.routed.extend(indices.iter().cloned()),
            Amendment::Replaced(replaced) => {
                self.replaced = replaced.iter().take(MAX_REPLACED).cloned().collect();
            }
            Amendment::LimitExceeded(reason) => self.limit_exceeded = Some(reason.as_ref().clone()),
            Amendment::Limit(limit) => (self.limit, self.limit_exceeded) = (Some(*limit), None),
        }
    }

    /// Returns the notes with which a run was created, with those that were made later on top of them.
    #[must_use]
    pub fn with_later(mut self, later: Notes) -> Notes {
        self.targets.extend(later.targets);
        Notes { targets: self.targets, limit: later.limit.or(self.limit), ..later }
    }

    /// Returns what a destination was when the run began to write to it, if that is known.
    pub fn target(&self, name: &str) -> Option<&Identity> {
        self.targets.get(name).and_then(Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(pairs: &[(&str, &str)]) -> Identity {
        Identity::Indices(pairs.iter().map(|(n, u)| ((*n).to_owned(), (*u).to_owned())).collect())
    }

    #[test]
    fn what_is_lost_is_told_from_what_was_added() {
        let one = indices(&[("i", "A")]);
        let stream = indices(&[(".ds-1", "A"), (".ds-2", "B")]);
        let rolled = indices(&[(".ds-1", "A"), (".ds-2", "B"), (".ds-3", "C")]);
        let unknown = Identity::Unknown("denied".to_owned());
        for (before, now, expected) in [
            (&one, Some(&one), None),
            (&one, Some(&indices(&[("i", "B")])), Some("i was deleted and created again (UUID A, now B)")),
            (&one, None, Some("i was deleted (UUID A)")),
            (&one, Some(&unknown), None),
            (&unknown, Some(&one), None),
            (&unknown, None, None),
            (&stream, Some(&rolled), None),
            (&rolled, Some(&stream), Some(".ds-3 (UUID C) is no longer behind the name i")),
            (&indices(&[]), Some(&indices(&[])), None),
        ] {
            let expected = expected.map(|text| format!("the target index {text}"));
            assert_eq!(before.lost("i", now), expected, "{before:?} {now:?}");
        }
        assert_eq!(stream.added(&rolled), [".ds-3"]);
        assert!(rolled.added(&stream).is_empty() && unknown.added(&one).is_empty());
    }

    #[test]
    fn later_notes_lie_on_top_of_those_of_the_beginning() {
        let at = |uuid: &str| Some(indices(&[("a", uuid)]));
        let first = Notes {
            targets: [("a".to_owned(), at("1")), ("b".to_owned(), at("2"))].into(),
            limit: Some(FailureLimit::default()),
            ..Notes::default()
        };
        let mut later = Notes::default();
        later.amend(&Amendment::Targets([("a".to_owned(), None)].into()));
        later.amend(&Amendment::Replaced(vec!["gone".to_owned()]));
        let notes = first.clone().with_later(later.clone());
        assert_eq!((notes.target("a"), notes.target("b")), (None, at("2").as_ref()));
        assert_eq!(notes.replaced, ["gone"]);
        assert_eq!(notes.limit, first.limit);
        later.amend(&Amendment::Targets([("a".to_owned(), at("3"))].into()));
        assert_eq!(first.with_later(later).target("a"), at("3").as_ref());
        assert_eq!(serde_json::to_string(&Notes::default()).unwrap(), "{}");
    }
}

//! What a retry tells.

use serde::Serialize;
use std::collections::BTreeMap;

/// Types of errors that are told apart; the rest is counted together.
const MAX_KINDS: usize = 50;
/// The type of those.
const OTHERS: &str = "(others)";

/// Documents by the type of their error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Kinds(pub BTreeMap<String, Kind>);

/// Documents that failed with one type of error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// How many.
    pub documents: u64,
    /// The reason of the first of them.
    pub reason: String,
}

impl Kinds {
    /// Counts a document.
    pub fn add(&mut self, error_type: &str, reason: &str) {
        self.count(error_type, reason, 1);
    }

    /// Adds those counted elsewhere.
    pub fn merge(&mut self, other: &Kinds) {
        for (error_type, more) in &other.0 {
            self.count(error_type, &more.reason, more.documents);
        }
    }

    fn count(&mut self, error_type: &str, reason: &str, documents: u64) {
        let full = self.0.len() >= MAX_KINDS && !self.0.contains_key(error_type);
        let kind = self.0.entry(if full { OTHERS } else { error_type }.to_owned()).or_default();
        if kind.documents == 0 {
            kind.reason = reason.to_owned();
        }
        kind.documents += documents;
    }

    /// How many documents there are.
    pub fn documents(&self) -> u64 {
        self.0.values().map(|kind| kind.documents).sum()
    }
}

/// What a retry brought for one index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IndexRetry {
    /// Its name in the snapshot.
    pub index: String,
    /// Documents that were sent again and have an outcome.
    pub retried: u64,
    /// Documents that arrived.
    pub indexed: u64,
    /// Documents that were there already.
    pub already_there: u64,
    /// Documents of an earlier retry that was killed before it could count them.
    pub recovered: u64,
    /// Documents that failed again.
    pub failed: Kinds,
    /// Documents that cannot be sent again: without a whole source or an id, or with no place in the target.
    pub kept: Kinds,
    /// Documents of chunks that are not done: they wait for the end of the run.
    pub unfinished: u64,
}

/// What a retry brought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RetryReport {
    /// By index, those with failed documents.
    pub indices: Vec<IndexRetry>,
    /// Whether it was stopped before the end.
    pub interrupted: bool,
}

impl RetryReport {
    /// The part of this index; made if it is new.
    pub(super) fn index(&mut self, name: &str) -> &mut IndexRetry {
        let at = self.indices.iter().position(|index| index.index == name).unwrap_or_else(|| {
            self.indices.push(IndexRetry { index: name.to_owned(), ..IndexRetry::default() });
            self.indices.len() - 1
        });
        &mut self.indices[at]
    }

    /// Sums over all indices.
    pub fn total(&self) -> IndexRetry {
        let mut total = IndexRetry { index: "total".to_owned(), ..IndexRetry::default() };
        for index in &self.indices {
            total.retried += index.retried;
            total.indexed += index.indexed;
            total.already_there += index.already_there;
            total.recovered += index.recovered;
            total.unfinished += index.unfinished;
            total.failed.merge(&index.failed);
            total.kept.merge(&index.kept);
        }
        total
    }

    /// Whether any of the documents that were meant has still failed.
    pub fn is_clean(&self) -> bool {
        let total = self.total();
        !self.interrupted && total.failed.documents() + total.kept.documents() + total.unfinished == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_errors_are_counted_and_few() {
        let mut kinds = Kinds::default();
        for n in 0..200 {
            kinds.add(&format!("type-{n}"), "first");
            kinds.add(&format!("type-{n}"), "second");
        }
        assert_eq!((kinds.documents(), kinds.0.len()), (400, MAX_KINDS + 1));
        assert_eq!(kinds.0["type-7"], Kind { documents: 2, reason: "first".to_owned() });
    }

    #[test]
    fn a_report_is_clean_when_nothing_is_left() {
        let mut report = RetryReport::default();
        report.index("a").indexed = 3;
        report.index("b").indexed = 4;
        report.index("a").recovered = 1;
        assert_eq!((report.total().indexed, report.total().recovered, report.is_clean()), (7, 1, true));
        report.index("b").kept.add("missing_source", "no");
        assert!(!report.is_clean());
        assert_eq!(report.indices.len(), 2);
    }
}

//! Which snapshot is meant.

use super::{RepositoryData, SnapshotEntry};
use crate::error::{Error, Result};
use crate::snapshot_info::{SnapshotInfo, SnapshotState};

/// What asks for the newest snapshot that succeeded.
pub const LATEST: &str = "latest";

impl RepositoryData {
    /// The snapshot of this name; or for `latest`, unless one bears that name, the newest that succeeded.
    ///
    /// Not every root says when its snapshots were taken, and its order says nothing about time. Where it does not,
    /// the last of the list is given; to be exact there, read what [`Self::undated`] names and ask
    /// [`Self::latest_by`].
    pub fn snapshot(&self, name_or_latest: &str) -> Result<&SnapshotEntry> {
        if let Some(found) = self.snapshots.iter().find(|s| s.name == name_or_latest) {
            return Ok(found);
        }
        if name_or_latest != LATEST {
            return Err(Error::UnknownSnapshot { name: name_or_latest.to_owned(), available: self.names() });
        }
        self.latest(self.successful(), |entry| entry.start_millis.zip(entry.end_millis))
    }

    /// The successful snapshots of whose times the root does not tell enough to find the newest.
    ///
    /// Empty when it does. Else each one's [`SnapshotInfo`] tells.
    pub fn undated(&self) -> Vec<&SnapshotEntry> {
        let successful: Vec<_> = self.successful().collect();
        if successful.len() < 2 {
            return Vec::new();
        }
        successful.into_iter().filter(|s| s.start_millis.is_none() || s.end_millis.is_none()).collect()
    }

    /// The newest snapshot that succeeded, by the times in `infos` where the root has none.
    pub fn latest_by(&self, infos: &[SnapshotInfo]) -> Result<&SnapshotEntry> {
        let info = |entry: &SnapshotEntry| infos.iter().find(|i| i.uuid == entry.uuid);
        let candidates = self.successful().filter(|entry| {
            entry.state.is_some() || info(entry).is_none_or(|i| i.state == SnapshotState::Success)
        });
        self.latest(candidates, |entry| {
            entry.start_millis.zip(entry.end_millis).or_else(|| {
                let info = info(entry)?;
                info.start_millis.zip(info.end_millis)
            })
        })
    }

    fn latest<'a>(
        &'a self,
        candidates: impl Iterator<Item = &'a SnapshotEntry>,
        times: impl Fn(&SnapshotEntry) -> Option<(i64, i64)>,
    ) -> Result<&'a SnapshotEntry> {
        // Of equals, the last: so a list without any time gives its last.
        candidates.max_by_key(|s| times(s)).ok_or_else(|| Error::NoSuccessfulSnapshot {
            available: self
                .snapshots
                .iter()
                .map(|s| match &s.state {
                    Some(state) => format!("{} ({state})", s.name),
                    None => s.name.clone(),
                })
                .collect(),
        })
    }

    fn successful(&self) -> impl Iterator<Item = &SnapshotEntry> {
        self.snapshots.iter().filter(|s| matches!(s.state, None | Some(SnapshotState::Success)))
    }

    fn names(&self) -> Vec<String> {
        let mut dated: Vec<_> = self.snapshots.iter().collect();
        dated.sort_by_key(|s| s.start_millis);
        dated.into_iter().map(|s| s.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::root;
    use super::*;
    use serde_json::json;

    fn data(snapshots: serde_json::Value) -> RepositoryData {
        root(&json!({"snapshots": snapshots, "indices": {}})).unwrap()
    }

    #[test]
    fn latest_is_the_newest_success() {
        let cases = [
            (
                json!([{"name": "a", "uuid": "A", "state": 1, "start_time_millis": 9, "end_time_millis": 10},
                    {"name": "b", "uuid": "B", "state": 1, "start_time_millis": 5, "end_time_millis": 6},
                    {"name": "c", "uuid": "C", "state": 3, "start_time_millis": 20, "end_time_millis": 21}]),
                "a",
            ),
            (json!([{"name": "a", "uuid": "A", "state": 1}, {"name": "b", "uuid": "B", "state": 1}]), "b"),
            (json!([{"name": "a", "uuid": "A"}, {"name": "b", "uuid": "B", "state": 2}]), "a"),
            (
                json!([{"name": "latest", "uuid": "A", "state": 3}, {"name": "b", "uuid": "B", "state": 1}]),
                "latest",
            ),
        ];
        for (snapshots, name) in cases {
            assert_eq!(data(snapshots).snapshot(LATEST).unwrap().name, name);
        }
        let none = data(json!([{"name": "a", "uuid": "A", "state": "FAILED"}]));
        assert_eq!(
            none.snapshot(LATEST),
            Err(Error::NoSuccessfulSnapshot { available: vec!["a (FAILED)".into()] })
        );
        assert_eq!(
            none.snapshot("x"),
            Err(Error::UnknownSnapshot { name: "x".into(), available: vec!["a".into()] })
        );
        assert_eq!(none.snapshot("a").unwrap().uuid, "A");
    }

    #[test]
    fn times_of_the_snapshots_themselves_decide_where_the_root_has_none() {
        let data =
            data(json!([{"name": "a", "uuid": "A", "state": 1}, {"name": "b", "uuid": "B", "state": 1},
            {"name": "c", "uuid": "C", "state": 2}]));
        assert_eq!(data.undated().iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let info = |name: &str, uuid: &str, start: i64| {
            let value = json!({"snapshot": {"name": name, "uuid": uuid, "state": "SUCCESS",
                "start_time": start, "end_time": start + 1}});
            let bytes = crate::container::build::json(crate::container::SNAPSHOT, &value);
            SnapshotInfo::parse("x.dat", &bytes).unwrap()
        };
        let infos = [info("a", "A", 5), info("b", "B", 4)];
        assert_eq!(data.latest_by(&infos).unwrap().name, "a");
    }
}

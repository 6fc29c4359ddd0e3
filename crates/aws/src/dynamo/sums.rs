//! What a chunk adds to the sums of its shard, and the sums as an item has them.

use super::item::Reader;
use backfill::model::{Chunk, ChunkState, Counters, Millis};
use backfill::ports::StoreError;

/// What a chunk adds to sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Chunks that were ever claimed.
    pub(super) claimed: u64,
    /// Chunks done.
    pub(super) done: u64,
    /// Chunks given up.
    pub(super) given_up: u64,
    /// Chunks with an error that were not given up.
    pub(super) erring: u64,
    /// Chunks with damage.
    pub(super) broken: u64,
    /// Counters.
    pub(super) counters: Counters,
}

impl Share {
    pub(super) fn of(chunk: &Chunk) -> Share {
        let given_up = chunk.state == ChunkState::Failed;
        Share {
            claimed: u64::from(chunk.epoch > 0),
            done: u64::from(chunk.state == ChunkState::Done),
            given_up: u64::from(given_up),
            erring: u64::from(chunk.last_error.is_some() && !given_up),
            broken: u64::from(!chunk.progress.damage.is_empty()),
            counters: chunk.progress.counters,
        }
    }

    /// The attributes that hold it.
    pub(super) fn attributes(&self) -> [(&'static str, u64); 16] {
        // Named one by one, so that a new counter cannot be forgotten here.
        let Counters {
            indexed,
            already_there,
            failed,
            nested,
            damaged,
            source_bytes,
            stored_bytes,
            requests,
            retries,
            busy_ms,
            unsourced,
        } = self.counters;
        [
            ("claimed", self.claimed),
            ("done", self.done),
            ("given_up", self.given_up),
            ("erring", self.erring),
            ("broken", self.broken),
            ("indexed", indexed),
            ("already_there", already_there),
            ("failed", failed),
            ("nested", nested),
            ("damaged", damaged),
            ("source_bytes", source_bytes),
            ("stored_bytes", stored_bytes),
            ("requests", requests),
            ("retries", retries),
            ("busy_ms", busy_ms),
            ("unsourced", unsourced),
        ]
    }

    /// What must be added to the sums when a chunk that gave `before` gives this; nothing that does not change.
    pub(super) fn since(&self, before: &Share) -> Vec<(&'static str, i128)> {
        let pairs = self.attributes().into_iter().zip(before.attributes());
        let deltas = pairs.map(|((name, now), (_, then))| (name, i128::from(now) - i128::from(then)));
        deltas.filter(|(_, delta)| *delta != 0).collect()
    }

    /// Adds other sums.
    pub(super) fn add(&mut self, other: &Share) {
        self.claimed = self.claimed.saturating_add(other.claimed);
        self.done = self.done.saturating_add(other.done);
        self.given_up = self.given_up.saturating_add(other.given_up);
        self.erring = self.erring.saturating_add(other.erring);
        self.broken = self.broken.saturating_add(other.broken);
        self.counters += &other.counters;
    }

    /// The sums that an item has; what was never added is not there.
    pub(super) fn read(item: &Reader<'_>) -> Result<Share, StoreError> {
        let at = |name| item.optional_number::<u64>(name).map(Option::unwrap_or_default);
        Ok(Share {
            claimed: at("claimed")?,
            done: at("done")?,
            given_up: at("given_up")?,
            erring: at("erring")?,
            broken: at("broken")?,
            counters: read_counters(item)?,
        })
    }
}

/// The counters that an item has; zeros are not written.
pub(super) fn read_counters(item: &Reader<'_>) -> Result<Counters, StoreError> {
    let at = |name| item.optional_number::<u64>(name).map(Option::unwrap_or_default);
    Ok(Counters {
        indexed: at("indexed")?,
        already_there: at("already_there")?,
        failed: at("failed")?,
        nested: at("nested")?,
        damaged: at("damaged")?,
        source_bytes: at("source_bytes")?,
        stored_bytes: at("stored_bytes")?,
        requests: at("requests")?,
        retries: at("retries")?,
        busy_ms: at("busy_ms")?,
        unsourced: at("unsourced")?,
    })
}

/// The attribute of sums that holds the end of a chunk's lease.
pub(super) fn lease_attribute(number: u32) -> String {
    format!("L{number}")
}

/// The end of a chunk's lease, if it has one.
pub(super) fn lease_end(chunk: &Chunk) -> Option<Millis> {
    match &chunk.state {
        ChunkState::Leased(lease) => Some(lease.until),
        _ => None,
    }
}

/// Whether an attribute of sums holds the end of a lease.
pub(super) fn is_lease(attribute: &str) -> bool {
    attribute.strip_prefix('L').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_is_added() {
        let before = Share { claimed: 1, ..Share::default() };
        let mut now = before;
        now.counters.indexed = 5;
        now.claimed = 0;
        assert_eq!(now.since(&before), [("claimed", -1), ("indexed", 5)]);
        assert!(now.since(&now).is_empty());
        let names: std::collections::BTreeSet<_> = now.attributes().map(|(name, _)| name).into();
        assert_eq!(names.len(), 16);
        assert!(is_lease(&lease_attribute(7)) && !names.iter().any(|name| is_lease(name)));
    }
}

//! From batches that end in any order to a cursor that only moves over what is acknowledged.
//!
//! The reader numbers what it emits; each piece describes the documents between the previous piece's end and its own.
//! A piece is folded into the progress only when it and all before it have ended, counters, checksums and failed
//! documents together. So the progress never says more than the cursor covers, and a replay from the cursor
//! counts every document exactly once.

use crate::limit::{FrequentError, is_unsourced};
use crate::model::{ChunkId, Counters, Position, Progress, RangeCrc, clipped};
use crate::ports::FailedDocument;
use std::collections::{BTreeMap, VecDeque};

/// What the reader knows of a stretch of documents, apart from the batch itself.
#[derive(Debug, Default)]
pub struct Stretch {
    /// The position after it.
    pub end: Position,
    /// What was counted while reading: nested children, damaged documents, source bytes.
    pub counters: Counters,
    /// Stored-field bytes of the chunk consumed up to here, since the chunk's beginning.
    pub stored_bytes: u64,
    /// New CRCs: of which range, up to the block where `end` lies.
    pub crcs: Vec<(u32, RangeCrc)>,
    /// Documents that failed before they could be sent.
    pub failed: Vec<FailedDocument>,
    /// What could not be read.
    pub damage: Vec<String>,
}

/// What the target made of a stretch's batch.
#[derive(Debug, Default)]
pub struct Delivered {
    /// Documents indexed, already there, requests, retries.
    pub counters: Counters,
    /// Documents that the target refused for good.
    pub failed: Vec<FailedDocument>,
}

/// Descriptions of damage kept with a chunk, at most.
pub(super) const MAX_DAMAGE: usize = 20;

/// Types of errors that are counted, at most.
const MAX_TYPES: usize = 20;

fn count_error(errors: &mut BTreeMap<String, (u64, String)>, record: &FailedDocument) {
    if let Some((documents, _)) = errors.get_mut(&record.error_type) {
        *documents += 1;
    } else if errors.len() < MAX_TYPES {
        let id = record.id.as_deref().unwrap_or("without an id");
        let example = clipped(&format!("document {id} of {}: {}", record.index, record.reason));
        errors.insert(clipped(&record.error_type), (1, example));
    }
}

fn bytes(failed: &[FailedDocument]) -> usize {
    failed.iter().map(FailedDocument::bytes).sum()
}

#[derive(Debug)]
struct Slot {
    stretch: Stretch,
    delivered: Option<Delivered>,
}

/// Keeps the stretches under way and folds them, in order, into the progress.
#[derive(Debug)]
pub struct AckTracker {
    progress: Progress,
    slots: VecDeque<Slot>,
    /// Number of the first slot.
    first: u64,
    failed: Vec<FailedDocument>,
    /// Bytes of these.
    failed_bytes: usize,
    /// Bytes of failed documents in slots.
    waiting_bytes: usize,
    /// How many documents failed since the claim, by type of error, each with the first of them.
    errors: BTreeMap<String, (u64, String)>,
}

impl AckTracker {
    /// Starts from the progress of the claimed chunk.
    pub fn new(progress: Progress) -> AckTracker {
        AckTracker {
            progress,
            slots: VecDeque::new(),
            first: 0,
            failed: Vec::new(),
            failed_bytes: 0,
            waiting_bytes: 0,
            errors: BTreeMap::new(),
        }
    }

    /// Adds the next stretch in reading order; returns its number.
    pub fn begin(&mut self, stretch: Stretch) -> u64 {
        self.waiting_bytes += bytes(&stretch.failed);
        self.slots.push_back(Slot { stretch, delivered: None });
        self.first + self.slots.len() as u64 - 1
    }

    /// Notes the end of a stretch; folds it and its followers in if nothing before it is under way.
    pub fn end(&mut self, number: u64, delivered: Delivered) {
        let slot = number.checked_sub(self.first).and_then(|at| self.slots.get_mut(at as usize));
        debug_assert!(slot.as_ref().is_some_and(|s| s.delivered.is_none()), "each stretch ends once");
        if let Some(slot) = slot {
            self.waiting_bytes += bytes(&delivered.failed);
            slot.delivered = Some(delivered);
        }
        while self.slots.front().is_some_and(|s| s.delivered.is_some()) {
            if let Some(Slot { stretch, delivered: Some(delivered) }) = self.slots.pop_front() {
                self.first += 1;
                self.fold(stretch, delivered);
            }
        }
    }

    fn fold(&mut self, stretch: Stretch, delivered: Delivered) {
        let failed_bytes = bytes(&stretch.failed) + bytes(&delivered.failed);
        self.waiting_bytes -= failed_bytes.min(self.waiting_bytes);
        self.failed_bytes += failed_bytes;
        let progress = &mut self.progress;
        progress.cursor = stretch.end;
        progress.counters += &stretch.counters;
        progress.counters += &delivered.counters;
        progress.counters.failed += (stretch.failed.len() + delivered.failed.len()) as u64;
        progress.counters.stored_bytes = stretch.stored_bytes;
        for (range, crc) in stretch.crcs {
            progress.crcs.resize((range as usize + 1).max(progress.crcs.len()), RangeCrc::default());
            progress.crcs[range as usize] = crc;
        }
        let room = MAX_DAMAGE.saturating_sub(progress.damage.len());
        progress.damage.extend(stretch.damage.into_iter().take(room));
        for record in stretch.failed.iter().chain(&delivered.failed) {
            match is_unsourced(&record.error_type) {
                true => progress.counters.unsourced += 1,
                false => count_error(&mut self.errors, record),
            }
        }
        self.failed.extend(stretch.failed);
        self.failed.extend(delivered.failed);
    }

    /// Returns the most frequent error since the chunk was claimed, of those that a limit counts.
    pub fn most_frequent_error(&self, chunk: &ChunkId) -> Option<FrequentError> {
        let (error_type, (documents, example)) =
            self.errors.iter().max_by_key(|(_, (documents, _))| *documents)?;
        Some(FrequentError {
            error_type: error_type.clone(),
            documents: *documents,
            of: self.errors.values().map(|(documents, _)| documents).sum(),
            chunk: chunk.to_string(),
            example: example.clone(),
        })
    }

    /// The progress: all of it is acknowledged, but its failed documents may still have to be recorded.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Failed documents before the cursor that were not recorded yet.
    pub fn failed(&self) -> &[FailedDocument] {
        &self.failed
    }

    /// To be called when `failed()` is durable.
    pub fn failed_recorded(&mut self) {
        self.failed = Vec::new();
        self.failed_bytes = 0;
    }

    /// About how many bytes [`AckTracker::failed`] takes.
    pub fn failed_bytes(&self) -> usize {
        self.failed_bytes
    }

    /// About how many bytes the failed documents take that wait for an earlier stretch.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Stretches under way, and those that wait for an earlier one.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether stretches are under way or wait for an earlier one.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failed(text: &str) -> FailedDocument {
        FailedDocument {
            index: String::new(),
            id: None,
            routing: None,
            reason: text.to_owned(),
            error_type: String::new(),
            origin: String::new(),
            position: Position::default(),
            source: None,
            source_base64: None,
        }
    }

    #[test]
    fn the_bytes_of_failed_documents_are_known_wherever_they_wait() {
        let mut tracker = AckTracker::new(Progress::default());
        let (small, large) = (failed("no").bytes(), failed(&"no".repeat(1000)).bytes());
        tracker.begin(Stretch::default());
        tracker.begin(Stretch { failed: vec![failed("no")], ..Stretch::default() });
        let many = Delivered { failed: vec![failed(&"no".repeat(1000))], ..Delivered::default() };
        tracker.end(1, many);
        // The first one is under way: they cannot be recorded yet.
        assert_eq!((tracker.waiting_bytes(), tracker.failed_bytes(), tracker.len()), (small + large, 0, 2));
        tracker.end(0, Delivered::default());
        assert_eq!((tracker.waiting_bytes(), tracker.failed_bytes(), tracker.len()), (0, small + large, 0));
        tracker.failed_recorded();
        assert_eq!((tracker.failed_bytes(), tracker.failed().len()), (0, 0));
        assert!(large > 2000);
    }

    proptest! {
        #[test]
        fn the_cursor_never_passes_an_unacknowledged_document(order in Just((0..30u32).collect::<Vec<_>>()).prop_shuffle()) {
            let mut tracker = AckTracker::new(Progress::default());
            for n in 0..30u32 {
                let stretch = Stretch {
                    end: Position { range: 0, doc: n + 1 },
                    counters: Counters { nested: 1, ..Counters::default() },
                    stored_bytes: u64::from(n + 1) * 100,
                    crcs: vec![(0, RangeCrc { crc: n, len: u64::from(n + 1) * 100 })],
                    ..Stretch::default()
                };
                prop_assert_eq!(tracker.begin(stretch), u64::from(n));
            }
            let mut ended = std::collections::BTreeSet::new();
            for n in order {
                tracker.end(u64::from(n), Delivered { counters: Counters { indexed: 1, ..Counters::default() }, failed: Vec::new() });
                ended.insert(n);
                let contiguous = (0..30).take_while(|n| ended.contains(n)).count() as u32;
                let progress = tracker.progress();
                prop_assert_eq!(progress.cursor.doc, contiguous);
                prop_assert_eq!(progress.counters.indexed, u64::from(contiguous));
                prop_assert_eq!(progress.counters.nested, u64::from(contiguous));
                prop_assert_eq!(progress.counters.stored_bytes, u64::from(contiguous) * 100);
            }
            prop_assert!(tracker.is_empty());
        }
    }
}

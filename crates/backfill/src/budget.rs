//! How much memory each kind of thing may take, from the memory that there is.
//!
//! A few kilobytes can stand for gigabytes: compressed metadata, documents, listings and answers without an end. A process that
//! takes in whatever comes is killed, and with it goes the work on everything else. So each of these has a bound, and what exceeds it fails by its name while everything else goes on.
//!
//! All bounds follow from one number, the memory of the process, divided among its workers. A bound is a share of that memory
//! small enough for everything that is held at once in the worst case: metadata exists as bytes, as text, and as what was parsed
//! of it; a document exists in its block, as JSON, in batches, and compressed. This module is pure; the program and the functions
//! on AWS find out how much memory there is.

/// What the program takes by itself.
const PROGRAM: u64 = 64 << 20;
/// What a worker is assumed to have when nothing is known, and with the least memory.
const UNKNOWN: u64 = 1 << 30;
const LEAST: u64 = 64 << 20;
const MIB: usize = 1 << 20;

/// How much memory each kind of thing may take in one worker, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// A file of metadata, compressed or not: of a snapshot, an index, a shard or a segment. Several copies of it exist while it
    /// is parsed, and what was parsed can be ten times as large.
    pub metadata: usize,
    /// The names in a directory of the repository, together.
    pub listing: usize,
    /// A document, decompressed or converted to JSON. A few stored bytes may stand for gigabytes.
    pub document: usize,
    /// Answers of the target that are under way at once.
    pub answers: usize,
    /// Shards whose metadata is read at once.
    pub shards: usize,
}

impl Budget {
    /// The budget of each of so many workers that share this much memory, in bytes.
    pub fn new(memory: u64, workers: u32) -> Budget {
        let share = (memory.saturating_sub(PROGRAM) / u64::from(workers.max(1))).max(LEAST);
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        Budget {
            metadata: (share / 24).min(256 * MIB),
            listing: (share / 12).min(256 * MIB),
            document: (share / 8).min(512 * MIB),
            answers: (share / 8).min(64 * MIB),
            shards: (share / (24 * MIB)).clamp(1, 32),
        }
    }
}

/// The budget of a worker when nothing is known of the memory.
impl Default for Budget {
    fn default() -> Budget {
        Budget::new(UNKNOWN, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_at_once_fits_into_the_memory() {
        for mib in [256, 512, 1024, 1769, 4096, 10_240, 1 << 20] {
            for workers in [1, 2, 8] {
                let budget = Budget::new(mib << 20, workers);
                let share = ((mib << 20) - PROGRAM) / u64::from(workers);
                let most = |parts: &[usize]| parts.iter().map(|part| *part as u64).sum::<u64>();
                // A file, twice as text, and parsed; a document in its block, as JSON, in two batches and their compressed forms, and answers.
                let planning = most(&[budget.metadata * 13, budget.listing]);
                let working = most(&[budget.document * 7, budget.answers]);
                let enough = share.max(LEAST);
                assert!(planning <= enough && working <= enough, "{mib} MiB, {workers} workers: {budget:?}");
                assert!(budget.shards >= 1);
            }
        }
        assert_eq!(Budget::new(0, 0), Budget::new(LEAST, 1));
    }
}

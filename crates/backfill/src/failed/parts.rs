//! Names of parts, and which of several parts are in force.

use crate::model::{ChunkId, Position, RunId, Settled};
use crate::ports::{FailedPart, StoredPart};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What the names of parts as files or objects end with.
pub const SUFFIX: &str = ".ndjson.gz";

impl FailedPart {
    /// Its name within its chunk: `<range>.<doc>-e<epoch>.ndjson.gz` as a worker writes it, and
    /// `<range>.<doc>-e<epoch>-s<seen>.<indexed>.<already there>.ndjson.gz` after a retry.
    pub fn name(&self) -> String {
        let (from, epoch) = (self.from, self.epoch);
        match self.settled {
            None => format!("{from}-e{epoch}{SUFFIX}"),
            Some(Settled { seen, indexed, already_there }) => {
                format!("{from}-e{epoch}-s{seen}.{indexed}.{already_there}{SUFFIX}")
            }
        }
    }

    /// The part of this name; `None` if it is not the name of one.
    pub fn parse(run: &RunId, chunk: &ChunkId, name: &str) -> Option<FailedPart> {
        let mut pieces = name.strip_suffix(SUFFIX)?.split('-');
        let (range, doc) = pieces.next()?.split_once('.')?;
        let part = FailedPart {
            run: run.clone(),
            chunk: chunk.clone(),
            epoch: pieces.next()?.strip_prefix('e')?.parse().ok()?,
            from: Position { range: range.parse().ok()?, doc: doc.parse().ok()? },
            settled: pieces.next().map(settled).transpose().ok()?,
        };
        // One spelling for each part: `+1` and `01` are numbers, too.
        (part.name() == name).then_some(part)
    }
}

fn settled(text: &str) -> Result<Settled, ()> {
    let numbers: Vec<u64> = text
        .strip_prefix('s')
        .ok_or(())?
        .split('.')
        .map(|number| number.parse().map_err(drop))
        .collect::<Result<_, _>>()?;
    let [seen, indexed, already_there] = numbers[..] else { return Err(()) };
    Ok(Settled { seen, indexed, already_there })
}

/// Of all stored parts of a chunk those that count, and how far, in the order of their positions.
///
/// Each claim begins where the checkpoint was, so whatever earlier epochs recorded from there on is void: those documents
/// were gone through again. Within an epoch a part ends where the next one begins. Of the same part before and after
/// retries the last one counts: the one that saw the fewest failed documents.
pub fn in_force(parts: impl IntoIterator<Item = FailedPart>) -> Vec<StoredPart> {
    let mut newest = BTreeMap::<(Reverse<u64>, Reverse<Position>), FailedPart>::new();
    let rank = |part: &FailedPart| part.settled.map(|s| (Reverse(s.seen), s.moved()));
    for part in parts {
        let key = (Reverse(part.epoch), Reverse(part.from));
        match newest.get(&key) {
            Some(known) if rank(known) >= rank(&part) => {}
            _ => drop(newest.insert(key, part)),
        }
    }
    let mut stored = Vec::with_capacity(newest.len());
    let mut end: Option<Position> = None;
    for part in newest.into_values() {
        let from = part.from;
        if end.is_none_or(|end| from < end) {
            stored.push(StoredPart { part, end });
            end = Some(from);
        }
    }
    stored.reverse();
    stored
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ShardId;

    fn part(epoch: u64, doc: u32, settled: Option<(u64, u64, u64)>) -> FailedPart {
        FailedPart {
            run: RunId("run".to_owned()),
            chunk: ChunkId { shard: ShardId { index: "i".to_owned(), shard: 0 }, number: 0 },
            epoch,
            from: Position { range: 0, doc },
            settled: settled.map(|(seen, indexed, already_there)| Settled { seen, indexed, already_there }),
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let of = |name: &str| FailedPart::parse(&part(0, 0, None).run, &part(0, 0, None).chunk, name);
        for (part, name) in [
            (part(3, 17, None), "0.17-e3.ndjson.gz"),
            (part(3, 17, Some((9, 2, 1))), "0.17-e3-s9.2.1.ndjson.gz"),
            (part(u64::MAX, u32::MAX, None), "0.4294967295-e18446744073709551615.ndjson.gz"),
        ] {
            assert_eq!(part.name(), name);
            assert_eq!(of(name), Some(part));
        }
        for foreign in [
            "",
            ".ndjson.gz",
            ".0.17-e3.ndjson.gz.tmp",
            "0.17-e3.ndjson",
            "17-e3.ndjson.gz",
            "0.17-3.ndjson.gz",
            "0.017-e3.ndjson.gz",
            "0.17-e+3.ndjson.gz",
            "0.17-e3-s9.2.ndjson.gz",
            "0.17-e3-s9.2.1.0.ndjson.gz",
            "0.17-e3-s9.2.1-x.ndjson.gz",
            "0.17-e99999999999999999999.ndjson.gz",
        ] {
            assert_eq!(of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn later_claims_void_what_earlier_ones_recorded_behind_their_beginning() {
        let force = |parts: &[(u64, u32)]| -> Vec<(u64, u32, Option<u32>)> {
            let parts = parts.iter().map(|(epoch, doc)| part(*epoch, *doc, None));
            in_force(parts)
                .into_iter()
                .map(|s| (s.part.epoch, s.part.from.doc, s.end.map(|e| e.doc)))
                .collect()
        };
        assert_eq!(force(&[]), []);
        assert_eq!(force(&[(1, 0), (1, 20)]), [(1, 0, Some(20)), (1, 20, None)]);
        assert_eq!(force(&[(1, 0), (1, 20), (2, 20)]), [(1, 0, Some(20)), (2, 20, None)]);
        assert_eq!(force(&[(2, 10), (1, 20), (1, 0)]), [(1, 0, Some(10)), (2, 10, None)]);
        assert_eq!(force(&[(1, 0), (2, 5), (3, 0)]), [(3, 0, None)]);
        // A late writer of an earlier epoch changes nothing.
        assert_eq!(force(&[(2, 10), (2, 30), (1, 20), (1, 40)]), [(2, 10, Some(30)), (2, 30, None)]);
    }

    #[test]
    fn of_a_part_before_and_after_retries_the_last_one_counts() {
        let all = [
            part(1, 0, None),
            part(1, 0, Some((9, 1, 0))),
            part(1, 0, Some((7, 2, 1))),
            part(1, 0, Some((8, 1, 0))),
            part(1, 30, None),
        ];
        let expected = [(Some((7, 2, 1)), 0), (None, 30)].map(|(settled, doc)| part(1, doc, settled));
        let mut reversed = all.to_vec();
        reversed.reverse();
        for parts in [all.to_vec(), reversed] {
            let parts: Vec<FailedPart> = in_force(parts).into_iter().map(|stored| stored.part).collect();
            assert_eq!(parts, expected);
        }
    }
}

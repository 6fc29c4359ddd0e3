//! Sets of documents of a segment.

use std::ops::Range;

/// A set of the numbers below its length, one bit each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    len: u32,
}

impl Bits {
    /// A set of `len` numbers at most, with none of them in it.
    pub fn none(len: u32) -> Self {
        Self { words: vec![0; Self::words_for(len)], len }
    }

    /// The set of all numbers below `len`.
    pub fn all(len: u32) -> Self {
        let mut bits = Self { words: vec![u64::MAX; Self::words_for(len)], len };
        if let (Some(last), used @ 1..) = (bits.words.last_mut(), len % 64) {
            *last = (1 << used) - 1;
        }
        bits
    }

    /// The set of those bits of `words` (number i is bit i % 64 of word i / 64) that lie below `len`, or nothing when
    /// there are too few or too many words or a bit beyond `len` is set.
    pub(crate) fn from_words(words: Vec<u64>, len: u32) -> Option<Self> {
        let used = len % 64;
        let clean = used == 0 || words.last().is_none_or(|last| last >> used == 0);
        (words.len() == Self::words_for(len) && clean).then_some(Self { words, len })
    }

    /// How many words a set of `len` numbers takes.
    pub(crate) fn words_for(len: u32) -> usize {
        len.div_ceil(64) as usize
    }

    /// All numbers in the set are below this.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the length is 0.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `i` is in the set; false for numbers beyond the length.
    #[inline]
    pub fn get(&self, i: u32) -> bool {
        self.words.get((i / 64) as usize).is_some_and(|word| word >> (i % 64) & 1 == 1)
    }

    /// Whether any number of `range` is in the set.
    pub fn any(&self, range: Range<u32>) -> bool {
        let (start, end) = (range.start, range.end.min(self.len));
        if start >= end {
            return false;
        }
        let (first, last) = ((start / 64) as usize, ((end - 1) / 64) as usize);
        // Of the first word the bits from the start on, of the last those before the end; both may be the same word.
        let from_start = u64::MAX << (start % 64);
        let before_end = u64::MAX >> (63 - (end - 1) % 64);
        match self.words.get(first..=last).unwrap_or_default() {
            [] => false,
            [only] => only & from_start & before_end != 0,
            [first, between @ .., last] => {
                first & from_start != 0 || last & before_end != 0 || between.iter().any(|word| *word != 0)
            }
        }
    }

    /// Puts `i` into the set; false when it lies beyond the length.
    pub fn insert(&mut self, i: u32) -> bool {
        match self.words.get_mut((i / 64) as usize) {
            Some(word) if i < self.len => {
                *word |= 1 << (i % 64);
                true
            }
            _ => false,
        }
    }

    /// Puts the bits of `word` in as those of number `i` times 64 on; false when one lies beyond the length.
    pub(crate) fn insert_word(&mut self, i: usize, word: u64) -> bool {
        let used = self.len % 64;
        let last = i + 1 == self.words.len();
        match self.words.get_mut(i) {
            Some(w) if !(last && used != 0 && word >> used != 0) => *w |= word,
            _ => return word == 0,
        }
        true
    }

    /// How many numbers are in the set.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|w| w.count_ones()).sum()
    }

    /// Takes out all that are in `other`.
    pub fn and_not(&mut self, other: &Self) {
        for (a, b) in self.words.iter_mut().zip(&other.words) {
            *a &= !b;
        }
    }

    /// The numbers in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.words).flat_map(|(i, &word)| {
            std::iter::successors(Some(word), |w| Some(w & w.wrapping_sub(1)))
                .take_while(|w| *w != 0)
                .map(move |w| i * 64 + w.trailing_zeros())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_of_a_range_is_as_one_by_one(
            len in 0..400u32,
            numbers in prop::collection::vec(0..400u32, 0..6),
            range in (0..450u32, 0..450u32),
        ) {
            let mut bits = Bits::none(len);
            numbers.iter().for_each(|n| {
                bits.insert(*n);
            });
            let range = range.0..range.1;
            prop_assert_eq!(bits.any(range.clone()), range.clone().any(|i| bits.get(i)));
            prop_assert_eq!(Bits::all(len).any(range.clone()), range.clone().any(|i| i < len));
        }
    }
}

//! Memory for bodies of requests, used again and again.
//!
//! Bodies are megabytes, and come and go by the hundred a second. An allocator may give the pages of such buffers back to the
//! system, which clears them before they are written again.

use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers that are larger are kept only where as much is needed, in bytes.
const LARGE: usize = 8 << 20;
/// Bytes that are kept while nobody uses them, at most: more than full batches in flight have, unless options say otherwise.
const MAX_IDLE: usize = 64 << 20;

/// Buffers to be filled, sent, and filled again. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty buffer, for about `expected` bytes.
    pub fn take(&self, expected: usize) -> Vec<u8> {
        let mut idle = self.lock();
        // To grow one would be to copy it. The last that came back: it is in a cache of the processor, if any is.
        let enough = expected.saturating_add(expected / 16);
        match idle.iter().rposition(|buffer| buffer.capacity() >= enough) {
            Some(at) => idle.remove(at),
            None => {
                // Those that are too small now would lie here unused.
                idle.pop();
                Vec::with_capacity(expected.saturating_add(expected / 8))
            }
        }
    }

    /// What was filled, as bytes that can be sent; the buffer comes back when the last of them is dropped.
    pub fn freeze(&self, filled: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { filled, home: self.clone() })
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        // One that a giant made large must not take the place of many.
        let fits = buffer.capacity() <= LARGE || buffer.capacity() / 2 <= buffer.len();
        if buffer.is_empty() || !fits {
            return;
        }
        buffer.clear();
        let mut idle = self.lock();
        let bytes: usize = idle.iter().map(Vec::capacity).sum();
        if bytes.saturating_add(buffer.capacity()) <= MAX_IDLE {
            idle.push(buffer);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer that is away.
struct Lent {
    filled: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.filled
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.filled));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// A buffer with as much in it, of which nothing was used before.
    fn filled(buffers: &Buffers, bytes: usize) -> Vec<u8> {
        let mut buffer = buffers.take(bytes);
        assert!(buffer.is_empty());
        buffer.resize(bytes, b'x');
        buffer
    }

    fn idle(buffers: &Buffers) -> usize {
        buffers.lock().iter().map(Vec::capacity).sum()
    }

    #[test]
    fn a_buffer_is_used_again_when_nobody_reads_it_any_more() {
        let buffers = Buffers::default();
        let bytes = buffers.freeze(filled(&buffers, MIB));
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(idle(&buffers), 0, "a part of it is still read");
        assert_eq!(&part[..], [b'x'; 10]);
        drop(part);
        assert!(idle(&buffers) >= MIB);
        let again = filled(&buffers, MIB);
        assert_eq!((again.len(), idle(&buffers)), (MIB, 0));
    }

    #[test]
    fn what_is_kept_is_bounded_and_of_the_size_that_is_needed() {
        let buffers = Buffers::default();
        let lent: Vec<_> = (0..100).map(|_| buffers.freeze(filled(&buffers, MIB))).collect();
        drop(lent);
        assert!((MAX_IDLE / 2..=MAX_IDLE).contains(&idle(&buffers)), "{}", idle(&buffers));

        assert!(buffers.take(9 * MIB).capacity() > 9 * MIB, "none that had to grow");

        let buffers = Buffers::default();
        let [large, small] = [MIB, MIB / 4].map(|bytes| buffers.freeze(filled(&buffers, bytes)));
        drop(large);
        drop(small);
        assert!(buffers.take(MIB / 2).capacity() > MIB, "the one below");
        assert!(idle(&buffers) >= MIB / 4, "the other one is still there");

        let buffers = Buffers::default();
        let mut giant = buffers.take(40 * MIB);
        giant.push(b'x');
        drop(buffers.freeze(giant));
        assert_eq!(idle(&buffers), 0, "a giant is not kept for a dwarf");

        drop(buffers.freeze(buffers.take(MIB)));
        assert!(buffers.lock().is_empty(), "what nothing was written to has no pages yet");
    }
}

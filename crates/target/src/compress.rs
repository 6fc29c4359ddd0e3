//! Compression of bulk bodies, and whether it is worth trying.

use crate::config::Compression;
use backfill::buffers::Buffers;
use bytes::Bytes;
use flate2::write::GzEncoder;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::sync::Semaphore;

/// Bodies that are smaller gain nothing.
const WORTH_IT: usize = 1024;

/// To which part of its size a body is compressed, in most cases at most.
const USUAL_RATIO: usize = 3;

const UNTRIED: u8 = 0;
const PROVEN: u8 = 1;
const REFUSED: u8 = 2;

/// Compresses for one cluster, and decides whether to.
#[derive(Debug)]
pub(crate) struct Compressor {
    wanted: bool,
    automatic: bool,
    state: AtomicU8,
    /// One for each processor: more at once would be no faster, and need more memory.
    pub(crate) permits: Arc<Semaphore>,
    /// Memory of compressed bodies.
    buffers: Buffers,
}

impl Compressor {
    pub(crate) fn new(compression: Compression, loopback: bool) -> Compressor {
        let automatic = compression == Compression::Auto;
        let wanted = compression == Compression::On || (automatic && !loopback);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Compressor {
            wanted,
            automatic,
            state: AtomicU8::new(UNTRIED),
            permits: Arc::new(Semaphore::new(processors)),
            buffers: Buffers::default(),
        }
    }

    /// Whether a body of this size is to be compressed.
    pub(crate) fn applies(&self, bytes: usize) -> bool {
        self.wanted && bytes >= WORTH_IT && self.state.load(Ordering::Relaxed) != REFUSED
    }

    /// A compressed request was understood.
    pub(crate) fn proven(&self) {
        let _ = self.state.compare_exchange(UNTRIED, PROVEN, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether a refusal with this status may be for the compression alone.
    pub(crate) fn suspects(&self, status: u16) -> bool {
        let untried = self.state.load(Ordering::Relaxed) == UNTRIED;
        self.automatic && untried && matches!(status, 400 | 415)
    }

    /// What was refused compressed was understood uncompressed. True for the first to find out.
    pub(crate) fn refused(&self) -> bool {
        self.state.swap(REFUSED, Ordering::Relaxed) != REFUSED
    }

    /// The body compressed: the same bytes give the same bytes. Runs apart from the runtime's own thread, which has
    /// other requests to attend to.
    pub(crate) async fn gzip(&self, body: Bytes) -> std::io::Result<Bytes> {
        let permit = self.permits.clone().acquire_owned().await.map_err(std::io::Error::other)?;
        let buffers = self.buffers.clone();
        let work = move || {
            let _permit = permit;
            let buffer = buffers.take(body.len() / USUAL_RATIO);
            let mut encoder = GzEncoder::new(buffer, flate2::Compression::new(1));
            encoder.write_all(&body)?;
            Ok(buffers.freeze(encoder.finish()?))
        };
        tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_not_worth_compressing() {
        for (compression, loopback, expected) in [
            (Compression::Auto, true, false),
            (Compression::Auto, false, true),
            (Compression::On, true, true),
            (Compression::Off, false, false),
        ] {
            let compressor = Compressor::new(compression, loopback);
            assert_eq!(compressor.applies(1 << 20), expected, "{compression:?} {loopback}");
            assert!(!compressor.applies(9));
        }
    }

    #[test]
    fn only_an_untried_automatic_choice_is_doubted() {
        let auto = Compressor::new(Compression::Auto, false);
        assert!(auto.suspects(400) && auto.suspects(415) && !auto.suspects(500));
        auto.proven();
        assert!(!auto.suspects(400));
        assert!(!Compressor::new(Compression::On, false).suspects(400));
        let auto = Compressor::new(Compression::Auto, false);
        assert!(auto.refused() && !auto.refused() && !auto.applies(1 << 20));
    }
}

//! The bare encoder: bulk bodies compressed in memory, by the library and at the level that the pipeline uses.

use crate::Result;
use crate::bodies::Source;
use crate::measure::{Measured, Stopwatch, peak};
use clap::Args;
use std::hint::black_box;

#[derive(Args, Clone)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Measured> {
    let bodies = arguments.source.bodies()?;
    let largest = bodies.iter().map(|b| b.bytes.len()).max().unwrap_or(0);
    let mut buffer = vec![0; largest];
    let watch = Stopwatch::start();
    for body in &bodies {
        buffer.clear();
        buffer = encode(&body.bytes, buffer)?;
        black_box(&buffer);
    }
    let (wall, cpu) = watch.read();
    Ok(Measured {
        documents: bodies.iter().map(|b| b.documents).sum(),
        bytes: bodies.iter().map(|b| b.source).sum(),
        wall,
        cpu,
        peak: peak()?,
        ..Measured::default()
    })
}

/// A body as one gzip member, in this buffer.
pub(crate) fn encode(body: &[u8], buffer: Vec<u8>) -> Result<Vec<u8>> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(buffer, flate2::Compression::new(1));
    encoder.write_all(body)?;
    Ok(encoder.finish()?)
}

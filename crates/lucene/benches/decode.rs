//! Decoding blocks against the bare decompressor on the same bytes: `cargo bench -p lucene`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/common/encode.rs"]
mod encode;

use encode::{Codec, ID, Piece, block, document, header};
use lucene::stored_fields::{Block, BlockDecoder, DataHeader, Value};
use std::hint::black_box;
use std::time::{Duration, Instant};
use zstd::zstd_safe::DCtx;

fn main() {
    for (codec, chunk_size) in [
        (Codec::Lz4, 80 * 1024),
        (Codec::Deflate, 480 * 1024),
        (Codec::ZstdFrame, 240 * 1024),
        (Codec::ZstdDict, 480 * 1024),
        (Codec::ZstdPieces, 480 * 1024),
        (Codec::Lz4Stream, 16 * 1024),
        (Codec::DeflateAlone, 60 * 1024),
    ] {
        let blocks = blocks(codec, chunk_size);
        let size: usize = blocks.iter().map(|b| b.2).sum();
        let header = DataHeader::parse("data", &header(codec, chunk_size), Some(&ID)).unwrap();
        let mut decoder = BlockDecoder::with_chunk_size("data", &header, Some(chunk_size as u32));
        let decode = || {
            for (block, bytes, _, _) in &blocks {
                let documents = decoder.decode(block, bytes).unwrap();
                for document in documents.iter() {
                    let source = document.fields().filter_map(|f| match f.unwrap() {
                        (2, Value::Bytes(source)) => Some(source.len()),
                        _ => None,
                    });
                    black_box(source.sum::<usize>());
                }
            }
        };
        let mut out = vec![0; blocks.iter().map(|b| b.2).max().unwrap()];
        let mut bare = Bare { inflater: flate2::Decompress::new(false), frames: DCtx::create() };
        let bare = || blocks.iter().for_each(|(_, _, _, pieces)| bare.run(codec, pieces, &mut out));
        let [decoded, bare] = best(decode, bare).map(|time| size as f64 / time.as_secs_f64() / 1e6);
        println!("{codec:?}: {decoded:.0} MB/s, bare {bare:.0} MB/s, {:.1} % of it", 100.0 * decoded / bare);
    }
}

/// The best of several runs of each, in turns, so that both meet the same machine.
fn best(mut a: impl FnMut(), mut b: impl FnMut()) -> [Duration; 2] {
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    let mut best = [Duration::MAX; 2];
    for _ in 0..25 {
        best = [best[0].min(time(&mut a)), best[1].min(time(&mut b))];
    }
    best
}

/// The decompressors by themselves.
struct Bare {
    inflater: flate2::Decompress,
    frames: DCtx<'static>,
}

impl Bare {
    fn run(&mut self, codec: Codec, pieces: &[Piece], out: &mut [u8]) {
        for piece in pieces {
            let (before, rest) = out.split_at_mut(piece.range.start);
            let room = &mut rest[..piece.range.len()];
            let dictionary = &before[piece.dictionary.clone()];
            match codec {
                Codec::Lz4 | Codec::Lz4Stream | Codec::Lucene41 | Codec::Lucene41First => {
                    lz4_flex::block::decompress_into_with_dict(&piece.compressed, room, dictionary).unwrap();
                }
                Codec::Deflate | Codec::DeflateAlone => {
                    self.inflater.reset(false);
                    if !dictionary.is_empty() {
                        self.inflater.set_dictionary(dictionary).unwrap();
                    }
                    let finish = flate2::FlushDecompress::Finish;
                    self.inflater.decompress(&piece.compressed, room, finish).unwrap();
                }
                Codec::ZstdFrame | Codec::ZstdDict | Codec::ZstdPieces => {
                    self.frames.decompress_using_dict(room, &piece.compressed, dictionary).unwrap();
                }
            }
        }
    }
}

type Encoded = (Block, Vec<u8>, usize, Vec<Piece>);

/// 40 MB of documents of some 600 bytes, as logs and products are.
fn blocks(codec: Codec, chunk_size: usize) -> Vec<Encoded> {
    let mut seed = 1u64;
    let mut random = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let (mut blocks, mut docs, mut size, mut total, mut first_doc) = (Vec::new(), Vec::new(), 0, 0, 0u32);
    while total < 40_000_000 {
        let mut body = String::new();
        for _ in 0..random(90) {
            // Few words are frequent, many are rare.
            let word = random(4000) * random(4000) / 4000;
            body.push_str(&format!(
                "{}{:x} ",
                ["the", "lo", "mar", "quo"][(word % 4) as usize],
                word * 2_654_435_761 % 100_000
            ));
        }
        let (id, price, day) = (random(1 << 40), random(100_000), random(28) + 1);
        let source = format!(
            "{{\"id\":{id},\"@timestamp\":\"2024-05-{day:02}T0{}:{}:00Z\",\"level\":\"INFO\",\"price\":{}.{},\"message\":\"{body}\"}}",
            random(10),
            random(50) + 10,
            price / 100,
            price % 100
        );
        let doc = document(&[(0, format!("\u{ff}{id}").as_bytes()), (2, source.as_bytes())]);
        size += doc.1.len();
        docs.push(doc);
        if size >= chunk_size || docs.len() == codec.max_docs() {
            let (bytes, pieces) = block(codec, first_doc, &docs, chunk_size);
            let at = Block { first_doc, doc_count: docs.len() as u32, offset: 0, length: bytes.len() as u64 };
            blocks.push((at, bytes, size, pieces));
            total += size;
            first_doc += docs.len() as u32;
            docs.clear();
            size = 0;
        }
    }
    blocks
}

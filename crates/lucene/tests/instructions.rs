//! A guard against decoding that becomes slow: how many instructions it takes, counted by valgrind, which does not depend
//! on how busy the machine is. The binary runs itself again under valgrind, for the test below that is only measured.
//!
//! The counts are those of optimised code, so there are none in other builds: `cargo test --profile counted -p lucene --test
//! instructions`, on a processor with AVX2 and BMI2 (which the decompressors look for).

#![cfg(not(debug_assertions))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/encode.rs"]
mod encode;

use encode::{Codec, ID, block, document, header};
use lucene::stored_fields::{Block, BlockDecoder, DataHeader, Value};
use std::hint::black_box;
use std::process::Command;

/// Instructions for a thousand decompressed bytes. More than [`MARGIN`] above is a failure, and as many below, too: what was
/// gained must be written down here, or it could be lost again unseen.
const EXPECTED: [(Codec, &str, f64); 3] = [
    (Codec::Lz4, "decode_lz4", 6_625.0),
    (Codec::Deflate, "decode_deflate", 7_350.0),
    (Codec::ZstdFrame, "decode_zstd", 13_280.0),
];
/// Other versions of the compilers, that of C included, count a little differently.
const MARGIN: f64 = 0.04;
/// The test that is measured.
const MEASURED: &str = "blocks_are_decoded";

#[test]
fn decoding_takes_as_many_instructions_as_before() {
    for (codec, function, expected) in EXPECTED {
        let size: usize = blocks(codec).iter().map(|b| b.2).sum();
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(format!("--toggle-collect=*{function}*"))
            .arg(std::env::current_exe().unwrap())
            .args([MEASURED, "--exact", "--test-threads=1"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "what was counted did not end well: {text}");
        let counted = text.lines().find_map(|line| line.split("Collected :").nth(1));
        let Some(counted) = counted.and_then(|n| n.trim().parse::<f64>().ok()).filter(|n| *n > 0.0) else {
            panic!("valgrind counted nothing: {text}");
        };
        let found = counted * 1000.0 / size as f64;
        println!("{codec:?}: {found:.1} instructions for a thousand bytes, {expected} expected");
        assert!(
            (found / expected - 1.0).abs() <= MARGIN,
            "{codec:?}: decoding takes {found:.1} instructions for a thousand bytes, {expected} before"
        );
    }
}

#[test]
fn blocks_are_decoded() {
    assert_eq!(decode_lz4(&blocks(Codec::Lz4)), DOCUMENTS);
    assert_eq!(decode_deflate(&blocks(Codec::Deflate)), DOCUMENTS);
    assert_eq!(decode_zstd(&blocks(Codec::ZstdFrame)), DOCUMENTS);
}

// Each codec has a function of its own, by whose name valgrind knows what to count.

#[inline(never)]
fn decode_lz4(blocks: &[Encoded]) -> usize {
    decode(Codec::Lz4, blocks)
}

#[inline(never)]
fn decode_deflate(blocks: &[Encoded]) -> usize {
    decode(Codec::Deflate, blocks)
}

#[inline(never)]
fn decode_zstd(blocks: &[Encoded]) -> usize {
    decode(Codec::ZstdFrame, blocks)
}

fn decode(codec: Codec, blocks: &[Encoded]) -> usize {
    let header = DataHeader::parse("data", &header(codec, CHUNK), Some(&ID)).unwrap();
    let mut decoder = BlockDecoder::with_chunk_size("data", &header, Some(CHUNK as u32));
    let mut count = 0;
    for (block, bytes, _) in blocks {
        for document in decoder.decode(block, bytes).unwrap().iter() {
            let seen = document.try_for_each_field(|number, value| {
                if let (2, Value::Bytes(source)) = (number, value) {
                    count += usize::from(!black_box(source).is_empty());
                }
                Ok::<_, lucene::Error>(())
            });
            seen.unwrap();
        }
    }
    count
}

const CHUNK: usize = 80 * 1024;
const DOCUMENTS: usize = 400;

/// A block, its bytes, and how many bytes it decompresses to.
type Encoded = (Block, Vec<u8>, usize);

/// Documents as logs have them, always the same.
fn blocks(codec: Codec) -> Vec<Encoded> {
    let mut seed = 1u64;
    let mut random = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let (mut blocks, mut docs, mut first_doc, mut size) = (Vec::new(), Vec::new(), 0u32, 0);
    for n in 0..DOCUMENTS {
        let mut words = String::new();
        for _ in 0..random(60) + 60 {
            let word = random(3000) * random(3000) / 3000;
            words +=
                ["connection ", "refused ", "by ", "upstream ", "request ", "served "][(word % 6) as usize];
            if word.is_multiple_of(5) {
                words += &format!("{:x} ", word * 2_654_435_761 % 1_000_000);
            }
        }
        let (id, status, took) = (random(1 << 40), 200 + random(4) * 101, random(1000));
        let source = format!(
            "{{\"@timestamp\":\"2024-05-{:02}T00:00:00Z\",\"level\":\"INFO\",\"status\":{status},\"took\":{took},\"message\":\"{words}\"}}",
            n % 28 + 1
        );
        docs.push(document(&[(0, format!("\u{ff}{id}").as_bytes()), (2, source.as_bytes())]));
        size += docs.last().map_or(0, |d| d.1.len());
        if size >= CHUNK || n + 1 == DOCUMENTS {
            let (bytes, _) = block(codec, first_doc, &docs, CHUNK);
            let at = Block { first_doc, doc_count: docs.len() as u32, offset: 0, length: bytes.len() as u64 };
            blocks.push((at, bytes, size));
            first_doc += docs.len() as u32;
            docs.clear();
            size = 0;
        }
    }
    blocks
}

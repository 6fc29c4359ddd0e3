//! Writes blocks of stored fields as Lucene does, to read them back.

#![allow(dead_code, reason = "each binary uses a part")]

use flate2::{Compress, Compression, FlushCompress};
use lucene::SegmentId;
use std::ops::Range;
use zstd::zstd_safe::CCtx;

pub(crate) const ID: SegmentId = *b"a segment's id..";

/// The ways in which blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Lz4,
    Deflate,
    ZstdFrame,
    ZstdDict,
    ZstdPieces,
    Lz4Stream,
    DeflateAlone,
    Lucene41,
    Lucene41First,
}

impl Codec {
    pub(crate) const ALL: [Codec; 9] = [
        Codec::Lz4,
        Codec::Deflate,
        Codec::ZstdFrame,
        Codec::ZstdDict,
        Codec::ZstdPieces,
        Codec::Lz4Stream,
        Codec::DeflateAlone,
        Codec::Lucene41,
        Codec::Lucene41First,
    ];

    /// The name of the format, the version, and the flags of a block in it.
    fn format(self) -> (&'static str, u8, u32) {
        match self {
            Codec::Lz4 => ("Lucene90StoredFieldsFastData", 1, 2),
            Codec::Deflate => ("Lucene90StoredFieldsHighData", 1, 2),
            Codec::ZstdFrame => ("ZstdStoredFields814", 1, 2),
            Codec::ZstdDict => ("CustomStoredFieldsZstd", 1, 2),
            Codec::ZstdPieces => ("CustomStoredFieldsZstdNoDict", 1, 2),
            Codec::Lz4Stream => ("Lucene50StoredFieldsFastData", 1, 1),
            Codec::DeflateAlone => ("Lucene50StoredFieldsHighData", 2, 1),
            Codec::Lucene41 => ("Lucene41StoredFieldsData", 2, 0),
            Codec::Lucene41First => ("Lucene41StoredFieldsData", 0, 0),
        }
    }

    /// The most documents of a block.
    pub(crate) fn max_docs(self) -> usize {
        match self {
            Codec::Lz4Stream | Codec::Lucene41 | Codec::Lucene41First => 128,
            Codec::DeflateAlone => 512,
            _ => 1024,
        }
    }

    /// The lengths of dictionary and pieces of `len` bytes.
    fn pieces(self, len: usize) -> (usize, usize) {
        let dictionary = match self {
            Codec::Lz4 => (len / 20).min(65_535),
            Codec::Deflate | Codec::ZstdDict => len / 60,
            Codec::ZstdPieces => 0,
            _ => return (0, len),
        };
        (dictionary, (len - dictionary).div_ceil(10))
    }
}

/// The header of a `.fdt` file, and what stands before its first block.
pub(crate) fn header(codec: Codec, chunk_size: usize) -> Vec<u8> {
    let (name, version, _) = codec.format();
    let mut out =
        [&[0x3f, 0xd7, 0x6c, 0x17, name.len() as u8], name.as_bytes(), &[0, 0, 0, version]].concat();
    if !name.starts_with("Lucene41") {
        out.extend(ID);
        out.push(0);
    }
    match codec {
        Codec::Lz4Stream | Codec::DeflateAlone | Codec::Lucene41 => {
            vint(chunk_size as u32, &mut out);
            out.push(2);
        }
        Codec::Lucene41First => out.push(0),
        _ => {}
    }
    out
}

pub(crate) fn vint(mut n: u32, out: &mut Vec<u8>) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A document of fields with bytes: number and value of each.
pub(crate) fn document(fields: &[(u32, &[u8])]) -> (u32, Vec<u8>) {
    let mut out = Vec::new();
    for (number, value) in fields {
        vint(number << 3 | 1, &mut out);
        vint(value.len() as u32, &mut out);
        out.extend(*value);
    }
    (fields.len() as u32, out)
}

/// A compressed piece, with the range of the uncompressed block that it is and the range that is its dictionary.
pub(crate) struct Piece {
    pub(crate) compressed: Vec<u8>,
    pub(crate) range: Range<usize>,
    pub(crate) dictionary: Range<usize>,
}

/// A block of these documents (number of fields and bytes of each), with the pieces that it is made of.
pub(crate) fn block(
    codec: Codec,
    first_doc: u32,
    docs: &[(u32, Vec<u8>)],
    chunk_size: usize,
) -> (Vec<u8>, Vec<Piece>) {
    let all: Vec<u8> = docs.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    let sliced = all.len() >= 2 * chunk_size && codec != Codec::Lucene41First;
    let (_, _, flags) = codec.format();
    let mut out = Vec::new();
    vint(first_doc, &mut out);
    vint((docs.len() as u32) << flags | u32::from(sliced && flags > 0), &mut out);
    for numbers in
        [docs.iter().map(|d| d.0).collect::<Vec<_>>(), docs.iter().map(|d| d.1.len() as u32).collect()]
    {
        ints(codec, &numbers, &mut out);
    }
    let mut pieces = Vec::new();
    let mut start = 0;
    loop {
        let end = if sliced { all.len().min(start + chunk_size) } else { all.len() };
        slice(codec, &all, start..end, &mut out, &mut pieces);
        start = end;
        if start == all.len() {
            return (out, pieces);
        }
    }
}

/// In Lucene 9, 32 bits each, which is always allowed; before, as many as the greatest needs. Unless all are equal.
fn ints(codec: Codec, numbers: &[u32], out: &mut Vec<u8>) {
    if let [one] = numbers {
        return vint(*one, out);
    }
    if numbers.iter().all(|n| *n == numbers[0]) {
        out.push(0);
        return vint(numbers[0], out);
    }
    if codec.format().2 < 2 {
        return packed(numbers, if codec == Codec::Lucene41First { 8 } else { 1 }, out);
    }
    out.push(32);
    let (groups, rest) = numbers.as_chunks::<128>();
    for group in groups {
        (0..64)
            .for_each(|i| out.extend((u64::from(group[i]) << 32 | u64::from(group[64 + i])).to_le_bytes()));
    }
    rest.iter().for_each(|n| out.extend(n.to_le_bytes()));
}

/// Numbers packed big-endian, padded to a multiple of `padded` bytes.
fn packed(numbers: &[u32], padded: usize, out: &mut Vec<u8>) {
    let bits = numbers.iter().map(|n| 32 - n.leading_zeros()).max().unwrap_or(0);
    vint(bits, out);
    let all = numbers.iter().flat_map(|n| (0..bits).rev().map(move |bit| (n >> bit & 1) as u8));
    let mut bytes = vec![0; (numbers.len() * bits as usize).div_ceil(8).next_multiple_of(padded)];
    all.enumerate().for_each(|(i, bit)| bytes[i / 8] |= bit << (7 - i % 8));
    out.extend(bytes);
}

fn slice(codec: Codec, all: &[u8], range: Range<usize>, out: &mut Vec<u8>, pieces: &mut Vec<Piece>) {
    let (dictionary, each) = codec.pieces(range.len());
    let dictionary = range.start..range.start + dictionary;
    let first = pieces.len();
    let mut add = |range: Range<usize>, dictionary: Range<usize>| {
        let compressed = compress(codec, &all[range.clone()], &all[dictionary.clone()]);
        pieces.push(Piece { compressed, range, dictionary });
    };
    if matches!(codec, Codec::Lz4 | Codec::Deflate | Codec::ZstdDict) {
        vint(dictionary.len() as u32, out);
        add(dictionary.clone(), dictionary.start..dictionary.start);
    }
    if matches!(codec, Codec::Lz4 | Codec::Deflate | Codec::ZstdDict | Codec::ZstdPieces) {
        vint(each as u32, out);
    }
    for start in (dictionary.end..range.end).step_by(each.max(1)) {
        add(start..range.end.min(start + each), dictionary.clone());
    }
    if codec == Codec::Lz4 {
        pieces[first..].iter().for_each(|p| vint(p.compressed.len() as u32, out));
    }
    for piece in &pieces[first..] {
        if !matches!(codec, Codec::Lz4 | Codec::Lz4Stream | Codec::Lucene41 | Codec::Lucene41First) {
            vint(piece.compressed.len() as u32, out);
        }
        out.extend(&piece.compressed);
    }
}

fn compress(codec: Codec, bytes: &[u8], dictionary: &[u8]) -> Vec<u8> {
    match codec {
        Codec::Lz4 => lz4_flex::block::compress_with_dict(bytes, dictionary),
        _ if bytes.is_empty() => Vec::new(),
        Codec::Lz4Stream | Codec::Lucene41 | Codec::Lucene41First => lz4_flex::block::compress(bytes),
        Codec::Deflate | Codec::DeflateAlone => deflate(bytes, dictionary),
        Codec::ZstdFrame | Codec::ZstdDict | Codec::ZstdPieces => {
            let mut out = Vec::with_capacity(bytes.len() + 1000);
            CCtx::create().compress_using_dict(&mut out, bytes, dictionary, 1).expect("a frame");
            out
        }
    }
}

fn deflate(bytes: &[u8], dictionary: &[u8]) -> Vec<u8> {
    let mut deflater = Compress::new(Compression::default(), false);
    if !dictionary.is_empty() {
        deflater.set_dictionary(dictionary).expect("a dictionary");
    }
    let mut out = Vec::with_capacity(bytes.len() + 100);
    deflater.compress_vec(bytes, &mut out, FlushCompress::Finish).expect("compressed bytes");
    out
}

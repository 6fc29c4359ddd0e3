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
}

impl Codec {
    pub(crate) const ALL: [Codec; 5] =
        [Codec::Lz4, Codec::Deflate, Codec::ZstdFrame, Codec::ZstdDict, Codec::ZstdPieces];

    /// The name of the format.
    fn name(self) -> &'static str {
        match self {
            Codec::Lz4 => "Lucene90StoredFieldsFastData",
            Codec::Deflate => "Lucene90StoredFieldsHighData",
            Codec::ZstdFrame => "ZstdStoredFields814",
            Codec::ZstdDict => "CustomStoredFieldsZstd",
            Codec::ZstdPieces => "CustomStoredFieldsZstdNoDict",
        }
    }

    /// The lengths of dictionary and pieces of `len` bytes.
    fn pieces(self, len: usize) -> (usize, usize) {
        let dictionary = match self {
            Codec::Lz4 => (len / 20).min(65_535),
            Codec::Deflate | Codec::ZstdDict => len / 60,
            Codec::ZstdPieces => 0,
            Codec::ZstdFrame => return (0, len),
        };
        (dictionary, (len - dictionary).div_ceil(10))
    }
}

/// The header of a `.fdt` file.
pub(crate) fn header(codec: Codec) -> Vec<u8> {
    let name = codec.name();
    let parts: [&[u8]; 5] =
        [&[0x3f, 0xd7, 0x6c, 0x17, name.len() as u8], name.as_bytes(), &[0, 0, 0, 1], &ID, &[0]];
    parts.concat()
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
    let sliced = all.len() >= 2 * chunk_size;
    let mut out = Vec::new();
    vint(first_doc, &mut out);
    vint((docs.len() as u32) << 2 | u32::from(sliced), &mut out);
    for numbers in
        [docs.iter().map(|d| d.0).collect::<Vec<_>>(), docs.iter().map(|d| d.1.len() as u32).collect()]
    {
        ints(&numbers, &mut out);
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

/// 32 bits each, which is always allowed, unless all are equal.
fn ints(numbers: &[u32], out: &mut Vec<u8>) {
    if let [one] = numbers {
        return vint(*one, out);
    }
    if numbers.iter().all(|n| *n == numbers[0]) {
        out.push(0);
        return vint(numbers[0], out);
    }
    out.push(32);
    let (groups, rest) = numbers.as_chunks::<128>();
    for group in groups {
        (0..64)
            .for_each(|i| out.extend((u64::from(group[i]) << 32 | u64::from(group[64 + i])).to_le_bytes()));
    }
    rest.iter().for_each(|n| out.extend(n.to_le_bytes()));
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
    if codec != Codec::ZstdFrame {
        vint(each as u32, out);
    }
    for start in (dictionary.end..range.end).step_by(each.max(1)) {
        add(start..range.end.min(start + each), dictionary.clone());
    }
    if codec == Codec::Lz4 {
        pieces[first..].iter().for_each(|p| vint(p.compressed.len() as u32, out));
    }
    for piece in &pieces[first..] {
        if codec != Codec::Lz4 {
            vint(piece.compressed.len() as u32, out);
        }
        out.extend(&piece.compressed);
    }
}

fn compress(codec: Codec, bytes: &[u8], dictionary: &[u8]) -> Vec<u8> {
    match codec {
        Codec::Lz4 => lz4_flex::block::compress_with_dict(bytes, dictionary),
        _ if bytes.is_empty() => Vec::new(),
        Codec::Deflate => deflate(bytes, dictionary),
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

//! Blocks that are written as Lucene writes them are read back, and nothing else is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/encode.rs"]
mod encode;

use encode::{Codec, ID, block, document, header};
use lucene::ErrorKind;
use lucene::stored_fields::{Block, BlockDecoder, DataHeader, Value};
use proptest::prelude::*;

const CHUNK: u32 = 300;

fn decoder(codec: Codec) -> BlockDecoder {
    let header = DataHeader::parse("data", &header(codec, CHUNK as usize), Some(&ID)).unwrap();
    BlockDecoder::with_chunk_size("data", &header, (codec != Codec::Lucene41First).then_some(CHUNK))
}

fn place(docs: usize, bytes: &[u8]) -> Block {
    Block { first_doc: 9, doc_count: docs as u32, offset: 1000, length: bytes.len() as u64 }
}

type Docs = Vec<Vec<(u32, Vec<u8>)>>;

/// Documents of no, one or a few fields, empty to well beyond the size at which blocks are sliced.
fn any_docs() -> impl Strategy<Value = Docs> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (any::<u8>(), 0..900usize).prop_map(|(b, n)| vec![b; n]),
        "[ab ]{0,200}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(prop::collection::vec((0..500u32, bytes), 0..4), 1..300)
}

fn any_codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(&Codec::ALL[..])
}

fn write(codec: Codec, docs: &[Vec<(u32, Vec<u8>)>]) -> Vec<u8> {
    let stored = |fields: &Vec<(u32, Vec<u8>)>| {
        document(&fields.iter().map(|(n, v)| (*n, v.as_slice())).collect::<Vec<_>>())
    };
    block(codec, 9, &docs.iter().map(stored).collect::<Vec<_>>(), CHUNK as usize).0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]
    #[test]
    fn blocks_are_read_back(first in any_docs(), second in any_docs(), codec in any_codec()) {
        let mut decoder = decoder(codec);
        for docs in [&first, &second, &first].map(|docs| &docs[..docs.len().min(codec.max_docs())]) {
            let bytes = write(codec, docs);
            let documents = decoder.decode(&place(docs.len(), &bytes), &bytes).unwrap();
            prop_assert_eq!(documents.len(), docs.len());
            for (i, expected) in docs.iter().enumerate() {
                let document = documents.get(i).unwrap();
                prop_assert_eq!(document.doc, 9 + i as u32);
                let fields: Vec<_> = document.fields().map(Result::unwrap).collect();
                let expected: Vec<_> = expected.iter().map(|(n, v)| (*n, Value::Bytes(v))).collect();
                prop_assert_eq!(fields, expected);
            }
            prop_assert!(documents.get(docs.len()).is_err());
            let numbers: Vec<_> = documents.iter().map(|document| document.doc).collect();
            prop_assert_eq!(numbers, (9..9 + docs.len() as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn documents_beyond_a_limit_are_cut_off(docs in any_docs(), codec in any_codec(), limit in 0..4000usize) {
        let docs = &docs[..docs.len().min(codec.max_docs())];
        let bytes = write(codec, docs);
        let mut decoder = decoder(codec).with_limit(limit);
        let documents = decoder.decode(&place(docs.len(), &bytes), &bytes).unwrap();
        let size: usize = documents.iter().map(|d| d.size()).chain(documents.cut_off().map(|d| d.1)).sum();
        prop_assert!(documents.size() <= limit);
        prop_assert_eq!(documents.cut_off().count() == 0, size <= limit);
        let (whole, cut) = docs.split_at(documents.len());
        prop_assert_eq!(documents.iter().count(), whole.len());
        for (document, expected) in documents.iter().zip(whole) {
            let fields: Vec<_> = document.fields().map(Result::unwrap).collect();
            prop_assert_eq!(fields, expected.iter().map(|(n, v)| (*n, Value::Bytes(v))).collect::<Vec<_>>());
        }
        prop_assert_eq!(documents.cut_off().count(), cut.len());
        for ((i, expected), (document, _)) in cut.iter().enumerate().zip(documents.cut_off()) {
            prop_assert_eq!(document.doc, 9 + (whole.len() + i) as u32);
            let fields = document.fields().map_while(Result::ok);
            prop_assert!(fields.zip(expected).all(|(found, (n, v))| found == (*n, Value::Bytes(v))));
        }
    }

    #[test]
    fn a_block_that_ends_early_is_refused(docs in any_docs(), codec in any_codec(), cut in any::<prop::sample::Index>()) {
        let docs = &docs[..docs.len().min(codec.max_docs())];
        let bytes = write(codec, docs);
        let short = &bytes[..cut.index(bytes.len())];
        prop_assume!(docs.iter().any(|d| !d.is_empty()) || short.len() < 3);
        prop_assert!(decoder(codec).decode(&place(docs.len(), short), short).is_err());
    }
}

/// A block of one document, by its parts: what the input may state, and what is answered.
#[test]
fn stated_lengths_are_not_believed() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0x07]; // the greatest positive vInt
    for (codec, parts, expected) in [
        // 9, one document of one field, which is 2 GiB long: dictionary, pieces, compressed lengths
        (
            Codec::Lz4,
            vec![&[9, 4, 1][..], &huge, &[0], &huge, &[1, 1, 0, 0]],
            "bytes compressed with LZ4, found only 1",
        ),
        (
            Codec::Lz4,
            vec![&[9, 4, 1], &huge, &huge, &[1, 3, 0, 0, 0]],
            "bytes compressed with LZ4, found only 3",
        ),
        (Codec::Lz4, vec![&[9, 4, 1], &huge, &[0, 1], &[9; 40]], "more bytes, found 0"),
        (Codec::Lz4, vec![&[9, 4, 1], &huge, &[0, 0, 0]], "a dictionary and pieces of 2147483647 bytes"),
        (Codec::Lz4, vec![&[9, 4, 1, 7, 8, 0, 0, 0]], "a dictionary and pieces of 7 bytes"),
        (
            Codec::Deflate,
            vec![&[9, 4, 1], &huge, &[0], &huge, &[0, 1, 3]],
            "bytes compressed with DEFLATE, found only 1",
        ),
        (
            Codec::Deflate,
            vec![&[9, 4, 1], &huge, &huge, &[1, 0]],
            "bytes compressed with DEFLATE, found only 0",
        ),
        (
            Codec::ZstdFrame,
            vec![&[9, 4, 1], &huge, &[9], &[0; 9]],
            "bytes compressed with Zstandard, found only 9",
        ),
        (
            Codec::ZstdFrame,
            vec![&[9, 4, 1, 5, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
            "5 bytes compressed with Zstandard, found Src size is incorrect",
        ),
        (
            Codec::ZstdDict,
            vec![&[9, 4, 1], &huge, &huge, &[1, 0]],
            "bytes compressed with Zstandard, found only 0",
        ),
        (Codec::ZstdPieces, vec![&[9, 4, 1], &huge, &[0]], "a dictionary and pieces of 2147483647 bytes"),
        (Codec::ZstdPieces, vec![&[9, 4, 1], &huge, &huge, &[0]], "Zstandard, found only 0"),
        (Codec::Lz4Stream, vec![&[9, 2, 1], &huge, &[1, 0, 0]], "bytes compressed with LZ4, found only 3"),
        (Codec::Lz4Stream, vec![&[9, 2, 1, 9, 0x10, b'a', 2, 0]], "found a match before the first byte"),
        (Codec::Lz4Stream, vec![&[9, 2, 1, 1, 0x10, b'a', 2, 0]], "expected the end, found 2 more bytes"),
        (Codec::DeflateAlone, vec![&[9, 2, 1], &huge, &[1, 3]], "with DEFLATE, found only 1 bytes"),
        // the head
        (Codec::Lz4, vec![&[8, 4, 1, 1]], "1 documents from 9 on, found 1 from 8 on"),
        (Codec::Lz4, vec![&[9, 8, 1, 1]], "1 documents from 9 on, found 2 from 9 on"),
        (Codec::Lz4, vec![&[9, 4, 1, 0]], "document 0 of 1 fields in 0 bytes"),
        (Codec::Lz4, vec![&[9, 4, 0, 1]], "document 0 of 0 fields in 1 bytes"),
        (Codec::Lz4, vec![&[9, 4, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]], "a number of at least 0, found -1"),
    ] {
        let bytes = parts.concat();
        let error = decoder(codec).decode(&place(1, &bytes), &bytes).unwrap_err();
        assert!(
            error.to_string().starts_with("data: at offset 10") && error.to_string().contains(expected),
            "{error}"
        );
    }
    let too_many = [9, 0x84, 0x20, 0, 0, 0, 0]; // 1025 empty documents
    let error = decoder(Codec::Lz4).decode(&place(1025, &too_many), &too_many).unwrap_err();
    assert!(error.message.contains("1 to 1024 documents"), "{error}");
    // The last number there is, and one more.
    let beyond = [0xff, 0xff, 0xff, 0xff, 0x0f, 8, 0, 0, 0, 0];
    let last = Block { first_doc: u32::MAX, ..place(2, &beyond) };
    let error = decoder(Codec::Lz4).decode(&last, &beyond).unwrap_err();
    assert!(error.message.contains("numbers of 32 bits, found 2 from 4294967295 on"), "{error}");
    let bytes = [9, 4, 0, 0, 0, 0];
    let empty =
        decoder(Codec::Lz4).decode(&place(1, &bytes), &bytes).unwrap().get(0).unwrap().fields().count();
    assert_eq!(empty, 0);
}

/// Where no flag says that a block is sliced, its length does, but only where the file states how long slices are.
#[test]
fn the_oldest_blocks_are_sliced_by_their_length() {
    for (codec, len) in [(Codec::Lucene41, 599), (Codec::Lucene41, 600), (Codec::Lucene41First, 5000)] {
        let docs = vec![vec![(1, vec![b'x'; len - 3])]];
        let bytes = write(codec, &docs);
        let mut decoder = decoder(codec);
        assert_eq!(decoder.decode(&place(1, &bytes), &bytes).unwrap().size(), len);
    }
}

#[test]
fn headers_of_other_formats_versions_and_segments_are_refused() {
    let good = header(Codec::Lz4, 0);
    assert_eq!(DataHeader::parse("data", &good, None).unwrap().header_len, good.len());
    let at_name = |byte: u8| [&good[..5], &[byte], &good[6..]].concat();
    let cases = [
        (at_name(b'X'), ErrorKind::UnsupportedCodec, "\"Xucene90StoredFieldsFastData\""),
        (
            [&good[..36], &[2], &good[37..]].concat(),
            ErrorKind::UnsupportedVersion,
            "version 2 of Lucene90StoredFieldsFastData is not supported; the newest supported version is 1",
        ),
        ([&good[..40], b"x", &good[41..]].concat(), ErrorKind::Corrupt, "segment id"),
        (vec![0; 128], ErrorKind::Corrupt, "header magic 0x3fd76c17, found 0x00000000"),
        (good[..50].to_vec(), ErrorKind::Truncated, "more bytes"),
    ];
    let old = header(Codec::Lucene41, 1 << 14);
    let parsed = DataHeader::parse("data", &old, Some(&ID)).unwrap();
    assert_eq!((parsed.id, parsed.header_len), (None, old.len()));
    for (bytes, kind, expected) in cases {
        let error = DataHeader::parse("data", &bytes, Some(&ID)).unwrap_err();
        assert!(error.kind == kind && error.to_string().contains(expected), "{error}");
    }
}

//! The index of blocks: what it answers, and that it is refused when it can not be that of the data.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lucene::stored_fields::{Block, BlockIndex};
use lucene::{ErrorKind, Result};

/// An index of Lucene 9 with its parts laid open, so that each can be wrong.
#[derive(Clone)]
struct Parts {
    id: [u8; 16],
    max_doc: i32,
    blocks: u8,
    docs: Vec<u8>,
    offsets: Vec<u8>,
    data_end: i64,
    index_id: [u8; 16],
    docs_start: i64,
}

const ID: [u8; 16] = [7; 16];

impl Parts {
    /// Three blocks: documents 0 to 5, 5 to 6 and 6 to 100, bytes 60 to 80, 80 to 90 and 90 to 200.
    fn good() -> Self {
        let (docs, offsets) = (vec![0, 5, 6, 100], vec![60, 80, 90, 200]);
        Self { id: ID, max_doc: 100, blocks: 3, docs, offsets, data_end: 200, index_id: ID, docs_start: 48 }
    }

    fn parse(&self, max_doc: u32, data_len: u64) -> Result<BlockIndex> {
        let index =
            file("Lucene90FieldsIndexIdx", 0, &self.index_id, &[&self.docs[..], &self.offsets].concat());
        let mut meta = vec![0x80, 0x80, 0x05]; // 80 KiB
        meta.extend(self.max_doc.to_le_bytes());
        meta.extend(10i32.to_le_bytes());
        meta.extend((self.docs.len() as i32).to_le_bytes());
        let docs_end = self.docs_start + self.docs.len() as i64;
        // A block of numbers of 8 bits around a level line.
        let line = [&[0u8; 8][..], &[0; 4], &[0; 8], &[8]].concat();
        for (at, line) in
            [(self.docs_start, &line[..]), (docs_end, &line), (docs_end + self.offsets.len() as i64, &[])]
        {
            meta.extend(at.to_le_bytes());
            meta.extend(line);
        }
        meta.extend(self.data_end.to_le_bytes());
        meta.extend([self.blocks, 0, 0]);
        let meta = file("Lucene90FieldsIndexMeta", 1, &self.id, &meta);
        BlockIndex::parse("_0.fdm", &meta, "_0.fdx", &index, max_doc, data_len)
    }
}

fn file(codec: &str, version: u8, id: &[u8; 16], body: &[u8]) -> Vec<u8> {
    let mut file =
        [&[0x3f, 0xd7, 0x6c, 0x17, codec.len() as u8], codec.as_bytes(), &[0, 0, 0, version], id, &[0]]
            .concat();
    file.extend(body);
    file.extend([0xc0, 0x28, 0x93, 0xe8, 0, 0, 0, 0, 0, 0, 0, 0]);
    let crc = crc32fast::hash(&file[..file.len() - 4]);
    file.extend(crc.to_be_bytes());
    file
}

#[test]
fn blocks_are_found_by_number_and_by_document() {
    let index = Parts::good().parse(100, 216).unwrap();
    assert_eq!(
        (index.len(), index.data_end(), index.chunk_size(), index.max_doc()),
        (3, 200, Some(80 * 1024), 100)
    );
    let blocks: Vec<_> = (0..3).map(|i| index.block(i).unwrap()).collect();
    let expected = [(0, 5, 60, 20), (5, 1, 80, 10), (6, 94, 90, 110)]
        .map(|(first_doc, doc_count, offset, length)| Block { first_doc, doc_count, offset, length });
    assert_eq!(blocks, expected);
    let of = |doc| index.block_of(doc).ok();
    assert_eq!(
        [0, 4, 5, 6, 99, 100, u32::MAX].map(of),
        [Some(0), Some(0), Some(1), Some(2), Some(2), None, None]
    );
    assert!(index.block(3).is_err() && index.block(usize::MAX).is_err());
}

#[test]
fn blocks_that_do_not_ascend_are_refused_when_met() {
    for (docs, offsets) in [
        ([0, 9, 6, 100], [60, 80, 90, 200]),
        ([0, 5, 5, 100], [60, 80, 90, 200]),
        ([0, 5, 6, 100], [60, 99, 90, 200]),
    ] {
        let parts = Parts { docs: docs.to_vec(), offsets: offsets.to_vec(), ..Parts::good() };
        let index = parts.parse(100, 216).unwrap();
        let error = index.block(1).unwrap_err();
        assert!(error.to_string().starts_with("_0.fdx: expected block 1 of 3 with ascending"), "{error}");
    }
}

#[test]
fn an_index_of_other_data_is_refused() {
    let good = Parts::good();
    let short = Parts { docs: vec![0, 5, 6], offsets: vec![60, 80, 90], ..good.clone() };
    for (parts, max_doc, data_len, expected) in [
        (good.clone(), 99, 216, "_0.fdm: at offset 52: expected the segment's 99 documents, found 100"),
        (good.clone(), 100, 217, "expected blocks that end 16 bytes before the end of 217 bytes"),
        (Parts { blocks: 4, ..good.clone() }, 100, 216, "expected 3 blocks, found 4"),
        (short, 100, 216, "expected 2 blocks, found 3"),
        (Parts { docs: vec![1, 5, 6, 100], ..good.clone() }, 100, 216, "expected documents 0 to 100"),
        (Parts { docs: vec![0, 5, 6, 99], ..good.clone() }, 100, 216, "expected documents 0 to 100"),
        (
            Parts { offsets: vec![60, 80, 90, 199], ..good.clone() },
            100,
            216,
            "expected blocks that end at 200",
        ),
        (Parts { docs_start: 44, ..good.clone() }, 100, 216, "_0.fdx: expected packed values within"),
        (Parts { docs_start: 49, ..good.clone() }, 100, 216, "_0.fdx: expected packed values within"),
        (Parts { docs_start: -1, ..good.clone() }, 100, 216, "an offset of at least 0, found -1"),
        (Parts { index_id: [8; 16], ..good }, 100, 216, "_0.fdx: at offset 0: expected segment id 0707"),
    ] {
        let error = parts.parse(max_doc, data_len).unwrap_err();
        // The length of the other file proves damage, and nothing else does.
        let kind = if data_len == 216 { ErrorKind::Corrupt } else { ErrorKind::LengthMismatch };
        assert!(error.kind == kind && error.to_string().contains(expected), "{error}");
    }
}

/// An index of one file, as Lucene had it up to 8.4: a version of packed numbers, groups, the end of the blocks.
fn old(codec: &str, version: u8, groups: &[&[u8]], end: &[u8]) -> Vec<u8> {
    let body = [&[2][..], &groups.concat(), &[0], end].concat();
    if codec.starts_with("Lucene50") {
        return file(codec, version, &ID, &body);
    }
    let mut file =
        [&[0x3f, 0xd7, 0x6c, 0x17, codec.len() as u8], codec.as_bytes(), &[0, 0, 0, version]].concat();
    file.extend(body);
    if version >= 2 {
        file.extend([0xc0, 0x28, 0x93, 0xe8, 0, 0, 0, 0, 0, 0, 0, 0]);
        let crc = crc32fast::hash(&file[..file.len() - 4]);
        file.extend(crc.to_be_bytes());
    }
    file
}

/// Blocks of documents 0 to 5, 5 to 6 and 6 to 100, bytes 60 to 80, 80 to 90 and 90 to 200, in two groups.
const GROUPS: [&[u8]; 2] = [
    // 2 blocks, of 3 documents on average: 0 + 0, 3 + 2; of 15 bytes on average: 60 + 0, 75 + 5
    &[2, 0, 3, 4, 0x04, 60, 15, 4, 0x0a],
    // 1 block
    &[1, 6, 0, 1, 0, 90, 0, 1, 0],
];

#[test]
fn indices_of_one_file_are_read() {
    for (codec, version, end, after) in [
        ("Lucene50StoredFieldsFastIndex", 0, &[0xc8, 1][..], 16..=16),
        ("Lucene50StoredFieldsHighIndex", 1, &[0xc8, 1], 18..=34),
        ("Lucene41StoredFieldsIndex", 2, &[0xc8, 1], 16..=16),
        ("Lucene41StoredFieldsIndex", 1, &[], 0..=0),
        ("Lucene41StoredFieldsIndex", 0, &[], 0..=0),
    ] {
        let parse = |data_len| {
            BlockIndex::parse_without_meta("_0.fdx", &old(codec, version, &GROUPS, end), 100, data_len)
        };
        let index = parse(200 + after.start()).unwrap();
        let blocks: Vec<_> = (0..index.len()).map(|i| index.block(i).unwrap()).collect();
        let expected = [(0, 5, 60, 20), (5, 1, 80, 10), (6, 94, 90, 110)]
            .map(|(first_doc, doc_count, offset, length)| Block { first_doc, doc_count, offset, length });
        assert_eq!((&blocks[..], index.data_end(), index.chunk_size()), (&expected[..], 200, None));
        assert_eq!(
            [0, 4, 5, 6, 99, 100].map(|doc| index.block_of(doc).ok()),
            [Some(0), Some(0), Some(1), Some(2), Some(2), None]
        );
        if !end.is_empty() {
            assert!(parse(200 + after.end()).is_ok());
            for data_len in [200, 199 + after.start(), 201 + after.end()] {
                let error = parse(data_len).unwrap_err();
                assert!(error.message.contains("before the end of"), "{error}");
            }
        }
    }
}

/// In the first version, packed numbers take whole words.
#[test]
fn the_first_packed_numbers_are_padded() {
    let group = |distances: u8| [&[2, 0, 3, 4, distances][..], &[0; 7], &[60, 15, 4, 0x0a], &[0; 7]].concat();
    let mut bytes = old("Lucene41StoredFieldsIndex", 0, &[&group(0x04)], &[]);
    bytes[5 + 25 + 4] = 0;
    let index = BlockIndex::parse_without_meta("_0.fdx", &bytes, 100, 200).unwrap();
    assert_eq!(index.block(1).unwrap(), Block { first_doc: 5, doc_count: 95, offset: 80, length: 120 });
}

#[test]
fn damaged_indices_of_one_file_are_refused() {
    let end = [0xc8, 1];
    for (groups, max_doc, expected) in [
        (&GROUPS[..], 5, "with ascending documents"),
        (&GROUPS[1..], 100, "expected documents 0 to 100"),
        (&[], 100, "expected documents 0 to 100"),
        (&[&[101, 0, 3, 4, 0x04]], 100, "at most 100 blocks, found 101"),
        (&[&[2, 0, 3, 33, 1, 2, 3, 4, 5, 6, 7, 8, 9]], 100, "distances of at most 32 bits, found 33"),
        (&[&[2, 0, 3, 4, 0, 60, 15, 65, 1, 2]], 100, "distances of at most 64 bits, found 65"),
        (&[&[100, 0, 3, 32, 1, 2, 3, 4, 5, 6, 7]], 100, "400 more bytes"),
    ] {
        let bytes = old("Lucene50StoredFieldsFastIndex", 0, groups, &end);
        let index = BlockIndex::parse_without_meta("_0.fdx", &bytes, max_doc, 216);
        let error = index.and_then(|index| (0..index.len()).try_for_each(|i| index.block(i).map(drop)));
        let error = error.unwrap_err();
        assert!(error.kind != ErrorKind::ChecksumMismatch && error.message.contains(expected), "{error}");
    }
}

//! Blocks of every format and version: one after another with the same decoder, whose documents are read to their ends.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, ID, formats, header, plain_header};
use lucene::stored_fields::{Block, BlockDecoder, DataHeader};

/// Sizes of slices, as vInts: tiny ones, and those that Lucene has.
const SLICES: &[&[u8]] = &[&[1], &[28], &[0x80, 0x80, 1], &[0x80, 0x80, 4]];

fuzz_target!(|data: &[u8]| {
    let _ = DataHeader::parse("_0.fdt", data, None);
    let mut choices = Choices(data);
    let (codec, version) = *choices.one(formats::STORED_FIELDS);
    // How much larger the documents may be than the block.
    let max_ratio = match codec {
        _ if codec.contains("Zstd") => 32 << 10,
        _ if codec.contains("High") => 1032,
        _ if codec.contains("Deflate") => 1100,
        _ => 256,
    };
    let mut bytes = match codec {
        "Lucene41StoredFieldsData" => plain_header(codec, version),
        _ => header(codec, version, ""),
    };
    // The size of slices and the version of packed numbers, where they are here; at first there was only the second.
    if (codec, version) != ("Lucene41StoredFieldsData", 0) {
        bytes.extend(*choices.one(SLICES));
    }
    bytes.push(2);
    let header = DataHeader::parse("_0.fdt", &bytes, Some(&ID)).expect("a header");
    let mut decoder = BlockDecoder::with_chunk_size("_0.fdt", &header, Some(choices.u32()));
    for last in [false, true] {
        let doc_count = u32::from(choices.byte()) + 1;
        let sliced = u32::from(choices.byte() & 1);
        let mut bytes = vec![0];
        // The token, as a vInt of two bytes.
        let token = match codec {
            "Lucene41StoredFieldsData" => doc_count,
            "Lucene50StoredFieldsFastData" | "Lucene50StoredFieldsHighData" => doc_count << 1 | sliced,
            _ => doc_count << if version == 3 { 1 } else { 2 } | sliced,
        };
        bytes.extend([token as u8 & 0x7f | 0x80, (token >> 7) as u8]);
        bytes.extend(if last { choices.0 } else { choices.part() });
        let block = Block { first_doc: 0, doc_count, offset: 77, length: bytes.len() as u64 };
        let Ok(documents) = decoder.decode(&block, &bytes) else {
            continue;
        };
        assert_eq!(documents.len() as u32, doc_count);
        let mut size = 0;
        for document in documents.iter() {
            size += document.size();
            for field in document.fields() {
                if let Ok((_, value)) = field {
                    let _ = value.as_str();
                }
            }
        }
        assert_eq!(size, documents.size());
        assert!(size <= bytes.len() * max_ratio);
    }
});

//! `.fdx`, with `.fdm` or alone, of every format: blocks that are accepted follow each other, from the first document to the last.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, file, formats, plain_file};
use lucene::stored_fields::BlockIndex;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let (name, version) = *choices.one(formats::STORED_FIELDS_INDEX);
    let (max_doc, data_len) = (choices.u32(), u64::from(choices.u32()));
    let parsed = if !name.contains("Stored") {
        let packed = choices.part();
        let meta = file(&format!("{name}Meta"), version, "", choices.0);
        let index = file(&format!("{name}Idx"), 0, "", packed);
        BlockIndex::parse("_0.fdm", &meta, "_0.fdx", &index, max_doc, data_len)
    } else {
        let index = match name {
            "Lucene41StoredFieldsIndex" => plain_file(name, version, choices.0, version >= 2),
            _ => file(name, version, "", choices.0),
        };
        BlockIndex::parse_without_meta("_0.fdx", &index, max_doc, data_len)
    };
    let Ok(index) = parsed else {
        return;
    };
    let mut before = None;
    for i in 0..index.len().min(2000) {
        let Ok(block) = index.block(i) else {
            before = None;
            continue;
        };
        assert!(
            block.offset + block.length <= index.data_end() && block.first_doc + block.doc_count <= max_doc
        );
        if let Some(before) = before {
            assert_eq!(before, (block.first_doc, block.offset));
        }
        before = Some((block.first_doc + block.doc_count, block.offset + block.length));
        let _ = index.block_of(block.first_doc);
    }
    let _ = (index.block_of(max_doc), index.block_of(max_doc / 2), index.block(index.len()));
});

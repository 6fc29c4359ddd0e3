//! `segments_N` of every version, and arbitrary bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, file, formats, plain_file};
use lucene::segments::SegmentInfos;

fuzz_target!(|data: &[u8]| {
    let _ = SegmentInfos::parse("segments_5", data);
    let mut choices = Choices(data);
    let (_, version) = *choices.one(formats::SEGMENTS);
    let mut bytes = match version {
        0..4 => plain_file("segments", version, choices.0, version >= 2),
        _ => file("segments", version, "5", choices.0),
    };
    if version < 2 {
        bytes.extend(u64::from(crc32fast::hash(&bytes)).to_be_bytes());
    }
    if let Ok(infos) = SegmentInfos::parse("segments_5", &bytes) {
        for commit in &infos.segments {
            let _ = (commit.live_docs_file(), commit.field_infos_file(), commit.live_count(9));
        }
    }
});

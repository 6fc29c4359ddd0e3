//! `segments_N` of every version, and arbitrary bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, file};
use lucene::segments::SegmentInfos;

fuzz_target!(|data: &[u8]| {
    let _ = SegmentInfos::parse("segments_5", data);
    let mut choices = Choices(data);
    let version = *choices.one(&[7, 8, 9, 10, 11]);
    if let Ok(infos) = SegmentInfos::parse("segments_5", &file("segments", version, "5", choices.0)) {
        for commit in &infos.segments {
            let _ = (commit.live_docs_file(), commit.field_infos_file(), commit.live_count(9));
        }
    }
});

//! `.si` of every format.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, commit, file};
use lucene::segment_info::SegmentInfo;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let codec = choices.one(&["Lucene90SegmentInfo", "Lucene86SegmentInfo", "Lucene70SegmentInfo"]);
    let commit = commit();
    if let Ok(info) = SegmentInfo::parse("_0.si", &file(codec, 0, "", choices.0), &commit) {
        assert!(info.files.iter().all(|f| f.starts_with("_0")));
    }
});

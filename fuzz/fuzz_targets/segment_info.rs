//! `.si` of every format.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, commit, file, formats, old_commit, plain_file};
use lucene::segment_info::SegmentInfo;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let (codec, version) = *choices.one(formats::SEGMENT_INFO);
    let (bytes, commit) = if codec < "Lucene50" {
        (plain_file(codec, version, choices.0, version > 0), old_commit())
    } else {
        (file(codec, version, "", choices.0), commit())
    };
    if let Ok(info) = SegmentInfo::parse("_0.si", &bytes, &commit) {
        assert!(info.files.iter().all(|f| f.starts_with("_0")));
    }
});

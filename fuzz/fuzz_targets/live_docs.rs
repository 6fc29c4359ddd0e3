//! `.liv` and `.del` of every format: whatever is accepted has the number of live documents that it should.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, ID, file, formats, plain_header, with_footer};
use lucene::live_docs;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let (codec, version) = *choices.one(formats::LIVE_DOCS);
    // A set is as large as the segment, so that this bounds what is allocated.
    let (max_doc, deleted) = (choices.u32() >> 8, choices.byte().into());
    let bytes = if codec == "BitVector" {
        let bits = [&[0xff, 0xff, 0xff, 0xfe][..], &plain_header(codec, version), choices.0].concat();
        if version >= 2 { with_footer(bits) } else { bits }
    } else {
        file(codec, version, "1", choices.0)
    };
    if let Ok(live) = live_docs::parse("_0_1.liv", &bytes, Some(&ID), max_doc, deleted, 1) {
        assert_eq!((live.len(), live.count()), (max_doc, max_doc - deleted));
        assert_eq!(live.iter().count() as u32, live.count());
    }
});

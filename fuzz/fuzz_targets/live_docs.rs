//! `.liv` of both formats: whatever is accepted has the number of live documents that it should.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, ID, file};
use lucene::live_docs;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let codec = choices.one(&["Lucene90LiveDocs", "Lucene50LiveDocs"]);
    let (max_doc, deleted) = (choices.u32(), choices.byte().into());
    if let Ok(live) =
        live_docs::parse("_0_1.liv", &file(codec, 0, "1", choices.0), Some(&ID), max_doc, deleted, 1)
    {
        assert_eq!((live.len(), live.count()), (max_doc, max_doc - deleted));
        assert_eq!(live.iter().count() as u32, live.count());
    }
});

//! `.cfe` of every format: whatever is accepted lies within the `.cfs` file.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, ID, file, formats, plain_file};
use lucene::compound::CompoundEntries;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let (codec, version) = *choices.one(formats::COMPOUND);
    let cfs_len = choices.u32().into();
    let bytes = match codec {
        "CompoundFileWriterEntries" => plain_file(codec, version, choices.0, version > 0),
        _ => file(codec, version, "", choices.0),
    };
    if let Ok(entries) = CompoundEntries::parse("_0.cfe", &bytes, Some(&ID), cfs_len) {
        for (name, (offset, length)) in entries.iter() {
            assert!(offset + length <= cfs_len);
            assert_eq!(entries.get(name), Some((offset, length)));
        }
    }
});

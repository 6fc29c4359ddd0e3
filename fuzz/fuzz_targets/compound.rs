//! `.cfe` of both formats: whatever is accepted lies within the `.cfs` file.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::{Choices, ID, file};
use lucene::compound::CompoundEntries;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let codec = choices.one(&["Lucene90CompoundEntries", "Lucene50CompoundEntries"]);
    let cfs_len = choices.u32().into();
    if let Ok(entries) = CompoundEntries::parse("_0.cfe", &file(codec, 0, "", choices.0), Some(&ID), cfs_len)
    {
        for (name, (offset, length)) in entries.iter() {
            assert!(offset + length <= cfs_len);
            assert_eq!(entries.get(name), Some((offset, length)));
        }
    }
});

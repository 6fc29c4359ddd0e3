//! A shard's files: whatever range is asked for, the pieces of blobs adjoin and add up to it.
#![no_main]

use fuzz::{Choices, container};
use libfuzzer_sys::fuzz_target;
use snapshot::files::ShardFiles;
use snapshot::shard_manifest::ShardManifest;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let (start, length) = (u64::from(choices.u32()), u64::from(choices.u32()));
    let Ok(manifest) = ShardManifest::parse("snap.dat", &container("snapshot", choices.0)) else { return };
    let files = ShardFiles::new("indices/x/0", manifest);
    let _ = files.segments_file();
    let names: Vec<String> = files.names().map(str::to_owned).collect();
    for name in &names {
        let _ = files.inline(name);
        if let Ok(parts) = files.ranges(name, start..start + length) {
            assert_eq!(parts.iter().map(|part| part.len()).sum::<u64>(), length);
        }
    }
});

//! The root of a repository, and which snapshot and indices it gives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapshot::repository::{RepositoryData, parse_latest};

fuzz_target!(|data: &[u8]| {
    let _ = parse_latest("index.latest", data);
    let root = RepositoryData::parse("index-0", data).or_else(|_| RepositoryData::parse("index", data));
    let Ok(root) = root else { return };
    let _ = root.undated();
    if let Ok(entry) = root.snapshot("latest") {
        for index in root.indices_of(entry) {
            let _ = (index.ensure_fixed_paths(), root.index_metadata_blob(entry, index));
        }
    }
});

//! The root of a repository, and which snapshot and indices it gives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapshot::repository::{
    Contents, ContentsReader, DEFAULT_LIMIT, RepositoryData, RootReader, parse_latest,
};
use snapshot::snapshot_info::SnapshotInfo;

fuzz_target!(|data: &[u8]| {
    let _ = parse_latest("index.latest", data);
    let root = RepositoryData::parse("index-0", data).or_else(|_| RepositoryData::parse("index", data));
    assert_eq!(RepositoryData::parse("index-0", data).ok(), in_pieces(data));
    let Ok(root) = root else { return };
    let _ = root.undated();
    let Ok(entry) = root.snapshot("latest") else { return };
    let info = br#"{"snapshot":{"name":"a","state":"SUCCESS","indices":["i"]}}"#;
    let Ok(info) = SnapshotInfo::parse("snapshot-a", info) else { return };
    let Ok(contents) = Contents::parse(&root, entry, data, &info) else { return };
    for index in &contents.indices {
        let _ = (index.ensure_fixed_paths(), contents.metadata_blob(index));
    }
    let Some(rest) = root.rest else { return };
    let own = &data[entry.place.start as usize..entry.place.end as usize];
    let mut reader = ContentsReader::new(&root, entry, own, DEFAULT_LIMIT).unwrap();
    data[rest as usize..].chunks(7).for_each(|piece| reader.feed(piece).unwrap());
    assert_eq!(reader.finish().unwrap(), contents);
});

/// The list of snapshots, read in small pieces.
fn in_pieces(data: &[u8]) -> Option<RepositoryData> {
    let mut reader = RootReader::new("index-0", DEFAULT_LIMIT);
    for piece in data.chunks(7) {
        if reader.feed(piece).ok()? {
            break;
        }
    }
    reader.finish().ok()
}

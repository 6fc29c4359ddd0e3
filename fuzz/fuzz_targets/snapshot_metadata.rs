//! Metadata blobs: the container in each form, and everything that is read from it.
#![no_main]

use fuzz::{Choices, container, formats};
use libfuzzer_sys::fuzz_target;
use snapshot::global_metadata::GlobalMetadata;
use snapshot::index_metadata::IndexMetadata;
use snapshot::shard_manifest::ShardManifest;
use snapshot::snapshot_info::SnapshotInfo;

fuzz_target!(|data: &[u8]| {
    let _ = SnapshotInfo::parse("snap.dat", data);
    let mut choices = Choices(data);
    let kind = usize::from(choices.byte()) % formats::METADATA.len();
    let blob = container(formats::METADATA[kind].0, choices.0);
    // Before there were containers, there was only what they hold.
    let _ = SnapshotInfo::parse("snapshot-x", choices.0);
    let _ = ShardManifest::parse("snapshot-x", choices.0);
    let _ = IndexMetadata::parse("snapshot-x", choices.0);
    match kind {
        0 => drop(SnapshotInfo::parse("snap.dat", &blob)),
        1 => drop(GlobalMetadata::parse("meta.dat", &blob)),
        2 => drop(IndexMetadata::parse("meta.dat", &blob)),
        _ => drop(ShardManifest::parse("snap.dat", &blob)),
    }
});

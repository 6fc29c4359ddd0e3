//! What a worker function needs of its memory.

use super::cloud::Cloud;
use crate::memory::snapshot_of_a_bomb;
use crate::support::{Documents, empty_target, peak_of};
use serde_json::json;
use std::time::{Duration, Instant};

/// The memory of the function, in MB. The emulator limits nothing, so the test watches the process.
const MEMORY: u64 = 512;

#[test]
#[ignore = "needs a real OpenSearch and an emulator of AWS: cargo xtask test"]
fn a_document_that_would_become_gigabytes_leaves_its_worker_alive() {
    let (name, cloud) = ("bomb", Cloud::shared());
    let repo = tempfile::tempdir().unwrap();
    snapshot_of_a_bomb(&repo.path().join("repo"));
    cloud.upload_dir(name, &repo.path().join("repo"));
    let (_alone, url) = empty_target();
    let memory = MEMORY.to_string();
    let parameters = [("SnapshotPrefix", name), ("TargetEndpoint", url.as_str()), ("WorkerMemory", &memory)];
    let deployed = cloud.deploy("bomb", &parameters);
    servers::Http::new(&url).put("/bombs", &json!({"mappings": {"enabled": false}})).unwrap().ok().unwrap();
    deployed.start(&json!({"workers": 1}));
    let (begun, mut peak) = (Instant::now(), 0);
    let report = loop {
        peak = deployed.worker_processes().into_iter().map(peak_of).max().unwrap_or(0).max(peak);
        let report = deployed.status();
        if !report["finished"].is_null() {
            break report;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{report:#}\n{}", deployed.logs());
        std::thread::sleep(Duration::from_millis(20));
    };
    println!("peak resident set of a worker function: {peak} MiB");
    assert_eq!(report["outcome"], "complete_with_failed_documents", "{report:#}");
    let failed: Vec<_> = deployed.failed_documents().into_iter().map(|f| (f.id, f.error_type)).collect();
    assert_eq!(failed, [(Some("bomb".to_owned()), "unreadable_source".to_owned())]);
    let ids: Vec<_> = Documents::in_cluster(&url).0.into_keys().map(|key| key.id).collect();
    assert_eq!(ids, ["after", "before"]);
    assert!(peak > 0 && peak < MEMORY, "{peak} MiB");
    let claims = deployed.chunks().iter().map(|chunk| chunk.epoch).max();
    assert_eq!(claims, Some(1), "a worker died of it");
}

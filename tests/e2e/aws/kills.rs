//! Workers are killed while they work.

use super::cloud::{Cloud, worker_of};
use crate::simulator::kill;
use crate::simulator::proxy::Proxy;
use crate::support::{Documents, empty_target};
use backfill::model::ChunkState;
use backfill::ports::{Clock, SystemClock};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

const SELECTION: &str = "basic,nested,updates,compressed,verbatim";
/// A lease lasts a minute from its last heart-beat: so much later its chunk must be back at work.
const OVERDUE_MS: u64 = 30_000;

/// How many workers are killed, and how long.
const KILLS: u32 = 6;
const KILLING: Duration = Duration::from_secs(45);

#[test]
#[ignore = "needs a real OpenSearch and an emulator of AWS: cargo xtask test"]
fn killed_workers_are_replaced_within_90_seconds_and_nothing_is_lost() {
    let (name, cloud) = ("es-7.10.2", Cloud::shared());
    let (_alone, url) = empty_target();
    let expected = cloud.prepare(name, &url, Some(SELECTION));
    let proxy = Proxy::slow(&url);
    let slow = proxy.url();
    let deployed = cloud.deploy(
        "kills",
        &[
            ("SnapshotPrefix", name),
            ("TargetEndpoint", &slow),
            ("ChunkBytes", "100000"),
            ("BulkBytes", "2000"),
            ("MaxInFlight", "1"),
        ],
    );
    deployed.start(&json!({"index": SELECTION, "workers": 5}));
    let mut random = fastrand::Rng::with_seed(5);
    let (begun, mut kills, mut longest) = (Instant::now(), 0, 0);
    let report = loop {
        let now = SystemClock.now();
        let chunks = deployed.chunks();
        for chunk in &chunks {
            if let ChunkState::Leased(lease) = &chunk.state {
                let overdue = now.saturating_sub(lease.until);
                longest = overdue.max(longest);
                assert!(overdue <= OVERDUE_MS, "{} has waited {overdue} ms for a worker", chunk.id);
            }
        }
        let alive = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        let held: Vec<u32> = chunks.iter().filter_map(worker_of).filter(alive).collect();
        if kills < KILLS
            && begun.elapsed() < KILLING
            && !held.is_empty()
            && kill(held[random.usize(..held.len())])
        {
            kills += 1;
            std::thread::sleep(Duration::from_millis(random.u64(0..600)));
        }
        let report = deployed.status();
        if !report["finished"].is_null() {
            break report;
        }
        assert!(begun.elapsed() < Duration::from_secs(420), "{report:#}\n{}", deployed.logs());
        std::thread::sleep(Duration::from_millis(300));
    };
    assert!(kills >= KILLS / 2, "only {kills} workers were killed");
    assert_eq!(
        (&report["outcome"], &report["documents_done"]),
        (&json!("complete"), &json!(expected.0.len()))
    );
    Documents::in_cluster(&url).assert_same(&expected);
    assert_eq!(deployed.dead_letters(), 0);
    eprintln!("{kills} kills in {:?}; a chunk waited at most {longest} ms beyond its lease", begun.elapsed());
}

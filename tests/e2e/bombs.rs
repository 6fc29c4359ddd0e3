//! Repositories that are large or hostile, read in little memory.

use crate::support::{Desk, fixture};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Child;

/// Memory that a process may take to read metadata, in MiB.
const ENOUGH: u64 = 128;

/// A copy of a fixture's repository.
fn copy_of(name: &str, desk: &Desk) -> PathBuf {
    let (from, to) = (fixture(name).repo, desk.path("repo"));
    for file in crate::support::files_below(&from) {
        let copy = to.join(file.strip_prefix(&from).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(file, copy).unwrap();
    }
    to
}

/// The largest amount of memory that a process took until it ended, in MiB, and its exit code.
fn peak(mut child: Child) -> (u64, Option<i32>, String) {
    let status = format!("/proc/{}/status", child.id());
    let output = child.stdout.take().unwrap();
    let output = std::thread::spawn(move || std::io::read_to_string(output).unwrap());
    let mut peak = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        peak = kib.unwrap_or(0).max(peak);
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    (peak / 1024, ended.code(), output.join().unwrap())
}

/// Makes the root list so many more snapshots, each of so many more indices of five shards: copies of an entry of its
/// own, as each snapshot of a schedule is of the one before.
fn enlarge(repo: &Path, snapshots: usize, indices: usize) -> u64 {
    let root = repo.join("index-1");
    let mut data: Value = serde_json::from_slice(&std::fs::read(&root).unwrap()).unwrap();
    let uuid = |kind: &str, n: usize| format!("{kind}{n:020}");
    let uuids: Vec<String> = (0..snapshots).map(|n| uuid("S", n)).collect();
    let own = data["snapshots"][0].clone();
    let identifier = |n: usize| format!("{}-{}-1-1-1", uuid("H", n), uuid("U", n));
    let lookup: Value = (0..indices).map(|n| (uuid("I", n), json!(identifier(n)))).collect();
    let more: Vec<Value> = uuids
        .iter()
        .enumerate()
        .map(|(n, id)| {
            let mut entry = own.clone();
            entry["name"] = format!("daily-{n}").into();
            entry["uuid"] = id.as_str().into();
            entry["start_time_millis"] = json!(1_000_000_000_000_u64 + n as u64);
            entry["end_time_millis"] = json!(1_000_000_000_001_u64 + n as u64);
            entry["index_metadata_lookup"] = lookup.clone();
            let own_info = repo.join(format!("snap-{}.dat", own["uuid"].as_str().unwrap()));
            std::fs::hard_link(own_info, repo.join(format!("snap-{id}.dat"))).unwrap();
            entry
        })
        .collect();
    data["snapshots"].as_array_mut().unwrap().splice(0..0, more);
    for n in 0..indices {
        let shards: Vec<String> = (0..5).map(|shard| uuid("G", n * 5 + shard)).collect();
        data["indices"][format!("logs-{n}")] =
            json!({"id": uuid("I", n), "snapshots": uuids, "shard_generations": shards});
        data["index_metadata_identifiers"][identifier(n)] = uuid("M", n).into();
    }
    std::fs::write(&root, data.to_string()).unwrap();
    std::fs::metadata(root).unwrap().len()
}

#[test]
fn a_repository_of_many_snapshots_takes_little_memory() {
    let desk = Desk::new();
    let repo = copy_of("es-8.19.9", &desk);
    let length = enlarge(&repo, 400, 2000);
    assert!(length > 60 << 20, "{length}");
    let repo = repo.to_str().unwrap();
    let (memory, code, text) = peak(desk.spawn(&["--json", "plan", "--repo", repo, "--index", "basic"]));
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &plan["indices"][0]["index"]), (Some(0), &json!("basic")), "{text}");
    assert!(memory < ENOUGH, "plan took {memory} MiB");
    let listing = ["--json", "snapshot", "list", "--repo", repo];
    let (memory, code, text) = peak(desk.spawn_console(&listing));
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, listed.as_array().map(Vec::len)), (Some(0), Some(402)));
    assert!(memory < ENOUGH, "snapshot list took {memory} MiB");
}

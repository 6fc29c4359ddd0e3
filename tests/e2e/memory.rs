//! Memory is bounded, and flat whatever a shard's size.

use crate::support::{Desk, peak_of};
use serde_json::json;
use servers::{Server, ServerSpec};
use std::fmt::Write;
use std::path::Path;

/// Documents of about 1 KB.
const SMALL: usize = 40_000;
const LARGE: usize = 4 * SMALL;

const WORDS: [&str; 8] = [
    "connection refused by upstream host ",
    "GET /index.html HTTP/1.1 200 ",
    "user logged in from another place ",
    "retrying after a short while ",
    "disk is nearly full on node ",
    "garbage collection took longer than wanted ",
    "request was served from the cache ",
    "certificate will expire before long ",
];

#[test]
#[ignore = "starts a real OpenSearch: cargo xtask test"]
fn memory_stays_flat_whatever_the_size() {
    let desk = Desk::new();
    let repo = desk.path("repo");
    let spec = "opensearch:2.19.5".parse::<ServerSpec>().unwrap().repo_dir(&repo);
    let server = Server::start(&spec).unwrap();
    let http = server.http();
    for (index, documents) in [("small", SMALL), ("large", LARGE)] {
        let body = json!({"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": {"enabled": false}});
        http.put(&format!("/{index}"), &body).unwrap().ok().unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        for batch in 0..documents / 4000 {
            let mut lines = String::new();
            for n in 0..4000 {
                writeln!(lines, "{{\"index\":{{\"_id\":\"{}\"}}}}", batch * 4000 + n).unwrap();
                let words: String = (0..30).map(|_| WORDS[random.usize(..8)]).collect();
                let unique = random.u64(..);
                writeln!(lines, "{{\"n\":{n},\"unique\":{unique},\"message\":\"{words}\"}}").unwrap();
            }
            http.bulk(&format!("/{index}/_bulk"), &lines).unwrap();
        }
        http.post(&format!("/{index}/_flush"), &json!(null)).unwrap().ok().unwrap();
    }
    http.put("/_snapshot/r", &json!({"type": "fs", "settings": {"location": repo}})).unwrap().ok().unwrap();
    http.put("/_snapshot/r/s?wait_for_completion=true", &json!({})).unwrap().ok().unwrap();

    let peak = |index: &str| export(&desk, &repo, index, 0);
    let (small, large) = (peak("small"), peak("large"));
    println!("peak resident set of a worker: {small} MiB for {SMALL} documents, {large} MiB for {LARGE}");
    assert!(large < 160, "{large} MiB");
    assert!(large < small + 24, "{large} MiB for {LARGE} documents, {small} MiB for {SMALL}");
}

/// Exports an index, and returns the largest resident set of the process in MiB.
fn export(desk: &Desk, repo: &Path, index: &str, code: i32) -> u64 {
    let state = format!("{index}.sqlite");
    let args = [
        "start",
        "--local",
        "--repo",
        repo.to_str().unwrap(),
        "--index",
        index,
        "--target",
        "ndjson:out",
        "--state",
        &state,
        // Little of what varies, so that what grows would show.
        "--workers",
        "1",
        "--max-in-flight",
        "1",
        "--bulk-size",
        "1mb",
    ];
    let mut child = desk.spawn(&args);
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak_of(child.id()).max(peak);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(child.wait().unwrap().code(), Some(code));
    peak
}

/// Makes a repository with an index of three documents, of which the second is 1.5 MB of SMILE that would become
/// gigabytes of JSON.
pub(crate) fn snapshot_of_a_bomb(repo: &Path) {
    let spec = "opensearch:2.19.5".parse::<ServerSpec>().unwrap().repo_dir(repo);
    let server = Server::start(&spec).unwrap();
    let http = server.http();
    let body =
        json!({"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": {"enabled": false}});
    http.put("/bombs", &body).unwrap().ok().unwrap();
    // An array of objects with one name of 30 kB, to which SMILE refers back in two bytes: 11 GB of JSON.
    let mut smile = b":)\n\x01\xfa\x80a\xf8\xfa\x34".to_vec();
    smile.extend([b'n'; 30_000]);
    smile.extend(b"\xfc\xc2\xfb");
    smile.extend(b"\xfa\x41\xc2\xfb".repeat(375_000));
    smile.extend(b"\xf9\xfb");
    let documents =
        [("before", "json", &b"{\"n\":1}"[..]), ("bomb", "smile", &smile), ("after", "json", b"{\"n\":2}")];
    for (id, kind, source) in documents {
        let (path, kind) = (format!("/bombs/_doc/{id}"), format!("application/{kind}"));
        http.send("PUT", &path, &kind, source).unwrap().ok().unwrap();
    }
    http.put("/_snapshot/r", &json!({"type": "fs", "settings": {"location": repo}})).unwrap().ok().unwrap();
    http.put("/_snapshot/r/s?wait_for_completion=true", &json!({})).unwrap().ok().unwrap();
}

#[test]
#[ignore = "starts a real OpenSearch: cargo xtask test"]
fn a_document_that_would_become_gigabytes_fails_alone() {
    let desk = Desk::new();
    let repo = desk.path("repo");
    snapshot_of_a_bomb(&repo);
    let peak = export(&desk, &repo, "bombs", 3);
    println!("peak resident set of a worker: {peak} MiB");
    assert!(peak < 400, "{peak} MiB");
    let exported: Vec<_> = desk.exported("out").0.into_keys().map(|key| key.id).collect();
    assert_eq!(exported, ["after", "before"]);
    let listed = desk.backfill(&["failed-documents", "list", "--json", "--state", "bombs.sqlite"]).expect(0);
    let record: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!((&record["id"], &record["error_type"]), (&json!("bomb"), &json!("unreadable_source")));
    assert!(record["reason"].as_str().unwrap().contains("too much memory"), "{}", record["reason"]);
}

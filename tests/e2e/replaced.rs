//! Target indices that are deleted, replaced or rolled over while a run writes to them.

use crate::simulator::proxy::{Fate, Head, Proxy};
use crate::support::{Desk, Documents, create_indices, empty_target, fixture, repo};
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};

/// A proxy before the target that does something there just before this bulk request, counted from 1.
fn before_bulk(url: &str, number: u32, act: impl Fn(&servers::Http) + Send + Sync + 'static) -> Proxy {
    let (seen, http) = (AtomicU32::new(0), servers::Http::new(url));
    Proxy::start(url, move |head: &Head| {
        if head.path.contains("/_bulk") && seen.fetch_add(1, Ordering::Relaxed) + 1 == number {
            act(&http);
        }
        Fate::Pass
    })
}

fn count(url: &str, index: &str) -> u64 {
    let http = servers::Http::new(url);
    http.post(&format!("/{index}/_refresh"), &json!({})).unwrap().ok().unwrap();
    http.get(&format!("/{index}/_count")).unwrap().json().unwrap()["count"].as_u64().unwrap()
}

/// The options with which an index of 307 documents takes many requests and several chunks.
const SMALL: [&str; 6] = ["--max-in-flight", "1", "--bulk-size", "4KiB", "--chunk-size", "8KiB"];

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn an_index_that_is_replaced_while_it_is_filled_is_noticed_and_can_be_migrated_again() {
    let (_alone, url) = empty_target();
    let (desk, fixture) = (Desk::new(), fixture("os-2.19.5"));
    create_indices(&url, &Documents::default(), &["basic", "updates"]);
    let proxy = before_bulk(&url, 6, |http| drop(http.delete("/basic").unwrap()));
    let (repo, target) = (repo(&fixture), proxy.url());
    let start =
        [&["start", "--local", "--repo", &repo, "--index", "basic,updates", "--target", &target][..], &SMALL]
            .concat();
    let ended = desk.backfill(&start).expect(6);
    let reason = "the target index basic was deleted and created again";
    assert!(ended.stderr.contains(reason) && ended.stderr.contains("backfill redo"), "{}", ended.stderr);
    let status = desk.backfill(&["status", "--json"]).expect(0).json();
    assert_eq!(status["outcome"], "target_replaced", "{status}");
    // Other indices are not held up, and what is lost stays lost until somebody says otherwise.
    assert_eq!(count(&url, "updates"), 95);
    let again = desk.backfill(&start).expect(6);
    assert!(again.stderr.contains(reason), "{}", again.stderr);
    let redone = desk.backfill(&["redo", "basic", "--json"]).expect(0).json();
    assert_eq!((&redone["indices"], redone["documents"].as_u64() > Some(0)), (&json!(["basic"]), true));
    // The index that the target made has one shard, and no place for two documents of the same id.
    servers::Http::new(&url).delete("/basic").unwrap().ok().unwrap();
    create_indices(&url, &Documents::default(), &["basic"]);
    desk.backfill(&["start", "--local"]).expect(0);
    assert_eq!(count(&url, "basic"), 307);
    // Once more, after the run has ended.
    desk.backfill(&["redo", "basic"]).expect(0);
    assert_eq!(desk.backfill(&["status", "--json"]).expect(0).json()["outcome"], "failed");
    desk.backfill(&["start", "--local"]).expect(0);
    desk.backfill(&["redo", "nothing"]).expect(2);
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn an_index_that_is_replaced_after_its_last_chunk_is_noticed_at_the_end() {
    let (_alone, url) = empty_target();
    let (desk, fixture) = (Desk::new(), fixture("os-2.19.5"));
    create_indices(&url, &Documents::default(), &["empty", "basic"]);
    // The empty index has no chunk at all.
    let proxy = before_bulk(&url, 1, |http| {
        http.delete("/empty").unwrap().ok().unwrap();
    });
    let repo = repo(&fixture);
    let args =
        ["start", "--local", "--repo", &repo, "--index", "basic,empty", "--target", &proxy.url(), "--json"];
    let report = desk.backfill(&args).expect(6).json();
    let summary = &report["summary"];
    assert_eq!((&summary["documents_done"], &summary["outcome"]), (&json!(307), &json!("target_replaced")));
    assert!(summary["replaced"][0].as_str().unwrap().contains("index empty was deleted (UUID"), "{summary}");
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn a_data_stream_that_rolls_over_is_still_the_same() {
    let (_alone, url) = empty_target();
    let (desk, fixture) = (Desk::new(), fixture("os-2.19.5"));
    create_indices(&url, &Documents::expected(&fixture), &[]);
    let proxy = before_bulk(&url, 3, |http| {
        http.post("/logs-app-x/_rollover", &json!({})).unwrap().ok().unwrap();
    });
    let (repo, target) = (repo(&fixture), proxy.url());
    let start =
        [&["start", "--local", "--repo", &repo, "--index", "logs-app-x", "--target", &target][..], &SMALL]
            .concat();
    desk.backfill(&start).expect(0);
}

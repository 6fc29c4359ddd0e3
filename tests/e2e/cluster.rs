//! Into a real OpenSearch.

use crate::support::{Desk, Documents, create_indices, empty_target, fixture, repo};
use serde_json::json;

/// Indices of the fixtures that hold no document.
const EMPTY: [&str; 2] = ["empty", "all_deleted"];
/// Indices of the fixtures that store whole sources.
const WHOLE: &str = "*,-no_source,-filtered";

fn every_document_arrives(name: &str) {
    let (_alone, url) = empty_target();
    let (desk, fixture) = (Desk::new(), fixture(name));
    let expected = Documents::expected(&fixture);
    create_indices(&url, &expected, &EMPTY);
    let repo = repo(&fixture);
    let args = [
        "start",
        "--local",
        "--repo",
        &repo,
        "--snapshot",
        "snap-2",
        "--index",
        WHOLE,
        "--target",
        &url,
        "--chunk-size",
        "100kb",
    ];
    desk.backfill(&args).expect(0);
    Documents::in_cluster(&url).assert_same(&expected);
    let verify = ["verify", "--repo", &repo, "--target", &url, "--index", WHOLE, "--full"];
    let verified = desk.backfill(&verify).expect(0);
    assert!(verified.stdout.contains("holds what the snapshot holds"), "{}", verified.stdout);
    // A second run finds the data stream's documents there already, and changes nothing.
    let again: Vec<&str> =
        args.iter().copied().chain(["--new", "--workers", "2", "--compress-requests", "on"]).collect();
    let report = desk.backfill(&[&again[..], &["--json"]].concat()).expect(0).json();
    let streamed = expected.0.keys().filter(|key| key.index.starts_with("logs-")).count();
    assert_eq!(report["summary"]["documents_already_there"], streamed);
    Documents::in_cluster(&url).assert_same(&expected);
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn every_document_of_elasticsearch_7_10_arrives() {
    every_document_arrives("es-7.10.2");
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn every_document_of_opensearch_2_19_arrives() {
    every_document_arrives("os-2.19.5");
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn documents_that_the_target_refuses_are_kept_and_the_others_arrive() {
    let (_alone, url) = empty_target();
    let (desk, fixture) = (Desk::new(), fixture("tiny"));
    let http = servers::Http::new(&url);
    let index = fixture.expected[0].index.clone();
    let strict = json!({"settings": {"number_of_replicas": 0}, "mappings": {"dynamic": "strict"}});
    http.put(&format!("/{index}"), &strict).unwrap().ok().unwrap();
    let args = ["start", "--local", "--repo", &repo(&fixture), "--target", &url, "--json"];
    let report = desk.backfill(&args).expect(3).json();
    assert_eq!(report["summary"]["documents_failed"], fixture.expected.len());
    let listed = desk.backfill(&["failed-documents", "list", "--json"]).expect(0).stdout;
    let record: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!(record["error_type"], "strict_dynamic_mapping_exception");
    assert!(record["source"].is_object() && record["reason"].is_string());
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn documents_of_one_id_that_meet_in_one_shard_are_told_by_every_run() {
    let (_alone, url) = empty_target();
    let (desk, fixture) = (Desk::new(), fixture("os-2.19.5"));
    let http = servers::Http::new(&url);
    // In the snapshot the routings `a` and `b` of the id `same` lead to different shards.
    let one =
        json!({"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": {"dynamic": false}});
    http.put("/basic", &one).unwrap().ok().unwrap();
    // Documents that were there before are replaced, whatever they are.
    let path =
        fixture.expected.iter().find(|d| d.index == "basic" && d.id.bytes().all(|b| b.is_ascii_digit())).map(
            |d| {
                let routing = d.routing.as_ref().map_or_else(String::new, |r| format!("?routing={r}"));
                format!("/basic/_doc/{}{routing}", d.id)
            },
        );
    http.put(&path.unwrap(), &json!({"stale": true})).unwrap().ok().unwrap();
    let repo = repo(&fixture);
    for _ in 0..2 {
        let args =
            ["start", "--local", "--repo", &repo, "--target", &url, "--index", "basic", "--json", "--new"];
        let report = desk.backfill(&args).expect(3).json();
        let summary = &report["summary"];
        assert_eq!((&summary["documents_done"], &summary["documents_failed"]), (&json!(307), &json!(1)));
        let listed = desk.backfill(&["failed-documents", "list", "--json"]).expect(0).json();
        assert_eq!((&listed["id"], &listed["error_type"]), (&json!("same"), &json!("id_collision")));
        let found = Documents::in_cluster(&url);
        assert_eq!(found.0.len(), 306);
        assert!(!found.0.values().any(|source| source.contains("stale")));
    }
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn missing_indices_and_blocks_are_told_and_nothing_is_lost() {
    let (_alone, url) = empty_target();
    let (desk, fixture) = (Desk::new(), fixture("tiny"));
    let repo = repo(&fixture);
    let args = ["start", "--local", "--repo", &repo, "--target", &url, "--target-wait", "2s"];
    let refused = desk.backfill(&args).expect(6);
    assert!(refused.stderr.contains("--create-missing-indices"), "{}", refused.stderr);
    let expected = Documents::expected(&fixture);
    create_indices(&url, &expected, &[]);
    let index = &fixture.expected[0].index;
    let http = servers::Http::new(&url);
    let block = |on: bool| {
        http.put(&format!("/{index}/_settings"), &json!({"index.blocks.write": on})).unwrap().ok().unwrap();
    };
    block(true);
    let blocked = desk.backfill(&args).expect(6);
    assert!(blocked.stderr.contains("blocked"), "{}", blocked.stderr);
    block(false);
    desk.backfill(&args).expect(0);
    Documents::in_cluster(&url).assert_same(&expected);
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn verify_finds_what_differs() {
    let (_alone, url) = empty_target();
    let (desk, fixture) = (Desk::new(), fixture("tiny"));
    let repo = repo(&fixture);
    let verify = ["verify", "--repo", &repo, "--target", &url, "--full", "--json"];
    let report = desk.backfill(&verify).expect(3).json();
    assert_eq!(report["indices"][0]["target_count"], serde_json::Value::Null);
    // Nothing holds nothing, but that is not what was meant.
    desk.backfill(&["verify", "--repo", &repo, "--target", &url, "--index", "lgos-*"]).expect(2);
    create_indices(&url, &Documents::expected(&fixture), &[]);
    desk.backfill(&["start", "--local", "--repo", &repo, "--target", &url]).expect(0);
    let (first, second) = (&fixture.expected[0], &fixture.expected[1]);
    let http = servers::Http::new(&url);
    let path = |d: &servers::ExpectedDoc| {
        let routing = d.routing.as_ref().map_or_else(String::new, |r| format!("?routing={r}"));
        format!("/{}/_doc/{}{routing}", d.index, d.id)
    };
    http.put(&path(first), &json!({"changed": true})).unwrap().ok().unwrap();
    http.delete(&path(second)).unwrap().ok().unwrap();
    let report = desk.backfill(&verify).expect(3).json();
    assert_eq!(
        (&report["indices"][0]["different"], &report["indices"][0]["missing"]),
        (&json!(1), &json!(1))
    );
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn cat_indices_shows_the_snapshot_and_the_target() {
    let (_alone, url) = empty_target();
    let (desk, fixture) = (Desk::new(), fixture("os-2.19.5"));
    create_indices(&url, &Documents::default(), &["there"]);
    std::fs::write(
        desk.path("services.yaml"),
        format!(
            "target_cluster: {{endpoint: '{url}', no_auth: }}\nsnapshot: {{fs: {{repo_path: '{}'}}, snapshot_name: snap-2}}\n",
            fixture.repo.display()
        ),
    )
    .unwrap();
    let text = desk.console(&["clusters", "cat-indices"]).expect(0).stdout;
    let header = "health status index";
    assert!(text.starts_with("SOURCE CLUSTER (from snapshot snap-2"), "{text}");
    assert!(text.contains("\nTARGET CLUSTER\n") && text.matches(header).count() == 2, "{text}");
    let json = desk.console(&["--json", "clusters", "cat-indices"]).expect(0).json();
    for (index, live) in fixture.about.live.iter().filter(|(index, _)| *index != "nested") {
        let rows = json["source_cluster"].as_array().unwrap();
        if let Some(row) = rows.iter().find(|r| r["index"] == **index) {
            assert_eq!(row["docs.count"], live.to_string(), "{index}");
        }
    }
    assert_eq!(json["target_cluster"][0]["index"], "there");
    let check = desk.console(&["clusters", "connection-check"]).expect(0).stdout;
    assert_eq!(check, "SOURCE CLUSTER\nSuccessfully connected!\nTARGET CLUSTER\nSuccessfully connected!\n");
}

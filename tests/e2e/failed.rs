//! Failed documents tried again, and runs described and forgotten.

use crate::support::{
    Desk, Documents, Moments, create_strict, empty_target, fixture, mend, repo, wait_until,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

fn status(desk: &Desk) -> (u64, u64) {
    let report = desk.backfill(&["status", "--json"]).expect(0).json();
    (report["documents_done"].as_u64().unwrap(), report["documents_failed"].as_u64().unwrap())
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn what_a_mapping_refused_arrives_when_it_is_mended() {
    let (_alone, url) = empty_target();
    let (desk, fixture) = (Desk::new(), fixture("tiny"));
    let (repo, expected) = (repo(&fixture), Documents::expected(&fixture));
    let indices = create_strict(&url, &expected);
    let (index, all) = (indices.first().unwrap().as_str(), expected.0.len() as u64);
    let start = ["start", "--local", "--repo", &repo, "--target", &url];
    desk.backfill(&start).expect(3);

    let count = |args: &[&str]| desk.backfill(&[&["failed-documents", "count", "--json"], args].concat());
    let counted = count(&[]).expect(0).json();
    assert_eq!(
        (&counted["total"], &counted["by_error_type"]["strict_dynamic_mapping_exception"]),
        (&json!(all), &json!(all))
    );
    assert_eq!(counted["by_index"][index]["strict_dynamic_mapping_exception"], all);
    assert_eq!(count(&["--error-type", "another"]).expect(0).json()["total"], 0);
    assert_eq!(count(&["--index", index]).expect(0).json()["total"], all);
    count(&["--index", "nothing-like-it"]).expect(2);
    let listed = desk.backfill(&["failed-documents", "list", "--json", "--limit", "1"]).expect(0).stdout;
    assert_eq!(listed.lines().count(), 1);

    // Nothing has changed: all fail again, and nothing is lost.
    let retry = |args: &[&str]| desk.backfill(&[&["failed-documents", "retry", "--json"], args].concat());
    let report = retry(&[]).expect(3).json();
    assert_eq!((&report["total"]["retried"], &report["total"]["indexed"]), (&json!(all), &json!(0)));
    let again = &report["indices"][0]["failed"]["strict_dynamic_mapping_exception"];
    assert!(again["documents"] == all && again["reason"].as_str().unwrap().contains("strict"), "{report}");
    assert_eq!((status(&desk), report["documents_failed"].clone()), ((all, all), json!(all)));

    mend(&url, index);
    assert_eq!(retry(&["--error-type", "another"]).expect(0).json()["total"]["retried"], 0);
    retry(&["--target", "http://127.0.0.1:1"]).expect(2);
    let report = retry(&[]).expect(0).json();
    assert_eq!((&report["total"]["indexed"], &report["documents_failed"]), (&json!(all), &json!(0)));
    Documents::in_cluster(&url).assert_same(&expected);
    assert_eq!((status(&desk), count(&[]).expect(0).json()["total"].clone()), ((all, 0), json!(0)));
    let text = desk.backfill(&["failed-documents", "retry"]).expect(0).stdout;
    assert_eq!(text, "There are no failed documents to try again.\n");
    let waited = desk.backfill(&["status", "--wait", "--deep-check"]).expect(0).stdout;
    assert!(waited.contains("Everything has been migrated"), "{waited}");

    // Forgotten, it begins anew, and finds its documents in the target.
    desk.backfill(&["reset"]).expect(2);
    let forgotten = desk.backfill(&["reset", "--yes"]).expect(0).stdout;
    assert!(forgotten.contains("is forgotten") && forgotten.contains("stay"), "{forgotten}");
    assert!(desk.backfill(&["status"]).expect(1).stderr.contains("nothing was started"));
    desk.backfill(&start).expect(0);
    Documents::in_cluster(&url).assert_same(&expected);
    assert_eq!(status(&desk), (all, 0));
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn a_retry_that_is_killed_again_and_again_counts_each_document_once() {
    const ROUNDS: u64 = 6;
    let mut kills = 0;
    let mut moments = Moments::new(Duration::from_millis(600));
    for round in 0..ROUNDS {
        let (_alone, url) = empty_target();
        let (desk, fixture) = (Desk::new(), fixture(if round % 2 == 0 { "es-7.10.2" } else { "os-2.19.5" }));
        let mut expected = Documents::expected(&fixture);
        expected
            .0
            .retain(|key, _| ["basic", "nested", "updates", "compressed"].contains(&key.index.as_str()));
        let (repo, all) = (repo(&fixture), expected.0.len() as u64);
        let indices = create_strict(&url, &expected);
        let start =
            ["start", "--local", "--repo", &repo, "--target", &url, "--chunk-size", "30kb", "--index"];
        desk.backfill(&[&start[..], &["basic,nested,updates,compressed"]].concat()).expect(3);
        let refused = status(&desk).1;
        assert!(refused > all / 2, "{refused} of {all}");
        indices.iter().for_each(|index| mend(&url, index));
        let retry = ["failed-documents", "retry", "--bulk-size", "1kb", "--max-in-flight", "1"];
        for attempt in 0..4 {
            let mut child = desk.spawn(&retry);
            moments.wait();
            child.kill().unwrap();
            let ended = child.wait().unwrap();
            let killed = ended.signal() == Some(9);
            assert!(killed || ended.success(), "round {round}: {ended}");
            kills += u64::from(killed);
            if attempt == 0 && !killed {
                moments.came_too_late();
            }
            let (done, failed) = status(&desk);
            assert_eq!(done, all, "round {round}");
            let kept = desk.backfill(&["failed-documents", "count", "--json"]).expect(0).json();
            // The counts follow the stream.
            assert!(kept["total"].as_u64().unwrap() <= failed, "round {round}: {kept} of {failed}");
        }
        desk.backfill(&retry).expect(0);
        Documents::in_cluster(&url).assert_same(&expected);
        assert_eq!(status(&desk), (all, 0), "round {round}");
    }
    println!("{kills} kills");
    assert!(kills > ROUNDS / 2, "only {kills} kills hit a retry under way");
}

#[test]
fn a_run_is_described_and_not_forgotten_while_somebody_works_on_it() {
    let (desk, fixture) = (Desk::new(), fixture("tiny"));
    let repo = repo(&fixture);
    let args = ["start", "--local", "--repo", &repo, "--target", "ndjson:out"];
    // Nobody works on it, but the process is there.
    let waiting = desk.spawn(&[&args[..], &["--workers", "0"]].concat());
    wait_until("the run is planned", || {
        let report = desk.backfill(&["describe", "--json"]);
        report.code == 0 && report.stdout.contains("\"planning\":\"complete\"")
    });
    for command in [&["reset", "--yes"][..], &["failed-documents", "retry"]] {
        let refused = desk.backfill(command).expect(1);
        assert!(refused.stderr.contains("already runs in process"), "{}", refused.stderr);
    }
    let lines = |args: &[&str]| -> Vec<Value> {
        let described = desk.backfill(&[&["describe", "--json"], args].concat()).expect(0);
        described.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let described = lines(&["--chunks"]);
    let kinds: BTreeSet<&String> =
        described.iter().flat_map(|line| line.as_object().unwrap().keys()).collect();
    assert!(
        ["run", "index", "shard", "chunk"].iter().all(|kind| kinds.contains(&(*kind).to_owned())),
        "{kinds:?}"
    );
    assert_eq!(described[0]["run"]["spec"]["snapshot"], fixture.about.snapshots.last().unwrap().as_str());
    let chunk = described.iter().find(|line| line["chunk"].is_object()).unwrap();
    assert_eq!((&chunk["chunk"]["state"], &chunk["chunk"]["epoch"]), (&json!("pending"), &json!(0)));
    desk.backfill(&["stop"]).expect(0);
    waiting.wait_with_output().unwrap();
    desk.backfill(&[&args[..], &["--workers", "1"]].concat()).expect(0);

    let all = fixture.expected.len() as u64;
    let shards: Vec<Value> = lines(&[]).into_iter().filter(|line| line["shard"].is_object()).collect();
    assert!(shards.iter().all(|line| line["shard"]["state"] == "completed"), "{shards:?}");
    let read: u64 = shards.iter().map(|line| line["shard"]["counters"]["indexed"].as_u64().unwrap()).sum();
    assert_eq!(read, all);
    let text = desk.backfill(&["describe", "--chunks"]).expect(0).stdout;
    assert!(
        text.contains("planning") && text.contains("done") && text.contains(&fixture.expected[0].index),
        "{text}"
    );
    desk.backfill(&["describe", "--index", "nothing-like-it"]).expect(2);
    desk.backfill(&["describe", "--run", "nothing-like-it"]).expect(2);

    // Two runs: one after the other is forgotten.
    std::fs::remove_dir_all(desk.path("out")).unwrap();
    desk.backfill(&[&args[..], &["--new"]].concat()).expect(0);
    let id = |line: &Value| line["run"]["id"].as_str().unwrap().to_owned();
    let (first, second) = (id(&described[0]), id(&lines(&[])[0]));
    assert_ne!(first, second);
    desk.backfill(&["reset", "--yes", "--run", &first]).expect(0);
    assert_eq!(id(&lines(&[])[0]), second);
    desk.backfill(&["describe", "--run", &first]).expect(2);
    desk.backfill(&["reset", "--yes"]).expect(0);
    desk.backfill(&["describe"]).expect(1);
}

#[test]
fn what_an_export_could_not_read_is_not_tried_again() {
    let (desk, fixture) = (Desk::new(), fixture("es-6.8.23"));
    let args =
        ["start", "--local", "--repo", &repo(&fixture), "--index", "no_source", "--target", "ndjson:out"];
    desk.backfill(&args).expect(3);
    let refused = desk.backfill(&["failed-documents", "retry"]).expect(2);
    assert!(refused.stderr.contains("could not be read"), "{}", refused.stderr);
    let location = desk.backfill(&["failed-documents", "location"]).expect(0).stdout;
    let location = desk.path(location.trim());
    assert!(location.exists());
    desk.backfill(&["reset", "--yes", "--failed-documents"]).expect(0);
    assert!(!location.exists());
}

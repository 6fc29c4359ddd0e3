//! Runs that stop by themselves because too many documents fail.

use crate::support::{Desk, Documents, create_strict, empty_target, fixture, mend, repo};
use serde_json::{Value, json};

fn status(desk: &Desk) -> Value {
    desk.backfill(&["status", "--json"]).expect(0).json()
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn a_mapping_that_refuses_everything_stops_the_run_until_it_is_mended() {
    let (_alone, url) = empty_target();
    let (desk, fixture) = (Desk::new(), fixture("os-2.19.5"));
    let (repo, mut expected) = (repo(&fixture), Documents::expected(&fixture));
    expected.0.retain(|key, _| key.index == "basic");
    create_strict(&url, &expected);
    let all = expected.0.len();
    let given = ["start", "--local", "--repo", &repo, "--target", &url, "--index", "basic"];
    let start = |more: &[&str]| desk.backfill(&[&given[..], &["--chunk-size", "4kb"], more].concat());

    let stopped = start(&["--max-failed", "20"]).expect(7);
    for part in [
        "Stopped because too many documents failed: ",
        "and --max-failed is 20. The most frequent error is strict_dynamic_mapping_exception (",
        "for example document ",
        "Remove the cause, then run `backfill start`",
    ] {
        assert!(stopped.stderr.contains(part), "{part}: {}", stopped.stderr);
    }
    let report = status(&desk);
    assert_eq!((&report["status"], &report["outcome"]), (&json!("STOPPED"), &json!("too_many_failed")));
    assert_eq!(report["max_failed"], "20");
    let why = &report["limit_exceeded"];
    assert_eq!((&why["max_failed"], &why["failed"]), (&json!("20"), &report["documents_failed"]));
    assert_eq!(why["error"]["error_type"], "strict_dynamic_mapping_exception");
    let first = report["documents_done"].as_u64().unwrap();
    assert!((21..all as u64 / 2).contains(&first), "{first} of {all}");
    assert!(desk.backfill(&["status"]).expect(0).stdout.contains("The most frequent error is strict_"));
    desk.backfill(&["status", "--wait"]).expect(7);
    let described = desk.backfill(&["describe"]).expect(0).stdout;
    assert!(described.contains("stopped because") && described.contains("--max-failed is 20"), "{described}");

    // Nothing was mended: it gets further, and stops again. Its limit is kept until there is another one.
    start(&[]).expect(7);
    let second = status(&desk);
    assert_eq!(second["max_failed"], "20");
    assert!(second["documents_done"].as_u64().unwrap() >= first + 21, "{second:#}");
    start(&["--max-failed", "30"]).expect(7);
    let third = status(&desk);
    assert_eq!(third["limit_exceeded"]["max_failed"], "30");
    assert!(third["limit_exceeded"]["failed"].as_u64().unwrap() > 30, "{third:#}");

    mend(&url, "basic");
    start(&[]).expect(3);
    let report = status(&desk);
    assert_eq!(report["outcome"], "complete_with_failed_documents");
    assert_eq!((&report["limit_exceeded"], &report["documents_done"]), (&Value::Null, &json!(all)));
    assert_eq!(report["documents_failed"], third["documents_failed"]);
    desk.backfill(&["failed-documents", "retry"]).expect(0);
    assert_eq!(status(&desk)["documents_failed"], 0);
    Documents::in_cluster(&url).assert_same(&expected);
}

#[test]
fn what_the_plan_has_told_of_stops_no_run() {
    let (desk, fixture) = (Desk::new(), fixture("es-1.7.6"));
    let repo = repo(&fixture);
    let given = ["start", "--local", "--repo", &repo, "--target", "ndjson:out", "--index"];
    let args = [&given[..], &["no_source,filtered,basic", "--max-failed", "0"]].concat();
    desk.backfill(&args).expect(3);
    assert!(status(&desk)["documents_failed"].as_u64().unwrap() > 0);
    let refused = desk.backfill(&["start", "--local", "--max-failed", "some"]).expect(2);
    assert!(refused.stderr.contains("give a number of documents, or a share such as 10% or 0.5%"));
}

//! A run on AWS that stops by itself because too many documents fail.

use super::cloud::Cloud;
use crate::support::{Desk, Documents, create_strict, empty_target, mend, wait_until};
use backfill::ports::Fleet;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[test]
#[ignore = "needs a real OpenSearch and an emulator of AWS: cargo xtask test"]
fn a_mapping_that_refuses_everything_stops_the_workers_until_it_is_mended() {
    let (name, cloud) = ("os-2.19.5", Cloud::shared());
    let (_alone, url) = empty_target();
    let fixture = crate::support::fixture(name);
    cloud.upload(name, &fixture);
    let mut expected = Documents::expected(&fixture);
    expected.0.retain(|key, _| key.index == "basic");
    create_strict(&url, &expected);
    let all = expected.0.len();
    let parameters = [
        ("SnapshotPrefix", name),
        ("TargetEndpoint", url.as_str()),
        ("ChunkBytes", "4096"),
        ("MaxFailed", "20"),
    ];
    let deployed = cloud.deploy("limit", &parameters);
    let desk = Desk::with(cloud.emulator.environment());
    let services =
        "backfill: {reindex_from_snapshot: {lambda: {stack_name: limit, aws_region: us-east-1}}}\n";
    std::fs::write(desk.path("services.yaml"), services).unwrap();
    let backfill = |arguments: &[&str]| desk.console(&[&["backfill"], arguments].concat());
    let status = || -> Value { backfill(&["status", "--json"]).expect(0).json() };
    let stopped = || {
        let begun = Instant::now();
        loop {
            let report = status();
            if report["outcome"] == "too_many_failed" {
                break;
            }
            let limit = Duration::from_secs(180);
            assert!(begun.elapsed() < limit, "the run has not stopped: {report:#}\n{}", deployed.logs());
            std::thread::sleep(Duration::from_millis(200));
        }
        // What the schedule does each minute.
        deployed.invoke(&deployed.stack.status_function, &json!({"scheduled": true}));
        assert!(cloud.wait(deployed.fleet().state()).unwrap().stopped, "no worker may run any more");
        wait_until("workers have handed back", || deployed.leased() == 0);
    };

    backfill(&["start", "--index", "basic", "--workers", "2"]).expect(0);
    stopped();
    let report = status();
    assert_eq!((&report["status"], &report["max_failed"]), (&json!("STOPPED"), &json!("20")));
    let why = &report["limit_exceeded"];
    assert_eq!(why["error"]["error_type"], "strict_dynamic_mapping_exception", "{report:#}");
    assert!(report["documents_done"].as_u64().unwrap() < all as u64, "{report:#}");
    let told = backfill(&["status", "--wait"]).expect(7).stdout;
    assert!(told.contains("The most frequent error is strict_dynamic_mapping_exception ("), "{told}");

    // Nothing was mended: it gets further and stops again, with the limit that it is given now.
    backfill(&["start", "--max-failed", "30"]).expect(0);
    stopped();
    let again = status();
    assert_eq!(again["limit_exceeded"]["max_failed"], "30");
    assert!(again["documents_failed"].as_u64() > report["documents_failed"].as_u64(), "{again:#}");

    mend(&url, "basic");
    backfill(&["start"]).expect(0);
    let report = deployed.finished(Duration::from_secs(120));
    assert_eq!(report["outcome"], "complete_with_failed_documents", "{report:#}");
    assert_eq!((&report["documents_done"], &report["limit_exceeded"]), (&json!(all), &Value::Null));
    // A start of a run that has ended exits as the run has.
    let ended = backfill(&["start", "--index", "basic"]).expect(3).stdout;
    assert!(ended.contains("has ended already") && ended.contains("documents failed"), "{ended}");
}

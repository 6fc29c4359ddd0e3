//! What a person does after `sam deploy`.

use super::cloud::Cloud;
use crate::support::{Documents, create_indices, empty_target, fixture, wait_until};
use serde_json::json;
use std::time::Duration;

/// Indices of the fixtures that hold no document.
const EMPTY: [&str; 2] = ["empty", "all_deleted"];
/// Indices of the fixtures that store whole sources.
const WHOLE: &str = "*,-no_source,-filtered";

fn deploy_start_stop_and_complete(name: &str) {
    let cloud = Cloud::shared();
    let (_alone, url) = empty_target();
    let fixture = fixture(name);
    cloud.upload(name, &fixture);
    let expected = Documents::expected(&fixture);
    create_indices(&url, &expected, &EMPTY);
    let stack = format!("story-{}", name.replace('.', "-"));
    let parameters = [
        ("SnapshotPrefix", name),
        ("TargetEndpoint", url.as_str()),
        ("ChunkBytes", "100000"),
        ("BulkBytes", "20000"),
        ("MaxInFlight", "2"),
    ];
    let deployed = cloud.deploy(&stack, &parameters);
    assert!(deployed.status().is_null(), "nothing was started yet");

    let missing = deployed.start(&json!({"snapshot": "no-such-snapshot"}));
    assert_eq!(missing["exit"], 2, "{missing}");
    let request = json!({"snapshot": "snap-2", "index": WHOLE, "workers": 1});
    let answer = deployed.start(&request);
    assert_eq!((&answer["created"], &answer["planning"]), (&json!(true), &json!("complete")), "{answer}");
    let other = deployed.start(&json!({"snapshot": "snap-2", "index": "basic"}));
    assert!(other["error"].as_str().unwrap().contains("another job"), "{other}");
    let report = deployed.status();
    assert_eq!(report["status"], "RUNNING", "{report}");

    deployed.stop();
    wait_until("no worker is at work", || deployed.leased() == 0);
    let stopped = deployed.status();
    assert_eq!(stopped["status"], "STOPPED", "{stopped}");
    // A schedule leaves alone what a person has stopped.
    let scheduled = deployed.start(&json!({"scheduled": true, "snapshot": "snap-2", "index": WHOLE}));
    assert!(
        scheduled["message"].as_str().unwrap().contains("nothing was started by the schedule"),
        "{scheduled}"
    );
    assert_eq!(deployed.status()["documents_done"], stopped["documents_done"]);

    let resumed = deployed.start(&request);
    assert_eq!((&resumed["created"], &resumed["run"]), (&json!(false), &answer["run"]), "{resumed}");
    deployed.scale(5);
    // An update of the stack leaves the scale as it is.
    let updated = [&parameters[..], &[("LogRetentionDays", "7")]].concat();
    cloud.deploy(&stack, &updated);
    let report = deployed.finished(Duration::from_secs(120));
    assert_eq!(report["outcome"], "complete", "{report:#}");
    assert_eq!(report["documents_done"], expected.0.len());
    Documents::in_cluster(&url).assert_same(&expected);
    assert_eq!(deployed.dead_letters(), 0);

    let again = deployed.start(&request);
    assert!(again["message"].as_str().unwrap().contains("has ended already"), "{again}");
}

#[test]
#[ignore = "needs a real OpenSearch and an emulator of AWS: cargo xtask test"]
fn elasticsearch_7_10_moves_by_lambda() {
    deploy_start_stop_and_complete("es-7.10.2");
}

#[test]
#[ignore = "needs a real OpenSearch and an emulator of AWS: cargo xtask test"]
fn opensearch_2_19_moves_by_lambda() {
    deploy_start_stop_and_complete("os-2.19.5");
}

//! What a person does after `sam deploy`.

use super::cloud::Cloud;
use crate::support::{Desk, Documents, create_indices, empty_target, fixture};
use backfill::ports::Fleet;
use serde_json::json;

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

    let desk = Desk::with(cloud.emulator.environment());
    let services = format!(
        "backfill: {{reindex_from_snapshot: {{lambda: {{stack_name: {stack}, aws_region: us-east-1}}}}}}\n"
    );
    std::fs::write(desk.path("services.yaml"), services).unwrap();
    let backfill = |arguments: &[&str]| desk.console(&[&["backfill"], arguments].concat());
    let status = || backfill(&["status", "--json"]).expect(0).json();

    let missing = backfill(&["start", "--snapshot", "no-such-snapshot"]).expect(2);
    assert!(missing.stderr.contains("no-such-snapshot"), "{}", missing.stderr);
    let start = ["start", "--snapshot", "snap-2", "--index", WHOLE, "--workers", "1"];
    let started = backfill(&start).expect(0).stdout;
    assert!(started.contains("was started with 1 worker"), "{started}");
    let run = deployed.run().unwrap();
    let other = backfill(&["start", "--snapshot", "snap-2", "--index", "basic"]).expect(2).stderr;
    assert!(other.contains("--index is basic instead of"), "{other}");
    assert_eq!(status()["status"], "RUNNING");

    backfill(&["stop"]).expect(0);
    let stopped = status();
    assert_eq!((&stopped["status"], deployed.leased()), (&json!("STOPPED"), 0), "{stopped}");
    // A schedule leaves alone what a person has stopped.
    let scheduled = deployed.start(&json!({"scheduled": true, "snapshot": "snap-2", "index": WHOLE}));
    assert!(
        scheduled["message"].as_str().unwrap().contains("nothing was started by the schedule"),
        "{scheduled}"
    );
    assert_eq!(status()["documents_done"], stopped["documents_done"]);

    // What is not said is as in the run.
    let resumed = backfill(&["start"]).expect(0).stdout;
    assert!(resumed.contains("was resumed"), "{resumed}");
    assert_eq!(deployed.run(), Some(run));
    backfill(&["scale", "5"]).expect(0);
    let update = |days| cloud.deploy(&stack, &[&parameters[..], &[("LogRetentionDays", days)]].concat());
    update("7");
    let ended = backfill(&["status", "--deep-check", "--wait"]).expect(0).stdout;
    assert!(ended.contains("Everything has been migrated"), "{ended}");
    let report = status();
    assert_eq!(report["outcome"], "complete", "{report:#}");
    assert_eq!(report["documents_done"], expected.0.len());
    Documents::in_cluster(&url).assert_same(&expected);
    assert_eq!(deployed.dead_letters(), 0);

    let again = backfill(&start).expect(0).stdout;
    assert!(again.contains("has ended already"), "{again}");
    // An update of the stack leaves the scale as it is. Now that the run has ended, nothing else sets it.
    cloud.wait(deployed.fleet().scale(5)).unwrap();
    update("14");
    assert_eq!(cloud.wait(deployed.fleet().state()).unwrap().desired, 5);
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

//! Many short slices, messages that come twice or make no sense, and starts by a schedule.

use super::cloud::Cloud;
use crate::simulator::proxy::Proxy;
use crate::support::{Documents, empty_target, wait_until};
use backfill::model::{ChunkState, Planning, Run, RunId, RunState};
use backfill::ports::{Checkpoints, Clock, Fleet, SystemClock};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
#[ignore = "needs a real OpenSearch and an emulator of AWS: cargo xtask test"]
fn a_chunk_that_is_handed_back_25_times_completes_and_duplicates_do_no_work() {
    let (name, cloud) = ("os-2.19.5", Cloud::shared());
    let (_alone, url) = empty_target();
    let expected = cloud.prepare(name, &url, Some("basic"));
    let proxy = Proxy::slow(&url);
    let slow = proxy.url();
    let parameters = [
        ("SnapshotPrefix", name),
        ("TargetEndpoint", slow.as_str()),
        ("BulkBytes", "250"),
        ("MaxInFlight", "1"),
    ];
    let deployed = cloud.deploy("slices", &parameters);
    // As if the function's deadline were that near.
    deployed.set_variable(&deployed.stack.worker_function, "BACKFILL_SLICE_MS", "250");
    let answer = deployed.start(&json!({"index": "basic", "workers": 2}));
    assert_eq!(answer["planning"], "complete", "{answer}");
    let report = deployed.finished(Duration::from_secs(240));
    assert_eq!(
        (&report["outcome"], &report["documents_done"]),
        (&json!("complete"), &json!(expected.0.len()))
    );
    let chunks = deployed.chunks();
    let claims = chunks.iter().map(|chunk| chunk.epoch).max().unwrap();
    assert!(claims > 25, "the chunk was claimed only {claims} times");
    Documents::in_cluster(&url).assert_same(&expected);

    // Deliveries of a chunk that is done, of a run that never was, and of things that make no sense.
    let requests = report["documents_done"].clone();
    let worker = |body: String| -> Value {
        let record = json!({
            "messageId": "1", "receiptHandle": "gone", "body": body, "attributes": {}, "messageAttributes": {},
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q", "awsRegion": "us-east-1"
        });
        deployed.invoke(&deployed.stack.worker_function, &json!({"Records": [record]}))
    };
    let run = deployed.run().unwrap();
    deployed.send(&::aws::message::encode(&run, &chunks[0].id));
    deployed.send(&::aws::message::encode(&backfill::model::RunId("1999-gone".to_owned()), &chunks[0].id));
    deployed.scale(2);
    wait_until("both messages are gone", || deployed.depth() == 0);
    assert_eq!(deployed.chunks()[0].epoch, chunks[0].epoch, "the duplicate was worked on");
    assert_eq!(deployed.chunks()[0].state, ChunkState::Done);
    assert_eq!(deployed.status()["documents_done"], requests);
    assert_eq!(deployed.dead_letters(), 0);
    for body in [r#"{"v":99,"run":"r","index":"i","shard":0,"chunk":0}"#, "not JSON", "{}"] {
        assert_eq!(worker(body.to_owned()), json!({"batchItemFailures": []}), "{body}");
    }
    assert_eq!(deployed.dead_letters(), 3);
}

#[test]
#[ignore = "needs a real OpenSearch and an emulator of AWS: cargo xtask test"]
fn a_schedule_starts_a_backfill() {
    let (name, cloud) = ("tiny", Cloud::shared());
    let (_alone, url) = empty_target();
    let expected = cloud.prepare(name, &url, None);
    let parameters = [
        ("SnapshotPrefix", name),
        ("TargetEndpoint", url.as_str()),
        ("Schedule", "rate(1 minute)"),
        ("Workers", "1"),
    ];
    let deployed = cloud.deploy("scheduled", &parameters);
    let begun = std::time::Instant::now();
    while deployed.run().is_none() {
        assert!(
            begun.elapsed() < Duration::from_secs(150),
            "the schedule started nothing: {}",
            deployed.logs()
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    let run = deployed.run();
    let report = deployed.finished(Duration::from_secs(60));
    assert_eq!(
        (&report["outcome"], &report["documents_done"]),
        (&json!("complete"), &json!(expected.0.len()))
    );
    Documents::in_cluster(&url).assert_same(&expected);
    // The same snapshot is not moved again.
    let again = deployed.start(&json!({"scheduled": true}));
    assert!(again["message"].as_str().unwrap().contains("has ended already"), "{again}");
    assert_eq!(deployed.run(), run);
}

#[test]
#[ignore = "needs a real OpenSearch and an emulator of AWS: cargo xtask test"]
fn a_run_whose_start_broke_off_before_its_workers_came_is_worked_on() {
    let (name, cloud) = ("tiny", Cloud::shared());
    let (_alone, url) = empty_target();
    let expected = cloud.prepare(name, &url, None);
    let parameters = [("SnapshotPrefix", name), ("TargetEndpoint", url.as_str())];
    let deployed = cloud.deploy("broken-off", &parameters);
    deployed.start(&json!({"workers": 1}));
    deployed.finished(Duration::from_secs(60));
    // What such a start leaves: a run, and a fleet as the end of the run before left it.
    let (checkpoints, now) = (&deployed.checkpoints, SystemClock.now());
    cloud.wait(async {
        let before = checkpoints.latest_run().await.unwrap().unwrap();
        let id = RunId::at(now);
        let run = Run {
            id,
            created: now,
            finished: None,
            state: RunState::Running,
            planning: Planning::Shards,
            ..before.clone()
        };
        checkpoints.create_run(&run, Some(&before.id)).await.unwrap();
        assert!(deployed.fleet().state().await.unwrap().stopped);
    });
    deployed.start(&json!({"resume_planning": true}));
    let report = deployed.finished(Duration::from_secs(60));
    assert_eq!(
        (&report["outcome"], &report["documents_done"]),
        (&json!("complete"), &json!(expected.0.len()))
    );
}

#[test]
#[ignore = "needs a real OpenSearch and an emulator of AWS: cargo xtask test"]
fn a_stop_while_a_start_plans_stops_that_run() {
    let (name, cloud) = ("os-2.19.5", Cloud::shared());
    let (_alone, url) = empty_target();
    cloud.prepare(name, &url, Some("basic"));
    let parameters = [("SnapshotPrefix", name), ("TargetEndpoint", url.as_str())];
    let deployed = cloud.deploy("stopped", &parameters);
    let answer = std::thread::scope(|scope| {
        let start = scope.spawn(|| deployed.start(&json!({"index": "basic", "workers": 1})));
        wait_until("there is a run", || deployed.run().is_some());
        deployed.stop();
        start.join().unwrap()
    });
    // It may have been through by then.
    assert!(answer["state"] == "stopped" || answer["planning"] == "complete", "{answer}");
    cloud.wait(async {
        let run = deployed.checkpoints.latest_run().await.unwrap().unwrap();
        assert_eq!(run.state, RunState::Stopped);
        assert!(deployed.fleet().state().await.unwrap().stopped);
    });
}

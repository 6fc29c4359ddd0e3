//! Messages get lost: their chunks are enqueued again.

use super::cloud::{Cloud, Deployed};
use crate::simulator::proxy::Proxy;
use crate::support::{Documents, empty_target, wait_until};
use backfill::model::{Chunk, ChunkState};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SELECTION: &str = "basic,nested,updates,compressed,verbatim";
/// For how long messages must be missing.
const QUIET: Duration = Duration::from_secs(3);

fn open(deployed: &Deployed<'_>) -> Vec<Chunk> {
    let mut chunks = deployed.chunks();
    chunks.retain(|chunk| chunk.state != ChunkState::Done);
    chunks
}

/// What the schedule does each minute; the report.
fn look(deployed: &Deployed<'_>) -> Value {
    let mut answer = deployed.invoke(&deployed.stack.status_function, &json!({"scheduled": true}));
    std::thread::sleep(Duration::from_millis(200));
    answer["report"].take()
}

#[test]
#[ignore = "needs a real OpenSearch and an emulator of AWS: cargo xtask test"]
fn messages_that_are_lost_are_replaced_whether_others_wait_or_not() {
    let (name, cloud) = ("es-7.10.2", Cloud::shared());
    let (_alone, url) = empty_target();
    let expected = cloud.prepare(name, &url, Some(SELECTION));
    let proxy = Proxy::slow(&url);
    let slow = proxy.url();
    let parameters = [
        ("SnapshotPrefix", name),
        ("TargetEndpoint", slow.as_str()),
        ("ChunkBytes", "60000"),
        ("BulkBytes", "2000"),
        ("MaxInFlight", "1"),
    ];
    let deployed = cloud.deploy("lost", &parameters);
    deployed.set_variable(
        &deployed.stack.status_function,
        "BACKFILL_QUIET_MS",
        &QUIET.as_millis().to_string(),
    );
    let answer = deployed.start(&json!({"index": SELECTION, "workers": 2}));
    assert_eq!(answer["planning"], "complete", "{answer}");

    // All but two of those that wait are lost, and nobody is there to go on.
    wait_until("a chunk is done", || deployed.chunks().iter().any(|chunk| chunk.state == ChunkState::Done));
    deployed.scale(0);
    wait_until("nobody holds a chunk", || {
        deployed.leased() == 0 && deployed.depth() == open(&deployed).len() as u64
    });
    let waiting = open(&deployed);
    assert!(waiting.len() > 4, "only {} chunks wait", waiting.len());
    deployed.purge();
    let run = deployed.run().unwrap();
    for chunk in &waiting[..2] {
        deployed.send(&::aws::message::encode(&run, &chunk.id));
    }
    assert_eq!(deployed.depth(), 2);
    let again = 2 + waiting.len() as u64;
    wait_until("the messages are replaced", || {
        look(&deployed);
        deployed.depth() > 2
    });
    assert_eq!(deployed.depth(), again, "one for each chunk, beside those that were there");
    let begun = Instant::now();
    while begun.elapsed() < 2 * QUIET {
        look(&deployed);
    }
    assert_eq!(deployed.depth(), again, "messages that are there are not replaced");

    // All of them are lost, those in workers' hands as well.
    deployed.scale(2);
    wait_until("workers hold chunks", || deployed.leased() > 0);
    deployed.purge();
    assert!(open(&deployed).len() > 2, "chunks wait");
    let begun = Instant::now();
    let report = loop {
        let report = look(&deployed);
        if !report["finished"].is_null() {
            break report;
        }
        assert!(begun.elapsed() < Duration::from_secs(240), "{report:#}\n{}", deployed.logs());
    };
    assert_eq!(
        (&report["outcome"], &report["documents_done"]),
        (&json!("complete"), &json!(expected.0.len()))
    );
    Documents::in_cluster(&url).assert_same(&expected);
    assert_eq!(deployed.dead_letters(), 0);
}

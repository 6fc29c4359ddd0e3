//! Runs on AWS, or rather on an emulator of it, whose services fail as well.

use super::answers::Name;
use super::proxy::{Fate, Head, Proxy};
use super::weather::Weather;
use super::world::World;
use super::{Home, PATIENCE, Settings, simulate};
use crate::aws::cloud::{Cloud, Deployed, worker_of};
use crate::support::{Documents, peak_of};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const NAME: &str = "es-7.10.2";
const SELECTION: &str = "basic,nested,updates,compressed,verbatim";

/// What becomes of a request to AWS.
fn fate(weather: &Weather, head: &Head) -> Fate {
    if weather.is_calm() {
        return Fate::Pass;
    }
    let chance = weather.dice();
    match head.header("x-amz-target").and_then(|target| target.split_once('.')) {
        Some((service, action)) if service.starts_with("DynamoDB") => match chance {
            c if c < 0.02 => {
                let kind = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";
                let body = json!({"__type": kind, "message": "slow down"});
                Fate::Answer(400, "application/x-amz-json-1.0", body.to_string())
            }
            c if c < 0.025 => Fate::Drop,
            // The answer is lost, and the client sends it again.
            c if c < 0.03 && action == "TransactWriteItems" => Fate::Twice,
            _ => Fate::Pass,
        },
        Some((_, "SendMessageBatch")) if chance < 0.3 => Fate::Twice,
        Some((_, action)) if action.contains("Message") && chance < 0.02 => {
            let body = json!({"__type": "com.amazonaws.sqs#RequestThrottled", "message": "slow down"});
            Fate::Answer(400, "application/x-amz-json-1.0", body.to_string())
        }
        Some(_) => Fate::Pass,
        // What is left is S3, and the interface of Lambda.
        None if head.path.starts_with("/snapshots") && chance < 0.05 => {
            let body =
                "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>slow down</Message></Error>";
            Fate::Answer(503, "application/xml", body.to_owned())
        }
        None => Fate::Pass,
    }
}

struct OnAws<'a> {
    seed: u64,
    deployed: Deployed<'a>,
    expected: Documents,
    peak: u64,
}

impl Home for OnAws<'_> {
    fn prepare(&mut self, world: &World, _round: u64) -> Documents {
        world.empty(&self.expected);
        Documents(self.expected.0.clone())
    }

    /// Asks for a start until it is granted: faults may hit the start itself.
    fn start(&mut self, new: bool, workers: u32) -> bool {
        let mut request = json!({"index": SELECTION, "workers": workers, "new": new});
        let (before, begun) = (self.deployed.run(), Instant::now());
        while begun.elapsed() < PATIENCE {
            let answer = self.deployed.start(&request);
            if answer["error"].is_null() && answer["planning"] == "complete" {
                return true;
            }
            if self.deployed.run() != before {
                // It was made, but its planning is not complete.
                request["new"] = json!(false);
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        panic!("seed {}: no start was granted: {}", self.seed, self.deployed.logs());
    }

    fn scale(&mut self, workers: u32) {
        self.deployed.scale(workers);
    }

    fn stop(&mut self, _dice: u32) {
        self.deployed.stop();
    }

    fn workers(&self) -> Vec<u32> {
        let (chunks, alive) = (self.deployed.chunks(), self.deployed.worker_processes());
        chunks.iter().filter_map(worker_of).filter(|pid| alive.contains(pid)).collect()
    }

    fn look(&mut self) {
        let peak = self.deployed.worker_processes().into_iter().map(peak_of).max().unwrap_or(0);
        self.peak = self.peak.max(peak);
        assert_eq!(self.deployed.dead_letters(), 0, "seed {}", self.seed);
    }

    fn report(&self) -> Value {
        self.deployed.status()
    }

    fn writes_to_target(&self) -> bool {
        true
    }

    fn retry_failed(&mut self) -> bool {
        false
    }

    fn failed_documents(&self) -> Vec<Name> {
        let records = self.deployed.failed_documents();
        records.into_iter().map(|record| (record.index, record.id.unwrap_or_default())).collect()
    }

    fn assert_arrived(&self, world: &World, expected: &Documents) {
        Documents::in_cluster(world.url()).assert_same(expected);
    }

    fn pace(&self) -> std::ops::Range<u64> {
        200..3000
    }

    fn peak(&self) -> u64 {
        self.peak
    }
}

#[test]
#[ignore = "needs a real OpenSearch and an emulator of AWS: cargo xtask test"]
fn whatever_happens_on_aws_each_document_arrives() {
    let settings = Settings::read();
    let seed = settings.seed;
    let mut world = World::new(&settings);
    let port = servers::free_port().unwrap();
    let aws = Proxy::start(&format!("http://127.0.0.1:{port}"), {
        let weather: Arc<Weather> = world.weather.clone();
        move |head| fate(&weather, head)
    });
    let cloud = Cloud::of(servers::Cloud::start_behind(Some(&aws.url()), port).unwrap());
    let expected = cloud.prepare(NAME, world.url(), Some(SELECTION));
    let target = world.proxy.url();
    // Small chunks change hands often. Large ones are in the hands of two workers for longer when one of them was suspended.
    let chunk_bytes = if settings.seed.is_multiple_of(2) { "60000" } else { "100000000" };
    let parameters = [
        ("SnapshotPrefix", NAME),
        ("TargetEndpoint", target.as_str()),
        ("ChunkBytes", chunk_bytes),
        ("BulkBytes", "3000"),
        ("MaxInFlight", "2"),
    ];
    let deployed = cloud.deploy("simulation", &parameters);
    let mut home = OnAws { seed, deployed, expected, peak: 0 };
    simulate(&settings, &mut world, &mut home);
    eprintln!("{} faults of AWS", aws.faults());
}

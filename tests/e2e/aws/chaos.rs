//! Everything at once, at random: starts, scales, stops, kills, restarts of the target, and faults of all services.
//!
//! The target is this test's own, so that it can be killed with -9 in the middle of its work, and started again with what
//! it had kept on disk: a document that it acknowledged must be among that.
//!
//! Two minutes of it run with all tests; `cargo xtask chaos --minutes 30 --seed 7` runs more of it, which is written down
//! in docs/reliability.md. The seed decides what is done and which requests fail, but not how threads take turns.

use super::cloud::{Cloud, Deployed, kill};
use super::proxy::{Fate, Head, Proxy};
use crate::support::{Documents, create_indices};
use serde_json::{Value, json};
use servers::{Server, ServerSpec};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const TARGET: &str = "opensearch:2.19.5";
const NAME: &str = "es-7.10.2";
const SELECTION: &str = "basic,nested,updates,compressed,verbatim";
/// Time that a run may need to end once nobody disturbs it any more: a few leases of killed workers.
const PATIENCE: Duration = Duration::from_secs(300);

/// What AWS does wrong, by chance.
fn faults_of_aws(random: &Mutex<fastrand::Rng>, quiet: &AtomicBool, head: &Head) -> Fate {
    if quiet.load(Ordering::Relaxed) {
        return Fate::Pass;
    }
    let chance = random.lock().unwrap().f64();
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

/// What the target does wrong, by chance. While it is cut off, nobody gets an answer to what is written.
fn faults_of_target(
    random: &Mutex<fastrand::Rng>,
    quiet: &AtomicBool,
    down: &AtomicBool,
    head: &Head,
) -> Fate {
    if quiet.load(Ordering::Relaxed) || !head.path.contains("_bulk") {
        return Fate::Pass;
    }
    if down.load(Ordering::Relaxed) {
        return Fate::Drop;
    }
    match random.lock().unwrap().f64() {
        c if c < 0.05 => {
            Fate::Answer(429, "application/json", json!({"error": "too many", "status": 429}).to_string())
        }
        c if c < 0.06 => Fate::Answer(503, "text/plain", "no".to_owned()),
        // Written, but the answer is lost on its way.
        c if c < 0.08 => Fate::Twice,
        _ => Fate::Pass,
    }
}

#[derive(Debug, Default)]
struct Deeds {
    starts: u32,
    stops: u32,
    scales: u32,
    kills: u32,
    outages: u32,
    restarts: u32,
    runs: u32,
}

/// The target, which can be killed and come back while everything else goes on.
struct Restarting {
    server: Arc<Mutex<Server>>,
    coming_back: Option<JoinHandle<()>>,
}

impl Restarting {
    fn start() -> Restarting {
        let spec: ServerSpec = TARGET.parse().unwrap();
        let server = Server::start(&spec.heap("1g")).unwrap();
        Restarting { server: Arc::new(Mutex::new(server)), coming_back: None }
    }

    fn url(&self) -> String {
        self.server.lock().unwrap().url().to_owned()
    }

    /// Kills it with -9, and lets it come back by itself; `false` if it has not yet come back from the last time.
    fn crash(&mut self) -> bool {
        if self.coming_back.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return false;
        }
        self.wait();
        self.server.lock().unwrap().kill().unwrap();
        let server = self.server.clone();
        self.coming_back = Some(std::thread::spawn(move || server.lock().unwrap().restart().unwrap()));
        true
    }

    /// Waits until it is back.
    fn wait(&mut self) {
        if let Some(thread) = self.coming_back.take() {
            thread.join().expect("the target comes back");
        }
    }
}

#[test]
#[ignore = "needs a real OpenSearch and an emulator of AWS: cargo xtask test"]
fn whatever_happens_each_document_arrives() {
    let setting = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
    };
    let seed = setting("BACKFILL_CHAOS_SEED", 1);
    let time = Duration::from_secs(setting("BACKFILL_CHAOS_SECONDS", 120));
    let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
    let (quiet, down) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));

    let mut server = Restarting::start();
    let url = server.url();
    let target = Proxy::start(&url, {
        let (random, quiet, down) = (random.clone(), quiet.clone(), down.clone());
        move |head| faults_of_target(&random, &quiet, &down, head)
    });
    target.set_latency(Duration::from_millis(40));
    let port = servers::free_port().unwrap();
    let aws = Proxy::start(&format!("http://127.0.0.1:{port}"), {
        let (random, quiet) = (random.clone(), quiet.clone());
        move |head| faults_of_aws(&random, &quiet, head)
    });
    let cloud = Cloud::of(servers::Cloud::start_behind(Some(&aws.url()), port).unwrap());

    let expected = cloud.prepare(NAME, &url, Some(SELECTION));
    let endpoint = target.url();
    let parameters = [
        ("SnapshotPrefix", NAME),
        ("TargetEndpoint", endpoint.as_str()),
        ("ChunkBytes", "60000"),
        ("BulkBytes", "3000"),
        ("MaxInFlight", "2"),
    ];
    let deployed = cloud.deploy("chaos", &parameters);

    let mut deeds = Deeds::default();
    let begun = Instant::now();
    // The events are decided by one generator, the faults by another: who asks first must not matter to what is done.
    let mut choice = fastrand::Rng::with_seed(seed.wrapping_add(1));
    while begun.elapsed() < time {
        quiet.store(false, Ordering::Relaxed);
        start(&deployed, json!({"index": SELECTION, "workers": 3, "new": true}), &mut deeds);
        while begun.elapsed() < time {
            if deployed.status()["finished"].is_u64() {
                break;
            }
            // However the dice fall, once in each test.
            if deeds.restarts == 0 && begun.elapsed() > time / 4 && server.crash() {
                deeds.restarts += 1;
            }
            disturb(&deployed, &mut choice, &down, &mut server, &mut deeds);
            std::thread::sleep(Duration::from_millis(choice.u64(200..3000)));
        }
        // From here on only what was begun must come to its end.
        quiet.store(true, Ordering::Relaxed);
        down.store(false, Ordering::Relaxed);
        server.wait();
        let report = calm(&deployed, &mut deeds);
        assert_eq!(report["outcome"], "complete", "seed {seed}: {report:#}");
        // Nothing was counted twice, and nothing left out.
        assert_eq!(report["documents_done"], expected.0.len(), "seed {seed}: {report:#}");
        Documents::in_cluster(&url).assert_same(&expected);
        assert_eq!(deployed.dead_letters(), 0, "seed {seed}");
        deeds.runs += 1;
        let http = servers::Http::new(&url);
        http.delete("/*,-.*").unwrap();
        create_indices(&url, &expected, &[]);
    }
    assert!(deeds.restarts > 0, "the target was never restarted: {deeds:?}");
    eprintln!(
        "seed {seed}, {} s: {deeds:?}, {} faults of AWS, {} of the target",
        begun.elapsed().as_secs(),
        aws.faults(),
        target.faults()
    );
}

/// Asks for a start until it is granted: faults may hit the start itself.
fn start(deployed: &Deployed<'_>, mut request: Value, deeds: &mut Deeds) {
    let (before, begun) = (deployed.run(), Instant::now());
    while begun.elapsed() < PATIENCE {
        let answer = deployed.start(&request);
        deeds.starts += 1;
        if answer["error"].is_null() && answer["planning"] == "complete" {
            return;
        }
        if deployed.run() != before {
            // Made, but not through with its planning.
            request["new"] = json!(false);
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    panic!("no start was granted: {}", deployed.logs());
}

fn disturb(
    deployed: &Deployed<'_>,
    choice: &mut fastrand::Rng,
    down: &AtomicBool,
    server: &mut Restarting,
    deeds: &mut Deeds,
) {
    match choice.u32(0..100) {
        0..35 => {
            deployed.scale(choice.u32(0..6));
            deeds.scales += 1;
        }
        35..50 => {
            deployed.stop();
            deeds.stops += 1;
        }
        50..75 => start(deployed, json!({"index": SELECTION, "workers": choice.u32(1..6)}), deeds),
        75..90 => {
            let workers = deployed.worker_processes();
            if !workers.is_empty() && kill(workers[choice.usize(..workers.len())]) {
                deeds.kills += 1;
            }
        }
        90..93 => deeds.restarts += u32::from(server.crash()),
        _ => {
            let before = down.fetch_xor(true, Ordering::Relaxed);
            deeds.outages += u32::from(!before);
        }
    }
}

/// Lets the run come to its end; chunks that were given up are tried again.
fn calm(deployed: &Deployed<'_>, deeds: &mut Deeds) -> Value {
    let begun = Instant::now();
    loop {
        start(deployed, json!({"index": SELECTION, "workers": 5}), deeds);
        let report = deployed.finished(PATIENCE);
        if report["outcome"] != "failed" || begun.elapsed() > PATIENCE {
            return report;
        }
    }
}

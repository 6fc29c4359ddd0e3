//! A simulator of bad days: runs are started, scaled, stopped and killed at random, while the target answers wrongly, is
//! out of reach, or is killed itself, and other services fail as well.
//!
//! Everything but the faults is real: the commands or the functions as processes, an OpenSearch, snapshots that servers
//! wrote. The same simulation drives both [homes](Home) of a run, one machine and AWS. A seed decides what is done and
//! which requests meet which fault, but not how threads and processes take turns.
//!
//! Invariants, of which the first is looked at after each event and all of them after each run:
//! 1. What counts as done is on the target: acknowledged means stored.
//! 2. In the end the target holds each document once, with the very same source, and the counts are exact.
//! 3. Only documents that the target reported as failed are failed documents.
//! 4. The final message and the exit code say what is true.
//! 5. No process of a worker needs more memory than [`MEMORY_MIB`].
//!
//! A short simulation of each home runs with all tests. `cargo xtask simulate` runs longer ones.

pub(crate) mod answers;
mod on_aws;
mod one_machine;
pub(crate) mod proxy;
mod weather;
mod world;

use crate::support::Documents;
use answers::Wrong;
use serde_json::Value;
use std::time::{Duration, Instant};
pub(crate) use world::kill;
use world::{World, signal};

/// The memory that a worker may need: what docs/operations.md promises.
const MEMORY_MIB: u64 = 256;
/// How long a run may take to end once nobody disturbs it any more: a few leases of killed workers.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a suspended process sleeps: a little longer than a lease, so that it wakes up while another one works on what
/// it held.
const SUSPENSION: Duration = Duration::from_secs(61);
/// How long a request to the target takes, of which one is taken for each run.
const LATENCIES_MS: [u64; 3] = [10, 40, 250];

/// What is simulated, from the environment.
struct Settings {
    seed: u64,
    /// How long things go wrong.
    time: Duration,
    /// Wrong answers that may be given.
    wrong: Vec<Wrong>,
}

impl Settings {
    fn read() -> Settings {
        let number = |name: &str, default: u64| {
            std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
        };
        let time = Duration::from_secs(number("BACKFILL_SIMULATION_SECONDS", 90));
        let wrong = Wrong::named(&std::env::var("BACKFILL_SIMULATION_WRONG").unwrap_or_default());
        Settings { seed: number("BACKFILL_SIMULATION_SEED", 1), time, wrong }
    }
}

/// What was done.
#[derive(Debug, Default)]
struct Deeds {
    runs: u32,
    starts: u32,
    stops: u32,
    scales: u32,
    kills: u32,
    suspensions: u32,
    outages: u32,
    restarts: u32,
    /// How long the end of a run took, at most, once nobody disturbed it any more.
    longest_end: Duration,
}

/// Where a run is worked on.
trait Home {
    /// Prepares a run of its own for the round, and the target for it; returns the documents that must arrive.
    fn prepare(&mut self, world: &World, round: u64) -> Documents;

    /// Starts the run, or goes on with it. Returns whether anything had to be done for it.
    fn start(&mut self, new: bool, workers: u32) -> bool;

    fn scale(&mut self, workers: u32);

    /// Stops the run in one of the ways there are, by `dice`.
    fn stop(&mut self, dice: u32);

    /// The processes of workers: those that hold chunks, if it is known who does.
    fn workers(&self) -> Vec<u32>;

    /// Takes note of processes that have ended, and fails if their last words are not true.
    fn look(&mut self);

    /// The report of the newest run, as JSON; null before there is one.
    fn report(&self) -> Value;

    /// Whether documents of the run go to the target of the world, and not into files.
    fn writes_to_target(&self) -> bool;

    /// Tries failed documents again; returns whether this home does that.
    fn retry_failed(&mut self) -> bool;

    /// Told when a worker was killed.
    fn killed(&mut self) {}

    /// Index and ID of each failed document.
    fn failed_documents(&self) -> Vec<answers::Name>;

    /// Fails unless the documents have arrived.
    fn assert_arrived(&self, world: &World, expected: &Documents);

    /// The time between two events.
    fn pace(&self) -> std::ops::Range<u64>;

    /// The largest resident set of a process of a worker so far, in MiB.
    fn peak(&self) -> u64;
}

/// Lets bad things happen to a home, run after run, until the time is over.
fn simulate(settings: &Settings, world: &mut World, home: &mut dyn Home) {
    let Settings { seed, time, .. } = *settings;
    // The events are decided by one generator, the faults by another: who asks first must not matter to what is done.
    let mut dice = fastrand::Rng::with_seed(seed.wrapping_add(1));
    let mut deeds = Deeds::default();
    let mut suspended: Option<Suspended> = None;
    let begun = Instant::now();
    while begun.elapsed() < time {
        let mut expected = home.prepare(world, u64::from(deeds.runs));
        world.memory.begin_run();
        world.weather.turn_bad(dice.f64());
        world.proxy.set_latency(Duration::from_millis(LATENCIES_MS[dice.usize(..LATENCIES_MS.len())]));
        home.start(true, 3);
        deeds.starts += 1;
        while begun.elapsed() < time {
            home.look();
            let report = home.report();
            if report["finished"].is_u64() {
                break;
            }
            if home.writes_to_target() {
                world.assert_stored(&report, seed);
            }
            // However the dice fall, once in each simulation.
            if deeds.restarts == 0 && begun.elapsed() > time / 4 && world.crash() {
                deeds.restarts += 1;
            }
            if suspended.as_ref().is_none_or(|process| process.since.elapsed() > SUSPENSION) {
                drop(suspended.take());
                suspended = suspend(home, &mut dice);
                deeds.suspensions += u32::from(suspended.is_some());
            }
            disturb(world, home, &mut dice, &mut deeds);
            std::thread::sleep(Duration::from_millis(dice.u64(home.pace())));
        }
        // From here on the run must come to its end.
        world.calm_down();
        drop(suspended.take());
        end(home, seed, &mut deeds);
        let report = home.report();
        let failed = home.failed_documents();
        for name in &failed {
            assert!(
                world.memory.may_have_failed(name),
                "seed {seed}: {name:?} failed, but the target took it"
            );
        }
        let (done, total) = (report["documents_done"].as_u64(), expected.0.len() as u64);
        let counted = "documents are not counted as they are";
        assert_eq!(done, Some(total), "{counted}, seed {seed}: {report:#}");
        assert_eq!(report["documents_failed"], failed.len(), "{counted}, seed {seed}: {report:#}");
        let outcome = if failed.is_empty() { "complete" } else { "complete_with_failed_documents" };
        assert_eq!(report["outcome"], outcome, "seed {seed}: {report:#}");
        if !home.retry_failed() {
            expected.0.retain(|key, _| !failed.contains(&(key.index.clone(), key.id.clone())));
        }
        home.assert_arrived(world, &expected);
        let peak = home.peak();
        assert!(peak < MEMORY_MIB, "seed {seed}: a worker had {peak} MiB");
        deeds.runs += 1;
    }
    eprintln!("seed {seed}, {} s: {deeds:?}, peak {} MiB", begun.elapsed().as_secs(), home.peak());
    eprintln!("wrong answers: {:?}", world.memory.given());
    assert!(deeds.restarts > 0 && deeds.runs > 0 && deeds.kills > 0 && deeds.stops > 0, "{deeds:?}");
    if time >= Duration::from_secs(600) {
        assert_eq!(
            world.memory.given().len(),
            settings.wrong.len(),
            "some kind of wrong answer was never given"
        );
    }
}

/// Does one thing.
fn disturb(world: &mut World, home: &mut dyn Home, dice: &mut fastrand::Rng, deeds: &mut Deeds) {
    match dice.u32(0..100) {
        0..20 => {
            home.scale(dice.u32(0..6));
            deeds.scales += 1;
        }
        20..32 => {
            home.stop(dice.u32(..));
            deeds.stops += 1;
        }
        32..60 => deeds.starts += u32::from(home.start(false, dice.u32(1..6))),
        60..85 => {
            let workers = home.workers();
            if !workers.is_empty() && kill(workers[dice.usize(..workers.len())]) {
                home.killed();
                deeds.kills += 1;
            }
        }
        85..87 => deeds.restarts += u32::from(world.crash()),
        87..92 => {
            world.weather.cut_off(Duration::from_millis(dice.u64(500..10_000)));
            deeds.outages += 1;
        }
        // Nothing more happens for a moment.
        _ => {}
    }
}

/// A process that was suspended. It goes on when this value is dropped.
struct Suspended {
    pid: u32,
    since: Instant,
}

impl Drop for Suspended {
    fn drop(&mut self) {
        signal("-CONT", self.pid);
    }
}

/// Suspends the process of a worker, if there is more than one: a lone one would only wait.
fn suspend(home: &dyn Home, dice: &mut fastrand::Rng) -> Option<Suspended> {
    let workers = home.workers();
    if workers.len() < 2 {
        return None;
    }
    let pid = workers[dice.usize(..workers.len())];
    signal("-STOP", pid).then(|| Suspended { pid, since: Instant::now() })
}

/// Lets the run come to its end. Chunks that were given up are tried again.
fn end(home: &mut dyn Home, seed: u64, deeds: &mut Deeds) {
    let begun = Instant::now();
    // Whoever scaled it to 0 does not come back.
    deeds.starts += u32::from(home.start(false, 5));
    loop {
        home.look();
        let report = home.report();
        let failed = report["outcome"] == "failed";
        if report["finished"].is_u64() && !failed {
            deeds.longest_end = deeds.longest_end.max(begun.elapsed());
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "seed {seed}: the run does not end: {report:#}");
        if failed || report["status"] != "RUNNING" {
            deeds.starts += u32::from(home.start(false, 5));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

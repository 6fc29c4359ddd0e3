//! Runs that are killed, stopped or scaled at moments of their own. Those that are interrupted at random, again and again,
//! are the [simulator](crate::simulator)'s.

use crate::support::{Desk, Documents, Moments, create_indices, empty_target, fixture, repo, wait_until};
use backfill::model::RunState;
use backfill::ports::{Checkpoints, Clock, SystemClock};
use local::{Mode, RunnerLock, SqliteStore};
use servers::Fixture;
use std::time::Duration;

/// How often a run is scaled from its beginning to its end.
const ROUNDS: u64 = 4;
const SELECTION: &str = "basic,nested,updates,compressed,logs-*,verbatim";

/// Small pieces, so that a run has many moments to be interrupted at.
fn arguments<'a>(repo: &'a str, url: &'a str) -> Vec<&'a str> {
    vec![
        "start",
        "--local",
        "--repo",
        repo,
        "--target",
        url,
        "--index",
        SELECTION,
        "--chunk-size",
        "30kb",
        "--bulk-size",
        "1kb",
        "--max-in-flight",
        "1",
    ]
}

fn story(round: u64) -> (Desk, Fixture, Documents) {
    let fixture = fixture(if round.is_multiple_of(2) { "es-7.10.2" } else { "os-2.19.5" });
    let mut expected = Documents::expected(&fixture);
    expected.0.retain(|key, _| {
        ["basic", "nested", "updates", "compressed", "verbatim"].contains(&key.index.as_str())
            || key.index.starts_with("logs-")
    });
    (Desk::new(), fixture, expected)
}

#[test]
fn killed_in_its_first_moments_a_start_is_continued_by_the_same_command() {
    let repo = repo(&fixture("tiny"));
    let args = ["start", "--local", "--repo", &repo, "--target", "ndjson:out"];
    let mut moments = Moments::new(Duration::from_millis(60));
    for round in 0..50 {
        let desk = Desk::new();
        let mut child = desk.spawn(&args);
        moments.wait();
        child.kill().unwrap();
        child.wait().unwrap();
        let ended = desk.backfill(&args);
        assert_eq!(ended.code, 0, "round {round}: {}", ended.stderr);
        desk.backfill(&["status"]).expect(0);
    }
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn scaled_while_it_runs_it_follows() {
    for round in 0..ROUNDS {
        let (_alone, url) = empty_target();
        let (desk, fixture, expected) = story(round);
        let mut random = fastrand::Rng::with_seed(round);
        create_indices(&url, &expected, &[]);
        let repo = repo(&fixture);
        let mut child = desk.spawn(&arguments(&repo, &url));
        wait_until("the run is stored", || desk.backfill(&["status"]).code == 0);
        let running = |desk: &Desk| desk.backfill(&["status", "--json"]).expect(0).json();
        let mut steps = 0;
        while child.try_wait().unwrap().is_none() && steps < 6 {
            let workers = random.u32(0..5).to_string();
            // A run that has just ended cannot be scaled.
            if desk.backfill(&["scale", &workers]).code != 0 {
                break;
            }
            if workers == "0" {
                wait_until("no worker runs", || {
                    let report = running(&desk);
                    report["fleet"]["running"] == 0 || report["status"] != "RUNNING"
                });
            } else {
                std::thread::sleep(Duration::from_millis(random.u64(0..400)));
            }
            steps += 1;
        }
        // Whatever it was scaled to last, it needs a worker to end.
        desk.backfill(&["scale", "2"]);
        let ended = crate::support::Ended::from(child.wait_with_output().unwrap()).expect(0);
        assert!(ended.stdout.contains("Everything has been migrated"), "{}", ended.stdout);
        Documents::in_cluster(&url).assert_same(&expected);
    }
}

#[test]
fn a_start_that_lets_its_run_go_on_only_later_is_stopped_as_well() {
    let desk = Desk::new();
    desk.backfill(&["start", "--local", "--repo", &repo(&fixture("tiny")), "--target", "ndjson:out"])
        .expect(0);
    // As a process that waits for its target.
    let state = desk.path("backfill.sqlite");
    let lock = RunnerLock::acquire(&state).unwrap().unwrap();
    let store = SqliteStore::open(&state, Mode::ReadWriteExisting).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let newest = || runtime.block_on(store.latest_run()).unwrap().unwrap();
    let mut stop = desk.spawn(&["stop", "--timeout", "60s"]);
    for _ in 0..2 {
        let run = newest().id;
        let running = store.set_state(&run, RunState::Running, SystemClock.now(), &[]);
        runtime.block_on(running).unwrap();
        wait_until("the run is stopped", || newest().state == RunState::Stopped);
    }
    drop(lock);
    assert!(stop.wait().unwrap().success());
}

//! Runs on one machine: the command works on its run itself, and continues it when it is called again.

use super::answers::Name;
use super::world::{World, signal};
use super::{Home, MEMORY_MIB, Settings, simulate};
use crate::support::{Desk, Documents, Ended, fixture, peak_of, repo, wait_until};
use serde_json::Value;
use std::cell::Cell;
use std::process::Child;

const INDICES: [&str; 5] = ["basic", "nested", "updates", "compressed", "verbatim"];
const SELECTION: &str = "basic,nested,updates,compressed,logs-*,verbatim";
/// Snapshots that are migrated, in turns.
const FIXTURES: [&str; 4] = ["es-7.10.2", "os-2.19.5", "es-8.19.9", "os-3.6.0"];
/// One round in so many is an export.
const EXPORTS: u64 = 5;

/// A round: a desk of its own, and the process that works there.
struct Round {
    desk: Desk,
    args: Vec<String>,
    export: bool,
    documents: u64,
    child: Option<Child>,
    /// Whether somebody has asked the process to end.
    stopped: Cell<bool>,
    /// Whether somebody has killed the process.
    killed: Cell<bool>,
}

impl Drop for Round {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may be gone already.
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

struct OneMachine {
    seed: u64,
    round: Option<Round>,
    peak: u64,
}

impl OneMachine {
    fn round(&self) -> &Round {
        self.round.as_ref().expect("a round was prepared")
    }

    fn command(&self, args: &[&str]) -> Ended {
        self.round().desk.backfill(args)
    }

    /// Whether the process is there.
    fn is_alive(&self) -> bool {
        self.round().child.is_some()
    }

    /// Fails unless the last words of the process are true.
    fn judge(&self, ended: &Ended) {
        let (round, seed) = (self.round(), self.seed);
        let said = format!("seed {seed}, code {}: {}{}", ended.code, ended.stdout, ended.stderr);
        let all = format!("Everything has been migrated: all {} documents", round.documents);
        // Whoever says this may be killed just before the end.
        if ended.stdout.contains("Everything has been migrated") {
            assert!(ended.stdout.contains(&all), "{said}");
            assert_eq!(self.report()["outcome"], "complete", "{said}");
        }
        match ended.code {
            0 => assert!(ended.stdout.contains(&all), "{said}"),
            // Documents were reported as failed.
            3 => assert_eq!(self.report()["outcome"], "complete_with_failed_documents", "{said}"),
            // The target answered what cannot be waited for.
            6 => {
                assert!(!round.export && ended.stderr.contains("target"), "{said}");
                assert!(!said.contains("was deleted"), "{said}");
            }
            // Asked to end, perhaps before it could listen to signals.
            130 | -1 | -2 | -15 => assert!(round.stopped.get(), "{said}"),
            -9 => assert!(round.killed.get(), "{said}"),
            _ => panic!("{said}"),
        }
    }
}

impl Home for OneMachine {
    fn prepare(&mut self, world: &World, round: u64) -> Documents {
        let fixture = fixture(FIXTURES[(round % FIXTURES.len() as u64) as usize]);
        let mut expected = Documents::expected(&fixture);
        expected.0.retain(|key, _| INDICES.contains(&key.index.as_str()) || key.index.starts_with("logs-"));
        let export = round % EXPORTS == EXPORTS - 1;
        let target = if export { "ndjson:out".to_owned() } else { world.proxy.url() };
        world.empty(&expected);
        // Small pieces, so that a run has many moments to be interrupted at.
        let args = ["start", "--local", "--repo", &repo(&fixture), "--target", &target, "--index", SELECTION];
        let small = ["--chunk-size", "30kb", "--bulk-size", "1kb", "--max-in-flight", "2"];
        let args = args.iter().chain(&small).map(|arg| (*arg).to_owned()).collect();
        let documents = expected.0.len() as u64;
        let (desk, stopped, killed) = (Desk::new(), Cell::new(false), Cell::new(false));
        self.round = Some(Round { desk, args, export, documents, child: None, stopped, killed });
        expected
    }

    fn start(&mut self, _new: bool, workers: u32) -> bool {
        if self.is_alive() {
            // Whoever scaled it to 0 may never come back.
            self.scale(workers);
            return false;
        }
        let workers = workers.to_string();
        let Some(round) = &mut self.round else { return false };
        let args: Vec<&str> = round.args.iter().map(String::as_str).chain(["--workers", &workers]).collect();
        round.stopped.set(false);
        round.killed.set(false);
        round.child = Some(round.desk.spawn(&args));
        true
    }

    fn scale(&mut self, workers: u32) {
        // A run that is not there yet, or has just ended, cannot be scaled.
        self.command(&["scale", &workers.to_string()]);
    }

    fn stop(&mut self, dice: u32) {
        let Some(child) = &self.round().child else { return };
        let pid = child.id();
        self.round().stopped.set(true);
        match dice % 4 {
            0 => drop(signal("-INT", pid)),
            1 => drop(signal("-TERM", pid)),
            2 => drop(signal("-HUP", pid)),
            _ => drop(self.command(&["stop"])),
        }
    }

    fn workers(&self) -> Vec<u32> {
        self.round().child.iter().map(Child::id).collect()
    }

    fn look(&mut self) {
        let Some(round) = &mut self.round else { return };
        let Some(child) = &mut round.child else { return };
        self.peak = peak_of(child.id()).max(self.peak);
        if child.try_wait().unwrap().is_none() {
            return;
        }
        let ended: Ended = round.child.take().unwrap().wait_with_output().unwrap().into();
        self.judge(&ended);
        if ended.code != 0 && ended.code != 3 {
            self.start(false, 3);
        }
    }

    fn report(&self) -> Value {
        let ended = self.command(&["status", "--json"]);
        if ended.code == 0 && !ended.stdout.trim().is_empty() { ended.json() } else { Value::Null }
    }

    fn writes_to_target(&self) -> bool {
        !self.round().export
    }

    fn killed(&mut self) {
        self.round().killed.set(true);
    }

    fn retry_failed(&mut self) -> bool {
        // The process has told its last words before the next command comes.
        wait_until("the process has ended", || {
            self.look();
            !self.is_alive()
        });
        if self.failed_documents().is_empty() {
            return true;
        }
        self.command(&["failed-documents", "retry", "--json"]).expect(0);
        let report = self.report();
        assert_eq!(
            (&report["outcome"], report["documents_done"].as_u64()),
            (&"complete".into(), Some(self.round().documents)),
            "seed {}: {report:#}",
            self.seed
        );
        true
    }

    fn failed_documents(&self) -> Vec<Name> {
        let listed = self.command(&["failed-documents", "list", "--json", "--limit", "100000"]).expect(0);
        let name = |line: &str| {
            let record: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            (text("index"), text("id"))
        };
        listed.stdout.lines().map(name).collect()
    }

    fn assert_arrived(&self, world: &World, expected: &Documents) {
        let documents = match self.round().export {
            true => self.round().desk.exported("out"),
            false => Documents::in_cluster(world.url()),
        };
        documents.assert_same(expected);
    }

    fn pace(&self) -> std::ops::Range<u64> {
        10..700
    }

    fn peak(&self) -> u64 {
        self.peak
    }
}

#[test]
#[ignore = "starts a real OpenSearch: cargo xtask test"]
fn whatever_happens_on_one_machine_each_document_arrives() {
    let settings = Settings::read();
    let mut world = World::new(&settings);
    let mut home = OneMachine { seed: settings.seed, round: None, peak: 0 };
    simulate(&settings, &mut world, &mut home);
    assert!(home.peak > 0 && home.peak < MEMORY_MIB);
}

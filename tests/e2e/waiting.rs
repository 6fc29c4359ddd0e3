//! What is waited for is told everywhere and bounded, and so is the end of a run that is stopped. The target is an HTTP
//! server that answers as the test wants.

use crate::simulator::proxy::{Fate, Proxy};
use crate::support::{Desk, Documents, Ended, fixture, repo, wait_until};
use serde_json::Value;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const JSON: &str = "application/json";

/// A target that lets a run begin, and answers bulk requests like this.
fn target(bulk: impl Fn() -> Fate + Send + Sync + 'static) -> Proxy {
    Proxy::start("http://127.0.0.1:1", move |head| match head.path.contains("_bulk") {
        true => bulk(),
        false => itself(),
    })
}

/// An answer of a target that is well.
fn itself() -> Fate {
    Fate::Answer(200, JSON, r#"{"version":{"number":"2.19.5","distribution":"opensearch"}}"#.to_owned())
}

fn start<'a>(repo: &'a str, url: &'a str, wait: &'a str) -> Vec<&'a str> {
    let given = ["start", "--local", "--repo", repo, "--target", url, "--target-wait", wait];
    [&given[..], &["--max-in-flight", "1"]].concat()
}

fn status(desk: &Desk) -> Value {
    let ended = desk.backfill(&["status", "--json"]);
    if ended.code == 0 { ended.json() } else { Value::Null }
}

fn signal(name: &str, child: &std::process::Child) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn an_outage_of_the_target_is_told_everywhere_until_it_is_given_up() {
    let (desk, repo) = (Desk::new(), repo(&fixture("tiny")));
    let target = target(|| Fate::Drop);
    let url = target.url();
    let child = desk.spawn(&start(&repo, &url, "13s"));
    wait_until("the wait is recorded", || status(&desk)["waiting"].as_array().is_some_and(|w| !w.is_empty()));
    let report = status(&desk);
    assert_eq!(
        (&report["status"], &report["waiting"][0]["cause"]),
        (&"RUNNING".into(), &"target_unreachable".into())
    );
    assert_eq!((&report["eta_ms"], &report["rate"]["window_ms"]), (&Value::Null, &0.into()));
    for args in [&["status"][..], &["status", "--deep-check"], &["describe"]] {
        let told = desk.backfill(args).expect(0).stdout;
        assert!(
            told.contains("Target unreachable for ") && told.contains("; gives up at 13s"),
            "{args:?}: {told}"
        );
    }
    let ended = Ended::from(child.wait_with_output().unwrap()).expect(6);
    assert!(ended.stderr.contains("; Target unreachable for "), "{}", ended.stderr);
}

#[test]
fn the_first_questions_are_repeated_when_something_on_the_way_answers_badly() {
    let (desk, repo) = (Desk::new(), repo(&fixture("tiny")));
    let asked = AtomicUsize::new(0);
    let target = Proxy::start("http://127.0.0.1:1", move |head| {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        match (head.path.contains("_bulk"), number % 5) {
            // The run has come as far as its first document.
            (true, _) => Fate::Answer(401, JSON, r#"{"error":"no"}"#.to_owned()),
            (false, 0) => Fate::Answer(502, "text/html", "<html>Bad gateway</html>".to_owned()),
            (false, 1) => Fate::Answer(200, "text/html", "<html>Please log in</html>".to_owned()),
            (false, 2) => Fate::Drop,
            (false, 3) => Fate::Answer(503, JSON, "{}".to_owned()),
            (false, _) => itself(),
        }
    });
    let ended = desk.backfill(&start(&repo, &target.url(), "60s")).expect(6);
    assert!(ended.stderr.contains("denies access"), "{}", ended.stderr);
    assert!(target.faults() > 8);
}

#[test]
fn a_run_that_is_stopped_shows_who_is_still_at_work() {
    let (desk, repo) = (Desk::new(), repo(&fixture("tiny")));
    // Each request is held until the test lets it go.
    let (asked, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let (told, hold) = (asked.clone(), held.clone());
    let target = target(move || {
        told.store(true, Ordering::SeqCst);
        while hold.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Fate::Answer(503, JSON, "{}".to_owned())
    });
    let url = target.url();
    let running = |desk: &Desk| status(desk)["fleet"]["running"] == 1;
    for how in ["-INT", "-TERM", "-HUP", "stop"] {
        held.store(true, Ordering::SeqCst);
        asked.store(false, Ordering::SeqCst);
        let child = desk.spawn_heeding_hangup(&start(&repo, &url, "60s"));
        wait_until("a request is under way", || asked.load(Ordering::SeqCst));
        wait_until("a worker is at work", || running(&desk) && status(&desk)["status"] == "RUNNING");
        let stop = match how {
            "stop" => Some(desk.spawn(&["stop"])),
            signal_name => {
                signal(signal_name, &child);
                None
            }
        };
        wait_until("it stops", || status(&desk)["status"] == "STOPPING");
        assert!(running(&desk), "{how}");
        held.store(false, Ordering::SeqCst);
        let ended = Ended::from(child.wait_with_output().unwrap()).expect(130);
        let end = if how == "stop" { "; Ctrl-C ends at once." } else { "; Ctrl-C again ends at once." };
        // A process that is stopped from elsewhere may notice it only after its request has ended.
        let requests = if how == "stop" { "" } else { " 1 request" };
        let stopping = format!("Stopping: 1 worker finishes{requests}");
        assert!(ended.stderr.contains(&stopping), "{how}: {}", ended.stderr);
        assert!(ended.stderr.contains(end), "{how}: {}", ended.stderr);
        if let Some(stop) = stop {
            let ended = Ended::from(stop.wait_with_output().unwrap()).expect(0);
            assert!(
                ended.stderr.contains("Stopping: 1 worker finishes what is in flight."),
                "{}",
                ended.stderr
            );
        }
        let report = status(&desk);
        assert_eq!((&report["status"], &report["fleet"]["running"]), (&"STOPPED".into(), &0.into()), "{how}");
    }
}

#[test]
fn a_run_goes_on_when_the_terminal_closes_if_it_was_started_so() {
    let (desk, repo) = (Desk::new(), repo(&fixture("tiny")));
    let asked = Arc::new(AtomicBool::new(false));
    let told = asked.clone();
    let target = target(move || {
        told.store(true, Ordering::SeqCst);
        Fate::Answer(503, JSON, "{}".to_owned())
    });
    // As nohup does it.
    let child = desk.spawn_ignoring_hangup(&start(&repo, &target.url(), "60s"));
    wait_until("a request is under way", || asked.load(Ordering::SeqCst));
    signal("-HUP", &child);
    asked.store(false, Ordering::SeqCst);
    wait_until("requests go on", || asked.load(Ordering::SeqCst));
    assert_eq!(status(&desk)["status"], "RUNNING");
    // Had the first signal counted, this one would end the process at once.
    signal("-TERM", &child);
    let ended = Ended::from(child.wait_with_output().unwrap()).expect(130);
    assert!(ended.stderr.contains("`backfill start` continues"), "{}", ended.stderr);
    assert_eq!(status(&desk)["status"], "STOPPED");
}

#[test]
fn a_state_file_that_another_process_holds_is_told() {
    let (desk, repo) = (Desk::new(), repo(&fixture("tiny")));
    let target = target(|| Fate::Drop);
    let url = target.url();
    let child = desk.spawn(&start(&repo, &url, "60s"));
    wait_until("a worker is at work", || status(&desk)["fleet"]["running"] == 1);
    let other = rusqlite::Connection::open(desk.path("backfill.sqlite")).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Until after the next line of the progress.
    std::thread::sleep(Duration::from_secs(13));
    other.execute_batch("ROLLBACK").unwrap();
    signal("-INT", &child);
    let ended = Ended::from(child.wait_with_output().unwrap()).expect(130);
    assert!(ended.stderr.contains("State file busy for "), "{}", ended.stderr);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (desk, repo) = (Desk::new(), repo(&fixture("tiny")));
    let target = target(|| {
        std::thread::sleep(Duration::from_secs(15));
        Fate::Drop
    });
    let url = target.url();
    let child = desk.spawn(&start(&repo, &url, "60s"));
    wait_until("a worker is at work", || status(&desk)["fleet"]["running"] == 1);
    signal("-INT", &child);
    wait_until("it stops", || status(&desk)["status"] == "STOPPING");
    let begun = Instant::now();
    signal("-INT", &child);
    Ended::from(child.wait_with_output().unwrap()).expect(130);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_shard_that_cannot_be_read_for_now_does_not_keep_the_others_back() {
    let (desk, fixture) = (Desk::new(), fixture("es-7.10.2"));
    let repository = desk.path("repo");
    let copied = Command::new("cp").arg("-r").arg(&fixture.repo).arg(&repository).status().unwrap();
    assert!(copied.success());
    let root = std::fs::read_dir(&repository).unwrap().map(|entry| entry.unwrap().path());
    let root =
        root.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("index-")).max().unwrap();
    let root: Value = serde_json::from_slice(&std::fs::read(root).unwrap()).unwrap();
    let shard = repository.join("indices").join(root["indices"]["basic"]["id"].as_str().unwrap()).join("0");
    // Links to themselves cannot be opened, as files on a bad sector, but they are there.
    let hidden = desk.path("hidden");
    std::fs::rename(&shard, &hidden).unwrap();
    std::fs::create_dir(&shard).unwrap();
    for file in std::fs::read_dir(&hidden).unwrap() {
        let name = file.unwrap().file_name();
        std::os::unix::fs::symlink(&name, shard.join(&name)).unwrap();
    }
    let repo = repository.to_str().unwrap().to_owned();
    let start = || {
        desk.backfill(&[
            "start",
            "--local",
            "--repo",
            &repo,
            "--target",
            "ndjson:out",
            "--index",
            "basic,nested",
        ])
    };
    let told = "1 shard cannot be read for now and will be tried again by the next start: [basic][0]: ";
    let ended = start().expect(5);
    assert!(ended.stdout.contains(told), "{}", ended.stdout);
    let said = ended.stdout + &ended.stderr;
    assert!(said.contains("`backfill start` tries them again"), "{said}");
    assert!(!desk.exported("out").0.is_empty(), "the other index was exported");
    let shown = desk.backfill(&["status", "--deep-check"]).expect(0).stdout;
    assert!(shown.starts_with("BackfillStatus.STOPPED") && shown.contains(told), "{shown}");
    assert_eq!(status(&desk)["outcome"], "failed");
    start().expect(5);
    std::fs::remove_dir_all(&shard).unwrap();
    std::fs::rename(&hidden, &shard).unwrap();
    start().expect(0);
    assert!(!desk.backfill(&["status"]).expect(0).stdout.contains("cannot be read"));
    let mut expected = Documents::expected(&fixture);
    expected.0.retain(|key, _| ["basic", "nested"].contains(&key.index.as_str()));
    desk.exported("out").assert_same(&expected);
}

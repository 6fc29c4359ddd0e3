//! Exit codes, and the one sentence that bad input gets.

use crate::support::{Desk, fixture, repo};
use std::os::unix::fs::PermissionsExt;

#[test]
fn bad_input_gets_one_sentence_and_its_code() {
    let desk = Desk::new();
    let repo = repo(&fixture("tiny"));
    std::fs::write(desk.path("broken.yaml"), "target_cluster: [").unwrap();
    std::fs::write(desk.path("unknown.yaml"), "target_cluster: {endpoint: 'http://127.0.0.1:1', pasword: x}")
        .unwrap();
    std::fs::create_dir(desk.path("empty")).unwrap();
    let closed = desk.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::write(closed.join("index-0"), "{}").unwrap();
    std::fs::set_permissions(closed.join("index-0"), std::fs::Permissions::from_mode(0o0)).unwrap();
    let start = ["start", "--local", "--target", "ndjson:out"];
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--repo", "/no/such/place"], 2, "is not a snapshot repository"),
        (&["--repo", "empty"], 2, "is empty"),
        (&["--repo", "ftp://x/y"], 2, "s3://bucket/prefix"),
        (&[], 2, "--repo"),
        (&["--repo", &repo, "--snapshot", "nope"], 2, "no snapshot named"),
        (&["--repo", &repo, "--index", "nope"], 2, "no index or data stream named"),
        (&["--repo", &repo, "--config-file", "broken.yaml"], 2, "broken.yaml"),
        (&["--repo", &repo, "--config-file", "unknown.yaml"], 2, "pasword"),
        (&["--repo", &repo, "--config-file", "absent.yaml"], 2, "absent.yaml"),
        (&["--repo", &repo, "--workers", "100000"], 2, "workers"),
    ];
    for (args, code, part) in cases {
        let args: Vec<&str> = start.iter().chain(args.iter()).copied().collect();
        let ended = desk.backfill(&args).expect(*code);
        assert!(ended.stderr.contains(part), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.trim().lines().count(), 1, "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("error: "), "{args:?}: {}", ended.stderr);
    }
    // Root may read everything.
    if std::fs::read(closed.join("index-0")).is_err() {
        let args = ["start", "--local", "--target", "ndjson:out", "--repo", "closed"];
        assert!(desk.backfill(&args).expect(5).stderr.contains("no permission"));
    }
}

#[test]
fn targets_that_cannot_be_used_get_theirs() {
    let desk = Desk::new();
    let repo = repo(&fixture("tiny"));
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{unused}");
    let args = ["start", "--local", "--repo", &repo, "--target", &url, "--target-wait", "1s"];
    let ended = desk.backfill(&args).expect(6);
    assert!(ended.stderr.contains("cannot be reached"), "{}", ended.stderr);
    let args = ["start", "--local", "--repo", &repo, "--target", "not a url"];
    desk.backfill(&args).expect(2);
    std::fs::write(desk.path("file"), "").unwrap();
    let args = ["start", "--local", "--repo", &repo, "--target", "ndjson:file/below", "--target-wait", "1s"];
    desk.backfill(&args).expect(6);
}

#[test]
fn commands_on_a_state_that_is_not_there_say_so() {
    let desk = Desk::new();
    for args in [&["status"][..], &["stop"], &["scale", "3"], &["failed-documents", "count"]] {
        let ended = desk.backfill(args).expect(1);
        assert!(ended.stderr.contains("nothing was started"), "{args:?}: {}", ended.stderr);
    }
    std::fs::write(desk.path("backfill.sqlite"), "this is no database").unwrap();
    let ended = desk.backfill(&["status"]).expect(1);
    assert!(ended.stderr.contains("backfill.sqlite"), "{}", ended.stderr);
    desk.backfill(&["start"]).expect(2);
    desk.backfill(&["no-such-command"]).expect(2);
}

#[test]
fn another_job_in_the_same_state_file_is_refused_while_one_is_unfinished() {
    let (desk, fixture) = (Desk::new(), fixture("tiny"));
    let repo = repo(&fixture);
    let start = |target: &str, more: &[&str]| {
        let mut args = vec!["start", "--local", "--repo", &repo, "--target", target];
        args.extend(more);
        desk.backfill(&args)
    };
    start("ndjson:out", &[]).expect(0);
    // The first has ended: another one may begin.
    start("ndjson:other", &[]).expect(0);
    assert!(desk.path("other").is_dir());
}

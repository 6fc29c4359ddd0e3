//! Exit codes, and the one sentence that bad input gets.

use crate::support::{Desk, Ended, fixture, repo};
use backfill::model::RunState;
use backfill::ports::Checkpoints;
use local::{Mode, SqliteStore};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

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
        (&["--repo", "empty"], 2, "contains no files"),
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
    desk.backfill(&["status", "--state", "no/such/place.sqlite"]).expect(1);
    std::fs::write(desk.path("file"), "").unwrap();
    std::fs::create_dir(desk.path("directory")).unwrap();
    let repo = repo(&fixture("tiny"));
    let start = ["start", "--local", "--target", "ndjson:out", "--repo", &repo];
    let directory = "the state file directory is a directory; name a file in it, such as --state directory/backfill.sqlite";
    for (args, state, told) in [
        (&["status"][..], "directory", directory),
        (&start, "directory", directory),
        (&start, "file/state.sqlite", "there is no directory file for the state file file/state.sqlite"),
    ] {
        let ended = desk.backfill(&[args, &["--state", state]].concat()).expect(2);
        assert!(ended.stderr.contains(told), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.trim().lines().count(), 1, "{args:?}: {}", ended.stderr);
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
    // As one that was killed just before its end.
    let store = SqliteStore::open(&desk.path("backfill.sqlite"), Mode::ReadWriteExisting).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let run = runtime.block_on(store.latest_run()).unwrap().unwrap().id;
    runtime.block_on(store.set_state(&run, RunState::Running, 0, &[])).unwrap();
    let others: [(&[&str], &str); 4] = [
        (&["--target", "ndjson:third"], "/third instead of ndjson:"),
        (&["--repo", "nowhere"], "/nowhere instead of "),
        (&["--snapshot", "weekly"], "--snapshot is weekly instead of "),
        (&["--index", "a*", "--include-hidden"], "--index is a* instead of *, --include-hidden is given"),
    ];
    for (arguments, part) in others {
        let args: Vec<&str> = ["start", "--local"].iter().chain(arguments).copied().collect();
        let ended = desk.backfill(&args).expect(2);
        assert!(ended.stderr.contains(part), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("give the run up with --new"), "{args:?}: {}", ended.stderr);
    }
    let ended = desk.backfill(&["start", "--local", "--chunk-size", "8kb"]).expect(0);
    assert!(ended.stderr.contains("keeps its chunk size of "), "{}", ended.stderr);
}

/// A server that gives the same answer to every request.
fn answering(status: &'static str, body: String) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            // The bodies of these requests come with their headers.
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let read = socket.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
            }
            let head =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            // Whoever has gone away needs no answer.
            let _ = socket.write_all((head + &body).as_bytes());
        }
    });
    address
}

/// Variables of a process.
type Environment<'a> = &'a [(&'a str, &'a str)];

/// An error as CloudFormation sends it.
fn error_of_aws(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )
}

fn stack_of_aws(status: &str) -> String {
    format!(
        "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><DescribeStacksResult>\
         <Stacks><member><StackName>s</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime>\
         <StackStatus>{status}</StackStatus></member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
    )
}

#[test]
fn errors_of_aws_get_one_sentence_with_what_to_do() {
    let denied = || {
        error_of_aws("AccessDenied", "User: u is not authorized to perform: cloudformation:DescribeStacks")
    };
    let absent = || error_of_aws("ValidationError", "Stack with id s does not exist");
    let key = ("AWS_ACCESS_KEY_ID", "id");
    let credentials = [key, ("AWS_SECRET_ACCESS_KEY", "secret")];
    let cases: [(&str, String, Environment<'_>, i32, &str); 9] = [
        (
            "400 Bad Request",
            absent(),
            &credentials,
            2,
            "there is no such stack; check its name, account and region",
        ),
        ("403 Forbidden", denied(), &credentials, 1, "add that permission to the role or user"),
        (
            "400 Bad Request",
            error_of_aws("Throttling", "Rate exceeded"),
            &credentials,
            1,
            "try again in a minute",
        ),
        ("403 Forbidden", error_of_aws("ExpiredToken", "x"), &credentials, 2, "has expired; log in again"),
        (
            "403 Forbidden",
            error_of_aws("InvalidClientTokenId", "x"),
            &credentials,
            2,
            "check which profile and region",
        ),
        (
            "403 Forbidden",
            error_of_aws("SignatureDoesNotMatch", "x"),
            &credentials,
            2,
            "check the secret key",
        ),
        (
            "200 OK",
            stack_of_aws("ROLLBACK_COMPLETE"),
            &credentials,
            2,
            "it is not deployed (ROLLBACK_COMPLETE)",
        ),
        ("200 OK", stack_of_aws("CREATE_COMPLETE"), &credentials, 2, "no output CheckpointTable"),
        ("200 OK", String::new(), &[], 2, "no AWS credentials can be had"),
    ];
    let status = |endpoint: Option<&str>, environment: Environment<'_>| -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backfill"));
        command
            .args(["status", "--stack", "s"])
            .current_dir("/")
            .env_clear()
            .envs(environment.iter().copied());
        command.envs([("AWS_EC2_METADATA_DISABLED", "true"), ("HOME", "/nonexistent")]);
        command.envs(endpoint.map(|endpoint| ("AWS_ENDPOINT_URL", endpoint))).output().unwrap().into()
    };
    let check = |ended: Ended, code: i32, part: &str| {
        let ended = ended.expect(code);
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("error: "), "{part}: {}", ended.stderr);
        assert_eq!(ended.stderr.trim().lines().count(), 1, "{part}: {}", ended.stderr);
    };
    std::thread::scope(|scope| {
        for (answer, body, environment, code, part) in cases {
            scope.spawn(move || {
                let endpoint = answering(answer, body);
                let environment: Vec<_> = environment.iter().copied().chain([("AWS_REGION", "r")]).collect();
                check(status(Some(&endpoint), &environment), code, part);
            });
        }
        scope.spawn(|| {
            let nowhere =
                status(Some("http://127.0.0.1:1"), &[&credentials[..], &[("AWS_REGION", "r")]].concat());
            check(nowhere, 1, "check region, endpoint and network");
        });
        scope.spawn(|| {
            check(status(None, &credentials), 2, "the AWS region is not known: name it with --region")
        });
    });
}

#[test]
fn results_that_cannot_be_written_are_an_error_and_a_reader_that_has_gone_is_none() {
    let desk = Desk::new();
    let repo = repo(&fixture("tiny"));
    desk.backfill(&["start", "--local", "--repo", &repo, "--target", "ndjson:out"]).expect(0);
    let (backfill, console) = (env!("CARGO_BIN_EXE_backfill"), env!("CARGO_BIN_EXE_console"));
    let cases: &[(&str, &[&str])] = &[
        (backfill, &["start", "--local", "--repo", &repo, "--target", "ndjson:out"]),
        (backfill, &["plan", "--repo", &repo]),
        (backfill, &["status"]),
        (backfill, &["status", "--json"]),
        (backfill, &["describe"]),
        (backfill, &["failed-documents", "count"]),
        (backfill, &["--help"]),
        (backfill, &["--version"]),
        (console, &["snapshot", "list", "--repo", &repo]),
        (console, &["backfill", "--help"]),
    ];
    for (program, args) in cases {
        let mut command = Command::new(program);
        command.args(*args).current_dir(desk.dir.path());
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended: Ended = command.stdout(full).output().unwrap().into();
        let ended = ended.expect(1);
        let expected = "error: cannot write to standard output: No space left on device (os error 28)\n";
        assert!(ended.stderr.ends_with(expected), "{args:?}: {}", ended.stderr);

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended: Ended = command.stdout(writer).output().unwrap().into();
        let ended = ended.expect(0);
        assert!(!ended.stderr.contains("error"), "{args:?}: {}", ended.stderr);
    }
}

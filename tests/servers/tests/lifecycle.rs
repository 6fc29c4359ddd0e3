//! A server starts, survives what tests do to it, and never outlives them.

#![allow(clippy::unwrap_used)]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use servers::{Server, ServerSpec};

fn spec() -> ServerSpec {
    "opensearch:2.19.5".parse().unwrap()
}

/// Whether a process runs: one that is dead and not waited for does not.
fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

fn ends(pid: u32) -> bool {
    let begun = Instant::now();
    while runs(pid) {
        if begun.elapsed() > Duration::from_secs(20) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

#[test]
#[ignore = "starts a real OpenSearch: cargo xtask test"]
fn a_server_keeps_its_data_and_address_through_crash_and_stop() {
    let mut server = Server::start(&spec()).unwrap();
    let url = server.url().to_owned();
    server.http().put("/kept/_doc/1?refresh=true", &json!({"a": 1})).unwrap();
    let first = server.pid().unwrap();

    server.kill().unwrap();
    assert!(server.pid().is_none() && !runs(first));
    assert!(server.http().get("/").is_err());
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(server.http().get("/kept/_count").unwrap().json().unwrap()["count"], 1);

    server.stop().unwrap();
    server.restart().unwrap();
    assert_eq!(server.http().get("/kept/_doc/1").unwrap().json().unwrap()["found"], true);

    let (last, log) = (server.pid().unwrap(), server.log());
    drop(server);
    assert!(!runs(last));
    assert!(!log.exists());
}

#[test]
#[ignore = "starts a real OpenSearch: cargo xtask test"]
fn a_server_that_ends_by_itself_says_why() {
    let error = Server::start(&spec().setting("no.such.setting", Value::Bool(true))).unwrap_err().to_string();
    assert!(error.contains("opensearch:2.19.5 ended with"), "{error}");
    assert!(error.contains("no.such.setting"), "{error}");
}

/// Starts a server and waits to be killed: the process that the next test kills.
#[test]
#[ignore = "is run by a_server_ends_when_its_process_is_killed"]
fn owner() {
    let Some(told) = std::env::var_os("BACKFILL_TEST_OWNER") else { return };
    let server = Server::start(&spec()).unwrap();
    std::fs::write(&told, format!("{} {}", server.pid().unwrap(), server.log().display())).unwrap();
    std::thread::sleep(Duration::from_secs(300));
}

#[test]
#[ignore = "starts a real OpenSearch: cargo xtask test"]
fn a_server_ends_when_its_process_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let told = dir.path().join("told");
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["owner", "--exact", "--ignored"])
        .env("BACKFILL_TEST_OWNER", &told)
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let text = loop {
        match std::fs::read_to_string(&told) {
            Ok(text) if text.contains("server.log") => break text,
            _ => assert!(begun.elapsed() < Duration::from_secs(240), "the server did not start"),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let (pid, log) = text.split_once(' ').unwrap();
    let pid = pid.parse().unwrap();
    assert!(runs(pid));
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(ends(pid), "{pid} still runs");
    let begun = Instant::now();
    while std::path::Path::new(log).exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{log} is still there");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "downloads and starts real servers: cargo xtask test"]
fn stand_ins_for_aws_answer_until_they_are_dropped() {
    let (dynamodb, sqs) = (servers::DynamoDb::start().unwrap(), servers::Sqs::start().unwrap());
    let addresses = [dynamodb.url(), sqs.url()].map(|url| url.replace("http://", ""));
    for address in &addresses {
        std::net::TcpStream::connect(address).unwrap();
    }
    drop((dynamodb, sqs));
    for address in &addresses {
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}

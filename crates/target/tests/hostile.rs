//! Against servers that are not what they should be.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use backfill::model::WriteMode;
use backfill::ports::{Batch, ItemOutcome, Target, TargetError};
use common::{Request, answer, batch, writer};
use std::time::Duration;
use target::{Auth, Compression, OpenSearchTarget, TargetConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const OK: &str = r#"{"took":1,"errors":false,"items":[{"index":{"status":201}}]}"#;

/// A server that gives these answers, and then tells the requests and the number of connections that it had.
async fn server(answers: Vec<String>) -> (String, JoinHandle<(Vec<Request>, usize)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = async move {
        let mut answers = answers.into_iter();
        let (mut requests, mut connections) = (Vec::new(), 0);
        'connections: while answers.len() > 0 {
            let (mut socket, _) = listener.accept().await.unwrap();
            connections += 1;
            while let Some(request) = Request::read(&mut socket).await {
                requests.push(request);
                // The client may hang up before it has read all.
                let _ = socket.write_all(answers.next().unwrap().as_bytes()).await;
                if answers.len() == 0 {
                    break 'connections;
                }
            }
        }
        (requests, connections)
    };
    (url, tokio::spawn(serve))
}

fn config(url: &str) -> TargetConfig {
    TargetConfig { request_timeout: Duration::from_secs(2), ..TargetConfig::new(url) }
}

fn large() -> Batch {
    let source = format!("{{\"text\":\"{}\"}}", "x".repeat(5000));
    batch(WriteMode::Index, &[("1", None, &source)])
}

async fn send(config: TargetConfig, batch: &Batch) -> Result<Vec<ItemOutcome>, TargetError> {
    let target = OpenSearchTarget::new(config).unwrap();
    writer(&target, "größe", WriteMode::Index).await.send(batch).await.map(|reply| reply.items)
}

fn indexed() -> Result<Vec<ItemOutcome>, TargetError> {
    Ok(vec![ItemOutcome::Indexed])
}

#[tokio::test]
async fn a_batch_is_one_request_with_its_own_bytes() {
    let (url, server) = server(vec![answer("200 OK", "", OK)]).await;
    let batch = large();
    assert_eq!(send(config(&url), &batch).await, indexed());
    let request = server.await.unwrap().0.remove(0);
    assert!(
        request.line.starts_with("POST /gr%C3%B6%C3%9Fe/_bulk?filter_path=took,errors,"),
        "{}",
        request.line
    );
    assert_eq!(request.body, batch.body);
    assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(request.header("content-encoding"), None);
    assert!(request.header("user-agent").unwrap().starts_with("backfill/"));
}

#[tokio::test]
async fn connections_are_used_again() {
    let (url, server) = server(vec![answer("200 OK", "", OK); 5]).await;
    let target = OpenSearchTarget::new(config(&url)).unwrap();
    let writer = writer(&target, "i", WriteMode::Index).await;
    for _ in 0..5 {
        assert_eq!(writer.send(&large()).await.map(|reply| reply.items), indexed());
    }
    let (requests, connections) = server.await.unwrap();
    assert_eq!((requests.len(), connections), (5, 1));
}

#[tokio::test]
async fn nothing_is_sent_where_a_redirect_points() {
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let (elsewhere, other) = server(vec![answer("200 OK", "", OK)]).await;
        let location = format!("Location: {elsewhere}/\r\n");
        let (url, _server) = server(vec![answer(status, &location, "")]).await;
        let error = send(config(&url), &large()).await.unwrap_err();
        let TargetError::Unexpected { reason, .. } = &error else { panic!("{error:?}") };
        assert!(reason.contains(&elsewhere), "{reason}");
        assert!(!other.is_finished());
        other.abort();
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless = format!("{head}{}", format!("10000\r\n{}\r\n", " ".repeat(0x10000)).repeat(100));
    let (url, _server) = server(vec![endless]).await;
    let error = send(config(&url), &large()).await.unwrap_err();
    assert!(matches!(error, TargetError::Unexpected { .. }), "{error:?}");
    assert!(error.to_string().contains("is longer than"), "{error}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_acknowledges_nothing() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"items\":[";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        Request::read(&mut socket).await.unwrap();
        socket.write_all(cut.as_bytes()).await.unwrap();
    });
    let error = send(config(&url), &large()).await.unwrap_err();
    assert!(matches!(error, TargetError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn silence_ends_with_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut config = config(&url);
    config.request_timeout = Duration::from_millis(200);
    let error = send(config, &large()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("the target {url} cannot be reached: no answer within 200ms"));
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = OpenSearchTarget::new(config(&url)).unwrap().check().await.unwrap_err();
    let TargetError::Unreachable { reason, .. } = &error else { panic!("{error:?}") };
    assert!(
        reason.contains("refused") && reason.ends_with("check its address and that it is up"),
        "{reason}"
    );
}

#[tokio::test]
async fn passwords_are_sent_and_never_repeated() {
    let echo = answer("401 Unauthorized", "", "no: Basic bWU6aHVudGVyMjI= is me:hunter22");
    let (url, server) = server(vec![echo]).await;
    let mut config = config(&url);
    config.auth = Auth::Basic { user: "me".into(), password: "hunter22".into() };
    let target = OpenSearchTarget::new(config).unwrap();
    let error = target.check().await.unwrap_err();
    assert!(matches!(error, TargetError::Denied { .. }), "{error:?}");
    for shown in [error.to_string(), format!("{target:?}")] {
        assert!(!shown.contains("hunter22") && !shown.contains("bWU6aHVudGVyMjI="), "{shown}");
    }
    let request = server.await.unwrap().0.remove(0);
    assert_eq!(request.header("authorization"), Some("Basic bWU6aHVudGVyMjI="));
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_passed_on() {
    for (header, expected) in [
        ("Retry-After: 3\r\n", Some(Duration::from_secs(3))),
        ("Retry-After: 99999999999\r\n", Some(Duration::from_secs(600))),
        ("Retry-After: soon\r\n", None),
        ("", None),
    ] {
        let (url, _server) = server(vec![answer("429 Too Many Requests", header, "")]).await;
        let error = send(config(&url), &large()).await.unwrap_err();
        assert_eq!(error, TargetError::Overloaded { target: url, retry_after: expected });
    }
}

#[tokio::test]
async fn compressed_bytes_are_the_same_each_time() {
    let (url, server) = server(vec![answer("200 OK", "", OK); 2]).await;
    let target =
        OpenSearchTarget::new(TargetConfig { compression: Compression::On, ..config(&url) }).unwrap();
    let writer = writer(&target, "i", WriteMode::Index).await;
    for _ in 0..2 {
        assert_eq!(writer.send(&large()).await.map(|reply| reply.items), indexed());
    }
    let requests = server.await.unwrap().0;
    assert_eq!(requests[0].header("content-encoding"), Some("gzip"));
    assert_eq!(requests[0].body, requests[1].body);
    let mut plain = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(&requests[0].body[..]), &mut plain).unwrap();
    assert_eq!(plain, large().body);
}

#[tokio::test]
async fn refusals_of_compressed_requests_are_final_when_compression_is_wanted() {
    let (url, _server) = server(vec![answer("415 Unsupported Media Type", "", "")]).await;
    let error =
        send(TargetConfig { compression: Compression::On, ..config(&url) }, &large()).await.unwrap_err();
    assert!(matches!(error, TargetError::Unexpected { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_no_cluster_is_said_so() {
    for body in ["<html>hello</html>", "{}", r#"{"version":{}}"#, "[]", ""] {
        let (url, _server) = server(vec![answer("200 OK", "", body)]).await;
        let error = OpenSearchTarget::new(config(&url)).unwrap().check().await.unwrap_err();
        assert!(error.to_string().ends_with("check that the address is right"), "{error}");
    }
}

#[tokio::test]
async fn fetched_documents_are_those_that_were_asked_for() {
    for body in [
        "{}",
        r#"{"docs":[]}"#,
        r#"{"docs":[{"_id":"2","found":true,"_source":{}}]}"#,
        r#"{"docs":[{"_id":"1","found":true}]}"#,
    ] {
        let (url, _server) = server(vec![answer("200 OK", "", body)]).await;
        let target = OpenSearchTarget::new(config(&url)).unwrap();
        let error = target.cluster().fetch("i", &[("1", None)]).await.unwrap_err();
        assert!(matches!(error, TargetError::Unexpected { .. }), "{body}: {error:?}");
    }
    let partial = r#"{"count":3,"_shards":{"total":2,"successful":1,"failed":1}}"#;
    let (url, _server) = server(vec![answer("200 OK", "", partial)]).await;
    assert!(OpenSearchTarget::new(config(&url)).unwrap().cluster().count("i", false).await.is_err());
}

#[tokio::test]
async fn names_that_would_reach_elsewhere_are_refused() {
    let target = OpenSearchTarget::new(config("http://127.0.0.1:9")).unwrap();
    for name in ["", "_all", "a,b", "logs-*", "..", "a/_bulk"] {
        let error = target.missing(&[name.to_owned()]).await.unwrap_err();
        assert!(matches!(error, TargetError::Unexpected { .. }), "{name}: {error:?}");
    }
}

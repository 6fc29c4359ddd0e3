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

const OK: &str = r#"{"took":1,"errors":false,"items":[{"index":{"_index":"größe","_id":"1","status":201}}]}"#;

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
    let writer = writer(&target, "größe", WriteMode::Index).await;
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
        let TargetError::Garbled { reason, .. } = &error else { panic!("{error:?}") };
        assert!(reason.contains(&elsewhere), "{reason}");
        assert!(!other.is_finished());
        other.abort();
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let part = " ".repeat(0x10000);
    for (head, say) in [("", "longer than makes sense"), ("{\"items\":[", "does not end")] {
        let start = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{head:<16}\r\n");
        let endless = format!("{start}{}", format!("10000\r\n{part}\r\n").repeat(100));
        let (url, _server) = server(vec![endless]).await;
        let error = send(config(&url), &large()).await.unwrap_err();
        assert!(matches!(error, TargetError::Garbled { .. }), "{error:?}");
        assert!(error.to_string().contains(say), "{error}");
    }
}

/// A server that gives an answer made from each request and from the mark that it carries; tells the connections.
async fn echo(
    answer: impl Fn(usize, &Request) -> String + Send + 'static,
) -> (String, tokio::sync::mpsc::UnboundedReceiver<(usize, Request)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut number, mut connection) = (0, 0);
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            connection += 1;
            while let Some(request) = Request::read(&mut socket).await {
                let _ = socket.write_all(answer(number, &request).as_bytes()).await;
                number += 1;
                let close = request.header("connection") == Some("close");
                let _ = tell.send((connection, request));
                if close {
                    break;
                }
            }
        }
    });
    (url, told)
}

fn mark(request: &Request) -> String {
    format!("X-Opaque-Id: {}\r\n", request.header("x-opaque-id").unwrap())
}

#[tokio::test]
async fn an_answer_to_another_request_acknowledges_nothing() {
    let last = std::sync::Mutex::new(String::new());
    // From the third one on the answer is that to the request before.
    let (url, mut told) = echo(move |number, request| {
        let own = mark(request);
        let before = std::mem::replace(&mut *last.lock().unwrap(), own.clone());
        answer("200 OK", if (2..5).contains(&number) { &before } else { &own }, OK)
    })
    .await;
    let target = OpenSearchTarget::new(config(&url)).unwrap();
    let writer = writer(&target, "größe", WriteMode::Index).await;
    for number in 0..6 {
        let reply = writer.send(&large()).await.map(|reply| reply.items);
        if (2..5).contains(&number) {
            assert!(matches!(reply, Err(TargetError::Garbled { .. })), "{reply:?}");
        } else {
            assert_eq!(reply, indexed());
        }
    }
    // A connection that is out of step is not used again.
    let mut connections = Vec::new();
    while let Ok((connection, _)) = told.try_recv() {
        connections.push(connection);
    }
    assert!(connections[4] > connections[2] && connections[5] > connections[4], "{connections:?}");
}

#[tokio::test]
async fn where_marks_are_lost_names_alone_tie_an_answer_to_its_request() {
    for marks in ["", "X-Opaque-Id: of-a-proxy\r\n"] {
        for (wrong, right) in [(r#""_id":"2""#, r#""_id":"1""#), (r#""_index":"i""#, r#""_index":"größe""#)]
        {
            let body = OK.replace(right, wrong);
            assert_ne!(body, OK);
            let (url, _told) = echo(move |_, request| {
                let settings = r#"{"größe":{"settings":{"index.default_pipeline":"p"}}}"#;
                answer("200 OK", marks, if request.line.starts_with("GET") { settings } else { &body })
            })
            .await;
            let error = send(config(&url), &large()).await.unwrap_err();
            assert!(matches!(error, TargetError::Garbled { .. }), "{error:?}");
        }
        let (url, _told) = echo(|_, _| answer("200 OK", marks, OK)).await;
        assert_eq!(send(config(&url), &large()).await, indexed());
    }
}

#[tokio::test]
async fn documents_that_a_pipeline_renames_are_acknowledged_where_the_answer_carries_the_mark() {
    for (pipeline, expected) in [(r#""index.default_pipeline":"p""#, true), (r#""index.uuid":"u""#, false)] {
        let (url, _told) = echo(move |_, request| {
            let settings = format!(r#"{{"größe":{{"settings":{{{pipeline}}}}}}}"#);
            let body = OK.replace(r#""_id":"1""#, r#""_id":"made""#).replace("größe", "größe-2024");
            answer("200 OK", &mark(request), if request.line.starts_with("GET") { &settings } else { &body })
        })
        .await;
        let sent = send(config(&url), &large()).await;
        assert!(if expected { sent == indexed() } else { sent.is_err() }, "{sent:?}");
    }
}

#[tokio::test]
async fn an_index_behind_an_alias_may_answer() {
    let (url, mut told) = echo(|_, request| {
        let settings = r#"{"größe-000002":{"settings":{"index.uuid":"u"}}}"#;
        let body = OK.replace("größe", "größe-000002");
        answer("200 OK", &mark(request), if request.line.starts_with("GET") { settings } else { &body })
    })
    .await;
    let target = OpenSearchTarget::new(config(&url)).unwrap();
    for _ in 0..2 {
        let writer = writer(&target, "größe", WriteMode::Index).await;
        assert_eq!(writer.send(&large()).await.map(|reply| reply.items), indexed());
    }
    let mut asked = 0;
    while let Ok((_, request)) = told.try_recv() {
        asked += usize::from(request.line.starts_with("GET"));
    }
    assert_eq!(asked, 1, "what is behind an alias is remembered");
}

#[tokio::test]
async fn an_index_may_answer_for_a_name_whose_settings_nobody_may_read() {
    for (marked, expected) in [(true, true), (false, false)] {
        let (url, _told) = echo(move |_, request| {
            let body = OK.replace("größe", "größe-000002");
            let mark = if marked { mark(request) } else { String::new() };
            let denied = r#"{"error":{"type":"security_exception","reason":"no permissions"},"status":403}"#;
            match request.line.starts_with("GET") {
                true => answer("403 Forbidden", &mark, denied),
                false => answer("200 OK", &mark, &body),
            }
        })
        .await;
        let sent = send(config(&url), &large()).await;
        assert!(if expected { sent == indexed() } else { sent.is_err() }, "{sent:?}");
    }
}

#[tokio::test]
async fn the_last_of_very_many_indices_behind_a_name_may_answer() {
    let (url, _told) = echo(|_, request| {
        let index = |number| format!(r#""größe-{number:06}":{{"settings":{{"index.uuid":"u"}}}}"#);
        let settings = format!("{{{}}}", (1..=1200).map(index).collect::<Vec<_>>().join(","));
        let body =
            OK.replace("größe", if request.body.len() % 2 == 0 { "größe-001200" } else { "größe-000001" });
        answer("200 OK", &mark(request), if request.line.starts_with("GET") { &settings } else { &body })
    })
    .await;
    let target = OpenSearchTarget::new(config(&url)).unwrap();
    for source in [r#"{"n":1}"#, r#"{"n":11}"#] {
        let writer = writer(&target, "größe", WriteMode::Index).await;
        let batch = batch(WriteMode::Index, &[("1", None, source)]);
        assert_eq!(writer.send(&batch).await.map(|reply| reply.items), indexed());
    }
}

#[tokio::test]
async fn a_cluster_that_is_starting_does_not_say_that_an_index_is_gone() {
    const GONE: &str =
        r#"{"error":{"type":"index_not_found_exception","reason":"no such index [i]"},"status":404}"#;
    const STARTING: &str = r#"{"error":{"type":"cluster_block_exception","reason":"blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];"},"status":503}"#;
    for (status, body, gone) in [("503 X", STARTING, false), ("200 OK", "{}", true), ("403 X", "{}", true)] {
        let (url, _told) = echo(move |_, request| match request.line.starts_with("GET /i/") {
            true => answer("404 Not Found", &mark(request), GONE),
            false => answer(status, &mark(request), body),
        })
        .await;
        let identity = OpenSearchTarget::new(config(&url)).unwrap().identity("i").await;
        assert!(if gone { identity == Ok(None) } else { identity.is_err() }, "{status}: {identity:?}");
    }
}

#[tokio::test]
async fn answers_from_something_before_the_target_say_nothing_about_documents() {
    let page = "<html>maintenance</html>";
    let ok = |status: &str, headers: &str, body: &str| answer(status, headers, body);
    for said in [
        ok("200 OK", "", page),
        ok("200 OK", "", ""),
        ok("200 OK", "", r#"{"took":1,"errors":false}"#),
        ok("200 OK", "", r#"{"took":1,"errors":false,"items":null}"#),
        ok("200 OK", "", r#"{"took":1,"errors":false,"items":[]}"#),
        ok("200 OK", "", r#"{"took":1,"errors":false,"items":[null]}"#),
        ok("200 OK", "", &OK.replace("201", "0")),
        ok("200 OK", "", &OK.replace("201", "null")),
        ok("204 No Content", "", ""),
        ok("400 Bad Request", "", page),
        ok("404 Not Found", "", page),
        ok("307 Temporary Redirect", "Location: http://elsewhere/\r\n", ""),
    ] {
        let (url, _server) = server(vec![said.clone()]).await;
        let error = send(config(&url), &large()).await.unwrap_err();
        assert!(matches!(error, TargetError::Garbled { .. }), "{said}: {error:?}");
    }
    for status in ["502 Bad Gateway", "504 Gateway Timeout", "500 Internal Server Error"] {
        let (url, _server) = server(vec![ok(status, "", page)]).await;
        let error = send(config(&url), &large()).await.unwrap_err();
        assert!(matches!(error, TargetError::Unreachable { .. }), "{status}: {error:?}");
    }
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
async fn what_a_server_repeats_of_a_password_reaches_nobody() {
    const PASSWORD: &str = "hunter22\"\\é/+";
    let token = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("me:{PASSWORD}"));
    let escaped = |text: &str| {
        let json = serde_json::to_string(text).unwrap();
        json[1..json.len() - 1].to_owned()
    };
    let hex: String = PASSWORD.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = PASSWORD.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let dump = format!("Host: h\r\nAuthorization: Basic {token}\r\n");
    let echoes = [
        escaped(PASSWORD),
        escaped(&escaped(PASSWORD)),
        escaped(&format!("me:{PASSWORD}")),
        escaped(&dump),
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &dump),
        token.clone(),
        hex.clone(),
        percent.clone(),
    ];
    let mut shown = Vec::new();
    for echo in &echoes {
        let error =
            format!(r#"{{"type":"a{echo}","reason":"b {echo}","caused_by":{{"reason":"c {echo}"}}}}"#);
        let item = |status| OK.replace("201", &format!(r#"{status},"error":{error}"#));
        let mut answers = vec![
            answer("200 OK", "", &item(400)),
            answer("200 OK", "", &item(503)),
            answer("200 OK", "", &item(201)),
            answer("200 OK", "", &OK.replace(r#""1""#, &format!(r#""{echo}""#))),
            answer("307 Temporary Redirect", &format!("Location: http://h/{}\r\n", percent), ""),
        ];
        for status in ["400 X", "401 X", "403 X", "404 X", "409 X", "413 X", "500 X", "502 X"] {
            answers.push(answer(status, "", &format!(r#"{{"error":{error}}}"#)));
            answers.push(answer(status, "", &format!(r#"{{"message":"{echo}"}}"#)));
            answers.push(answer(status, "", echo));
        }
        for said in answers {
            let (url, _server) = server(vec![said]).await;
            let mut config = config(&url);
            config.auth = Auth::Basic { user: "me".into(), password: PASSWORD.into() };
            shown.push(match send(config, &large()).await {
                Ok(items) => format!("{items:?}"),
                Err(error) => format!("{error} {error:?}"),
            });
        }
    }
    for secret in ["hunter22", token.trim_end_matches('='), &hex, &percent, &token[8..20]] {
        let found = shown.iter().find(|text| text.contains(secret));
        assert_eq!(found, None, "{secret}");
    }
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
    let writer = writer(&target, "größe", WriteMode::Index).await;
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
        r#"{"docs":[{"_index":"i","_id":"2","found":true,"_source":{}}]}"#,
        r#"{"docs":[{"_index":"j","_id":"1","found":true,"_source":{}}]}"#,
    ] {
        let answers = vec![answer("200 OK", "", body), answer("200 OK", "", r#"{"i":{}}"#)];
        let (url, _server) = server(answers).await;
        let target = OpenSearchTarget::new(config(&url)).unwrap();
        let error = target.cluster().fetch("i", &[("1", None)]).await.unwrap_err();
        assert!(
            matches!(error, TargetError::Unexpected { .. } | TargetError::Garbled { .. }),
            "{body}: {error:?}"
        );
    }
    // Where the index keeps no sources, only that one document cannot be compared.
    let body = r#"{"docs":[{"_index":"i","_id":"1","found":true}]}"#;
    let (url, _server) = server(vec![answer("200 OK", "", body)]).await;
    let fetched = OpenSearchTarget::new(config(&url)).unwrap().cluster().fetch("i", &[("1", None)]).await;
    assert_eq!(fetched.unwrap().pop().flatten().unwrap().source, None);
    // So it is with one for which there is no memory.
    let long = "x".repeat(9000);
    let body = format!(r#"{{"docs":[{{"_index":"i","_id":"1","found":true,"_source":{{"t":"{long}"}}}}]}}"#);
    for (document_bytes, whole) in [(10_000, true), (5000, false)] {
        let (url, _server) = server(vec![answer("200 OK", "", &body)]).await;
        let config = TargetConfig { answer_bytes: 8 << 10, document_bytes, ..config(&url) };
        let fetched = OpenSearchTarget::new(config).unwrap().cluster().fetch("i", &[("1", None)]).await;
        let source = fetched.unwrap().pop().flatten().unwrap().source;
        assert_eq!(source.is_some(), whole, "{document_bytes}");
    }
    let partial = r#"{"count":3,"_shards":{"total":2,"successful":1,"failed":1}}"#;
    let (url, _server) = server(vec![answer("200 OK", "", partial)]).await;
    assert!(OpenSearchTarget::new(config(&url)).unwrap().cluster().count("i", false).await.is_err());
}

#[tokio::test]
async fn names_that_would_reach_elsewhere_are_refused() {
    let target = OpenSearchTarget::new(config("http://127.0.0.1:9")).unwrap();
    for name in ["", "_all", "a,b", "logs-*", "..", "a/_bulk"] {
        let error = target.identity(name).await.unwrap_err();
        assert!(matches!(error, TargetError::Unexpected { .. }), "{name}: {error:?}");
    }
}

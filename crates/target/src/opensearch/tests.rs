//! Against a server that does not understand compressed requests.

use super::*;
use crate::config::Compression;
use backfill::encode::{Document, Encoder};
use backfill::model::Position;
use backfill::ports::ItemOutcome;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const OK: &str = r#"{"items":[{"index":{"_index":"i","_id":"1","status":200}}]}"#;

/// Answers as many requests as there are answers, and tells which of them were compressed.
async fn server(answers: &'static [(u16, &'static str)]) -> (String, JoinHandle<Vec<bool>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = async move {
        let mut compressed = Vec::new();
        let (mut socket, _) = listener.accept().await.unwrap();
        for (status, body) in answers {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
            socket.read_exact(&mut vec![0; length.parse().unwrap()]).await.unwrap();
            compressed.push(head.contains("content-encoding: gzip"));
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        compressed
    };
    (url, tokio::spawn(serve))
}

/// A writer to what is taken for another machine, and a batch.
fn writer(url: String) -> (Writer, Batch) {
    let cluster = Cluster::new(&TargetConfig::new(url)).unwrap();
    let compressor = Compressor::new(Compression::Auto, false);
    let inner = Arc::new(Inner { cluster, compressor, reasons: 1 << 20, query: String::new() });
    let writer = Writer { inner, destination: "i".into(), path: "i/_bulk".into(), mode: WriteMode::Index };
    let mut encoder = Encoder::new(Encoding::Bulk, WriteMode::Index, "i");
    let (routing, doc_type, parent) = (None, None, None);
    let document = Document {
        index: None,
        id: "1",
        routing,
        doc_type,
        parent,
        timestamp: None,
        expires: None,
        source: &[b'x'; 5000],
    };
    encoder.push(Position::default(), &document);
    (writer, encoder.take())
}

/// Sends the same batch so many times.
async fn send(url: String, times: usize) -> Vec<Result<Vec<ItemOutcome>, TargetError>> {
    let (writer, batch) = writer(url);
    let mut replies = Vec::new();
    for _ in 0..times {
        replies.push(writer.send(&batch).await.map(|reply| reply.items));
    }
    replies
}

fn indexed(times: usize) -> Vec<Result<Vec<ItemOutcome>, TargetError>> {
    vec![Ok(vec![ItemOutcome::Indexed]); times]
}

#[tokio::test]
async fn the_target_is_not_waited_for_while_a_request_is_being_compressed() {
    const HELD: Duration = Duration::from_millis(50);
    let (url, _) = server(&[(200, OK)]).await;
    let (writer, batch) = writer(url);
    let permits = writer.inner.compressor.permits.clone();
    let all = permits.acquire_many(permits.available_permits() as u32).await.unwrap();
    let begun = Instant::now();
    let held = async move {
        tokio::time::sleep(HELD).await;
        drop(all);
    };
    let (reply, ()) = tokio::join!(writer.send(&batch), held);
    let (took, elapsed) = (reply.unwrap().took.unwrap(), begun.elapsed());
    assert!(took + HELD <= elapsed, "{took:?} of {elapsed:?}");
}

#[tokio::test]
async fn compression_goes_off_when_it_is_all_that_is_refused() {
    for status in [400, 415] {
        let answers: &[_] = if status == 400 {
            &[(400, ""), (200, OK), (200, OK)]
        } else {
            &[(415, ""), (200, OK), (200, OK)]
        };
        let (url, server) = server(answers).await;
        assert_eq!(send(url, 2).await, indexed(2));
        assert_eq!(server.await.unwrap(), [true, false, false]);
    }
}

#[tokio::test]
async fn compression_stays_on_once_it_was_understood() {
    let (url, server) = server(&[(200, OK), (400, "no"), (200, OK)]).await;
    let replies = send(url, 3).await;
    assert!(
        replies[0].is_ok() && matches!(replies[1], Err(TargetError::Garbled { .. })) && replies[2].is_ok()
    );
    assert_eq!(server.await.unwrap(), [true, true, true]);
}

#[tokio::test]
async fn compression_is_not_blamed_for_what_is_refused_in_any_case() {
    let (url, server) = server(&[(400, "no"), (400, "no"), (200, OK)]).await;
    let replies = send(url, 2).await;
    assert!(matches!(&replies[0], Err(TargetError::Garbled { reason, .. }) if reason.contains("no")));
    assert_eq!(replies[1..], indexed(1));
    assert_eq!(server.await.unwrap(), [true, false, true]);
}

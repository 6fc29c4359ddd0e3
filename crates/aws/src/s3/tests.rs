//! Against stores that do not keep to the protocol.

use super::*;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use backfill::patient::PatientBlobs;
use backfill::waits::Waits;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const ANY: usize = 1 << 20;

/// After an answer that ends so, the store says no more but does not hang up either.
const STALL: &str = "…";

/// A store that gives these answers, one a connection, and then tells the requests that it had.
async fn store(answers: Vec<String>) -> (S3Blobs, JoinHandle<Vec<String>>) {
    store_below("", answers).await
}

/// The same behind a gateway that has it at this path.
async fn store_below(path: &str, answers: Vec<String>) -> (S3Blobs, JoinHandle<Vec<String>>) {
    let (blobs, listener) = blobs_below(path).await;
    let server = tokio::spawn(async move {
        let (mut requests, mut held) = (Vec::new(), Vec::new());
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(socket.read_u8().await.unwrap());
            }
            requests.push(String::from_utf8(request).unwrap());
            socket.write_all(answer.as_bytes()).await.unwrap();
            if answer.ends_with(STALL) {
                held.push(socket);
            } else {
                socket.shutdown().await.unwrap();
            }
        }
        requests
    });
    (blobs, server)
}

/// Blobs at an address where something may listen, and the socket for that.
async fn blobs_below(path: &str) -> (S3Blobs, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}{path}", listener.local_addr().unwrap());
    let address = Address::parse("s3://bucket/base").unwrap();
    let credentials =
        Credentials::builder().access_key_id("id").secret_access_key("key").provider_name("test").build();
    let shared = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(client::http())
        .region(Region::from_static("us-east-1"))
        .sleep_impl(aws_sdk_s3::config::SharedAsyncSleep::new(Sleep))
        .build();
    let options = S3Options { endpoint: Some(endpoint), ..S3Options::default() };
    let client = client::build(options, shared, &address).await.unwrap();
    (S3Blobs { client, address }, listener)
}

#[derive(Debug)]
struct Sleep;

impl aws_sdk_s3::config::AsyncSleep for Sleep {
    fn sleep(&self, duration: std::time::Duration) -> aws_sdk_s3::config::Sleep {
        aws_sdk_s3::config::Sleep::new(tokio::time::sleep(duration))
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

fn part(range: &str, etag: &str, body: &str) -> String {
    answer("206 Partial Content", &format!("Content-Range: bytes {range}\r\nETag: {etag}\r\n"), body)
}

fn refused(status: &str, code: &str, headers: &str) -> String {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>the words</Message><AWSAccessKeyId>id</AWSAccessKeyId></Error>"
    );
    answer(status, headers, &body)
}

/// Reads bytes 2 to 6 of a blob from a store with this answer.
async fn read(answer: String) -> Result<Blob, BlobError> {
    let (blobs, server) = store(vec![answer]).await;
    let result = blobs.get_range("a b%20", 2..6, Some("\"e\"")).await;
    let request = server.await.unwrap().remove(0);
    assert!(request.starts_with("GET /bucket/base/a%20b%2520?"), "{request}");
    let headers = request.to_lowercase();
    assert!(headers.contains("\r\nrange: bytes=2-5\r\n") && headers.contains("\r\nif-match: \"e\"\r\n"));
    result
}

#[tokio::test]
async fn a_range_is_what_was_asked_for() {
    let blob = read(part("2-5/9", "\"e\"", "cdef")).await.unwrap();
    assert_eq!((blob.bytes.as_ref(), blob.etag.as_str()), (b"cdef".as_ref(), "\"e\""));
}

#[tokio::test]
async fn a_store_that_answers_with_something_else_is_an_error() {
    let whole = answer("200 OK", "ETag: \"e\"\r\n", "abcdefghi");
    for lenient in [
        whole,
        part("0-3/9", "\"e\"", "abcd"),
        part("2-6/9", "\"e\"", "cdefg"),
        part("2-4/9", "\"e\"", "cde"),
        part("2-5/9", "\"e\"", "cde"),
        part("nonsense", "\"e\"", "cdef"),
        answer("206 Partial Content", "Content-Range: bytes 2-5/9\r\n", "cdef"),
    ] {
        let error = read(lenient).await.unwrap_err();
        let BlobError::Unavailable { path, reason } = &error else { panic!("{error:?}") };
        assert_eq!(path, "s3://bucket/base/a b%20");
        assert!(reason.contains("use another store"), "{reason}");
    }
}

#[tokio::test]
async fn an_endpoint_may_have_a_path_with_or_without_a_slash() {
    for path in ["/gw/s3", "/gw/s3/"] {
        let (blobs, server) = store_below(path, vec![part("0-1/2", "\"e\"", "ab")]).await;
        blobs.get_range("x", 0..2, None).await.unwrap();
        let request = server.await.unwrap().remove(0);
        assert!(request.starts_with("GET /gw/s3/bucket/base/x?"), "{request}");
    }
}

#[tokio::test]
async fn a_store_with_weak_etags_is_read_without_conditions() {
    let (blobs, server) = store(vec![part("0-1/2", "W/\"e\"", "ab"), part("0-1/2", "W/\"f\"", "ab")]).await;
    let blob = blobs.get_range("x", 0..2, Some("W/\"e\"")).await.unwrap();
    assert_eq!(blob.etag, "W/\"e\"");
    let error = blobs.get_range("x", 0..2, Some("W/\"e\"")).await.unwrap_err();
    assert!(matches!(error, BlobError::Changed { .. }), "{error:?}");
    for request in server.await.unwrap() {
        assert!(!request.to_lowercase().contains("if-match"), "{request}");
    }
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_found_out() {
    let error = read(part("2-5/9", "\"other\"", "cdef")).await.unwrap_err();
    assert!(matches!(error, BlobError::Changed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_blob_that_ends_early_is_short() {
    for answer in [
        part("2-3/4", "\"e\"", "cd"),
        answer("416 Range Not Satisfiable", "Content-Range: bytes */4\r\n", ""),
    ] {
        let error = read(answer).await.unwrap_err();
        assert!(matches!(error, BlobError::Short { end: 6, len: 4, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn errors_say_what_to_do_and_hide_keys() {
    let region = "x-amz-bucket-region: eu-west-1\r\n";
    for (answer, expected) in [
        (refused("404 Not Found", "NoSuchKey", ""), "s3://bucket/base/a b%20: there is no such file"),
        (
            refused("404 Not Found", "NoSuchBucket", ""),
            "s3://bucket/base/a b%20: cannot be read: there is no bucket bucket; check the address",
        ),
        (
            refused("412 Precondition Failed", "PreconditionFailed", ""),
            "s3://bucket/base/a b%20: changed while it was being read; the snapshot was modified or taken again",
        ),
        (
            refused("403 Forbidden", "AccessDenied", ""),
            "s3://bucket/base/a b%20: no permission to read it: AccessDenied: the words; allow s3:GetObject and s3:ListBucket on the repository",
        ),
        (
            refused("400 Bad Request", "ExpiredToken", ""),
            "s3://bucket/base/a b%20: no permission to read it: the AWS session has expired; log in again",
        ),
        (
            refused("301 Moved Permanently", "PermanentRedirect", region),
            "s3://bucket/base/a b%20: cannot be read: the bucket bucket is in another region (eu-west-1); set its region (PermanentRedirect: the words)",
        ),
        (
            refused("403 Forbidden", "InvalidObjectState", ""),
            "s3://bucket/base/a b%20: cannot be read: it is archived; restore it to a storage class that can be read at once",
        ),
    ] {
        assert_eq!(read(answer).await.unwrap_err().to_string(), expected);
    }
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_read_again() {
    let cut = "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Length: 4\r\nContent-Range: bytes 2-5/9\r\nETag: \"e\"\r\n\r\ncd";
    let busy = refused("503 Slow Down", "SlowDown", "");
    let (blobs, server) = store(vec![cut.to_owned(), busy, part("2-5/9", "\"e\"", "cdef")]).await;
    assert_eq!(blobs.get_range("x", 2..6, None).await.unwrap().bytes, "cdef");
    assert_eq!(server.await.unwrap().len(), 3);

    let (blobs, _server) = store(vec![cut.to_owned(); 5]).await;
    let error = blobs.get_range("x", 2..6, None).await.unwrap_err().to_string();
    assert!(error.contains("5 times; check the network"), "{error}");
}

#[tokio::test]
async fn pages_of_a_listing_are_put_together() {
    let page = |key: &str, next: &str| {
        let more = if next.is_empty() { "false" } else { "true" };
        answer(
            "200 OK",
            "",
            &format!(
                "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>{more}</IsTruncated><NextContinuationToken>{next}</NextContinuationToken><Contents><Key>{key}</Key></Contents></ListBucketResult>"
            ),
        )
    };
    let (blobs, server) =
        store(vec![page("base/d/", "t1"), page("base/d/a&amp;b", "t2"), page("base/d/c", "")]).await;
    assert_eq!(blobs.list("d", ANY).await.unwrap(), ["a&b", "c"]);
    assert!(server.await.unwrap()[1].contains("continuation-token=t1"));

    let (blobs, _server) = store(vec![page("base/d/a", "t1"), page("base/d/a", "t1")]).await;
    assert!(matches!(blobs.list("d", ANY).await, Err(BlobError::Unavailable { .. })));

    // Of one that has no end, only as much as there is room for.
    let endless = (0..100).map(|n| page(&format!("base/d/{n:0>900}"), &format!("t{n}"))).collect();
    let (blobs, _server) = store(endless).await;
    let refused = blobs.list("d", 10_000).await;
    assert!(matches!(refused, Err(BlobError::TooLarge { len: 10_000..12_000, .. })), "{refused:?}");
}

/// A store whose answers begin so and have no end, and which tells how many bytes it could send.
async fn endless_store(beginning: &'static str) -> (S3Blobs, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let (blobs, listener) = blobs_below("").await;
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(socket.read_u8().await.unwrap());
            }
            socket.write_all(beginning.as_bytes()).await.unwrap();
            let more = "<Contents><Key>base/d/a</Key></Contents>".repeat(1000);
            while socket.write_all(more.as_bytes()).await.is_ok() {
                counted.fetch_add(more.len(), Ordering::Relaxed);
            }
        }
    });
    (blobs, sent)
}

#[tokio::test]
async fn an_answer_without_an_end_is_read_only_so_far() {
    // What the client has taken in, and what is on its way in the buffers of the system.
    let most = 4 * answers::MAX_ANSWER;
    let page = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<?xml version=\"1.0\"?><ListBucketResult>";
    let error =
        "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\n<?xml version=\"1.0\"?><Error>";
    for beginning in [page, error] {
        for listing in [true, false].into_iter().filter(|listing| *listing || beginning == error) {
            let (blobs, sent) = endless_store(beginning).await;
            let refused = match listing {
                true => blobs.list("d", ANY).await.map(drop),
                false => blobs.get_range("x", 0..4, None).await.map(drop),
            };
            let refused = refused.unwrap_err();
            assert!(matches!(refused, BlobError::Unreadable { .. }), "{refused:?}");
            assert!(refused.to_string().contains("more than 8 MiB"), "{refused}");
            let sent = sent.load(Ordering::Relaxed);
            assert!(sent < most, "{sent} bytes were sent");
        }
    }
}

#[tokio::test]
#[ignore = "waits for a stall to be noticed: cargo xtask test"]
async fn a_body_that_stalls_is_read_again() {
    let stalled = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 9\r\nContent-Range: bytes 0-8/9\r\nETag: \"e\"\r\n\r\n{STALL}"
    );
    let (blobs, _server) = store(vec![stalled, part("0-8/9", "\"e\"", "abcdefghi")]).await;
    assert_eq!(blobs.get_range("x", 0..9, None).await.unwrap().bytes, "abcdefghi");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_asks_to_slow_down_is_waited_for_longer_than_the_sdk_does() {
    let first = part("0-3/9", "\"e\"", "abcd");
    let busy = (0..20).map(|_| refused("503 Slow Down", "SlowDown", ""));
    let answers = std::iter::once(first).chain(busy).chain([part("2-5/9", "\"e\"", "cdef")]).collect();
    let (blobs, server) = store(answers).await;
    let blobs = PatientBlobs::new(Arc::new(blobs), Duration::from_secs(600), Waits::default());
    blobs.get_range("a", 0..4, None).await.unwrap();
    assert_eq!(blobs.get_range("a", 2..6, None).await.unwrap().bytes.as_ref(), b"cdef");
    assert_eq!(server.await.unwrap().len(), 22);
}

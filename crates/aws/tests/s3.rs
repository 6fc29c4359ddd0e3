//! Against a real server that speaks S3's protocol. `BACKFILL_TEST_S3` is its address; credentials and region
//! come from the usual variables of AWS.

#![allow(clippy::unwrap_used, clippy::panic)]

use aws::{S3Blobs, S3FailedDocuments, S3Options};
use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_smithy_http_client::tls;
use backfill::ports::{BlobError, Blobs, FailedDocuments};

/// More objects than fit a page of a listing.
/// More than anything here has.
const ANY: usize = 1 << 30;
const MANY: usize = 1100;
const ODD: &str = "odd/__a b%20+&=ü';1";

fn big() -> Vec<u8> {
    (0..9_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

async fn client(endpoint: &str) -> Client {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let shared =
        aws_config::defaults(BehaviorVersion::latest()).http_client(http).endpoint_url(endpoint).load().await;
    Client::from_conf(aws_sdk_s3::config::Builder::from(&shared).force_path_style(true).build())
}

async fn put(client: &Client, bucket: &str, key: &str, bytes: Vec<u8>) {
    client.put_object().bucket(bucket).key(key).body(bytes.into()).send().await.unwrap();
}

/// What every adapter of the port must do with `index-0`, `big`, an oddly named blob and many blobs in `many`.
async fn contract(blobs: &dyn Blobs, replace: impl AsyncFn(&str, Vec<u8>)) {
    let mut names = blobs.list("", ANY).await.unwrap();
    names.sort();
    assert_eq!(names, ["big", "empty", "index-0"]);
    assert_eq!(blobs.list("absent", ANY).await.unwrap(), Vec::<String>::new());
    assert_eq!(blobs.list("odd", ANY).await.unwrap(), [&ODD[4..]]);
    assert_eq!(blobs.list("many/below", ANY).await.unwrap().len(), MANY);
    assert_eq!(blobs.list("many", ANY).await.unwrap(), Vec::<String>::new());

    assert_eq!(blobs.get("index-0", ANY).await.unwrap().bytes, "zero");
    assert_eq!(blobs.get("empty", ANY).await.unwrap().bytes, "");
    assert_eq!(blobs.get(ODD, ANY).await.unwrap().bytes, "odd");
    assert!(matches!(blobs.get("absent", ANY).await, Err(BlobError::NotFound { .. })));
    assert!(matches!(blobs.get_range("absent", 0..1, None).await, Err(BlobError::NotFound { .. })));

    let (whole, expected) = (blobs.get("big", ANY).await.unwrap(), big());
    assert!(whole.bytes == expected);
    let etag = Some(whole.etag.as_str());
    let end = expected.len();
    for range in [0..1, 0..end, 1_000_000..9_000_000, end - 1..end, 5..5, end..end] {
        let blob = blobs.get_range("big", range.start as u64..range.end as u64, etag).await.unwrap();
        assert!(blob.bytes == expected[range.clone()] && blob.etag == whole.etag, "{range:?}");
    }
    let len = end as u64;
    for range in [len - 1..len + 1, len..len + 1, len + 5..len + 9, len + 1..len + 1] {
        let error = blobs.get_range("big", range.clone(), etag).await.unwrap_err();
        let BlobError::Short { end, len: found, .. } = error else { panic!("{range:?}: {error:?}") };
        assert_eq!((end, found), (range.end, len));
    }
    replace("big", vec![1; end]).await;
    for range in [0..9, 5..5] {
        let error = blobs.get_range("big", range, etag).await.unwrap_err();
        assert!(matches!(error, BlobError::Changed { .. }), "{error:?}");
    }
    assert_eq!(blobs.get_range("big", 0..3, None).await.unwrap().bytes, vec![1; 3]);
}

#[tokio::test]
#[ignore = "needs a real S3 server: cargo xtask test"]
async fn blobs_on_a_real_server() {
    let endpoint = std::env::var("BACKFILL_TEST_S3").unwrap();
    let bucket = format!("backfill-{}-{}", std::process::id(), fastrand::u32(..));
    let client = client(&endpoint).await;
    client.create_bucket().bucket(&bucket).send().await.unwrap();
    let key = |path: &str| format!("some/base/{path}");
    for (path, bytes) in
        [("index-0", b"zero".to_vec()), ("empty", vec![]), (ODD, b"odd".to_vec()), ("big", big())]
    {
        put(&client, &bucket, &key(path), bytes).await;
    }
    put(&client, &bucket, "some/baseless", vec![]).await;
    for n in 0..MANY {
        put(&client, &bucket, &key(&format!("many/below/{n:05}")), vec![0]).await;
    }

    let options = || S3Options { endpoint: Some(endpoint.clone()), ..S3Options::default() };
    let blobs = S3Blobs::open(&format!("s3://{bucket}/some/base"), options()).await.unwrap();
    assert_eq!(blobs.location(), format!("s3://{bucket}/some/base"));
    // What lies beside the prefix is reached by its whole path.
    put(&client, &bucket, "w01/some/base/x", b"beside".to_vec()).await;
    assert_eq!(blobs.get("/w01/some/base/x", ANY).await.unwrap().bytes, "beside");
    assert_eq!(blobs.get_range("/w01/some/base/x", 2..4, None).await.unwrap().bytes, "si");
    contract(&blobs, async |path, bytes| put(&client, &bucket, &key(path), bytes).await).await;

    let absent = S3Blobs::open(&format!("s3://{bucket}/absent"), options()).await.unwrap();
    assert!(matches!(absent.list("", ANY).await, Err(BlobError::NotFound { .. })));
    let absent = S3Blobs::open("s3://backfill-absent-bucket/x", options()).await.unwrap();
    let error = absent.list("", ANY).await.unwrap_err().to_string();
    assert!(error.contains("there is no bucket backfill-absent-bucket"), "{error}");

    let failed = S3FailedDocuments::open(client.clone(), &format!("s3://{bucket}/failed/documents")).unwrap();
    conformance::failed_documents(&failed).await;
    let run = backfill::model::RunId("a run".to_owned());
    assert_eq!(failed.location(&run), format!("s3://{bucket}/failed/documents/a%20run"));
    let nowhere = S3FailedDocuments::open(client.clone(), "s3://backfill-absent-bucket/x").unwrap();
    let error = nowhere.delete(&run).await.unwrap_err().to_string();
    assert!(error.contains("it is not there") && error.contains("backfill-absent-bucket"), "{error}");

    let mut pages = client.list_objects_v2().bucket(&bucket).into_paginator().send();
    while let Some(page) = pages.next().await {
        for object in page.unwrap().contents() {
            client.delete_object().bucket(&bucket).key(object.key().unwrap()).send().await.unwrap();
        }
    }
    client.delete_bucket().bucket(&bucket).send().await.unwrap();
}

//! What the program itself wrote, in this version and an earlier one: items, failed documents, messages, events, and
//! configuration files.

use std::fs;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};

use super::{Corpus, files_below};
use crate::Result;

/// Records of an earlier version.
const EARLIER: &str = "tests/earlier/ad2b943";
/// Messages of the queue.
const MESSAGES: [&str; 3] = [
    r#"{"v":1,"run":"2026-07-21-14-02-11-93","index":"logs","shard":3,"chunk":17}"#,
    r#"{"v":1,"run":"r","index":"\u00fc\"\\","shard":0,"chunk":4294967295}"#,
    r#"{"v":2,"anything":[]}"#,
];
/// Events of the start function.
const EVENTS: [&str; 4] = [
    "{}",
    r#"{"scheduled":true,"index":"a*","workers":3}"#,
    r#"{"resume_planning":true,"repository":"s3://bucket/prefix","s3_region":"eu-west-1","snapshot":"latest"}"#,
    r#"{"types":"field=kind","timestamp_field":"at","ttl_field":"end","chunk_bytes":268435456,"include_hidden":true,"allow_partial":true,"allow_partial_source":true,"create_missing_indices":true,"new":true}"#,
];
/// Configuration files.
const SERVICES: [&str; 2] = [
    "source_cluster:\n  endpoint: https://old:9200\n  allow_insecure: true\n  version: ES_7.10\n  basic_auth: {username: u, password: p}\ntarget_cluster:\n  endpoint: https://new:9200\n  sigv4: {region: eu-west-1, service: aoss}\nsnapshot:\n  snapshot_name: snap\n  s3: {repo_uri: 's3://bucket/prefix', aws_region: eu-west-1}\nbackfill:\n  reindex_from_snapshot: {lambda: {stack_name: s}}\n  local: {workers: 3, types: merge, timestamp_field: at}\n",
    "target_cluster: {endpoint: x, no_auth: }\nsnapshot: {fs: {repo_path: /repo}}\nmetrics: &a {b: [1, 2.5, null, true]}\nreplay: *a\n",
];

pub(super) fn records(corpus: &mut Corpus) -> Result<()> {
    for (target, inputs) in
        [("queue_message", &MESSAGES[..]), ("start_event", &EVENTS[..]), ("services_file", &SERVICES[..])]
    {
        for (number, input) in inputs.iter().enumerate() {
            corpus.add(target, &number.to_string(), input.as_bytes().to_vec());
        }
    }
    items(corpus)?;
    for path in files_below(&Path::new(EARLIER).join("failed"))? {
        let mut records = Vec::new();
        MultiGzDecoder::new(fs::File::open(path)?).read_to_end(&mut records)?;
        // To be compressed; from the first position to the end.
        corpus.add_of_kind("failed_documents", "part", [&[1, 0, 255], &records[..]].concat());
    }
    corpus.add(
        "failed_documents",
        "names",
        b"\x01\0\xff0.0-e1.ndjson.gz\n0.17-e3-s9.2.1.ndjson.gz\n0.17-e4.ndjson.gz".to_vec(),
    );
    // A column of the records that is replaced: its number, the row, and what is put there.
    for (column, record) in
        [(1, "done"), (2, "\"Complete\""), (6, "[]"), (7, r#"{"cursor":{"range":0,"doc":5}}"#)]
    {
        corpus.add("state_file", &column.to_string(), [&[1, column, 0], record.as_bytes()].concat());
    }
    Ok(())
}

/// Items of the checkpoint table, one by one, and together those that are read together.
fn items(corpus: &mut Corpus) -> Result<()> {
    let mut items: Vec<Value> = serde_json::from_slice(&fs::read(Path::new(EARLIER).join("dynamodb.json"))?)?;
    items.iter_mut().filter_map(Value::as_object_mut).for_each(|item| item.values_mut().for_each(unpack));
    let key = |item: &Value, name: &str| item[name]["S"].as_str().unwrap_or_default().to_owned();
    let mut run = Vec::new();
    for item in &items {
        let (partition, sort_key) = (key(item, "pk"), key(item, "sk"));
        let kind = sort_key.split('#').next().unwrap_or_default();
        corpus.add_of_kind("dynamodb_items", kind, serde_json::to_vec(&[item])?);
        if let Some(number) = sort_key.strip_prefix("C#") {
            let beside = |other: &&Value| {
                key(other, "pk") == partition && key(other, "sk").strip_prefix("R#") == Some(number)
            };
            let chunk = [items.iter().find(beside), Some(item)];
            corpus.add_of_kind("dynamodb_items", "chunk", serde_json::to_vec(&chunk)?);
        }
        if !partition.contains('#') && partition != "backfill" {
            run.push(item);
        }
    }
    corpus.add("dynamodb_items", "run", serde_json::to_vec(&run)?);
    Ok(())
}

/// Replaces a compressed record by what it holds.
fn unpack(attribute: &mut Value) {
    let packed = attribute["B"].as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
    let json = packed.and_then(|packed| zstd::decode_all(&packed[..]).ok());
    if let Some(json) = json.and_then(|json| serde_json::from_slice::<Value>(&json).ok()) {
        *attribute = json!({"J": json});
    }
}

//! Items that earlier versions wrote are read, from a table that answers reads only.

use super::DynamoCheckpoints;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use backfill::model::{ChunkState, Planning, RunState};
use backfill::ports::{Checkpoints, StoreError};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const ITEMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/earlier/ad2b943/dynamodb.json");

/// A table that holds these items.
async fn table(items: Vec<Value>) -> DynamoCheckpoints {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let items = Arc::new(items);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, items.clone()));
        }
    });
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new("id", "key", None, None, "test"))
        .region(Region::from_static("us-east-1"))
        .http_client(crate::s3::http())
        .endpoint_url(endpoint)
        .build();
    DynamoCheckpoints::new(aws_sdk_dynamodb::Client::from_conf(config), "table")
}

async fn serve(socket: TcpStream, items: Arc<Vec<Value>>) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    loop {
        let (mut operation, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if socket.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                if line == "\r\n" {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "x-amz-target" => operation = value.rsplit('.').next().unwrap_or_default().to_owned(),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await?;
        let body = answer(&operation, &serde_json::from_slice(&body).unwrap(), &items).to_string();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n";
        let response = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        socket.write_all(response.as_bytes()).await?;
    }
}

fn answer(operation: &str, request: &Value, items: &[Value]) -> Value {
    let of = |key: &Value| items.iter().find(|item| item["pk"] == key["pk"] && item["sk"] == key["sk"]);
    match operation {
        "GetItem" => of(&request["Key"]).map_or_else(|| json!({}), |item| json!({"Item": item})),
        "BatchGetItem" => {
            let keys = request["RequestItems"]["table"]["Keys"].as_array().unwrap();
            json!({"Responses": {"table": keys.iter().filter_map(of).collect::<Vec<_>>()}})
        }
        "Query" => {
            let text = |value: &Value| value["S"].as_str().unwrap_or_default().to_owned();
            let values = &request["ExpressionAttributeValues"];
            let between = text(&values[":from"])..=text(&values[":to"]);
            let mut found: Vec<&Value> = items
                .iter()
                .filter(|i| i["pk"] == values[":pk"] && between.contains(&text(&i["sk"])))
                .collect();
            found.sort_by_key(|item| text(&item["sk"]));
            if request["ScanIndexForward"] == false {
                found.reverse();
            }
            found.truncate(request["Limit"].as_u64().map_or(usize::MAX, |limit| limit as usize));
            json!({"Items": found})
        }
        other => panic!("{other} does not read"),
    }
}

#[tokio::test]
async fn an_unfinished_run_is_read() {
    let store = table(written()).await;
    let run = store.latest_run().await.unwrap().unwrap();
    assert_eq!((run.state, run.planning, run.indices.len()), (RunState::Running, Planning::Complete, 2));
    let summary = store.summary(&run.id, 2_000).await.unwrap();
    assert_eq!(
        (summary.chunks_total, summary.chunks_done, summary.chunks_failed, summary.chunks_leased),
        (6, 2, 1, 1)
    );
    assert_eq!((summary.last_errors.len(), summary.given_up.len(), summary.samples.len()), (1, 1, 1));
    assert_eq!((summary.counters.documents(), summary.counters.failed), (26, 2));
    let mut states = Vec::new();
    for shard in store.shards(&run.id).await.unwrap() {
        for chunk in store.chunks(&run.id, &shard.id).await.unwrap() {
            states.push(match chunk.state {
                ChunkState::Leased(lease) => format!("{} until {}", lease.owner, lease.until),
                state => format!("{state:?} {} {}", chunk.epoch, chunk.progress.cursor),
            });
        }
    }
    states.sort();
    let expected = [
        "Done 1 1.0",
        "Done 1 1.0",
        "Failed 5 0.20",
        "Pending 0 0.20",
        "Pending 1 0.12",
        "request/7 until 62000",
    ];
    assert_eq!(states, expected);
}

/// The items, as if they had been written now: what has expired is not read.
fn written() -> Vec<Value> {
    let mut items: Vec<Value> = serde_json::from_slice(&std::fs::read(ITEMS).unwrap()).unwrap();
    items.iter_mut().for_each(|item| item["ttl"]["N"] = "99999999999".into());
    items
}

/// Reads all that there is to read.
async fn read_all(store: &DynamoCheckpoints) -> Result<(), StoreError> {
    let Some(run) = store.latest_run().await? else { return Ok(()) };
    store.control(&run.id).await?;
    store.summary(&run.id, 2_000).await?;
    for shard in store.shards(&run.id).await? {
        store.chunks(&run.id, &shard.id).await?;
    }
    Ok(())
}

#[tokio::test]
async fn items_with_any_other_attribute_are_read_or_refused() {
    let written = written();
    let values = [
        json!({"S": ""}),
        json!({"S": "\u{0}#"}),
        json!({"N": "-1"}),
        json!({"N": "18446744073709551615"}),
        json!({"N": "99999999999999999999"}),
        json!({"B": ""}),
        // A record of four billion zeros, compressed, as it begins.
        json!({"B": "KLUv/aAAAAAAVAAAEAAAAQD7/znAAgACABA="}),
        json!({"L": []}),
        json!({"L": [{"N": "1"}]}),
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut refused = 0;
    for _ in 0..60 {
        let mut items = written.clone();
        let item = random.choice(&mut items).unwrap().as_object_mut().unwrap();
        let name = random.choice(item.keys().cloned().collect::<Vec<_>>()).unwrap();
        match random.choice(&values) {
            Some(value) if random.u8(..) < 230 => item.insert(name, value.clone()),
            _ => item.remove(&name),
        };
        refused += usize::from(read_all(&table(items).await).await.is_err());
    }
    assert!(refused > 15, "{refused}");
}

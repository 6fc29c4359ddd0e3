//! What the tests share.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use backfill::encode::{Document, Encoder, Encoding};
use backfill::model::{ChunkId, Position, RunId, ShardId, WriteMode};
use backfill::ports::{Batch, ChunkWriter, Target};
use target::OpenSearchTarget;
use tokio::io::{AsyncRead, AsyncReadExt};

/// A batch of documents: id, routing, source.
pub fn batch(mode: WriteMode, documents: &[(&str, Option<&str>, &str)]) -> Batch {
    let mut encoder = Encoder::new(Encoding::Bulk, mode, "unused");
    for (id, routing, source) in documents {
        let document = Document {
            index: None,
            id,
            routing: *routing,
            doc_type: None,
            parent: None,
            timestamp: None,
            expires: None,
            source: source.as_bytes(),
        };
        encoder.push(Position::default(), &document);
    }
    encoder.take()
}

/// A writer to an index.
pub async fn writer(target: &OpenSearchTarget, index: &str, mode: WriteMode) -> Box<dyn ChunkWriter> {
    let chunk = ChunkId { shard: ShardId { index: index.into(), shard: 0 }, number: 0 };
    target.begin(&RunId("run".into()), &chunk, index, mode).await.unwrap()
}

/// A request as a server sees it.
pub struct Request {
    /// The first line.
    pub line: String,
    /// The others, in lower case.
    pub headers: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|h| h.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Reads one, if there is another one.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next().unwrap().to_owned();
        // Only names have no case.
        let lower = |h: &str| h.split_once(": ").map(|(n, v)| format!("{}: {v}", n.to_lowercase())).unwrap();
        let mut request = Request { line, headers: lines.map(lower).collect(), body: Vec::new() };
        let length = request.header("content-length").map_or(0, |l| l.parse().unwrap());
        request.body.resize(length, 0);
        stream.read_exact(&mut request.body).await.ok()?;
        Some(request)
    }
}

/// An answer as a server writes it.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

//! Parts of the failed-document stream, from files and from S3: as they are stored, and records before they are compressed.
//! What is read is written again as the same records, and a name stands for one part.
#![no_main]

use backfill::failed::{decode, encode, in_force};
use backfill::model::{ChunkId, Position, RunId, ShardId};
use backfill::ports::{FailedPart, StoredPart};
use flate2::Compression;
use flate2::write::GzEncoder;
use fuzz::Choices;
use libfuzzer_sys::fuzz_target;
use std::io::Write;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let compressed = choices.byte() % 4 > 0;
    let run = RunId("run".to_owned());
    let chunk = ChunkId { shard: ShardId { index: "i".to_owned(), shard: 0 }, number: 0 };
    let from = Position { range: 0, doc: choices.byte().into() };
    let end = match choices.byte() {
        255 => None,
        range => Some(Position { range: range.into(), doc: choices.byte().into() }),
    };
    let part = FailedPart { run: run.clone(), chunk: chunk.clone(), epoch: 1, from, settled: None };
    let part = StoredPart { part, end };
    let content = if compressed {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(choices.0).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    } else {
        choices.0.to_vec()
    };
    if let Ok(records) = decode(&part, content.as_slice()) {
        assert!(records.iter().all(|record| record.position >= from));
        assert!(records.iter().all(|record| end.is_none_or(|end| record.position < end)));
        let json = |records: &[_]| serde_json::to_string(records).expect("what was JSON is JSON");
        let again = encode(&records).expect("what was JSON is JSON");
        let again = decode(&part, again.as_slice()).expect("what is written is read");
        // A source is kept byte for byte, line breaks between its tokens apart.
        assert_eq!(json(&records).replace(['\n', '\r'], " "), json(&again));
    }

    let names = String::from_utf8_lossy(choices.0);
    let parse = |name: &str| FailedPart::parse(&run, &chunk, name);
    let parts: Vec<FailedPart> = names.lines().take(50).filter_map(parse).collect();
    assert!(parts.iter().all(|part| names.lines().any(|name| name == part.name())));
    // Of each position at most one part counts.
    for pair in in_force(parts).windows(2) {
        assert!(pair[0].part.from < pair[1].part.from && pair[0].end == Some(pair[1].part.from));
    }
});

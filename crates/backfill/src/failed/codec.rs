//! The content of a part: compressed NDJSON, a record a line.

use crate::ports::{FailedDocument, StoredPart};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::io::{self, BufRead, BufReader, Read, Write};

/// Bytes of a part, far more than any worker gathers: a file that claims more is not read.
const MAX_BYTES: u64 = 4 << 30;

/// The content of a part with these records.
///
/// # Errors
/// When a record cannot be written as JSON.
pub fn encode(records: &[FailedDocument]) -> io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    let mut line = Vec::new();
    for record in records {
        line.clear();
        serde_json::to_writer(&mut line, record)?;
        // A source is kept as it was; raw line breaks can only be white space between its tokens.
        line.iter_mut().filter(|b| matches!(b, b'\n' | b'\r')).for_each(|b| *b = b' ');
        line.push(b'\n');
        out.write_all(&line)?;
    }
    out.finish()
}

/// The records of a part that count, from its content.
///
/// # Errors
/// When the content is cut off, damaged or something else: says where and why.
pub fn decode(part: &StoredPart, content: impl Read) -> Result<Vec<FailedDocument>, String> {
    decode_within(part, content, MAX_BYTES)
}

fn decode_within(part: &StoredPart, content: impl Read, most: u64) -> Result<Vec<FailedDocument>, String> {
    // One more byte tells whether it ends here.
    let mut reader = BufReader::new(MultiGzDecoder::new(content).take(most + 1));
    let mut records = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(|e| format!("line {number}: {e}"))?;
        if reader.get_ref().limit() == 0 {
            return Err(format!("line {number}: it has more than {most} bytes, which no worker writes"));
        }
        if length == 0 {
            break;
        }
        let record: FailedDocument = serde_json::from_slice(&line)
            .map_err(|e| format!("line {number} is no record of a failed document: {e}"))?;
        if record.position >= part.part.from && part.end.is_none_or(|end| record.position < end) {
            records.push(record);
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChunkId, Position, RunId, ShardId};
    use crate::ports::FailedPart;

    #[test]
    fn what_is_too_long_is_refused_and_never_cut_off() {
        let chunk = ChunkId { shard: ShardId { index: "i".to_owned(), shard: 0 }, number: 0 };
        let from = Position::default();
        let part = FailedPart { run: RunId("run".to_owned()), chunk, epoch: 1, from, settled: None };
        let part = StoredPart { part, end: None };
        let record = FailedDocument {
            index: "i".to_owned(),
            id: None,
            routing: None,
            reason: "no".to_owned(),
            error_type: "kind".to_owned(),
            origin: "[i][0] _0 0".to_owned(),
            position: from,
            source: None,
            source_base64: None,
        };
        let content = encode(&[record.clone(), record]).unwrap();
        let mut plain = Vec::new();
        MultiGzDecoder::new(&content[..]).read_to_end(&mut plain).unwrap();
        let length = plain.len() as u64;
        assert_eq!(decode_within(&part, &content[..], length).map(|records| records.len()), Ok(2));
        // Also where the first record ends.
        for most in [length - 1, length / 2, length / 2 - 1, 0] {
            assert!(decode_within(&part, &content[..], most).unwrap_err().contains("more than"), "{most}");
        }
    }
}

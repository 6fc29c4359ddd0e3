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
    let mut reader = BufReader::new(MultiGzDecoder::new(content).take(MAX_BYTES));
    let mut records = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(|e| format!("line {number}: {e}"))?;
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

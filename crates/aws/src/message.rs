//! The messages of the queue: small, versioned, and all that a worker needs to find its chunk.
//!
//! ```json
//! {"v":1,"run":"2026-07-21-14-02-11-93","index":"logs","shard":3,"chunk":17}
//! ```

use backfill::model::{ChunkId, RunId, ShardId};
use serde::{Deserialize, Serialize};

/// The version that is written, and the only one that is understood.
const VERSION: u64 = 1;

/// Names are parts of keys of the checkpoint table, which are bounded.
const MAX_NAME: usize = 512;

/// Why a message cannot be understood. It is left to the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is none of ours, or damaged.
    #[error("the message is not one of backfill: {0}")]
    Malformed(String),
    /// Another version of the program wrote it.
    #[error(
        "the message has version {0}, but this program understands only version 1; deploy its newer version"
    )]
    UnknownVersion(u64),
}

#[derive(Deserialize)]
struct Versioned {
    v: u64,
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    v: u64,
    #[serde(borrow)]
    run: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    index: std::borrow::Cow<'a, str>,
    shard: u32,
    chunk: u32,
}

/// The message for a chunk.
pub fn encode(run: &RunId, chunk: &ChunkId) -> String {
    let body = Body {
        v: VERSION,
        run: run.0.as_str().into(),
        index: chunk.shard.index.as_str().into(),
        shard: chunk.shard.shard,
        chunk: chunk.number,
    };
    // Strings and numbers can always be written.
    serde_json::to_string(&body).unwrap_or_default()
}

/// The chunk that a message is about.
///
/// # Errors
/// When it is not a message, or one of another version.
pub fn parse(body: &str) -> Result<(RunId, ChunkId), MessageError> {
    let malformed = |error: serde_json::Error| MessageError::Malformed(error.to_string());
    let Versioned { v } = serde_json::from_str(body).map_err(malformed)?;
    if v != VERSION {
        return Err(MessageError::UnknownVersion(v));
    }
    let body: Body<'_> = serde_json::from_str(body).map_err(malformed)?;
    for (what, name) in [("run", &body.run), ("index", &body.index)] {
        if name.is_empty() || name.len() > MAX_NAME {
            let reason = format!("its {what} has {} bytes, where 1 to {MAX_NAME} were expected", name.len());
            return Err(MessageError::Malformed(reason));
        }
    }
    if body.run.contains('#') {
        return Err(MessageError::Malformed("its run has a #, which no run has".to_owned()));
    }
    let shard = ShardId { index: body.index.into_owned(), shard: body.shard };
    Ok((RunId(body.run.into_owned()), ChunkId { shard, number: body.chunk }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(run in "[^#]{1,60}", index in ".{1,60}", shard: u32, number: u32) {
            let (run, chunk) = (RunId(run), ChunkId { shard: ShardId { index, shard }, number });
            prop_assert_eq!(parse(&encode(&run, &chunk)), Ok((run, chunk)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn damaged_messages_are_read_or_refused(at in 0usize..80, byte: u8) {
            let chunk = ChunkId { shard: ShardId { index: "logs-ü".to_owned(), shard: 3 }, number: 17 };
            let mut bytes = encode(&RunId("run".to_owned()), &chunk).into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(text) = std::str::from_utf8(&bytes) {
                let _ = parse(text);
            }
        }
    }

    #[test]
    fn what_cannot_be_understood_says_why() {
        assert_eq!(
            parse(r#"{"v":1,"run":"r","index":"logs","shard":3,"chunk":17}"#).unwrap().1.to_string(),
            "[logs][3]#17"
        );
        assert_eq!(parse(r#"{"v":2,"anything":[]}"#), Err(MessageError::UnknownVersion(2)));
        for bad in [
            "",
            "null",
            "[]",
            r#"{"run":"r","index":"i","shard":0,"chunk":0}"#,
            r#"{"v":-1,"run":"r","index":"i","shard":0,"chunk":0}"#,
            r#"{"v":1,"run":"r","index":"i","shard":0}"#,
            r#"{"v":1,"run":"","index":"i","shard":0,"chunk":0}"#,
            r#"{"v":1,"run":"a#b","index":"i","shard":0,"chunk":0}"#,
            r#"{"v":1,"run":"r","index":"i","shard":-1,"chunk":0}"#,
            r#"{"v":1,"run":"r","index":"i","shard":4294967296,"chunk":0}"#,
        ] {
            assert!(matches!(parse(bad), Err(MessageError::Malformed(_))), "{bad}");
        }
        let long = encode(&RunId("r".repeat(513)), &parse(&encode_example()).unwrap().1);
        assert!(matches!(parse(&long), Err(MessageError::Malformed(_))));
        assert!(encode_example().len() < 100);
    }

    fn encode_example() -> String {
        let chunk = ChunkId { shard: ShardId { index: "logs".to_owned(), shard: 3 }, number: 17 };
        encode(&RunId("2026-07-21-14-02-11-93".to_owned()), &chunk)
    }
}

//! The bodies of answers, of exactly the promised length.

use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// How often a body is tried.
pub(super) const ATTEMPTS: u32 = 5;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
/// Room is made for a body before it comes, but for no more than this: a promise is only a promise.
const ROOM: u64 = 64 << 20;

/// Why a body is not what was promised; may pass.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection broke or stalled.
    Broken(String),
    /// It ended too soon.
    Truncated {
        /// What came.
        got: u64,
        /// What was promised.
        length: u64,
    },
    /// It went on too long.
    Overlong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Broken(reason) => write!(f, "the read was cut off ({reason})"),
            Fault::Truncated { got, length } => write!(f, "only {got} of {length} bytes came"),
            Fault::Overlong => f.write_str("more bytes came than were promised"),
        }
    }
}

pub(super) async fn collect(mut stream: ByteStream, length: u64) -> Result<Bytes, Fault> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut got = 0;
    loop {
        let part = match stream.next().await {
            None => break,
            Some(Ok(part)) => part,
            Some(Err(error)) => return Err(Fault::Broken(root(&error))),
        };
        got += part.len() as u64;
        if got > length {
            return Err(Fault::Overlong);
        }
        // A body in one part needs no copy.
        match first.take() {
            None if rest.is_empty() => first = Some(part),
            previous => {
                if rest.is_empty() {
                    rest.reserve(usize::try_from(length.min(ROOM)).unwrap_or_default());
                }
                rest.extend_from_slice(&previous.unwrap_or_default());
                rest.extend_from_slice(&part);
            }
        }
    }
    if got < length {
        return Err(Fault::Truncated { got, length });
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

/// How long to wait after so many tries.
pub(super) fn backoff(attempt: u32) -> Duration {
    FIRST_BACKOFF * 2u32.pow(attempt.min(6)) / 2 + FIRST_BACKOFF.mul_f64(fastrand::f64())
}

/// The innermost words of an error.
pub(super) fn root(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

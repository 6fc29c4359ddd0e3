//! What commands write: results on standard output, everything else on standard error.
//!
//! A script that redirects the output to a full disk must not take the command for successful, so whatever goes wrong
//! while results are written becomes the command's error at its end. Two cases are not errors: a reader that closes the
//! pipe early, such as `head`, and a standard error that cannot be written, because then there is nowhere to report it.

use std::io::{self, Write};
use std::sync::OnceLock;

/// Why standard output could not be written, the first time that it could not.
static FAILURE: OnceLock<String> = OnceLock::new();

/// Writes to standard output.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    record(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Notes how writing to standard output ended.
pub fn record(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        // Only the first one is told.
        let _ = FAILURE.set(error.to_string());
    }
}

/// Why standard output could not be written, if it could not.
pub fn failure() -> Option<&'static str> {
    FAILURE.get().map(String::as_str)
}

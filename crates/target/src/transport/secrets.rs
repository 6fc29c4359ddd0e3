//! What no message may repeat.

use bytes::Bytes;
use std::fmt;

/// Shorter secrets would be found everywhere.
const SHORTEST: usize = 4;

/// What was sent in secret. Does not show in its `Debug` form.
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn new(mut secrets: Vec<String>) -> Secrets {
        secrets.retain(|s| s.len() >= SHORTEST);
        Secrets(secrets)
    }

    /// The text without the secrets.
    pub(super) fn redact(&self, text: Bytes) -> Bytes {
        if self.0.is_empty() {
            return text;
        }
        let mut text = String::from_utf8_lossy(&text).into_owned();
        for secret in &self.0 {
            text = text.replace(secret, "***");
        }
        text.into()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

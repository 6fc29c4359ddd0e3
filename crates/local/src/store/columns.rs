//! Numbers and JSON as SQLite has them.

use super::Fault;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// SQLite's integers are signed; what does not fit is as good as endless.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The reverse of [`int`].
pub(super) fn nat(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value)
        .map_err(|e| Fault::invalid(format!("a record cannot be written as JSON: {e}")))
}

/// `what` names the record.
pub(super) fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|e| {
        Fault::invalid(format!(
            "its record of {what} cannot be understood ({e}); it is damaged or of another version; \
             give another --state and start again"
        ))
    })
}

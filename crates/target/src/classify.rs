//! What an answer means. Pure: bytes in, decisions out.

pub(crate) mod items;
mod stream;

use crate::words::{MAX_WORDS, Words, clean, has_error};
use backfill::ports::TargetError;
use backfill::secrets::Redactor;
use std::time::Duration;

/// An answer, as far as its meaning goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    /// HTTP status.
    pub(crate) status: u16,
    /// How long the cluster asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// Where it points to instead.
    pub(crate) location: Option<&'a str>,
    /// Its body.
    pub(crate) body: &'a [u8],
    /// Removes what was sent in secret.
    pub(crate) redactor: &'a Redactor,
}

/// The meaning of an answer to a bulk request of `bytes` bytes that is no success. What the target does not refuse in its
/// own words may come from something before it, and says nothing about the documents; a kind of content that is not
/// supported is hardly ever explained.
pub(crate) fn bulk_refusal(target: &str, answer: Answer<'_>, bytes: usize) -> TargetError {
    match refusal(target, answer, bytes) {
        TargetError::Unexpected { target, reason } if answer.status != 415 && !has_error(answer.body) => {
            TargetError::Garbled { target, reason }
        }
        other => other,
    }
}

/// The meaning of an answer that is not the one that was hoped for, to a request with a body of `bytes` bytes.
pub(crate) fn refusal(target: &str, answer: Answer<'_>, bytes: usize) -> TargetError {
    let target = target.to_owned();
    let words = Words::of_body(answer.body, answer.redactor);
    let status = answer.status;
    let reason = words.sentence();
    match (words.kind.as_str(), status) {
        // Blocks come with 403, 429 or 503, according to their cause.
        ("cluster_block_exception" | "index_closed_exception", _) => TargetError::Blocked { target, reason },
        ("security_exception", _) | (_, 401 | 403) => {
            let advice = if status == 401 { "check the credentials" } else { "check the permissions" };
            TargetError::Denied { target, reason: format!("{reason} (HTTP {status}); {advice}") }
        }
        (_, 429 | 503) => TargetError::Overloaded { target, retry_after: answer.retry_after },
        (_, 413) => TargetError::TooLarge { target, bytes },
        (_, 408 | 500..) => {
            TargetError::Unreachable { target, reason: format!("it answered with HTTP {status}: {reason}") }
        }
        (_, 300..=399) => {
            let place = clean(answer.location.unwrap_or("another place"), answer.redactor, MAX_WORDS);
            let reason =
                format!("it redirects to {place} (HTTP {status}); name the address that answers itself");
            TargetError::Unexpected { target, reason }
        }
        _ => TargetError::Unexpected { target, reason: format!("{reason} (HTTP {status})") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static NONE: std::sync::LazyLock<Redactor> = std::sync::LazyLock::new(Redactor::default);

    fn answer(status: u16, body: &str) -> Answer<'_> {
        Answer {
            redactor: &NONE,
            status,
            retry_after: Some(Duration::from_secs(7)),
            location: Some("http://other/"),
            body: body.as_bytes(),
        }
    }

    fn name(error: &TargetError) -> &'static str {
        match error {
            TargetError::Overloaded { .. } => "overloaded",
            TargetError::TooLarge { .. } => "too large",
            TargetError::Unreachable { .. } => "unreachable",
            TargetError::Blocked { .. } => "blocked",
            TargetError::Unwritable { .. } => "unwritable",
            TargetError::Denied { .. } => "denied",
            TargetError::Unexpected { .. } => "unexpected",
            TargetError::Garbled { .. } => "garbled",
        }
    }

    #[test]
    fn each_refusal_of_a_request_has_its_meaning() {
        let typed = |kind: &str| format!(r#"{{"error":{{"type":"{kind}","reason":"why"}},"status":0}}"#);
        for (status, body, expected) in [
            (429, typed("es_rejected_execution_exception"), "overloaded"),
            (429, typed("circuit_breaking_exception"), "overloaded"),
            (429, String::new(), "overloaded"),
            (429, typed("cluster_block_exception"), "blocked"),
            (503, typed("cluster_block_exception"), "blocked"),
            (403, typed("cluster_block_exception"), "blocked"),
            (503, "<html>Service Unavailable</html>".to_owned(), "overloaded"),
            (413, String::new(), "too large"),
            (401, "Unauthorized".to_owned(), "denied"),
            (403, typed("security_exception"), "denied"),
            (403, r#"{"Message":"User: arn is not authorized"}"#.to_owned(), "denied"),
            (500, typed("security_exception"), "denied"),
            (408, String::new(), "unreachable"),
            (500, typed("null_pointer_exception"), "unreachable"),
            (502, "<html>".to_owned(), "unreachable"),
            (504, String::new(), "unreachable"),
            (400, typed("json_parse_exception"), "unexpected"),
            (404, String::new(), "garbled"),
            (405, r#"{"error":"Incorrect HTTP method"}"#.to_owned(), "unexpected"),
            (405, String::new(), "garbled"),
            (301, String::new(), "garbled"),
            (201, String::new(), "garbled"),
            (204, String::new(), "garbled"),
        ] {
            let error = bulk_refusal("t", answer(status, &body), 9);
            assert_eq!(name(&error), expected, "{status} {body}");
        }
    }

    #[test]
    fn refusals_say_what_the_caller_needs() {
        let say = |status, body| refusal("https://t", answer(status, body), 9).to_string();
        assert_eq!(
            refusal("t", answer(429, ""), 9),
            TargetError::Overloaded { target: "t".into(), retry_after: Some(Duration::from_secs(7)) }
        );
        assert_eq!(refusal("t", answer(413, ""), 9), TargetError::TooLarge { target: "t".into(), bytes: 9 });
        assert_eq!(
            say(401, "Unauthorized"),
            "the target https://t denies access: Unauthorized (HTTP 401); check the credentials"
        );
        assert_eq!(
            say(307, ""),
            "the target https://t gave an unexpected answer: it redirects to http://other/ (HTTP 307); name the address that answers itself"
        );
        assert_eq!(
            say(404, ""),
            "the target https://t gave an unexpected answer: it gave no reason (HTTP 404)"
        );
    }
}

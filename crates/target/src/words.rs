//! The words of a cluster about what went wrong, in the forms that clusters and what stands before them use.

use backfill::secrets::Redactor;
use serde::Deserialize;
use serde_json::value::RawValue;

/// At most so many characters of the words about a request.
pub(crate) const MAX_WORDS: usize = 300;
/// At most so many characters of the words about a document.
const MAX_REASON: usize = 1000;
/// At most so many characters of the type of an error.
const MAX_KIND: usize = 100;
/// Bytes of a text that are looked at: white space and secrets among them are not shown.
const MAX_TEXT: usize = 4 * MAX_REASON;

/// An error: its type (empty if it has none) and its reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) kind: String,
    pub(crate) reason: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    message: Option<String>,
    #[serde(rename = "Message")]
    aws_message: Option<String>,
}

#[derive(Deserialize)]
struct Detail<'a> {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(borrow, default)]
    caused_by: Option<&'a RawValue>,
}

impl Words {
    /// Of the body of an answer that is an error, without what it repeats of the request in secret.
    pub(crate) fn of_body(body: &[u8], redactor: &Redactor) -> Words {
        let envelope = serde_json::from_slice::<Envelope<'_>>(body).ok();
        let words = envelope.and_then(|e| match e.error {
            Some(error) => Some(Words::of_error(error, redactor)),
            None => {
                let reason = clean(&e.message.or(e.aws_message)?, redactor, MAX_REASON);
                Some(Words { kind: String::new(), reason })
            }
        });
        let text = || clean(&text(body), redactor, MAX_REASON);
        let mut words = words.unwrap_or_else(|| Words { kind: String::new(), reason: text() });
        // AWS explains a wrong signature by repeating the request, session token and all.
        if let Some(at) = words.reason.find("The Canonical String") {
            words.reason.truncate(at);
        }
        words.reason = shorten(&words.reason, MAX_WORDS);
        words
    }

    /// Of the error of an item: an object, or a string as in the oldest versions. Without what it repeats of the request in
    /// secret.
    pub(crate) fn of_error(error: &RawValue, redactor: &Redactor) -> Words {
        let mut words = Words::default();
        let mut next = Some(error);
        let mut outermost = true;
        // Causes repeat each other's words; three of them say it all.
        for _ in 0..3 {
            let Some(raw) = next.take() else { break };
            if let Ok(detail) = serde_json::from_str::<Detail<'_>>(raw.get()) {
                if std::mem::take(&mut outermost) {
                    words.kind = clean(&detail.kind.unwrap_or_default(), redactor, MAX_KIND);
                }
                words.add(&clean(&detail.reason.unwrap_or_default(), redactor, MAX_REASON));
                next = detail.caused_by;
            } else if let Ok(reason) = serde_json::from_str::<String>(raw.get()) {
                words.add(&clean(&reason, redactor, MAX_REASON));
            }
        }
        words.reason = shorten(&words.reason, MAX_REASON);
        words
    }

    fn add(&mut self, reason: &str) {
        if !reason.is_empty() && !self.reason.contains(reason) {
            if !self.reason.is_empty() {
                self.reason.push_str(": ");
            }
            self.reason.push_str(reason);
        }
    }

    /// In one piece.
    pub(crate) fn sentence(&self) -> String {
        match (self.kind.as_str(), self.reason.as_str()) {
            ("", "") => "it gave no reason".to_owned(),
            ("", reason) => reason.to_owned(),
            (kind, "") => kind.to_owned(),
            (kind, reason) => format!("{kind}: {reason}"),
        }
    }
}

/// Whether a body is that of a cluster that refuses something, in whatever words.
pub(crate) fn has_error(body: &[u8]) -> bool {
    serde_json::from_slice::<Envelope<'_>>(body).is_ok_and(|envelope| envelope.error.is_some())
}

/// What a body that is not JSON says.
fn text(body: &[u8]) -> String {
    let start = body.trim_ascii_start();
    if start.starts_with(b"<") {
        return "a web page came back, perhaps from a proxy".to_owned();
    }
    String::from_utf8_lossy(&body[..body.len().min(4 * MAX_WORDS)]).into_owned()
}

/// A text of the cluster as it may be shown.
pub(crate) fn clean(text: &str, redactor: &Redactor, max: usize) -> String {
    let text = &text[..text.floor_char_boundary(MAX_TEXT)];
    shorten(&redactor.redact(text), max)
}

/// What is wrong with JSON, without a word of its contents.
pub(crate) fn malformed(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "the JSON ends too soon",
        serde_json::error::Category::Data => "the JSON has another form",
        _ => "no JSON",
    };
    format!("{what} at line {} column {}", error.line(), error.column())
}

/// On one line, and no longer than `max` characters.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()) {
        if count > 0 {
            out.push(' ');
            count += 1;
        }
        for c in word.chars() {
            if count >= max {
                out.push('…');
                return out;
            }
            out.push(c);
            count += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_error_gives_its_words() {
        for (body, kind, reason) in [
            (r#"{"error":{"type":"a","reason":"b","root_cause":[{"type":"x"}]},"status":400}"#, "a", "b"),
            (
                r#"{"error":{"type":"a","reason":"b","caused_by":{"type":"c","reason":"d","caused_by":{"reason":"e"}}}}"#,
                "a",
                "b: d: e",
            ),
            (r#"{"error":"no handler found","status":400}"#, "", "no handler found"),
            (r#"{"message":"Forbidden"}"#, "", "Forbidden"),
            (r#"{"Message":"User is not authorized"}"#, "", "User is not authorized"),
            ("Unauthorized", "", "Unauthorized"),
            ("  <html><body>no</body></html>", "", "a web page came back, perhaps from a proxy"),
            ("", "", ""),
            ("{\"error\":", "", "{\"error\":"),
            (r#"{"error":[1,2]}"#, "", ""),
            ("a\n\u{7}b", "", "a b"),
        ] {
            let words = Words::of_body(body.as_bytes(), &Redactor::default());
            assert_eq!((words.kind.as_str(), words.reason.as_str()), (kind, reason), "{body}");
        }
    }

    #[test]
    fn a_wrong_signature_does_not_repeat_the_session_token() {
        let body = br#"{"message":"The signature does not match.\n\nThe Canonical String for this request should have been\n'POST\nx-amz-security-token:SECRET'"}"#;
        assert_eq!(Words::of_body(body, &Redactor::default()).reason, "The signature does not match.");
    }

    #[test]
    fn words_are_bounded_whatever_they_are() {
        let none = Redactor::default();
        let words = Words::of_body("é".repeat(100_000).as_bytes(), &none);
        assert_eq!(words.reason.chars().count(), MAX_WORDS + 1);
        let deep = format!("{}1{}", "{\"error\":".repeat(10_000), "}".repeat(10_000));
        assert!(Words::of_body(deep.as_bytes(), &none).reason.chars().count() <= MAX_WORDS + 1);
        assert!(Words::of_body(&[0xff; 999], &none).reason.chars().count() <= MAX_WORDS + 1);
    }
}

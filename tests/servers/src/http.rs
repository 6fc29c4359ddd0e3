//! A small blocking HTTP client: tests talk to servers as plainly as `curl` does.

use std::time::Duration;

use serde_json::Value;

use crate::Error;

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Http {
    base: String,
    agent: ureq::Agent,
}

/// A name as a segment of a path: what is neither a letter, a digit nor one of `-._~` is escaped.
#[must_use]
pub fn path_segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A server's answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The body, as it came.
    pub body: Vec<u8>,
    method: String,
    url: String,
}

impl Http {
    /// A client of the server at `base`, such as `http://127.0.0.1:9200`.
    #[must_use]
    pub fn new(base: &str) -> Self {
        Self::with_timeout(base, Duration::from_secs(120))
    }

    pub(crate) fn with_timeout(base: &str, timeout: Duration) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .build()
            .into();
        Self { base: base.trim_end_matches('/').to_owned(), agent }
    }

    /// Sends a request; any status is an answer.
    ///
    /// # Errors
    /// When the server can not be reached or breaks off.
    pub fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Answer, Error> {
        let url = format!("{}{path}", self.base);
        let fail = |reason: String| Error::Http { method: method.to_owned(), url: url.clone(), reason };
        let mut request = ureq::http::Request::builder().method(method).uri(&url);
        if !body.is_empty() {
            request = request.header("content-type", content_type);
        }
        let answer = if body.is_empty() {
            self.agent.run(request.body(()).map_err(|e| fail(e.to_string()))?)
        } else {
            self.agent.run(request.body(body).map_err(|e| fail(e.to_string()))?)
        };
        let mut answer = answer.map_err(|e| fail(e.to_string()))?;
        let body = answer.body_mut().with_config().limit(u64::MAX).read_to_vec();
        Ok(Answer {
            status: answer.status().as_u16(),
            body: body.map_err(|e| fail(e.to_string()))?,
            method: method.to_owned(),
            url: url.clone(),
        })
    }

    /// Gets `path`.
    ///
    /// # Errors
    /// When the server can not be reached or answers with an error.
    pub fn get(&self, path: &str) -> Result<Answer, Error> {
        self.send("GET", path, "", &[])?.ok()
    }

    /// Deletes `path`.
    ///
    /// # Errors
    /// When the server can not be reached or answers with an error.
    pub fn delete(&self, path: &str) -> Result<Answer, Error> {
        self.send("DELETE", path, "", &[])?.ok()
    }

    /// Puts a JSON value; `Value::Null` sends no body.
    ///
    /// # Errors
    /// When the server can not be reached or answers with an error.
    pub fn put(&self, path: &str, body: &Value) -> Result<Answer, Error> {
        self.send("PUT", path, "application/json", &json_body(body))?.ok()
    }

    /// Posts a JSON value; `Value::Null` sends no body.
    ///
    /// # Errors
    /// When the server can not be reached or answers with an error.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer, Error> {
        self.send("POST", path, "application/json", &json_body(body))?.ok()
    }

    /// Sends one bulk request of newline-delimited JSON, and fails unless every item succeeded.
    ///
    /// # Errors
    /// When the server can not be reached, answers with an error, or refuses an item.
    pub fn bulk(&self, path: &str, body: &str) -> Result<Value, Error> {
        let answer = self.send("POST", path, "application/x-ndjson", body.as_bytes())?.ok()?;
        let value = answer.json()?;
        if value["errors"] != Value::Bool(false) {
            let refused = value["items"].as_array().into_iter().flatten().find(|item| {
                item.as_object()
                    .and_then(|item| item.values().next())
                    .is_some_and(|it| it["status"].as_u64().unwrap_or(500) > 299)
            });
            return Err(answer.error(&format!("refused {}", refused.unwrap_or(&value))));
        }
        Ok(value)
    }
}

impl Answer {
    /// This answer, if its status says success.
    ///
    /// # Errors
    /// When the status is not 2xx.
    pub fn ok(self) -> Result<Self, Error> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let body: String = String::from_utf8_lossy(&self.body).chars().take(800).collect();
        Err(self.error(&format!("answered {} {body}", self.status)))
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn json(&self) -> Result<Value, Error> {
        self.parse()
    }

    /// The body as JSON of a known shape.
    ///
    /// # Errors
    /// When it is not JSON of that shape.
    pub fn parse<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|e| self.error(&format!("not the expected JSON: {e}")))
    }

    fn error(&self, reason: &str) -> Error {
        Error::Http { method: self.method.clone(), url: self.url.clone(), reason: reason.to_owned() }
    }
}

fn json_body(body: &Value) -> Vec<u8> {
    if body.is_null() { Vec::new() } else { body.to_string().into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_in_paths() {
        assert_eq!(path_segment("a-b_c.1~"), "a-b_c.1~");
        assert_eq!(path_segment("ü /%"), "%C3%BC%20%2F%25");
    }
}

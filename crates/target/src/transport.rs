//! Requests and answers over HTTP(S). Nothing here knows what they mean.

mod faults;
mod secrets;
mod setup;

use crate::classify;
use crate::config::{ConfigError, TargetConfig};
use crate::sigv4::Signer;
use backfill::ports::TargetError;
use bytes::{Bytes, BytesMut};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Client, Method, Url};
use std::time::{Duration, Instant};

/// No cluster is left alone for longer, whatever it asks for.
const MAX_RETRY_AFTER: u64 = 600;

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Below the endpoint, encoded, with its query.
    pub(crate) path: String,
    pub(crate) body: Bytes,
    /// Of the body.
    pub(crate) content_type: &'static str,
    pub(crate) gzip: bool,
    /// The longest answer that makes sense.
    pub(crate) limit: usize,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    retry_after: Option<Duration>,
    location: Option<String>,
    pub(crate) body: Bytes,
    /// How long it was waited for.
    pub(crate) took: Duration,
}

impl Answer {
    /// As far as its meaning goes.
    pub(crate) fn meaning(&self) -> classify::Answer<'_> {
        classify::Answer {
            status: self.status,
            retry_after: self.retry_after,
            location: self.location.as_deref(),
            body: &self.body,
        }
    }
}

/// The way to one cluster.
#[derive(Debug)]
pub(crate) struct Transport {
    client: Client,
    /// Without a slash at its end.
    endpoint: String,
    location: String,
    loopback: bool,
    basic: Option<HeaderValue>,
    signer: Option<Signer>,
    secrets: secrets::Secrets,
    timeouts: faults::Timeouts,
}

impl Transport {
    pub(crate) fn new(config: &TargetConfig) -> Result<Transport, ConfigError> {
        setup::transport(config)
    }

    /// The cluster as the user named it.
    pub(crate) fn location(&self) -> &str {
        &self.location
    }

    pub(crate) fn is_loopback(&self) -> bool {
        self.loopback
    }

    pub(crate) fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    fn unexpected(&self, reason: String) -> TargetError {
        TargetError::Unexpected { target: self.location.clone(), reason }
    }

    /// Sends a request once and reads the answer, whatever it is.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, TargetError> {
        let answer = self.exchange(request).await;
        if let (Ok(Answer { status: 401 | 403, .. }), Some(signer)) = (&answer, &self.signer) {
            signer.forget().await;
        }
        answer
    }

    async fn exchange(&self, request: Request) -> Result<Answer, TargetError> {
        let Request { method, path, body, content_type, gzip, limit } = request;
        let url = Url::parse(&format!("{}/{path}", self.endpoint))
            .map_err(|e| self.unexpected(format!("the path {path:?} cannot be asked for: {e}")))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(basic) = &self.basic {
            headers.insert(AUTHORIZATION, basic.clone());
        }
        if let Some(signer) = &self.signer {
            let signed = signer.sign(method.as_str(), url.as_str(), &mut headers, &body).await;
            signed.map_err(|reason| TargetError::Denied { target: self.location.clone(), reason })?;
        }
        let mut builder = self.client.request(method, url).headers(headers);
        if !body.is_empty() {
            builder = builder.body(body);
        }
        let begun = Instant::now();
        let mut response = builder.send().await.map_err(|e| self.fault(&e))?;
        let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
        let retry_after = header(RETRY_AFTER).and_then(|v| v.trim().parse().ok());
        let retry_after = retry_after.map(|s: u64| Duration::from_secs(s.min(MAX_RETRY_AFTER)));
        let location = header(LOCATION).map(str::to_owned);
        let status = response.status().as_u16();
        let mut body = BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(|e| self.fault(&e))? {
            if body.len() + part.len() > limit {
                let reason =
                    format!("its answer is longer than {limit} bytes; check that the address is right");
                return Err(self.unexpected(reason));
            }
            body.extend_from_slice(&part);
        }
        let body = body.freeze();
        // Refusals become part of messages: they must not repeat what was sent in secret.
        let body = if status == 200 { body } else { self.secrets.redact(body) };
        Ok(Answer { status, retry_after, location, body, took: begun.elapsed() })
    }

    fn fault(&self, error: &reqwest::Error) -> TargetError {
        faults::explain(&self.location, error, &self.timeouts)
    }
}

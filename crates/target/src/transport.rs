//! Requests and answers over HTTP(S). Nothing here knows what they mean.

mod faults;
mod pinned;
mod setup;

use crate::classify;
use crate::config::{ConfigError, TargetConfig};
use crate::sigv4::Signer;
use backfill::ports::TargetError;
use backfill::secrets::Redactor;
use bytes::{Bytes, BytesMut};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    LOCATION, RETRY_AFTER,
};
use reqwest::{Client, Method, Response, StatusCode, Url};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// No cluster is left alone for longer, whatever it asks for.
const MAX_RETRY_AFTER: u64 = 600;

/// Bytes of an answer that is no success that are read: it is only quoted.
const MAX_REFUSAL: usize = 256 << 10;
/// The header that a cluster sends back as it came. Clusters show it with their tasks and slow requests, too.
const MARK: HeaderName = HeaderName::from_static("x-opaque-id");
/// What marks begin with.
const OURS: &str = "backfill-";
/// Marks are repeated after so many: a cluster logs what is deprecated once for each of them.
const MARKS: u32 = 256;
/// Requests that close their connection after an answer that belonged to another request, since the next ones might as
/// well: about as many as there may be connections.
const SUSPECTS: usize = 32;
/// What to do about an address with http:// whose port expects TLS.
const USE_HTTPS: &str = "it expects TLS; write its address with https://";
/// How long a port has to show that it expects TLS.
const TLS_QUESTION: Duration = Duration::from_secs(5);

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
}

/// An answer of which only the head has been read.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) status: u16,
    /// Whether it carries the mark of its request. Where something removes marks, none does.
    pub(crate) echoed: bool,
    /// When it was asked for.
    pub(crate) begun: Instant,
    retry_after: Option<Duration>,
    location: Option<String>,
    response: Response,
    transport: &'a Transport,
    /// Removes what was sent in secret.
    pub(crate) redactor: Redactor,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    retry_after: Option<Duration>,
    location: Option<String>,
    pub(crate) body: Bytes,
    /// Whether there is more of it than was to be read.
    pub(crate) cut: bool,
    /// Removes what was sent in secret. Whatever of an answer becomes part of a message goes through it.
    pub(crate) redactor: Redactor,
    /// Its part of the memory for answers.
    _room: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// As far as its meaning goes.
    pub(crate) fn meaning(&self) -> classify::Answer<'_> {
        classify::Answer {
            status: self.status,
            retry_after: self.retry_after,
            location: self.location.as_deref(),
            body: &self.body,
            redactor: &self.redactor,
        }
    }
}

impl Incoming<'_> {
    /// The next part of the body.
    pub(crate) async fn part(&mut self) -> Result<Option<Bytes>, TargetError> {
        self.response.chunk().await.map_err(|e| self.transport.fault(&e))
    }

    /// Reads the body, up to so many bytes if it is a success.
    pub(crate) async fn read(mut self, limit: usize) -> Result<Answer, TargetError> {
        let good = self.status == 200;
        let limit = if good { limit } else { MAX_REFUSAL };
        let length = self.response.content_length().and_then(|length| usize::try_from(length).ok());
        let expected = length.map_or(limit, |length| length.min(limit));
        let room = if good { Some(self.transport.room(expected).await?) } else { None };
        let mut body = BytesMut::with_capacity(if length.is_some() { expected } else { 0 });
        let mut cut = false;
        while let Some(part) = self.part().await? {
            let left = limit - body.len();
            cut = part.len() > left;
            body.extend_from_slice(&part[..part.len().min(left)]);
            if cut {
                break;
            }
        }
        let Incoming { status, retry_after, location, redactor, .. } = self;
        Ok(Answer { status, retry_after, location, body: body.freeze(), cut, redactor, _room: room })
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
    /// Of user and password; signed requests have secrets of their own.
    redactor: Redactor,
    timeouts: faults::Timeouts,
    /// Whether it has ever answered a request in the protocol of its address.
    speaks: AtomicBool,
    marks: Marks,
    /// KiB of memory for answers that are kept whole.
    room: Arc<Semaphore>,
    /// As many as there are in all.
    room_kib: u32,
    /// Bytes of the longest answer with a single document.
    pub(crate) document_bytes: usize,
}

/// Marks of requests.
#[derive(Debug)]
struct Marks {
    /// What tells the marks of this client from those of others.
    client: u64,
    next: AtomicU32,
    /// Requests that still close their connection.
    suspects: AtomicUsize,
}

impl Marks {
    fn new() -> Marks {
        let (next, suspects) = (AtomicU32::new(0), AtomicUsize::new(0));
        Marks { client: fastrand::u64(..), next, suspects }
    }

    fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % MARKS;
        format!("{OURS}{:016x}-{number}", self.client)
    }

    /// Whether the next request should close its connection.
    fn suspects_connection(&self) -> bool {
        let less = |n: usize| n.checked_sub(1);
        self.suspects.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
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

    /// Memory for answers that are kept whole.
    pub(crate) fn room_bytes(&self) -> usize {
        (self.room_kib as usize) << 10
    }

    /// Waits for room for an answer of this size; for all there is, if it is larger than that.
    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, TargetError> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(self.room_kib);
        let room = self.room.clone().acquire_many_owned(kib).await;
        room.map_err(|e| self.unexpected(format!("there is no room for its answer: {e}")))
    }

    /// Sends a request once and reads the head of the answer, whatever it is.
    pub(crate) async fn open(&self, request: Request) -> Result<Incoming<'_>, TargetError> {
        let incoming = self.exchange(request).await;
        if let (Ok(Incoming { status: 401 | 403, .. }), Some(signer)) = (&incoming, &self.signer) {
            signer.forget().await;
        }
        incoming
    }

    async fn exchange(&self, request: Request) -> Result<Incoming<'_>, TargetError> {
        let Request { method, path, body, content_type, gzip } = request;
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
        let mut redactor = self.redactor.clone();
        if let Some(signer) = &self.signer {
            let signed = signer.sign(method.as_str(), url.as_str(), &mut headers, &body).await;
            redactor =
                signed.map_err(|reason| TargetError::Denied { target: self.location.clone(), reason })?;
        }
        // Not signed: what is in between may change it.
        let mark = self.marks.next();
        headers.insert(MARK, HeaderValue::from_str(&mark).map_err(|e| self.unexpected(e.to_string()))?);
        if self.marks.suspects_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let mut builder = self.client.request(method, url).headers(headers);
        if !body.is_empty() {
            builder = builder.body(body);
        }
        let begun = Instant::now();
        let response = match builder.send().await {
            Ok(response) if !self.speaks_tls_instead(Ok(response.status())).await => response,
            Ok(_) => return Err(self.unexpected(USE_HTTPS.to_owned())),
            Err(error) if self.speaks_tls_instead(Err(&error)).await => {
                return Err(self.unexpected(USE_HTTPS.to_owned()));
            }
            Err(error) => return Err(self.fault(&error)),
        };
        let header = |name: HeaderName| response.headers().get(name).and_then(|v| v.to_str().ok());
        let echoed = header(MARK).is_some_and(|echo| echo == mark);
        // Something in between may have marks of its own.
        if !echoed && header(MARK).is_some_and(|echo| echo.starts_with(OURS)) {
            self.marks.suspects.store(SUSPECTS, Ordering::Relaxed);
            let reason = "it answers another request; check what is between it and us";
            return Err(TargetError::Garbled { target: self.location.clone(), reason: reason.to_owned() });
        }
        let retry_after = header(RETRY_AFTER).and_then(|v| v.trim().parse().ok());
        let retry_after = retry_after.map(|s: u64| Duration::from_secs(s.min(MAX_RETRY_AFTER)));
        let location = header(LOCATION).map(str::to_owned);
        let status = response.status().as_u16();
        Ok(Incoming { status, echoed, begun, retry_after, location, response, transport: self, redactor })
    }

    fn fault(&self, error: &reqwest::Error) -> TargetError {
        faults::explain(&self.location, error, &self.timeouts, self.speaks.load(Ordering::Relaxed))
    }

    /// Whether the port of an address with http:// expects TLS, after something else than a proper answer came from it.
    ///
    /// Such a port closes or resets the connection, sends an alert, or answers with status 400, and all of that may have
    /// other causes. So it is asked with TLS once, without credentials. One that has answered properly is not asked.
    async fn speaks_tls_instead(&self, answer: Result<StatusCode, &reqwest::Error>) -> bool {
        match answer {
            Ok(status) if status != StatusCode::BAD_REQUEST => {
                self.speaks.store(true, Ordering::Relaxed);
                return false;
            }
            Err(error) if error.is_connect() || error.is_timeout() => return false,
            _ => {}
        }
        let Some(rest) = self.endpoint.strip_prefix("http://") else { return false };
        if self.speaks.load(Ordering::Relaxed) {
            return false;
        }
        let question = self.client.get(format!("https://{rest}")).timeout(TLS_QUESTION);
        match question.send().await {
            Ok(_) => true,
            Err(error) => faults::is_answer_in_tls(&error),
        }
    }
}

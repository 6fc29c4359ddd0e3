//! Blobs on S3, and on what speaks its protocol.

mod address;
mod answers;
mod body;
mod client;
mod errors;
#[cfg(test)]
mod tests;

pub(crate) use address::Address;
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use backfill::ports::{Blob, BlobError, Blobs};
use body::Fault;
use errors::explain;
use std::ops::Range;

pub use address::OpenError;
pub use client::S3Options;
pub(crate) use client::http;

/// Pages of a listing, at most: ten million names.
const MAX_PAGES: usize = 10_000;
/// What a name in a listing takes besides its bytes.
const NAME: usize = 32;

/// What is read of a blob.
#[derive(Clone, Copy, Debug)]
enum Wanted<'a> {
    /// All of it, if it has no more bytes than this.
    All {
        limit: u64,
    },
    Range(&'a Range<u64>),
}

impl Wanted<'_> {
    fn range(&self) -> Option<&Range<u64>> {
        match self {
            Wanted::All { .. } => None,
            Wanted::Range(range) => Some(range),
        }
    }
}

/// The blobs below a prefix of a bucket.
#[derive(Debug)]
pub struct S3Blobs {
    client: Client,
    address: Address,
}

impl S3Blobs {
    /// The blobs below `s3://bucket/prefix`. Nothing is read yet.
    pub async fn open(url: &str, options: S3Options) -> Result<S3Blobs, OpenError> {
        let address = Address::parse(url)?;
        let client = client::connect(options, &address).await?;
        Ok(S3Blobs { client, address })
    }

    /// The bytes of `range`, or all of them, in as many tries as make sense.
    async fn read(&self, path: &str, wanted: Wanted<'_>, etag: Option<&str>) -> Result<Blob, BlobError> {
        let mut attempt = 0;
        loop {
            let fault = match self.try_read(path, wanted, etag).await? {
                Ok(blob) => return Ok(blob),
                Err(fault) => fault,
            };
            attempt += 1;
            if attempt == body::ATTEMPTS {
                let reason = format!("{fault}, {attempt} times; check the network and try again");
                return Err(BlobError::Unavailable { path: self.address.name(path), reason });
            }
            tracing::debug!(path, attempt, %fault, "a read was cut off; trying again");
            tokio::time::sleep(body::backoff(attempt)).await;
        }
    }

    /// One try; the SDK's own retries cover everything before the body. The inner error may pass.
    async fn try_read(
        &self,
        path: &str,
        wanted: Wanted<'_>,
        etag: Option<&str>,
    ) -> Result<Result<Blob, Fault>, BlobError> {
        let name = || self.address.name(path);
        let range = wanted.range();
        let request = self.client.get_object().bucket(&self.address.bucket).key(self.address.key(path));
        let request = request.set_if_match(etag.and_then(address::strong).map(str::to_owned));
        // Both ends of a range are included in HTTP.
        let header = range.map(|r| format!("bytes={}-{}", r.start, r.end.saturating_sub(1)));
        let output = match request.set_range(header).send().await {
            Ok(output) => output,
            Err(error) if errors::status(&error) == Some(416) => {
                return Err(self.short(path, range, &error).await);
            }
            Err(error) => return Err(explain(&error, name(), &self.address.bucket)),
        };
        let unavailable = |reason: &str| BlobError::Unavailable { path: name(), reason: reason.to_owned() };
        let found =
            output.e_tag().ok_or_else(|| unavailable("the store gives it no ETag; use another store"))?;
        if etag.is_some_and(|etag| !address::same_version(etag, found)) {
            return Err(BlobError::Changed { path: name() });
        }
        let found = found.to_owned();
        let length = self.promised(path, wanted, &output)?;
        let bytes = body::collect(output.body, length).await;
        Ok(bytes.map(|bytes| Blob { bytes, etag: found }))
    }

    /// How many bytes the answer is about to hold, if they are those that were asked for.
    fn promised(&self, path: &str, wanted: Wanted<'_>, output: &GetObjectOutput) -> Result<u64, BlobError> {
        let unavailable = |reason| BlobError::Unavailable { path: self.address.name(path), reason };
        let length = output.content_length().and_then(|l| u64::try_from(l).ok());
        let length = length.ok_or_else(|| unavailable("the store does not tell its length".to_owned()))?;
        let range = match wanted {
            Wanted::Range(range) => range,
            Wanted::All { limit } if length > limit => {
                return Err(BlobError::TooLarge { path: self.address.name(path), len: length, limit });
            }
            Wanted::All { .. } => return Ok(length),
        };
        let given = output.content_range().and_then(address::content_range);
        let (given, total) = given.ok_or_else(|| {
            unavailable("the store does not answer requests for ranges; use another store".to_owned())
        })?;
        if given.start == range.start && given.end < range.end && given.end == total {
            return Err(BlobError::Short { path: self.address.name(path), end: range.end, len: total });
        }
        if given != *range || length != range.end - range.start {
            let reason = format!(
                "the store answered with {length} bytes from {}-{} when {}-{} was asked for; use another store",
                given.start, given.end, range.start, range.end
            );
            return Err(unavailable(reason));
        }
        Ok(length)
    }

    /// The error for a range that begins after the end.
    async fn short<E>(
        &self,
        path: &str,
        range: Option<&Range<u64>>,
        error: &errors::SdkError<E>,
    ) -> BlobError {
        let total = errors::header(error, "content-range").and_then(address::unsatisfied);
        let len = match total {
            Some(total) => Ok(total),
            None => self.head(path, None).await.map(|(len, _)| len),
        };
        let end = range.map_or(0, |r| r.end);
        match len {
            Ok(len) if len < end => BlobError::Short { path: self.address.name(path), end, len },
            Ok(_) => BlobError::Unavailable {
                path: self.address.name(path),
                reason: "the store refuses a range that it has; use another store".to_owned(),
            },
            Err(error) => error,
        }
    }

    /// Length and ETag.
    async fn head(&self, path: &str, etag: Option<&str>) -> Result<(u64, String), BlobError> {
        let name = || self.address.name(path);
        let request = self.client.head_object().bucket(&self.address.bucket).key(self.address.key(path));
        let if_match = etag.and_then(address::strong).map(str::to_owned);
        let output = request.set_if_match(if_match).send().await;
        let output = output.map_err(|e| explain(&e, name(), &self.address.bucket))?;
        let length = output.content_length().and_then(|l| u64::try_from(l).ok());
        match (length, output.e_tag()) {
            (_, Some(found)) if etag.is_some_and(|etag| !address::same_version(etag, found)) => {
                Err(BlobError::Changed { path: name() })
            }
            (Some(length), Some(found)) => Ok((length, found.to_owned())),
            _ => Err(BlobError::Unavailable {
                path: name(),
                reason: "the store tells neither its length nor its ETag; use another store".to_owned(),
            }),
        }
    }
}

#[async_trait]
impl Blobs for S3Blobs {
    fn location(&self) -> String {
        self.address.name("")
    }

    async fn list(&self, dir: &str, limit: usize) -> Result<Vec<String>, BlobError> {
        let prefix = self.address.directory(dir);
        let mut names = Vec::new();
        let mut empty = true;
        let (mut pages, mut bytes) = (0, 0);
        let mut token: Option<String> = None;
        loop {
            let request = self.client.list_objects_v2().bucket(&self.address.bucket).delimiter("/");
            let request = request.prefix(&prefix).set_continuation_token(token.clone());
            let page = request.send().await;
            let page = page.map_err(|e| explain(&e, self.address.name(dir), &self.address.bucket))?;
            empty &= page.contents().is_empty() && page.common_prefixes().is_empty();
            let keys = page.contents().iter().filter_map(|o| o.key()?.strip_prefix(&prefix));
            // Some tools mark directories by empty objects.
            for name in keys.filter(|n| !n.is_empty() && !n.contains('/')) {
                bytes += NAME + name.len();
                names.push(name.to_owned());
            }
            pages += 1;
            if bytes > limit || pages > MAX_PAGES {
                let (path, len, limit) = (self.address.name(dir), bytes as u64, limit as u64);
                return Err(BlobError::TooLarge { path, len, limit });
            }
            let next = page.next_continuation_token().map(str::to_owned);
            if page.is_truncated() != Some(true) {
                break;
            }
            if next.is_none() || next == token {
                let reason = "the store does not list it to the end; use another store".to_owned();
                return Err(BlobError::Unavailable { path: self.address.name(dir), reason });
            }
            token = next;
        }
        // A bucket is there even when it is empty; a prefix is not.
        if empty && dir.is_empty() && !prefix.is_empty() {
            return Err(BlobError::NotFound { path: self.location() });
        }
        Ok(names)
    }

    async fn size(&self, path: &str) -> Result<(u64, String), BlobError> {
        self.head(path, None).await
    }

    async fn get(&self, path: &str, limit: usize) -> Result<Blob, BlobError> {
        self.read(path, Wanted::All { limit: limit as u64 }, None).await
    }

    async fn get_range(&self, path: &str, range: Range<u64>, etag: Option<&str>) -> Result<Blob, BlobError> {
        if range.start < range.end {
            return self.read(path, Wanted::Range(&range), etag).await;
        }
        // HTTP has no empty ranges.
        let (len, etag) = self.head(path, etag).await?;
        if len < range.end {
            return Err(BlobError::Short { path: self.address.name(path), end: range.end, len });
        }
        Ok(Blob { bytes: bytes::Bytes::new(), etag })
    }
}

//! Addresses: of repositories in S3, and of bytes in HTTP, with the ETags that name versions of them.

use std::ops::Range;

/// What a weak ETag begins with.
const WEAK: &str = "W/";

/// Why a repository on S3 cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is not one.
    #[error("{url:?} is not the address of a repository on S3; write it as s3://bucket/prefix")]
    Address {
        /// What was given.
        url: String,
    },
    /// Nothing tells the region.
    #[error("the region of {url} is not known; name it, or set AWS_REGION")]
    Region {
        /// The repository.
        url: String,
    },
}

/// A prefix of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) bucket: String,
    /// Empty, or ending in a slash.
    prefix: String,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Address, OpenError> {
        let wrong = || OpenError::Address { url: url.to_owned() };
        let rest = url.strip_prefix("s3://").ok_or_else(wrong)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        // Access points may be named by ARN, which has slashes of its own: their alias has not.
        if bucket.is_empty() || !bucket.chars().all(plain) {
            return Err(wrong());
        }
        let prefix = prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        Ok(Address { bucket: bucket.to_owned(), prefix: format!("{prefix}{slash}") })
    }

    /// The key of a blob; with a slash before it, its path begins at the bucket.
    pub(crate) fn key(&self, path: &str) -> String {
        match path.strip_prefix('/') {
            Some(key) => key.to_owned(),
            None => format!("{}{path}", self.prefix),
        }
    }

    /// What the keys of the blobs in a directory begin with.
    pub(super) fn directory(&self, dir: &str) -> String {
        let dir = dir.trim_matches('/');
        let slash = if dir.is_empty() { "" } else { "/" };
        format!("{}{dir}{slash}", self.prefix)
    }

    /// The full name of a blob or directory.
    pub(crate) fn name(&self, path: &str) -> String {
        let key = self.key(path);
        format!("s3://{}/{}", self.bucket, key.trim_end_matches('/')).trim_end_matches('/').to_owned()
    }
}

/// `bytes 5-9/10`: the range and the length of the whole.
pub(super) fn content_range(header: &str) -> Option<(Range<u64>, u64)> {
    let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total): (u64, u64, u64) =
        (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    let end = last.checked_add(1)?;
    (first < end && end <= total).then_some((first..end, total))
}

/// `bytes */10`: the length of what a range lies outside of.
pub(super) fn unsatisfied(header: &str) -> Option<u64> {
    header.strip_prefix("bytes */")?.parse().ok()
}

/// The ETag, if it may stand in `If-Match`: a weak one (`W/"…"`) never matches there (RFC 9110, section 13.1.1).
pub(super) fn strong(etag: &str) -> Option<&str> {
    (!etag.starts_with(WEAK)).then_some(etag)
}

/// Whether two ETags name the same version by the weak comparison of RFC 9110, section 8.8.3.2. Some stores that speak
/// S3's protocol, or proxies that compress before them, give weak ETags.
pub(super) fn same_version(a: &str, b: &str) -> bool {
    fn opaque(etag: &str) -> &str {
        etag.strip_prefix(WEAK).unwrap_or(etag)
    }
    opaque(a) == opaque(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_bucket_and_perhaps_a_prefix() {
        for (url, bucket, key, name) in [
            ("s3://b", "b", "x/y", "s3://b"),
            ("s3://b/", "b", "x/y", "s3://b"),
            ("s3://my.bucket/a/b/", "my.bucket", "a/b/x/y", "s3://my.bucket/a/b"),
            ("s3://b//a b%20ü//", "b", "a b%20ü/x/y", "s3://b/a b%20ü"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((address.bucket.as_str(), address.key("x/y").as_str()), (bucket, key));
            assert_eq!(address.name(""), name);
            assert_eq!(address.key("/w01/x"), "w01/x");
            assert_eq!(address.name("/w01/x"), format!("s3://{bucket}/w01/x"));
            assert_eq!(address.directory("x/"), address.key("x/"));
        }
        for url in ["", "b/p", "s3://", "s3:///p", "https://b.s3.amazonaws.com/p", "s3://b?x/p"] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn weak_etags_are_compared_and_never_sent() {
        for (a, b, same) in [
            ("\"1\"", "\"1\"", true),
            ("W/\"1\"", "\"1\"", true),
            ("\"1\"", "W/\"1\"", true),
            ("W/\"1\"", "W/\"1\"", true),
            ("W/\"1\"", "W/\"2\"", false),
            ("\"1\"", "\"2\"", false),
        ] {
            assert_eq!(same_version(a, b), same, "{a} {b}");
        }
        assert_eq!((strong("\"1\""), strong("W/\"1\"")), (Some("\"1\""), None));
    }

    #[test]
    fn content_ranges_make_sense_or_are_none() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5..10, 10)));
        for bad in [
            "",
            "bytes 5-9",
            "bytes 5-9/*",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "bytes -1-5/10",
            "bytes 0-18446744073709551615/18446744073709551615",
            "items 5-9/10",
        ] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
        assert_eq!(unsatisfied("bytes */10"), Some(10));
        assert_eq!(unsatisfied("bytes 0-1/10"), None);
    }
}

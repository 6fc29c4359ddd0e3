//! What S3's errors mean, in sentences that say what to do.

use super::answers::{MAX_ANSWER, is_overlong};
use super::body::root;
use aws_sdk_s3::error::ProvideErrorMetadata;
use backfill::ports::BlobError;
use std::error::Error;

/// An error of the SDK with the answer that it came from.
pub(super) type SdkError<E> = aws_sdk_s3::error::SdkError<E>;

/// HTTP status of the answer.
pub(super) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|r| r.status().as_u16())
}

/// A header of the answer.
pub(super) fn header<'a, E>(error: &'a SdkError<E>, name: &str) -> Option<&'a str> {
    error.raw_response()?.headers().get(name)
}

/// The meaning of an error about the blob or directory `path` of a bucket.
pub(super) fn explain<E>(error: &SdkError<E>, path: String, bucket: &str) -> BlobError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let Some(service) = error.as_service_error() else {
        return unanswered(error, path);
    };
    let code = service.code().unwrap_or_default();
    let status = status(error).unwrap_or_default();
    let words = words(service, code, status);
    let denied = |reason: &str| BlobError::Denied { path: path.clone(), reason: reason.to_owned() };
    let unavailable = |reason| BlobError::Unavailable { path: path.clone(), reason };
    match (code, status) {
        ("NoSuchBucket", _) => unavailable(format!("there is no bucket {bucket}; check the address")),
        ("InvalidBucketName", _) => {
            unavailable(format!("{bucket} cannot be the name of a bucket; check the address"))
        }
        ("InvalidObjectState", _) => {
            let reason = "it is archived; restore it to a storage class that can be read at once".to_owned();
            BlobError::Unreadable { path, reason }
        }
        ("PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed", _)
        | (_, 301 | 307 | 308) => {
            let region = header(error, "x-amz-bucket-region").map(|r| format!(" ({r})")).unwrap_or_default();
            unavailable(format!("the bucket {bucket} is in another region{region}; set its region ({words})"))
        }
        ("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired", _) => {
            denied("the AWS session has expired; log in again")
        }
        ("InvalidAccessKeyId" | "InvalidToken" | "InvalidClientTokenId", _) => {
            denied("the AWS credentials are not known there; check which are used")
        }
        ("SignatureDoesNotMatch", _) => {
            denied("the secret key does not fit the access key; check the AWS credentials")
        }
        ("RequestTimeTooSkewed", _) => denied("the clock of this machine is wrong; set it"),
        (_, 401 | 403) => denied(&format!("{words}; allow s3:GetObject and s3:ListBucket on the repository")),
        ("PreconditionFailed", _) | (_, 412) => BlobError::Changed { path },
        (_, 404) => BlobError::NotFound { path },
        ("SlowDown" | "ServiceUnavailable", _) | (_, 429 | 503) => {
            unavailable(format!("the store has too much to do ({words}); try again with fewer workers"))
        }
        _ => unavailable(words),
    }
}

/// The store's words, bounded.
fn words<E: ProvideErrorMetadata>(service: &E, code: &str, status: u16) -> String {
    let message: String = service.message().unwrap_or_default().chars().take(300).collect();
    match (code, message.as_str()) {
        ("", "") => format!("HTTP {status}"),
        (code, "") => format!("{code}, HTTP {status}"),
        ("", message) => format!("{message}, HTTP {status}"),
        (code, message) => format!("{code}: {message}"),
    }
}

/// The meaning of an error that is no answer of the store.
fn unanswered<E: Error + 'static>(error: &SdkError<E>, path: String) -> BlobError {
    if is_overlong(error) {
        let most = MAX_ANSWER >> 20;
        let reason =
            format!("the store's answer has more than {most} MiB, which none of S3 has; check its address");
        return BlobError::Unreadable { path, reason };
    }
    // Unsigned requests would be refused in any case: it is the credentials that are missing.
    let about_credentials = {
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        let mut found = false;
        while let Some(e) = next {
            found |= e.is::<aws_credential_types::provider::error::CredentialsError>();
            next = e.source();
        }
        found
    };
    if about_credentials {
        let reason =
            "no AWS credentials can be had; set them in the environment, a profile or a role".to_owned();
        return BlobError::Denied { path, reason };
    }
    let reason = match error {
        SdkError::TimeoutError(_) => "the store does not answer in time; check the network".to_owned(),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            "the store does not answer in time; check the network".to_owned()
        }
        SdkError::DispatchFailure(_) => {
            format!("the store cannot be reached ({}); check its address and the network", root(error))
        }
        SdkError::ConstructionFailure(_) => format!("the request cannot be made: {}", root(error)),
        _ => format!("the answer is not one of S3 ({}); check the address of the store", root(error)),
    };
    BlobError::Unavailable { path, reason }
}

//! What errors of AWS mean: one sentence that says what to do.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use backfill::ports::StoreError;
use std::error::Error;

/// The kind of an error, for whoever must decide on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There are no credentials, or they are not accepted.
    Credentials,
    /// The credentials do not suffice.
    Denied,
    /// What was asked for is not there.
    NotFound,
    /// The service wants fewer requests, retries included.
    Throttled,
    /// The service cannot be reached.
    Unreachable,
    /// The request makes no sense to the service, or something else is missing for it.
    Invalid,
    /// Anything else.
    Other,
}

/// An error of AWS: what was to be done, why it was not, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct AwsError {
    /// What was to be done, with the name of the resource.
    pub what: String,
    /// Why it was not, and what to do.
    pub reason: String,
    /// Its kind.
    pub kind: Fault,
}

impl AwsError {
    /// An error of this kind.
    pub fn new(kind: Fault, what: impl Into<String>, reason: impl Into<String>) -> AwsError {
        AwsError { what: what.into(), reason: reason.into(), kind }
    }
}

impl From<AwsError> for StoreError {
    fn from(error: AwsError) -> StoreError {
        StoreError::Unavailable { what: error.what, reason: error.reason }
    }
}

/// The meaning of an SDK error; `what` is what was to be done, with the name of the resource.
pub fn explain<E>(what: impl Into<String>, error: &SdkError<E>) -> AwsError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let what = what.into();
    let Some(service) = error.as_service_error() else { return unanswered(what, error) };
    let code = service.code().unwrap_or_default();
    let status = error.raw_response().map_or(0, |r| r.status().as_u16());
    let words = words(code, service.message().unwrap_or_default(), status);
    let (kind, reason) = match (code, status) {
        ("ExpiredToken" | "ExpiredTokenException" | "RequestExpired" | "TokenRefreshRequired", _) => {
            (Fault::Credentials, "the AWS session has expired; log in again".to_owned())
        }
        (
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "InvalidToken"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "IncompleteSignature",
            _,
        ) => (
            Fault::Credentials,
            "the AWS credentials are not known there; check which profile and region are used".to_owned(),
        ),
        ("SignatureDoesNotMatch" | "InvalidSignatureException", _) => (
            Fault::Credentials,
            "the signature is not accepted; check the secret key and the clock of this machine".to_owned(),
        ),
        _ if is_throttling(code, status) => {
            (Fault::Throttled, format!("AWS has too many requests ({words}); try again in a minute"))
        }
        (code, _) if is_absent(code) => (
            Fault::NotFound,
            format!("it is not there ({words}); check stack, account and region, or deploy the stack again"),
        ),
        (code, 401 | 403) | (code, _) if status == 401 || status == 403 || code.contains("AccessDenied") => (
            Fault::Denied,
            format!("AWS does not allow it ({words}); add that permission to the role or user"),
        ),
        ("ValidationException" | "ValidationError" | "InvalidParameterValueException", _) => {
            (Fault::Invalid, words)
        }
        (_, 500..) => (Fault::Unreachable, format!("AWS has a fault of its own ({words}); try again")),
        _ => (Fault::Other, words),
    };
    AwsError { what, reason, kind }
}

fn is_throttling(code: &str, status: u16) -> bool {
    status == 429
        || matches!(
            code,
            "ProvisionedThroughputExceededException"
                | "RequestLimitExceeded"
                | "LimitExceededException"
                | "SlowDown"
                | "Throttling"
                | "ThrottlingException"
                | "ThrottledException"
                | "TooManyRequestsException"
                | "RequestThrottled"
        )
}

fn is_absent(code: &str) -> bool {
    matches!(
        code,
        "ResourceNotFoundException"
            | "NoSuchBucket"
            | "AWS.SimpleQueueService.NonExistentQueue"
            | "QueueDoesNotExist"
            | "NonExistentQueue"
    )
}

/// The service's own words, bounded.
fn words(code: &str, message: &str, status: u16) -> String {
    // `com.amazonaws.dynamodb.v20120810#ResourceNotFoundException` says no more than its last part.
    let code = code.rsplit('#').next().unwrap_or_default();
    let message: String = message.trim().trim_end_matches('.').chars().take(300).collect();
    match (code, message.as_str()) {
        ("", "") => format!("HTTP {status}"),
        (code, "") => format!("{code}, HTTP {status}"),
        ("", message) => message.to_owned(),
        (code, message) => format!("{code}: {message}"),
    }
}

/// The meaning of an error that is no answer.
fn unanswered<E: Error + 'static>(what: String, error: &SdkError<E>) -> AwsError {
    if chain(error).any(|e| e.is::<aws_credential_types::provider::error::CredentialsError>()) {
        let reason = "no AWS credentials can be had; set them in the environment, a profile or a role";
        return AwsError::new(Fault::Credentials, what, reason);
    }
    let root = chain(error).last().map(ToString::to_string).unwrap_or_default();
    match error {
        SdkError::TimeoutError(_) => unreachable_in_time(what),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => unreachable_in_time(what),
        SdkError::DispatchFailure(_) => AwsError::new(
            Fault::Unreachable,
            what,
            format!("AWS cannot be reached ({root}); check region, endpoint and network"),
        ),
        SdkError::ConstructionFailure(_) => {
            AwsError::new(Fault::Invalid, what, format!("the request cannot be made: {root}"))
        }
        _ => AwsError::new(
            Fault::Other,
            what,
            format!("the answer is not one of AWS ({root}); check the endpoint"),
        ),
    }
}

fn unreachable_in_time(what: String) -> AwsError {
    AwsError::new(
        Fault::Unreachable,
        what,
        "AWS does not answer in time; check region, network and, in a VPC, the endpoints",
    )
}

/// An error and all errors that it came from.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&e: &&'a (dyn Error + 'static)| e.source())
}

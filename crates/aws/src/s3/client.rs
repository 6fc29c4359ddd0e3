//! The SDK's client, set up for reading large ranges.

use super::address::{Address, OpenError};
use super::answers::BoundedAnswers;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, SharedHttpClient, StalledStreamProtectionConfig};
use aws_smithy_http_client::tls;
use std::time::Duration;

/// How often a request is tried before the body begins.
const ATTEMPTS: u32 = 6;
const CONNECT: Duration = Duration::from_secs(5);
/// From the request to the first byte of the answer.
const FIRST_BYTE: Duration = Duration::from_secs(30);
/// A body that brings nothing for so long has stalled.
const STALLED: Duration = Duration::from_secs(10);
/// Stores other than AWS have no regions, but signatures need one.
const ANY_REGION: &str = "us-east-1";

/// How S3 is reached, where the SDK's own settings (environment, profile, instance) are not meant.
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    /// Region of the bucket.
    pub region: Option<String>,
    /// Address of another store that speaks S3's protocol; else `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL` count.
    pub endpoint: Option<String>,
    /// Whether the bucket is named in the path and not in the host; else it is when there is an endpoint.
    pub path_style: Option<bool>,
    /// A role that is assumed to read.
    pub role_arn: Option<String>,
}

pub(super) async fn connect(options: S3Options, address: &Address) -> Result<Client, OpenError> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http());
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    build(options, loader.load().await, address).await
}

/// Connections over TLS.
pub(crate) fn http() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https()
}

/// A client with the settings that are shared by all clients of AWS.
pub(super) async fn build(
    options: S3Options,
    shared: SdkConfig,
    address: &Address,
) -> Result<Client, OpenError> {
    let elsewhere = options.endpoint.is_some()
        || shared.endpoint_url().is_some()
        || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
    let region = match shared.region() {
        Some(region) => region.clone(),
        None if elsewhere => Region::from_static(ANY_REGION),
        None => return Err(OpenError::Region { url: address.name("") }),
    };
    // A dot in the bucket's name fits no certificate when it is part of the host.
    let path_style = options.path_style.unwrap_or(elsewhere || address.bucket.contains('.'));
    let mut config = Builder::from(&shared).region(region).force_path_style(path_style);
    config = config
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(FIRST_BYTE).build())
        .interceptor(BoundedAnswers)
        .retry_classifier(BoundedAnswers)
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(STALLED).build());
    if let Some(endpoint) = options.endpoint {
        config = config.endpoint_url(with_slash(endpoint));
    }
    if let Some(role) = options.role_arn {
        config = config.credentials_provider(assume(&shared, role).await);
    }
    Ok(Client::from_conf(config.build()))
}

/// The SDK appends the bucket to the endpoint's path without a slash between them.
fn with_slash(mut endpoint: String) -> String {
    if !endpoint.ends_with('/') {
        endpoint.push('/');
    }
    endpoint
}

async fn assume(shared: &SdkConfig, role: String) -> AssumeRoleProvider {
    AssumeRoleProvider::builder(role).session_name("backfill").configure(shared).build().await
}

//! The clients of AWS's services, set up alike.

use crate::error::{AwsError, Fault};
use crate::s3;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use std::time::Duration;

/// How often a request is tried, unless it is said otherwise.
const ATTEMPTS: u32 = 8;
const CONNECT: Duration = Duration::from_secs(5);
/// From the request to the answer, for one try.
const ANSWER: Duration = Duration::from_secs(30);
/// An invoked function may take as long as functions do.
const INVOCATION: Duration = Duration::from_secs(910);

/// How AWS is reached, where the SDK's own settings (environment, profile, instance) are not meant.
#[derive(Clone, Debug, Default)]
pub struct SdkOptions {
    /// Region.
    pub region: Option<String>,
    /// Address of something else that speaks AWS's protocols; else `AWS_ENDPOINT_URL` counts.
    pub endpoint: Option<String>,
    /// Profile of the configuration files.
    pub profile: Option<String>,
    /// How often a request is tried: fewer times where somebody waits for an error.
    pub attempts: Option<u32>,
}

/// The settings that all clients share: TLS by rustls, retries that slow down when AWS asks for it.
#[derive(Clone, Debug)]
pub struct Sdk {
    config: SdkConfig,
    region: String,
}

impl Sdk {
    /// Reads the SDK's settings. No request is made yet, except for credentials where they come from a server.
    ///
    /// # Errors
    /// When no region is known.
    pub async fn load(options: &SdkOptions) -> Result<Sdk, AwsError> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(s3::http())
            .retry_config(RetryConfig::adaptive().with_max_attempts(options.attempts.unwrap_or(ATTEMPTS)))
            .timeout_config(
                TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ANSWER).build(),
            );
        if let Some(region) = &options.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &options.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(endpoint) = &options.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let config = loader.load().await;
        let Some(region) = config.region().map(ToString::to_string) else {
            let reason = "name it with --region, AWS_REGION or aws_region in services.yaml";
            return Err(AwsError::new(Fault::Invalid, "the AWS region is not known", reason));
        };
        Ok(Sdk { config, region })
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// What the clients are made of.
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// A client of CloudFormation.
    pub fn cloudformation(&self) -> aws_sdk_cloudformation::Client {
        aws_sdk_cloudformation::Client::new(&self.config)
    }

    /// A client of DynamoDB.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config)
    }

    /// A client of Lambda.
    pub fn lambda(&self) -> aws_sdk_lambda::Client {
        aws_sdk_lambda::Client::new(&self.config)
    }

    /// A client for invoking functions, which waits as long as they may take and invokes them once: what was invoked may
    /// have been done even if its answer is lost.
    pub fn invoking(&self) -> aws_sdk_lambda::Client {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(INVOCATION).build();
        let config = aws_sdk_lambda::config::Builder::from(&self.config)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::disabled());
        aws_sdk_lambda::Client::from_conf(config.build())
    }

    /// A client of S3.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let elsewhere =
            self.config.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        let config = aws_sdk_s3::config::Builder::from(&self.config).force_path_style(elsewhere);
        aws_sdk_s3::Client::from_conf(config.build())
    }

    /// A client of Secrets Manager.
    pub fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config)
    }

    /// A client of SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }
}

//! The clients and adapters of a function, made once and kept between invocations.

use crate::settings::{Settings, TargetAuth};
use crate::{Error, refusal::Refusal};
use aws::{
    DynamoCheckpoints, LambdaFleet, S3Blobs, S3FailedDocuments, S3Options, Sdk, SdkOptions, SqsQueue, secrets,
};
use backfill::ports::Blobs;
use std::sync::Arc;
use std::time::Duration;
use target::{Auth, OpenSearchTarget, Service, TargetConfig};

/// What a function works with.
#[derive(Debug)]
pub struct Environment {
    pub(crate) settings: Settings,
    pub(crate) sdk: Sdk,
    pub(crate) checkpoints: DynamoCheckpoints,
    pub(crate) queue: SqsQueue,
    pub(crate) failed: S3FailedDocuments,
}

impl Environment {
    /// From the environment variables that the template sets. Nothing is sent yet.
    ///
    /// # Errors
    /// When a variable is missing or makes no sense.
    pub async fn load() -> Result<Environment, Error> {
        let settings = Settings::load()?;
        let sdk = Sdk::load(&SdkOptions::default()).await?;
        Ok(Environment {
            checkpoints: DynamoCheckpoints::new(sdk.dynamodb(), &settings.table),
            queue: SqsQueue::new(sdk.sqs(), &settings.queue_url),
            failed: S3FailedDocuments::open(sdk.s3(), &settings.failed_documents)?,
            settings,
            sdk,
        })
    }

    /// The fleet of workers.
    pub(crate) fn fleet(&self) -> Result<LambdaFleet, Refusal> {
        let unset =
            || Refusal::other("the function is not told which workers to scale; deploy the template again");
        let function = self.settings.worker_function.as_ref().ok_or_else(unset)?;
        let mapping = self.settings.worker_event_source.as_ref().ok_or_else(unset)?;
        Ok(LambdaFleet::new(self.sdk.lambda(), function, mapping))
    }

    /// A repository.
    pub(crate) async fn blobs(
        &self,
        location: &str,
        region: Option<&str>,
    ) -> Result<Arc<dyn Blobs>, aws::OpenError> {
        let options = S3Options {
            region: region.map(str::to_owned).or_else(|| self.settings.repository_region.clone()),
            role_arn: self.settings.repository_role.clone(),
            ..S3Options::default()
        };
        Ok(Arc::new(S3Blobs::open(location, options).await?))
    }

    /// The target. Fetches its secret, if it has one.
    pub(crate) async fn target(&self) -> Result<OpenSearchTarget, Refusal> {
        let endpoint = self.settings.target.as_ref().ok_or_else(|| {
            Refusal::usage("the stack names no target; deploy it with the parameter TargetEndpoint")
        })?;
        let mut config = TargetConfig::new(endpoint);
        config.allow_insecure = self.settings.target_insecure;
        if let Some(max_in_flight) = self.settings.max_in_flight {
            config.max_in_flight = max_in_flight;
        }
        config.answer_bytes = self.settings.budget.answers;
        config.document_bytes = self.settings.budget.document;
        // Less than a slice, so that a request that hangs does not cost the whole of it.
        config.request_timeout = Duration::from_secs(60);
        config.auth = match &self.settings.target_auth {
            TargetAuth::None => Auth::None,
            TargetAuth::Basic { secret } => {
                let secret = secrets::fetch(&self.sdk.secrets(), secret).await?;
                Auth::Basic { user: secret.username, password: secret.password }
            }
            TargetAuth::SigV4 { service, region } => Auth::SigV4 {
                region: region.clone().unwrap_or_else(|| self.sdk.region().to_owned()),
                service: match service.as_str() {
                    "aoss" => Service::Aoss,
                    _ => Service::Es,
                },
            },
        };
        OpenSearchTarget::new(config).map_err(|error| Refusal::usage(error.to_string()))
    }
}

//! AWS Signature Version 4, with credentials from the SDK's default chain.

use crate::config::Service;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningParams, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::{Builder, tls};
use backfill::secrets::{Redactor, SecretString};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Mutex, OnceCell};

/// Credentials are fetched anew so long before they expire.
const MARGIN: Duration = Duration::from_secs(300);
/// Credentials that do not say when they expire are fetched anew after this.
const UNDATED: Duration = Duration::from_secs(900);

/// Signs requests.
pub(crate) struct Signer {
    region: String,
    service: Service,
    provider: OnceCell<Option<SharedCredentialsProvider>>,
    cached: Mutex<Option<(Credentials, Instant)>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signer { region, service, .. } = self;
        f.debug_struct("Signer").field("region", region).field("service", service).finish_non_exhaustive()
    }
}

impl Signer {
    pub(crate) fn new(region: String, service: Service) -> Signer {
        Signer { region, service, provider: OnceCell::new(), cached: Mutex::new(None) }
    }

    pub(crate) fn service(&self) -> Service {
        self.service
    }

    /// Forgets the credentials, because the cluster refused them.
    pub(crate) async fn forget(&self) {
        *self.cached.lock().await = None;
    }

    async fn credentials(&self) -> Result<Credentials, String> {
        let mut cached = self.cached.lock().await;
        if let Some((credentials, since)) = &*cached {
            let fresh = match credentials.expiry() {
                Some(expiry) => expiry > SystemTime::now() + MARGIN,
                None => since.elapsed() < UNDATED,
            };
            if fresh {
                return Ok(credentials.clone());
            }
        }
        let provider = self.provider.get_or_init(|| self.chain()).await;
        let provider = provider.as_ref().ok_or("no AWS credentials are configured; set them up")?;
        let credentials = provider.provide_credentials().await.map_err(|e| {
            // The cause can quote files and answers that hold secrets: only its kind is told.
            format!("no AWS credentials can be had ({e}); set them in the environment, a profile or a role")
        })?;
        *cached = Some((credentials.clone(), Instant::now()));
        Ok(credentials)
    }

    async fn chain(&self) -> Option<SharedCredentialsProvider> {
        let client = Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let region = Region::new(self.region.clone());
        let config =
            aws_config::defaults(BehaviorVersion::latest()).region(region).http_client(client).load();
        config.await.credentials_provider()
    }

    /// Adds the signature to the headers of a request; returns what removes it, and what it was made with, from texts.
    pub(crate) async fn sign(
        &self,
        method: &str,
        url: &str,
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<Redactor, String> {
        let credentials = self.credentials().await?;
        let mut secrets: Vec<SecretString> = vec![credentials.secret_access_key().into()];
        secrets.extend(credentials.session_token().map(SecretString::from));
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        // Serverless collections insist on the header; domains do not mind.
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let unsignable = |e: &dyn fmt::Display| format!("the request cannot be signed: {e}");
        let params: SigningParams<'_> = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service.name())
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|e| unsignable(&e))?
            .into();
        let signed = headers.iter().filter_map(|(k, v)| Some((k.as_str(), v.to_str().ok()?)));
        let request = SignableRequest::new(method, url, signed, SignableBody::Bytes(body))
            .map_err(|e| unsignable(&e))?;
        let (instructions, signature) = sign(request, &params).map_err(|e| unsignable(&e))?.into_parts();
        secrets.push(signature.into());
        let (new_headers, _) = instructions.into_parts();
        for header in new_headers {
            let name = HeaderName::from_bytes(header.name().as_bytes()).map_err(|e| unsignable(&e))?;
            let mut value = HeaderValue::from_str(header.value()).map_err(|e| unsignable(&e))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(Redactor::new(secrets))
    }
}

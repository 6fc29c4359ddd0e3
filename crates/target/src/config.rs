//! How a cluster is reached.

use backfill::secrets::SecretString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The longest document that makes sense: clusters take requests of at most 100 MB, unless they are set up otherwise.
pub(crate) const MAX_DOCUMENT: usize = 128 << 20;

/// How a cluster is reached. None of its secrets show in its `Debug` form.
#[derive(Clone, Debug)]
pub struct TargetConfig {
    /// `http://` or `https://`, host, port if it is not the usual one, and path if the cluster is behind one.
    pub endpoint: String,
    /// How requests are authorised.
    pub auth: Auth,
    /// What the client shows when the cluster asks for a certificate.
    pub client_certificate: Option<ClientCertificate>,
    /// PEM file of certificate authorities that are trusted besides those of the system.
    pub ca_certificate: Option<PathBuf>,
    /// Whether any certificate is good enough.
    pub allow_insecure: bool,
    /// Whether the bodies of bulk requests are compressed.
    pub compression: Compression,
    /// How long a request may take, from its start to the last byte of the answer.
    pub request_timeout: Duration,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
    /// How many bulk requests of one chunk may be under way at once.
    pub max_in_flight: usize,
    /// Memory for what the cluster answers, of all requests under way together: reasons for which documents are refused,
    /// and documents that are fetched to be compared. Only a single document that is larger may exceed it.
    pub answer_bytes: usize,
    /// Bytes of the longest document that is fetched to be compared. A longer one comes back without its source.
    pub document_bytes: usize,
    /// What the client calls itself.
    pub user_agent: String,
}

impl TargetConfig {
    /// A cluster that asks for nothing, with the usual limits.
    pub fn new(endpoint: impl Into<String>) -> TargetConfig {
        TargetConfig {
            endpoint: endpoint.into(),
            auth: Auth::None,
            client_certificate: None,
            ca_certificate: None,
            allow_insecure: false,
            compression: Compression::Auto,
            request_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            max_in_flight: 8,
            answer_bytes: 64 << 20,
            document_bytes: MAX_DOCUMENT,
            user_agent: concat!("backfill/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// How requests are authorised.
#[derive(Clone)]
pub enum Auth {
    /// Not at all, or by client certificate alone.
    None,
    /// By user and password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// By AWS Signature Version 4, with the credentials of the SDK's default chain.
    SigV4 {
        /// Region of the domain or collection.
        region: String,
        /// What kind of thing is talked to.
        service: Service,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Auth::None => f.write_str("None"),
            Auth::Basic { user, .. } => f.debug_struct("Basic").field("user", user).finish_non_exhaustive(),
            Auth::SigV4 { region, service } => {
                f.debug_struct("SigV4").field("region", region).field("service", service).finish()
            }
        }
    }
}

/// The AWS service that requests are signed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// A domain of Amazon OpenSearch Service.
    Es,
    /// A collection of Amazon OpenSearch Serverless.
    Aoss,
}

impl Service {
    /// Its name in signatures.
    pub fn name(self) -> &'static str {
        match self {
            Service::Es => "es",
            Service::Aoss => "aoss",
        }
    }
}

/// A certificate that the client shows, with its key; both PEM files.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, followed by those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Whether the bodies of bulk requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Unless the cluster is on this machine or refuses compressed requests.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Why a cluster cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The endpoint is not one.
    #[error("{endpoint:?} is not the address of a cluster: {reason}; write it as https://host:port")]
    Endpoint {
        /// What was given, unless it may hold a password.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The user, password or user agent cannot be sent.
    #[error("the {what} of the cluster {endpoint} has characters that HTTP cannot carry; remove them")]
    Header {
        /// What it is.
        what: &'static str,
        /// The cluster.
        endpoint: String,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read for the cluster {endpoint}; check the path and its permissions", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cluster.
        endpoint: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds no certificate or key.
    #[error("{}: holds no {what} that can be used; give a PEM file", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// TLS cannot be set up.
    #[error(
        "the client of the cluster {endpoint} cannot be set up: {reason}; check its certificates and those of the system"
    )]
    Client {
        /// The cluster.
        endpoint: String,
        /// What went wrong.
        reason: String,
    },
}

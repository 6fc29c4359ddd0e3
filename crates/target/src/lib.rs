//! The target port on an OpenSearch cluster over HTTP(S).
//!
//! [`Cluster`] is the client: it knows how to reach a cluster, how to prove who we are, and what its answers
//! mean. [`OpenSearchTarget`] writes documents through it. The same client looks at the source's cluster.
//!
//! A client belongs to the runtime that it is first used on, because its connections live there: give each
//! runtime its own.

mod classify;
mod cluster;
mod compress;
mod config;
mod fetch;
mod names;
mod opensearch;
mod sigv4;
mod transport;
mod words;

pub use cluster::{CatIndex, Cluster, ClusterVersion, Distribution};
pub use config::{Auth, ClientCertificate, Compression, ConfigError, Service, TargetConfig};
pub use fetch::FetchedDoc;
pub use opensearch::OpenSearchTarget;

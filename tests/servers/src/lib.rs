//! Real Elasticsearch and OpenSearch servers for the tests, and the fixtures that such servers wrote.
//!
//! [`Server::start`] runs a server of a given product and version on loopback, with the distribution that its
//! makers publish on Maven Central; [`S3Server`] is a store for their snapshots, [`DynamoDb`] and [`Sqs`] stand in for
//! services of AWS. [`fixture`] gives a snapshot
//! repository of `tests/fixtures` together with the documents that the server itself returned for it.
//!
//! ```no_run
//! # fn main() -> Result<(), servers::Error> {
//! let spec: servers::ServerSpec = "opensearch:2.19.5".parse()?;
//! let mut server = servers::Server::start(&spec)?;
//! let health = server.http().get("/_cluster/health")?.json()?;
//! assert_eq!(health["number_of_nodes"], 1);
//! server.kill()?;
//! server.restart()?; // same data, same port
//! # Ok(())
//! # }
//! ```

mod cloud;
mod distribution;
mod error;
mod fixtures;
mod http;
mod jars;
mod jdk;
mod listen;
mod patch;
mod release;
mod s3;
mod server;
mod tools;

pub use cloud::{Cloud, build_functions, fetch_cloud, free_port, lint_translated, sam};
pub use distribution::cache_dir;
pub use error::Error;
pub use fixtures::{About, ExpectedDoc, Fixture, fixture, fixtures_dir};
pub use http::{Answer, Http, path_segment};
pub use jars::{DynamoDb, Sqs};
pub use release::{Product, Version};
pub use s3::S3Server;
pub use server::{Server, ServerSpec, fetch};
pub use tools::{cargo_deny, missing_tools};

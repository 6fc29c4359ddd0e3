//! The ports on AWS, and what else the program needs of AWS.
//!
//! Clients belong to the runtime that they are first used on, because their connections live there: give each
//! runtime its own.

pub mod api;
mod dynamo;
mod error;
mod failed;
mod fleet;
mod functions;
pub mod message;
mod s3;
mod sdk;
pub mod secrets;
mod sqs;
mod stack;

pub use dynamo::DynamoCheckpoints;
pub use error::{AwsError, Fault, explain};
pub use failed::S3FailedDocuments;
pub use fleet::LambdaFleet;
pub use functions::Functions;
pub use s3::{OpenError, S3Blobs, S3Options};
pub use sdk::{Sdk, SdkOptions};
pub use sqs::{Delivery, EventQueue, QueueDepth, SqsQueue};
pub use stack::Stack;

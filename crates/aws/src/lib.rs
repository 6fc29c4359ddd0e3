//! The ports on AWS.
//!
//! Clients belong to the runtime that they are first used on, because their connections live there: give each
//! runtime its own.

mod s3;

pub use s3::{OpenError, S3Blobs, S3Options};

//! Reads the snapshot repositories of Elasticsearch (1 and later) and OpenSearch: pure functions over bytes that
//! the caller fetched. No I/O, no clock, no waiting.
//!
//! The way from a repository to documents:
//!
//! 1. [`paths::newest_root`] finds the root in a listing, [`repository::RepositoryData`] reads it and knows every
//!    snapshot and index.
//! 2. [`snapshot_info`], [`global_metadata`] and [`index_metadata`] read what a snapshot says about itself, its data
//!    streams and its indices; [`repository::cross_check`] holds the root, which has no checksum, against them.
//! 3. [`selection`] chooses indices by name, wildcard and data stream.
//! 4. [`shard_paths`] tells the folder of a shard, [`shard_manifest`] lists its files, and [`files`] finds any byte of
//!    them in the repository's blobs.
//! 5. [`document`] says what a Lucene document is: [`id`] decodes its id, [`source`] makes its source JSON.
//!
//! Nothing here panics or takes memory for a length that was only claimed, whatever the bytes are.

pub mod container;
pub mod document;
pub mod error;
pub mod files;
pub mod global_metadata;
pub mod id;
pub mod index_metadata;
mod json;
mod lzf;
pub mod masked_vectors;
mod pairs;
pub mod paths;
pub mod repository;
pub mod routing_path;
pub mod selection;
pub mod shard_manifest;
pub mod shard_paths;
pub mod snapshot_info;
pub mod source;
pub mod version;

pub use error::{Error, Result};

//! `services.yaml`: the configuration file of the ecosystem, as far as it concerns us.
//!
//! Unknown top-level sections (metadata migration, metrics, replay and so on) belong to other tools and are left alone;
//! within our sections an unknown key is an error, because a misspelt one must not be ignored.

mod sections;

pub use sections::{
    Backfill, BasicAuth, Cluster, Config, FsRepository, LambdaBackfill, LocalBackfill, ReindexFromSnapshot,
    S3Repository, SigV4, Snapshot,
};

use crate::exit::{CommandError, Result};
use std::path::Path;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "services.yaml";

impl Config {
    /// Reads the named file; or `services.yaml`, if it is there.
    pub fn load(named: Option<&Path>) -> Result<Config> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Config::default());
            }
            Err(error) => {
                return Err(CommandError::usage(format!("cannot read {}: {error}", path.display())));
            }
        };
        Config::parse(&text).map_err(|why| CommandError::usage(format!("{}: {why}", path.display())))
    }
}

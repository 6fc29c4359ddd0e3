//! A directory of NDJSON files as the target: one file a chunk, complete or not there at all.
//!
//! ```text
//! DIR/<destination>/<index>-<shard>-<chunk>.ndjson[.gz|.zst]
//! ```

mod compress;
mod output;
#[cfg(test)]
mod tests;

use crate::durable;
use crate::paths::encode_part;
use async_trait::async_trait;
use backfill::encode::Encoding;
use backfill::model::{ChunkId, Identity, RunId, WriteMode};
use backfill::ports::{Acknowledge, Batch, ChunkWriter, ItemOutcome, Place, Reply, Target, TargetError};
use output::{Output, OutputError};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

/// How exported files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip: everything reads it.
    Gzip,
    /// Zstandard: smaller and much faster.
    Zstd,
}

impl Compression {
    const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

    /// What a file that is compressed so would be called with each other compression.
    fn others(self, path: &Path) -> impl Iterator<Item = PathBuf> {
        let plain = if self == Compression::None { path.to_owned() } else { path.with_extension("") };
        Compression::ALL.into_iter().filter(move |other| *other != self).map(move |other| {
            let mut name = plain.clone().into_os_string();
            name.push(other.suffix());
            name.into()
        })
    }

    /// What the files' names end in.
    fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        }
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(name: &str) -> Result<Compression, String> {
        match name {
            "none" => Ok(Compression::None),
            "gzip" => Ok(Compression::Gzip),
            "zstd" => Ok(Compression::Zstd),
            other => Err(format!("there is no compression {other:?}; give none, gzip or zstd")),
        }
    }
}

/// Writes documents to NDJSON files in a directory.
#[derive(Clone, Debug)]
pub struct ExportTarget {
    dir: PathBuf,
    compression: Compression,
}

impl ExportTarget {
    /// The target in this directory, which [`Target::check`] makes if it is missing.
    pub fn new(dir: impl Into<PathBuf>, compression: Compression) -> ExportTarget {
        ExportTarget { dir: dir.into(), compression }
    }

    /// The file of a chunk.
    fn path(&self, chunk: &ChunkId, destination: &str) -> PathBuf {
        let index = &chunk.shard.index;
        let index = encode_part(index.strip_prefix('.').unwrap_or(index));
        let name =
            format!("{index}-{}-{:05}.ndjson{}", chunk.shard.shard, chunk.number, self.compression.suffix());
        self.dir.join(encode_part(destination)).join(name)
    }
}

#[async_trait]
impl Target for ExportTarget {
    fn location(&self) -> String {
        format!("ndjson:{}", self.dir.display())
    }

    fn encoding(&self) -> Encoding {
        Encoding::Export
    }

    fn acknowledge(&self) -> Acknowledge {
        Acknowledge::OnFinish
    }

    fn max_in_flight(&self) -> usize {
        1
    }

    async fn check(&self) -> Result<(), TargetError> {
        let dir = self.dir.clone();
        blocking(self.location(), move || {
            let probe = dir.join(format!(".writable-{}.tmp", std::process::id()));
            durable::create_dirs(&dir)
                .and_then(|()| std::fs::write(&probe, b"x"))
                .and_then(|()| std::fs::remove_file(&probe))
                .map_err(|e| OutputError::io(&dir, e))
        })
        .await
    }

    // Directories are made when something is written to them, and files have no identity that could change.
    async fn place(&self, _name: &str) -> Result<Option<Place>, TargetError> {
        Ok(Some(Place::index(Identity::none())))
    }

    async fn identity(&self, _name: &str) -> Result<Option<Identity>, TargetError> {
        Ok(Some(Identity::none()))
    }

    async fn create(&self, _name: &str, _data_stream: bool) -> Result<bool, TargetError> {
        Ok(true)
    }

    async fn begin(
        &self,
        _run: &RunId,
        chunk: &ChunkId,
        destination: &str,
        _mode: WriteMode,
    ) -> Result<Box<dyn ChunkWriter>, TargetError> {
        let output = Output::new(self.path(chunk, destination), self.compression);
        Ok(Box::new(ExportWriter { target: self.location(), output: Arc::new(Mutex::new(output)) }))
    }
}

/// Writes the file of one chunk.
#[derive(Debug)]
struct ExportWriter {
    target: String,
    output: Arc<Mutex<Output>>,
}

impl ExportWriter {
    async fn with_output(
        &self,
        work: impl FnOnce(&mut Output) -> Result<(), OutputError> + Send + 'static,
    ) -> Result<(), TargetError> {
        let output = self.output.clone();
        blocking(self.target.clone(), move || {
            work(&mut output.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
    }
}

#[async_trait]
impl ChunkWriter for ExportWriter {
    async fn send(&self, batch: &Batch) -> Result<Reply, TargetError> {
        let body = batch.body.clone();
        self.with_output(move |output| output.write(&body)).await?;
        Ok(vec![ItemOutcome::Indexed; batch.entries.len()].into())
    }

    async fn finish(&self) -> Result<(), TargetError> {
        self.with_output(Output::finish).await
    }
}

async fn blocking(
    target: String,
    work: impl FnOnce() -> Result<(), OutputError> + Send + 'static,
) -> Result<(), TargetError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| error.into_target_error(target)),
        Err(error) => Err(TargetError::Unexpected { target, reason: error.to_string() }),
    }
}

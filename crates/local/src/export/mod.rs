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
use std::io::{self, Write};
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
        let index = index_part(&chunk.shard.index);
        let name =
            format!("{index}-{}-{:05}.ndjson{}", chunk.shard.shard, chunk.number, self.compression.suffix());
        self.dir.join(encode_part(destination)).join(name)
    }

    /// A file of an earlier run where a new run would export these destinations, if there is one. The new run replaces only
    /// the files of chunks that it has itself: beside what is left of another one, documents would be there twice.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub async fn earlier_file(&self, destinations: &[String]) -> Result<Option<PathBuf>, TargetError> {
        let dirs: Vec<PathBuf> = destinations.iter().map(|name| self.dir.join(encode_part(name))).collect();
        blocking(self.location(), move || {
            for dir in dirs {
                if let Some(file) = first_export(&dir).map_err(|e| OutputError::io(&dir, e))? {
                    return Ok(Some(file));
                }
            }
            Ok(None)
        })
        .await
    }
}

/// The index in the name of a file. The dot of a backing index, `.ds-logs-000001`, is left out, because it would hide the
/// file; so an index whose name begins with `ds-` has that encoded, and different indices have different files.
fn index_part(index: &str) -> String {
    match (index.strip_prefix(".ds-"), index.strip_prefix("ds-")) {
        (Some(rest), _) => encode_part(&format!("ds-{rest}")),
        (_, Some(rest)) => format!("%64{}", encode_part(&format!("s-{rest}"))),
        _ => encode_part(index),
    }
}

/// The first of the complete files of an export in a directory, in the order of their names.
fn first_export(dir: &Path) -> io::Result<Option<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut first: Option<PathBuf> = None;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let exported = Compression::ALL.iter().any(|c| name.ends_with(&format!(".ndjson{}", c.suffix())));
        if exported && !name.starts_with('.') && first.as_ref().is_none_or(|first| path < *first) {
            first = Some(path);
        }
    }
    Ok(first)
}

/// Removes what a check of earlier versions left behind when it was killed.
fn remove_probes(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let probe = name.to_str().and_then(|name| name.strip_prefix(".writable-")?.strip_suffix(".tmp"));
        if probe.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit())) {
            // It does no harm where it is.
            let _ = std::fs::remove_file(entry.path());
        }
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
            // A file without a name: a kill leaves nothing behind.
            durable::create_dirs(&dir)
                .and_then(|()| tempfile::tempfile_in(&dir))
                .and_then(|mut probe| probe.write_all(b"x").and_then(|()| probe.sync_data()))
                .map_err(|e| OutputError::io(&dir, e))?;
            remove_probes(&dir);
            Ok(())
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

async fn blocking<T: Send + 'static>(
    target: String,
    work: impl FnOnce() -> Result<T, OutputError> + Send + 'static,
) -> Result<T, TargetError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| error.into_target_error(target)),
        Err(error) => Err(TargetError::Unexpected { target, reason: error.to_string() }),
    }
}

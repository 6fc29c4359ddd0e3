//! The failed-document stream in a directory beside the state file.
//!
//! ```text
//! <state stem>.failed/<run>/<index>/<shard>-<chunk>/<part>.ndjson.gz
//! ```
//! Each file holds one part, named and encoded as [`backfill::failed`] has it; it is complete or not there at all.

use crate::durable;
use crate::paths::encode_part;
use async_trait::async_trait;
use backfill::failed::{decode, encode, in_force};
use backfill::model::{ChunkId, RunId, Settled};
use backfill::ports::{FailedDocument, FailedDocuments, FailedPart, StoreError, StoredPart};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Keeps failed documents in files, and reads them again.
#[derive(Clone, Debug)]
pub struct FsFailedDocuments {
    root: PathBuf,
}

impl FsFailedDocuments {
    /// The stream in this directory, which is made when there is something to keep.
    pub fn new(root: impl Into<PathBuf>) -> FsFailedDocuments {
        FsFailedDocuments { root: root.into() }
    }

    /// The stream beside a state file: `x.failed` for `x.db`.
    pub fn beside(state: &Path) -> FsFailedDocuments {
        FsFailedDocuments::new(state.with_extension("failed"))
    }

    fn run_dir(&self, run: &RunId) -> PathBuf {
        self.root.join(encode_part(&run.0))
    }

    fn chunk_dir(&self, run: &RunId, chunk: &ChunkId) -> PathBuf {
        self.run_dir(run)
            .join(encode_part(&chunk.shard.index))
            .join(format!("{}-{}", chunk.shard.shard, chunk.number))
    }

    /// Writes a part, and then removes another one.
    async fn put(
        &self,
        part: &FailedPart,
        records: &[FailedDocument],
        instead_of: Option<PathBuf>,
    ) -> Result<(), StoreError> {
        let dir = self.chunk_dir(&part.run, &part.chunk);
        let path = dir.join(part.name());
        let shown = path.display().to_string();
        let unavailable = |reason: String| StoreError::Unavailable {
            what: format!("cannot keep the failed documents in {shown}"),
            reason,
        };
        let content = encode(records).map_err(|e| unavailable(e.to_string()))?;
        let put = move || {
            write(&dir, &path, &content)?;
            match instead_of.filter(|old| *old != path) {
                Some(old) => remove(std::fs::remove_file(old)).and_then(|()| durable::sync_dir(&dir)),
                None => Ok(()),
            }
        };
        blocking(put)
            .await
            .map_err(|e| unavailable(format!("{e}; free space or make it writable, then try again")))
    }
}

#[async_trait]
impl FailedDocuments for FsFailedDocuments {
    async fn write(&self, part: &FailedPart, records: &[FailedDocument]) -> Result<(), StoreError> {
        self.put(part, records, None).await
    }

    async fn parts(&self, run: &RunId, chunk: &ChunkId) -> Result<Vec<StoredPart>, StoreError> {
        let dir = self.chunk_dir(run, chunk);
        let listed = dir.clone();
        let names = blocking(move || names(&listed)).await.map_err(|e| unreadable(&dir, &e))?;
        // Anything else is not ours, or was left unfinished by a crash.
        Ok(in_force(names.iter().filter_map(|name| FailedPart::parse(run, chunk, name))))
    }

    async fn read(&self, part: &StoredPart) -> Result<Vec<FailedDocument>, StoreError> {
        let path = self.chunk_dir(&part.part.run, &part.part.chunk).join(part.part.name());
        let (part, opened) = (part.clone(), path.clone());
        let decoded = blocking(move || Ok(decode(&part, File::open(opened)?))).await;
        decoded
            .map_err(|e| unreadable(&path, &e))?
            .map_err(|reason| StoreError::Invalid { what: path.display().to_string(), reason })
    }

    async fn replace(
        &self,
        part: &FailedPart,
        settled: &Settled,
        records: &[FailedDocument],
    ) -> Result<(), StoreError> {
        let old = self.chunk_dir(&part.run, &part.chunk).join(part.name());
        let new = FailedPart { settled: Some(*settled), ..part.clone() };
        self.put(&new, records, Some(old)).await
    }

    async fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        let dir = self.run_dir(run);
        let shown = dir.display().to_string();
        let root = self.root.clone();
        let delete = move || {
            remove(std::fs::remove_dir_all(&dir))?;
            // The directory of all runs goes with the last of them.
            let _ = std::fs::remove_dir(root);
            Ok(())
        };
        blocking(delete).await.map_err(|e| StoreError::Unavailable {
            what: format!("cannot remove the failed documents in {shown}"),
            reason: format!("{e}; make it writable, then try again"),
        })
    }

    fn location(&self, run: &RunId) -> String {
        self.run_dir(run).display().to_string()
    }
}

/// Runs `work` where blocking does no harm.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten()
}

fn write(dir: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    durable::create_dirs(dir)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temp = dir.join(format!(".{name}.tmp"));
    let mut file = durable::create_private(&temp)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temp, path)?;
    durable::sync_dir(dir)
}

/// What is not there is removed.
fn remove(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The names in a directory; none if it is missing.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable {
        what: format!("cannot read the failed documents in {}", path.display()),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conformance::{failed_document, failed_part};
    use std::os::unix::fs::PermissionsExt;

    fn stream() -> (tempfile::TempDir, FsFailedDocuments) {
        let dir = tempfile::tempdir().unwrap();
        let stream = FsFailedDocuments::beside(&dir.path().join("state.db"));
        (dir, stream)
    }

    async fn positions(stream: &FsFailedDocuments, part: &FailedPart) -> Vec<u32> {
        let mut positions = Vec::new();
        for part in stream.parts(&part.run, &part.chunk).await.unwrap() {
            positions.extend(stream.read(&part).await.unwrap().iter().map(|record| record.position.doc));
        }
        positions
    }

    #[tokio::test]
    async fn it_keeps_failed_documents() {
        let (_dir, stream) = stream();
        conformance::failed_documents(&stream).await;
    }

    #[tokio::test]
    async fn files_lie_beside_the_state_and_vanish_with_the_last_run() {
        let (dir, stream) = stream();
        let part = failed_part("run", ".a/b", 1, 0);
        stream.write(&part, &[failed_document(1, "no")]).await.unwrap();
        let path = dir.path().join("state.failed/run/%2Ea%2Fb/2-7/0.0-e1.ndjson.gz");
        // The documents may be anybody's secrets.
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(stream.location(&part.run), dir.path().join("state.failed/run").display().to_string());
        stream.delete(&part.run).await.unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_crash_while_writing_leaves_nothing_that_counts() {
        let (_dir, stream) = stream();
        let part = failed_part("run", "i", 1, 0);
        let chunk = stream.chunk_dir(&part.run, &part.chunk);
        std::fs::create_dir_all(&chunk).unwrap();
        std::fs::write(chunk.join(".0.0-e1.ndjson.gz.tmp"), b"half of a rec").unwrap();
        assert_eq!(positions(&stream, &part).await, [0; 0]);
        stream.write(&part, &[failed_document(3, "again")]).await.unwrap();
        assert_eq!(positions(&stream, &part).await, [3]);
        assert_eq!(std::fs::read_dir(&chunk).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_crash_while_replacing_leaves_the_new_one_in_force() {
        let (_dir, stream) = stream();
        let part = failed_part("run", "i", 1, 0);
        let all = [failed_document(3, "no"), failed_document(4, "no")];
        stream.write(&part, &all).await.unwrap();
        let settled = Settled { seen: 2, indexed: 1, already_there: 0 };
        stream.replace(&part, &settled, &all[1..]).await.unwrap();
        // The old one was not removed any more.
        stream.write(&part, &all).await.unwrap();
        assert_eq!(positions(&stream, &part).await, [4]);
    }

    #[tokio::test]
    async fn a_damaged_file_is_an_error_that_names_it() {
        let (_dir, stream) = stream();
        let part = failed_part("run", "i", 1, 9);
        stream.write(&part, &[failed_document(9, "cut")]).await.unwrap();
        let path = stream.chunk_dir(&part.run, &part.chunk).join("0.9-e1.ndjson.gz");
        let content = std::fs::read(&path).unwrap();
        for content in [&content[..content.len() / 2], &encode(&[]).unwrap()[..4], b"{}\n"] {
            std::fs::write(&path, content).unwrap();
            let parts = stream.parts(&part.run, &part.chunk).await.unwrap();
            let error = stream.read(&parts[0]).await.unwrap_err();
            assert!(error.to_string().contains("0.9-e1.ndjson.gz"), "{error}");
        }
    }
}

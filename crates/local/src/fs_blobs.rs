//! A snapshot repository in a directory.

use async_trait::async_trait;
use backfill::ports::{Blob, BlobError, Blobs};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Files in one directory, at most. A repository with a hundred thousand snapshots is far below it.
const MAX_LISTED: usize = 1_000_000;

/// Reads the blobs of a repository from the file system. Never reads outside of its root, whatever a
/// snapshot's metadata names.
#[derive(Clone, Debug)]
pub struct FsBlobs {
    root: PathBuf,
}

impl FsBlobs {
    /// The repository in this directory.
    pub fn new(root: impl Into<PathBuf>) -> FsBlobs {
        FsBlobs { root: root.into() }
    }

    /// The file of a blob; refuses names that would lead out of the root.
    fn resolve(&self, path: &str) -> Result<PathBuf, BlobError> {
        let relative = Path::new(path);
        if relative.components().all(|part| matches!(part, Component::Normal(_))) && !path.contains('\0') {
            return Ok(self.root.join(relative));
        }
        Err(BlobError::Outside { path: format!("{}: {path:?}", self.location()) })
    }
}

#[async_trait]
impl Blobs for FsBlobs {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    async fn list(&self, dir: &str, limit: usize) -> Result<Vec<String>, BlobError> {
        let root = self.root.clone();
        let dir = self.resolve(dir)?;
        blocking(dir.clone(), move || list(&root, &dir, MAX_LISTED, limit)).await
    }

    async fn size(&self, path: &str) -> Result<(u64, String), BlobError> {
        let path = self.resolve(path)?;
        let metadata = move || std::fs::metadata(&path).map_err(|e| failed(&path, e));
        let metadata = blocking(self.root.clone(), metadata).await?;
        Ok((metadata.len(), etag(&metadata)))
    }

    async fn get(&self, path: &str, limit: usize) -> Result<Blob, BlobError> {
        let path = self.resolve(path)?;
        blocking(path.clone(), move || read(&path, Wanted::All { limit: limit as u64 }, None)).await
    }

    async fn get_range(&self, path: &str, range: Range<u64>, etag: Option<&str>) -> Result<Blob, BlobError> {
        let path = self.resolve(path)?;
        let etag = etag.map(str::to_owned);
        blocking(path.clone(), move || read(&path, Wanted::Range(range), etag.as_deref())).await
    }
}

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(BlobError::Unavailable { path: name(&path), reason: error.to_string() }),
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

/// Lists the files of a directory: at most `most`, whose names have at most `limit` bytes in all.
fn list(root: &Path, dir: &Path, most: usize, limit: usize) -> Result<Vec<String>, BlobError> {
    /// What a name takes besides its bytes.
    const NAME: usize = 32;
    let failed = |e| failed(dir, e);
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && root.exists() && dir != root => {
            return Ok(Vec::new());
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(BlobError::NotFound { path: name(root) });
        }
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let entry = entry.map_err(failed)?;
        // No snapshot has names that are not UTF-8.
        let Ok(entry_name) = entry.file_name().into_string() else { continue };
        if names.len() == most {
            let reason = format!("has more than {most} files, which no snapshot repository has");
            return Err(BlobError::Unavailable { path: name(dir), reason });
        }
        match std::fs::metadata(entry.path()) {
            Ok(metadata) if metadata.is_file() => {
                bytes += NAME + entry_name.len();
                if bytes > limit {
                    let (path, len, limit) = (name(dir), bytes as u64, limit as u64);
                    return Err(BlobError::TooLarge { path, len, limit });
                }
                names.push(entry_name);
            }
            Ok(_) => {}
            // Deleted since, or a link to nowhere.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What is read of a blob.
enum Wanted {
    /// All of it, if it has no more bytes than this.
    All {
        limit: u64,
    },
    Range(Range<u64>),
}

/// Reads a range, or all of the file.
fn read(path: &Path, wanted: Wanted, expected: Option<&str>) -> Result<Blob, BlobError> {
    let failed = |e| failed(path, e);
    // Before opening: to open a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(BlobError::NotFound { path: name(path) });
    }
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let tag = etag(&metadata);
    if expected.is_some_and(|expected| expected != tag) {
        return Err(BlobError::Changed { path: name(path) });
    }
    let len = metadata.len();
    let range = match wanted {
        Wanted::All { limit } if len > limit => {
            return Err(BlobError::TooLarge { path: name(path), len, limit });
        }
        Wanted::All { .. } => 0..len,
        Wanted::Range(range) => range,
    };
    if range.end > len {
        return Err(BlobError::Short { path: name(path), end: range.end, len });
    }
    let wanted = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(wanted).map_err(|_| BlobError::Unavailable {
        path: name(path),
        reason: format!("there is no memory for its {wanted} bytes"),
    })?;
    file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
    // Not into zeros: to write these first would cost as much again.
    file.by_ref().take(wanted as u64).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() < wanted {
        return Err(BlobError::Changed { path: name(path) });
    }
    if etag(&file.metadata().map_err(failed)?) != tag {
        return Err(BlobError::Changed { path: name(path) });
    }
    Ok(Blob { bytes: bytes.into(), etag: tag })
}

/// Length and time of the last change, in nanoseconds.
fn etag(metadata: &Metadata) -> String {
    let nanos = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    format!("{}-{nanos}", metadata.len())
}

fn failed(path: &Path, error: io::Error) -> BlobError {
    let path = name(path);
    match error.kind() {
        // A part of the path is a file: then what is below it does not exist either.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
            BlobError::NotFound { path }
        }
        io::ErrorKind::PermissionDenied => BlobError::Denied { path, reason: error.to_string() },
        _ => BlobError::Unavailable { path, reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backfill::source::SourceError;
    use std::os::unix::fs::PermissionsExt;

    const ANY: usize = 1 << 20;

    fn repository() -> (tempfile::TempDir, FsBlobs) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("repository");
        std::fs::create_dir_all(root.join("indices/x")).unwrap();
        std::fs::write(root.join("index-0"), b"0123456789").unwrap();
        std::fs::write(root.join("indices/x/b"), b"b").unwrap();
        std::fs::write(root.join("indices/x/a"), b"a").unwrap();
        std::fs::write(dir.path().join("secret"), b"secret").unwrap();
        (dir, FsBlobs::new(root))
    }

    #[tokio::test]
    async fn blobs_are_listed_and_read() {
        let (_dir, blobs) = repository();
        assert_eq!(blobs.list("", ANY).await.unwrap(), ["index-0"]);
        assert_eq!(blobs.list("indices/x/", ANY).await.unwrap(), ["a", "b"]);
        assert!(blobs.list("indices/y", ANY).await.unwrap().is_empty());
        assert!(matches!(blobs.list("indices/x", 60).await, Err(BlobError::TooLarge { .. })));
        let blob = blobs.get("index-0", ANY).await.unwrap();
        assert_eq!(&blob.bytes[..], b"0123456789");
        assert_eq!(blobs.size("index-0").await.unwrap(), (10, blob.etag.clone()));
        let part = blobs.get_range("index-0", 3..7, Some(&blob.etag)).await.unwrap();
        assert_eq!((&part.bytes[..], &part.etag), (&b"3456"[..], &blob.etag));
        assert!(blobs.get_range("index-0", 10..10, None).await.unwrap().bytes.is_empty());
    }

    #[test]
    fn a_directory_is_listed_only_within_its_bounds() {
        let (dir, _) = repository();
        let root = dir.path().join("repository");
        let listed = |most, limit| list(&root, &root.join("indices/x"), most, limit);
        // Each name has one byte, and takes 32 more.
        assert_eq!(listed(2, 66).unwrap(), ["a", "b"]);
        let refused = listed(2, 65).unwrap_err();
        assert!(matches!(refused, BlobError::TooLarge { len: 66, limit: 65, .. }), "{refused:?}");
        let refused = listed(1, ANY).unwrap_err();
        assert!(matches!(refused, BlobError::Unavailable { .. }), "{refused:?}");
        assert!(refused.to_string().contains("more than 1 files"), "{refused}");
    }

    #[tokio::test]
    async fn each_fault_has_its_own_error() {
        let (dir, blobs) = repository();
        assert!(matches!(blobs.get("nothing", ANY).await, Err(BlobError::NotFound { .. })));
        assert!(matches!(blobs.get("indices", ANY).await, Err(BlobError::NotFound { .. })));
        assert!(matches!(blobs.get("index-0/below", ANY).await, Err(BlobError::NotFound { .. })));
        let long = "x".repeat(300);
        assert!(matches!(blobs.get(&long, ANY).await, Err(BlobError::NotFound { .. })));
        // A file of any length may be made of nothing.
        File::create(dir.path().join("repository/huge")).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(blobs.get("huge", ANY).await, Err(BlobError::TooLarge { .. })));
        let short = blobs.get_range("index-0", 5..u64::MAX, None).await;
        assert!(matches!(short, Err(BlobError::Short { end: u64::MAX, len: 10, .. })));
        let missing = FsBlobs::new(dir.path().join("missing"));
        assert!(matches!(missing.list("", ANY).await, Err(BlobError::NotFound { .. })));
        assert!(matches!(missing.list("indices", ANY).await, Err(BlobError::NotFound { .. })));
    }

    #[tokio::test]
    async fn a_changed_file_is_recognised() {
        let (dir, blobs) = repository();
        let etag = blobs.get("index-0", ANY).await.unwrap().etag;
        std::fs::write(dir.path().join("repository/index-0"), b"something else").unwrap();
        let changed = blobs.get_range("index-0", 0..1, Some(&etag)).await;
        assert!(matches!(changed, Err(BlobError::Changed { .. })));
    }

    #[tokio::test]
    async fn nothing_outside_of_the_root_is_read() {
        let (dir, blobs) = repository();
        let absolute = dir.path().join("secret");
        for path in ["../secret", "indices/../../secret", absolute.to_str().unwrap(), "..", ".", "a\0b"] {
            for refused in [
                blobs.get(path, ANY).await.map(drop),
                blobs.size(path).await.map(drop),
                blobs.get_range(path, 0..1, None).await.map(drop),
                blobs.list(path, ANY).await.map(drop),
            ] {
                let error = refused.unwrap_err();
                assert!(error.to_string().contains("leads outside of the repository"), "{path}: {error}");
                // Names come from the snapshot, so there is nothing to wait for.
                let error = SourceError::from(error);
                assert!(error.is_damage() && !error.is_of_one_blob(), "{path}");
            }
        }
    }

    #[tokio::test]
    async fn a_forbidden_file_is_denied() {
        let (dir, blobs) = repository();
        let path = dir.path().join("repository/index-0");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        // The superuser may read everything.
        if File::open(&path).is_err() {
            assert!(matches!(blobs.get("index-0", ANY).await, Err(BlobError::Denied { .. })));
        }
        let denied = failed(&path, io::ErrorKind::PermissionDenied.into());
        assert!(matches!(denied, BlobError::Denied { .. }));
    }
}

//! The file of one chunk, from nothing to its final name.
//!
//! The file is written under a hidden name beside the final one, under a lock, so that a worker that was thought
//! dead and its successor never write into one another's file. Bytes leave memory only when they are in the file:
//! after a full disk, the same batch may be sent again.

use super::Compression;
use super::compress::Compressor;
use crate::durable;
use backfill::ports::TargetError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes that are gathered before the file is written to.
const BUFFER: usize = 1 << 20;

/// Why the file of a chunk cannot be written.
#[derive(Debug)]
pub(super) enum OutputError {
    /// Passes by itself: another worker has the file.
    Busy(String),
    /// Does not pass by itself.
    Unwritable(String),
}

impl OutputError {
    pub(super) fn io(path: &Path, error: io::Error) -> OutputError {
        let advice = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "; free space on its disk, then start again"
            }
            io::ErrorKind::ReadOnlyFilesystem => "; mount it writable, then start again",
            io::ErrorKind::PermissionDenied => "; make it writable for this user",
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                "; a directory is needed there, give another one"
            }
            _ => "",
        };
        OutputError::Unwritable(format!("{}: {error}{advice}", path.display()))
    }

    pub(super) fn into_target_error(self, target: String) -> TargetError {
        match self {
            OutputError::Busy(reason) => TargetError::Blocked { target, reason },
            OutputError::Unwritable(reason) => TargetError::Unwritable { target, reason },
        }
    }
}

/// How far a file has come.
#[derive(Debug)]
enum Stage {
    /// No document yet, so no file.
    Empty,
    /// Documents are written.
    Writing(Writing, Box<Compressor>),
    /// All is compressed; the rest goes to the file.
    Ending(Writing),
    /// The file has its final name.
    Complete,
    /// The system could not say what is on the disk.
    Broken,
}

/// The file of a chunk.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    compression: Compression,
    stage: Stage,
}

impl Output {
    /// Nothing is made before there is a document.
    pub(super) fn new(path: PathBuf, compression: Compression) -> Output {
        Output { path, compression, stage: Stage::Empty }
    }

    /// Appends all of `body`, or nothing if there is an error.
    pub(super) fn write(&mut self, body: &[u8]) -> Result<(), OutputError> {
        if body.is_empty() {
            return Ok(());
        }
        if matches!(self.stage, Stage::Empty) {
            let writing = Writing::begin(&self.path)?;
            let compressor = Compressor::new(self.compression).map_err(|e| OutputError::io(&self.path, e))?;
            self.stage = Stage::Writing(writing, Box::new(compressor));
        }
        let Stage::Writing(writing, compressor) = &mut self.stage else { return Err(self.ended()) };
        // Before the body is taken in: what fails here can be tried again.
        if compressor.buffer().len() >= BUFFER {
            writing.append(compressor.buffer())?;
        }
        if let Err(error) = compressor.write(body) {
            self.stage = Stage::Broken;
            return Err(OutputError::io(&self.path, error));
        }
        Ok(())
    }

    /// Makes the file durable under its final name. May be tried again after an error that may pass.
    pub(super) fn finish(&mut self) -> Result<(), OutputError> {
        if let Stage::Writing(..) = &self.stage
            && let Stage::Writing(mut writing, compressor) = std::mem::replace(&mut self.stage, Stage::Broken)
        {
            writing.rest = compressor.finish().map_err(|e| OutputError::io(&self.path, e))?;
            self.stage = Stage::Ending(writing);
        }
        if !matches!(self.stage, Stage::Complete) {
            self.remove_earlier()?;
        }
        match &mut self.stage {
            Stage::Empty | Stage::Complete => return Ok(()),
            Stage::Writing(..) | Stage::Broken => return Err(self.ended()),
            Stage::Ending(writing) => {
                writing.append_rest()?;
                if let Err(error) = writing.publish(&self.path) {
                    // After a failed sync the system no longer knows which bytes are missing on the disk.
                    self.stage = Stage::Broken;
                    return Err(OutputError::io(&self.path, error));
                }
            }
        }
        self.stage = Stage::Complete;
        Ok(())
    }

    /// A file of the chunk that has another compression, or one of a chunk that has no documents, comes from an attempt that
    /// was not recorded any more, or from an earlier run.
    fn remove_earlier(&self) -> Result<(), OutputError> {
        let own = matches!(self.stage, Stage::Empty).then(|| self.path.clone());
        let others = self.compression.others(&self.path);
        for other in others.flat_map(|other| [temporary(&other), other]).chain(own) {
            match std::fs::remove_file(&other) {
                Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    return Err(OutputError::io(&other, e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn ended(&self) -> OutputError {
        OutputError::Unwritable(format!(
            "{}: cannot be written any further after its end or an error; the chunk begins anew",
            self.path.display()
        ))
    }
}

/// A file that does not have its final name yet.
#[derive(Debug)]
struct Writing {
    file: File,
    temp: PathBuf,
    /// Bytes in the file.
    len: u64,
    /// The end of the stream, not yet in the file.
    rest: Vec<u8>,
    /// Whether the file has its final name.
    published: bool,
}

/// A file that is not complete is of no use to anybody: its chunk begins anew.
impl Drop for Writing {
    fn drop(&mut self) {
        if !self.published && is_named(&self.file, &self.temp) {
            // Should that fail, the next attempt writes over it.
            let _ = std::fs::remove_file(&self.temp);
        }
    }
}

/// Whether this is still the name of the file.
fn is_named(file: &File, path: &Path) -> bool {
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(opened), Ok(named)) => id(opened) == id(named),
        _ => false,
    }
}

impl Writing {
    /// Opens the hidden file, empty whatever an earlier attempt left in it.
    fn begin(path: &Path) -> Result<Writing, OutputError> {
        let dir = durable::parent(path);
        durable::create_dirs(dir).map_err(|e| OutputError::io(dir, e))?;
        let temp = temporary(path);
        let failed = |e| OutputError::io(&temp, e);
        let busy = || {
            OutputError::Busy(format!(
                "{}: another worker is still writing this chunk; it has to end first",
                temp.display()
            ))
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(durable::PRIVATE);
        let file = options.open(&temp).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(busy()),
            // Some network file systems have no locks; the lease is all there is then.
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        // Between opening and locking, the other worker may have given it its final name.
        if !is_named(&file, &temp) {
            return Err(busy());
        }
        let writing = Writing { file, temp, len: 0, rest: Vec::new(), published: false };
        writing.file.set_len(0).map_err(|e| OutputError::io(&writing.temp, e))?;
        Ok(writing)
    }

    /// Moves the buffer's bytes to the end of the file; all of them stay in the buffer if that fails.
    fn append(&mut self, buffer: &mut Vec<u8>) -> Result<(), OutputError> {
        self.file.write_all_at(buffer, self.len).map_err(|e| OutputError::io(&self.temp, e))?;
        self.len += buffer.len() as u64;
        buffer.clear();
        Ok(())
    }

    fn append_rest(&mut self) -> Result<(), OutputError> {
        let mut rest = std::mem::take(&mut self.rest);
        let result = self.append(&mut rest);
        self.rest = rest;
        result
    }

    /// Makes the file durable and gives it its final name.
    fn publish(&mut self, path: &Path) -> io::Result<()> {
        // A failed attempt may have left more than what counts.
        self.file.set_len(self.len)?;
        self.file.sync_all()?;
        std::fs::rename(&self.temp, path)?;
        self.published = true;
        durable::sync_dir(durable::parent(path))
    }
}

/// The hidden name of a file that is not complete.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    durable::parent(path).join(format!(".{name}.tmp"))
}

#[cfg(test)]
impl Output {
    /// Puts another file in the place of the one being written, and returns that.
    pub(super) fn replace_file(&mut self, file: File) -> File {
        match &mut self.stage {
            Stage::Writing(writing, _) => std::mem::replace(&mut writing.file, file),
            stage => panic!("{stage:?} has no file"),
        }
    }
}

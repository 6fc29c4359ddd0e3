//! Makes a state file, so that it appears complete or not at all.
//!
//! A process may be killed at any instant while it makes the file. Were the tables created in the file itself, a kill
//! would leave half of them beside a rollback journal, which a reader may not roll back. The file is therefore made
//! under another name, closed, and renamed. Only the holder of the runner lock makes files, so two processes never make
//! the same one.

use super::{Fault, NO_URI, schema};
use crate::durable;
use rusqlite::{Connection, OpenFlags};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What SQLite appends to the name of a database for the files beside it.
const SIDE_FILES: [&str; 3] = ["-journal", "-wal", "-shm"];

/// Makes the state file, unless there is one with tables in it.
pub(super) fn ensure(path: &Path) -> Result<(), Fault> {
    durable::create_dirs(durable::parent(path))
        .map_err(|e| Fault::unavailable(format!("its directory cannot be made: {e}")))?;
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(error) => Err(Fault::unavailable(error.to_string())),
        Ok(metadata) if metadata.is_dir() => {
            Err(Fault::invalid("this is a directory; give the name of a file as --state"))
        }
        // Earlier versions made the tables in the file itself: a kill then left a file without any.
        Ok(_) if is_blank(path)? => make(path),
        Ok(_) => Ok(()),
    }
}

/// Rolls back what a killed process left unfinished in a rollback journal. A connection that may only read cannot.
pub(super) fn roll_back(path: &Path) -> Result<(), Fault> {
    if side_file(path, "-journal").exists() {
        is_blank(path)?;
    }
    Ok(())
}

fn is_blank(path: &Path) -> Result<bool, Fault> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | NO_URI)?;
    connection.busy_timeout(super::BUSY_TIMEOUT)?;
    schema::is_empty(&connection)
}

fn make(path: &Path) -> Result<(), Fault> {
    let dir = durable::parent(path);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let new = dir.join(name);
    write(&new).map_err(|error| match error {
        Fault::Unavailable(reason) => Fault::Unavailable(format!("{}: {reason}", new.display())),
        error => error,
    })?;
    // The journal of a file that somebody deleted would be applied to the new one.
    remove_side_files(path)?;
    std::fs::rename(&new, path).and_then(|()| durable::sync_dir(dir)).map_err(unavailable)
}

/// Writes a state file without runs.
fn write(new: &Path) -> Result<(), Fault> {
    remove(new)?;
    remove_side_files(new)?;
    drop(durable::create_private(new).map_err(unavailable)?);
    let mut connection = Connection::open_with_flags(new, OpenFlags::SQLITE_OPEN_READ_WRITE | NO_URI)?;
    schema::create(&mut connection)?;
    connection.close().map_err(|(_, error)| error)?;
    File::open(new).and_then(|file| file.sync_all()).map_err(unavailable)
}

fn remove_side_files(path: &Path) -> Result<(), Fault> {
    SIDE_FILES.iter().try_for_each(|suffix| remove(&side_file(path, suffix)))
}

fn remove(path: &Path) -> Result<(), Fault> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unavailable(error)),
        _ => Ok(()),
    }
}

fn side_file(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn unavailable(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull => Fault::unavailable("the disk is full; free space, then start again"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Fault::unavailable(format!("{error}; the file and its directory must be writable"))
        }
        _ => Fault::unavailable(error.to_string()),
    }
}

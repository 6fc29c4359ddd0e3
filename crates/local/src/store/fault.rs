//! What can go wrong within the store, before it is told with the file's name.

use backfill::model::chunk::WriteRefused;
use backfill::ports::StoreError;
use rusqlite::ErrorCode;
use std::path::Path;

/// A fault of an operation on the file.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite's.
    Sqlite(rusqlite::Error),
    /// The answer as it is.
    Store(StoreError),
    /// The file cannot be used now, for this reason.
    Unavailable(String),
    /// The file, or a part of it, cannot be understood.
    Invalid(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Sqlite(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault::Store(error)
    }
}

impl From<WriteRefused> for Fault {
    fn from(refused: WriteRefused) -> Fault {
        Fault::Store(refused.into())
    }
}

impl Fault {
    pub(super) fn unavailable(reason: impl Into<String>) -> Fault {
        Fault::Unavailable(reason.into())
    }

    pub(super) fn invalid(reason: impl Into<String>) -> Fault {
        Fault::Invalid(reason.into())
    }

    pub(super) fn not_found(what: impl Into<String>) -> Fault {
        Fault::Store(StoreError::NotFound(what.into()))
    }

    /// Whether another process works on the file.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Fault::Sqlite(error) if error.sqlite_error_code().is_some_and(is_busy))
    }

    /// `what` was to be done with the file at `path`.
    pub(super) fn into_error(self, what: &str, path: &Path) -> StoreError {
        let file = format!("the state file {}", path.display());
        let unavailable = |reason: String| StoreError::Unavailable { what: format!("{what} {file}"), reason };
        match self {
            Fault::Store(error) => error,
            Fault::Unavailable(reason) => unavailable(reason),
            Fault::Invalid(reason) => StoreError::Invalid { what: file, reason },
            Fault::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::NotADatabase) => StoreError::Invalid {
                    what: file,
                    reason: "this is no state file (no SQLite database); give another --state".to_owned(),
                },
                Some(ErrorCode::DatabaseCorrupt) => StoreError::Invalid {
                    what: file,
                    reason: format!("it is damaged ({error}); give another --state and start again"),
                },
                Some(ErrorCode::DiskFull) => {
                    unavailable("the disk is full; free space, then start again".to_owned())
                }
                Some(code) if is_busy(code) => {
                    unavailable("another process keeps it locked; end it, then try again".to_owned())
                }
                Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                    unavailable(format!("{error}; the file and its directory must be writable"))
                }
                _ => unavailable(error.to_string()),
            },
        }
    }
}

fn is_busy(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed)
}

//! Checkpoints and queue in one SQLite file.
//!
//! Each transition reads a chunk's record, applies the pure state machine of [`backfill::model::chunk`] and
//! writes the outcome, all in one write transaction. The same transaction moves the sums of the chunk's shard,
//! so that a summary reads shards and not chunks. The file is in WAL mode: others may read while a run writes.

mod checkpoints;
mod columns;
mod fault;
mod queue;
mod reclaim;
mod records;
mod schema;
mod summary;
#[cfg(test)]
mod tests;

pub use queue::RunQueue;
pub use reclaim::Work;

use crate::durable;
use backfill::ports::StoreError;
use fault::Fault;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a write waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a new file's mode is left to another process.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// How a state file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To read and write; made if it is missing. For what starts a run.
    ReadWriteCreate,
    /// To read and write; an error if it is missing. For what controls a run.
    ReadWriteExisting,
    /// To read; an error if it is missing. For status.
    ReadOnlyExisting,
}

/// The state of runs in one SQLite file: checkpoints and queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens the state file.
    ///
    /// # Errors
    /// When the file is missing, is no state file, was made by a newer version, or cannot be opened.
    pub fn open(path: &Path, mode: Mode) -> Result<SqliteStore, StoreError> {
        let connection = connect(path, mode).map_err(|fault| fault.into_error("cannot open", path))?;
        Ok(SqliteStore {
            inner: Arc::new(Inner { connection: Mutex::new(connection), path: path.to_owned() }),
        })
    }

    /// The state file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Runs `work` on the connection, where blocking does no harm.
    async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = self.inner.clone();
        let work = move || {
            // A panic under the lock has rolled its transaction back: the connection is as good as before.
            let mut connection = inner.connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection).map_err(|fault| fault.into_error(what, &inner.path))
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => {
                let what = format!("{what} {}", self.inner.path.display());
                Err(StoreError::Unavailable { what, reason: error.to_string() })
            }
        }
    }

    /// Reads a consistent state.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call("cannot read", move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            work(&transaction)
        })
        .await
    }

    /// Writes all that `work` writes, or nothing if it fails.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call("cannot write", move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
        .await
    }
}

fn connect(path: &Path, mode: Mode) -> Result<Connection, Fault> {
    if mode == Mode::ReadWriteCreate {
        durable::create_dirs(durable::parent(path))
            .map_err(|e| Fault::unavailable(format!("its directory cannot be made: {e}")))?;
    } else if !path.try_exists().unwrap_or(true) {
        return Err(schema::nothing_started(path));
    }
    let access = match mode {
        Mode::ReadWriteCreate => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Mode::ReadWriteExisting => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Mode::ReadOnlyExisting => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    // No URI names: a path is a path, whatever it looks like.
    let mut connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    let deadline = Instant::now() + BUSY_TIMEOUT;
    if mode == Mode::ReadOnlyExisting && schema::is_outdated(&connection)? {
        connect(path, Mode::ReadWriteExisting)?;
    }
    // SQLite does not wait by itself while others change a new file to WAL mode at the same time.
    loop {
        match schema::prepare(&mut connection, path, mode) {
            Err(fault) if fault.is_busy() && Instant::now() < deadline => std::thread::sleep(BUSY_PAUSE),
            prepared => return prepared.map(|()| connection),
        }
    }
}

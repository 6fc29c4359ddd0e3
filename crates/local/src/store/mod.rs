//! Checkpoints and queue in one SQLite file.
//!
//! Each transition reads a chunk's record, applies the pure state machine of [`backfill::model::chunk`] and
//! writes the outcome, all in one write transaction. The same transaction moves the sums of the chunk's shard,
//! so that a summary reads shards and not chunks. The file is in WAL mode: others may read while a run writes.

mod checkpoints;
mod columns;
mod create;
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

use crate::lock::RunnerLock;
use backfill::ports::StoreError;
use fault::Fault;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a write waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a file that is being recovered is left to another process.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// A path is a path, whatever it looks like, and one thread at a time uses a connection.
const NO_URI: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX;

/// How an existing state file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To read and write, for what controls a run.
    ReadWriteExisting,
    /// To read, for status.
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
    /// Opens an existing state file.
    ///
    /// # Errors
    /// When the file is missing, is no state file, was made by a newer version, or cannot be opened.
    pub fn open(path: &Path, mode: Mode) -> Result<SqliteStore, StoreError> {
        let connection = connect(path, mode).map_err(|fault| fault.into_error("cannot open", path))?;
        Ok(SqliteStore {
            inner: Arc::new(Inner { connection: Mutex::new(connection), path: path.to_owned() }),
        })
    }

    /// Opens the state file to work on a run, and makes it if it is missing. The whole file is read once to check it for
    /// damage.
    ///
    /// Only the holder of the lock may do so: nobody else makes the file at the same time then.
    ///
    /// # Errors
    /// When the file is damaged, is no state file, was made by a newer version, or cannot be made or opened.
    pub fn open_or_create(path: &Path, _lock: &RunnerLock) -> Result<SqliteStore, StoreError> {
        create::ensure(path).map_err(|fault| fault.into_error("cannot make", path))?;
        let store = SqliteStore::open(path, Mode::ReadWriteExisting)?;
        store.check_integrity()?;
        Ok(store)
    }

    /// Checks the whole file for damage.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn check_integrity(&self) -> Result<(), StoreError> {
        let connection = self.inner.connection.lock().unwrap_or_else(PoisonError::into_inner);
        schema::check_integrity(&connection).map_err(|fault| fault.into_error("cannot check", self.path()))
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
    if !path.try_exists().unwrap_or(true) {
        return Err(schema::nothing_started(path));
    }
    let access = match mode {
        Mode::ReadWriteExisting => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Mode::ReadOnlyExisting => {
            create::roll_back(path)?;
            OpenFlags::SQLITE_OPEN_READ_ONLY
        }
    };
    let mut connection = Connection::open_with_flags(path, access | NO_URI)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    let deadline = Instant::now() + BUSY_TIMEOUT;
    if mode == Mode::ReadOnlyExisting && schema::is_outdated(&connection)? {
        connect(path, Mode::ReadWriteExisting)?;
    }
    // SQLite does not wait by itself while another connection recovers the file after a kill.
    loop {
        match schema::prepare(&mut connection, path, mode) {
            Err(fault) if fault.is_busy() && Instant::now() < deadline => std::thread::sleep(BUSY_PAUSE),
            prepared => return prepared.map(|()| connection),
        }
    }
}

//! The tables, and the check that a file has them.

use super::{Fault, Mode};
use backfill::ports::StoreError;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use std::path::Path;

/// Marks the file as ours: `BFIL`.
pub(super) const APPLICATION: i32 = 0x4246_494C;

/// Raised when the tables change.
pub(super) const VERSION: i32 = 5;

/// Records are JSON where nothing is searched or summed, plain columns where something is.
/// Shards carry the sums of their chunks. Of a chunk that was never begun, `progress` is NULL.
/// Chunk states: 0 pending, 1 leased, 2 done, 3 failed.
pub(super) const TABLES: &str = "
CREATE TABLE runs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL,
    state TEXT NOT NULL,
    planning TEXT NOT NULL,
    desired_workers INTEGER NOT NULL,
    finished INTEGER,
    damage TEXT NOT NULL,
    retry_owner TEXT,
    retry_until INTEGER,
    notes TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE shards (
    seq INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (seq),
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    record TEXT NOT NULL,
    live_docs INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,
    damage TEXT,
    chunks INTEGER NOT NULL,
    claimed INTEGER NOT NULL,
    done INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    damaged_chunks INTEGER NOT NULL,
    sum_indexed INTEGER NOT NULL,
    sum_already_there INTEGER NOT NULL,
    sum_failed INTEGER NOT NULL,
    sum_nested INTEGER NOT NULL,
    sum_damaged INTEGER NOT NULL,
    sum_source_bytes INTEGER NOT NULL,
    sum_stored_bytes INTEGER NOT NULL,
    sum_requests INTEGER NOT NULL,
    sum_retries INTEGER NOT NULL,
    sum_busy_ms INTEGER NOT NULL,
    sum_unsourced INTEGER NOT NULL DEFAULT 0,
    UNIQUE (run, name, number)
);
CREATE TABLE chunks (
    seq INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (seq),
    shard INTEGER NOT NULL REFERENCES shards (seq),
    number INTEGER NOT NULL,
    ord INTEGER NOT NULL,
    ranges TEXT NOT NULL,
    state INTEGER NOT NULL,
    owner TEXT,
    lease_until INTEGER,
    epoch INTEGER NOT NULL,
    progress TEXT,
    idle_claims INTEGER NOT NULL,
    last_error TEXT,
    UNIQUE (shard, number)
);
CREATE INDEX chunks_leased ON chunks (run, lease_until) WHERE state = 1;
CREATE INDEX chunks_in_error ON chunks (run, ord) WHERE last_error IS NOT NULL;
CREATE TABLE messages (
    chunk INTEGER PRIMARY KEY REFERENCES chunks (seq),
    run INTEGER NOT NULL REFERENCES runs (seq),
    ord INTEGER NOT NULL,
    visible_at INTEGER NOT NULL,
    receipt TEXT
);
CREATE INDEX messages_in_order ON messages (run, ord, visible_at);
CREATE TABLE samples (
    run INTEGER NOT NULL REFERENCES runs (seq),
    at INTEGER NOT NULL,
    documents INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    PRIMARY KEY (run, at)
) WITHOUT ROWID;
";

/// Tables that were added since [`VERSION`] was raised last. An earlier version of this program ignores them, and a file
/// of one gets them when it is opened to be written.
const ADDED: &str = "
CREATE TABLE IF NOT EXISTS waits (
    run INTEGER NOT NULL,
    owner TEXT NOT NULL,
    record TEXT NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (run, owner)
) WITHOUT ROWID;
";

/// Whether the file has the table of what is waited for: one that an earlier version wrote has not, until it is opened
/// to be written.
pub(super) fn has_waits(connection: &Connection) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'waits')";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// What turns the tables of one version into those of the next, from the oldest version on that is still read.
const OLDEST: i32 = 3;
const MIGRATIONS: [&str; (VERSION - OLDEST) as usize] = [
    "ALTER TABLE runs ADD COLUMN notes TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE shards ADD COLUMN sum_unsourced INTEGER NOT NULL DEFAULT 0",
];

/// Checks or migrates the tables, and sets the connection up.
pub(super) fn prepare(connection: &mut Connection, path: &Path, mode: Mode) -> Result<(), Fault> {
    if is_empty(connection)? {
        return Err(nothing_started(path));
    }
    if check(connection)? < VERSION {
        // A file that is only read cannot be migrated; `connect` has seen to that.
        if mode == Mode::ReadOnlyExisting {
            return Err(Fault::invalid(
                "its tables are those of an older version; `backfill status` migrates them",
            ));
        }
        migrate(connection)?;
    }
    if mode == Mode::ReadWriteExisting {
        // Files that were made by earlier versions may not be in this mode yet.
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    }
    // A claim that is lost with the machine's power would be given out again under the same number, and failed documents that
    // were recorded under it would be taken for those of the second one.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    if mode == Mode::ReadWriteExisting && !has_waits(connection)? {
        connection.execute_batch(ADDED)?;
    }
    Ok(())
}

/// Makes the tables in an empty file.
pub(super) fn create(connection: &mut Connection) -> Result<(), Fault> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(ADDED)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    Ok(())
}

/// A shard whose sums are not those of its chunks, if there is one.
const DISAGREEING_SHARD: &str = "
    SELECT s.name || '/' || s.number FROM shards s
    LEFT JOIN (
        SELECT shard, count(*) AS chunks, sum(state = 2) AS done, sum(state = 3) AS failed
        FROM chunks GROUP BY shard
    ) c ON c.shard = s.seq
    WHERE s.chunks <> ifnull(c.chunks, 0) OR s.done <> ifnull(c.done, 0) OR s.failed <> ifnull(c.failed, 0)
    LIMIT 1";

/// Checks that the whole file is undamaged, as far as can be told: a run that works with a damaged one might wait for
/// work that no worker finds.
pub(super) fn check_integrity(connection: &Connection) -> Result<(), Fault> {
    let damaged =
        |what: &str| Fault::invalid(format!("it is damaged ({what}); give another --state and start again"));
    // Not `quick_check`: it does not compare indexes with their tables.
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(damaged(found.lines().last().unwrap_or_default()));
    }
    let orphan = connection.query_row("PRAGMA foreign_key_check", [], |row| row.get::<_, String>(0));
    if let Some(table) = orphan.optional()? {
        return Err(damaged(&format!("a row of its table {table} belongs to nothing")));
    }
    let shard = connection.query_row(DISAGREEING_SHARD, [], |row| row.get::<_, String>(0));
    match shard.optional()? {
        Some(shard) => Err(damaged(&format!("the sums of shard {shard} are not those of its chunks"))),
        None => Ok(()),
    }
}

pub(super) fn is_empty(connection: &Connection) -> Result<bool, Fault> {
    Ok(connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?)
}

/// Whether a file has the tables of an older version that can be migrated.
pub(super) fn is_outdated(connection: &Connection) -> Result<bool, Fault> {
    Ok(!is_empty(connection)? && check(connection)? < VERSION)
}

fn migrate(connection: &mut Connection) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let from = usize::try_from(check(&transaction)? - OLDEST).unwrap_or_default();
    for migration in MIGRATIONS.iter().skip(from) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
}

/// Returns the version of the tables, if it is one that is known.
fn check(connection: &Connection) -> Result<i32, Fault> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    if pragma("application_id")? != APPLICATION {
        return Err(Fault::invalid(
            "this is no state file but a database of another program; give another --state",
        ));
    }
    match pragma("user_version")? {
        known @ OLDEST..=VERSION => Ok(known),
        found if found > VERSION => Err(Fault::invalid(format!(
            "it was made by a newer version of this program (format {found}, this one knows {VERSION}); \
             use that version, or give another --state"
        ))),
        found => Err(Fault::invalid(format!(
            "its format {found} is none that this program knows; give another --state"
        ))),
    }
}

/// The file is missing, or has nothing in it.
pub(super) fn nothing_started(path: &Path) -> Fault {
    Fault::Store(StoreError::NotFound(format!(
        "there is no state file {}: nothing was started here, or give --state",
        path.display()
    )))
}

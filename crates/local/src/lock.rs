//! One runner a state file.

use crate::durable;
use backfill::ports::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Someone who only looks whether the lock is held has it for an instant: try again before giving up.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(5);

/// Held by the runner that works on a state file. The operating system releases it when the process ends,
/// however it ends; the file that stays behind means nothing by itself.
#[derive(Debug)]
pub struct RunnerLock {
    // Closing it releases the lock.
    _file: File,
    path: PathBuf,
}

impl RunnerLock {
    /// Takes the lock of the state file `state`; `None` if a runner has it.
    ///
    /// # Errors
    /// When the lock file cannot be made or locked.
    pub fn acquire(state: &Path) -> Result<Option<RunnerLock>, StoreError> {
        let path = lock_path(state);
        let failed = |e: std::io::Error| StoreError::Unavailable {
            what: format!("cannot lock {}", path.display()),
            reason: format!("{e}; its directory must be writable, or give another --state"),
        };
        durable::create_dirs(durable::parent(&path)).map_err(failed)?;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(PAUSE);
            }
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
            // A file that was deleted or replaced meanwhile guards nothing.
            if !is_same(&file, &path) {
                continue;
            }
            let pid = std::process::id().to_string();
            file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
            file.write_all(pid.as_bytes()).map_err(failed)?;
            return Ok(Some(RunnerLock { _file: file, path }));
        }
        Ok(None)
    }

    /// Whether a living runner works on the state file `state`.
    pub fn is_held(state: &Path) -> bool {
        File::open(lock_path(state))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The process that works on the state file `state`, if one does. For messages only.
    pub fn runner_pid(state: &Path) -> Option<u32> {
        let file = File::open(lock_path(state)).ok()?;
        if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
            return None;
        }
        let mut text = String::new();
        file.take(20).read_to_string(&mut text).ok()?;
        text.parse().ok()
    }

    /// The lock's file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn lock_path(state: &Path) -> PathBuf {
    let mut path = state.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

fn is_same(file: &File, path: &Path) -> bool {
    let id = |m: std::fs::Metadata| (m.dev(), m.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => id(ours) == id(theirs),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    const STATE: &str = "BACKFILL_TEST_LOCK";

    /// A child that is just being started has the locks of its parent for an instant.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn alone() -> std::sync::MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    #[test]
    fn one_runner_at_a_time() {
        let _alone = alone();
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("new/state.db");
        assert!(!RunnerLock::is_held(&state));
        let lock = RunnerLock::acquire(&state).unwrap().unwrap();
        assert!(RunnerLock::is_held(&state));
        assert_eq!(RunnerLock::runner_pid(&state), Some(std::process::id()));
        assert!(RunnerLock::acquire(&state).unwrap().is_none());
        drop(lock);
        // The file is still there, with its pid, and means nothing.
        assert!(lock_path(&state).exists());
        assert!(!RunnerLock::is_held(&state));
        assert_eq!(RunnerLock::runner_pid(&state), None);
        assert!(RunnerLock::acquire(&state).unwrap().is_some());
    }

    #[test]
    fn a_lock_file_that_was_left_behind_means_nothing() {
        let _alone = alone();
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state.db");
        std::fs::write(lock_path(&state), "4294967295 and more").unwrap();
        assert!(!RunnerLock::is_held(&state));
        let lock = RunnerLock::acquire(&state).unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(lock.path()).unwrap(), std::process::id().to_string());
    }

    /// Not a test of its own: what the next one runs as another process.
    #[test]
    fn holds_the_lock_until_killed() {
        let Some(state) = std::env::var_os(STATE) else { return };
        let _lock = RunnerLock::acquire(Path::new(&state)).unwrap().unwrap();
        println!("\nlocked");
        // Ends when the parent does, if it is not killed before.
        let _ = std::io::stdin().read_line(&mut String::new());
    }

    #[test]
    fn a_killed_runner_leaves_no_lock() {
        let _alone = alone();
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state.db");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lock::tests::holds_the_lock_until_killed", "--nocapture"])
            .env(STATE, &state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "locked"));
        assert!(RunnerLock::is_held(&state));
        assert_eq!(RunnerLock::runner_pid(&state), Some(child.id()));
        assert!(RunnerLock::acquire(&state).unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!RunnerLock::is_held(&state));
        assert!(RunnerLock::acquire(&state).unwrap().is_some());
    }
}

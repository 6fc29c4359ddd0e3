//! Requests to the snapshot store and to the target that are repeated while these are out of reach.
//!
//! An adapter tries a request a few times and then gives up, which is right for one object and wrong for an outage:
//! a store that answers every third request with "slow down" makes one of a thousand requests fail however often each
//! is tried. So requests that fail for a reason that may pass are repeated here for as long as nothing else succeeds,
//! up to a limit. Whether it is the store or only this one blob is found out by what others get meanwhile, and by
//! reading a byte of a blob that could be read before: a bad sector or an unreadable object must not be waited for
//! like an outage.
//!
//! A store that has never answered is not waited for, because a wrong address does not get right by itself.

use crate::model::{Identity, WaitCause};
use crate::ports::{Blob, BlobError, Blobs, Place, Target, TargetError};
use crate::waits::Waits;
use crate::worker::flow::backoff;
use async_trait::async_trait;
use futures::future::BoxFuture;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often a request is repeated while the store answers others.
const TRIES: u32 = 6;
/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Answers that make no sense, one after the other, after which it is not a proxy on the way that is at fault.
const MAX_UNEXPECTED: u32 = 8;
/// The longest pause between two questions to the target.
const MAX_QUESTION_PAUSE: Duration = Duration::from_secs(2);

/// Asks the target what must be known before a run begins, and waits for it as workers do: while it is out of reach, for
/// as long as `patience`. An answer that makes no sense is repeated a few times, because a proxy may have given it.
///
/// # Errors
/// The last error of the target, when it denies access, goes on to make no sense, or is not there for `patience`.
pub async fn ask_target<'a, T>(
    waits: &Waits,
    patience: Duration,
    question: impl Fn() -> BoxFuture<'a, Result<T, TargetError>>,
) -> Result<T, TargetError> {
    let begun = Instant::now();
    let (mut tries, mut unexpected) = (0, 0);
    loop {
        let error = match question().await {
            Ok(answer) => {
                waits.target_took();
                return Ok(answer);
            }
            Err(error) => error,
        };
        tries += 1;
        let retry_after = match &error {
            TargetError::Denied { .. } | TargetError::TooLarge { .. } | TargetError::Unwritable { .. } => {
                return Err(error);
            }
            TargetError::Unexpected { .. } => {
                unexpected += 1;
                None
            }
            TargetError::Overloaded { retry_after, .. } => {
                unexpected = 0;
                *retry_after
            }
            TargetError::Unreachable { .. } | TargetError::Blocked { .. } | TargetError::Garbled { .. } => {
                unexpected = 0;
                None
            }
        };
        let idle = begun.elapsed();
        if idle >= patience || unexpected >= MAX_UNEXPECTED {
            return Err(error);
        }
        waits.note_target(&error, idle, patience);
        tracing::info!(%error, tries, "the target is not ready; asking again");
        let pause = backoff(tries, None, fastrand::f64()).min(MAX_QUESTION_PAUSE);
        let pause = pause.max(retry_after.unwrap_or_default());
        tokio::time::sleep(pause.min(patience.saturating_sub(idle))).await;
    }
}

/// The target as a run that begins, goes on or ends asks it what its names are.
#[derive(Clone, Copy, Debug)]
pub struct PatientTarget<'a> {
    /// The target.
    pub target: &'a dyn Target,
    /// Where it is noted that it is waited for.
    pub waits: &'a Waits,
    /// How long it is waited for.
    pub patience: Duration,
}

impl PatientTarget<'_> {
    /// The target as the user named it.
    pub fn location(&self) -> String {
        self.target.location()
    }

    /// See [`Target::place`].
    ///
    /// # Errors
    /// As [`ask_target`].
    pub async fn place(&self, name: &str) -> Result<Option<Place>, TargetError> {
        ask_target(self.waits, self.patience, || self.target.place(name)).await
    }

    /// See [`Target::identity`].
    ///
    /// # Errors
    /// As [`ask_target`].
    pub async fn identity(&self, name: &str) -> Result<Option<Identity>, TargetError> {
        ask_target(self.waits, self.patience, || self.target.identity(name)).await
    }

    /// See [`Target::create`].
    ///
    /// # Errors
    /// As [`ask_target`].
    pub async fn create(&self, name: &str, data_stream: bool) -> Result<bool, TargetError> {
        ask_target(self.waits, self.patience, || self.target.create(name, data_stream)).await
    }
}

/// Blobs whose store is waited for.
#[derive(Debug)]
pub struct PatientBlobs {
    inner: Arc<dyn Blobs>,
    patience: Duration,
    waits: Waits,
    last: Mutex<Option<Success>>,
}

/// Bytes of names that are listed to see whether a store answers: that there are more is an answer, too.
const ENOUGH: usize = 1 << 20;

/// The attempts at one request.
#[derive(Debug)]
struct Attempts {
    begun: Instant,
    failed: u32,
}

impl Attempts {
    fn new() -> Attempts {
        Attempts { begun: Instant::now(), failed: 0 }
    }
}

/// The last request that succeeded.
#[derive(Clone, Debug)]
struct Success {
    at: Instant,
    /// The blob that was read; none if a directory was listed.
    path: Option<String>,
}

impl PatientBlobs {
    /// Wraps `inner` so that an outage of its store is waited out for up to `patience` and reported through `waits`.
    pub fn new(inner: Arc<dyn Blobs>, patience: Duration, waits: Waits) -> PatientBlobs {
        PatientBlobs { inner, patience, waits, last: Mutex::default() }
    }

    /// To be called when a request has failed. Returns after a pause when it is to be repeated.
    ///
    /// # Errors
    /// The error, if repeating the request is pointless.
    async fn failed(&self, attempts: &mut Attempts, error: BlobError) -> Result<(), BlobError> {
        let BlobError::Unavailable { reason, .. } = &error else {
            // The store has answered, if only to say that there is no such blob.
            if !matches!(error, BlobError::OutOfReach { .. }) {
                self.waits.snapshot_read();
            }
            return Err(error);
        };
        attempts.failed += 1;
        let begun = attempts.begun;
        let Some(success) = self.last().clone() else { return Err(error) };
        let idle = begun.max(success.at).elapsed();
        if attempts.failed >= TRIES && (success.at > begun || self.answers(&success).await) {
            // It is this blob alone.
            return Err(error);
        }
        if idle >= self.patience {
            return Err(BlobError::OutOfReach {
                location: self.inner.location(),
                reason: reason.clone(),
                waited: self.patience,
            });
        }
        self.waits.note(WaitCause::SnapshotUnreachable, reason, idle, self.patience);
        tracing::info!(%error, tries = attempts.failed, "the snapshot cannot be read for now; trying again");
        tokio::time::sleep(backoff(attempts.failed, None, fastrand::f64()).min(MAX_PAUSE)).await;
        Ok(())
    }

    /// Whether a blob that could be read before can still be.
    async fn answers(&self, success: &Success) -> bool {
        let answer = match &success.path {
            Some(path) => self.inner.get_range(path, 0..1, None).await.map(drop),
            None => self.inner.list("", ENOUGH).await.map(drop),
        };
        let answers = !matches!(answer, Err(BlobError::Unavailable { .. } | BlobError::OutOfReach { .. }));
        if answers {
            self.succeeded(success.path.as_deref());
        }
        answers
    }

    fn succeeded(&self, path: Option<&str>) {
        let mut last = self.last();
        match last.as_mut() {
            Some(success) => {
                success.at = Instant::now();
                if success.path.is_none() {
                    success.path = path.map(str::to_owned);
                }
            }
            None => *last = Some(Success { at: Instant::now(), path: path.map(str::to_owned) }),
        }
        self.waits.snapshot_read();
    }

    fn last(&self) -> MutexGuard<'_, Option<Success>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Blobs for PatientBlobs {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn list(&self, dir: &str, limit: usize) -> Result<Vec<String>, BlobError> {
        let mut attempts = Attempts::new();
        loop {
            match self.inner.list(dir, limit).await {
                Ok(answer) => {
                    self.succeeded(None);
                    return Ok(answer);
                }
                Err(error) => self.failed(&mut attempts, error).await?,
            }
        }
    }

    async fn size(&self, path: &str) -> Result<(u64, String), BlobError> {
        let mut attempts = Attempts::new();
        loop {
            match self.inner.size(path).await {
                Ok(answer) => {
                    self.succeeded(Some(path));
                    return Ok(answer);
                }
                Err(error) => self.failed(&mut attempts, error).await?,
            }
        }
    }

    async fn get(&self, path: &str, limit: usize) -> Result<Blob, BlobError> {
        let mut attempts = Attempts::new();
        loop {
            match self.inner.get(path, limit).await {
                Ok(answer) => {
                    self.succeeded(Some(path));
                    return Ok(answer);
                }
                Err(error) => self.failed(&mut attempts, error).await?,
            }
        }
    }

    async fn get_range(&self, path: &str, range: Range<u64>, etag: Option<&str>) -> Result<Blob, BlobError> {
        let mut attempts = Attempts::new();
        loop {
            match self.inner.get_range(path, range.clone(), etag).await {
                Ok(answer) => {
                    self.succeeded(Some(path));
                    return Ok(answer);
                }
                Err(error) => self.failed(&mut attempts, error).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::FutureExt;

    const PATIENCE: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn a_target_is_asked_until_it_answers_as_itself() {
        let target = || "t".to_owned();
        let unreachable = || TargetError::Unreachable { target: target(), reason: "no".to_owned() };
        let unexpected = || TargetError::Unexpected { target: target(), reason: "a page".to_owned() };
        let denied = || TargetError::Denied { target: target(), reason: "no".to_owned() };
        let overloaded =
            || TargetError::Overloaded { target: target(), retry_after: Some(Duration::from_secs(30)) };
        let asked = std::cell::Cell::new(0);
        // The answer by the number of the question, and how long it is asked: at least, at most.
        type Answer<'a> = &'a dyn Fn(u32) -> Result<(), TargetError>;
        let cases: [(Answer<'_>, bool, u64, u64); 6] = [
            (&|n| if n < 20 { Err(unreachable()) } else { Ok(()) }, true, 20, 60),
            (&|n| if n % 7 == 6 { Ok(()) } else { Err(unexpected()) }, true, 1, 20),
            (&|_| Err(unexpected()), false, 5, 20),
            (&|_| Err(denied()), false, 0, 1),
            (&|n| if n == 0 { Err(overloaded()) } else { Ok(()) }, true, 30, 31),
            (&|_| Err(unreachable()), false, 600, 610),
        ];
        for (at, (answer, succeeds, least, most)) in cases.into_iter().enumerate() {
            asked.set(0);
            let begun = Instant::now();
            let waits = Waits::default();
            let question = || std::future::ready(answer(asked.replace(asked.get() + 1))).boxed();
            let answered = ask_target(&waits, PATIENCE, question).await;
            let took = begun.elapsed().as_secs();
            assert_eq!(answered.is_ok(), succeeds, "{at}");
            assert!((least..=most).contains(&took), "{at}: {took}s");
            assert_eq!(waits.shown(0).is_some(), !succeeds && took > 2, "{at}");
        }
    }

    /// A store that fails by a rule: given the blob, and the time since its beginning.
    struct Failing {
        begun: Instant,
        #[allow(clippy::type_complexity, reason = "it is said once")]
        fails: Box<dyn Fn(&str, Duration) -> bool + Send + Sync>,
    }

    impl std::fmt::Debug for Failing {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Failing")
        }
    }

    #[async_trait]
    impl Blobs for Failing {
        fn location(&self) -> String {
            "store".to_owned()
        }

        async fn list(&self, _: &str, _: usize) -> Result<Vec<String>, BlobError> {
            Ok(Vec::new())
        }

        async fn size(&self, path: &str) -> Result<(u64, String), BlobError> {
            self.get(path, ENOUGH).await.map(|blob| (0, blob.etag))
        }

        async fn get(&self, path: &str, _: usize) -> Result<Blob, BlobError> {
            if (self.fails)(path, self.begun.elapsed()) {
                return Err(BlobError::Unavailable { path: path.to_owned(), reason: "no".to_owned() });
            }
            Ok(Blob { bytes: Bytes::new(), etag: String::new() })
        }

        async fn get_range(&self, path: &str, _: Range<u64>, _: Option<&str>) -> Result<Blob, BlobError> {
            self.get(path, ENOUGH).await
        }
    }

    fn blobs(fails: impl Fn(&str, Duration) -> bool + Send + Sync + 'static) -> (PatientBlobs, Waits) {
        let waits = Waits::default();
        let inner = Failing { begun: Instant::now(), fails: Box::new(fails) };
        (PatientBlobs::new(Arc::new(inner), PATIENCE, waits.clone()), waits)
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_waited_out_and_told() {
        let (blobs, waits) = blobs(|_, at| (1..300).contains(&at.as_secs()));
        blobs.get("root", ENOUGH).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let read = blobs.get("a", ENOUGH);
        let mut read = std::pin::pin!(read);
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut read).await.is_err());
        assert_eq!(waits.shown(0).map(|wait| wait.cause), Some(WaitCause::SnapshotUnreachable));
        read.await.unwrap();
        assert_eq!(waits.shown(0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_that_does_not_end_is_given_up() {
        let (blobs, _) = blobs(|_, at| at >= Duration::from_secs(1));
        blobs.get("root", ENOUGH).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let begun = Instant::now();
        let error = blobs.get("a", ENOUGH).await.unwrap_err();
        assert!(matches!(error, BlobError::OutOfReach { .. }), "{error}");
        assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < PATIENCE * 2, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_blob_that_cannot_be_read_is_not_taken_for_an_outage() {
        let (blobs, _) = blobs(|path, _| path == "bad");
        blobs.get("root", ENOUGH).await.unwrap();
        let begun = Instant::now();
        let error = blobs.get("bad", ENOUGH).await.unwrap_err();
        assert!(matches!(error, BlobError::Unavailable { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_has_never_answered_is_not_waited_for() {
        let (blobs, _) = blobs(|_, _| true);
        let begun = Instant::now();
        assert!(blobs.get("root", ENOUGH).await.is_err());
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}

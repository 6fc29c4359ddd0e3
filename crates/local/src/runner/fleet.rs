//! The threads of the workers.

use super::{RunnerEvent, WorkerContext, WorkerEnd, WorkerFailure, WorkerFuture};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long blocking calls of a worker that has ended are waited for.
const LINGER: Duration = Duration::from_secs(5);

/// A worker's number and how it ended.
pub(super) type Ended<E> = (u32, Result<(), Arc<WorkerFailure<E>>>);

type Report<E> = (u32, Result<WorkerEnd<E>, String>);

/// Where a number stands.
enum Slot<E> {
    /// Its worker runs.
    Running { thread: JoinHandle<()>, stop: CancellationToken },
    /// Its worker ended for want of work.
    Idle,
    /// Its worker failed.
    Failed(Arc<WorkerFailure<E>>),
}

/// The workers by number.
pub(super) struct Fleet<W, E> {
    worker: Arc<W>,
    slots: BTreeMap<u32, Slot<E>>,
    /// How many are wanted: numbers from here on are forgotten once they have ended.
    wanted: u32,
    /// When a worker last ended that had not looked for work in vain, or the fleet began.
    fruitful: Instant,
    sender: mpsc::UnboundedSender<Report<E>>,
    receiver: mpsc::UnboundedReceiver<Report<E>>,
    stop: CancellationToken,
    // Whoever drops the fleet in mid-work leaves no worker that goes on for ever.
    _guard: DropGuard,
}

impl<W, E> Fleet<W, E>
where
    W: Fn(WorkerContext) -> WorkerFuture<E> + Send + Sync + 'static,
    E: fmt::Display + Send + 'static,
{
    pub(super) fn new(worker: Arc<W>) -> Fleet<W, E> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        Fleet {
            worker,
            slots: BTreeMap::new(),
            wanted: 0,
            fruitful: Instant::now(),
            sender,
            receiver,
            stop,
            _guard: guard,
        }
    }

    /// How many workers have not ended.
    pub(super) fn running(&self) -> usize {
        self.slots.values().filter(|slot| matches!(slot, Slot::Running { .. })).count()
    }

    /// Numbers below `wanted` whose worker may be started.
    pub(super) fn startable(&self, wanted: u32) -> impl Iterator<Item = u32> {
        (0..wanted).filter(|number| matches!(self.slots.get(number), None | Some(Slot::Idle)))
    }

    /// How long workers were wanted and none has found work. Only while none runs.
    pub(super) fn fruitless(&mut self, wanted: u32) -> Duration {
        if wanted == 0 {
            self.fruitful = Instant::now();
        }
        self.fruitful.elapsed()
    }

    /// Stops the workers with numbers from `wanted` on.
    pub(super) fn shrink(&mut self, wanted: u32) {
        self.wanted = wanted;
        // A failed one that is scaled away may be tried again when it is scaled back.
        self.slots.retain(|number, slot| *number < wanted || matches!(slot, Slot::Running { .. }));
        for (_, slot) in self.slots.range(wanted..).rev() {
            if let Slot::Running { stop, .. } = slot {
                stop.cancel();
            }
        }
    }

    /// Starts workers until `wanted` run, but no more than `limit` at once; their numbers.
    pub(super) fn start(&mut self, wanted: u32, limit: u32) -> Vec<u32> {
        let numbers: Vec<u32> = self.startable(wanted).take(limit as usize).collect();
        for number in &numbers {
            let slot = self.spawn(*number);
            self.slots.insert(*number, slot);
        }
        numbers
    }

    fn spawn(&self, number: u32) -> Slot<E> {
        let stop = self.stop.child_token();
        let context = WorkerContext { number, stop: stop.clone() };
        let (worker, sender) = (self.worker.clone(), self.sender.clone());
        let body = move || {
            let end = catch_unwind(AssertUnwindSafe(|| work(worker.as_ref(), context)));
            let end = end.unwrap_or_else(|panic| Err(message(panic.as_ref())));
            // Nobody listens any more when the fleet was dropped.
            let _ = sender.send((number, end));
        };
        match std::thread::Builder::new().name(format!("worker-{number}")).spawn(body) {
            Ok(thread) => Slot::Running { thread, stop },
            Err(error) => {
                Slot::Failed(Arc::new(WorkerFailure::Broken(format!("no thread can be started: {error}"))))
            }
        }
    }

    pub(super) fn stop_all(&self) {
        self.stop.cancel();
    }

    /// Waits until a worker ends; `None` if none runs. Safe to cancel.
    pub(super) async fn next_end(&mut self) -> Option<Ended<E>> {
        if self.running() == 0 {
            return None;
        }
        let (number, end) = self.receiver.recv().await?;
        if let Some(Slot::Running { thread, .. }) = self.slots.remove(&number) {
            // It has said its last word, and cannot panic any more.
            let _ = thread.join();
        }
        if !matches!(end, Ok(WorkerEnd::Idle { received: false })) {
            self.fruitful = Instant::now();
        }
        let failure = match end {
            Ok(WorkerEnd::Idle { .. } | WorkerEnd::Stopped) => None,
            Ok(WorkerEnd::Fatal(error)) => Some(WorkerFailure::Error(error)),
            Err(reason) => Some(WorkerFailure::Broken(reason)),
        };
        let failure = failure.map(Arc::new);
        if number < self.wanted {
            let slot = failure.clone().map_or(Slot::Idle, Slot::Failed);
            self.slots.insert(number, slot);
        }
        Some((number, failure.map_or(Ok(()), Err)))
    }

    /// Why workers failed; the same words once.
    pub(super) fn take_failures(&mut self) -> Vec<WorkerFailure<E>> {
        let mut failures: Vec<WorkerFailure<E>> = Vec::new();
        for slot in std::mem::take(&mut self.slots).into_values() {
            if let Slot::Failed(failure) = slot
                && let Some(failure) = Arc::into_inner(failure)
                && failures.iter().all(|known| known.to_string() != failure.to_string())
            {
                failures.push(failure);
            }
        }
        failures
    }
}

/// Tells of a worker's end.
pub(super) fn tell<E>((worker, end): &Ended<E>, on_event: &mut impl FnMut(RunnerEvent<'_, E>)) {
    on_event(match end {
        Ok(()) => RunnerEvent::Ended { worker: *worker },
        Err(failure) => RunnerEvent::Failed { worker: *worker, failure },
    });
}

/// What the thread of a worker does.
fn work<W, E>(worker: &W, context: WorkerContext) -> Result<WorkerEnd<E>, String>
where
    W: Fn(WorkerContext) -> WorkerFuture<E>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime can be started: {error}"))?;
    let end = runtime.block_on(async { worker(context).await });
    runtime.shutdown_timeout(LINGER);
    Ok(end)
}

/// The words of a panic.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

//! The end of a run whose workers are a fleet of their own.

use super::{DOCS, error, granted, plan, progress, store_plan};
use backfill::finish::{conclude, stop_fleet, stop_if_too_many_failed};
use backfill::limit::{FailureLimit, FrequentError, Judged, LimitExceeded, MaxFailed};
use backfill::model::chunk::MAX_IDLE_CLAIMS;
use backfill::model::crc::CHECKSUM_FIELD;
use backfill::model::{Amendment, Progress, RangeCrc, Run, RunId, RunState, Settled};
use backfill::ports::{Checkpoints, Clock, Fleet, FleetState, StoreError};
use std::sync::Mutex;

/// All that the checkpoint store must do when a run ends.
pub async fn ending(store: &dyn Checkpoints) {
    a_run_has_ended_once_its_fleet_is_stopped(store).await;
    a_run_whose_target_was_replaced_is_not_done(store).await;
    workers_of_a_start_in_between_are_there(store).await;
    the_fleet_of_another_run_is_left_alone(store).await;
    a_run_ends_however_much_of_it_was_refused(store).await;
    a_run_that_has_stopped_by_itself_tells_why_until_it_goes_on(store).await;
}

#[derive(Debug)]
struct At(u64);

impl Clock for At {
    fn now(&self) -> u64 {
        self.0
    }

    fn monotonic(&self) -> u64 {
        self.0
    }
}

/// A fleet that cannot be stopped so many times, and in whose stop a start may come.
#[derive(Debug)]
struct Stubborn<'a> {
    refusals: Mutex<u32>,
    set: Mutex<Vec<u32>>,
    start: Option<(&'a dyn Checkpoints, RunId)>,
}

impl Stubborn<'_> {
    fn new(refusals: u32) -> Stubborn<'static> {
        Stubborn { refusals: Mutex::new(refusals), set: Mutex::default(), start: None }
    }
}

#[async_trait::async_trait]
impl Fleet for Stubborn<'_> {
    async fn state(&self) -> Result<FleetState, StoreError> {
        Ok(FleetState::default())
    }

    async fn scale(&self, workers: u32) -> Result<(), StoreError> {
        self.set.lock().unwrap().push(workers);
        Ok(())
    }

    async fn stop(&self) -> Result<(), StoreError> {
        if let Some((store, run)) = &self.start {
            store.retry_failed(run).await?;
            store.set_desired_workers(run, 3).await?;
            store.set_state(run, RunState::Running, 50, &[]).await?;
        }
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            let (what, reason) = ("the fleet".to_owned(), "it is being changed".to_owned());
            return Err(StoreError::Unavailable { what, reason });
        }
        self.set.lock().unwrap().push(0);
        Ok(())
    }
}

/// A run whose chunks are all done, but for the first if that is to be given up.
async fn through(store: &dyn Checkpoints, name: &str, give_up: bool) -> Run {
    let (run, shards, chunks) = plan(name, 1, 1);
    store_plan(store, &run, &shards, &chunks).await;
    for (at, chunk) in chunks.iter().enumerate() {
        if at == 0 && give_up {
            for _ in 0..MAX_IDLE_CLAIMS {
                let chunk = granted(store, &run.id, &chunk.id, 0, 60).await;
                let reason = error("no");
                store.hand_back(&run.id, &chunk.id, chunk.epoch, &chunk.progress, &reason).await.unwrap();
            }
        } else {
            granted(store, &run.id, &chunk.id, 0, 60).await;
            store.complete(&run.id, &chunk.id, 1, &progress(chunk, DOCS)).await.unwrap();
        }
    }
    store.run(&run.id).await.unwrap()
}

async fn a_run_has_ended_once_its_fleet_is_stopped(store: &dyn Checkpoints) {
    let run = through(store, "stubborn", false).await;
    let fleet = Stubborn::new(2);
    for now in [10, 20] {
        conclude(store, &fleet, &At(now), &run, &[]).await.unwrap_err();
        let left = store.run(&run.id).await.unwrap();
        assert_eq!((left.state, left.finished), (RunState::Running, None));
    }
    let state = conclude(store, &fleet, &At(30), &run, &[]).await.unwrap().unwrap();
    let ended = store.run(&run.id).await.unwrap();
    assert!(state.is_finished());
    assert_eq!((ended.state, ended.finished), (state, Some(30)));
    // Whoever comes late changes nothing.
    assert_eq!(conclude(store, &fleet, &At(40), &run, &[]).await.unwrap(), None);
    assert_eq!(store.run(&run.id).await.unwrap().finished, Some(30));
    assert!(fleet.set.lock().unwrap().iter().all(|workers| *workers == 0));
}

/// A run of which the target has lost documents is not done, though every chunk is; the next end is looked at afresh.
async fn a_run_whose_target_was_replaced_is_not_done(store: &dyn Checkpoints) {
    let (run, shards, chunks) = plan("replaced", 1, 1);
    store_plan(store, &Run { refused: Vec::new(), ..run.clone() }, &shards, &chunks).await;
    for chunk in &chunks {
        granted(store, &run.id, &chunk.id, 0, 60).await;
        let read = chunk
            .ranges
            .iter()
            .map(|range| RangeCrc { crc: range.file_crc, len: range.end - CHECKSUM_FIELD });
        let progress = Progress { crcs: read.collect(), ..progress(chunk, DOCS) };
        store.complete(&run.id, &chunk.id, 1, &progress).await.unwrap();
    }
    let run = store.run(&run.id).await.unwrap();
    let lost = ["the target index a was deleted".to_owned()];
    let ended = conclude(store, &Stubborn::new(0), &At(10), &run, &lost).await.unwrap();
    let left = store.run(&run.id).await.unwrap();
    assert_eq!(
        (ended, left.state, &left.notes.replaced[..]),
        (Some(RunState::Failed), RunState::Failed, &lost[..])
    );
    store.set_state(&run.id, RunState::Running, 11, &[]).await.unwrap();
    let ended = conclude(store, &Stubborn::new(0), &At(12), &run, &[]).await.unwrap();
    assert_eq!((ended, store.run(&run.id).await.unwrap().notes.replaced.len()), (Some(RunState::Done), 0));
}

async fn workers_of_a_start_in_between_are_there(store: &dyn Checkpoints) {
    let run = through(store, "start-in-between", true).await;
    let fleet = Stubborn { start: Some((store, run.id.clone())), ..Stubborn::new(0) };
    assert_eq!(conclude(store, &fleet, &At(10), &run, &[]).await.unwrap(), None);
    assert_eq!(store.run(&run.id).await.unwrap().state, RunState::Running);
    assert_eq!(*fleet.set.lock().unwrap(), [0, 3]);
}

async fn the_fleet_of_another_run_is_left_alone(store: &dyn Checkpoints) {
    let run = through(store, "earlier", false).await;
    let (later, shards, chunks) = plan("later", 1, 1);
    store_plan(store, &later, &shards, &chunks).await;
    let fleet = Stubborn::new(9);
    assert!(conclude(store, &fleet, &At(10), &run, &[]).await.unwrap().is_some());
    assert!(fleet.set.lock().unwrap().is_empty());
}

/// What is said of a run's damage has an end, also where nothing else is to be said of it.
async fn a_run_ends_however_much_of_it_was_refused(store: &dyn Checkpoints) {
    let refused = (0..2000).map(|n| (format!("index-{n}"), "no ".repeat(100))).collect();
    let run = Run { refused, indices: Vec::new(), ..plan("refused", 1, 1).0 };
    store_plan(store, &run, &[], &[]).await;
    let ended = conclude(store, &Stubborn::new(0), &At(10), &run, &[]).await.unwrap();
    assert_eq!(ended, Some(RunState::Damaged));
    assert!(!store.run(&run.id).await.unwrap().damage.is_empty());
}

/// The limit on failed documents is kept with the run, and the sums that it is judged by are exact.
async fn a_run_that_has_stopped_by_itself_tells_why_until_it_goes_on(store: &dyn Checkpoints) {
    let (mut run, shards, chunks) = plan("too-many-failed", 1, 2);
    let max_failed = MaxFailed::Documents(2);
    run.notes.limit = Some(FailureLimit::new(max_failed));
    store_plan(store, &run, &shards, &chunks).await;
    for (at, chunk) in chunks.iter().take(3).enumerate() {
        granted(store, &run.id, &chunk.id, 0, 60).await;
        let mut progress = progress(chunk, DOCS);
        progress.counters.unsourced = u64::from(at == 0);
        store.complete(&run.id, &chunk.id, 1, &progress).await.unwrap();
    }
    let judged = || async {
        let summary = store.summary(&run.id, 0).await.unwrap();
        summary.run.notes.limit.and_then(|limit| limit.exceeded(&summary.counters))
    };
    assert_eq!(judged().await, Some(Judged { documents: 29, failed: 5 }));
    // Documents that arrive when they are tried again no longer count.
    let settled = Settled { seen: 2, indexed: 2, already_there: 0 };
    store.settle(&run.id, &chunks[1].id, &settled).await.unwrap();
    assert_eq!(judged().await, Some(Judged { documents: 29, failed: 3 }));

    let error = FrequentError {
        error_type: "mapper_parsing_exception".to_owned(),
        documents: 2,
        of: 2,
        chunk: chunks[2].id.to_string(),
        example: "document 7 of b: no such field".to_owned(),
    };
    let judged = judged().await.unwrap();
    let why = LimitExceeded { max_failed, judged, error: Some(error.clone()) };
    let summary = || async { store.summary(&run.id, 0).await.unwrap() };
    assert!(stop_if_too_many_failed(store, &summary().await, 10, Some(error)).await.unwrap());
    // Whoever finds out later changes nothing.
    assert!(stop_if_too_many_failed(store, &summary().await, 20, None).await.unwrap());
    let fleet = Stubborn::new(0);
    stop_fleet(store, &fleet).await.unwrap();
    assert_eq!(*fleet.set.lock().unwrap(), [0]);
    let stopped = store.latest_run().await.unwrap().unwrap();
    assert!(stopped.is_stopped_by_limit());
    assert_eq!(stopped.notes.limit_exceeded, Some(why));

    let counters = store.summary(&run.id, 0).await.unwrap().counters;
    let limit = FailureLimit::resumed(stopped.notes.limit, max_failed, &counters, false);
    store.amend(&run.id, &Amendment::Limit(limit)).await.unwrap();
    store.set_state(&run.id, RunState::Running, 11, &[]).await.unwrap();
    let resumed = store.summary(&run.id, 0).await.unwrap();
    assert_eq!((resumed.run.notes.limit, &resumed.run.notes.limit_exceeded), (Some(limit), &None));
    assert!(!stop_if_too_many_failed(store, &resumed, 12, None).await.unwrap());
    // Its workers are there, also if the fleet is stopped only now.
    stop_fleet(store, &fleet).await.unwrap();
    assert_eq!(*fleet.set.lock().unwrap(), [0, 0, run.desired_workers]);
}

//! Random steps of several workers, on the store and on the pure state machine: all answers must be the same.

use super::{DOCS, error, plan, progress, store_plan, stored};
use backfill::model::chunk::WriteRefused;
use backfill::model::{Chunk, ChunkId, ChunkState, Counters, Millis, Reason, Settled};
use backfill::ports::{Checkpoints, ClaimOutcome, StoreError};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What a worker may do to a chunk, well-behaved or not.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Claims it for this many milliseconds.
    Claim(u32),
    /// Saves after this many documents and renews for 50 ms.
    Save(u32),
    /// Hands it back after this many documents, with an error or without.
    HandBack(u32, bool),
    /// Retries what was given up.
    Retry,
    /// Completes it after this many documents.
    Complete(u32),
    /// Settles failed documents, having seen (if so) one more than there are.
    Settle(bool, Settled),
}

/// A step of several workers on several chunks.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Milliseconds that pass before.
    pub pass: u32,
    /// Who acts; each acts under the last epoch that it was granted.
    pub owner: u32,
    /// On which chunk of the plan.
    pub chunk: usize,
    /// What it does.
    pub action: Action,
}

/// Takes the steps on the store and on plain records with the pure transitions: all answers and all records must
/// be the same, and the summary must be the sum over the records.
pub async fn agrees_with_the_model(store: &dyn Checkpoints, name: &str, steps: &[Step]) {
    let (run, shards, chunks) = plan(name, 1, 2);
    store_plan(store, &run, &shards, &chunks).await;
    let mut model = chunks.clone();
    let mut epochs: BTreeMap<(u32, usize), u64> = BTreeMap::new();
    let mut now = 0;
    for step in steps {
        now += Millis::from(step.pass);
        let at = step.chunk % model.len();
        let (record, key) = (&mut model[at], (step.owner, at));
        let id = record.id.clone();
        let epoch = epochs.get(&key).copied().unwrap_or(0);
        let owner = format!("owner-{}", step.owner);
        match step.action {
            Action::Claim(length) => {
                let until = now + Millis::from(length);
                let expected = record.claim(&owner, now, until);
                match store.claim(&run.id, &id, &owner, now, until).await.unwrap() {
                    ClaimOutcome::Granted(chunk) => {
                        assert_eq!(expected, Ok(()));
                        assert_eq!(*chunk, *record);
                        epochs.insert(key, chunk.epoch);
                    }
                    ClaimOutcome::Refused(refused) => assert_eq!(expected, Err(refused)),
                }
            }
            Action::Save(docs) => {
                let progress = progress(record, docs);
                let expected = record.save(epoch, progress.clone(), now + 50);
                let answer = store.save(&run.id, &id, epoch, &progress, now + 50).await;
                same(expected, answer.map(drop));
            }
            Action::HandBack(docs, failed) => {
                let progress = progress(record, docs);
                let reason = if failed { error(&format!("at {now}")) } else { Reason::Stopped };
                let expected = record.hand_back(epoch, progress.clone(), reason.clone());
                same(expected, store.hand_back(&run.id, &id, epoch, &progress, &reason).await);
            }
            Action::Retry => {
                let expected: Vec<ChunkId> = model
                    .iter_mut()
                    .filter(|chunk| chunk.state == ChunkState::Failed)
                    .map(|chunk| {
                        chunk.retry();
                        chunk.id.clone()
                    })
                    .collect();
                assert_eq!(store.retry_failed(&run.id).await.unwrap(), expected);
            }
            Action::Complete(docs) => {
                let progress = progress(record, docs);
                let expected = record.complete(epoch, progress.clone());
                same(expected, store.complete(&run.id, &id, epoch, &progress).await);
            }
            Action::Settle(wrong, moved) => {
                let seen = record.progress.counters.failed + u64::from(wrong);
                let settled = Settled { seen, ..moved };
                let expected = record.settle(&settled);
                same(expected, store.settle(&run.id, &id, &settled).await);
            }
        }
    }
    let mut counters = Counters::default();
    for record in &model {
        assert_eq!(stored(store, &run.id, &record.id).await, *record);
        counters += &record.progress.counters;
    }
    let count = |test: &dyn Fn(&Chunk) -> bool| model.iter().filter(|chunk| test(chunk)).count() as u64;
    let summary = store.summary(&run.id, now).await.unwrap();
    assert_eq!(summary.counters, counters);
    assert_eq!(summary.chunks_done, count(&|chunk| chunk.state == ChunkState::Done));
    let leased = |chunk: &Chunk| matches!(&chunk.state, ChunkState::Leased(lease) if lease.until > now);
    assert_eq!(summary.chunks_leased, count(&leased));
    let failed = |chunk: &Chunk| chunk.state == ChunkState::Failed;
    assert_eq!(summary.chunks_failed, count(&failed));
    assert_eq!(summary.given_up.len() as u64, count(&failed));
    assert_eq!(summary.last_errors.len() as u64, count(&|c| !failed(c) && c.last_error.is_some()));
}

fn same<T: PartialEq + std::fmt::Debug>(expected: Result<T, WriteRefused>, answer: Result<T, StoreError>) {
    match (expected, answer) {
        (Ok(expected), Ok(answer)) => assert_eq!(expected, answer),
        (Err(expected), Err(StoreError::Refused(refused))) => assert_eq!(expected, refused),
        (expected, answer) => panic!("the model says {expected:?}, the store {answer:?}"),
    }
}

/// Sequences of steps.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let docs = 0..=DOCS;
    let action = prop_oneof![
        4 => (10u32..100).prop_map(Action::Claim),
        4 => docs.clone().prop_map(Action::Save),
        2 => (docs.clone(), any::<bool>()).prop_map(|(docs, failed)| Action::HandBack(docs, failed)),
        // Mostly no progress, so that chunks are given up now and then.
        2 => Just(Action::HandBack(0, true)),
        1 => Just(Action::Retry),
        1 => docs.prop_map(Action::Complete),
        1 => Just(Action::Complete(DOCS)),
        1 => (any::<bool>(), 0u64..3, 0u64..2).prop_map(|(wrong, indexed, already_there)| {
            Action::Settle(wrong, Settled { seen: 0, indexed, already_there })
        }),
    ];
    let step = (0u32..30, 0u32..3, 0usize..4, action);
    let step = step.prop_map(|(pass, owner, chunk, action)| Step { pass, owner, chunk, action });
    proptest::collection::vec(step, 1..60)
}

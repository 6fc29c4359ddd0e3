//! Checkpoints and queue against servers that speak the protocols of DynamoDB and SQS. `BACKFILL_TEST_DYNAMODB` and
//! `BACKFILL_TEST_SQS` are their addresses; credentials and region come from the usual variables of AWS.

#![allow(clippy::unwrap_used, clippy::panic)]

use aws::{DynamoCheckpoints, Sdk, SdkOptions, SqsQueue};
use backfill::model::{
    AttemptError, Cause, ChunkState, Counters, HandedBack, Planning, Progress, Reason, Run, RunId, RunState,
    Settled,
};
use backfill::ports::{Checkpoints, ClaimOutcome, Creation, Queue, Sample, StoreError};
use proptest::prelude::ProptestConfig;

async fn sdk(variable: &str) -> Sdk {
    let endpoint = std::env::var(variable).unwrap();
    Sdk::load(&SdkOptions { endpoint: Some(endpoint), ..SdkOptions::default() }).await.unwrap()
}

/// A new table as the template makes it.
async fn store() -> DynamoCheckpoints {
    let client = sdk("BACKFILL_TEST_DYNAMODB").await.dynamodb();
    let table = format!("checkpoints-{}-{}", std::process::id(), fastrand::u32(..));
    conformance::create_table(&client, &table).await;
    DynamoCheckpoints::new(client, table)
}

async fn queue() -> SqsQueue {
    let client = sdk("BACKFILL_TEST_SQS").await.sqs();
    let name = format!("chunks-{}-{}", std::process::id(), fastrand::u32(..));
    let made = client.create_queue().queue_name(name).send().await.unwrap();
    SqsQueue::new(client, made.queue_url().unwrap())
}

#[tokio::test]
#[ignore = "needs DynamoDB Local: cargo xtask test"]
async fn a_table_of_dynamodb_is_a_checkpoint_store() {
    let store = store().await;
    assert_eq!(store.latest_run().await.unwrap(), None);
    conformance::checkpoints(&store).await;
    conformance::planning(&store).await;
    conformance::ending(&store).await;
}

#[test]
#[ignore = "needs DynamoDB Local: cargo xtask test"]
fn in_dynamodb_any_sequence_of_steps_gives_what_the_model_gives() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(store());
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 32, ..ProptestConfig::default() });
    let runs = std::cell::Cell::new(0);
    runner
        .run(&conformance::steps(), |steps| {
            let name = format!("run-{}", runs.replace(runs.get() + 1));
            runtime.block_on(conformance::agrees_with_the_model(&store, &name, &steps));
            Ok(())
        })
        .unwrap();
}

/// A run in the midst of its work: of its six chunks, two are done, one of them with a failed document that a retry has
/// settled; one is in a worker's hands, one waits after an error, one was given up, and one was never begun.
async fn unfinished(store: &DynamoCheckpoints) -> RunId {
    let (mut run, shards, chunks) = conformance::plan("2026-12-01-12-11-34-735", 1, 3);
    run.planning = Planning::Shards;
    conformance::store_plan(store, &run, &shards, &chunks).await;
    store.advance_planning(&run.id, Planning::Shards, Planning::Messages(6)).await.unwrap();
    store.advance_planning(&run.id, Planning::Messages(6), Planning::Complete).await.unwrap();
    let error = Reason::Error(AttemptError { cause: Cause::Snapshot, message: "no answer".to_owned() });
    for chunk in &chunks[..5] {
        store.claim(&run.id, &chunk.id, "request/7", 1_000, 61_000).await.unwrap();
    }
    for chunk in &chunks[..2] {
        let through = conformance::progress(chunk, conformance::DOCS);
        store.complete(&run.id, &chunk.id, 1, &through).await.unwrap();
    }
    let settled = Settled { seen: 2, indexed: 1, already_there: 1 };
    store.settle(&run.id, &chunks[1].id, &settled).await.unwrap();
    let damaged = Progress {
        damage: vec!["block 3 cannot be decoded".to_owned()],
        ..conformance::progress(&chunks[2], 4)
    };
    store.save(&run.id, &chunks[2].id, 1, &damaged, 62_000).await.unwrap();
    store.hand_back(&run.id, &chunks[3].id, 1, &conformance::progress(&chunks[3], 2), &error).await.unwrap();
    for epoch in 1.. {
        let initial = &chunks[4].progress;
        if store.hand_back(&run.id, &chunks[4].id, epoch, initial, &error).await.unwrap()
            == HandedBack::Failed
        {
            break;
        }
        store.claim(&run.id, &chunks[4].id, "request/8", 1_000, 61_000).await.unwrap();
    }
    store.add_sample(&run.id, &Sample { at: 5, documents: 6, stored_bytes: 7, missing: 0 }).await.unwrap();
    store.hold_retry(&run.id, "4711/5", 1_000, 31_000).await.unwrap();
    run.id
}

/// Writes what later versions must read: `BACKFILL_WRITE_ITEMS` says where to.
#[tokio::test]
#[ignore = "needs DynamoDB Local: cargo xtask test"]
async fn an_unfinished_run_is_written_for_later_versions() {
    let (client, store) = (sdk("BACKFILL_TEST_DYNAMODB").await.dynamodb(), store().await);
    unfinished(&store).await;
    let items = conformance::all_items(&client, store.table()).await;
    if let Some(path) = std::env::var_os("BACKFILL_WRITE_ITEMS") {
        std::fs::write(path, serde_json::to_string_pretty(&items).unwrap() + "\n").unwrap();
    }
}

#[tokio::test]
#[ignore = "needs DynamoDB Local: cargo xtask test"]
async fn an_unfinished_run_of_an_earlier_version_is_continued() {
    let (client, store) = (sdk("BACKFILL_TEST_DYNAMODB").await.dynamodb(), store().await);
    let items = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/earlier/ad2b943/dynamodb.json");
    let mut items: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(items).unwrap()).unwrap();
    // As if they had been written now: what has expired is not read.
    items.iter_mut().for_each(|item| item["ttl"]["N"] = "99999999999".into());
    conformance::put_items(&client, store.table(), &items).await;
    let run = store.latest_run().await.unwrap().unwrap();
    let again = store.retry_failed(&run.id).await.unwrap();
    assert_eq!(again.len(), 1);
    for shard in store.shards(&run.id).await.unwrap() {
        for chunk in store.chunks(&run.id, &shard.id).await.unwrap() {
            if chunk.state == ChunkState::Done {
                continue;
            }
            let claim = store.claim(&run.id, &chunk.id, "owner", 70_000, 130_000).await.unwrap();
            let ClaimOutcome::Granted(claimed) = claim else { panic!("{claim:?}") };
            let through = Progress {
                damage: claimed.progress.damage.clone(),
                ..conformance::progress(&claimed, conformance::DOCS)
            };
            store.complete(&run.id, &chunk.id, claimed.epoch, &through).await.unwrap();
        }
    }
    let summary = store.summary(&run.id, 70_000).await.unwrap();
    assert_eq!((summary.chunks_done, summary.chunks_total, summary.chunks_leased), (6, 6, 0));
    assert_eq!(summary.counters.documents(), 6 * u64::from(conformance::DOCS));
    // Two of each chunk fail, and those of one have been settled.
    assert_eq!((summary.counters.failed, summary.counters.already_there), (10, 1));
    store.set_state(&run.id, RunState::Done, 80_000, &[]).await.unwrap();
    store.delete_run(&run.id).await.unwrap();
    assert_eq!(store.latest_run().await.unwrap(), None);
    assert_eq!(conformance::all_items(&client, store.table()).await.len(), 0);
}

/// Sixty-four workers on one shard meet at its sums all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs DynamoDB Local: cargo xtask test"]
async fn sums_stay_exact_when_many_workers_meet_at_them() {
    let store = store().await;
    let (run, shards, chunks) = conformance::plan("crowd", 1, 32);
    conformance::store_plan(&store, &run, &shards, &chunks).await;
    let work = chunks.iter().map(|chunk| {
        let (store, run) = (store.clone(), run.id.clone());
        async move {
            let claim = store.claim(&run, &chunk.id, "owner", 0, 60).await.unwrap();
            let ClaimOutcome::Granted(claimed) = claim else { panic!("{claim:?}") };
            for docs in [3, 7] {
                let progress = conformance::progress(&claimed, docs);
                store.save(&run, &chunk.id, 1, &progress, 60).await.unwrap();
            }
            if chunk.id.number % 4 > 0 {
                let through = conformance::progress(&claimed, conformance::DOCS);
                store.complete(&run, &chunk.id, 1, &through).await.unwrap();
            }
        }
    });
    futures::future::join_all(work).await;
    let summary = store.summary(&run.id, 59).await.unwrap();
    assert_eq!((summary.chunks_done, summary.chunks_leased, summary.chunks_total), (48, 16, 64));
    let mut counters = Counters::default();
    for shard in &shards {
        for chunk in store.chunks(&run.id, &shard.id).await.unwrap() {
            counters += &chunk.progress.counters;
        }
    }
    assert_eq!(summary.counters, counters);
    assert_eq!(counters.documents(), 48 * u64::from(conformance::DOCS) + 16 * 7);
}

/// Of several that claim the same chunk at once, one has it.
#[tokio::test]
#[ignore = "needs DynamoDB Local: cargo xtask test"]
async fn of_many_claims_one_is_granted() {
    let store = store().await;
    let (run, shards, chunks) = conformance::plan("claims", 1, 1);
    conformance::store_plan(&store, &run, &shards, &chunks).await;
    let claims = (0..16).map(|n| {
        let (store, run, chunk) = (&store, &run.id, &chunks[0].id);
        async move { store.claim(run, chunk, &format!("owner-{n}"), 0, 60).await.unwrap() }
    });
    let answers = futures::future::join_all(claims).await;
    let granted = answers.iter().filter(|answer| matches!(answer, ClaimOutcome::Granted(_)));
    assert_eq!(granted.count(), 1);
    let stored = &store.chunks(&run.id, &chunks[0].id.shard).await.unwrap()[0];
    assert!(matches!(stored.state, ChunkState::Leased(_)));
    assert_eq!((stored.epoch, stored.idle_claims), (1, 1));
}

#[tokio::test]
#[ignore = "needs DynamoDB Local: cargo xtask test"]
async fn runs_of_any_size_are_stored_and_the_last_samples_are_kept() {
    let store = store().await;
    let (mut run, ..) = conformance::plan("large", 1, 1);
    // Names that do not compress: their record does not fit one item.
    let template = run.indices[0].clone();
    run.indices = (0..40_000)
        .map(|n| {
            let name: String = (0..30).map(|_| fastrand::alphanumeric()).collect();
            backfill::model::IndexPlan { name: format!("{n}-{name}"), ..template.clone() }
        })
        .collect();
    store.create_run(&run, None).await.unwrap();
    assert_eq!(store.latest_run().await.unwrap().as_ref(), Some(&run));
    for at in 0..200 {
        store.add_sample(&run.id, &Sample { at, documents: at, stored_bytes: at, missing: 0 }).await.unwrap();
    }
    let samples = store.summary(&run.id, 0).await.unwrap().samples;
    assert_eq!(samples.iter().map(|s| s.at).collect::<Vec<_>>(), (80..200).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs DynamoDB Local: cargo xtask test"]
async fn a_run_whose_records_expire_soon_is_not_continued() {
    let store = store().await;
    let (run, ..) = conformance::plan("old", 1, 1);
    store.create_run(&run, None).await.unwrap();
    let days = |days: u64| run.created + days * 86_400_000;
    store.set_state(&run.id, RunState::Running, days(369), &[]).await.unwrap();
    let late = store.set_state(&run.id, RunState::Running, days(371), &[]).await.unwrap_err().to_string();
    assert!(late.contains("were made 371 days ago") && late.contains("--new"), "{late}");
    store.set_state(&run.id, RunState::Stopped, days(371), &[]).await.unwrap();
}

#[tokio::test]
#[ignore = "needs DynamoDB Local: cargo xtask test"]
async fn a_table_that_is_not_there_is_told_in_a_sentence() {
    let client = sdk("BACKFILL_TEST_DYNAMODB").await.dynamodb();
    let store = DynamoCheckpoints::new(client, "absent");
    let error = store.control(&RunId("run".to_owned())).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }));
    let error = error.to_string();
    assert!(error.starts_with("cannot read the checkpoint table absent: it is not there"), "{error}");
}

#[tokio::test]
#[ignore = "needs ElasticMQ and DynamoDB Local: cargo xtask test"]
async fn a_queue_of_sqs_is_a_queue() {
    conformance::queue(&store().await, &queue().await, &conformance::RealTime).await;
}

#[tokio::test]
#[ignore = "needs ElasticMQ: cargo xtask test"]
async fn messages_are_sent_in_batches_and_counted() {
    let queue = queue().await;
    let (run, _, chunks) = conformance::plan("batches", 1, 100);
    let ids: Vec<_> = chunks.iter().map(|chunk| chunk.id.clone()).collect();
    queue.enqueue(&run.id, &ids[..107]).await.unwrap();
    assert_eq!(queue.depth().await.unwrap().total(), 107);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    queue.receive(now, now + 60_000).await.unwrap().unwrap();
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight), (106, 1));
    queue.purge().await.unwrap();
    assert_eq!(queue.depth().await.unwrap().visible, 0);
}

/// All items of a run carry the time at which they expire, so that nothing of it is left.
#[tokio::test]
#[ignore = "needs DynamoDB Local: cargo xtask test"]
async fn all_items_of_a_run_expire_together() {
    let client = sdk("BACKFILL_TEST_DYNAMODB").await.dynamodb();
    let store = store().await;
    let (run, shards, chunks) = conformance::plan("expiring", 2, 2);
    conformance::store_plan(&store, &run, &shards, &chunks).await;
    store.claim(&run.id, &chunks[0].id, "owner", 0, 60).await.unwrap();
    let error = backfill::model::AttemptError {
        cause: backfill::model::Cause::Target,
        message: "no answer".to_owned(),
    };
    let reason = backfill::model::Reason::Error(error);
    let progress = conformance::progress(&chunks[0], 3);
    store.hand_back(&run.id, &chunks[0].id, 1, &progress, &reason).await.unwrap();
    store.add_sample(&run.id, &Sample { at: 1, documents: 1, stored_bytes: 1, missing: 0 }).await.unwrap();
    store.set_state(&run.id, RunState::Damaged, 1, &["why".to_owned()]).await.unwrap();
    let items = client.scan().table_name(store.table()).send().await.unwrap().items.unwrap();
    let kinds: std::collections::BTreeSet<&str> =
        items.iter().map(|item| item["sk"].as_s().unwrap().split('#').next().unwrap()).collect();
    let kinds: Vec<&str> = kinds.into_iter().collect();
    assert_eq!(kinds, ["C", "CTL", "DMG", "E", "R", "RUN", "S", "SMP", "T"]);
    let expiry = (run.created / 1000 + 400 * 86_400).to_string();
    for item in &items {
        assert_eq!(item["ttl"].as_n(), Ok(&expiry), "{:?}", item["sk"]);
    }
}

/// DynamoDB deletes what has expired one by one and within days, so parts of a run may be gone and others not.
#[tokio::test]
#[ignore = "needs DynamoDB Local: cargo xtask test"]
async fn a_run_whose_records_have_expired_is_as_good_as_gone() {
    let store = store().await;
    let run = |name, created| Run { created, ..conformance::plan(name, 1, 1).0 };
    let long_ago = run("expired", 1_000);
    assert_eq!(store.create_run(&long_ago, None).await.unwrap(), Creation::Created);
    assert_eq!(store.latest_run().await.unwrap(), None);
    let next = run("next", 4_102_444_800_000);
    assert_eq!(store.create_run(&next, None).await.unwrap(), Creation::Created);
    assert_eq!(store.latest_run().await.unwrap().map(|run| run.id), Some(next.id.clone()));
    let late = run("late", 4_102_444_800_000);
    assert_eq!(store.create_run(&late, None).await.unwrap(), Creation::Superseded(next.id));
}

//! Damage: whatever byte of a repository is flipped, either the documents are the same or an error names the file.

use crate::support::{Desk, Documents, copy_of, fixture, repo};
use crate::worker::planned;
use async_trait::async_trait;
use backfill::buffers::Buffers;
use backfill::finish::finish;
use backfill::model::RunState;
use backfill::ports::{Blob, BlobError, Blobs, Checkpoints, SystemClock};
use backfill::worker::flow::{Flow, FlowLimits};
use backfill::worker::{Step, Worker, WorkerOptions};
use bytes::Bytes;
use local::{Compression, ExportTarget, FsFailedDocuments};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// A repository in memory, one byte of which may be flipped; notes what was read.
#[derive(Debug, Default)]
struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    read: Mutex<BTreeSet<(String, u64)>>,
    /// Noting each byte costs more than the whole job.
    noting: bool,
}

impl Memory {
    fn load(root: &Path) -> Memory {
        let files = crate::support::files_below(root).into_iter().map(|path| {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        });
        Memory { files: files.collect(), read: Mutex::default(), noting: true }
    }
}

#[async_trait]
impl Blobs for Memory {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    async fn list(&self, dir: &str, _: usize) -> Result<Vec<String>, BlobError> {
        assert_eq!(dir, "");
        Ok(self.files.keys().filter(|name| !name.contains('/')).cloned().collect())
    }

    async fn size(&self, path: &str) -> Result<(u64, String), BlobError> {
        let file = self.files.get(path).ok_or_else(|| BlobError::NotFound { path: path.to_owned() })?;
        Ok((file.len() as u64, String::new()))
    }

    async fn get(&self, path: &str, _: usize) -> Result<Blob, BlobError> {
        let len = self.files.get(path).map_or(0, Vec::len) as u64;
        self.get_range(path, 0..len, None).await
    }

    async fn get_range(&self, path: &str, range: Range<u64>, _: Option<&str>) -> Result<Blob, BlobError> {
        let file = self.files.get(path).ok_or_else(|| BlobError::NotFound { path: path.to_owned() })?;
        let bytes = file.get(range.start as usize..range.end as usize).ok_or_else(|| BlobError::Short {
            path: path.to_owned(),
            end: range.end,
            len: file.len() as u64,
        })?;
        if self.noting {
            self.read.lock().unwrap().extend(range.map(|at| (path.to_owned(), at)));
        }
        Ok(Blob { bytes: Bytes::copy_from_slice(bytes), etag: String::new() })
    }
}

/// What a run came to: the documents, or what is said of the damage.
enum Outcome {
    Same(String),
    Told(Vec<String>),
}

/// The whole job, in this process: opens, plans, works, finishes.
async fn migrate(blobs: Arc<Memory>, dir: &Path) -> Outcome {
    match try_migrate(blobs, dir).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Told(vec![error]),
    }
}

async fn try_migrate(blobs: Arc<Memory>, dir: &Path) -> Result<Outcome, String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let (store, run) = planned(blobs.clone(), dir, 1 << 30).await?;
    let worker = Worker {
        owner: "worker".to_owned(),
        run: run.clone(),
        blobs,
        checkpoints: Arc::new(store.clone()),
        queue: Arc::new(store.queue_of(&run.id)),
        target: Arc::new(ExportTarget::new(dir.join("out"), Compression::None)),
        failed: Arc::new(FsFailedDocuments::new(dir.join("failed"))),
        clock: Arc::new(SystemClock),
        options: WorkerOptions::default(),
        flow: Arc::new(Mutex::new(Flow::new(FlowLimits::default(), 0))),
        buffers: Buffers::default(),
        waits: backfill::waits::Waits::default(),
    };
    while worker.step(&CancellationToken::new()).await.map_err(|e| text(&e))? != Step::Idle {}
    let state = finish(&store, &SystemClock, &run, &[]).await.map_err(|e| text(&e))?;
    let run = store.run(&run.id).await.map_err(|e| text(&e))?;
    if state == Some(RunState::Damaged) {
        return Ok(Outcome::Told(run.damage));
    }
    let mut lines: Vec<String> = crate::support::files_below(&dir.join("out"))
        .iter()
        .flat_map(|f| std::fs::read_to_string(f).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.sort_unstable();
    Ok(Outcome::Same(lines.join("\n")))
}

/// Runs the whole job in a directory of its own.
fn attempt(memory: &Arc<Memory>) -> Outcome {
    let fast = Path::new("/dev/shm");
    let dir = if fast.is_dir() { tempfile::tempdir_in(fast) } else { tempfile::tempdir() }.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(migrate(memory.clone(), dir.path()))
}

/// Flips one bit; whether that was harmless.
fn flip(whole: &BTreeMap<String, Vec<u8>>, documents: &str, (name, at): &(String, u64)) -> bool {
    let mut files = whole.clone();
    // A different bit for each byte, so that all kinds of flips occur.
    files.get_mut(name).unwrap()[*at as usize] ^= 1 << (at % 8);
    match attempt(&Arc::new(Memory { files, ..Memory::default() })) {
        Outcome::Same(found) => {
            assert!(found == documents, "byte {at} of {name} changed the documents in silence");
            true
        }
        Outcome::Told(messages) => {
            // A blob that is named by a flipped byte of the root is not found: then that name is told.
            let root = name.starts_with("index");
            let (dir, file) = name.rsplit_once('/').unwrap_or(("", name));
            let named = |m: &String| root || m.contains(file) || (!dir.is_empty() && m.contains(dir));
            assert!(messages.iter().any(named), "byte {at} of {name}: {messages:?}");
            false
        }
    }
}

#[test]
fn every_flipped_byte_is_harmless_or_told_with_the_files_name() {
    let whole = Arc::new(Memory::load(&fixture("tiny").repo));
    let Outcome::Same(documents) = attempt(&whole) else { panic!("the fixture itself is damaged") };
    assert_eq!(documents.lines().count(), fixture("tiny").expected.len());
    // Bytes that are not read cannot matter.
    let read: Vec<(String, u64)> = whole.read.lock().unwrap().iter().cloned().collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = &|part: &[(String, u64)]| part.iter().filter(|at| flip(&whole.files, &documents, at)).count();
    let harmless: usize = std::thread::scope(|scope| {
        let parts = read.chunks(read.len().div_ceil(threads));
        let running: Vec<_> = parts.map(|part| scope.spawn(move || count(part))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{} bytes flipped, {harmless} of them harmless", read.len());
}

#[test]
fn a_codec_that_is_not_known_is_named_and_other_indices_go_on() {
    let (desk, fixture) = (Desk::new(), fixture("os-2.19.5"));
    // Only `compressed` has this one, in files of its own.
    let (known, unknown) = (b"Lucene90StoredFieldsHighData", b"Lucene99StoredFieldsTallData");
    let mut changed = 0;
    for file in crate::support::files_below(&copy_of(&desk, &fixture)) {
        let mut bytes = std::fs::read(&file).unwrap();
        // After the magic number and the length of the name.
        if bytes.get(5..5 + known.len()) == Some(known) {
            bytes[5..5 + unknown.len()].copy_from_slice(unknown);
            std::fs::write(&file, bytes).unwrap();
            changed += 1;
        }
    }
    assert!(changed > 0);
    let start = ["start", "--local", "--repo", "repo", "--target", "ndjson:out"];
    let ended = desk.backfill(&start).expect(5);
    let told = ended.stderr.lines().find(|line| line.contains("Lucene99StoredFieldsTallData"));
    let told = told.unwrap_or_else(|| panic!("{}", ended.stderr));
    assert!(told.contains("compressed") && told.contains(".fdt"), "{told}");
    // Nothing proves damage, so nothing is called damaged.
    assert!(told.starts_with("cannot be read by this version of backfill: "), "{told}");
    let again = "it is in 1 index. A version that can read it migrates these indices again with `backfill start --new \
                 --index 'compressed'`.";
    assert!(ended.stderr.contains("part of the snapshot cannot be read by this version"), "{}", ended.stderr);
    assert!(ended.stderr.contains(again), "{}", ended.stderr);
    for shown in [&ended.stdout, &ended.stderr] {
        assert!(!shown.contains("damaged"), "{shown}");
    }
    let second = desk.backfill(&start).expect(5).stderr;
    assert!(second.contains("has ended already") && second.contains(again), "{second}");
    let mut expected = Documents::expected(&fixture);
    // What cannot be read is counted wherever documents are, and nothing is shown as complete.
    let lost = expected.0.keys().filter(|key| key.index == "compressed").count();
    let status = desk.backfill(&["status", "--json"]).expect(0).json();
    assert_eq!(status["documents_damaged"], lost, "{status}");
    let (done, total) =
        (status["documents_done"].as_u64().unwrap(), status["documents_total"].as_u64().unwrap());
    assert_eq!(total - done, lost as u64);
    let status = desk.backfill(&["status", "--deep-check"]).expect(0).stdout;
    assert!(
        status.contains(&format!("Unreadable documents: {lost}\n")) && !status.contains("100.0%"),
        "{status}"
    );
    assert!(ended.stdout.contains(" unreadable "), "{}", ended.stdout);
    let plan = desk.backfill(&["plan", "--repo", "repo"]).expect(5);
    assert!(plan.stderr.contains(&format!("{lost} live documents cannot be read")), "{}", plan.stderr);
    expected.0.retain(|key, _| key.index != "compressed");
    let mut found = desk.exported("out");
    // Of these the server kept whole sources for a while: another test's matter.
    found.0.retain(|key, _| !["filtered", "no_source"].contains(&key.index.as_str()));
    found.assert_same(&expected);
}

#[test]
fn a_damaged_run_ends_as_damaged_and_never_as_done() {
    let (desk, fixture) = (Desk::new(), fixture("os-2.19.5"));
    let copy = copy_of(&desk, &fixture);
    // The largest blob of an index is mostly stored fields.
    let expected = Documents::expected(&fixture);
    let plan = desk.backfill(&["plan", "--repo", &repo(&fixture)]).expect(0);
    assert!(plan.stdout.contains("large"));
    let largest =
        crate::support::files_below(&copy).into_iter().max_by_key(|f| f.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&largest, bytes).unwrap();
    let args = ["start", "--local", "--repo", "repo", "--target", "ndjson:out"];
    let ended = desk.backfill(&args).expect(5);
    assert!(ended.stderr.contains("damaged: ") && ended.stderr.contains(".fdt"), "{}", ended.stderr);
    let plain = desk.backfill(&["status"]).expect(0).stdout;
    assert!(plain.contains("the snapshot is damaged"), "{plain}");
    let status = desk.backfill(&["status", "--deep-check"]).expect(0).stdout;
    assert!(status.contains("Damaged: ") && !status.contains("Everything"), "{status}");
    // The others are there all the same.
    let found = desk.exported("out");
    let lost = expected.0.keys().filter(|k| !found.0.contains_key(*k)).count();
    assert!(lost <= 10, "{lost} of {} documents are lost by one flipped byte", expected.0.len());
}

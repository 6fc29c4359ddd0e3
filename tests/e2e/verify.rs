//! Verification of a snapshot parts of which are missing or damaged, against a target that has all of its documents.

use crate::support::{fixture, visible};
use async_trait::async_trait;
use backfill::encode::Encoding;
use backfill::indices::Handling;
use backfill::model::Selection;
use backfill::ports::TargetError;
use backfill::source::Repository;
use backfill::verify::{
    Depth, IndexVerification, ProblemKind, TargetDocument, VerifiableTarget, VerifyError, verify,
};
use local::FsBlobs;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Key = (String, Option<String>);

/// A target that has what it is given, and shows all indices but one.
#[derive(Default)]
struct Filled {
    indices: HashMap<String, HashMap<Key, Vec<u8>>>,
    hidden: Option<&'static str>,
    gone: bool,
}

impl Filled {
    fn error(&self) -> TargetError {
        TargetError::Unreachable { target: "test".to_owned(), reason: "no shard answers".to_owned() }
    }

    fn index(&self, index: &str) -> Result<Option<&HashMap<Key, Vec<u8>>>, TargetError> {
        if self.gone || self.hidden == Some(index) {
            return Err(self.error());
        }
        Ok(self.indices.get(index))
    }
}

#[async_trait]
impl VerifiableTarget for Filled {
    async fn check(&self) -> Result<(), TargetError> {
        if self.gone { Err(self.error()) } else { Ok(()) }
    }

    async fn count(&self, index: &str) -> Result<Option<u64>, TargetError> {
        Ok(self.index(index)?.map(|documents| documents.len() as u64))
    }

    async fn fetch(&self, index: &str, keys: &[Key]) -> Result<Vec<Option<TargetDocument>>, TargetError> {
        let documents = self.index(index)?;
        let found = |key: &Key| {
            let source = documents?.get(key)?.clone();
            Some(TargetDocument { routing: key.1.clone(), source: Some(source) })
        };
        Ok(keys.iter().map(found).collect())
    }
}

async fn verified(repo: &Path, target: &Filled) -> Result<Vec<IndexVerification>, VerifyError> {
    let repository =
        Repository::open(Arc::new(FsBlobs::new(repo)) as Arc<dyn backfill::ports::Blobs>).await?;
    let opened = repository.snapshot("latest", false).await?;
    let selection = Selection { patterns: "*".to_owned(), include_hidden: false };
    let handling = Handling { encoding: Some(Encoding::Bulk), ..Handling::default() };
    verify(&repository, &opened, &selection, &handling, target, Depth::Full).await
}

/// Everything below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[tokio::test]
async fn what_cannot_be_compared_keeps_nothing_else_from_it() {
    let fixture = fixture("os-1.3.20");
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path();
    for file in files(&fixture.repo) {
        let copy = repo.join(file.strip_prefix(&fixture.repo).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(file, copy).unwrap();
    }
    let mut target = Filled::default();
    for document in visible(&fixture) {
        let source = document.sent.as_ref().or(document.source.as_ref()).map(|s| s.get().as_bytes().to_vec());
        let key = (document.id.clone(), document.routing.clone());
        target.indices.entry(document.index.clone()).or_default().insert(key, source.unwrap_or_default());
    }
    let whole = verified(repo, &target).await.unwrap();
    assert!(whole.len() > 5 && whole.iter().all(|r| r.problems.is_empty() && r.missing == 0), "{whole:#?}");
    assert!(whole.iter().filter(|r| r.is_equal()).count() > 3, "{whole:#?}");

    // Of the files of the indices, some are missing, and some have a byte changed.
    let mut affected = 0;
    for (number, file) in files(&repo.join("indices")).into_iter().step_by(3).enumerate() {
        let bytes = std::fs::read(&file).unwrap();
        if number % 2 == 0 {
            std::fs::remove_file(&file).unwrap();
        } else {
            let mut changed = bytes.clone();
            let middle = changed.len() / 2;
            changed[middle] ^= 0x40;
            std::fs::write(&file, changed).unwrap();
        }
        let results = verified(repo, &target).await.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        std::fs::write(&file, bytes).unwrap();
        let before = |now: &IndexVerification| whole.iter().find(|before| before.index == now.index);
        // One whose metadata is damaged is shown even if it is hidden.
        let changed: Vec<_> = results.iter().filter(|now| before(now) != Some(now)).collect();
        assert!(results.len() >= whole.len());
        // A data stream is counted once for all of its indices.
        let mut destinations: Vec<_> =
            changed.iter().filter_map(|now| Some(&before(now)?.destination)).collect();
        destinations.dedup();
        assert!(destinations.len() <= 1, "{changed:?}");
        affected += usize::from(
            changed
                .iter()
                .any(|now| !now.is_equal() && now.problems.iter().any(|p| p.kind == ProblemKind::Snapshot)),
        );
    }
    assert!(affected > 10, "{affected}");

    target.hidden = Some("basic");
    let results = verified(repo, &target).await.unwrap();
    for (now, before) in results.iter().zip(&whole) {
        if now.index == "basic" {
            assert!(!now.is_equal() && now.problems.iter().all(|p| p.kind == ProblemKind::Target), "{now:?}");
        } else {
            assert_eq!(now, before);
        }
    }
    target.gone = true;
    assert!(matches!(verified(repo, &target).await, Err(VerifyError::Target(_))));
}

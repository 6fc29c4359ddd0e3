//! The failed-document stream in a directory beside the state file.
//!
//! ```text
//! <state stem>.failed/<run>/<index>/<shard>-<chunk>/<from>-e<epoch>.ndjson.gz
//! ```
//! Each file holds the records of one part as compressed NDJSON; it is complete or not there at all.

use crate::durable;
use crate::paths::encode_part;
use async_trait::async_trait;
use backfill::model::{Position, RunId};
use backfill::ports::{FailedDocument, FailedDocuments, FailedPart, StoreError};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".ndjson.gz";

/// Keeps failed documents in files, and reads them again.
#[derive(Clone, Debug)]
pub struct FsFailedDocuments {
    root: PathBuf,
}

impl FsFailedDocuments {
    /// The stream in this directory, which is made when there is something to keep.
    pub fn new(root: impl Into<PathBuf>) -> FsFailedDocuments {
        FsFailedDocuments { root: root.into() }
    }

    /// The stream beside a state file: `x.failed` for `x.db`.
    pub fn beside(state: &Path) -> FsFailedDocuments {
        FsFailedDocuments::new(state.with_extension("failed"))
    }

    /// The records of a run, each document once: what a crashed or outrun worker had recorded of the documents
    /// that a later claim went through again is left out. Reads one file at a time.
    ///
    /// # Errors
    /// When the directory cannot be listed; each item when its file cannot be read.
    pub fn read(
        &self,
        run: &RunId,
    ) -> Result<impl Iterator<Item = Result<FailedDocument, StoreError>> + use<>, StoreError> {
        let mut chunks = Vec::new();
        for index in entries(&self.run_dir(run))? {
            if index.is_dir() {
                chunks.extend(entries(&index)?.into_iter().filter(|path| path.is_dir()));
            }
        }
        Ok(chunks.into_iter().flat_map(|chunk| {
            let (reader, error) = match ChunkReader::open(&chunk) {
                Ok(reader) => (Some(reader), None),
                Err(error) => (None, Some(Err(error))),
            };
            error.into_iter().chain(reader.into_iter().flatten())
        }))
    }

    /// How many documents [`FsFailedDocuments::read`] gives.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn count(&self, run: &RunId) -> Result<u64, StoreError> {
        self.read(run)?.try_fold(0, |count, record| record.map(|_| count + 1))
    }

    fn run_dir(&self, run: &RunId) -> PathBuf {
        self.root.join(encode_part(&run.0))
    }

    fn chunk_dir(&self, part: &FailedPart) -> PathBuf {
        let chunk = &part.chunk;
        self.run_dir(&part.run)
            .join(encode_part(&chunk.shard.index))
            .join(format!("{}-{}", chunk.shard.shard, chunk.number))
    }
}

#[async_trait]
impl FailedDocuments for FsFailedDocuments {
    async fn write(&self, part: &FailedPart, records: &[FailedDocument]) -> Result<(), StoreError> {
        let dir = self.chunk_dir(part);
        let path = dir.join(format!("{}-e{}{SUFFIX}", part.from, part.epoch));
        let shown = path.display().to_string();
        let unavailable = |reason: String| StoreError::Unavailable {
            what: format!("cannot keep the failed documents in {shown}"),
            reason,
        };
        let content = encode(records).map_err(|e| unavailable(e.to_string()))?;
        let empty = records.is_empty();
        tokio::task::spawn_blocking(move || if empty { remove(&path) } else { write(&dir, &path, &content) })
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(|e| unavailable(format!("{e}; free space or make it writable, then start again")))
    }

    fn location(&self, run: &RunId) -> String {
        self.run_dir(run).display().to_string()
    }
}

fn encode(records: &[FailedDocument]) -> io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    let mut line = Vec::new();
    for record in records {
        line.clear();
        serde_json::to_writer(&mut line, record)?;
        // A source is kept as it was; raw line breaks can only be white space between its tokens.
        line.iter_mut().filter(|b| matches!(b, b'\n' | b'\r')).for_each(|b| *b = b' ');
        line.push(b'\n');
        out.write_all(&line)?;
    }
    out.finish()
}

fn write(dir: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    durable::create_dirs(dir)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temp = dir.join(format!(".{name}.tmp"));
    let mut file = File::create(&temp)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temp, path)?;
    durable::sync_dir(dir)
}

/// A part that turned out to have no records replaces what was there.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// One file of a chunk.
struct Part {
    path: PathBuf,
    from: Position,
    epoch: u64,
    /// Documents from here on were gone through again under a later claim.
    end: Option<Position>,
}

/// The records of one chunk.
struct ChunkReader {
    parts: std::vec::IntoIter<Part>,
    lines: Option<(Part, io::Lines<BufReader<MultiGzDecoder<File>>>)>,
    seen: HashSet<Position>,
}

impl ChunkReader {
    fn open(dir: &Path) -> Result<ChunkReader, StoreError> {
        // Anything else is not ours, or was left unfinished by a crash.
        let mut parts: Vec<Part> = entries(dir)?.into_iter().filter_map(parse).collect();
        // The highest epoch first: each claim begins where the checkpoint was, so whatever earlier ones recorded
        // from there on is void.
        parts.sort_unstable_by_key(|part| (std::cmp::Reverse(part.epoch), part.from));
        let (mut redone, mut lowest): (Option<Position>, Option<Position>) = (None, None);
        let mut epoch = None;
        for part in &mut parts {
            if epoch.replace(part.epoch) != Some(part.epoch) {
                redone = lowest;
            }
            part.end = redone;
            lowest = Some(lowest.map_or(part.from, |lowest| lowest.min(part.from)));
        }
        parts.sort_unstable_by_key(|part| (part.epoch, part.from));
        Ok(ChunkReader { parts: parts.into_iter(), lines: None, seen: HashSet::new() })
    }

    fn next_record(&mut self) -> Result<Option<FailedDocument>, StoreError> {
        loop {
            let Some((part, lines)) = &mut self.lines else {
                let Some(part) = self.parts.next() else { return Ok(None) };
                let file = File::open(&part.path).map_err(|e| unreadable(&part.path, &e))?;
                let lines = BufReader::new(MultiGzDecoder::new(file)).lines();
                self.lines = Some((part, lines));
                continue;
            };
            let Some(line) = lines.next() else {
                self.lines = None;
                continue;
            };
            let line = line.map_err(|e| unreadable(&part.path, &e))?;
            let record: FailedDocument = serde_json::from_str(&line).map_err(|e| StoreError::Invalid {
                what: part.path.display().to_string(),
                reason: format!("a line is no record of a failed document: {e}"),
            })?;
            let redone = part.end.is_some_and(|end| record.position >= end);
            if !redone && self.seen.insert(record.position) {
                return Ok(Some(record));
            }
        }
    }
}

impl Iterator for ChunkReader {
    type Item = Result<FailedDocument, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.next_record();
        if result.is_err() {
            // The rest of a damaged file means nothing; the next one may be fine.
            self.lines = None;
        }
        result.transpose()
    }
}

/// The paths in a directory, in order; none if it is missing.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed = std::fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>());
    match listed {
        Ok(mut paths) => {
            paths.sort_unstable();
            Ok(paths)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(unreadable(dir, &e)),
    }
}

/// `<range>.<doc>-e<epoch>.ndjson.gz`
fn parse(path: PathBuf) -> Option<Part> {
    let (from, epoch) = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.split_once("-e")?;
    let (range, doc) = from.split_once('.')?;
    let from = Position { range: range.parse().ok()?, doc: doc.parse().ok()? };
    Some(Part { from, epoch: epoch.parse().ok()?, end: None, path })
}

fn unreadable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable {
        what: format!("cannot read the failed documents in {}", path.display()),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backfill::model::{ChunkId, ShardId};
    use serde_json::value::RawValue;

    fn part(epoch: u64, from: (u32, u32)) -> FailedPart {
        let shard = ShardId { index: ".a/b".to_owned(), shard: 2 };
        FailedPart {
            run: RunId("run".to_owned()),
            chunk: ChunkId { shard, number: 7 },
            epoch,
            from: Position { range: from.0, doc: from.1 },
        }
    }

    fn document(doc: u32, reason: &str) -> FailedDocument {
        FailedDocument {
            index: ".a/b".to_owned(),
            id: Some(doc.to_string()),
            routing: None,
            reason: reason.to_owned(),
            error_type: "mapper_parsing_exception".to_owned(),
            origin: String::new(),
            position: Position { range: 0, doc },
            source: Some(RawValue::from_string("{\"n\":\n1.10}".to_owned()).unwrap()),
            source_base64: None,
        }
    }

    fn reasons(stream: &FsFailedDocuments) -> Vec<(u32, String)> {
        let records = stream.read(&part(0, (0, 0)).run).unwrap();
        let mut all: Vec<_> = records.map(|r| r.unwrap()).map(|r| (r.position.doc, r.reason)).collect();
        all.sort();
        all
    }

    #[tokio::test]
    async fn records_are_kept_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let stream = FsFailedDocuments::beside(&dir.path().join("state.db"));
        let run = part(0, (0, 0)).run;
        assert_eq!(stream.count(&run).unwrap(), 0);
        stream.write(&part(1, (0, 0)), &[document(1, "a\nb")]).await.unwrap();
        let path = dir.path().join("state.failed/run/%2Ea%2Fb/2-7/0.0-e1.ndjson.gz");
        assert!(path.exists());
        let records: Vec<_> = stream.read(&run).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(records[0].reason, "a\nb");
        assert_eq!(records[0].source.as_ref().unwrap().get(), "{\"n\": 1.10}");
        // The same part again replaces it, with nothing too.
        stream.write(&part(1, (0, 0)), &[document(1, "c"), document(2, "d")]).await.unwrap();
        assert_eq!(stream.count(&run).unwrap(), 2);
        stream.write(&part(1, (0, 0)), &[]).await.unwrap();
        assert_eq!(stream.count(&run).unwrap(), 0);
    }

    #[tokio::test]
    async fn what_was_gone_through_again_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let stream = FsFailedDocuments::new(dir.path());
        // The first claim was recorded up to 30, but its checkpoint only up to 20.
        stream.write(&part(1, (0, 0)), &[document(5, "one"), document(12, "one")]).await.unwrap();
        stream.write(&part(1, (0, 20)), &[document(25, "one"), document(26, "one")]).await.unwrap();
        stream.write(&part(2, (0, 20)), &[document(25, "two")]).await.unwrap();
        stream.write(&part(3, (0, 40)), &[document(41, "three")]).await.unwrap();
        let expected = [(5, "one"), (12, "one"), (25, "two"), (41, "three")];
        assert_eq!(reasons(&stream), expected.map(|(doc, reason)| (doc, reason.to_owned())));
    }

    #[tokio::test]
    async fn a_crash_while_writing_leaves_nothing_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        let stream = FsFailedDocuments::new(dir.path());
        let chunk = stream.chunk_dir(&part(1, (0, 0)));
        std::fs::create_dir_all(&chunk).unwrap();
        std::fs::write(chunk.join(".0.0-e1.ndjson.gz.tmp"), b"half of a rec").unwrap();
        assert!(reasons(&stream).is_empty());
        stream.write(&part(1, (0, 0)), &[document(3, "again")]).await.unwrap();
        assert_eq!(reasons(&stream), [(3, "again".to_owned())]);
        assert_eq!(std::fs::read_dir(&chunk).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_damaged_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let stream = FsFailedDocuments::new(dir.path());
        stream.write(&part(1, (0, 0)), &[document(3, "fine")]).await.unwrap();
        stream.write(&part(1, (0, 9)), &[document(9, "cut")]).await.unwrap();
        let path = stream.chunk_dir(&part(1, (0, 0))).join("0.9-e1.ndjson.gz");
        let content = std::fs::read(&path).unwrap();
        std::fs::write(&path, &content[..content.len() / 2]).unwrap();
        let error = stream.count(&part(1, (0, 0)).run).unwrap_err();
        assert!(error.to_string().contains("0.9-e1.ndjson.gz"), "{error}");
    }
}

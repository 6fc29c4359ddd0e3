use super::*;
use backfill::encode::{Document, Encoder};
use backfill::model::{Position, ShardId};
use std::io::Read;

fn chunk(index: &str, number: u32) -> ChunkId {
    ChunkId { shard: ShardId { index: index.to_owned(), shard: 3 }, number }
}

fn batch(ids: std::ops::Range<u32>) -> Batch {
    let mut encoder = Encoder::new(Encoding::Export, WriteMode::Index, "logs");
    for doc in ids {
        let id = doc.to_string();
        let document = Document {
            index: None,
            id: &id,
            routing: None,
            doc_type: None,
            parent: None,
            timestamp: None,
            expires: None,
            source: b"{\"a\":1}",
        };
        encoder.push(Position { range: 0, doc }, &document);
    }
    encoder.take()
}

async fn begin(target: &ExportTarget, index: &str) -> Box<dyn ChunkWriter> {
    let run = RunId("run".to_owned());
    target.begin(&run, &chunk(index, 7), "logs", WriteMode::Index).await.unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn content(path: &Path) -> Vec<u8> {
    let file = std::fs::File::open(path).unwrap();
    let mut bytes = Vec::new();
    match path.extension().unwrap().to_str().unwrap() {
        "gz" => flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap(),
        "zst" => zstd::stream::read::Decoder::new(file).unwrap().read_to_end(&mut bytes).unwrap(),
        _ => { file }.read_to_end(&mut bytes).unwrap(),
    };
    bytes
}

#[tokio::test]
async fn a_chunk_becomes_a_complete_file_or_none() {
    let cases = [(Compression::None, ""), (Compression::Gzip, ".gz"), (Compression::Zstd, ".zst")];
    for (compression, suffix) in cases {
        let dir = tempfile::tempdir().unwrap();
        let target = ExportTarget::new(dir.path().join("new/export"), compression);
        target.check().await.unwrap();
        let files = dir.path().join("new/export/logs");
        let writer = begin(&target, ".ds-logs-000001").await;
        // More than the buffer holds.
        let batches = [batch(0..20_000), batch(20_000..60_000), batch(60_000..60_001)];
        for batch in &batches {
            let reply = writer.send(batch).await.unwrap();
            assert_eq!(reply.items, vec![ItemOutcome::Indexed; batch.entries.len()]);
            assert_eq!(names(&files), [format!(".ds-logs-000001-3-00007.ndjson{suffix}.tmp")]);
        }
        writer.finish().await.unwrap();
        writer.finish().await.unwrap();
        let name = format!("ds-logs-000001-3-00007.ndjson{suffix}");
        assert_eq!(names(&files), std::slice::from_ref(&name));
        let expected: Vec<u8> = batches.iter().flat_map(|batch| batch.body.to_vec()).collect();
        assert!(content(&files.join(name)) == expected);
        assert!(writer.send(&batches[0]).await.is_err());
    }
}

#[tokio::test]
async fn a_chunk_has_one_file_whatever_it_was_compressed_with_before() {
    let dir = tempfile::tempdir().unwrap();
    for compression in [Compression::Zstd, Compression::None, Compression::Gzip, Compression::Zstd] {
        let writer = begin(&ExportTarget::new(dir.path(), compression), "logs").await;
        writer.send(&batch(0..3)).await.unwrap();
        writer.finish().await.unwrap();
        assert_eq!(names(&dir.path().join("logs")), [format!("logs-3-00007.ndjson{}", compression.suffix())]);
    }
}

#[tokio::test]
async fn what_a_crash_left_behind_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let target = ExportTarget::new(dir.path(), Compression::None);
    let files = dir.path().join("logs");
    // Cut off in the middle: the process was killed, and its files stayed.
    std::fs::create_dir(&files).unwrap();
    for left in [".logs-3-00007.ndjson.tmp", ".logs-3-00007.ndjson.zst.tmp"] {
        std::fs::write(files.join(left), vec![b'x'; 5000]).unwrap();
    }

    let writer = begin(&target, "logs").await;
    writer.send(&batch(0..2)).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(names(&files), ["logs-3-00007.ndjson"]);
    assert_eq!(content(&files.join("logs-3-00007.ndjson")), batch(0..2).body);
}

#[tokio::test]
async fn a_worker_that_was_thought_dead_does_not_spoil_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let target = ExportTarget::new(dir.path(), Compression::Gzip);
    let zombie = begin(&target, "logs").await;
    zombie.send(&batch(0..10)).await.unwrap();
    let successor = begin(&target, "logs").await;
    let blocked = successor.send(&batch(0..20)).await;
    assert!(matches!(blocked, Err(TargetError::Blocked { .. })), "{blocked:?}");
    zombie.send(&batch(10..20)).await.unwrap();
    zombie.finish().await.unwrap();
    drop(zombie);
    // Sent again once the other has ended, as after any error that may pass.
    successor.send(&batch(0..20)).await.unwrap();
    successor.finish().await.unwrap();
    assert_eq!(content(&dir.path().join("logs/logs-3-00007.ndjson.gz")), batch(0..20).body);
    assert_eq!(names(&dir.path().join("logs")), ["logs-3-00007.ndjson.gz"]);
}

#[tokio::test]
async fn no_document_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let target = ExportTarget::new(dir.path(), Compression::Gzip);
    let writer = begin(&target, "logs").await;
    writer.finish().await.unwrap();
    assert!(names(dir.path()).is_empty());
    // Nor one of an earlier run.
    for documents in [0..3, 0..0] {
        let writer = begin(&target, "logs").await;
        writer.send(&batch(documents.clone())).await.unwrap();
        writer.finish().await.unwrap();
        assert_eq!(names(&dir.path().join("logs")).len(), usize::from(!documents.is_empty()));
    }
    assert_eq!(
        target.identity("logs").await.unwrap(),
        Some(Identity::none()),
        "files are made when they are written"
    );
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = ExportTarget::new(&path, Compression::None).check().await.unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }
    let full =
        OutputError::io(&file, std::io::ErrorKind::StorageFull.into()).into_target_error("t".to_owned());
    assert!(matches!(full, TargetError::Unwritable { ref reason, .. } if reason.contains("file")));
}

#[tokio::test]
async fn after_a_full_disk_the_same_batch_goes_on() {
    // A device that is always full; writing to it fails as on a full disk.
    if !Path::new("/dev/full").exists() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("logs");
    std::fs::create_dir(&files).unwrap();
    let temp = files.join(".logs-3-00007.ndjson.tmp");
    let target = ExportTarget::new(dir.path(), Compression::None);
    let mut output = Output::new(target.path(&chunk("logs", 7), "logs"), Compression::None);
    let large = batch(0..60_000);
    output.write(&large.body).unwrap();
    let real = output.replace_file(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let next = batch(60_000..60_001);
    assert!(matches!(output.write(&next.body), Err(OutputError::Unwritable(_))));
    assert!(matches!(output.write(&next.body), Err(OutputError::Unwritable(_))));
    drop(output.replace_file(real));
    output.write(&next.body).unwrap();
    output.finish().unwrap();
    assert!(!temp.exists());
    let expected = [&large.body[..], &next.body[..]].concat();
    assert!(content(&files.join("logs-3-00007.ndjson")) == expected);
}

#[tokio::test]
async fn a_file_that_is_not_finished_goes_and_one_that_is_belongs_to_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let target = ExportTarget::new(dir.path(), Compression::None);
    let files = dir.path().join("logs");
    let writer = begin(&target, "logs").await;
    writer.send(&batch(0..3)).await.unwrap();
    assert_eq!(names(&files), [".logs-3-00007.ndjson.tmp"]);
    drop(writer);
    assert_eq!(names(&files), [""; 0]);
    let writer = begin(&target, "logs").await;
    writer.send(&batch(0..3)).await.unwrap();
    writer.finish().await.unwrap();
    drop(writer);
    let mode = std::fs::metadata(files.join("logs-3-00007.ndjson")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_check_leaves_nothing_behind_and_tidies_up_after_earlier_versions() {
    let dir = tempfile::tempdir().unwrap();
    for name in [".writable-4711.tmp", ".writable-x.tmp", ".writable-.tmp", "writable-1.tmp"] {
        std::fs::write(dir.path().join(name), "x").unwrap();
    }
    ExportTarget::new(dir.path(), Compression::None).check().await.unwrap();
    assert_eq!(names(dir.path()), [".writable-.tmp", ".writable-x.tmp", "writable-1.tmp"]);
}

#[tokio::test]
async fn files_of_an_earlier_run_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let target = ExportTarget::new(dir.path(), Compression::None);
    let destinations = ["other".to_owned(), "logs".to_owned()];
    assert_eq!(target.earlier_file(&destinations).await.unwrap(), None);
    let files = dir.path().join("logs");
    std::fs::create_dir(&files).unwrap();
    for name in [".logs-3-00007.ndjson.tmp", "notes.txt"] {
        std::fs::write(files.join(name), "x").unwrap();
    }
    assert_eq!(target.earlier_file(&destinations).await.unwrap(), None);
    for name in ["logs-3-00001.ndjson.zst", "logs-3-00002.ndjson"] {
        std::fs::write(files.join(name), "x").unwrap();
    }
    let found = target.earlier_file(&destinations).await.unwrap();
    assert_eq!(found, Some(files.join("logs-3-00001.ndjson.zst")));
    assert_eq!(target.earlier_file(&destinations[..1]).await.unwrap(), None);
}

#[test]
fn different_indices_have_different_files() {
    let target = ExportTarget::new("out", Compression::None);
    let file =
        |index| target.path(&chunk(index, 7), "logs").file_name().unwrap().to_str().unwrap().to_owned();
    let cases = [
        ("logs", "logs"),
        (".ds-logs-000001", "ds-logs-000001"),
        ("ds-logs-000001", "%64s-logs-000001"),
        (".kibana", "%2Ekibana"),
        ("kibana", "kibana"),
    ];
    for (index, part) in cases {
        assert_eq!(file(index), format!("{part}-3-00007.ndjson"), "{index}");
    }
}

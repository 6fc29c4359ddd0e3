//! The failed-document stream.

use backfill::model::{ChunkId, Position, RunId, Settled, ShardId};
use backfill::ports::{FailedDocument, FailedDocuments, FailedPart};
use serde_json::value::RawValue;

/// All that a failed-document stream must do.
pub async fn failed_documents(stream: &dyn FailedDocuments) {
    records_are_kept_as_they_are(stream).await;
    the_same_part_again_replaces_it(stream).await;
    what_was_gone_through_again_counts_once(stream).await;
    what_a_retry_leaves_replaces_a_part(stream).await;
    chunks_and_runs_are_kept_apart(stream).await;
    a_deleted_stream_is_gone(stream).await;
}

/// A part of chunk 7 of shard 2 of this index.
pub fn failed_part(run: &str, index: &str, epoch: u64, doc: u32) -> FailedPart {
    let shard = ShardId { index: index.to_owned(), shard: 2 };
    FailedPart {
        run: RunId(run.to_owned()),
        chunk: ChunkId { shard, number: 7 },
        epoch,
        from: Position { range: 0, doc },
        settled: None,
    }
}

/// A failed document at this position, with a source whose number no float would keep.
pub fn failed_document(doc: u32, reason: &str) -> FailedDocument {
    FailedDocument {
        index: "i".to_owned(),
        id: Some(doc.to_string()),
        routing: Some("r\u{e9}".to_owned()),
        reason: reason.to_owned(),
        error_type: "mapper_parsing_exception".to_owned(),
        origin: format!("[i][2] segment _0 document {doc}"),
        position: Position { range: 0, doc },
        source: Some(RawValue::from_string("{\"n\":1.10,\"u\":\"\u{754c}\\n\"}".to_owned()).unwrap()),
        source_base64: None,
    }
}

async fn write(stream: &dyn FailedDocuments, part: &FailedPart, records: &[(u32, &str)]) {
    let records: Vec<FailedDocument> =
        records.iter().map(|(doc, reason)| failed_document(*doc, reason)).collect();
    stream.write(part, &records).await.unwrap();
}

async fn kept(stream: &dyn FailedDocuments, of: &FailedPart) -> Vec<(u32, String)> {
    let mut kept = Vec::new();
    for part in stream.parts(&of.run, &of.chunk).await.unwrap() {
        let records = stream.read(&part).await.unwrap();
        kept.extend(records.into_iter().map(|record| (record.position.doc, record.reason)));
    }
    kept
}

fn expected(records: &[(u32, &str)]) -> Vec<(u32, String)> {
    records.iter().map(|(doc, reason)| (*doc, (*reason).to_owned())).collect()
}

async fn records_are_kept_as_they_are(stream: &dyn FailedDocuments) {
    let part = failed_part("failed-as-they-are", ".a/b \u{fc}%", 1, 0);
    assert!(stream.parts(&part.run, &part.chunk).await.unwrap().is_empty());
    let broken = RawValue::from_string("{\"n\":\n1.10}".to_owned()).unwrap();
    let records = [
        failed_document(1, "a\nb"),
        FailedDocument { source: Some(broken), ..failed_document(2, "line breaks between tokens") },
        FailedDocument {
            id: None,
            routing: None,
            source: None,
            source_base64: Some("AAEC".to_owned()),
            ..failed_document(3, "")
        },
    ];
    stream.write(&part, &records).await.unwrap();
    let parts = stream.parts(&part.run, &part.chunk).await.unwrap();
    assert_eq!((parts.len(), &parts[0].part, parts[0].end), (1, &part, None));
    let read = stream.read(&parts[0]).await.unwrap();
    let mut texts: Vec<String> = records.iter().map(|r| serde_json::to_string(r).unwrap()).collect();
    texts[1] = texts[1].replace('\n', " ");
    let found: Vec<String> = read.iter().map(|r| serde_json::to_string(r).unwrap()).collect();
    assert_eq!(found, texts);
    assert!(!stream.location(&part.run).is_empty());
}

async fn the_same_part_again_replaces_it(stream: &dyn FailedDocuments) {
    let part = failed_part("failed-again", "i", 1, 0);
    write(stream, &part, &[(1, "a")]).await;
    write(stream, &part, &[(1, "b"), (2, "c")]).await;
    assert_eq!(kept(stream, &part).await, expected(&[(1, "b"), (2, "c")]));
    write(stream, &part, &[]).await;
    assert_eq!(kept(stream, &part).await, []);
    assert_eq!(stream.parts(&part.run, &part.chunk).await.unwrap().len(), 1);
}

async fn what_was_gone_through_again_counts_once(stream: &dyn FailedDocuments) {
    let part = |epoch, doc| failed_part("failed-epochs", "i", epoch, doc);
    // The first claim was recorded up to 30, but its checkpoint only up to 20.
    write(stream, &part(1, 0), &[(5, "one"), (12, "one")]).await;
    write(stream, &part(1, 20), &[(25, "one"), (26, "one")]).await;
    write(stream, &part(2, 20), &[(25, "two")]).await;
    write(stream, &part(3, 40), &[(41, "three"), (42, "three")]).await;
    let all = [(5, "one"), (12, "one"), (25, "two"), (41, "three"), (42, "three")];
    assert_eq!(kept(stream, &part(0, 0)).await, expected(&all));
    // Gone through once more, and nothing failed; and someone late still writes.
    write(stream, &part(4, 42), &[]).await;
    write(stream, &part(3, 43), &[(44, "late")]).await;
    assert_eq!(kept(stream, &part(0, 0)).await, expected(&all[..4]));
}

async fn what_a_retry_leaves_replaces_a_part(stream: &dyn FailedDocuments) {
    let part = failed_part("failed-retry", "i", 2, 0);
    let other = failed_part("failed-retry", "i", 2, 20);
    write(stream, &part, &[(1, "a"), (2, "b"), (3, "c")]).await;
    write(stream, &other, &[(21, "d")]).await;
    let first = Settled { seen: 4, indexed: 1, already_there: 0 };
    stream.replace(&part, &first, &[failed_document(1, "again"), failed_document(3, "c")]).await.unwrap();
    // Again, as after it was killed.
    stream.replace(&part, &first, &[failed_document(1, "again"), failed_document(3, "c")]).await.unwrap();
    assert_eq!(kept(stream, &part).await, expected(&[(1, "again"), (3, "c"), (21, "d")]));
    let parts = stream.parts(&part.run, &part.chunk).await.unwrap();
    let settled: Vec<Option<Settled>> = parts.iter().map(|stored| stored.part.settled).collect();
    assert_eq!(settled, [Some(first), None]);
    let second = Settled { seen: 3, indexed: 1, already_there: 1 };
    stream.replace(&parts[0].part, &second, &[]).await.unwrap();
    assert_eq!(kept(stream, &part).await, expected(&[(21, "d")]));
    let parts = stream.parts(&part.run, &part.chunk).await.unwrap();
    assert_eq!(parts[0].part, FailedPart { settled: Some(second), ..part.clone() });
    assert_eq!(parts[0].end, Some(other.from));
}

async fn chunks_and_runs_are_kept_apart(stream: &dyn FailedDocuments) {
    let part = failed_part("failed-1", "i", 1, 0);
    let mut others = vec![failed_part("failed-10", "i", 1, 0), failed_part("failed-1", "i-1", 1, 0)];
    for (shard, number) in [(2, 70), (27, 7), (7, 2)] {
        let mut other = part.clone();
        (other.chunk.shard.shard, other.chunk.number) = (shard, number);
        others.push(other);
    }
    write(stream, &part, &[(1, "mine")]).await;
    for (doc, other) in (2..).zip(&others) {
        write(stream, other, &[(doc, "theirs")]).await;
    }
    assert_eq!(kept(stream, &part).await, expected(&[(1, "mine")]));
    for (doc, other) in (2..).zip(&others) {
        assert_eq!(kept(stream, other).await, expected(&[(doc, "theirs")]));
    }
}

async fn a_deleted_stream_is_gone(stream: &dyn FailedDocuments) {
    let (gone, kept_part) =
        (failed_part("failed-gone", "i", 1, 0), failed_part("failed-gone-not", "i", 1, 0));
    stream.delete(&gone.run).await.unwrap();
    for part in [&gone, &failed_part("failed-gone", "j", 1, 0), &kept_part] {
        write(stream, part, &[(1, "a")]).await;
    }
    stream.delete(&gone.run).await.unwrap();
    stream.delete(&gone.run).await.unwrap();
    assert!(stream.parts(&gone.run, &gone.chunk).await.unwrap().is_empty());
    assert_eq!(kept(stream, &kept_part).await, expected(&[(1, "a")]));
}

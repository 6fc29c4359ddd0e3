use super::*;
use crate::encode::Encoding;
use crate::model::{ChunkId, ShardId, WriteMode};
use crate::worker::flow::FlowLimits;
use crate::worker::process::READ_AHEAD;
use futures::FutureExt;

/// The output of a chunk of which nothing has been read.
fn output(ranges: Vec<SegmentRange>) -> Output {
    let shard = ShardId { index: "index".to_owned(), shard: 0 };
    let mut out = Output {
        chunk: Arc::new(Chunk::new(ChunkId { shard, number: 0 }, ranges)),
        encoder: Encoder::new(Encoding::Bulk, WriteMode::Index, "index"),
        stretch: Stretch::default(),
        consumed: 0,
        emitted_bytes: 0,
        flow: Arc::new(Mutex::new(Flow::new(FlowLimits::default(), 0))),
        batch_bytes: 0,
        failed_bytes: 0,
        scratch: Scratch::default(),
    };
    out.ask_flow();
    out
}

fn range() -> SegmentRange {
    SegmentRange {
        segment: "_0".to_owned(),
        first_doc: 100,
        end_doc: 1000,
        start: 0,
        end: 1 << 30,
        file_len: 1 << 30,
        file_crc: 0,
    }
}

#[tokio::test]
async fn blocks_of_deleted_documents_are_passed_over_and_the_cursor_follows() {
    let range = range();
    let mut out = output(vec![range.clone()]);
    let mut at =
        RangeReader { number: 0, range: &range, next_doc: 100, crc: RangeCrc::default(), live: None };
    let (sender, mut receiver) = tokio::sync::mpsc::channel(2);
    let before = (0, RangeCrc { crc: 7, len: 10 });

    assert!(out.pass_over(&mut at, 100..200, before, &sender).await.is_ok());
    assert_eq!(at.next_doc, 200);
    assert!(receiver.try_recv().is_err(), "there is nothing to tell yet");

    out.consumed += QUIET_BYTES;
    assert!(out.pass_over(&mut at, 200..300, before, &sender).await.is_ok());
    let Work { stretch, batch } = receiver.try_recv().unwrap().unwrap();
    assert_eq!(stretch.end, Position { range: 0, doc: 300 });
    assert_eq!((stretch.crcs, stretch.stored_bytes), (vec![before], QUIET_BYTES));
    assert_eq!(stretch.counters, Default::default());
    assert!(batch.entries.is_empty() && stretch.damage.is_empty());

    // The checksum may lag behind the cursor: such a block does not take it back.
    assert!(out.pass_over(&mut at, std::ops::Range { start: 300, end: 250 }, before, &sender).await.is_ok());
    assert_eq!(at.next_doc, 300);
    assert!(receiver.try_recv().is_err());
}

#[tokio::test]
async fn nothing_is_gathered_beside_a_batch_that_waits() {
    let mut out = output(vec![range()]);
    let (sender, mut receiver) = tokio::sync::mpsc::channel(READ_AHEAD);
    let end = Position { range: 0, doc: 1 };
    let mut emitted = Box::pin(out.emit(end, None, &sender));
    assert!(emitted.as_mut().now_or_never().is_none());
    assert_eq!(receiver.recv().await.unwrap().unwrap().stretch.end, end);
    assert!(emitted.await.is_ok());

    let mut emitted = Box::pin(out.emit(end, None, &sender));
    assert!(emitted.as_mut().now_or_never().is_none());
    drop(receiver);
    assert!(emitted.await.is_err(), "nobody wants more");
}

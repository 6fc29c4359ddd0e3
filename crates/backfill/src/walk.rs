//! Going through all chunks of a run, some shards ahead: a store on a network answers many at once as fast as one.

use crate::model::{Chunk, RunId, Shard};
use crate::ports::{Checkpoints, StoreError};
use futures::{Stream, StreamExt};

/// Shards that are read ahead.
const AHEAD: usize = 16;

/// The shards with their chunks, in their order.
pub(crate) fn with_chunks<'a>(
    checkpoints: &'a dyn Checkpoints,
    run: &'a RunId,
    shards: &'a [Shard],
) -> impl Stream<Item = Result<(&'a Shard, Vec<Chunk>), StoreError>> + Send + 'a {
    let reads: Vec<_> = shards
        .iter()
        .map(|shard| async move { Ok((shard, checkpoints.chunks(run, &shard.id).await?)) })
        .collect();
    futures::stream::iter(reads).buffered(AHEAD)
}

//! Where documents have routings, two of the same id may lie in different shards of the source. In one shard of the target
//! only one of them has a place, and a plain `index` would let the second replace the first without a word.
//!
//! So they are written with `create`, which costs no more where nothing is there yet. One that is refused is looked up by its
//! id: if the document there has the same routing, it is the same document, of an earlier attempt or run, and it is replaced
//! as `index` would have replaced it. With another routing it is another document, and the second one has failed.

use super::Writer;
use super::distinct::{COLLISION, hidden, keys};
use backfill::model::WriteMode;
use backfill::ports::{Batch, ItemOutcome, Reply, TargetError};
use std::time::Instant;

impl Writer {
    /// Replaces the documents that are there already by those of the batch, as far as their routings are the same.
    pub(super) async fn replace_own(&self, batch: &Batch, mut reply: Reply) -> Result<Reply, TargetError> {
        let begun = Instant::now();
        let mut own = Vec::new();
        for (index, documents) in self.already_there(batch, &reply) {
            let found = self.inner.cluster.routings(&index, &keys(&documents)).await?;
            for ((at, names), found) in documents.iter().zip(found) {
                let outcome = match found {
                    Some(routing) if routing == names.routing => {
                        own.push(*at);
                        continue;
                    }
                    Some(routing) => collision(routing.as_deref()),
                    // Gone again, or not to be seen yet: what is there is found out by another try.
                    None => hidden(),
                };
                if let Some(item) = reply.items.get_mut(*at) {
                    *item = outcome;
                }
            }
        }
        if !own.is_empty() {
            own.sort_unstable();
            let replaced = self.write(&batch.replacing(&own), WriteMode::Index).await?;
            for (at, outcome) in own.into_iter().zip(replaced.items) {
                if let Some(item) = reply.items.get_mut(at) {
                    *item = outcome;
                }
            }
            reply.took = reply.took.map(|took| took.saturating_add(begun.elapsed()));
        }
        Ok(reply)
    }
}

fn collision(routing: Option<&str>) -> ItemOutcome {
    let with = routing
        .map_or_else(|| "without a routing".to_owned(), |routing| format!("with the routing {routing:?}"));
    ItemOutcome::Failed {
        error_type: COLLISION.to_owned(),
        reason: format!(
            "a document with this _id and {with} is there already, and both have the same shard on the target: an index \
             with as many shards as that of the source has a place for both"
        ),
    }
}

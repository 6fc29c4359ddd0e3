//! Documents of different types may have the same id, and so may those of different indices of a data stream. One that is
//! there already is compared with the one that was to be written: the same means that it was written before, another that
//! both cannot have their place.

use super::Writer;
use crate::fetch::{FetchedDoc, PAGE};
use backfill::encode::{Encoding, Names, names};
use backfill::ports::{Batch, ItemOutcome, Refusal, Reply, TargetError};
use backfill::verify::same_source;
use std::collections::BTreeMap;
use std::time::Instant;

/// What the failed-document stream calls it.
pub(super) const COLLISION: &str = "id_collision";

impl Writer {
    /// Tells the documents that are already there from those that another one keeps from their place.
    pub(super) async fn tell_apart(&self, batch: &Batch, mut reply: Reply) -> Result<Reply, TargetError> {
        for (index, documents) in self.already_there(batch, &reply) {
            // What has been compared is not kept.
            for documents in documents.chunks(PAGE) {
                self.compare(batch, &index, documents, &mut reply).await?;
            }
        }
        Ok(reply)
    }

    /// The documents that are there already, with their places in the batch, by the index that they go to.
    pub(super) fn already_there(
        &self,
        batch: &Batch,
        reply: &Reply,
    ) -> BTreeMap<String, Vec<(usize, Names)>> {
        let mut there: BTreeMap<String, Vec<(usize, Names)>> = BTreeMap::new();
        for (at, entry) in batch.entries.iter().enumerate() {
            if reply.items.get(at) != Some(&ItemOutcome::AlreadyThere) {
                continue;
            }
            let names = names(Encoding::Bulk, batch, entry);
            let index = names.index.clone().unwrap_or_else(|| self.destination.clone());
            there.entry(index).or_default().push((at, names));
        }
        there
    }

    async fn compare(
        &self,
        batch: &Batch,
        index: &str,
        documents: &[(usize, Names)],
        reply: &mut Reply,
    ) -> Result<(), TargetError> {
        let keys = keys(documents);
        let room = self.inner.cluster.transport.room_bytes();
        let begun = Instant::now();
        let found = self.inner.cluster.fetch(index, &keys).await?;
        reply.took = reply.took.map(|took| took.saturating_add(begun.elapsed()));
        for ((at, names), found) in documents.iter().zip(found) {
            let source = &batch.body[batch.entries[*at].source.clone()];
            let outcome = match found {
                Some(found) if found.routing != names.routing => collision("with another routing"),
                Some(FetchedDoc { source: there, .. }) => {
                    match there.and_then(|there| same_source(source, &there, room)) {
                        Some(true) => ItemOutcome::AlreadyThere,
                        Some(false) => collision("with another source"),
                        None => collision(
                            "and its source cannot be compared: the index keeps none, or it is too long",
                        ),
                    }
                }
                // Gone again, or not to be seen yet: what is there is found out by another try.
                None => hidden(),
            };
            if let Some(item) = reply.items.get_mut(*at) {
                *item = outcome;
            }
        }
        Ok(())
    }
}

/// The ids and routings of documents.
pub(super) fn keys(documents: &[(usize, Names)]) -> Vec<(&str, Option<&str>)> {
    documents
        .iter()
        .map(|(_, names)| (names.id.as_deref().unwrap_or_default(), names.routing.as_deref()))
        .collect()
}

/// What becomes of a document that is there, but is not shown.
pub(super) fn hidden() -> ItemOutcome {
    let reason = "it says that the document is there, but does not show it".to_owned();
    ItemOutcome::Refused(Refusal::Fault(reason))
}

fn collision(what: &str) -> ItemOutcome {
    ItemOutcome::Failed {
        error_type: COLLISION.to_owned(),
        reason: format!("another document with this _id is there already, {what}"),
    }
}

//! Requests to the table: paged, retried where that is safe, with errors in words.

use super::item::{Item, number, text};
use super::keys::Key;
use crate::error::{AwsError, explain};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    DeleteRequest, KeysAndAttributes, PutRequest, TransactWriteItem, WriteRequest,
};
use backfill::ports::StoreError;
use futures::{StreamExt, TryStreamExt};
use std::collections::HashMap;
use std::time::Duration;

/// How often a write is tried that meets another one, or of which the service leaves a part undone.
pub(super) const TRIES: u32 = 12;

/// Items in one request to write, by DynamoDB's own limit.
const WRITE_BATCH: usize = 25;

/// Requests to write at once.
const CONCURRENCY: usize = 4;

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// All of it is written.
    Yes,
    /// Nothing is: the condition of the operation at this place does not hold.
    Refused(usize),
    /// Nothing is: another write was under way on one of the items, or the table has too much to do.
    Conflict,
}

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: String,
}

impl Table {
    fn what(&self, doing: &str) -> String {
        format!("cannot {doing} the checkpoint table {}", self.name)
    }

    fn read_error<E>(&self, error: &SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        explain(self.what("read"), error).into()
    }

    fn write_error<E>(&self, error: &SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        explain(self.what("write to"), error).into()
    }

    /// The error when tries have come to an end.
    pub(super) fn busy(&self) -> StoreError {
        StoreError::Unavailable {
            what: self.what("write to"),
            reason: format!(
                "others wrote to the same items {TRIES} times in a row; try again with fewer workers"
            ),
        }
    }

    /// The item with this key, as the last write left it.
    pub(super) async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.name).consistent_read(true);
        let answer = request.set_key(Some(key.attributes())).send().await;
        Ok(answer.map_err(|e| self.read_error(&e))?.item)
    }

    /// The items with these keys, as far as they are there; not more than a hundred.
    pub(super) async fn get_all(&self, keys: &[Key]) -> Result<HashMap<Key, Item>, StoreError> {
        let mut wanted: Vec<Item> = keys.iter().map(Key::attributes).collect();
        let mut found = HashMap::new();
        for attempt in 0..TRIES {
            let keys = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(true).build();
            let keys = keys.map_err(|e| defect(&e))?;
            let request = self.client.batch_get_item().request_items(&self.name, keys);
            let answer = request.send().await.map_err(|e| self.read_error(&e))?;
            for item in answer.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                if let Some(key) = Key::of(&item) {
                    found.insert(key, item);
                }
            }
            let left = answer.unprocessed_keys.unwrap_or_default().into_values().next();
            match left {
                Some(left) if !left.keys.is_empty() => wanted = left.keys,
                _ => return Ok(found),
            }
            pause(attempt).await;
        }
        Err(self.busy())
    }

    /// The items of a partition with sort keys between these two, in their order; not more than `limit` if there is one.
    pub(super) async fn query(
        &self,
        pk: &str,
        between: (&str, &str),
        limit: Option<usize>,
    ) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        let mut from = None;
        loop {
            let mut request = self.querying(pk, between).set_exclusive_start_key(from);
            if let Some(limit) = limit {
                let left = limit.saturating_sub(items.len());
                request = request.limit(i32::try_from(left).unwrap_or(i32::MAX));
            }
            let page = request.send().await.map_err(|e| self.read_error(&e))?;
            items.extend(page.items.unwrap_or_default());
            from = page.last_evaluated_key;
            if from.is_none() || limit.is_some_and(|limit| items.len() >= limit) {
                return Ok(items);
            }
        }
    }

    /// The last item of a partition with a sort key between these two.
    pub(super) async fn last(&self, pk: &str, between: (&str, &str)) -> Result<Option<Item>, StoreError> {
        let request = self.querying(pk, between).scan_index_forward(false).limit(1);
        let page = request.send().await.map_err(|e| self.read_error(&e))?;
        Ok(page.items.unwrap_or_default().into_iter().next())
    }

    /// The keys of a partition between these two sort keys.
    pub(super) async fn keys(&self, pk: &str, between: (&str, &str)) -> Result<Vec<Key>, StoreError> {
        let mut keys = Vec::new();
        let mut from = None;
        loop {
            let request = self.querying(pk, between).projection_expression("pk, sk");
            let page = request.set_exclusive_start_key(from).send().await.map_err(|e| self.read_error(&e))?;
            keys.extend(page.items().iter().filter_map(Key::of));
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(keys);
            }
        }
    }

    fn querying(&self, pk: &str, between: (&str, &str)) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":pk", text(pk))
            .expression_attribute_values(":from", text(between.0))
            .expression_attribute_values(":to", text(between.1))
    }

    /// Writes items, whatever is there.
    pub(super) async fn put_all(&self, items: Vec<Item>) -> Result<(), StoreError> {
        let put = |item| PutRequest::builder().set_item(Some(item)).build();
        let requests = items
            .into_iter()
            .map(|item| Ok(WriteRequest::builder().put_request(put(item).map_err(|e| defect(&e))?).build()));
        self.write_all(requests.collect::<Result<_, StoreError>>()?).await
    }

    /// Deletes items, as far as they are there.
    pub(super) async fn delete_all(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        let delete = |key: &Key| DeleteRequest::builder().set_key(Some(key.attributes())).build();
        let requests = keys.iter().map(|key| {
            Ok(WriteRequest::builder().delete_request(delete(key).map_err(|e| defect(&e))?).build())
        });
        self.write_all(requests.collect::<Result<_, StoreError>>()?).await
    }

    async fn write_all(&self, requests: Vec<WriteRequest>) -> Result<(), StoreError> {
        let batches = requests.chunks(WRITE_BATCH).map(|batch| self.write_batch(batch.to_vec()));
        let batches: Vec<_> = batches.collect();
        futures::stream::iter(batches).buffer_unordered(CONCURRENCY).try_collect::<()>().await
    }

    async fn write_batch(&self, mut batch: Vec<WriteRequest>) -> Result<(), StoreError> {
        for attempt in 0..TRIES {
            let request = self.client.batch_write_item().request_items(&self.name, batch);
            let answer = request.send().await.map_err(|e| self.write_error(&e))?;
            batch = answer.unprocessed_items.unwrap_or_default().into_values().next().unwrap_or_default();
            if batch.is_empty() {
                return Ok(());
            }
            pause(attempt).await;
        }
        Err(self.busy())
    }

    /// Writes an item, whatever is there.
    pub(super) async fn put(&self, item: Item) -> Result<(), StoreError> {
        let request = self.client.put_item().table_name(&self.name).set_item(Some(item));
        request.send().await.map(drop).map_err(|e| self.write_error(&e))
    }

    /// Deletes the item with this key, if it is there.
    pub(super) async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let request = self.client.delete_item().table_name(&self.name).set_key(Some(key.attributes()));
        request.send().await.map(drop).map_err(|e| self.write_error(&e))
    }

    /// Writes an item if there is none with its key; whether it did.
    pub(super) async fn put_new(&self, item: Item) -> Result<bool, StoreError> {
        let request = self.client.put_item().table_name(&self.name).set_item(Some(item));
        match request.condition_expression("attribute_not_exists(pk)").send().await {
            Ok(_) => Ok(true),
            Err(error) if is(&error, "ConditionalCheckFailedException") => Ok(false),
            Err(error) => Err(self.write_error(&error)),
        }
    }

    /// Writes an item over the one with its key, if that still has this revision; whether it did.
    pub(super) async fn put_over(&self, item: Item, revision: u64) -> Result<bool, StoreError> {
        let request = self.client.put_item().table_name(&self.name).set_item(Some(item));
        let request = request.condition_expression("rev = :rev");
        match request.expression_attribute_values(":rev", number(revision)).send().await {
            Ok(_) => Ok(true),
            Err(error) if is(&error, "ConditionalCheckFailedException") => Ok(false),
            Err(error) => Err(self.write_error(&error)),
        }
    }

    /// An update of the item with this key, to be given to [`Table::update`].
    pub(super) fn updating(&self, key: &Key) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.name).set_key(Some(key.attributes()))
    }

    /// Updates an item; whether its condition held. With it, what the update was to return.
    pub(super) async fn update(&self, request: UpdateItemFluentBuilder) -> Result<Option<Item>, StoreError> {
        for attempt in 0..TRIES {
            match request.clone().send().await {
                Ok(answer) => return Ok(Some(answer.attributes.unwrap_or_default())),
                Err(error) if is(&error, "ConditionalCheckFailedException") => return Ok(None),
                Err(error) if is(&error, "TransactionConflictException") => pause(attempt).await,
                Err(error) => return Err(self.write_error(&error)),
            }
        }
        Err(self.busy())
    }

    /// Writes all of these or nothing. The SDK gives it a token, so that its own retries write nothing twice.
    pub(super) async fn transact(&self, operations: Vec<TransactWriteItem>) -> Result<Written, StoreError> {
        let request = self.client.transact_write_items().set_transact_items(Some(operations));
        let error = match request.send().await {
            Ok(_) => return Ok(Written::Yes),
            Err(error) => error,
        };
        if is(&error, "TransactionInProgressException") {
            return Ok(Written::Conflict);
        }
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
        else {
            return Err(self.write_error(&error));
        };
        let codes = cancelled.cancellation_reasons().iter().map(|r| r.code().unwrap_or_default());
        let codes: Vec<&str> = codes.collect();
        if let Some(at) = codes.iter().position(|code| *code == "ConditionalCheckFailed") {
            return Ok(Written::Refused(at));
        }
        let passing = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
        if codes.iter().any(|code| passing.contains(code)) {
            return Ok(Written::Conflict);
        }
        Err(self.write_error(&error))
    }
}

fn is<E: ProvideErrorMetadata>(error: &SdkError<E>, code: &str) -> bool {
    error.as_service_error().is_some_and(|e| e.code() == Some(code))
}

/// A request that lacks something: cannot happen, but is told.
pub(super) fn defect(error: &BuildError) -> StoreError {
    AwsError::new(crate::Fault::Invalid, "a request to DynamoDB cannot be made", error.to_string()).into()
}

/// Waits before the next try: longer each time, and by chance, so that those who met do not meet again.
pub(super) async fn pause(attempt: u32) {
    let longest = 20u64 << attempt.min(6);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=longest))).await;
}

//! The queue in SQS.

mod event;

pub use event::{Delivery, EventQueue};

use crate::error::explain;
use crate::message;
use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use backfill::model::chunk::LONGEST_LEASE;
use backfill::model::{ChunkId, Millis, RunId};
use backfill::ports::{Clock, Message, Queue, StoreError, SystemClock};
use futures::{StreamExt, TryStreamExt};
use std::time::Duration;

/// Messages in one request, by SQS's own limit.
const BATCH: usize = 10;

/// Requests to send at once.
const CONCURRENCY: usize = 8;

/// How often messages are sent of which SQS could not take all.
const TRIES: u32 = 6;

/// The longest time for which a message can be invisible, in seconds.
const MAX_INVISIBLE: u64 = 12 * 3600;

/// How many messages a queue has, about: SQS's own counts lag by up to a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Those that can be received.
    pub visible: u64,
    /// Those that were received and neither deleted nor made visible again.
    pub in_flight: u64,
    /// Those that cannot be received yet.
    pub delayed: u64,
}

impl QueueDepth {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// A queue of SQS.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    url: String,
}

impl SqsQueue {
    /// The queue with this address.
    pub fn new(client: Client, queue_url: impl Into<String>) -> SqsQueue {
        SqsQueue { client, url: queue_url.into() }
    }

    /// How many messages there are, about.
    ///
    /// # Errors
    /// When SQS does not tell.
    pub async fn depth(&self) -> Result<QueueDepth, StoreError> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = request.set_attribute_names(Some(names.to_vec())).send().await;
        let answer = answer.map_err(|e| explain(self.what("count the messages of"), &e))?;
        let [visible, in_flight, delayed] = names.map(|name| {
            let count = answer.attributes().and_then(|attributes| attributes.get(&name));
            count.and_then(|count| count.parse().ok()).unwrap_or_default()
        });
        Ok(QueueDepth { visible, in_flight, delayed })
    }

    /// Removes all messages. SQS takes up to a minute for it, and allows it once a minute.
    ///
    /// # Errors
    /// When SQS refuses.
    pub async fn purge(&self) -> Result<(), StoreError> {
        match self.client.purge_queue().queue_url(&self.url).send().await {
            Ok(_) => Ok(()),
            // The one that is under way does it.
            Err(error) if code(&error).is_some_and(|c| c.ends_with("PurgeQueueInProgress")) => Ok(()),
            Err(error) => Err(explain(self.what("purge"), &error).into()),
        }
    }

    fn what(&self, doing: &str) -> String {
        let name = self.url.rsplit('/').next().unwrap_or(&self.url);
        format!("cannot {doing} the queue {name}")
    }

    /// Sends what is left of a batch until all of it is sent.
    async fn send(&self, mut left: Vec<SendMessageBatchRequestEntry>) -> Result<(), StoreError> {
        let mut last = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                let longest = 100u64 << attempt;
                tokio::time::sleep(Duration::from_millis(fastrand::u64(50..=longest))).await;
            }
            let request = self.client.send_message_batch().queue_url(&self.url);
            let answer = request.set_entries(Some(left.clone())).send().await;
            let answer = answer.map_err(|e| explain(self.what("send messages to"), &e))?;
            if let Some(wrong) = answer.failed().iter().find(|entry| entry.sender_fault()) {
                let reason =
                    format!("{}: {}", wrong.code(), wrong.message().unwrap_or("no reason was given"));
                return Err(StoreError::Unavailable { what: self.what("send messages to"), reason });
            }
            last = answer.failed().first().map(|entry| entry.code().to_owned()).unwrap_or_default();
            left.retain(|entry| answer.failed().iter().any(|failed| failed.id() == entry.id()));
            if left.is_empty() {
                return Ok(());
            }
        }
        let reason = format!("it took only a part of them {TRIES} times in a row ({last}); try again");
        Err(StoreError::Unavailable { what: self.what("send messages to"), reason })
    }

    /// Sets for how long a received message stays invisible from now on.
    async fn set_visibility(&self, receipt: &str, seconds: u64) -> Result<(), StoreError> {
        let seconds = i32::try_from(seconds.min(MAX_INVISIBLE)).unwrap_or(i32::MAX);
        let request = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt);
        match request.visibility_timeout(seconds).send().await {
            Ok(_) => Ok(()),
            Err(error) if is_stale(&error) => Ok(()),
            Err(error) => Err(explain(self.what("keep a message of"), &error).into()),
        }
    }
}

/// Whether SQS says that a receipt is of no use any more: the message is gone or was received again since.
fn is_stale<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    code(error).is_some_and(|code| {
        ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue", "InvalidIdFormat"]
            .iter()
            .any(|known| code.ends_with(known))
    })
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<&str> {
    error.as_service_error()?.code()
}

/// Seconds from now until then, rounded up: a lease must not outlast its message's invisibility.
fn seconds_until(until: Millis, now: Millis) -> u64 {
    until.saturating_sub(now).div_ceil(1000)
}

#[async_trait]
impl Queue for SqsQueue {
    async fn enqueue(&self, run: &RunId, chunks: &[ChunkId]) -> Result<(), StoreError> {
        let mut batches = Vec::new();
        for batch in chunks.chunks(BATCH) {
            let entries = batch.iter().enumerate().map(|(at, chunk)| {
                let entry = SendMessageBatchRequestEntry::builder().id(at.to_string());
                entry.message_body(message::encode(run, chunk)).build().map_err(|e| StoreError::Unavailable {
                    what: self.what("send messages to"),
                    reason: e.to_string(),
                })
            });
            batches.push(self.send(entries.collect::<Result<_, _>>()?));
        }
        futures::stream::iter(batches).buffered(CONCURRENCY).try_collect().await
    }

    async fn receive(&self, now: Millis, until: Millis) -> Result<Option<Message>, StoreError> {
        let seconds = seconds_until(until, now).min(MAX_INVISIBLE);
        let request = self.client.receive_message().queue_url(&self.url).max_number_of_messages(1);
        let answer = request.visibility_timeout(i32::try_from(seconds).unwrap_or(i32::MAX)).send().await;
        let answer = answer.map_err(|e| explain(self.what("receive from"), &e))?;
        let Some(received) = answer.messages().first() else { return Ok(None) };
        let (run, chunk) = message::parse(received.body().unwrap_or_default()).map_err(|error| {
            StoreError::Invalid { what: self.what("understand a message of"), reason: error.to_string() }
        })?;
        let receipt = received.receipt_handle().unwrap_or_default().to_owned();
        Ok(Some(Message { run, chunk, receipt }))
    }

    async fn extend(&self, message: &Message, until: Millis) -> Result<(), StoreError> {
        // The clock may have been set since `until` was computed.
        let seconds = seconds_until(until, SystemClock.now()).min(LONGEST_LEASE / 1000);
        self.set_visibility(&message.receipt, seconds).await
    }

    async fn hand_back(&self, message: &Message) -> Result<(), StoreError> {
        self.set_visibility(&message.receipt, 0).await
    }

    async fn delete(&self, message: &Message) -> Result<(), StoreError> {
        let request = self.client.delete_message().queue_url(&self.url).receipt_handle(&message.receipt);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if is_stale(&error) => Ok(()),
            Err(error) => Err(explain(self.what("delete a message of"), &error).into()),
        }
    }
}

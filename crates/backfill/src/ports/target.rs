//! The target: where documents go.

use crate::encode::Encoding;
use crate::model::{ChunkId, Identity, Position, RunId, WriteMode};
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::time::Duration;

/// One document within a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEntry {
    /// Its bytes within the body: action line and source for a bulk, one line for an export.
    pub bytes: Range<usize>,
    /// Its `_source` within the body.
    pub source: Range<usize>,
    /// Where it is in the chunk.
    pub position: Position,
}

/// Encoded documents that are sent together. Cheap to clone; the bytes are never changed, retry or not.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The documents, encoded one after the other.
    pub body: Bytes,
    /// Where each is.
    pub entries: Vec<BatchEntry>,
}

/// What became of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemOutcome {
    /// Acknowledged.
    Indexed,
    /// `create` found the document there already.
    AlreadyThere,
    /// Not now: try it again.
    Refused(Refusal),
    /// Never: it goes to the failed-document stream.
    Failed {
        /// The target's name for the error.
        error_type: String,
        /// The target's words.
        reason: String,
    },
}

/// Why a document was refused for the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The target has too much to do.
    Overloaded,
    /// The target accepts no writes (a read-only or flood-stage block, an index that is missing): in its words.
    Blocked(String),
    /// A fault of the target that may pass: in its words.
    Fault(String),
}

/// The answer to a batch: an outcome for each document, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// As many as the batch has entries.
    pub items: Vec<ItemOutcome>,
    /// How long the target was waited for, where that is known: what is done before a request, such as compressing it, says
    /// nothing about the target. Otherwise it is taken to be as long as sending took in all.
    pub took: Option<Duration>,
}

impl From<Vec<ItemOutcome>> for Reply {
    fn from(items: Vec<ItemOutcome>) -> Reply {
        Reply { items, took: None }
    }
}

/// Why a whole batch came to nothing. One variant for each decision of the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Too much to do: slow down, then send again.
    #[error("the target {target} is overloaded")]
    Overloaded {
        /// The target.
        target: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The request is larger than the target accepts: send less at once.
    #[error("the target {target} refuses requests of {bytes} bytes as too large")]
    TooLarge {
        /// The target.
        target: String,
        /// Size of the body.
        bytes: usize,
    },
    /// No answer, or not in time; may pass.
    #[error("the target {target} cannot be reached: {reason}")]
    Unreachable {
        /// The target.
        target: String,
        /// What went wrong.
        reason: String,
    },
    /// It answers, but accepts no writes; may pass.
    #[error("the target {target} accepts no writes: {reason}")]
    Blocked {
        /// The target.
        target: String,
        /// Its words.
        reason: String,
    },
    /// Credentials are missing or do not suffice; will not pass by itself.
    #[error("the target {target} denies access: {reason}")]
    Denied {
        /// The target.
        target: String,
        /// Its words.
        reason: String,
    },
    /// The answer does not fit the request: it is cut, has another form, or belongs to another request. It says nothing
    /// about any document; may pass.
    #[error("the target {target} gave an answer that does not fit the request: {reason}")]
    Garbled {
        /// The target.
        target: String,
        /// What does not fit.
        reason: String,
    },
    /// The disk that an export goes to cannot be written: it is full, read-only or broken. Not waited for, since it takes a
    /// person to mend it.
    #[error("cannot write to {target}: {reason}")]
    Unwritable {
        /// The target.
        target: String,
        /// What the system says, and about which file.
        reason: String,
    },
    /// The request as a whole is refused, or what answers is no cluster; will not pass by itself.
    #[error("the target {target} gave an unexpected answer: {reason}")]
    Unexpected {
        /// The target.
        target: String,
        /// What it said.
        reason: String,
    },
}

/// When documents count as acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// With the reply to their batch.
    OnReply,
    /// When the chunk is finished: until then nothing of it exists.
    OnFinish,
}

/// What a name on the target stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The indices behind it.
    pub identity: Identity,
    /// What kind of name it is.
    pub kind: PlaceKind,
}

impl Place {
    /// An index with this identity.
    pub fn index(identity: Identity) -> Place {
        Place { identity, kind: PlaceKind::Index }
    }
}

/// A kind of name on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceKind {
    /// An index, or files.
    Index,
    /// An alias.
    Alias {
        /// The routing that it gives to documents written through it.
        routing: Option<String>,
    },
    /// A data stream.
    DataStream,
}

/// A target.
#[async_trait]
pub trait Target: Send + Sync + std::fmt::Debug {
    /// The target as the user named it, without credentials.
    fn location(&self) -> String;

    /// How documents are encoded for it.
    fn encoding(&self) -> Encoding;

    /// When documents count as acknowledged.
    fn acknowledge(&self) -> Acknowledge;

    /// How many batches of a chunk may be under way at once, at most; 1 keeps them in order.
    fn max_in_flight(&self) -> usize;

    /// Whether it can be reached and lets us in.
    async fn check(&self) -> Result<(), TargetError>;

    /// Returns what an index, alias or data stream is; `None` if there is none of this name.
    async fn place(&self, name: &str) -> Result<Option<Place>, TargetError>;

    /// Returns the indices behind a name, in one small request; `None` if there is nothing of this name.
    async fn identity(&self, name: &str) -> Result<Option<Identity>, TargetError>;

    /// Creates an index with whatever mappings the target's templates have for it, or a data stream. Does nothing if it
    /// is there. Returns whether the target allows it.
    async fn create(&self, name: &str, data_stream: bool) -> Result<bool, TargetError>;

    /// Begins to write a chunk.
    async fn begin(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        destination: &str,
        mode: WriteMode,
    ) -> Result<Box<dyn ChunkWriter>, TargetError>;
}

/// Writes the documents of one chunk.
#[async_trait]
pub trait ChunkWriter: Send + Sync + std::fmt::Debug {
    /// Sends a batch once: no retries.
    async fn send(&self, batch: &Batch) -> Result<Reply, TargetError>;

    /// Called when all batches were sent; returns when everything is durable.
    async fn finish(&self) -> Result<(), TargetError>;
}

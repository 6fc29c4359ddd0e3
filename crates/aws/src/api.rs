//! What the functions are asked, and what they answer.

use backfill::limit::MaxFailed;
use backfill::model::{FieldName, Planning, RunSpec, RunState, TimeFields, TypesChoice};
use serde::{Deserialize, Serialize};

/// What the start function is asked. `{}`, as a schedule may send it, starts the newest snapshot of the repository that
/// the stack was deployed for, or continues the run that is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StartRequest {
    /// The repository, if it is not the stack's: `s3://bucket/prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Region of the repository's bucket, if it is not the stack's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_region: Option<String>,
    /// Name of the snapshot, or `latest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Index patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Whether wildcards also match hidden and dot-prefixed indices.
    pub include_hidden: bool,
    /// Whether a PARTIAL or FAILED snapshot is accepted.
    pub allow_partial: bool,
    /// What becomes of the types of indices that have several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<TypesChoice>,
    /// Whether documents of whose source only a part is stored are sent as they are.
    pub allow_partial_source: bool,
    /// The field that takes the `_timestamp` of documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_field: Option<FieldName>,
    /// The field that takes the `_ttl` of documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_field: Option<FieldName>,
    /// Intended size of a chunk in bytes of stored fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_bytes: Option<u64>,
    /// Number of workers, if it is not to stay as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// Whether the target may create missing indices.
    pub create_missing_indices: bool,
    /// How many documents may fail, if it is not to be as in the run or the stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failed: Option<MaxFailed>,
    /// Whether a new run is started although there is one.
    pub new: bool,
}

impl StartRequest {
    /// The fields that take what documents have beside their source.
    pub fn time_fields(&self) -> TimeFields {
        TimeFields { timestamp: self.timestamp_field.clone(), ttl: self.ttl_field.clone() }
    }

    /// Completes the request from the run that is not finished: whatever it does not give is as in that run. What it
    /// does give is kept, and may turn out to ask for another run.
    pub fn as_in_run(&self, spec: &RunSpec) -> StartRequest {
        let or = |said: &Option<String>, value: &String| Some(said.as_ref().unwrap_or(value).clone());
        StartRequest {
            repository: or(&self.repository, &spec.repository),
            snapshot: or(&self.snapshot, &spec.snapshot),
            index: or(&self.index, &spec.selection.patterns),
            include_hidden: self.include_hidden || spec.selection.include_hidden,
            allow_partial: self.allow_partial || spec.allow_partial,
            types: self.types.clone().or_else(|| spec.types.clone()),
            allow_partial_source: self.allow_partial_source || spec.allow_partial_source,
            timestamp_field: self.timestamp_field.clone().or_else(|| spec.time_fields.timestamp.clone()),
            ttl_field: self.ttl_field.clone().or_else(|| spec.time_fields.ttl.clone()),
            ..self.clone()
        }
    }
}

/// What the start function answers. If planning is not complete, its time was up: it is to be asked the same again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartAnswer {
    /// The run.
    pub run: String,
    /// Whether it was created by this very request.
    pub created: bool,
    /// How far its planning has come.
    pub planning: Planning,
    /// Where it stands.
    pub state: RunState,
    /// What happened, in a sentence.
    pub message: String,
    /// What the operator should know before anything runs.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Shards that cannot be read for now, each with the reason. All others are planned, and a schedule tries these again
    /// as long as the run goes on.
    #[serde(default)]
    pub unreadable: Vec<String>,
}

/// What a function answers that does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionError {
    /// What is wrong and what to do, in a sentence.
    pub error: String,
    /// The exit code of the command that asked.
    pub exit: u8,
}

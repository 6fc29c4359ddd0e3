//! What a deployed stack consists of, read from its outputs.

use crate::error::{AwsError, Fault, explain};
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::{Output, StackStatus};
use std::collections::BTreeMap;

/// The resources of a deployed stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Name of the stack.
    pub name: String,
    /// Checkpoint table.
    pub table: String,
    /// Queue of chunks.
    pub queue_url: String,
    /// Queue of messages that cannot be understood.
    pub dead_letter_queue_url: String,
    /// Name of the worker function.
    pub worker_function: String,
    /// Name of the function that plans and starts.
    pub start_function: String,
    /// Name of the function that reconciles.
    pub status_function: String,
    /// UUID of the event source mapping between queue and worker.
    pub mapping_uuid: String,
    /// Where failed documents are kept: `s3://bucket/prefix`.
    pub failed_documents: String,
    /// The snapshot repository that it was deployed for: `s3://bucket/prefix`.
    pub repository: Option<String>,
    /// The target that it was deployed for.
    pub target: Option<String>,
}

impl Stack {
    /// Reads the outputs of the stack of this name.
    ///
    /// # Errors
    /// When there is no such stack, it is not one of backfill or not deployed to its end, or AWS does not tell.
    pub async fn read(client: &Client, name: &str) -> Result<Stack, AwsError> {
        let what = format!("cannot read the stack {name}");
        let answer = client.describe_stacks().stack_name(name).send().await;
        let answer = answer.map_err(|error| {
            let explained = explain(&what, &error);
            match explained.kind {
                Fault::Invalid if explained.reason.contains("does not exist") => absent(&what),
                _ => explained,
            }
        })?;
        let Some(stack) = answer.stacks().first() else { return Err(absent(&what)) };
        if let Some(
            status @ (StackStatus::CreateInProgress
            | StackStatus::CreateFailed
            | StackStatus::RollbackInProgress
            | StackStatus::RollbackComplete
            | StackStatus::RollbackFailed
            | StackStatus::DeleteInProgress
            | StackStatus::DeleteFailed
            | StackStatus::DeleteComplete),
        ) = stack.stack_status()
        {
            let reason = format!("it is not deployed ({}); see `sam deploy`", status.as_str());
            return Err(AwsError::new(Fault::NotFound, what, reason));
        }
        Stack::from_outputs(name, &what, stack.outputs())
    }

    fn from_outputs(name: &str, what: &str, outputs: &[Output]) -> Result<Stack, AwsError> {
        let outputs: BTreeMap<&str, &str> =
            outputs.iter().filter_map(|o| Some((o.output_key()?, o.output_value()?))).collect();
        let optional =
            |key: &str| outputs.get(key).filter(|value| !value.is_empty()).map(|v| (*v).to_owned());
        let required = |key: &str| {
            optional(key).ok_or_else(|| {
                let reason = format!(
                    "it has no output {key}, so it is not a stack of backfill, or one of another version; deploy this \
                     version's template"
                );
                AwsError::new(Fault::Invalid, what, reason)
            })
        };
        Ok(Stack {
            name: name.to_owned(),
            table: required("CheckpointTable")?,
            queue_url: required("QueueUrl")?,
            dead_letter_queue_url: required("DeadLetterQueueUrl")?,
            worker_function: required("WorkerFunction")?,
            start_function: required("StartFunction")?,
            status_function: required("StatusFunction")?,
            mapping_uuid: required("WorkerEventSource")?,
            failed_documents: required("FailedDocumentsLocation")?,
            repository: optional("SnapshotRepository"),
            target: optional("TargetEndpoint"),
        })
    }
}

fn absent(what: &str) -> AwsError {
    let reason = "there is no such stack; check its name, account and region, or deploy it with `sam deploy`";
    AwsError::new(Fault::NotFound, what, reason)
}

//! Why a function does not do what it was asked: one sentence, and the exit code of the command that asked.

use backfill::destinations::DestinationError;
use backfill::planning::PlanningError;
use backfill::ports::{BlobError, StoreError, TargetError};
use backfill::source::SourceError;
use snapshot::error::Error as SnapshotError;

/// Exit codes as in docs/commands.md.
const OTHER: u8 = 1;
const USAGE: u8 = 2;
const SNAPSHOT: u8 = 5;
const TARGET: u8 = 6;

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) exit: u8,
}

impl Refusal {
    pub(crate) fn other(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), exit: OTHER }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), exit: USAGE }
    }

    pub(crate) fn target(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), exit: TARGET }
    }
}

impl From<aws::AwsError> for Refusal {
    fn from(error: aws::AwsError) -> Refusal {
        Refusal::other(error.to_string())
    }
}

impl From<aws::OpenError> for Refusal {
    fn from(error: aws::OpenError) -> Refusal {
        Refusal::usage(error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal::other(error.to_string())
    }
}

impl From<TargetError> for Refusal {
    fn from(error: TargetError) -> Refusal {
        Refusal::target(error.to_string())
    }
}

impl From<DestinationError> for Refusal {
    fn from(error: DestinationError) -> Refusal {
        match error {
            DestinationError::Store(error) => error.into(),
            error => Refusal::target(error.to_string()),
        }
    }
}

impl From<BlobError> for Refusal {
    fn from(error: BlobError) -> Refusal {
        Refusal { message: error.to_string(), exit: SNAPSHOT }
    }
}

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Refusal {
        let asked_wrongly = match &error {
            SourceError::NotARepository { .. } => true,
            SourceError::Snapshot { error, .. } => matches!(
                **error,
                SnapshotError::UnknownSnapshot { .. }
                    | SnapshotError::NoSuccessfulSnapshot { .. }
                    | SnapshotError::UnknownIndex { .. }
                    | SnapshotError::InvalidPattern { .. }
            ),
            _ => false,
        };
        Refusal { message: error.to_string(), exit: if asked_wrongly { USAGE } else { SNAPSHOT } }
    }
}

impl From<PlanningError> for Refusal {
    fn from(error: PlanningError) -> Refusal {
        match error {
            PlanningError::Source(error) => error.into(),
            PlanningError::Store(error) => error.into(),
        }
    }
}

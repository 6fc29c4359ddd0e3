//! Exit codes, and the errors that lead to them.

use backfill::destinations::DestinationError;
use backfill::model::Cause;
use backfill::planning::PlanningError;
use backfill::ports::{BlobError, StoreError, TargetError};
use backfill::source::SourceError;
use backfill::verify::VerifyError;
use backfill::worker::WorkerError;
use std::process::ExitCode;

/// What a command's end means for scripts. An unknown code must be treated as a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is done.
    Done = 0,
    /// An error without a code of its own.
    Error = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Done, but with failed documents (`start`, `status --wait`), or differences were found (`verify`).
    FailedDocuments = 3,
    /// Waited for as long as was allowed.
    GaveUpWaiting = 4,
    /// The snapshot is unreadable, damaged, or changed under the run.
    Snapshot = 5,
    /// The target is unreachable, blocks writes, or has lost what was written.
    Target = 6,
    /// Stopped, because more documents failed than `--max-failed` allows.
    TooManyFailed = 7,
    /// Done, but indices were refused and left out.
    Refused = 8,
    /// Interrupted or stopped before the end.
    Interrupted = 130,
}

impl Exit {
    const ALL: [Exit; 10] = [
        Exit::Done,
        Exit::Error,
        Exit::Usage,
        Exit::FailedDocuments,
        Exit::GaveUpWaiting,
        Exit::Snapshot,
        Exit::Target,
        Exit::TooManyFailed,
        Exit::Refused,
        Exit::Interrupted,
    ];

    /// The meaning of a code, as a function of a stack sends it: always that of an error.
    pub fn from_code(code: u8) -> Exit {
        let known = Exit::ALL.into_iter().filter(|exit| *exit != Exit::Done);
        known.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Exit::Error)
    }

    /// The code of a backfill that ended before its end, by whose fault it was.
    pub fn of(cause: Cause) -> Exit {
        match cause {
            Cause::Snapshot => Exit::Snapshot,
            Cause::Target => Exit::Target,
            Cause::Worker => Exit::Error,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// An error of a command: one sentence for people, and the code for scripts.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// The code.
    pub exit: Exit,
    /// What is wrong and what to do.
    pub message: String,
}

/// A result of a command.
pub type Result<T> = std::result::Result<T, CommandError>;

impl CommandError {
    /// An error with this code.
    pub fn new(exit: Exit, message: impl Into<String>) -> CommandError {
        CommandError { exit, message: message.into() }
    }

    /// The command line or the configuration is wrong.
    pub fn usage(message: impl Into<String>) -> CommandError {
        CommandError::new(Exit::Usage, message)
    }

    /// Something else is wrong.
    pub fn other(message: impl Into<String>) -> CommandError {
        CommandError::new(Exit::Error, message)
    }
}

impl From<SourceError> for CommandError {
    fn from(error: SourceError) -> CommandError {
        let exit = match &error {
            SourceError::NotARepository { .. } => Exit::Usage,
            SourceError::Snapshot { error, .. } if is_wrong_name(error) => Exit::Usage,
            _ => Exit::Snapshot,
        };
        CommandError::new(exit, error.to_string())
    }
}

/// Whether the user asked for something that is not there, and not the repository is at fault.
fn is_wrong_name(error: &snapshot::error::Error) -> bool {
    use snapshot::error::Error;
    matches!(
        error,
        Error::UnknownSnapshot { .. }
            | Error::NoSuccessfulSnapshot { .. }
            | Error::UnknownIndex { .. }
            | Error::InvalidPattern { .. }
    )
}

impl From<target::ConfigError> for CommandError {
    fn from(error: target::ConfigError) -> CommandError {
        CommandError::usage(error.to_string())
    }
}

impl From<aws::OpenError> for CommandError {
    fn from(error: aws::OpenError) -> CommandError {
        CommandError::usage(error.to_string())
    }
}

impl From<aws::AwsError> for CommandError {
    fn from(error: aws::AwsError) -> CommandError {
        let exit = match error.kind {
            aws::Fault::Credentials | aws::Fault::Invalid | aws::Fault::NotFound => Exit::Usage,
            _ => Exit::Error,
        };
        CommandError::new(exit, error.to_string())
    }
}

impl From<BlobError> for CommandError {
    fn from(error: BlobError) -> CommandError {
        CommandError::new(Exit::Snapshot, error.to_string())
    }
}

impl From<TargetError> for CommandError {
    fn from(error: TargetError) -> CommandError {
        CommandError::new(Exit::Target, error.to_string())
    }
}

impl From<DestinationError> for CommandError {
    fn from(error: DestinationError) -> CommandError {
        match error {
            DestinationError::Target(error) => error.into(),
            DestinationError::Store(error) => error.into(),
            DestinationError::Missing { .. } => CommandError::new(Exit::Target, error.to_string()),
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> CommandError {
        CommandError::other(error.to_string())
    }
}

impl From<PlanningError> for CommandError {
    fn from(error: PlanningError) -> CommandError {
        match error {
            PlanningError::Source(error) => error.into(),
            PlanningError::Store(error) => error.into(),
        }
    }
}

impl From<WorkerError> for CommandError {
    fn from(error: WorkerError) -> CommandError {
        CommandError::new(Exit::of(error.cause()), error.to_string())
    }
}

impl From<VerifyError> for CommandError {
    fn from(error: VerifyError) -> CommandError {
        match error {
            VerifyError::Source(error) => error.into(),
            VerifyError::Target(error) => error.into(),
        }
    }
}

//! What the template tells the functions, by their environment.

use backfill::budget::Budget;
use backfill::chunking::check_chunk_bytes;
use backfill::limit::MaxFailed;
use std::fmt;
use std::time::Duration;

/// A setting that is missing or makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable {name} {what}; deploy the template of this version")]
pub struct SettingsError {
    name: &'static str,
    what: String,
}

/// How the functions prove to the target who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetAuth {
    /// Not at all.
    None,
    /// By the user and password in a secret of this ARN.
    Basic {
        /// The secret's ARN.
        secret: String,
    },
    /// By their own role.
    SigV4 {
        /// `es` or `aoss`.
        service: String,
        /// The target's region; else the functions' own.
        region: Option<String>,
    },
}

/// The settings. Those that only some functions need are optional here, and asked for where they are needed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the stack, for metrics.
    pub stack: String,
    /// Name of the checkpoint table.
    pub table: String,
    /// URL of the queue of chunks.
    pub queue_url: String,
    /// URL of the queue of messages that cannot be understood.
    pub dead_letter_queue_url: Option<String>,
    /// `s3://bucket/prefix` of the failed-document streams.
    pub failed_documents: String,
    /// `s3://bucket/prefix` of the repository that is meant unless a request names another one.
    pub repository: Option<String>,
    /// Region of the repository's bucket; else the functions' own.
    pub repository_region: Option<String>,
    /// Role that is assumed to read the repository.
    pub repository_role: Option<String>,
    /// Address of the target.
    pub target: Option<String>,
    /// How to get in.
    pub target_auth: TargetAuth,
    /// Whether any certificate of the target is good enough.
    pub target_insecure: bool,
    /// Name of the worker function.
    pub worker_function: Option<String>,
    /// UUID of the mapping from the queue to the worker function.
    pub worker_event_source: Option<String>,
    /// Workers of a run, unless a request says how many.
    pub workers: u32,
    /// Longest time that is worked on one message, at most; the function's deadline counts in any case.
    pub slice: Option<Duration>,
    /// For how many milliseconds nothing must have moved before messages are taken for lost.
    pub quiet: Option<u64>,
    /// Bytes of a bulk request, at most.
    pub bulk_bytes: Option<usize>,
    /// Bulk requests of one worker under way at once, at most.
    pub max_in_flight: Option<usize>,
    /// How much memory the function has.
    pub budget: Budget,
    /// Bytes of stored fields of a chunk, unless a request says how many.
    pub chunk_bytes: u64,
    /// How many documents may fail, unless a request says so.
    pub max_failed: MaxFailed,
}

/// What Lambda calls the memory of a function.
const MEMORY: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";
/// Bytes of a chunk: a minute or two of one worker.
const CHUNK_BYTES: u64 = 512 << 20;

impl Settings {
    /// From the process's environment.
    ///
    /// # Errors
    /// When one that is always needed is missing, or one makes no sense.
    pub fn load() -> Result<Settings, SettingsError> {
        Settings::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let get = |name: &'static str| variable(name).filter(|value| !value.is_empty());
        let need = |name| get(name).ok_or_else(|| SettingsError { name, what: "is not set".to_owned() });
        let target_auth = match get("BACKFILL_TARGET_AUTH").as_deref() {
            None | Some("none") => TargetAuth::None,
            Some("basic") => TargetAuth::Basic { secret: need("BACKFILL_TARGET_SECRET")? },
            Some("sigv4") => TargetAuth::SigV4 {
                service: get("BACKFILL_TARGET_SERVICE").unwrap_or_else(|| "es".to_owned()),
                region: get("BACKFILL_TARGET_REGION"),
            },
            Some(other) => {
                return Err(SettingsError {
                    name: "BACKFILL_TARGET_AUTH",
                    what: format!("is {other:?}, and not none, basic or sigv4"),
                });
            }
        };
        Ok(Settings {
            stack: get("BACKFILL_STACK").unwrap_or_else(|| "backfill".to_owned()),
            table: need("BACKFILL_TABLE")?,
            queue_url: need("BACKFILL_QUEUE_URL")?,
            dead_letter_queue_url: get("BACKFILL_DEAD_LETTER_QUEUE_URL"),
            failed_documents: need("BACKFILL_FAILED_DOCUMENTS")?,
            repository: get("BACKFILL_REPOSITORY"),
            repository_region: get("BACKFILL_REPOSITORY_REGION"),
            repository_role: get("BACKFILL_REPOSITORY_ROLE"),
            target: get("BACKFILL_TARGET"),
            target_auth,
            target_insecure: get("BACKFILL_TARGET_INSECURE").is_some_and(|v| v == "true"),
            worker_function: get("BACKFILL_WORKER_FUNCTION"),
            worker_event_source: get("BACKFILL_WORKER_EVENT_SOURCE"),
            workers: number("BACKFILL_WORKERS", get("BACKFILL_WORKERS"))?.unwrap_or(2),
            slice: number("BACKFILL_SLICE_MS", get("BACKFILL_SLICE_MS"))?.map(Duration::from_millis),
            quiet: number("BACKFILL_QUIET_MS", get("BACKFILL_QUIET_MS"))?,
            bulk_bytes: number("BACKFILL_BULK_BYTES", get("BACKFILL_BULK_BYTES"))?,
            max_in_flight: number("BACKFILL_MAX_IN_FLIGHT", get("BACKFILL_MAX_IN_FLIGHT"))?,
            // In MiB; Lambda sets it, as large as the template says.
            budget: number::<u64>(MEMORY, get(MEMORY))?
                .map_or_else(Budget::default, |mib| Budget::new(mib.saturating_mul(1 << 20), 1)),
            chunk_bytes: check_chunk_bytes(
                number("BACKFILL_CHUNK_BYTES", get("BACKFILL_CHUNK_BYTES"))?.unwrap_or(CHUNK_BYTES),
            )
            .map_err(|what| SettingsError {
                name: "BACKFILL_CHUNK_BYTES",
                what: format!("cannot be used: {what}"),
            })?,
            max_failed: get("BACKFILL_MAX_FAILED")
                .map_or_else(|| Ok(MaxFailed::default()), |text| text.parse())
                .map_err(|what| SettingsError {
                    name: "BACKFILL_MAX_FAILED",
                    what: format!("cannot be used: {what}"),
                })?,
        })
    }
}

fn number<N: std::str::FromStr>(name: &'static str, text: Option<String>) -> Result<Option<N>, SettingsError>
where
    N::Err: fmt::Display,
{
    let parsed = text.map(|text| {
        text.parse()
            .map_err(|why| SettingsError { name, what: format!("is {text:?}, and not a number: {why}") })
    });
    parsed.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let needed = [
            ("BACKFILL_TABLE", "t"),
            ("BACKFILL_QUEUE_URL", "q"),
            ("BACKFILL_FAILED_DOCUMENTS", "s3://b/failed"),
        ];
        Settings::read(|name| {
            let mut all = pairs.iter().chain(&needed);
            all.find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_the_template_leaves_empty_counts_as_not_set() {
        let settings = read(&[("BACKFILL_REPOSITORY", ""), ("BACKFILL_TARGET_AUTH", "")]).unwrap();
        assert_eq!((settings.repository, settings.target_auth), (None, TargetAuth::None));
        assert!(
            read(&[("BACKFILL_TABLE", "")]).unwrap_err().to_string().contains("BACKFILL_TABLE is not set")
        );
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let text = read(&[("BACKFILL_WORKERS", "many")]).unwrap_err().to_string();
        assert!(text.contains("BACKFILL_WORKERS") && text.contains("many"), "{text}");
        assert!(read(&[("BACKFILL_TARGET_AUTH", "digest")]).is_err());
        let text = read(&[("BACKFILL_CHUNK_BYTES", "1")]).unwrap_err().to_string();
        assert!(text.contains("chunks of 1 bytes are out of range; give from 4096 bytes"), "{text}");
        let text = read(&[("BACKFILL_MAX_FAILED", "few")]).unwrap_err().to_string();
        assert!(text.contains("BACKFILL_MAX_FAILED cannot be used: \"few\" is no limit"), "{text}");
        let text = read(&[("BACKFILL_TARGET_AUTH", "basic")]).unwrap_err().to_string();
        assert!(text.contains("BACKFILL_TARGET_SECRET"), "{text}");
    }
}

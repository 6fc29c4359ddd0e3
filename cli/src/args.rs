//! The arguments: one set of definitions for `console GROUP COMMAND` and `backfill COMMAND`.
//!
//! Every setting has a flag, an environment variable and, where it describes clusters, snapshot or backfill, a place in
//! `services.yaml`; flags win, then the environment, then the file.

use backfill::chunking::check_chunk_bytes;
use backfill::limit::MaxFailed;
use backfill::model::{FieldName, TypesChoice};
use backfill::secrets::SecretString;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    error
  2    usage: the command line or the configuration is wrong
  3    done, but with failed documents; or verify found differences
  4    gave up waiting
  5    snapshot unreadable, damaged or changed
  6    target unreachable or blocked; or an index there was replaced during the run
  7    stopped because more documents failed than --max-failed allows
  8    done, but indices were refused and left out
  130  interrupted or stopped before the end";

/// Works on clusters, snapshots and backfills.
#[derive(Debug, Parser)]
#[command(name = "console", version, after_help = EXIT_CODES)]
pub struct ConsoleCli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to work on.
    #[command(subcommand)]
    pub group: Group,
}

/// Moves the documents of an Elasticsearch or OpenSearch snapshot into an OpenSearch cluster, or into NDJSON files.
#[derive(Debug, Parser)]
#[command(name = "backfill", version, after_help = EXIT_CODES)]
pub struct BackfillCli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: BackfillCommand,
}

/// Options of all commands.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// Configuration file [default: services.yaml in the current directory, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "BACKFILL_CONFIG_FILE")]
    pub config_file: Option<PathBuf>,
    /// Print results as JSON on standard output
    #[arg(long, global = true, env = "BACKFILL_JSON")]
    pub json: bool,
    /// Log more; twice for everything (also BACKFILL_LOG, e.g. BACKFILL_LOG=debug)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What to work on.
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
#[derive(Debug, Subcommand)]
pub enum Group {
    /// Look at the source and target clusters
    Clusters {
        /// What to do.
        #[command(subcommand)]
        command: ClustersCommand,
    },
    /// Look into the snapshot repository
    Snapshot {
        /// What to do.
        #[command(subcommand)]
        command: SnapshotCommand,
    },
    /// Plan, run, watch and check a backfill
    Backfill {
        /// What to do.
        #[command(subcommand)]
        command: BackfillCommand,
    },
}

/// `console clusters …`
#[derive(Debug, Subcommand)]
pub enum ClustersCommand {
    /// List the indices of source and target
    CatIndices(ClustersArgs),
    /// Check that source and target can be reached
    ConnectionCheck(ClustersArgs),
}

/// Arguments of the commands on clusters.
#[derive(Debug, Args)]
pub struct ClustersArgs {
    /// Only this cluster
    #[arg(long, value_name = "WHICH")]
    pub cluster: Option<Which>,
    /// The source cluster, if it still runs.
    #[command(flatten)]
    pub source: SourceClusterArgs,
    /// The repository stands in for a source cluster that is gone.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// Which snapshot.
    #[command(flatten)]
    pub snapshot: SnapshotArgs,
    /// The target cluster.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// One of the clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The source.
    Source,
    /// The target.
    Target,
}

/// `console snapshot …`
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// List the snapshots in the repository
    List {
        /// The repository.
        #[command(flatten)]
        repository: RepositoryArgs,
    },
    /// Tell what a snapshot holds: indices, shards, documents, bytes
    Describe {
        /// The repository.
        #[command(flatten)]
        repository: RepositoryArgs,
        /// Which snapshot.
        #[command(flatten)]
        snapshot: SnapshotArgs,
    },
}

/// `backfill …`
#[derive(Debug, Subcommand)]
pub enum BackfillCommand {
    /// Tell what start would do: indices, shards, chunks, documents, bytes to read
    Plan(PlanArgs),
    /// Start a backfill, or continue one that was stopped or killed
    Start(Box<StartArgs>),
    /// Tell how far it is
    Status(StatusArgs),
    /// Set the number of workers; a running backfill follows at once
    Scale {
        /// Number of workers
        workers: u32,
        /// The state.
        #[command(flatten)]
        state: StateArgs,
    },
    /// Stop the backfill: workers finish what is in flight, checkpoint and end; start continues it
    #[command(visible_alias = "pause")]
    Stop {
        /// How long to wait until it has stopped, e.g. 30s, 5m
        #[arg(long, default_value = "2m", value_name = "TIME", value_parser = duration)]
        timeout: std::time::Duration,
        /// The state.
        #[command(flatten)]
        state: StateArgs,
    },
    /// Compare the snapshot with the target: counts, and documents by id, routing and source
    Verify(VerifyArgs),
    /// Tell all that is recorded of a run: its plan and settings, and how far indices, shards and chunks are
    Describe(DescribeArgs),
    /// Put indices of the run back to their beginning, so that start migrates them again
    Redo(RedoArgs),
    /// Forget a run, so that a start begins anew; documents in the target stay
    Reset(ResetArgs),
    /// Look at the failed documents, and try them again
    FailedDocuments {
        /// What to do.
        #[command(subcommand)]
        command: FailedCommand,
    },
}

/// `backfill failed-documents …`
#[derive(Debug, Subcommand)]
pub enum FailedCommand {
    /// Where they are kept
    Location(StateArgs),
    /// How many there are, by index and type of error
    Count {
        /// Which.
        #[command(flatten)]
        filter: FailedArgs,
        /// The state.
        #[command(flatten)]
        state: StateArgs,
    },
    /// List them, each with its reason; with --json as they are kept, sources included
    List {
        /// Which.
        #[command(flatten)]
        filter: FailedArgs,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// The state.
        #[command(flatten)]
        state: StateArgs,
    },
    /// Send them again, as when the target's mappings were mended; those that fail again are kept with their new reason
    Retry(Box<RetryArgs>),
}

/// Which failed documents.
#[derive(Clone, Debug, Default, Args)]
pub struct FailedArgs {
    /// Only those of these indices of the snapshot: names, wildcards, -exclusions, separated by commas
    #[arg(long, value_name = "PATTERNS", allow_hyphen_values = true)]
    pub index: Option<String>,
    /// Only those that failed with this type of error, e.g. mapper_parsing_exception
    #[arg(long, value_name = "TYPE")]
    pub error_type: Option<String>,
}

/// Arguments of `failed-documents retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// Which.
    #[command(flatten)]
    pub filter: FailedArgs,
    /// The target; that of the run unless it is named.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How documents are sent.
    #[command(flatten)]
    pub send: SendArgs,
    /// The state.
    #[command(flatten)]
    pub state: StateArgs,
}

/// Arguments of `describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// Tell of each chunk, too: state, lease, attempts, cursor, counts, error
    #[arg(long)]
    pub chunks: bool,
    /// Only these indices of the snapshot: names, wildcards, -exclusions, separated by commas
    #[arg(long, value_name = "PATTERNS", allow_hyphen_values = true)]
    pub index: Option<String>,
    /// Which run [default: the newest]
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// The state.
    #[command(flatten)]
    pub state: StateArgs,
}

/// Arguments of `redo`.
#[derive(Debug, Args)]
pub struct RedoArgs {
    /// Indices of the snapshot, or data streams: names, wildcards, and exclusions as in 'a*,-ab'
    #[arg(required = true, value_name = "INDEX")]
    pub index: Vec<String>,
    /// The state.
    #[command(flatten)]
    pub state: StateArgs,
}

/// Arguments of `reset`.
#[derive(Debug, Args)]
pub struct ResetArgs {
    /// Which run [default: the newest]
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// Remove its failed documents, too
    #[arg(long)]
    pub failed_documents: bool,
    /// Even while workers are at it
    #[arg(long)]
    pub force: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// The state.
    #[command(flatten)]
    pub state: StateArgs,
}

/// Where the snapshot repository is.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Repository")]
pub struct RepositoryArgs {
    /// Snapshot repository: a directory, or s3://bucket/prefix
    #[arg(long, value_name = "DIR|s3://…", env = "BACKFILL_REPO")]
    pub repo: Option<String>,
    /// AWS region of the repository's bucket
    #[arg(long, value_name = "REGION", env = "BACKFILL_S3_REGION")]
    pub s3_region: Option<String>,
    /// Endpoint of an S3-compatible store
    #[arg(long, value_name = "URL", env = "BACKFILL_S3_ENDPOINT")]
    pub s3_endpoint: Option<String>,
}

/// Which snapshot, and what of it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Snapshot")]
pub struct SnapshotArgs {
    /// Name of the snapshot, or `latest` for the newest successful one [default: latest]
    #[arg(long, value_name = "NAME", env = "BACKFILL_SNAPSHOT")]
    pub snapshot: Option<String>,
    /// Indices: names, wildcards, -exclusions, separated by commas [default: all but hidden and system indices]
    #[arg(long, value_name = "PATTERNS", env = "BACKFILL_INDEX", allow_hyphen_values = true)]
    pub index: Option<String>,
    /// Let wildcards match hidden and dot-prefixed indices too
    #[arg(long, env = "BACKFILL_INCLUDE_HIDDEN")]
    pub include_hidden: bool,
    /// Accept a PARTIAL or FAILED snapshot, without the shards that it lacks
    #[arg(long, env = "BACKFILL_ALLOW_PARTIAL")]
    pub allow_partial: bool,
}

macro_rules! cluster_args {
    ($name:ident, $about:literal, $heading:literal, $url:ident, $url_help:literal, $user:ident, $password:ident, $region:ident,
     $service:ident, $ca:ident, $cert:ident, $key:ident, $insecure:ident, $env:literal) => {
        #[doc = $about]
        #[derive(Clone, Debug, Default, Args)]
        #[command(next_help_heading = $heading)]
        pub struct $name {
            #[doc = $url_help]
            #[arg(long, value_name = "URL", env = concat!("BACKFILL_", $env))]
            pub $url: Option<String>,
            /// User name for basic authentication
            #[arg(long, value_name = "NAME", env = concat!("BACKFILL_", $env, "_USERNAME"))]
            pub $user: Option<String>,
            /// Password for basic authentication; prefer the environment variable, which other users cannot see
            #[arg(long, value_name = "PASSWORD", hide_env_values = true, env = concat!("BACKFILL_", $env, "_PASSWORD"))]
            pub $password: Option<SecretString>,
            /// Sign requests for this AWS region (SigV4)
            #[arg(long, value_name = "REGION", env = concat!("BACKFILL_", $env, "_REGION"))]
            pub $region: Option<String>,
            /// Sign requests for this AWS service: es or aoss [default: es]
            #[arg(long, value_name = "SERVICE", env = concat!("BACKFILL_", $env, "_SERVICE"))]
            pub $service: Option<String>,
            /// Certificate authority to trust, PEM
            #[arg(long, value_name = "FILE", env = concat!("BACKFILL_", $env, "_CA"))]
            pub $ca: Option<PathBuf>,
            /// Client certificate, PEM
            #[arg(long, value_name = "FILE", env = concat!("BACKFILL_", $env, "_CERT"))]
            pub $cert: Option<PathBuf>,
            /// Key of the client certificate, PEM
            #[arg(long, value_name = "FILE", env = concat!("BACKFILL_", $env, "_KEY"))]
            pub $key: Option<PathBuf>,
            /// Do not verify the TLS certificate
            #[arg(long, env = concat!("BACKFILL_", $env, "_INSECURE"))]
            pub $insecure: bool,
        }
    };
}

cluster_args!(
    TargetArgs,
    "Where documents go.",
    "Target",
    target,
    "Target: URL of an OpenSearch cluster, or ndjson:DIR to write files",
    target_username,
    target_password,
    target_region,
    target_service,
    target_ca,
    target_cert,
    target_key,
    target_insecure,
    "TARGET"
);
cluster_args!(
    SourceClusterArgs,
    "The source cluster.",
    "Source cluster",
    source,
    "URL of the source cluster, if it still runs",
    source_username,
    source_password,
    source_region,
    source_service,
    source_ca,
    source_cert,
    source_key,
    source_insecure,
    "SOURCE"
);

/// How documents are sent.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sending")]
pub struct SendArgs {
    /// Compress requests to the target: auto means not on loopback
    #[arg(long, value_name = "WHEN", default_value = "auto", env = "BACKFILL_COMPRESS_REQUESTS")]
    pub compress_requests: When,
    /// Compress the files of an ndjson target
    #[arg(long, value_name = "HOW", env = "BACKFILL_COMPRESS")]
    pub compress: Option<FileCompression>,
    /// Largest bulk request, e.g. 5MiB; a single larger document is still sent
    #[arg(long, value_name = "SIZE", default_value = "5MiB", value_parser = size, env = "BACKFILL_BULK_SIZE")]
    pub bulk_size: u64,
    /// Bulk requests in flight for each worker, at most
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=100), env = "BACKFILL_MAX_IN_FLIGHT")]
    pub max_in_flight: u16,
    /// How long a target that is unreachable, overloaded or blocked is waited for
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration, env = "BACKFILL_TARGET_WAIT")]
    pub target_wait: std::time::Duration,
    /// Let the target create missing indices, with whatever mappings it guesses
    #[arg(long, env = "BACKFILL_CREATE_MISSING_INDICES")]
    pub create_missing_indices: bool,
}

/// Whether to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// Decide by circumstance.
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

/// How export files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileCompression {
    /// zstd.
    Zstd,
    /// gzip.
    Gzip,
}

/// Where the state of a backfill is: in a file on this machine, or in a stack on AWS.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "State")]
pub struct StateArgs {
    /// Run on AWS, in the deployed stack of this name
    #[arg(long, value_name = "NAME", env = "BACKFILL_STACK")]
    pub stack: Option<String>,
    /// AWS region of the stack
    #[arg(long, value_name = "REGION", env = "BACKFILL_REGION")]
    pub region: Option<String>,
    /// Run on this machine, without AWS, whatever else names a stack
    #[arg(long, env = "BACKFILL_LOCAL")]
    pub local: bool,
    /// File that keeps the checkpoints [default: backfill.sqlite]
    #[arg(long, value_name = "FILE", env = "BACKFILL_STATE")]
    pub state: Option<PathBuf>,
}

/// Size of chunks.
#[derive(Clone, Debug, Args)]
pub struct ChunkArgs {
    /// Stored-field bytes in a chunk, about [default: 256MiB; on AWS the stack's ChunkBytes]
    #[arg(long, value_name = "SIZE", value_parser = chunk_size, env = "BACKFILL_CHUNK_SIZE")]
    pub chunk_size: Option<u64>,
}

/// The size of chunks, unless another one is asked for.
const CHUNK_SIZE: u64 = 256 << 20;

impl ChunkArgs {
    /// The size on one machine.
    pub fn bytes(&self) -> u64 {
        self.chunk_size.unwrap_or(CHUNK_SIZE)
    }
}

/// What becomes of documents that cannot go as they are.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Documents")]
pub struct DocumentArgs {
    /// What becomes of the types of indices that have several, in a cluster: merge (all into one index), split (an index
    /// for each type), field or field=NAME (one index, the type in a field, `type` unless it is named)
    #[arg(long, value_name = "HOW", env = "BACKFILL_TYPES")]
    pub types: Option<TypesChoice>,
    /// Send documents of whose source the index stores only a part (includes or excludes) as they are
    #[arg(long, env = "BACKFILL_ALLOW_PARTIAL_SOURCE")]
    pub allow_partial_source: bool,
    /// Put the _timestamp that documents of Elasticsearch 1 and 2 may have into a field of this name, as milliseconds
    /// since 1970
    #[arg(long, value_name = "NAME", env = "BACKFILL_TIMESTAMP_FIELD")]
    pub timestamp_field: Option<FieldName>,
    /// Put the time at which documents of Elasticsearch 1 and 2 end (_ttl) into a field of this name, likewise
    #[arg(long, value_name = "NAME", env = "BACKFILL_TTL_FIELD")]
    pub ttl_field: Option<FieldName>,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The repository.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// Which snapshot.
    #[command(flatten)]
    pub snapshot: SnapshotArgs,
    /// What becomes of documents that cannot go as they are.
    #[command(flatten)]
    pub documents: DocumentArgs,
    /// Size of chunks.
    #[command(flatten)]
    pub chunk: ChunkArgs,
}

/// Arguments of `start`.
#[derive(Clone, Debug, Args)]
pub struct StartArgs {
    /// The repository.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// Which snapshot.
    #[command(flatten)]
    pub snapshot: SnapshotArgs,
    /// What becomes of documents that cannot go as they are.
    #[command(flatten)]
    pub documents: DocumentArgs,
    /// The target.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How documents are sent.
    #[command(flatten)]
    pub send: SendArgs,
    /// The state.
    #[command(flatten)]
    pub state: StateArgs,
    /// Size of chunks.
    #[command(flatten)]
    pub chunk: ChunkArgs,
    /// Number of workers [default: as set by scale; for a new run 1, on AWS the stack's Workers]
    #[arg(long, value_name = "N", env = "BACKFILL_WORKERS")]
    pub workers: Option<u32>,
    /// Stop when more documents fail than this number, or than this share of at least 1,000 documents, e.g. 500 or 2.5%
    /// [default: as in the run; for a new run 10%, on AWS the stack's MaxFailed]
    #[arg(long, value_name = "N|P%", env = "BACKFILL_MAX_FAILED")]
    pub max_failed: Option<MaxFailed>,
    /// Start a new run although there is another one
    #[arg(long)]
    pub new: bool,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Tell of shards, documents and bytes, not only whether it runs
    #[arg(long)]
    pub deep_check: bool,
    /// Print the status again and again until the backfill ends
    #[arg(long)]
    pub watch: bool,
    /// Wait until the backfill ends, and exit as start would
    #[arg(long)]
    pub wait: bool,
    /// With --wait: give up after this long (exit code 4)
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "wait")]
    pub timeout: Option<std::time::Duration>,
    /// The state.
    #[command(flatten)]
    pub state: StateArgs,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Compare every document instead of a sample
    #[arg(long)]
    pub full: bool,
    /// Documents to compare in each index
    #[arg(long, value_name = "N", default_value_t = 1000, conflicts_with = "full")]
    pub sample: u32,
    /// The repository.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// Which snapshot.
    #[command(flatten)]
    pub snapshot: SnapshotArgs,
    /// What became of documents that could not go as they are.
    #[command(flatten)]
    pub documents: DocumentArgs,
    /// The target.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Parses a size such as `5MiB`, `300kb` or `1048576`: units are powers of 1024, as Elasticsearch has them.
pub fn size(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(format!("{text:?} is no size; write for example 5MiB")),
    };
    let number: u64 =
        digits.trim().parse().map_err(|_| format!("{text:?} is no size; write for example 5MiB"))?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| format!("{text:?} is out of range"))
}

/// Parses a size of chunks.
fn chunk_size(text: &str) -> Result<u64, String> {
    check_chunk_bytes(size(text)?)
}

/// Parses a time such as `90s`, `10m` or `1h`; a bare number is seconds.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let wrong = || format!("{text:?} is no time; write for example 90s, 10m or 1h");
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let (seconds, millis) = match &text[digits.len()..] {
        "ms" => (0, 1),
        "" | "s" => (1, 0),
        "m" => (60, 0),
        "h" => (3600, 0),
        "d" => (86400, 0),
        _ => return Err(wrong()),
    };
    let total = number.checked_mul(seconds * 1000 + millis).ok_or_else(wrong)?;
    Ok(std::time::Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::time::Duration;

    #[test]
    fn definitions_are_consistent() {
        ConsoleCli::command().debug_assert();
        BackfillCli::command().debug_assert();
    }

    #[test]
    fn sizes_and_times_are_understood() {
        let sizes = [
            ("5MiB", Some(5 << 20)),
            ("300kb", Some(300 << 10)),
            ("7", Some(7)),
            ("1 g", Some(1 << 30)),
            ("0", None),
            ("x", None),
            ("9999999999t", None),
            ("5 apples", None),
        ];
        for (text, expected) in sizes {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
        let times = [
            ("90s", Some(90_000)),
            ("10m", Some(600_000)),
            ("250ms", Some(250)),
            ("3", Some(3000)),
            ("1w", None),
            ("", None),
        ];
        for (text, expected) in times {
            assert_eq!(duration(text).ok(), expected.map(Duration::from_millis), "{text}");
        }
    }
}

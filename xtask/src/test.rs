//! Runs all checks and tests.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus},
};

use clap::Args;
use servers::{DynamoDb, S3Server, Server, ServerSpec, Sqs};

use crate::{Result, fuzz, lint};

/// The clusters that tests write into, and the environment variables that tell where they are.
const TARGETS: [(&str, &str); 2] =
    [("opensearch:2.19.5", "BACKFILL_TEST_TARGET"), ("opensearch:3.6.0", "BACKFILL_TEST_TARGET_3")];
/// The test that needs an S3 server.
const S3_TEST: &str = "blobs_on_a_real_server";

/// How long each fuzz target runs with `--long`.
const FUZZ_SECONDS: u32 = 60;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Also run each fuzz target for a minute; needs a nightly compiler and cargo-fuzz
    #[arg(long)]
    long: bool,
    /// Arguments for the tests, as for `cargo test --`
    #[arg(last = true)]
    tests: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let missing = servers::missing_tools();
    if !missing.is_empty() {
        return Err(missing.join("\nerror: ").into());
    }
    let linted = lint::run()?;
    if linted != ExitCode::SUCCESS {
        return Ok(linted);
    }
    let built = lint::cargo(&["test", "--workspace", "--no-run"])?;
    if !built.success() {
        return Ok(code(built));
    }

    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("== valgrind is missing, so no instructions are counted; install valgrind to do it");
    } else if arguments.tests.is_empty() {
        let status =
            lint::cargo(&["test", "--profile", "counted", "-p", "lucene", "--test", "instructions"])?;
        if !status.success() {
            return Ok(code(status));
        }
    }

    let functions = build_functions(&root()?)?;

    let mut targets = Vec::new();
    for (target, variable) in TARGETS {
        let spec: ServerSpec = target.parse()?;
        eprintln!("== getting {target}, unless it is there");
        servers::fetch(&spec)?;
        eprintln!("== starting the target {target}");
        targets.push((variable, Server::start(&spec.heap("1g"))?));
    }

    let s3 = S3Server::start()?;

    let (dynamodb, sqs) = (DynamoDb::start()?, Sqs::start()?);

    eprintln!("== cargo test --workspace -- --include-ignored");
    let mut tests = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    tests
        .args(["test", "--workspace", "--no-fail-fast", "--", "--include-ignored"])
        .args(&arguments.tests)
        // These only measure.
        .args(["--skip", "measure_"])
        .env("BACKFILL_TEST_DYNAMODB", dynamodb.url())
        .env("BACKFILL_TEST_SQS", sqs.url())
        .envs(DynamoDb::credentials())
        .envs(targets.iter().map(|(variable, server)| (variable, server.url())))
        .env("BACKFILL_TEST_FUNCTIONS", functions);
    match &s3 {
        Some(s3) => {
            tests.env("BACKFILL_TEST_S3", s3.url()).envs(S3Server::credentials());
        }
        None => {
            eprintln!(
                "== go is missing, so no S3 server: the test against one is left out; install golang to run it"
            );
            tests.args(["--skip", S3_TEST]);
        }
    }
    let status = tests.status()?;
    if !status.success() || !arguments.long {
        return Ok(code(status));
    }
    fuzz::run(&fuzz::Arguments::all_for(FUZZ_SECONDS))
}

/// The top of the repository.
pub(crate) fn root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?)
}

/// Builds the functions below `root` with `sam build`, and gets what they are run with. Returns the template to be deployed.
pub(crate) fn build_functions(root: &Path) -> Result<PathBuf> {
    eprintln!("== getting the emulator of AWS, unless it is there");
    servers::fetch_cloud()?;
    eprintln!("== sam build");
    Ok(servers::build_functions(root, &root.join("target/sam"))?)
}

pub(crate) fn code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

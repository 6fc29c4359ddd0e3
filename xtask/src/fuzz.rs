//! Runs the fuzz targets.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use clap::Args;

use crate::{Result, corpus};

/// What the targets print.
const LOGS: &str = "fuzz/target/logs";
/// Inputs to begin with, for those targets that have some: recorded answers of real clusters and the like.
const SEEDS: &str = "fuzz/seeds";
/// Inputs that fuzzing found.
const CORPUS: &str = "fuzz/corpus";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Fuzz targets to run; all of them without
    targets: Vec<String>,
    /// How long to run each target
    #[arg(long, default_value_t = 600)]
    seconds: u32,
    /// Targets to run at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

impl Arguments {
    /// All targets, each for so many seconds, on all processors.
    pub(crate) fn all_for(seconds: u32) -> Arguments {
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Arguments { targets: Vec::new(), seconds, jobs }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut missing = Vec::new();
    if !answers(Command::new("cargo").args(["+nightly", "--version"])) {
        missing.push("Nightly Rust is missing, which fuzzing needs: rustup toolchain install nightly");
    }
    if !answers(Command::new("cargo").args(["fuzz", "--version"])) {
        missing.push("cargo-fuzz is missing, which runs the fuzz targets: cargo install cargo-fuzz");
    }
    if !missing.is_empty() {
        return Err(missing.join("\nerror: ").into());
    }
    let targets = if arguments.targets.is_empty() { all()? } else { arguments.targets.clone() };
    corpus::seed()?;
    // Before the time counts, and once for all of them.
    if !cargo_fuzz("build").status()?.success() {
        return Err("cargo fuzz build failed".into());
    }
    fs::create_dir_all(LOGS)?;
    let waiting = Mutex::new(targets.into_iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Result<Vec<String>> {
        let mut found = Vec::new();
        while let Some(target) = next() {
            if !fuzz(&target, arguments.seconds)? {
                found.push(target);
            }
        }
        Ok(found)
    };
    let found: Vec<String> = std::thread::scope(|scope| -> Result<_> {
        let threads: Vec<_> =
            (0..arguments.jobs.max(1)).map(|_| scope.spawn(|| work().map_err(|e| e.to_string()))).collect();
        let mut found = Vec::new();
        for thread in threads {
            found.extend(thread.join().map_err(|_| "a thread panicked")??);
        }
        Ok(found)
    })?;
    if !found.is_empty() {
        return Err(format!(
            "inputs were found that fail, which are in fuzz/artifacts: {}",
            found.join(", ")
        )
        .into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a target for so long, and tells how it went; whether it found nothing.
fn fuzz(target: &str, seconds: u32) -> Result<bool> {
    let log = PathBuf::from(LOGS).join(format!("{target}.log"));
    eprintln!("fuzzing {target} for {seconds} seconds: {}", log.display());
    // What is found goes into the first one.
    let mut corpora = Vec::new();
    let seeds = PathBuf::from(SEEDS).join(target);
    if seeds.is_dir() {
        let corpus = PathBuf::from(CORPUS).join(target);
        fs::create_dir_all(&corpus)?;
        corpora.extend([corpus, seeds]);
    }
    let status = cargo_fuzz("run")
        .arg(target)
        .args(corpora)
        .args(["--", "-rss_limit_mb=1024", "-timeout=20"])
        .arg(format!("-max_total_time={seconds}"))
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?)
        .status()?;
    eprintln!("{target}: {}", last_words(&log, status.success())?);
    Ok(status.success())
}

/// How many inputs a target tried, by the last line of what it printed; where and how it failed if it did.
fn last_words(log: &Path, well: bool) -> Result<String> {
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    if well {
        let done = lines.iter().rev().find(|line| line.starts_with("Done "));
        return Ok(done.map_or_else(|| "done".to_owned(), |line| (*line).to_owned()));
    }
    let telling =
        |line: &str| ["panicked at", "ERROR", "error", "artifacts/"].iter().any(|w| line.contains(w));
    let from = lines.iter().position(|line| telling(line)).unwrap_or(lines.len().saturating_sub(30));
    let told = lines[from..]
        .iter()
        .take(2)
        .chain(lines[from..].iter().skip(2).filter(|line| telling(line)).take(10));
    Ok(told.copied().collect::<Vec<_>>().join("\n"))
}

fn cargo_fuzz(command: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["+nightly", "fuzz", command]);
    cargo
}

fn all() -> Result<Vec<String>> {
    let output = cargo_fuzz("list").stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("cargo fuzz list failed".into());
    }
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

fn answers(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

//! Runs the fuzz targets.

use std::process::{Command, ExitCode, Stdio};

use clap::Args;

use crate::Result;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Fuzz targets to run; all of them without
    targets: Vec<String>,
    /// How long to run each target
    #[arg(long, default_value_t = 600)]
    seconds: u32,
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
    for target in &targets {
        eprintln!("fuzzing {target} for {} seconds", arguments.seconds);
        let status = Command::new("cargo")
            .args(["+nightly", "fuzz", "run", target, "--", "-rss_limit_mb=1024"])
            .arg(format!("-max_total_time={}", arguments.seconds))
            .status()?;
        if !status.success() {
            return Err(format!("{target} found something: the input is in fuzz/artifacts/{target}").into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn all() -> Result<Vec<String>> {
    let output =
        Command::new("cargo").args(["+nightly", "fuzz", "list"]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("cargo fuzz list failed".into());
    }
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

fn answers(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

//! Checks the code without running it: formatting, Clippy, the fuzz targets, and the dependencies.

use std::{
    path::Path,
    process::{Command, ExitCode, ExitStatus},
};

use crate::{Result, test::code};

/// The checks of `cargo deny` that need nothing but the crates themselves.
const OFFLINE_CHECKS: [&str; 3] = ["bans", "licenses", "sources"];
/// The workspaces of the repository: the product, and the fuzz targets, which need a nightly compiler.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "fuzz/Cargo.toml"];

pub(crate) fn run() -> Result<ExitCode> {
    for arguments in [
        &["fmt", "--all", "--check"][..],
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        // The fuzz targets are not members of the workspace. Without this check they would break unnoticed.
        &["check", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target"],
    ] {
        let status = cargo(arguments)?;
        if !status.success() {
            return Ok(code(status));
        }
    }
    check_dependencies()
}

/// Checks licences, sources and bans of all dependencies, and known vulnerabilities if their database can be reached.
fn check_dependencies() -> Result<ExitCode> {
    let deny = servers::cargo_deny()?;
    // The advisories are a Git repository. Where it cannot be reached, the other checks are still worth having.
    let has_advisories = deny_command(&deny, MANIFESTS[0]).args(["fetch", "db"]).output()?.status.success();
    if !has_advisories {
        eprintln!(
            "== the database of known vulnerabilities cannot be reached, so dependencies are not compared with it"
        );
    }
    for manifest in MANIFESTS {
        let mut command = deny_command(&deny, manifest);
        command.args(["check", "--hide-inclusion-graph"]).args(OFFLINE_CHECKS);
        if has_advisories {
            command.arg("advisories");
        }
        eprintln!("== cargo deny check {manifest}");
        let status = command.status()?;
        if !status.success() {
            return Ok(code(status));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn deny_command(program: &Path, manifest: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--log-level", "warn", "--config", "deny.toml", "--manifest-path", manifest]);
    command
}

/// Runs cargo and says so.
pub(crate) fn cargo(arguments: &[&str]) -> Result<ExitStatus> {
    eprintln!("== cargo {}", arguments.join(" "));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Ok(Command::new(cargo).args(arguments).status()?)
}

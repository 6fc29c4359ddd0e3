//! The programs that servers need, and how to get those that are missing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, distribution::cached, error::At, jdk};

/// The packages that bring everything on Debian and its relatives.
const MAVEN: &str = "Maven is missing, which downloads the servers: apt-get install maven";
const JAVA: &str = "Java 17 is missing, which runs the servers: apt-get install openjdk-17-jre-headless";

/// What is missing on this machine to run servers: for each a sentence that says what it is for, and how to get it.
#[must_use]
pub fn missing_tools() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if find_program("mvn").is_none() {
        missing.push(MAVEN);
    }
    if find_program("java").is_none() && !jdk::any_installed() {
        missing.push(JAVA);
    }
    missing.extend(crate::cloud::missing_python());
    missing
}

/// Where a program is on the PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// The version of `cargo deny` that checks the dependencies.
const CARGO_DENY: &str = "0.20.2";

/// The program `cargo-deny`, built if it is not there.
///
/// # Errors
/// When it cannot be built.
pub fn cargo_deny() -> Result<PathBuf, Error> {
    let dir = cached(&format!("cargo-deny-{CARGO_DENY}"), |dir| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        eprintln!("== cargo install cargo-deny, which takes some minutes");
        let mut install = Command::new(cargo);
        // It runs for seconds, so time spent on optimising it is lost.
        install
            .args(["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--debug", "--root"])
            .arg(dir);
        run(&mut install, "cargo install cargo-deny")
    })?;
    Ok(dir.join("bin/cargo-deny"))
}

/// Runs a program to its end; its output is shown only when it fails.
pub(crate) fn run(command: &mut Command, what: &str) -> Result<(), Error> {
    let fail = |output: String| Error::Program { program: what.to_owned(), output };
    let output = command.output().map_err(|e| fail(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(fail(tail(&String::from_utf8_lossy(&text), 20)))
}

/// Copies one artifact from Maven Central (or what stands in for it in this machine's Maven settings) into `dir`.
pub(crate) fn maven_copy(coordinates: &str, dir: &Path) -> Result<(), Error> {
    let maven = find_program("mvn").ok_or_else(|| Error::Missing(MAVEN.to_owned()))?;
    let mut command = Command::new(maven);
    command
        .current_dir(dir)
        .args(["-q", "-B", "dependency:copy", &format!("-Dartifact={coordinates}")])
        .arg(format!("-DoutputDirectory={}", dir.display()));
    run(&mut command, &format!("getting {coordinates} with mvn"))
}

/// The coordinates of a jar on Maven Central.
#[derive(Clone, Debug)]
pub(crate) struct Artifact {
    pub(crate) group: String,
    pub(crate) artifact: String,
    pub(crate) version: String,
}

impl Artifact {
    pub(crate) fn new(group: &str, artifact: &str, version: impl ToString) -> Self {
        Self { group: group.to_owned(), artifact: artifact.to_owned(), version: version.to_string() }
    }
}

/// Copies the jars of some artifacts, and all jars that they need to run, into `dir`.
pub(crate) fn maven_copy_with_dependencies(artifacts: &[Artifact], dir: &Path) -> Result<(), Error> {
    let maven = find_program("mvn").ok_or_else(|| Error::Missing(MAVEN.to_owned()))?;
    let project = dir.join("pom.xml");
    let dependencies: String = artifacts
        .iter()
        .map(|Artifact { group, artifact, version }| {
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                 <version>{version}</version></dependency>"
            )
        })
        .collect();
    let text = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>of.tests</groupId><artifactId>jars</artifactId>\
         <version>1</version><dependencies>{dependencies}</dependencies></project>"
    );
    fs::write(&project, text).at(&project)?;
    let names: Vec<String> =
        artifacts.iter().map(|a| format!("{}:{}:{}", a.group, a.artifact, a.version)).collect();
    let mut command = Command::new(maven);
    command
        .current_dir(dir)
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", dir.display()));
    run(&mut command, &format!("getting {} with mvn", names.join(", ")))?;
    fs::remove_file(&project).at(&project)
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

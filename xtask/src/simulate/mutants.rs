//! Proof that the simulator can fail: known defects, each of which it must notice.
//!
//! A mutant is the program with one safeguard removed by a patch. The patches are applied to a copy of the last commit, and
//! are kept as small as they can be. One that does not apply any more has to be made again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use super::{Home, Simulation};
use crate::Result;

/// The program with a defect, and a simulation that notices it.
struct Mutant {
    name: &'static str,
    patch: &'static str,
    simulation: Simulation,
    /// What the simulator must complain about.
    complaint: &'static str,
}

/// The mutants, each with the seed that was seen to notice it.
fn all() -> [Mutant; 2] {
    [
        Mutant {
            name: "answers-of-other-requests",
            patch: include_str!("answers-of-other-requests.patch"),
            simulation: Simulation::new(Home::OneMachine, 1, 180)
                .with_wrong(&["PreviousWithoutMark", "Previous"]),
            complaint: "documents count as done, the target holds",
        },
        Mutant {
            name: "cursor-ahead",
            patch: include_str!("cursor-ahead.patch"),
            simulation: Simulation::new(Home::OneMachine, 1, 180),
            complaint: "documents are not counted as they are",
        },
    ]
}

pub(super) fn run(only: &[String]) -> Result<ExitCode> {
    let mut survivors = Vec::new();
    for mutant in all() {
        if !only.is_empty() && !only.iter().any(|name| name == mutant.name) {
            continue;
        }
        eprintln!("== {}", mutant.name);
        match mutant.notice()? {
            Some(said) => eprintln!("{} is noticed: {said}", mutant.name),
            None => survivors.push(mutant.name),
        }
    }
    if survivors.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!("the simulator did not notice {}", survivors.join(", ")).into())
}

impl Mutant {
    /// Runs the simulation, and returns what it complained about, if it did.
    fn notice(&self) -> Result<Option<String>> {
        let root = self.copy()?;
        let built = cargo(&root).args(["test", "--workspace", "--test", "e2e", "--no-run"]).status()?;
        if !built.success() {
            return Err(format!("{} does not compile", self.name).into());
        }
        let mut simulation = self.simulation.command(&root)?;
        let Output { status, stdout, stderr } = simulation.env("CARGO_TARGET_DIR", target(&root)).output()?;
        if status.success() {
            return Ok(None);
        }
        let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        match said.lines().find(|line| line.contains(self.complaint)) {
            Some(line) => Ok(Some(line.to_owned())),
            None => Err(format!("the simulation of {} failed for another reason:\n{said}", self.name).into()),
        }
    }

    /// The last commit with the defect, in a directory of its own.
    fn copy(&self) -> Result<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let copy = root.join("target/mutants").join(self.name);
        // What an earlier copy has compiled is used again.
        if copy.join(".git").exists() {
            git(&copy, &["fetch", "--quiet", "origin", "HEAD"])?;
            git(&copy, &["reset", "--quiet", "--hard", "FETCH_HEAD"])?;
        } else {
            git(&root, &["clone", "--quiet", "--shared", ".", &copy.display().to_string()])?;
        }
        let patch = copy.join("target.patch");
        fs::write(&patch, self.patch)?;
        git(&copy, &["apply", "--whitespace=nowarn", "target.patch"])?;
        Ok(copy)
    }
}

/// All copies share what they compile.
fn target(copy: &Path) -> PathBuf {
    copy.join("../build")
}

fn cargo(copy: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(copy).env("CARGO_TARGET_DIR", target(copy));
    cargo
}

fn git(dir: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new("git").current_dir(dir).args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(format!("git {} failed", arguments.join(" ")).into()) }
}

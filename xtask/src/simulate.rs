//! Longer runs of the simulator, and proof that it can fail.

mod mutants;

use std::path::Path;
use std::process::{Command, ExitCode};

use clap::{Args, ValueEnum};

use crate::{Result, test};

#[derive(Args)]
pub(crate) struct Arguments {
    /// How long things go wrong
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Decides what goes wrong
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where runs are worked on
    #[arg(long, value_enum, default_value_t = Home::OneMachine)]
    home: Home,
    /// Give only wrong answers of this kind, such as SomeRefused; may be repeated
    #[arg(long, value_name = "KIND")]
    wrong: Vec<String>,
    /// Break the program in known ways instead, and fail unless the simulator notices each of them
    #[arg(long, conflicts_with_all = ["minutes", "seed", "home", "wrong"])]
    mutants: bool,
    /// Only this mutant; may be repeated
    #[arg(long, value_name = "NAME", requires = "mutants")]
    only: Vec<String>,
}

/// Where runs are worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Home {
    OneMachine,
    Aws,
}

impl Home {
    /// The test that simulates.
    fn test(self) -> &'static str {
        match self {
            Home::OneMachine => {
                "simulator::one_machine::whatever_happens_on_one_machine_each_document_arrives"
            }
            Home::Aws => "simulator::on_aws::whatever_happens_on_aws_each_document_arrives",
        }
    }
}

/// What is simulated.
struct Simulation {
    home: Home,
    seed: u64,
    seconds: u64,
    /// Kinds of wrong answers; all of them if there are none.
    wrong: Vec<String>,
}

impl Simulation {
    fn new(home: Home, seed: u64, seconds: u64) -> Simulation {
        Simulation { home, seed, seconds, wrong: Vec::new() }
    }

    fn with_wrong(self, kinds: &[&str]) -> Simulation {
        Simulation { wrong: kinds.iter().map(|kind| (*kind).to_owned()).collect(), ..self }
    }

    /// The command that simulates with the sources below `root`.
    fn command(&self, root: &Path) -> Result<Command> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .current_dir(root)
            .args(["test", "--workspace", "--test", "e2e", "--", "--ignored", "--exact", "--nocapture"])
            .arg(self.home.test())
            .env("BACKFILL_SIMULATION_SECONDS", self.seconds.to_string())
            .env("BACKFILL_SIMULATION_SEED", self.seed.to_string())
            .env("BACKFILL_SIMULATION_WRONG", self.wrong.join(","));
        if self.home == Home::Aws {
            command.env("BACKFILL_TEST_FUNCTIONS", test::build_functions(root)?);
        }
        Ok(command)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.mutants {
        return mutants::run(&arguments.only);
    }
    let Arguments { minutes, seed, home, wrong, .. } = arguments;
    let simulation = Simulation { wrong: wrong.clone(), ..Simulation::new(*home, *seed, minutes * 60) };
    Ok(test::code(simulation.command(&test::root()?)?.status()?))
}

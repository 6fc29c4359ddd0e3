//! The layers, one after the other: what is compared takes turns.

mod reading;
mod writing;

use crate::data::{self, MAIN};
use crate::measure::{Environment, Measured, Part, of, ratio_of};
use crate::report::{Table, percent, publish};
use crate::{Common, Result, s3};
use clap::{Args, ValueEnum};
use servers::S3Server;
use std::cell::RefCell;
use std::process::Command;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Runs of each; the median counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// These layers only
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Layer>,
    /// Write the tables into docs/performance.md
    #[arg(long)]
    write: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Layer {
    Decode,
    Fetch,
    Sink,
    /// A cluster and who writes to it share the processors
    Cluster,
    /// Each of them has a half of the processors
    Apart,
    Workers,
    Plan,
    Status,
    Cold,
}

impl Layer {
    fn needs_data(self) -> bool {
        !matches!(self, Layer::Status | Layer::Cold)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let wanted = |layer| arguments.only.is_empty() || arguments.only.contains(&layer);
    check_tools(wanted)?;
    let commit = commit();
    if Layer::value_variants().iter().any(|layer| wanted(*layer) && layer.needs_data()) {
        data::make_all(&arguments.common)?;
    }
    let bench = Bench { arguments, s3: RefCell::default() };
    if [Layer::Fetch, Layer::Sink, Layer::Plan].into_iter().any(wanted) {
        bench.start_s3()?;
    }
    let mut failed = Vec::new();
    for layer in Layer::value_variants().iter().copied().filter(|layer| wanted(*layer)) {
        eprintln!("== {layer:?}");
        // What was written so far is not to be written to the disk while something is measured.
        Command::new("sync").status()?;
        let load = load();
        let tables = match bench.tables(layer) {
            Ok(tables) => tables,
            Err(error) => {
                // The others can be measured all the same.
                eprintln!("error: {layer:?}: {error}");
                failed.push(format!("{layer:?}"));
                continue;
            }
        };
        let (scale, runs) = (arguments.common.scale, arguments.runs);
        let note = |table: &Table| {
            let runs = table.runs.unwrap_or(runs);
            format!("{}; {commit}; scale {scale}, {runs} runs; load before them {load}.", machine())
        };
        publish(&tables, note, arguments.write)?;
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("not measured: {}", failed.join(", ")).into()) }
}

/// What is measured.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .ok()
            .filter(|o| o.status.success());
        output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "--short", "HEAD"]), git(&["status", "--porcelain"])) {
        (Some(commit), Some(changes)) if changes.is_empty() => format!("commit {commit}"),
        (Some(commit), _) => format!("commit {commit} with changes"),
        (None, _) => "an unknown commit".to_owned(),
    }
}

/// The processors of this machine.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{processors} processors of {}", model.unwrap_or("an unknown kind"))
}

/// Checks what has to be on the machine before hours are spent.
fn check_tools(wanted: impl Fn(Layer) -> bool) -> Result<()> {
    let mut missing = servers::missing_tools();
    if wanted(Layer::Cold) && Command::new("cargo-lambda").arg("--version").output().is_err() {
        missing.push(
            "cargo-lambda is missing, which builds the functions: pip install cargo-lambda; \
             or name the other layers with --only",
        );
    }
    if wanted(Layer::Apart) && std::thread::available_parallelism().is_ok_and(|n| n.get() < 2) {
        missing
            .push("there is one processor, so nothing can be kept apart: name the other layers with --only");
    }
    if wanted(Layer::Apart) && Command::new("taskset").arg("--version").output().is_err() {
        missing.push("taskset is missing, which keeps processes apart: apt install util-linux");
    }
    if missing.is_empty() { Ok(()) } else { Err(missing.join("\nerror: ").into()) }
}

/// How many processes wanted to run, in the last one, five and fifteen minutes.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(", ")
}

struct Bench<'a> {
    arguments: &'a Arguments,
    s3: RefCell<Option<S3Server>>,
}

/// The largest resident set of a run in MiB.
fn mib(run: &Measured) -> f64 {
    run.peak as f64 / f64::from(1 << 20)
}

/// How far ours comes to the limit beside it, by this measure.
fn of_limit(ours: &[Measured], limit: &[Measured], measure: impl Fn(&Measured) -> f64) -> String {
    percent(ratio_of(ours, limit, measure), 1.0)
}

/// What was fetched of what is needed.
fn fetched(runs: &[Measured]) -> String {
    format!("{:.2} %", 100.0 * of(runs, |run| run.fetched as f64 / run.needed as f64))
}

impl Bench<'_> {
    fn tables(&self, layer: Layer) -> Result<Vec<Table>> {
        Ok(match layer {
            Layer::Decode => vec![self.decode()?],
            Layer::Fetch => vec![self.fetch()?],
            Layer::Sink => self.sink()?,
            Layer::Cluster => vec![self.cluster()?],
            Layer::Apart => vec![self.apart()?],
            Layer::Workers => vec![self.workers()?],
            Layer::Plan => vec![self.plan()?],
            Layer::Status => vec![self.status()?],
            Layer::Cold => vec![self.cold()?],
        })
    }

    fn main(&self) -> Result<String> {
        Ok(data::ensure(&self.arguments.common, MAIN)?.display().to_string())
    }

    fn start_s3(&self) -> Result<()> {
        let server = s3::start(&data::dir(&self.arguments.common)?)?;
        let server = server.ok_or("go is missing, which builds the S3 server: https://go.dev/dl")?;
        self.s3.replace(Some(server));
        Ok(())
    }

    /// A set behind a real S3 server: its address, and what processes must know.
    fn on_s3(&self, set: &data::Set) -> Result<(String, Environment)> {
        let repo = data::ensure(&self.arguments.common, set)?;
        let server = self.s3.borrow();
        let server = server.as_ref().ok_or("the S3 server was not started")?;
        s3::put(server, set.name, &repo)?;
        Command::new("sync").status()?;
        Ok((s3::address(set.name), s3::environment(server)))
    }

    /// Runs these processes in turns, against what takes everything.
    fn compare(&self, parts: &[Part]) -> Result<Vec<Vec<Measured>>> {
        let mut runs = vec![Vec::new(); parts.len()];
        for turn in 0..self.arguments.runs {
            for number in (0..parts.len()).map(|n| (n + turn) % parts.len()) {
                let run = parts[number].run()?;
                if run.again > 0 {
                    return Err(format!("{} requests were refused", run.again).into());
                }
                runs[number].push(run);
            }
        }
        Ok(runs)
    }
}

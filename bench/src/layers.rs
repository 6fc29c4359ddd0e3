//! The layers, one after the other: what is compared takes turns.

mod reading;
mod writing;

use crate::data::{self, MAIN};
use crate::measure::{Measured, part};
use crate::report::publish;
use crate::{Common, Result, cost, s3};
use clap::{Args, ValueEnum};
use servers::S3Server;
use std::cell::RefCell;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Runs of each; the median counts
    #[arg(long, default_value_t = 5)]
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
    Cluster,
    Workers,
    Plan,
    Status,
    Cold,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let bench = Bench { arguments, s3: RefCell::default(), per_cpu: RefCell::default() };
    for layer in Layer::value_variants() {
        if !arguments.only.is_empty() && !arguments.only.contains(layer) {
            continue;
        }
        eprintln!("== {layer:?}");
        let mut tables = vec![match layer {
            Layer::Decode => bench.decode()?,
            Layer::Fetch => bench.fetch()?,
            Layer::Sink => bench.sink()?,
            Layer::Cluster => bench.cluster()?,
            Layer::Workers => bench.workers()?,
            Layer::Plan => bench.plan()?,
            Layer::Status => bench.status()?,
            Layer::Cold => bench.cold()?,
        }];
        if *layer == Layer::Sink {
            tables.push(cost::table(*bench.per_cpu.borrow()));
        }
        let note = format!(
            "Scale {}, {} runs; load of the machine {}.",
            arguments.common.scale,
            arguments.runs,
            load()
        );
        publish(&tables, &note, arguments.write)?;
    }
    Ok(())
}

/// How many processes wanted to run, in the last one, five and fifteen minutes.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(", ")
}

struct Bench<'a> {
    arguments: &'a Arguments,
    s3: RefCell<Option<S3Server>>,
    /// MB a second of CPU from S3 into a sink, compressed.
    per_cpu: RefCell<f64>,
}

type Environment = Vec<(&'static str, String)>;

fn strings(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|a| (*a).to_owned()).collect()
}

impl Bench<'_> {
    fn main(&self) -> Result<String> {
        Ok(data::ensure(&self.arguments.common, MAIN)?.display().to_string())
    }

    /// A set behind a real S3 server: its address, and what processes must know.
    fn on_s3(&self, set: &data::Set) -> Result<(String, Environment)> {
        let repo = data::ensure(&self.arguments.common, set)?;
        let mut server = self.s3.borrow_mut();
        if server.is_none() {
            *server = s3::start(&data::dir(&self.arguments.common)?)?;
        }
        let server =
            server.as_ref().ok_or("go is missing, which builds the S3 server: apt-get install golang")?;
        s3::put(server, set.name, &repo)?;
        Ok((s3::address(set.name), s3::environment(server)))
    }

    /// Runs these processes in turns.
    fn compare(&self, parts: &[Vec<String>], environment: &Environment) -> Result<Vec<Vec<Measured>>> {
        let mut runs = vec![Vec::new(); parts.len()];
        for _ in 0..self.arguments.runs {
            for (runs, arguments) in runs.iter_mut().zip(parts) {
                runs.push(part(arguments, environment)?);
            }
        }
        Ok(runs)
    }
}

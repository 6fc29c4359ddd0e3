//! What comes before the target: planning, fetching, decoding.

use super::{Bench, fetched, mib, of_limit};
use crate::data::{self, MAIN, MANY, OTHERS};
use crate::measure::{Environment, Measured, Part, median, most, of, ratio, ratio_of, spread, spread_of};
use crate::report::{Table, number, percent};
use crate::{Result, cold, decode, status};
use servers::DynamoDb;
use std::path::Path;
use std::process::Command;

/// What is deployed.
const FUNCTIONS: [&str; 3] = ["worker", "start", "status"];
/// As a store is that is not on this machine: milliseconds until it answers, and what one request brings in a second.
const FAR_AWAY: [&str; 4] = ["--delay-ms", "30", "--request-rate", "85"];
/// How often workers move everything: at the end of a run one of them has nothing left to do, which counts less in a long run.
const TIMES: &str = "3";
/// Turns of what is decoded, at least: they take a second or less, and a machine is not as fast in each.
const TURNS: usize = 9;

impl Bench<'_> {
    pub(super) fn decode(&self) -> Result<Table> {
        let mut table = Table::new(
            "decode",
            &[
                "written by",
                "index",
                "decode, MB/CPU-s",
                "bare decompressor, MB/CPU-s",
                "of the bare decompressor",
                "memory copy, MB/CPU-s",
                "of the memory copy",
                "stored",
            ],
        );
        let turns = self.arguments.runs.max(TURNS);
        table.runs = Some(turns);
        for set in [MAIN].iter().chain(&OTHERS) {
            let repo = data::ensure(&self.arguments.common, set)?;
            for index in set.indices {
                let rates = decode::measure(&repo, index.name, turns)?;
                let to =
                    |limit: &[f64]| percent(ratio(rates.decode.iter().copied(), limit.iter().copied()), 1.0);
                table.row(vec![
                    set.server.to_owned(),
                    index.name.to_owned(),
                    spread(&rates.decode),
                    spread(&rates.bare),
                    to(&rates.bare),
                    number(median(rates.copy.iter().copied())),
                    to(&rates.copy),
                    percent(rates.stored as f64, rates.plain as f64),
                ]);
            }
        }
        Ok(table)
    }

    pub(super) fn fetch(&self) -> Result<Table> {
        let (repo, environment) = self.on_s3(MAIN)?;
        let mut table = Table::new(
            "fetch",
            &[
                "index",
                "fetch and decode, MB/s",
                "plain download, MB/s",
                "ratio",
                "fetch and decode, MB/CPU-s",
                "plain download, MB/CPU-s",
                "fetched/needed",
                "requests",
                "far away, MB/s",
                "plain download far away, MB/s",
                "ratio",
            ],
        );
        for index in MAIN.indices {
            let source = ["--repo", &repo, "--index", index.name];
            let part = |name, rest: &[&str]| Part::new(&[&[name], &source[..], rest].concat(), &environment);
            let parts = [
                part("pipeline", &[]),
                part("download", &[]),
                part("pipeline", &FAR_AWAY),
                part("download", &FAR_AWAY),
            ];
            let runs = self.compare(&parts)?;
            let rate = |m: &Measured| m.fetched as f64 / 1e6 / m.wall;
            let per_cpu = |m: &Measured| m.fetched as f64 / 1e6 / m.cpu;
            let [plain, far, plain_far] = [1, 2, 3].map(|n| of(&runs[n], rate));
            table.row(vec![
                index.name.to_owned(),
                spread_of(&runs[0], rate),
                number(plain),
                of_limit(&runs[0], &runs[1], rate),
                number(of(&runs[0], per_cpu)),
                number(of(&runs[1], per_cpu)),
                fetched(&runs[0]),
                number(of(&runs[0], |m| m.requests as f64)),
                number(far),
                number(plain_far),
                of_limit(&runs[2], &runs[3], rate),
            ]);
        }
        Ok(table)
    }

    pub(super) fn workers(&self) -> Result<Table> {
        let repo = self.main()?;
        let mut table = Table::new(
            "workers",
            &[
                "index",
                "1 worker, MB/s",
                "2 workers, MB/s",
                "ratio",
                "1 worker, MB/CPU-s",
                "2 workers, MB/CPU-s",
                "ratio of these",
                "2 workers, peak MiB",
            ],
        );
        let one_after_the_other = MAIN.indices.iter().map(|index| (index.name, index.name));
        for (name, pattern) in one_after_the_other.chain([("all of them", "*")]) {
            let parts = ["1", "2"].map(|workers| {
                let size = (32 << 20).to_string();
                let index =
                    ["--index", pattern, "--times", TIMES, "--chunk-size", &size, "--workers", workers];
                Part::new(&[&["pipeline", "--repo", &repo][..], &index].concat(), &Vec::new())
            });
            let runs = self.compare(&parts)?;
            let both = [0, 1].map(|n| spread_of(&runs[n], Measured::per_second));
            table.row(vec![
                name.to_owned(),
                both[0].clone(),
                both[1].clone(),
                format!("{:.2}", ratio_of(&runs[1], &runs[0], Measured::per_second)),
                number(of(&runs[0], Measured::per_cpu)),
                number(of(&runs[1], Measured::per_cpu)),
                format!("{:.2}", ratio_of(&runs[1], &runs[0], Measured::per_cpu)),
                number(most(&runs[1], mib)),
            ]);
        }
        Ok(table)
    }

    pub(super) fn plan(&self) -> Result<Table> {
        let mut table = Table::new(
            "plan",
            &[
                "snapshot",
                "shards",
                "segments",
                "seconds",
                "CPU seconds",
                "requests",
                "a shard",
                "KiB a shard",
                "peak MiB",
            ],
        );
        for (set, what) in [(MANY, "many small shards"), (MAIN, "few large shards")] {
            let (repo, environment) = self.on_s3(set)?;
            let plan = ["plan", "--repo", &repo, "--index", "*"];
            let part = |rest: &[&str]| Part::new(&[&plan[..], rest].concat(), &environment);
            let runs = self.compare(&[part(&[]), part(&FAR_AWAY)])?;
            for (runs, place) in runs.iter().zip(["", ", far away"]) {
                let shards = of(runs, |m| m.shards as f64);
                table.row(vec![
                    format!("{what}{place}"),
                    number(shards),
                    number(of(runs, |m| m.segments as f64)),
                    spread_of(runs, |m| m.wall),
                    number(of(runs, |m| m.cpu)),
                    number(of(runs, |m| m.requests as f64)),
                    number(of(runs, |m| m.requests as f64) / shards),
                    number(of(runs, |m| m.fetched as f64) / 1024.0 / shards),
                    number(most(runs, mib)),
                ]);
            }
        }
        Ok(table)
    }

    /// Sums a run of many shards up: alone, since only the time of one is of interest.
    pub(super) fn status(&self) -> Result<Table> {
        let server = DynamoDb::start()?;
        let environment: Environment =
            DynamoDb::credentials().map(|(name, value)| (name, value.to_owned())).into();
        let shards = ((20_000.0 * self.arguments.common.scale) as u32).max(2).to_string();
        let asked = ["status", "--dynamodb", &server.url(), "--shards", &shards];
        let run = Part::new(&asked, &environment).run()?;
        let mut table = Table::new("status", &["shards", "seconds", "CPU seconds", "peak MiB"]);
        table.row(vec![number(run.shards as f64), number(run.wall), number(run.cpu), number(mib(&run))]);
        table.runs = Some(status::ASKED);
        Ok(table)
    }

    /// Of the programs that are made here as `sam build` makes them, but for this machine.
    pub(super) fn cold(&self) -> Result<Table> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let programs = root.join("target/bench-lambda");
        let mut build = Command::new("cargo-lambda");
        build.args(["lambda", "build", "--release", "--lambda-dir"]).arg(&programs).current_dir(&root);
        build.args(FUNCTIONS.iter().flat_map(|name| ["--package", name]));
        let built = build.status()?;
        if !built.success() {
            return Err(format!("cargo lambda build ended with {built}").into());
        }
        let mut table = Table::new(
            "cold",
            &["function", "program, MiB", "zipped, MiB", "ms to its first request", "resident MiB"],
        );
        for name in FUNCTIONS {
            let program = programs.join(name).join("bootstrap");
            let measured = cold::measure(&program).map_err(|e| format!("{}: {e}", program.display()))?;
            let mib = |bytes: usize| number(bytes as f64 / f64::from(1 << 20));
            table.row(vec![
                name.to_owned(),
                mib(measured.size),
                mib(measured.zipped),
                spread(&measured.starts),
                mib(measured.peak as usize),
            ]);
        }
        table.runs = Some(cold::STARTS);
        Ok(table)
    }
}

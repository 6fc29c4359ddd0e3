//! What comes before the target: planning, fetching, decoding.

use super::{Bench, Environment, strings};
use crate::data::{self, MAIN, MANY, OTHERS};
use crate::measure::{Measured, median, of, part};
use crate::report::{Table, number, percent};
use crate::{Result, cold, decode};
use servers::DynamoDb;
use std::path::Path;

impl Bench<'_> {
    pub(super) fn decode(&self) -> Result<Table> {
        let mut table = Table::new(
            "decode",
            &[
                "written by",
                "index",
                "decode, MB/s",
                "bare decompressor, MB/s",
                "ratio",
                "memory copy, MB/s",
                "stored",
            ],
        );
        for set in [MAIN].iter().chain(&OTHERS) {
            let repo = data::ensure(&self.arguments.common, set)?;
            for index in set.indices {
                let rates = decode::measure(&repo, index.name, self.arguments.runs)?;
                table.row(vec![
                    set.server.to_owned(),
                    index.name.to_owned(),
                    number(rates.decode),
                    number(rates.bare),
                    percent(rates.decode, rates.bare),
                    number(rates.copy),
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
                "fetch and decode, stored MB/s",
                "plain download, MB/s",
                "ratio",
                "source MB/CPU-s",
                "download MB/CPU-s",
                "fetched/needed",
                "requests",
            ],
        );
        for index in MAIN.indices {
            let parts =
                ["pipeline", "download"].map(|p| strings(&[p, "--repo", &repo, "--index", index.name]));
            let runs = self.compare(&parts, &environment)?;
            let stored = |m: &Measured| m.fetched as f64 / 1e6 / m.wall;
            let (ours, plain) = (of(&runs[0], stored), of(&runs[1], stored));
            table.row(vec![
                index.name.to_owned(),
                number(ours),
                number(plain),
                percent(ours, plain),
                number(of(&runs[0], Measured::per_cpu)),
                number(of(&runs[1], Measured::per_cpu)),
                format!("{:.2} %", 100.0 * of(&runs[0], |m| m.fetched as f64 / m.needed as f64)),
                number(of(&runs[0], |m| m.requests as f64)),
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
                "ratio",
            ],
        );
        let one_after_the_other = MAIN.indices.iter().map(|index| (index.name, index.name));
        // The last makes for the longest run, at whose end the least time is lost while only one has something to do.
        for (name, pattern) in one_after_the_other.chain([("all of them", "*")]) {
            let parts = ["1", "2"].map(|workers| {
                let size = (32 << 20).to_string();
                let index = ["--index", pattern, "--chunk-size", &size, "--workers", workers];
                strings(&[&["pipeline", "--repo", &repo][..], &index].concat())
            });
            let runs = self.compare(&parts, &Vec::new())?;
            let rate = |n: usize, measure: fn(&Measured) -> f64| of(&runs[n], measure);
            let [one, two] = [0, 1].map(|n| rate(n, Measured::per_second));
            let [one_cpu, two_cpu] = [0, 1].map(|n| rate(n, Measured::per_cpu));
            table.row(vec![
                name.to_owned(),
                number(one),
                number(two),
                format!("{:.2}", two / one),
                number(one_cpu),
                number(two_cpu),
                format!("{:.2}", two_cpu / one_cpu),
            ]);
        }
        Ok(table)
    }

    pub(super) fn plan(&self) -> Result<Table> {
        let (repo, environment) = self.on_s3(MANY)?;
        let runs = self.compare(&[strings(&["plan", "--repo", &repo, "--index", "*"])], &environment)?;
        let mut table = Table::new(
            "plan",
            &["shards", "seconds", "CPU seconds", "requests", "requests a shard", "KiB a shard", "peak MiB"],
        );
        let runs = &runs[0];
        let shards = of(runs, |m| m.shards as f64);
        table.row(vec![
            number(shards),
            number(of(runs, |m| m.wall)),
            number(of(runs, |m| m.cpu)),
            number(of(runs, |m| m.requests as f64)),
            number(of(runs, |m| m.requests as f64) / shards),
            number(of(runs, |m| m.fetched as f64) / 1024.0 / shards),
            number(of(runs, |m| (m.peak >> 20) as f64)),
        ]);
        Ok(table)
    }

    /// Sums a run of many shards up: alone, since only the time of one is of interest.
    pub(super) fn status(&self) -> Result<Table> {
        let server = DynamoDb::start()?;
        let environment: Environment =
            DynamoDb::credentials().map(|(name, value)| (name, value.to_owned())).into();
        let shards = ((20_000.0 * self.arguments.common.scale) as u32).max(2).to_string();
        let run =
            part(&strings(&["status", "--dynamodb", &server.url(), "--shards", &shards]), &environment)?;
        let mut table = Table::new("status", &["shards", "seconds", "CPU seconds", "peak MiB"]);
        table.row(vec![
            number(run.shards as f64),
            number(run.wall),
            number(run.cpu),
            number((run.peak >> 20) as f64),
        ]);
        Ok(table)
    }

    /// Of the programs that `cargo lambda build --release` makes for this machine.
    pub(super) fn cold(&self) -> Result<Table> {
        let mut table = Table::new(
            "cold",
            &["function", "program, MiB", "zipped, MiB", "ms to its first request", "resident MiB"],
        );
        for name in ["worker", "start", "status"] {
            let program =
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../target/lambda/{name}/bootstrap"));
            let measured = cold::measure(&program, self.arguments.runs.max(5))
                .map_err(|e| format!("{}: {e}; cargo lambda build --release makes it", program.display()))?;
            let mib = |bytes: usize| number(bytes as f64 / f64::from(1 << 20));
            table.row(vec![
                name.to_owned(),
                mib(measured.size),
                mib(measured.zipped),
                number(median(measured.starts)),
                number((measured.peak >> 20) as f64),
            ]);
        }
        Ok(table)
    }
}

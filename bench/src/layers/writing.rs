//! The whole pipeline: into a sink that does nothing, and into a real cluster.

use super::{Bench, fetched, mib, strings};
use crate::data::{self, HUGE, MAIN, OTHERS};
use crate::measure::{Measured, median, most, of, part, spread_of};
use crate::report::{Table, number, percent};
use crate::sink::Sink;
use crate::{Result, cost, decode};
use serde_json::json;
use servers::{Server, ServerSpec};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The cluster that is written to.
const CLUSTER: &str = "opensearch:2.19.5";
/// How many pre-built bodies may be under way at once: the best of these counts. One, and sixteen, were never it.
const CONCURRENCIES: [u32; 3] = [4, 2, 8];
/// Runs of each of them, to find the best.
const TRIALS: usize = 2;
/// Runs of what is compared then, at least: a cluster is a tenth faster or slower from one to the next.
const TURNS: usize = 6;
/// What a cluster does by itself after an index was deleted and another one made.
const SETTLE: Duration = Duration::from_secs(5);
/// The index whose cost is calculated.
const COST: &str = "small-lz4";
/// The runtime of the worker function, and chunks as large as they are there by default.
const AS_ON_LAMBDA: [&str; 4] = ["--threads", "2", "--chunk-size", "536870912"];

impl Bench<'_> {
    /// Plain requests, compressed ones, and what the latter cost on Lambda.
    pub(super) fn sink(&self) -> Result<Vec<Table>> {
        let main = self.main()?;
        let (remote, environment) = self.on_s3(MAIN)?;
        let [zstd, huge] = [OTHERS[1], HUGE].map(|set| data::ensure(&self.arguments.common, set));
        let [zstd, huge] = [zstd?, huge?].map(|repo| repo.display().to_string());
        let sink = Sink::start()?;
        let mut plain = Table::new(
            "sink",
            &[
                "from, index",
                "MB/CPU-s",
                "documents/CPU-s",
                "MB/s",
                "plain upload, MB/s",
                "ratio",
                "peak MiB",
                "fetched/needed",
            ],
        );
        let mut gzip = Table::new(
            "gzip",
            &[
                "from, index",
                "MB/s",
                "bare encoder, MB/s",
                "ratio",
                "MB/CPU-s",
                "of the bare encoder",
                "bare decompressor, then encoder, MB/CPU-s",
                "ratio",
                "upload of the compressed bodies, MB/s",
                "processors busy",
                "peak MiB",
            ],
        );
        let mut cost = None;
        let sets = [
            ("files", &main, &main, MAIN),
            ("S3", &remote, &main, MAIN),
            ("files", &zstd, &zstd, OTHERS[1]),
            ("files", &huge, &huge, HUGE),
        ];
        for (place, repo, local, set) in sets {
            for index in set.indices {
                let source = ["--index", index.name, "--repo"];
                let ours = ["--target", sink.url()];
                let theirs = ["--target", sink.url(), "--into", index.name, "--concurrency", "4"];
                let pipeline = [&["pipeline"], &source[..], &[repo], &ours].concat();
                let upload = [&["upload"], &source[..], &[local], &theirs].concat();
                let encoder = [&["gzip"], &source[..], &[local]].concat();
                // The sink knows the compressed bodies when they are the same in each run.
                let compressed = [&pipeline[..], &["--gzip", "--steady"]].concat();
                let mut parts = vec![
                    strings(&pipeline),
                    strings(&upload),
                    strings(&compressed),
                    strings(&encoder),
                    strings(&[&upload[..], &["--gzip"]].concat()),
                ];
                let costed = place == "S3" && index.name == COST;
                if costed {
                    parts.push(strings(&[&compressed[..], &AS_ON_LAMBDA].concat()));
                }
                for part_of_them in parts.iter().skip(2).filter(|part| part[0] == "pipeline") {
                    part(part_of_them, &environment)?;
                }
                let runs = self.compare(&parts, &environment)?;
                let row = format!("{place}, {}", index.name);
                let rate = |n: usize| of(&runs[n], Measured::per_second);
                plain.row(vec![
                    row.clone(),
                    spread_of(&runs[0], Measured::per_cpu),
                    number(of(&runs[0], |m| m.documents as f64 / m.cpu)),
                    number(rate(0)),
                    number(rate(1)),
                    percent(rate(0), rate(1)),
                    number(most(&runs[0], mib)),
                    fetched(&runs[0]),
                ]);
                // What cannot be done without: one after the other, by one processor.
                let decoded = decode::measure(Path::new(local), index.name, self.arguments.runs)?;
                let bare = median(decoded.bare) * decoded.source as f64 / decoded.plain as f64;
                let encode = of(&runs[3], Measured::per_cpu);
                let (per_cpu, both) = (of(&runs[2], Measured::per_cpu), 1.0 / (1.0 / bare + 1.0 / encode));
                if costed {
                    cost = Some(cost::table(of(&runs[5], Measured::per_cpu), rate(5)));
                }
                gzip.row(vec![
                    row,
                    spread_of(&runs[2], Measured::per_second),
                    number(rate(3)),
                    percent(rate(2), rate(3)),
                    spread_of(&runs[2], Measured::per_cpu),
                    percent(per_cpu, encode),
                    number(both),
                    percent(per_cpu, both),
                    number(rate(4)),
                    number(of(&runs[2], |m| m.busy)),
                    number(most(&runs[2], mib)),
                ]);
            }
        }
        Ok([plain, gzip].into_iter().chain(cost).collect())
    }

    /// Into a real cluster that shares the processors with who writes to it.
    pub(super) fn cluster(&self) -> Result<Table> {
        let server = Server::start(&CLUSTER.parse::<ServerSpec>()?.heap("2g"))?;
        self.fill("cluster", &server)
    }

    /// Into a real cluster that has a half of the processors to itself, as on machines of its own; who writes to it has
    /// the other half.
    pub(super) fn apart(&self) -> Result<Table> {
        let processors = std::thread::available_parallelism()?.get();
        if processors < 2 {
            return Err("with one processor, nothing can be kept apart".into());
        }
        let range = |from, to| format!("{from}-{}", to - 1);
        let server = Server::start(&CLUSTER.parse::<ServerSpec>()?.heap("2g"))?;
        keep(server.pid().ok_or("the server has ended")?, &range(0, processors / 2))?;
        // And whatever is started from here on.
        keep(std::process::id(), &range(processors / 2, processors))?;
        let table = self.fill("apart", &server);
        keep(std::process::id(), &range(0, processors))?;
        table
    }

    /// The cluster is the bottleneck, so what counts is its rate.
    fn fill(&self, name: &'static str, server: &Server) -> Result<Table> {
        let repo = self.main()?;
        let mut table = Table::new(
            name,
            &[
                "index",
                "backfill, MB/s",
                "documents/s",
                "pre-built bodies, MB/s",
                "at once",
                "ratio",
                "MB/CPU-s",
                "processors busy",
                "peak MiB",
            ],
        );
        let turns = self.arguments.runs.max(TURNS);
        table.runs = Some(turns);
        for index in &MAIN.indices[..2] {
            let upload = |concurrency: u32| {
                let concurrency = concurrency.to_string();
                strings(&[
                    "upload",
                    "--repo",
                    &repo,
                    "--index",
                    index.name,
                    "--target",
                    server.url(),
                    "--into",
                    index.name,
                    "--concurrency",
                    &concurrency,
                ])
            };
            let pipeline =
                strings(&["pipeline", "--repo", &repo, "--index", index.name, "--target", server.url()]);
            let fresh = |arguments: &[String]| -> Result<Measured> {
                let http = server.http();
                http.send("DELETE", &format!("/{}", index.name), "", &[])?;
                http.put(&format!("/{}", index.name), &mappings())?;
                std::thread::sleep(SETTLE);
                part(arguments, &Vec::new())
            };
            // The first runs only warm the server up; the next find how many at once are best for it.
            for _ in 0..2 {
                fresh(&upload(2))?;
            }
            let mut rates = [0.0; CONCURRENCIES.len()];
            // Who comes first changes: the server goes on becoming faster for a while.
            for trial in 0..TRIALS {
                for number in (0..CONCURRENCIES.len()).map(|n| (n + trial) % CONCURRENCIES.len()) {
                    rates[number] += fresh(&upload(CONCURRENCIES[number]))?.per_second();
                }
            }
            let best = CONCURRENCIES.iter().zip(rates).max_by(|(_, a), (_, b)| a.total_cmp(b));
            let concurrency = *best.ok_or("nothing was measured")?.0;
            // Anew, since the best of several was lucky, too.
            let parts = [pipeline, upload(concurrency)];
            let mut runs = [Vec::new(), Vec::new()];
            for turn in 0..turns {
                for part in (0..parts.len()).map(|n| (n + turn) % parts.len()) {
                    runs[part].push(fresh(&parts[part])?);
                }
            }
            let rate = |n: usize| of(&runs[n], Measured::per_second);
            table.row(vec![
                index.name.to_owned(),
                spread_of(&runs[0], Measured::per_second),
                number(of(&runs[0], |m| m.documents as f64 / m.wall)),
                spread_of(&runs[1], Measured::per_second),
                concurrency.to_string(),
                percent(rate(0), rate(1)),
                number(of(&runs[0], Measured::per_cpu)),
                number(of(&runs[0], |m| m.busy)),
                number(most(&runs[0], mib)),
            ]);
        }
        Ok(table)
    }
}

/// Keeps a process to these processors.
fn keep(process: u32, processors: &str) -> Result<()> {
    let arguments = ["-a", "-p", "-c", processors, &process.to_string()];
    let done = Command::new("taskset").args(arguments).stdout(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(format!("taskset ended with {done}").into()) }
}

/// An index as one would have it for logs.
fn mappings() -> serde_json::Value {
    let keyword = json!({"type": "keyword"});
    let text = json!({"type": "text"});
    let object = |properties| json!({"properties": properties});
    let properties = json!({
        "@timestamp": {"type": "date"},
        "log": object(json!({"level": keyword, "logger": keyword})),
        "service": object(json!({"name": keyword, "version": keyword, "environment": keyword})),
        "host": object(json!({"name": keyword, "ip": {"type": "ip"}})),
        "trace": object(json!({"id": keyword, "span": keyword})),
        "http": object(json!({
            "method": keyword, "path": keyword, "status": {"type": "short"}, "bytes": {"type": "long"},
            "duration_ms": {"type": "float"},
        })),
        "user": object(json!({"id": keyword, "agent": keyword})),
        "message": text,
        "error": object(json!({"stack_trace": text})),
    });
    json!({
        "settings": {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"},
        "mappings": {"dynamic": false, "properties": properties},
    })
}

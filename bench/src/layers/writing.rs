//! The whole pipeline: into a sink that does nothing, and into a real cluster.

use super::{Bench, fetched, mib, of_limit};
use crate::data::{self, HUGE, MAIN, OTHERS};
use crate::measure::{Measured, Part, median, most, of, spread_of, status_line};
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
/// Turns of what is compared then, at least: a cluster is a tenth faster or slower from one run to the next, and becomes faster for
/// a quarter of an hour, so each run is compared with the one beside it.
const TURNS: usize = 5;
/// What a cluster does by itself after an index was deleted and another one made.
const SETTLE: Duration = Duration::from_secs(5);
/// The index whose cost is calculated.
const COST: &str = "small-lz4";
/// What is also measured as the function on Lambda works.
const ON_LAMBDA: [&str; 2] = [COST, "huge-lz4"];
/// The runtime of the worker function, and chunks as large as they are there by default.
const AS_ON_LAMBDA: [&str; 4] = ["--threads", "2", "--chunk-size", "536870912"];
/// What the template tells it besides.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "100");

impl Bench<'_> {
    /// Plain requests, compressed ones, and what the latter cost on Lambda.
    pub(super) fn sink(&self) -> Result<Vec<Table>> {
        let main = self.main()?;
        let (remote, environment) = self.on_s3(MAIN)?;
        let (remote_huge, _) = self.on_s3(HUGE)?;
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
                "plain upload, MB/CPU-s",
                "ratio",
                "plain upload, MB/s",
                "ratio of these",
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
                "of both",
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
            ("S3", &remote_huge, &huge, HUGE),
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
                let compressed_upload = [&upload[..], &["--gzip"]].concat();
                let mut parts: Vec<Part> = [&pipeline, &upload, &compressed, &encoder, &compressed_upload]
                    .map(|arguments| Part::new(arguments, &environment))
                    .into();
                if place == "S3" && ON_LAMBDA.contains(&index.name) {
                    let (name, value) = PURGE_DELAY;
                    let environment = [&environment[..], &[(name, value.to_owned())]].concat();
                    parts.push(Part::new(&[&compressed[..], &AS_ON_LAMBDA].concat(), &environment));
                }
                let mut peaks = vec![f64::NAN; parts.len()];
                for number in [2, 5] {
                    if let Some(part) = parts.get(number) {
                        peaks[number] = mib(&part.run()?);
                    }
                }
                let runs = self.compare(&parts)?;
                same_documents(&runs)?;
                for (runs, peak) in runs.iter().zip(&mut peaks) {
                    *peak = peak.max(most(runs, mib));
                }
                let row = format!("{place}, {}", index.name);
                let rate = |n: usize| of(&runs[n], Measured::per_second);
                let per_cpu = |n: usize| of(&runs[n], Measured::per_cpu);
                plain.row(vec![
                    row.clone(),
                    spread_of(&runs[0], Measured::per_cpu),
                    number(of(&runs[0], |m| m.documents as f64 / m.cpu)),
                    number(rate(0)),
                    number(per_cpu(1)),
                    of_limit(&runs[0], &runs[1], Measured::per_cpu),
                    number(rate(1)),
                    of_limit(&runs[0], &runs[1], Measured::per_second),
                    number(peaks[0]),
                    fetched(&runs[0]),
                ]);
                // What cannot be done without: one after the other, by one processor.
                let decoded = decode::measure(Path::new(local), index.name, self.arguments.runs)?;
                let bare = median(decoded.bare) * decoded.source as f64 / decoded.plain as f64;
                let both = 1.0 / (1.0 / bare + 1.0 / per_cpu(3));
                for (number_of_part, manner) in [(2, ""), (5, ", as on Lambda")] {
                    let Some(own) = runs.get(number_of_part) else { continue };
                    gzip.row(vec![
                        format!("{row}{manner}"),
                        spread_of(own, Measured::per_second),
                        number(rate(3)),
                        of_limit(own, &runs[3], Measured::per_second),
                        spread_of(own, Measured::per_cpu),
                        of_limit(own, &runs[3], Measured::per_cpu),
                        number(both),
                        percent(per_cpu(number_of_part), both),
                        number(rate(4)),
                        number(of(own, |m| m.busy)),
                        number(peaks[number_of_part]),
                    ]);
                }
                if runs.len() > 5 && index.name == COST {
                    cost = Some(cost::table(per_cpu(5), rate(5)));
                }
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
        let range = |from, to| format!("{from}-{}", to - 1);
        let before = status_line("self", "Cpus_allowed_list:")?;
        // What is started is kept to them, too: the server counts these processors, and no others.
        keep(&range(0, processors / 2))?;
        let server = CLUSTER.parse::<ServerSpec>().and_then(|spec| Server::start(&spec.heap("2g")));
        keep(&range(processors / 2, processors))?;
        let table = server.map_err(Into::into).and_then(|server| self.fill("apart", &server));
        keep(&before)?;
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
                "ratio",
                "at once, and MB/s in trials",
                "MB/CPU-s",
                "pre-built bodies, MB/CPU-s",
                "processors busy",
                "sent again",
                "peak MiB",
            ],
        );
        let turns = self.arguments.runs.max(TURNS);
        table.runs = Some(turns);
        for index in &MAIN.indices[..2] {
            let source = ["--repo", &repo, "--index", index.name, "--target", server.url()];
            let upload = |concurrency: u32| {
                let into = ["--into", index.name, "--concurrency", &concurrency.to_string()];
                Part::new(&[&["upload"], &source[..], &into].concat(), &Vec::new())
            };
            let pipeline = Part::new(&[&["pipeline"], &source[..]].concat(), &Vec::new());
            let fresh = |part: &Part| -> Result<Measured> {
                let http = server.http();
                http.send("DELETE", &format!("/{}", index.name), "", &[])?;
                http.put(&format!("/{}", index.name), &mappings())?;
                std::thread::sleep(SETTLE);
                part.run()
            };
            // The first run only warms the server up; the next find how many at once are best for it.
            fresh(&upload(2))?;
            let mut rates = [0.0; CONCURRENCIES.len()];
            for (rate, at_once) in rates.iter_mut().zip(CONCURRENCIES) {
                *rate = fresh(&upload(at_once))?.per_second();
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
            same_documents(&runs)?;
            let per_cpu = |n: usize| number(of(&runs[n], Measured::per_cpu));
            let trials =
                CONCURRENCIES.iter().zip(rates).map(|(at_once, rate)| format!("{at_once}: {}", number(rate)));
            table.row(vec![
                index.name.to_owned(),
                spread_of(&runs[0], Measured::per_second),
                number(of(&runs[0], |m| m.documents as f64 / m.wall)),
                spread_of(&runs[1], Measured::per_second),
                of_limit(&runs[0], &runs[1], Measured::per_second),
                format!("{concurrency} ({})", trials.collect::<Vec<_>>().join(", ")),
                per_cpu(0),
                per_cpu(1),
                number(of(&runs[0], |m| m.busy)),
                runs[0].iter().map(|run| run.again).sum::<u64>().to_string(),
                number(most(&runs[0], mib)),
            ]);
        }
        Ok(table)
    }
}

/// Whoever moves less than the others would be no limit, or no rival.
fn same_documents(runs: &[Vec<Measured>]) -> Result<()> {
    let mut all = runs.iter().flatten().map(|run| (run.documents, run.bytes));
    let first = all.next().ok_or("nothing was measured")?;
    match all.find(|other| *other != first) {
        None => Ok(()),
        Some(other) => Err(format!("documents and bytes differ: {first:?}, {other:?}").into()),
    }
}

/// Keeps this process, and whatever it starts from then on, to these processors.
fn keep(processors: &str) -> Result<()> {
    let arguments = ["-a", "-p", "-c", processors, &std::process::id().to_string()];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_measured_with_what_the_template_tells_it() {
        let (name, value) = PURGE_DELAY;
        let template = include_str!("../../../template.yaml");
        assert!(template.contains(&format!("{name}: \"{value}\"\n")));
    }
}

//! The whole pipeline: into a sink that does nothing, and into a real cluster.

use super::{Bench, strings};
use crate::Result;
use crate::data::MAIN;
use crate::measure::{Measured, of, part};
use crate::report::{Table, number, percent};
use crate::sink::Sink;
use serde_json::json;
use servers::{Server, ServerSpec};

/// The cluster that is written to.
const CLUSTER: &str = "opensearch:2.19.5";
/// How many pre-built bodies may be under way at once: the best of these counts.
const CONCURRENCIES: [u32; 4] = [1, 2, 4, 8];

impl Bench<'_> {
    pub(super) fn sink(&self) -> Result<Table> {
        let local = self.main()?;
        let (remote, environment) = self.on_s3(MAIN)?;
        let sink = Sink::start()?;
        let mut table = Table::new(
            "sink",
            &[
                "from, index",
                "MB/CPU-s",
                "documents/CPU-s",
                "MB/s",
                "limit",
                "limit, MB/CPU-s",
                "ratio",
                "limit, MB/s",
                "ratio",
                "peak MiB",
                "fetched/needed",
            ],
        );
        for (repo, place) in [(&local, "files"), (&remote, "S3")] {
            for index in MAIN.indices {
                for gzip in [false, true] {
                    let mut pipeline =
                        strings(&["pipeline", "--repo", repo, "--index", index.name, "--target", sink.url()]);
                    let source = ["--repo", &local, "--index", index.name];
                    let bare = if gzip {
                        pipeline.push("--gzip".to_owned());
                        strings(&[&["gzip"], &source[..]].concat())
                    } else {
                        let to = ["--target", sink.url(), "--into", index.name, "--concurrency", "4"];
                        strings(
                            &[&["upload"], &source[..], &to, &["--filter", "errors,items.*.status"]].concat(),
                        )
                    };
                    let runs = self.compare(&[pipeline, bare], &environment)?;
                    let (ours, bare) = (of(&runs[0], Measured::per_cpu), of(&runs[1], Measured::per_cpu));
                    let [rate, limit] = [0, 1].map(|n| of(&runs[n], Measured::per_second));
                    if gzip && place == "S3" && index.name == "small-lz4" {
                        self.per_cpu.replace(ours);
                    }
                    table.row(vec![
                        format!("{place}, {}{}", index.name, if gzip { ", gzip" } else { "" }),
                        number(ours),
                        number(of(&runs[0], |m| m.documents as f64 / m.cpu)),
                        number(rate),
                        if gzip { "bare gzip encoder" } else { "plain upload" }.to_owned(),
                        number(bare),
                        percent(ours, bare),
                        number(limit),
                        percent(rate, limit),
                        number(of(&runs[0], |m| (m.peak >> 20) as f64)),
                        format!("{:.2} %", 100.0 * of(&runs[0], |m| m.fetched as f64 / m.needed as f64)),
                    ]);
                }
            }
        }
        Ok(table)
    }

    /// Into a real cluster: the cluster is the bottleneck, so what counts is its rate.
    pub(super) fn cluster(&self) -> Result<Table> {
        let repo = self.main()?;
        let server = Server::start(&CLUSTER.parse::<ServerSpec>()?.heap("2g"))?;
        let mut table = Table::new(
            "cluster",
            &[
                "index",
                "backfill, MB/s",
                "documents/s",
                "pre-built bodies, MB/s",
                "at once",
                "ratio",
                "MB/CPU-s",
            ],
        );
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
                part(arguments, &Vec::new())
            };
            // The first run only warms the server up; the next find how many at once are best for it.
            fresh(&upload(2))?;
            let mut best = (0.0, 1);
            for concurrency in CONCURRENCIES {
                let rate = fresh(&upload(concurrency))?.per_second();
                if rate > best.0 {
                    best = (rate, concurrency);
                }
            }
            let mut runs = [Vec::new(), Vec::new()];
            let bare = upload(best.1);
            // Who comes first alternates: the server goes on becoming faster for a while.
            for turn in 0..self.arguments.runs {
                for part in [turn % 2, 1 - turn % 2] {
                    runs[part].push(fresh([&pipeline, &bare][part])?);
                }
            }
            let [ours, bare] = [0, 1].map(|n| of(&runs[n], Measured::per_second));
            table.row(vec![
                index.name.to_owned(),
                number(ours),
                number(of(&runs[0], |m| m.documents as f64 / m.wall)),
                number(bare),
                best.1.to_string(),
                percent(ours, bare),
                number(of(&runs[0], Measured::per_cpu)),
            ]);
        }
        Ok(table)
    }
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

//! What a very large run asks of each service, from the sizes of the items as they are written: a calculation, whose
//! tables are part of `docs/operations.md`. `BACKFILL_UPDATE_DOCS=1 cargo test -p aws large_run` writes them.

use super::chunks::tests::busy;
use super::chunks::{range_item, state_item};
use super::item::{Item, new_item, number, size};
use super::sums::{Share, lease_attribute};
use super::{keys, records};
use backfill::model::{Run, RunId, Shard};
use std::fmt::Write;

/// A very large run.
struct Large {
    shards: u64,
    chunks: u64,
    workers: u64,
    chunk_bytes: u64,
    /// Seconds that a worker needs for a chunk.
    chunk_seconds: u64,
    /// Seconds between checkpoints.
    checkpoint_seconds: u64,
    /// Bytes of a request to S3.
    fetch_bytes: u64,
    /// Memory of a worker in GB, as Lambda counts it.
    memory: f64,
}

const LARGE: Large = Large {
    shards: 20_000,
    chunks: 1_000_000,
    workers: 1_000,
    chunk_bytes: 256 << 20,
    chunk_seconds: 60,
    checkpoint_seconds: 5,
    fetch_bytes: 8 << 20,
    memory: 1769.0 / 1024.0,
};

/// Dollars, in us-east-1.
mod price {
    pub(super) const GB_SECOND: f64 = 0.000_013_333_4;
    pub(super) const INVOCATION: f64 = 0.2e-6;
    pub(super) const WRITE_UNIT: f64 = 0.625e-6;
    pub(super) const READ_UNIT: f64 = 0.125e-6;
    pub(super) const SQS_REQUEST: f64 = 0.4e-6;
    pub(super) const S3_GET: f64 = 0.4e-6;
    pub(super) const TABLE_GB_MONTH: f64 = 0.25;
}

/// The sizes of items in bytes.
struct Sizes {
    range: usize,
    state: usize,
    sums: usize,
    shard: usize,
    control: usize,
}

fn run_id() -> RunId {
    RunId("2026-07-21-14-02-11-93".to_owned())
}

fn sizes() -> Sizes {
    let stored = busy(1);
    let shard_id = stored.chunk.id.shard.clone();
    let shard = Shard {
        id: shard_id.clone(),
        path: "indices/mPJvDlXcRoGLXtPAyPTbGg/17".to_owned(),
        manifest_etag: "\"9b2cf535f27731c974343645a3985328\"".to_owned(),
        live_docs: 50_000_000,
        stored_bytes: 50 * LARGE.chunk_bytes,
        chunks: 50,
        findings: Vec::new(),
        damaged_docs: 0,
        uncounted_segments: 0,
        routed: false,
    };
    let mut sums: Item = new_item(&keys::sums(&run_id(), &shard_id, 0), stored.ttl);
    for (name, value) in Share::of(&stored.chunk).attributes() {
        // A shard counts what its chunks count.
        sums.insert(name.to_owned(), number(value.max(1) * 50));
    }
    sums.insert(lease_attribute(17), number(1_784_642_591_000u64));
    let (run, ..) = conformance::plan(&run_id().0, 1, 1);
    let run = Run { created: 1_784_642_531_000, ..run };
    Sizes {
        range: size(&range_item(&run_id(), &stored.chunk, 0, stored.ttl).unwrap()),
        state: size(&state_item(&run_id(), &stored).unwrap()),
        sums: size(&sums),
        shard: size(&records::shard_item(&run_id(), &shard, stored.ttl).unwrap()),
        control: size(&records::control_item(&run, 1, 1_000).unwrap()),
    }
}

/// Units of a write, in a transaction or not.
fn write_units(size: usize, transaction: bool) -> u64 {
    size.div_ceil(1 << 10) as u64 * if transaction { 2 } else { 1 }
}

/// Units of a strongly consistent read.
fn read_units(size: usize) -> u64 {
    size.div_ceil(4 << 10) as u64
}

/// Numbers with separators.
fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What is asked of a service, and what it allows.
struct Row {
    what: &'static str,
    asked: f64,
    limit: f64,
    remark: &'static str,
}

fn rows(run: &Large, sizes: &Sizes) -> Vec<Row> {
    let chunks_a_second = run.workers as f64 / run.chunk_seconds as f64;
    let saves_a_second = run.workers as f64 / run.checkpoint_seconds as f64;
    // Each transition writes a chunk and its sums in a transaction; claim and completion are two.
    let transitions = saves_a_second + 2.0 * chunks_a_second;
    let (chunk, sums) = (write_units(sizes.state, true) as f64, write_units(sizes.sums, true) as f64);
    let reads = read_units(sizes.range) + read_units(sizes.state) + read_units(sizes.control);
    let stripes = f64::from(keys::stripes(u32::MAX));
    let row = |what, asked, limit, remark| Row { what, asked, limit, remark };
    vec![
        row(
            "DynamoDB, write units a second",
            transitions * (chunk + sums),
            4_000.0,
            "a new table; it grows by itself",
        ),
        row(
            "DynamoDB, write units a second, chunks of one shard",
            transitions * chunk,
            1_000.0,
            "a partition, if all workers are at one shard; they are spread over all shards",
        ),
        row(
            "DynamoDB, write units a second, one item of sums",
            transitions * sums / stripes,
            1_000.0,
            "an item, likewise: a large shard has 64 of them",
        ),
        row("DynamoDB, read units a second", transitions * reads as f64, 12_000.0, "a new table"),
        row(
            "DynamoDB, read units a second, the control item",
            transitions * read_units(sizes.control) as f64,
            3_000.0,
            "an item",
        ),
        row("SQS, messages in flight", run.workers as f64, 120_000.0, "a queue"),
        row(
            "S3, GETs a second",
            chunks_a_second * (run.chunk_bytes as f64 / run.fetch_bytes as f64),
            5_500.0,
            "a prefix, before S3 divides it",
        ),
        row(
            "Lambda, functions at once",
            run.workers as f64,
            1_000.0,
            "a queue's mapping; an account by default, less 100",
        ),
    ]
}

/// What is used up, what it costs, and how much of it there is for a chunk.
fn costs(run: &Large, sizes: &Sizes) -> Vec<(&'static str, f64, f64)> {
    let chunks = run.chunks as f64;
    let saves = (run.chunk_seconds / run.checkpoint_seconds) as f64;
    let transitions = saves + 2.0;
    let transition = (write_units(sizes.state, true) + write_units(sizes.sums, true)) as f64;
    let planned = write_units(sizes.range, false) as f64;
    let reads = (read_units(sizes.range) + read_units(sizes.state) + read_units(sizes.control)) as f64;
    let minutes = chunks * run.chunk_seconds as f64 / run.workers as f64 / 60.0;
    let rows = [
        ("Lambda, GB-seconds", chunks * run.chunk_seconds as f64 * run.memory, price::GB_SECOND),
        ("Lambda, invocations", chunks, price::INVOCATION),
        (
            "DynamoDB, write units",
            chunks * (planned + transitions * transition)
                + run.shards as f64 * write_units(sizes.shard, false) as f64,
            price::WRITE_UNIT,
        ),
        (
            "DynamoDB, read units",
            chunks * transitions * reads + minutes * summary_units(run, sizes),
            price::READ_UNIT,
        ),
        // A tenth of a request to send it, one to receive it, one to delete it, and a heart-beat with each save.
        ("SQS, requests", chunks * (0.1 + 2.0 + 1.0 + saves), price::SQS_REQUEST),
        ("S3, GETs", chunks * (run.chunk_bytes as f64 / run.fetch_bytes as f64), price::S3_GET),
        (
            "DynamoDB, GB a month",
            (chunks * (sizes.range + sizes.state + 200) as f64
                + run.shards as f64 * (sizes.shard + sizes.sums + 200) as f64)
                / 1e9,
            price::TABLE_GB_MONTH,
        ),
    ];
    rows.map(|(what, number, price)| (what, number, number * price)).to_vec()
}

/// Read units of one summary: pages of shards and sums.
fn summary_units(run: &Large, sizes: &Sizes) -> f64 {
    run.shards as f64 * (sizes.shard + sizes.sums) as f64 / f64::from(4 << 10)
}

fn tables() -> String {
    let (run, sizes) = (&LARGE, &sizes());
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!(
        "{} shards, {} chunks of 256 MiB ({:.0} TB of stored fields), {} workers, {} seconds a chunk, a checkpoint every {} \
         seconds: {:.1} hours. Items: {} bytes for what never changes of a chunk, {} for what does, {} for the sums of a \
         shard, {} for a shard, {} for the control item.\n",
        count(run.shards as f64),
        count(run.chunks as f64),
        (run.chunks * run.chunk_bytes) as f64 / 1e12,
        count(run.workers as f64),
        run.chunk_seconds,
        run.checkpoint_seconds,
        (run.chunks * run.chunk_seconds) as f64 / run.workers as f64 / 3600.0,
        sizes.range,
        sizes.state,
        sizes.sums,
        sizes.shard,
        sizes.control
    ));
    line("| what | asked | limit | of |\n|---|---:|---:|---|".to_owned());
    for Row { what, asked, limit, remark } in rows(run, sizes) {
        line(format!("| {what} | {} | {} | {remark} |", count(asked), count(limit)));
    }
    line("\n| what | number | dollars |\n|---|---:|---:|".to_owned());
    let costs = costs(run, sizes);
    for (what, number, dollars) in &costs {
        line(format!("| {what} | {} | {dollars:.2} |", count(*number)));
    }
    let total: f64 = costs.iter().map(|(_, _, dollars)| dollars).sum();
    line(format!("| all of it | | {total:.2} |"));
    let mut end = String::new();
    let _ = write!(
        end,
        "\nA status reads {:.1} MB of shards and sums in 16 queries at once: {} read units.",
        run.shards as f64 * (sizes.shard + sizes.sums) as f64 / 1e6,
        count(summary_units(run, sizes))
    );
    line(end);
    out
}

#[test]
fn a_large_run_stays_within_the_limits_of_each_service() {
    let sizes = sizes();
    for Row { what, asked, limit, .. } in rows(&LARGE, &sizes) {
        assert!(asked <= limit, "{what}: {asked} of {limit}");
    }
    // Requests must not cost what the work itself costs.
    let costs = costs(&LARGE, &sizes);
    let work = costs[0].2;
    let requests: f64 = costs[1..].iter().map(|(_, _, dollars)| dollars).sum();
    assert!(requests < work / 10.0, "{requests} of {work}");
}

#[test]
fn the_tables_of_the_large_run_are_those_of_the_documentation() {
    const BEGIN: &str = "<!-- computed: large run -->\n";
    const END: &str = "<!-- end -->";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (told, after) = rest.split_once(END).unwrap();
    let tables = tables();
    if std::env::var_os("BACKFILL_UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{tables}{END}{after}")).unwrap();
    } else {
        assert_eq!(told, tables, "run this test with BACKFILL_UPDATE_DOCS=1");
    }
}

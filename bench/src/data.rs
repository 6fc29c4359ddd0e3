//! Data sets: snapshots that real servers took of generated documents.

use crate::documents::{Dice, document, id};
use crate::{Common, Result};
use serde_json::json;
use servers::{Http, Server, ServerSpec};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Bytes of a bulk request while a set is made.
const BULK: usize = 4 << 20;
/// Documents of each shard of the set of many shards.
const FEW: u64 = 20;
/// Beside a repository that is complete; names what it was made of.
pub(crate) const COMPLETE: &str = "complete";
/// Raised when other documents are made, so that sets of earlier ones are made again.
const VERSION: u32 = 2;

/// An index of a set.
pub(crate) struct Index {
    pub(crate) name: &'static str,
    /// Documents at full size, and bytes of each.
    documents: u64,
    pub(crate) size: usize,
    /// `index.codec`.
    codec: &'static str,
}

/// A repository that one server writes.
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) server: &'static str,
    pub(crate) indices: &'static [Index],
    /// Instead of the indices: so many shards of a few documents.
    shards: u64,
}

const fn small(name: &'static str, codec: &'static str) -> Index {
    Index { name, documents: 1_000_000, size: 1000, codec }
}

const fn large(name: &'static str, codec: &'static str) -> Index {
    Index { name, documents: 100_000, size: 20_000, codec }
}

/// The set that the pipeline is measured with.
pub(crate) const MAIN: &Set = &Set {
    name: "os2",
    server: "opensearch:2.19.5",
    indices: &[
        small("small-lz4", "default"),
        large("large-lz4", "default"),
        small("small-deflate", "best_compression"),
        large("large-deflate", "best_compression"),
    ],
    shards: 0,
};
/// The set that planning is measured with.
pub(crate) const MANY: &Set = &Set { name: "many", server: "opensearch:2.19.5", indices: &[], shards: 1000 };
/// The set that memory is measured with: a few documents, each larger than a whole request should be.
pub(crate) const HUGE: &Set = &Set {
    name: "huge",
    server: "opensearch:2.19.5",
    indices: &[Index { name: "huge-lz4", documents: 50, size: 20_000_000, codec: "default" }],
    shards: 0,
};
/// Other forms of stored fields.
pub(crate) const OTHERS: [&Set; 2] = [
    &Set {
        name: "es7",
        server: "elasticsearch:7.10.2",
        indices: &[small("small-lz4", "default"), large("large-lz4", "default")],
        shards: 0,
    },
    &Set {
        name: "es8",
        server: "elasticsearch:8.19.9",
        indices: &[small("small-zstd", "best_compression"), large("large-zstd", "best_compression")],
        shards: 0,
    },
];

/// Makes all sets that are missing.
pub(crate) fn make_all(common: &Common) -> Result<()> {
    for set in [MAIN, MANY, HUGE].iter().chain(&OTHERS) {
        ensure(common, set)?;
    }
    Ok(())
}

/// Where sets of this scale are.
pub(crate) fn dir(common: &Common) -> Result<PathBuf> {
    let dir = common.data.join(format!("scale-{}", common.scale));
    std::fs::create_dir_all(&dir)?;
    Ok(dir.canonicalize()?)
}

/// The repository of a set; made if it is missing, or was made of other documents.
pub(crate) fn ensure(common: &Common, set: &Set) -> Result<PathBuf> {
    let dir = dir(common)?.join(set.name);
    let (repo, done) = (dir.join("repo"), dir.join(COMPLETE));
    let form = format!("{VERSION} {} ", set.server);
    if !std::fs::read_to_string(&done).is_ok_and(|found| found.starts_with(&form)) {
        // What is old, or an interrupted attempt left.
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&repo)?;
        make(set, common.scale, &repo)?;
        // Each time something else, so that copies of a set that is gone are told from it.
        std::fs::write(done, format!("{form}{:016x}", fastrand::u64(..)))?;
    }
    Ok(repo)
}

fn make(set: &Set, scale: f64, repo: &Path) -> Result<()> {
    eprintln!("== making the data set {} with {}", set.name, set.server);
    let spec = set.server.parse::<ServerSpec>()?.heap("1g").repo_dir(repo);
    let spec = spec.setting("cluster.max_shards_per_node", 5000);
    let server = Server::start(&spec)?;
    let http = server.http();
    for index in set.indices {
        let count = ((index.documents as f64 * scale) as u64).max(1);
        eprintln!("   {count} documents of {} bytes into {}", index.size, index.name);
        create(&http, index.name, 1, index.codec)?;
        fill(&http, index.name, count, index.size)?;
    }
    let shards = (set.shards as f64 * scale).ceil() as u64;
    for number in 0..shards.div_ceil(50) {
        let name = format!("many-{number}");
        let own = (shards - number * 50).min(50);
        create(&http, &name, own, "default")?;
        fill(&http, &name, own * FEW, 1000)?;
    }
    let settings = json!({"type": "fs", "settings": {"location": repo}});
    http.put("/_snapshot/bench", &settings)?;
    // Not waited for in one request, which might take longer than requests may.
    http.put("/_snapshot/bench/snap", &json!({"include_global_state": true}))?;
    loop {
        let snapshots = http.get("/_snapshot/bench/snap")?.json()?;
        match snapshots["snapshots"][0]["state"].as_str() {
            Some("SUCCESS") => return Ok(()),
            Some("IN_PROGRESS") => std::thread::sleep(std::time::Duration::from_millis(300)),
            state => return Err(format!("the snapshot ended as {state:?}").into()),
        }
    }
}

/// An index whose documents are only stored: what else a server makes of them is not read.
fn create(http: &Http, name: &str, shards: u64, codec: &str) -> Result<()> {
    let settings = json!({
        "number_of_shards": shards, "number_of_replicas": 0, "refresh_interval": "-1", "codec": codec,
        "translog.durability": "async",
    });
    http.put(&format!("/{name}"), &json!({"settings": settings, "mappings": {"enabled": false}}))?;
    Ok(())
}

fn fill(http: &Http, name: &str, count: u64, size: usize) -> Result<()> {
    let mut dice = Dice::new(1);
    let (path, mut lines) = (format!("/{name}/_bulk"), String::with_capacity(BULK + size));
    for n in 0..count {
        lines.push_str("{\"index\":{\"_id\":\"");
        id(&mut dice, &mut lines);
        lines.push_str("\"}}\n");
        document(&mut dice, n, size, &mut lines);
        // Writing into a string cannot fail.
        let _ = writeln!(lines);
        if lines.len() >= BULK || n + 1 == count {
            http.bulk(&path, &lines)?;
            lines.clear();
        }
    }
    http.post(&format!("/{name}/_flush"), &json!(null))?;
    Ok(())
}

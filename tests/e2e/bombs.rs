//! Repositories that are large or hostile, read in little memory.

use crate::support::{Desk, copy_of, fixture};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::Child;

/// Memory that a process may take to read metadata, in MiB.
const ENOUGH: u64 = 128;

/// The largest amount of memory that a process took until it ended, in MiB, and its exit code.
fn peak(mut child: Child) -> (u64, Option<i32>, String) {
    let status = format!("/proc/{}/status", child.id());
    let output = child.stdout.take().unwrap();
    let output = std::thread::spawn(move || std::io::read_to_string(output).unwrap());
    let mut peak = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        peak = kib.unwrap_or(0).max(peak);
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    (peak / 1024, ended.code(), output.join().unwrap())
}

/// Makes the root list so many more snapshots, each of so many more indices of five shards: copies of an entry of its
/// own, as each snapshot of a schedule is of the one before.
fn enlarge(repo: &Path, snapshots: usize, indices: usize) -> u64 {
    let root = repo.join("index-1");
    let mut data: Value = serde_json::from_slice(&std::fs::read(&root).unwrap()).unwrap();
    let uuid = |kind: &str, n: usize| format!("{kind}{n:020}");
    let uuids: Vec<String> = (0..snapshots).map(|n| uuid("S", n)).collect();
    let own = data["snapshots"][0].clone();
    let identifier = |n: usize| format!("{}-{}-1-1-1", uuid("H", n), uuid("U", n));
    let lookup: Value = (0..indices).map(|n| (uuid("I", n), json!(identifier(n)))).collect();
    let more: Vec<Value> = uuids
        .iter()
        .enumerate()
        .map(|(n, id)| {
            let mut entry = own.clone();
            entry["name"] = format!("daily-{n}").into();
            entry["uuid"] = id.as_str().into();
            entry["start_time_millis"] = json!(1_000_000_000_000_u64 + n as u64);
            entry["end_time_millis"] = json!(1_000_000_000_001_u64 + n as u64);
            entry["index_metadata_lookup"] = lookup.clone();
            let own_info = repo.join(format!("snap-{}.dat", own["uuid"].as_str().unwrap()));
            std::fs::hard_link(own_info, repo.join(format!("snap-{id}.dat"))).unwrap();
            entry
        })
        .collect();
    data["snapshots"].as_array_mut().unwrap().splice(0..0, more);
    for n in 0..indices {
        let shards: Vec<String> = (0..5).map(|shard| uuid("G", n * 5 + shard)).collect();
        data["indices"][format!("logs-{n}")] =
            json!({"id": uuid("I", n), "snapshots": uuids, "shard_generations": shards});
        data["index_metadata_identifiers"][identifier(n)] = uuid("M", n).into();
    }
    std::fs::write(&root, data.to_string()).unwrap();
    std::fs::metadata(root).unwrap().len()
}

#[test]
fn a_repository_of_many_snapshots_takes_little_memory() {
    let desk = Desk::new();
    let repo = copy_of(&desk, &fixture("es-8.19.9"));
    let length = enlarge(&repo, 400, 2000);
    assert!(length > 60 << 20, "{length}");
    let repo = repo.to_str().unwrap();
    let (memory, code, text) = peak(desk.spawn(&["--json", "plan", "--repo", repo, "--index", "basic"]));
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &plan["indices"][0]["index"]), (Some(0), &json!("basic")), "{text}");
    assert!(memory < ENOUGH, "plan took {memory} MiB");
    let listing = ["--json", "snapshot", "list", "--repo", repo];
    let (memory, code, text) = peak(desk.spawn_console(&listing));
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, listed.as_array().map(Vec::len)), (Some(0), Some(402)));
    assert!(memory < ENOUGH, "snapshot list took {memory} MiB");
}

/// Memory of processes that read hostile metadata, in MiB.
const LITTLE: usize = 512;

/// A blob of metadata, as servers write it: a header, a compressed body, and a checksum.
fn container(codec: &str, write_body: impl FnOnce(&mut dyn Write)) -> Vec<u8> {
    const MAGIC: u32 = 0x3fd7_6c17;
    let mut bytes = MAGIC.to_be_bytes().to_vec();
    bytes.push(codec.len() as u8);
    bytes.extend_from_slice(codec.as_bytes());
    bytes.extend_from_slice(&1u32.to_be_bytes());
    bytes.extend_from_slice(b"DFL\0");
    let mut body = flate2::write::DeflateEncoder::new(bytes, flate2::Compression::fast());
    write_body(&mut body);
    let mut bytes = body.finish().unwrap();
    bytes.extend_from_slice(&(!MAGIC).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let mut checksum = flate2::Crc::new();
    checksum.update(&bytes);
    bytes.extend_from_slice(&u64::from(checksum.sum()).to_be_bytes());
    bytes
}

/// A blob that is small, and larger than the memory when it is decompressed.
fn inflating(codec: &str) -> Vec<u8> {
    let spaces = vec![b' '; 1 << 20];
    let blob = container(codec, |body| {
        (0..LITTLE + 100).for_each(|_| body.write_all(&spaces).unwrap());
    });
    assert!(blob.len() < 8 << 20);
    blob
}

/// Replaces those files at the root whose names begin so; returns how many there are.
fn replace_at_root(repo: &Path, prefix: &str, bytes: &[u8]) -> usize {
    let files = std::fs::read_dir(repo).unwrap().map(|file| file.unwrap());
    let files: Vec<_> = files.filter(|file| file.file_name().to_str().unwrap().starts_with(prefix)).collect();
    files.iter().for_each(|file| std::fs::write(file.path(), bytes).unwrap());
    files.len()
}

/// Replaces those files in the directory of an index or of its first shard whose names begin so.
fn replace(repo: &Path, index: &str, dir: &str, prefix: &str, bytes: &[u8]) {
    let root: Value = serde_json::from_slice(&std::fs::read(repo.join("index-1")).unwrap()).unwrap();
    let dir = repo.join("indices").join(root["indices"][index]["id"].as_str().unwrap()).join(dir);
    let mut replaced = 0;
    for file in std::fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_str().unwrap().starts_with(prefix) {
            std::fs::write(file.path(), bytes).unwrap();
            replaced += 1;
        }
    }
    assert!(replaced > 0, "{index}");
}

/// The metadata of an index of one shard with these mappings.
fn metadata(index: &str, mappings: &str) -> Vec<u8> {
    container("index-metadata", |body| {
        write!(
            body,
            "{{\"{index}\":{{\"settings\":{{\"index.number_of_shards\":\"1\"}},\"mappings\":[{mappings}]}}}}"
        )
        .unwrap();
    })
}

#[test]
fn metadata_that_would_take_all_memory_is_refused_by_name_and_the_rest_is_planned() {
    let desk = Desk::new();
    let repo = copy_of(&desk, &fixture("es-8.19.9"));
    replace(&repo, "compressed", "", "meta-", &inflating("index-metadata"));
    // Small as text, and ten times as large when it is parsed.
    let files = container("snapshot", |body| {
        body.write_all(b"{\"name\":\"snap-1\",\"index_version\":1,\"files\":[").unwrap();
        for n in 0..400_000 {
            let comma = if n == 0 { "" } else { "," };
            write!(body, "{comma}{{\"name\":\"a\",\"physical_name\":\"{n}\",\"length\":0}}").unwrap();
        }
        body.write_all(b"]}").unwrap();
    });
    replace(&repo, "large", "0", "snap-", &files);
    let names = container("index-metadata", |body| {
        body.write_all(b"{\"opaque\":{\"settings\":{").unwrap();
        (0..1_000_000).for_each(|n| write!(body, "\"{n}\":0,").unwrap());
        body.write_all(b"\"index.number_of_shards\":1}}}").unwrap();
    });
    replace(&repo, "opaque", "", "meta-", &names);
    let deep = "{\"properties\":{\"f\":".repeat(2000) + "0" + &"}}".repeat(2000);
    replace(&repo, "hard", "", "meta-", &metadata("hard", &format!("{{\"_doc\":{deep}}}")));
    // Many fields are nothing bad.
    let fields: Vec<String> = (0..1_000_000).map(|n| format!("\"{n}\":{{}}")).collect();
    let many = format!("{{\"_doc\":{{\"properties\":{{{}}}}}}}", fields.join(","));
    replace(&repo, "verbatim", "", "meta-", &metadata("verbatim", &many));

    let repo = repo.to_str().unwrap();
    let planned = desk.limited(LITTLE, &["--json", "plan", "--repo", repo]).expect(5).json();
    let notes = planned["notes"].as_array().unwrap();
    for (index, reason) in [
        ("compressed", "MiB of memory"),
        ("large", "a list of at most 100000 elements"),
        ("opaque", "1 MiB of memory"),
        ("hard", "more than 100 deep"),
    ] {
        let named = |note: &&Value| note.as_str().unwrap().contains(index);
        let note = notes.iter().find(named).unwrap_or_else(|| panic!("{index}: {notes:?}"));
        assert!(note.as_str().unwrap().contains(reason), "{note}");
    }
    let documents = |name: &str| {
        let index = planned["indices"].as_array().unwrap().iter().find(|index| index["index"] == name);
        index.unwrap()["documents"].as_u64().unwrap()
    };
    assert!(documents("basic") > 0 && documents("verbatim") > 0 && documents("nested") > 0);
}

#[test]
fn metadata_of_a_snapshot_that_would_take_all_memory_is_refused_by_name() {
    let desk = Desk::new();
    let repo = copy_of(&desk, &fixture("es-8.19.9"));
    // Small as text, and many times as large if all of it were kept.
    let names = |codec: &str, begins: &str| {
        container(codec, |body| {
            body.write_all(begins.as_bytes()).unwrap();
            (0..2_000_000).for_each(|n| write!(body, "\"{n}\",").unwrap());
            body.write_all(b"0]}}").unwrap();
        })
    };
    let plan = || desk.limited(LITTLE, &["plan", "--repo", repo.to_str().unwrap()]);
    let refused = |prefix: &str, bomb: &[u8], reason: &str| {
        assert!(replace_at_root(&repo, prefix, bomb) > 0);
        let ended = plan().expect(5);
        assert!(ended.stderr.contains(prefix) && ended.stderr.contains(reason), "{}", ended.stderr);
    };
    // The global metadata, of which nothing of this is needed, is passed over.
    assert!(replace_at_root(&repo, "meta-", &names("metadata", "{\"meta-data\":{\"indices\":[")) > 0);
    plan().expect(0);
    refused("meta-", &inflating("metadata"), "MiB of memory");
    refused("snap-", &inflating("snapshot"), "MiB of memory");
    refused("snap-", &names("snapshot", "{\"snapshot\":{\"indices\":["), "a list of at most 500000 elements");
}

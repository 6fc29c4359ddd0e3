//! `docs/compatibility.md` says what is read of each version. Its tables are what the fixtures hold, found in their files,
//! and each test that it names exists: so no cell is a promise alone.
//!
//! `UPDATE_DOCS=1 cargo test -p snapshot --test compatibility` writes the tables anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::{Expected, Repository, fixture_dir, open};
use lucene::compound::CompoundEntries;
use lucene::segment_info::SegmentInfo;
use lucene::segments::SegmentInfos;
use lucene::stored_fields::{DataHeader, MAX_HEADER_LEN};
use snapshot::index_metadata::{IndexMetadata, IndexState, SourceHandling};
use snapshot::paths::{Form, newest_root};
use snapshot::repository::{IndexEntry, ShardPathType, SnapshotEntry};

/// The tests that go through a fixture document by document: what each is called, and its fixture.
fn tests_by_fixture() -> Vec<(String, String)> {
    let source = fs::read_to_string(root().join("tests/e2e/versions.rs")).unwrap();
    let (_, list) = source.split_once("\nversions! {\n").unwrap();
    let (list, _) = list.split_once('}').unwrap();
    let entry = |line: &str| {
        let (test, fixture) = line.trim().trim_end_matches(',').split_once(": ").unwrap();
        (test.to_owned(), fixture.trim_matches('"').to_owned())
    };
    list.lines().map(entry).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What a fixture holds of a kind: each way in which it is there.
#[derive(Default)]
struct Facts(BTreeMap<&'static str, BTreeSet<String>>);

impl Facts {
    fn add(&mut self, column: &'static str, fact: impl Into<String>) {
        self.0.entry(column).or_default().insert(fact.into());
    }

    fn cell(&self, column: &str) -> String {
        let none = || "–".to_owned();
        self.0.get(column).map_or_else(none, |all| all.iter().cloned().collect::<Vec<_>>().join(", "))
    }
}

/// The tables: what each is about, and its columns.
const TABLES: [(&str, &[&str]); 4] = [
    ("Repositories", &["root", "metadata", "names of blobs", "shard paths", "files"]),
    ("Segments", &["Lucene", "stored fields", "layout", "deletions"]),
    ("Documents", &["ids", "routing and types", "nested", "sources", "largest"]),
    ("Indices", &["source is", "kinds", "created by"]),
];

fn facts(name: &str) -> Facts {
    let (repository, data) = open(&fixture_dir(name));
    let mut facts = Facts::default();
    let names = repository.names();
    let rooted = newest_root(names.iter().map(String::as_str)).is_some();
    facts.add("root", if rooted { "`index-N`" } else { "`index`" });
    let snapshots = data.snapshots.len();
    let mut lives: BTreeMap<String, BTreeSet<Option<String>>> = BTreeMap::new();
    facts
        .add("root", if snapshots == 1 { "1 snapshot".to_owned() } else { format!("{snapshots} snapshots") });
    for entry in &data.snapshots {
        facts.add(
            "metadata",
            encoding(&repository.read(&entry.form.global_metadata(&entry.uuid)), entry.form),
        );
        let form = if entry.form == Form::Plain { "without `.dat`" } else { "`.dat`" };
        facts.add("names of blobs", form);
        let streams = common::global(&repository, entry).data_streams;
        let contents = common::contents(&repository, &data, entry);
        for index in &contents.indices {
            // Some fixtures hold fewer indices than their root lists.
            let blob = contents.metadata_blob(index).unwrap();
            if !repository.dir.join(entry.form.index_metadata(&index.id, blob)).exists() {
                continue;
            }
            let metadata = common::metadata(&repository, &contents, entry, index);
            lives.entry(metadata.name.clone()).or_default().insert(metadata.uuid.clone());
            of_index(&mut facts, &metadata, index, &streams.iter().flat_map(|s| s.indices.clone()).collect());
            for shard in 0..metadata.number_of_shards {
                of_shard(&mut facts, &repository, index, shard, entry);
            }
        }
    }
    if lives.values().any(|uuids| uuids.len() > 1) {
        facts.add("kinds", "made again under its name");
    }
    let typed = of_documents(&mut facts, name);
    for (kind, indices) in typed {
        if !indices.is_empty() {
            facts.add("routing and types", kind);
        }
    }
    facts
}

/// How a blob of metadata is written.
fn encoding(bytes: &[u8], form: Form) -> String {
    // Containers begin with a Lucene header: magic, length and text of the codec's name, version.
    let body = if form == Form::Plain { bytes } else { &bytes[9 + usize::from(bytes[4])..] };
    let compression = [(&b"DFL\0"[..], "DEFLATE"), (b"ZSTD\0", "zstd"), (b"ZV", "LZF")];
    let compressed = compression.iter().find(|(magic, _)| body.starts_with(magic));
    match compressed {
        Some((_, name)) => (*name).to_owned(),
        None => if body.starts_with(b":)\n") { "SMILE" } else { "JSON" }.to_owned(),
    }
}

fn of_index(facts: &mut Facts, index: &IndexMetadata, entry: &IndexEntry, streamed: &BTreeSet<String>) {
    let paths = match entry.shard_path_type {
        ShardPathType::Fixed => "fixed",
        ShardPathType::HashedPrefix => "hashed prefix",
        ShardPathType::HashedInfix => "hashed infix",
        ShardPathType::Other(_) => panic!("{}", index.name),
    };
    facts.add("shard paths", paths);
    for (_, handling) in &index.mappings.sources {
        facts.add(
            "source is",
            match handling {
                SourceHandling::Enabled => "whole",
                SourceHandling::Disabled => "disabled",
                SourceHandling::Filtered { .. } => "filtered",
                SourceHandling::Synthetic => "synthetic",
                SourceHandling::Derived => "derived",
                SourceHandling::WithoutVectors | SourceHandling::ExcludedVectors => "without vectors",
            },
        );
    }
    if let Some(created) = index.created {
        facts.add("created by", created.to_string());
    }
    if index.mappings.has_nested {
        facts.add("nested", "yes");
    }
    let setting = |key: &str| index.settings.get(key).map(String::as_str);
    let kinds = [
        (index.state == IndexState::Close, "closed"),
        (index.hidden, "hidden"),
        (index.system, "named with a dot"),
        (!index.aliases.is_empty(), "aliased"),
        (streamed.contains(&index.name), "data stream"),
        (!index.name.is_ascii(), "non-ASCII name"),
        (setting("index.mode") == Some("logsdb"), "logsdb"),
        (setting("index.mode") == Some("time_series"), "time series"),
        (setting("index.knn") == Some("true"), "k-NN"),
        (setting("index.sort.field").is_some(), "sorted"),
        (index.name == "moving", "written to meanwhile"),
    ];
    for (_, kind) in kinds.iter().filter(|(is, _)| *is) {
        facts.add("kinds", *kind);
    }
}

fn of_shard(facts: &mut Facts, repo: &Repository, index: &IndexEntry, shard: u32, entry: &SnapshotEntry) {
    let shard = repo.shard(index, shard, entry);
    let manifest = shard.files.manifest();
    if manifest.files.iter().any(|file| file.parts() > 1) {
        facts.add("files", "split");
    }
    if manifest.files.iter().any(|file| file.is_virtual()) {
        facts.add("files", "inlined");
    }
    let commit_file = &shard.files.segments_file().unwrap().physical_name;
    let commits = SegmentInfos::parse(commit_file, &shard.file(commit_file)).unwrap();
    for commit in &commits.segments {
        let name = commit.segment_info_file();
        let bytes = shard.file(&name);
        let info = SegmentInfo::parse(&name, &bytes, commit).unwrap();
        // From Lucene 5 on, the file lists itself. A copy under another name lists the file that it was copied from.
        if commit.id.is_some() && !bytes.windows(name.len()).any(|part| part == name.as_bytes()) {
            facts.add("layout", "copies under other names");
        }
        let version = info.lucene_version;
        facts.add("Lucene", format!("{}.{}", version.major, version.minor));
        let data = commit.file(".fdt");
        let header = if info.compound {
            facts.add("layout", "compound");
            let (cfs, cfe) = (shard.file(&commit.file(".cfs")), commit.file(".cfe"));
            let length = cfs.len() as u64;
            let entries =
                CompoundEntries::parse(&cfe, &shard.file(&cfe), commit.id.as_ref(), length).unwrap();
            let suffix = data.strip_prefix(commit.name.as_str()).unwrap();
            let at = entries.get(suffix).unwrap().0 as usize;
            cfs[at..cfs.len().min(at + MAX_HEADER_LEN)].to_vec()
        } else {
            facts.add("layout", "files");
            shard.file(&data)
        };
        let end = header.len().min(MAX_HEADER_LEN);
        let header = DataHeader::parse(&data, &header[..end], commit.id.as_ref()).unwrap();
        facts.add("stored fields", format!("`{}` {}", header.format.codec, header.version));
        if commit.del_gen.is_some() {
            facts.add("deletions", "hard");
        }
        if commit.soft_del_count > 0 {
            facts.add("deletions", "soft");
        }
    }
    if commits.segments.is_empty() {
        facts.add("layout", "no segment");
    }
}

/// What the documents that the server returned are like; and which indices have several types, or parents.
fn of_documents(facts: &mut Facts, name: &str) -> [(&'static str, BTreeSet<String>); 3] {
    let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut several, mut parents, mut routed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut largest = 0;
    for doc in common::expected_documents(&fixture_dir(name)).unwrap() {
        let Expected { index, id, routing, kind, parent, source } = &doc;
        let kinds = [
            (id.bytes().all(|b| b.is_ascii_digit()), "numeric"),
            (id.len() == 512, "512 bytes"),
            (!id.is_ascii(), "UTF-8"),
            (
                id.len() == 20 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
                "of the server",
            ),
        ];
        kinds.iter().filter(|(is, _)| *is).for_each(|(_, kind)| facts.add("ids", *kind));
        for (was, form) in
            [("cbor", "CBOR"), ("smile", "SMILE"), ("yaml", "YAML"), ("pretty", "pretty-printed")]
        {
            if index == "verbatim" && id == was {
                facts.add("sources", form);
            }
        }
        let lengths = source.as_ref().map_or(0, String::len);
        largest = largest.max(lengths);
        if routing.is_some() {
            routed.insert(index.clone());
        }
        if parent.is_some() {
            parents.insert(index.clone());
        }
        let kinds = types.entry(index.clone()).or_default();
        kinds.extend(kind.clone());
        if kinds.len() > 1 {
            several.insert(index.clone());
        }
        facts.add("sources", "JSON");
        if index == "lzf" {
            facts.add("sources", "LZF");
        }
    }
    facts.add(
        "largest",
        if largest >= 1 << 20 {
            format!("{} MiB", largest >> 20)
        } else {
            format!("{} KiB", largest.div_ceil(1 << 10))
        },
    );
    [("routing", routed), ("several types", several), ("parents", parents)]
}

const BEGIN: &str = "<!-- what the fixtures hold: begin -->\n";
const END: &str = "<!-- what the fixtures hold: end -->\n";

#[test]
fn the_tables_are_what_the_fixtures_hold() {
    let rows: Vec<(String, Facts)> =
        tests_by_fixture().into_iter().map(|(test, fixture)| (test, facts(&fixture))).collect();
    let mut tables = String::new();
    for (title, columns) in TABLES {
        tables.push_str(&format!("\n### {title}\n\n| test | {} |\n|---|", columns.join(" | ")));
        tables.push_str(&"---|".repeat(columns.len()));
        tables.push('\n');
        for (test, facts) in &rows {
            let cells: Vec<String> = columns.iter().map(|column| facts.cell(column)).collect();
            tables.push_str(&format!("| `{test}` | {} |\n", cells.join(" | ")));
        }
    }
    tables.push('\n');
    let file = root().join("docs/compatibility.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (within, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, format!("{before}{BEGIN}{tables}{END}{after}")).unwrap();
    } else {
        assert_eq!(within, tables, "docs/compatibility.md is not up to date: see the head of this test");
    }
}

/// All names of tests in the sources, and those that `versions!` makes.
fn tests() -> BTreeSet<String> {
    let mut found: BTreeSet<String> = tests_by_fixture().into_iter().map(|(test, _)| test).collect();
    let mut dirs = vec![root().join("crates"), root().join("tests/e2e")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                dirs.push(entry);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&entry).unwrap();
                let mut marked = false;
                for line in text.lines().map(str::trim) {
                    let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                    match function {
                        Some(rest) if marked => {
                            found.extend(rest.split_once('(').map(|(name, _)| name.to_owned()));
                            marked = false;
                        }
                        Some(_) => marked = false,
                        None => marked |= line.starts_with("#[") && line.contains("test"),
                    }
                }
            }
        }
    }
    found
}

/// In the tables that are written by hand, the last cell of each row names the tests that show what it says.
#[test]
fn every_test_that_is_named_exists() {
    let text = fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let tests = tests();
    let rows = before.lines().chain(after.lines()).filter(|line| line.starts_with("| "));
    let rows: Vec<&str> = rows.filter(|line| !line.ends_with("| shown by |")).collect();
    assert!(rows.len() > 20, "{}", rows.len());
    for row in rows {
        let last = row.trim_end_matches(" |").rsplit("| ").next().unwrap();
        let mut names = last.split('`').skip(1).step_by(2).peekable();
        assert!(names.peek().is_some(), "no test stands behind: {row}");
        for name in names {
            assert!(tests.contains(name), "there is no test {name}: {row}");
        }
    }
}

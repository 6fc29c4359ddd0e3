//! What the tests share: the commands as processes, and documents to compare.

use serde_json::Value;
use serde_json::value::RawValue;
use servers::{ExpectedDoc, Fixture};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A directory of its own for a test, and the commands run in it.
pub(crate) struct Desk {
    pub(crate) dir: TempDir,
    /// Variables of the commands besides those of this process.
    environment: Vec<(&'static str, String)>,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.stdout.trim()).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        use std::os::unix::process::ExitStatusExt;
        let signal = output.status.signal().map(|s| -s);
        Ended {
            code: output.status.code().or(signal).unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Desk {
    pub(crate) fn new() -> Desk {
        Desk { dir: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    /// With these variables for its commands.
    pub(crate) fn with(environment: Vec<(&'static str, String)>) -> Desk {
        Desk { environment, ..Desk::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars() {
            if name.starts_with("BACKFILL_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn backfill(&self, args: &[&str]) -> Ended {
        self.command(env!("CARGO_BIN_EXE_backfill"), args).output().unwrap().into()
    }

    pub(crate) fn console(&self, args: &[&str]) -> Ended {
        self.command(env!("CARGO_BIN_EXE_console"), args).output().unwrap().into()
    }

    /// As a process that may have so many MiB of memory.
    pub(crate) fn limited(&self, mib: usize, args: &[&str]) -> Ended {
        let limit = format!("ulimit -d {}; exec \"$0\" \"$@\"", mib << 10);
        let program = ["-c", &limit, env!("CARGO_BIN_EXE_backfill")];
        self.command("sh", &[&program, args].concat()).output().unwrap().into()
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(env!("CARGO_BIN_EXE_backfill"), args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// As a process that does not ignore SIGHUP from its beginning, even if the tests run under `nohup`.
    pub(crate) fn spawn_heeding_hangup(&self, args: &[&str]) -> Child {
        let program = ["--default-signal=HUP", env!("CARGO_BIN_EXE_backfill")];
        let mut command = self.command("env", &[&program, args].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// As a process that ignores SIGHUP from its beginning.
    pub(crate) fn spawn_ignoring_hangup(&self, args: &[&str]) -> Child {
        let program = ["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_backfill")];
        let mut command = self.command("sh", &[&program, args].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn spawn_console(&self, args: &[&str]) -> Child {
        let mut command = self.command(env!("CARGO_BIN_EXE_console"), args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The documents that an export left, by index, id and routing.
    pub(crate) fn exported(&self, dir: &str) -> Documents {
        let mut documents = Documents::default();
        for file in files_below(&self.path(dir)) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            assert!(name.ends_with(".ndjson"), "left behind: {name}");
            for line in std::fs::read_to_string(&file).unwrap().lines() {
                documents.add(serde_json::from_str(line).unwrap());
            }
        }
        documents
    }
}

pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return files };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

/// A repository of the desk's own, to be changed.
pub(crate) fn copy_of(desk: &Desk, fixture: &Fixture) -> PathBuf {
    let copy = desk.path("repo");
    for file in files_below(&fixture.repo) {
        let to = copy.join(file.strip_prefix(&fixture.repo).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    }
    copy
}

pub(crate) fn fixture(name: &str) -> Fixture {
    servers::fixture(name).unwrap_or_else(|e| panic!("fixture {name}: {e}"))
}

pub(crate) fn repo(fixture: &Fixture) -> String {
    fixture.repo.to_str().unwrap().to_owned()
}

/// Waits for a condition, and fails when it does not come true within a minute.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed().as_secs() < 60, "waited in vain until {what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The largest resident set that a process has had so far, in MiB; 0 if it is not there.
pub(crate) fn peak_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|text| text.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// Random moments at which to interrupt something, within as long as it takes on this machine.
pub(crate) struct Moments {
    within: Duration,
    last: Duration,
    random: fastrand::Rng,
}

impl Moments {
    pub(crate) fn new(within: Duration) -> Moments {
        Moments { within, last: within, random: fastrand::Rng::with_seed(1) }
    }

    /// Waits for the next one.
    pub(crate) fn wait(&mut self) {
        let micros = u64::try_from(self.within.as_micros()).unwrap();
        self.last = Duration::from_micros(self.random.u64(0..=micros));
        std::thread::sleep(self.last);
    }

    /// What was to be interrupted, from its beginning, had ended by the last moment: the next come earlier.
    pub(crate) fn came_too_late(&mut self) {
        self.within = self.last;
    }
}

/// What tells documents apart: an export keeps the types of an index that has several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) index: String,
    pub(crate) id: String,
    pub(crate) routing: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) parent: Option<String>,
}

impl Key {
    pub(crate) fn of(document: &ExpectedDoc) -> Key {
        let ExpectedDoc { index, id, routing, kind, parent, .. } = document.clone();
        Key { index, id, routing, kind, parent }
    }
}

/// Documents, each with the text of its source. Each may be there once.
#[derive(Default)]
pub(crate) struct Documents(pub(crate) BTreeMap<Key, String>);

impl Documents {
    pub(crate) fn add(&mut self, document: ExpectedDoc) {
        let source = document.source_text().unwrap_or("(no source)").to_owned();
        let key = Key::of(&document);
        let before = self.0.insert(key.clone(), source);
        assert!(before.is_none(), "{key:?} is there twice");
    }

    /// The documents of a fixture that can be migrated: those with a source, of the indices that are not hidden.
    pub(crate) fn expected(fixture: &Fixture) -> Documents {
        let mut documents = Documents::default();
        for document in visible(fixture).filter(|d| d.source.is_some() && d.index != "filtered") {
            documents.add(document.clone());
        }
        documents
    }

    /// Everything that a cluster holds, except in dot-prefixed indices.
    pub(crate) fn in_cluster(url: &str) -> Documents {
        let http = servers::Http::new(url);
        http.post("/_refresh", &Value::Null).unwrap();
        let mut documents = Documents::default();
        let body =
            serde_json::json!({"size": 1000, "sort": ["_doc"], "stored_fields": ["_routing", "_source"]});
        let first = http.post("/*/_search?scroll=1m&expand_wildcards=open", &body).unwrap();
        let mut page: Page = first.parse().unwrap();
        while !page.hits.hits.is_empty() {
            for hit in std::mem::take(&mut page.hits.hits) {
                let stream = hit._index.strip_prefix(".ds-").and_then(|rest| rest.rsplit_once('-'));
                documents.add(ExpectedDoc {
                    index: stream.map_or(hit._index.clone(), |(name, _)| name.to_owned()),
                    backing_index: None,
                    kind: None,
                    id: hit._id,
                    routing: hit._routing,
                    parent: None,
                    source: hit._source,
                    sent: None,
                });
            }
            let next = serde_json::json!({"scroll": "1m", "scroll_id": page._scroll_id});
            page = http.post("/_search/scroll", &next).unwrap().parse().unwrap();
        }
        documents
    }

    /// Fails unless both hold the same documents, each with the very same text as its source.
    #[track_caller]
    pub(crate) fn assert_same(&self, expected: &Documents) {
        for (key, source) in &expected.0 {
            let found = self.0.get(key).unwrap_or_else(|| panic!("{key:?} is missing"));
            assert!(
                found == source || same_numbers(key, found, source),
                "{key:?}:\n  found    {}\n  expected {}",
                short(found),
                short(source)
            );
        }
        for key in self.0.keys() {
            assert!(expected.0.contains_key(key), "{key:?} is too many");
        }
    }
}

/// Documents indexed as CBOR, SMILE or YAML have no JSON text of their own: the server writes their numbers in its own
/// way (and may write more digits of one of four bytes than it has), so they are compared as numbers.
fn same_numbers(key: &Key, a: &str, b: &str) -> bool {
    fn loose(value: Value) -> Value {
        match value {
            Value::Number(n) if n.is_f64() => format!("{:.6e}", n.as_f64().unwrap()).into(),
            Value::Array(items) => items.into_iter().map(loose).collect(),
            Value::Object(members) => members.into_iter().map(|(k, v)| (k, loose(v))).collect(),
            other => other,
        }
    }
    let parse = |text| loose(serde_json::from_str(text).unwrap());
    ["cbor", "smile", "smile-big", "yaml"].contains(&key.id.as_str()) && parse(a) == parse(b)
}

/// Indices of the fixtures that wildcards pass over although their names do not tell.
const HIDDEN: &[&str] = &["hidden"];

/// The documents of a fixture in the indices that wildcards select.
pub(crate) fn visible(fixture: &Fixture) -> impl Iterator<Item = &ExpectedDoc> {
    let visible = |d: &&ExpectedDoc| !d.index.starts_with('.') && !HIDDEN.contains(&d.index.as_str());
    fixture.expected.iter().filter(visible)
}

fn short(text: &str) -> &str {
    let end = text.char_indices().nth(300).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[derive(serde::Deserialize)]
struct Page {
    _scroll_id: String,
    hits: Hits,
}

#[derive(serde::Deserialize)]
struct Hits {
    hits: Vec<Hit>,
}

#[derive(serde::Deserialize)]
struct Hit {
    _index: String,
    _id: String,
    #[serde(default)]
    _routing: Option<String>,
    #[serde(default)]
    _source: Option<Box<RawValue>>,
}

/// A cluster that `cargo xtask test` has started.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    OpenSearch2,
    OpenSearch3,
}

impl Target {
    fn url(self) -> String {
        let variable = match self {
            Target::OpenSearch2 => "BACKFILL_TEST_TARGET",
            Target::OpenSearch3 => "BACKFILL_TEST_TARGET_3",
        };
        std::env::var(variable)
            .unwrap_or_else(|_| panic!("{variable} is not set: run these tests by `cargo xtask test`"))
    }

    /// The cluster, empty, and for this test alone as long as the guard lives.
    pub(crate) fn emptied(self) -> (std::sync::MutexGuard<'static, ()>, String) {
        static ALONE: [std::sync::Mutex<()>; 2] = [const { std::sync::Mutex::new(()) }; 2];
        let guard = ALONE[self as usize].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let url = self.url();
        let http = servers::Http::new(&url);
        http.delete("/_data_stream/*").unwrap();
        http.delete("/*,-.*").unwrap();
        (guard, url)
    }
}

/// The target that most tests write into, empty.
pub(crate) fn empty_target() -> (std::sync::MutexGuard<'static, ()>, String) {
    Target::OpenSearch2.emptied()
}

/// Creates the indices and data streams that the documents go to, as an operator has before a backfill.
pub(crate) fn create_indices(url: &str, documents: &Documents, extra: &[&str]) {
    let http = servers::Http::new(url);
    // Of three shards, documents of the same id and the routings `a` and `b`, or `a` and `c`, have different ones.
    let settings = serde_json::json!({"number_of_shards": 3, "number_of_replicas": 0});
    let streams = serde_json::json!({
        "index_patterns": ["logs-*"], "data_stream": {}, "priority": 500,
        "template": {"settings": settings, "mappings": {"properties": {"@timestamp": {"type": "date"}}}}
    });
    http.put("/_index_template/streams", &streams).unwrap().ok().unwrap();
    let mut names: Vec<&str> =
        documents.0.keys().map(|key| key.index.as_str()).chain(extra.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        if name.starts_with("logs-") {
            http.put(&format!("/_data_stream/{name}"), &Value::Null).unwrap().ok().unwrap();
        } else {
            // Nothing is to be refused for its fields: that is tested apart.
            let body = serde_json::json!({"settings": settings, "mappings": {"enabled": false}});
            http.put(&format!("/{}", servers::path_segment(name)), &body).unwrap().ok().unwrap();
        }
    }
}

/// Creates indices whose mappings know no field: every document that has one is refused.
pub(crate) fn create_strict(url: &str, documents: &Documents) -> BTreeSet<String> {
    let http = servers::Http::new(url);
    let indices: BTreeSet<String> = documents.0.keys().map(|key| key.index.clone()).collect();
    // Of three shards, documents of the same id and different routings have different ones.
    let settings = serde_json::json!({"number_of_shards": 3, "number_of_replicas": 0});
    let body = serde_json::json!({"settings": settings, "mappings": {"dynamic": "strict"}});
    for index in &indices {
        http.put(&format!("/{}", servers::path_segment(index)), &body).unwrap().ok().unwrap();
    }
    indices
}

/// From now on the mappings take any document.
pub(crate) fn mend(url: &str, index: &str) {
    let path = format!("/{}/_mapping", servers::path_segment(index));
    servers::Http::new(url).put(&path, &serde_json::json!({"dynamic": false})).unwrap().ok().unwrap();
}

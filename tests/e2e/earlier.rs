//! What earlier versions left behind is continued: `tests/earlier` has it as they wrote it.

use crate::support::{Desk, Documents, create_indices, empty_target, files_below, fixture};
use std::fs::{File, FileTimes};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where the runs were started, and the address of their target.
const DESK: &str = "/tmp/earlier";
const TARGET: &str = "http://127.0.0.1:19777";

fn left_behind(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/earlier").join(version)
}

/// Puts a state file into the desk as if it had been made there, for this target.
fn place_state(desk: &Desk, compressed: &Path, target: &str) {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(File::open(compressed).unwrap()).read_to_end(&mut bytes).unwrap();
    let state = desk.path("backfill.sqlite");
    std::fs::write(&state, bytes).unwrap();
    let here = desk.dir.path().canonicalize().unwrap();
    let connection = rusqlite::Connection::open(&state).unwrap();
    let sql = "UPDATE runs SET record = replace(replace(record, ?1, ?2), ?3, ?4)";
    connection.execute(sql, [DESK, here.to_str().unwrap(), TARGET, target]).unwrap();
}

/// Copies the fixture's repository into the desk, with the times of its files that the run has seen: they are part of
/// what tells whether a snapshot has changed.
fn place_repository(desk: &Desk, name: &str) {
    let from = fixture(name).repo;
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
    for file in files_below(&from) {
        let to = desk.path("repo").join(file.strip_prefix(&from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, &to).unwrap();
        let times = FileTimes::new().set_modified(modified);
        File::options().write(true).open(&to).unwrap().set_times(times).unwrap();
    }
}

#[test]
fn an_unfinished_run_is_continued() {
    let desk = Desk::new();
    place_repository(&desk, "es-7.10.2");
    // Ten of its chunks are done, one waits after an error, one is in the hands of a worker that was killed, and three
    // were given up.
    place_state(&desk, &left_behind("ad2b943").join("unfinished.sqlite.gz"), TARGET);
    let before = desk.backfill(&["status", "--json"]).expect(0).json();
    assert_eq!((&before["chunks_completed"], &before["chunks_failed"]), (&10.into(), &3.into()), "{before}");
    assert_eq!(before["last_errors"].as_array().unwrap().len(), 1, "{before}");
    let described = desk.backfill(&["describe", "--chunks", "--json"]).expect(0).stdout;
    assert!(described.contains("the snapshot changed since the run was planned"), "{described}");

    let start = ["start", "--local", "--json"];
    let report = desk.backfill(&start).expect(0).json();
    let after = &report["summary"];
    assert_eq!((&after["run"], &after["outcome"]), (&before["run"], &"complete".into()), "{report}");
    assert_eq!((&after["chunks_completed"], &after["documents_done"]), (&15.into(), &554.into()), "{report}");
    // Only the chunks that were left have been exported now.
    let done = before["documents_done"].as_u64().unwrap();
    assert_eq!(desk.exported("out").0.len() as u64, 554 - done);
}

#[test]
fn failed_documents_are_read() {
    let desk = Desk::new();
    place_failed_documents(&desk, TARGET);
    let counted = desk.backfill(&["failed-documents", "count", "--json"]).expect(0).json();
    assert_eq!(counted["total"], 12, "{counted}");
    assert_eq!(counted["by_index"]["refused"]["mapper_parsing_exception"], 4, "{counted}");
    let listed = desk.backfill(&["failed-documents", "list", "--json"]).expect(0).stdout;
    let line = listed.lines().find(|line| line.contains("\"v1\"")).unwrap();
    assert!(line.contains(r#"{"a":1.10,"b":1E5,"c":-0.0,"#), "the source is as it was: {line}");
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn failed_documents_are_tried_again() {
    let (_alone, url) = empty_target();
    let desk = Desk::new();
    place_failed_documents(&desk, &url);
    create_indices(&url, &Documents::default(), &["refused", "verbatim"]);
    let report = desk.backfill(&["failed-documents", "retry", "--json"]).expect(0).json();
    assert_eq!(
        (&report["total"]["indexed"], &report["documents_failed"]),
        (&12.into(), &0.into()),
        "{report}"
    );
    assert_eq!(Documents::in_cluster(&url).0.len(), 12);
}

fn place_failed_documents(desk: &Desk, target: &str) {
    let from = left_behind("ad2b943");
    place_state(desk, &from.join("with-failed-documents.sqlite.gz"), target);
    let failed = from.join("failed");
    for file in files_below(&failed) {
        let to = desk.path("backfill.failed").join(file.strip_prefix(&failed).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, &to).unwrap();
    }
}

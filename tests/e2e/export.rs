//! Exports: the whole job without a cluster.

use crate::support::{Desk, Documents, Ended, copy_of, files_below, fixture, repo};
use servers::Fixture;
use std::collections::BTreeMap;

#[test]
fn small_chunks_several_workers_and_compression_change_nothing() {
    let fixture = fixture("os-2.19.5");
    let expected = Documents::expected(&fixture);
    for (compression, extension) in [("gzip", "gz"), ("zstd", "zst")] {
        let desk = Desk::new();
        desk.backfill(&[
            "start",
            "--local",
            "--repo",
            &repo(&fixture),
            "--index",
            "*,-no_source,-filtered",
            "--target",
            "ndjson:out",
            "--chunk-size",
            "20kb",
            "--workers",
            "3",
            "--compress",
            compression,
            "--bulk-size",
            "5kb",
        ])
        .expect(0);
        for file in files_below(&desk.path("out")) {
            assert_eq!(file.extension().unwrap(), extension);
            let unpacked = file.with_extension("");
            let mut reader: Box<dyn std::io::Read> = match compression {
                "gzip" => Box::new(flate2::read::MultiGzDecoder::new(std::fs::File::open(&file).unwrap())),
                _ => Box::new(zstd::stream::read::Decoder::new(std::fs::File::open(&file).unwrap()).unwrap()),
            };
            std::io::copy(&mut reader, &mut std::fs::File::create(unpacked).unwrap()).unwrap();
            std::fs::remove_file(file).unwrap();
        }
        desk.exported("out").assert_same(&expected);
    }
}

#[test]
fn a_new_run_does_not_export_beside_the_files_of_another() {
    let (desk, fixture) = (Desk::new(), fixture("tiny"));
    let repo = repo(&fixture);
    let start = ["start", "--local", "--repo", &repo, "--target", "ndjson:out"];
    desk.backfill(&start).expect(0);
    let exported = files_below(&desk.path("out"));
    for again in [&["--new", "--chunk-size", "4KiB"], &["--state", "another"][..]] {
        let refused = desk.backfill(&[&start[..], again].concat()).expect(2).stderr;
        assert!(refused.contains("there is an export already: ") && refused.contains(".ndjson"), "{refused}");
    }
    assert_eq!(files_below(&desk.path("out")), exported);
    let refused = desk.backfill(&[&start[..], &["--chunk-size", "1"]].concat()).expect(2).stderr;
    assert!(refused.contains("chunks of 1 bytes are out of range"), "{refused}");
}

/// Runs a command of a shell in namespaces of its own, where it may mount file systems; `None` where that is not allowed.
fn in_namespace(desk: &Desk, script: &str) -> Option<Ended> {
    let mut shell = std::process::Command::new("unshare");
    shell.args(["--user", "--map-root-user", "--mount", "sh", "-c"]).current_dir(desk.dir.path());
    let allowed = shell.arg("mount -t tmpfs tmpfs .").output().is_ok_and(|output| output.status.success());
    if !allowed {
        eprintln!("file systems cannot be mounted here, so this is left out");
        return None;
    }
    let mut shell = std::process::Command::new("unshare");
    shell.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).current_dir(desk.dir.path());
    Some(shell.env("BACKFILL", env!("CARGO_BIN_EXE_backfill")).output().unwrap().into())
}

#[test]
fn a_full_or_read_only_disk_ends_an_export_at_once_and_nothing_is_left_on_it() {
    let repo = repo(&fixture("es-7.10.2"));
    let cases = [
        ("size=64k", "No space left on device (os error 28); free space on its disk"),
        ("ro", "Read-only file system (os error 30); mount it writable"),
    ];
    for (options, reason) in cases {
        let desk = Desk::new();
        let script = format!(
            "mkdir out && mount -t tmpfs -o {options} tmpfs out || exit 99
             \"$BACKFILL\" start --local --repo '{repo}' --index large --target ndjson:out --target-wait 10m
             code=$?; find out -type f; exit $code"
        );
        let begun = std::time::Instant::now();
        let Some(ended) = in_namespace(&desk, &script) else { return };
        let ended = ended.expect(6);
        assert!(
            ended.stderr.contains(reason) && ended.stderr.contains("cannot write to ndjson:"),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "", "left behind");
        assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    }
}

#[test]
fn a_state_file_that_was_only_just_made_is_no_run() {
    let (desk, fixture) = (Desk::new(), fixture("tiny"));
    std::fs::write(desk.path("state"), "").unwrap();
    desk.backfill(&[
        "start",
        "--local",
        "--repo",
        &repo(&fixture),
        "--target",
        "ndjson:out",
        "--state",
        "state",
    ])
    .expect(0);
}

/// Exports all of a fixture, of which some fails: how many of each index and why, and what was exported.
fn what_failed(name: &str) -> (BTreeMap<(String, String), usize>, Documents, Fixture) {
    let (desk, fixture) = (Desk::new(), fixture(name));
    // One of them holds fewer indices than its root lists.
    let indices = fixture.about.live.keys().map(String::as_str).collect::<Vec<_>>().join(",");
    let args = ["start", "--local", "--repo", &repo(&fixture), "--index", &indices, "--target", "ndjson:out"];
    desk.backfill(&args).expect(3);
    let listed = desk.backfill(&["failed-documents", "list", "--json"]).expect(0).stdout;
    let mut failed = BTreeMap::new();
    for line in listed.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| record[field].as_str().unwrap().to_owned();
        *failed.entry((text("index"), text("error_type"))).or_default() += 1;
    }
    (failed, desk.exported("out"), fixture)
}

#[test]
fn documents_whose_ids_are_no_longer_stored_are_kept_as_failed() {
    let (failed, exported, fixture) = what_failed("es-8.19.9-merged-series");
    let key = ("metrics".to_owned(), "missing_id".to_owned());
    assert_eq!(failed, BTreeMap::from([(key, fixture.expected.len())]));
    assert!(exported.0.is_empty(), "{:?}", exported.0);
}

#[test]
fn sources_that_are_stored_without_their_vectors_are_withheld() {
    let (failed, exported, fixture) = what_failed("es-9.2.4-vectors");
    assert_withheld("vectors", "vectors_whole", &failed, &exported, &fixture);
}

#[test]
fn a_mask_is_never_taken_for_a_vector() {
    // The server itself answers with the masks of fields whose names have capitals.
    let (failed, exported, fixture) = what_failed("os-3.6.0-knn-capitals");
    let key = ("capitals_faiss".to_owned(), "masked_source".to_owned());
    assert_eq!(failed, BTreeMap::from([(key, fixture.expected.len())]));
    assert!(exported.0.is_empty(), "{:?}", exported.0);
}

#[test]
fn sources_of_which_nothing_tells_that_they_are_not_whole_are_withheld() {
    // Copies of sources that lack what the sources lack.
    let (failed, exported, fixture) = what_failed("os-2.19.5-partial-copies");
    assert_withheld("partial_copies", "whole", &failed, &exported, &fixture);
}

#[test]
fn an_index_that_cannot_be_read_is_not_left_out_of_an_alias() {
    let (desk, fixture) = (Desk::new(), fixture("os-2.19.5-partial-copies"));
    let (from, copy) = (repo(&fixture), desk.path("repo"));
    for file in files_below(std::path::Path::new(&from)) {
        let to = copy.join(file.strip_prefix(&from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
    let root: serde_json::Value =
        serde_json::from_slice(&std::fs::read(copy.join("index-0")).unwrap()).unwrap();
    let id = root["indices"]["partial_copies"]["id"].as_str().unwrap();
    let metadata = files_below(&copy.join("indices").join(id)).into_iter();
    for file in metadata.filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with("meta-")) {
        std::fs::write(file, "damaged").unwrap();
    }
    // The alias of this index and of another one.
    let copy = copy.to_str().unwrap();
    let args = ["start", "--local", "--repo", copy, "--index", "together", "--target", "ndjson:out"];
    let ended = desk.backfill(&args).expect(5);
    assert!(ended.stderr.contains("damaged: partial_copies"), "{}", ended.stderr);
    assert!(!desk.exported("out").0.is_empty());
}

/// Whether all documents of an index were kept as failed, and all of another one were exported.
fn assert_withheld(
    withheld: &str,
    whole: &str,
    failed: &BTreeMap<(String, String), usize>,
    exported: &Documents,
    fixture: &Fixture,
) {
    let of = |index: &str| fixture.expected.iter().filter(|d| d.index == index).collect::<Vec<_>>();
    let key = (withheld.to_owned(), "partial_source".to_owned());
    assert_eq!(*failed, BTreeMap::from([(key, of(withheld).len())]));
    let whole = of(whole);
    assert!(!whole.is_empty() && exported.0.len() == whole.len());
    for (key, source) in &exported.0 {
        let doc = whole.iter().find(|doc| doc.id == key.id).unwrap();
        assert_eq!(Some(&**source), doc.source_text());
    }
}

#[test]
fn documents_without_source_are_kept_as_failed() {
    // Later versions keep the sources of recent documents for recoveries, and then nothing fails.
    let (desk, fixture) = (Desk::new(), fixture("es-6.8.23"));
    let args =
        ["start", "--local", "--repo", &repo(&fixture), "--index", "no_source", "--target", "ndjson:out"];
    desk.backfill(&args).expect(3);
    let ids: Vec<&str> =
        fixture.expected.iter().filter(|d| d.index == "no_source").map(|d| d.id.as_str()).collect();
    let listed = desk.backfill(&["failed-documents", "list", "--json"]).expect(0).stdout;
    let mut found: Vec<String> = listed
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|record| {
            assert_eq!(record["error_type"], "missing_source");
            record["id"].as_str().unwrap().to_owned()
        })
        .collect();
    found.sort();
    let mut ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
    ids.sort();
    assert_eq!(found, ids);
    let count = desk.backfill(&["failed-documents", "count"]).expect(0).stdout;
    assert_eq!(count.lines().next().unwrap(), ids.len().to_string());
}

#[test]
fn selections_follow_opensearchs_rules() {
    let fixture = fixture("os-2.19.5");
    let cases: [(&[&str], &[&str], &[&str]); 4] = [
        (&["--index", "basic,nested"], &["basic", "nested"], &["verbatim", "large"]),
        (&["--index", "*,-basic"], &["nested"], &["basic", ".dotted"]),
        (&["--index", "logs-*"], &["logs-app-x"], &["basic"]),
        (&["--index", "hidden"], &["hidden"], &["basic"]),
    ];
    for (args, present, absent) in cases {
        let desk = Desk::new();
        let mut all = vec!["start", "--local", "--target", "ndjson:out", "--repo"];
        let repo = repo(&fixture);
        all.push(&repo);
        all.extend(args);
        desk.backfill(&all);
        for name in present {
            assert!(desk.path("out").join(name).is_dir(), "{args:?}: {name} is missing");
        }
        for name in absent {
            assert!(!desk.path("out").join(name).exists(), "{args:?}: {name} is there");
        }
    }
}

#[test]
fn status_has_the_form_that_its_users_know() {
    let (desk, fixture) = (Desk::new(), fixture("tiny"));
    desk.backfill(&["start", "--local", "--repo", &repo(&fixture), "--target", "ndjson:out"]).expect(0);
    let status = desk.backfill(&["status", "--deep-check"]).expect(0).stdout;
    let head: Vec<&str> = status.lines().take(9).collect();
    let expected = [
        "BackfillStatus.STOPPED",
        "Running=0",
        "Pending=0",
        "Desired=0",
        "Shards total: 1",
        "Shards completed: 1",
        "Shards incomplete: 0",
        "Shards in progress: 0",
        "Shards unclaimed: 0",
    ];
    assert_eq!(head, expected);
    assert!(status.lines().last().unwrap().starts_with("Everything has been migrated"), "{status}");
    assert_eq!(desk.console(&["backfill", "status", "--deep-check"]).expect(0).stdout, status);
    let json = desk.backfill(&["--json", "status"]).expect(0).json();
    assert_eq!(json["outcome"], "complete");
    assert_eq!(json["documents_done"], fixture.expected.len());
}

#[test]
fn a_snapshot_that_cannot_be_read_is_listed_beside_the_others() {
    let (desk, fixture) = (Desk::new(), fixture("os-2.19.5"));
    let copy = copy_of(&desk, &fixture);
    let listed = desk.console(&["snapshot", "list", "--repo", "repo", "--json"]).expect(0).json();
    let uuid = listed[0]["uuid"].as_str().unwrap();
    std::fs::remove_file(copy.join(format!("snap-{uuid}.dat"))).unwrap();
    let listed = desk.console(&["snapshot", "list", "--repo", "repo", "--json"]).expect(5);
    assert!(listed.stderr.contains("snapshot snap-1 cannot be read"), "{}", listed.stderr);
    let listed = listed.json();
    let states: Vec<&str> = listed.as_array().unwrap().iter().map(|s| s["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["UNREADABLE", "SUCCESS"]);
}

#[test]
fn places_that_are_no_repository_are_told_from_damaged_ones() {
    let (desk, fixture) = (Desk::new(), fixture("os-2.19.5"));
    let copy = copy_of(&desk, &fixture);
    let plan = |repo: &str| desk.backfill(&["plan", "--repo", repo]).expect(2).stderr;
    let above = plan(desk.dir.path().to_str().unwrap());
    assert!(above.contains("may be a directory within this one"), "{above}");
    for file in crate::support::files_below(&copy) {
        std::fs::write(file, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 8\n").unwrap();
    }
    let pointers = plan("repo");
    assert!(pointers.contains("git lfs pull"), "{pointers}");
    let nothing = desk.backfill(&["plan", "--repo", &repo(&fixture), "--index", "a*,-a*"]).expect(2).stderr;
    assert!(nothing.contains("no index of snapshot snap-2 is selected"), "{nothing}");
}

#[test]
fn plan_and_snapshots_tell_what_is_there() {
    let (desk, fixture) = (Desk::new(), fixture("os-2.19.5"));
    let repo = repo(&fixture);
    let listed = desk.console(&["snapshot", "list", "--repo", &repo, "--json"]).expect(0).json();
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["snap-1", "snap-2"]);
    let plan = desk.backfill(&["plan", "--repo", &repo, "--json", "--include-hidden"]).expect(0).json();
    for index in plan["indices"].as_array().unwrap() {
        let name = index["index"].as_str().unwrap();
        // Metadata counts nested children too.
        if let Some(live) = fixture.about.live.get(name).filter(|_| name != "nested") {
            assert_eq!(index["documents"], *live, "{name}");
        }
    }
    let notes = plan["notes"].to_string();
    assert!(notes.contains("no_source: _source is disabled"), "{notes}");
    assert!(plan["indices"].to_string().contains("logs-app-x"));
}

#[test]
fn a_partial_snapshot_is_refused_unless_allowed() {
    let (desk, fixture) = (Desk::new(), fixture("partial"));
    let name = fixture.about.snapshots.last().unwrap().clone();
    let repo = repo(&fixture);
    let args = ["start", "--local", "--repo", &repo, "--snapshot", &name, "--target", "ndjson:out"];
    let refused = desk.backfill(&args).expect(5);
    assert!(
        refused.stderr.contains("PARTIAL") && refused.stderr.contains("--allow-partial"),
        "{}",
        refused.stderr
    );
    let mut args = args.to_vec();
    args.push("--allow-partial");
    let allowed = desk.backfill(&args).expect(0);
    assert!(allowed.stdout.contains("missing from the snapshot"), "{}", allowed.stdout);
    desk.exported("out").assert_same(&Documents::expected(&fixture));
}

/// The index `loose` of Elasticsearch 1.7: what of each document is exported; `None`: it is kept as a failed document.
const LOOSE: [(&str, Option<&str>); 14] = [
    ("json", Some(r#"{"a":1.10}"#)),
    ("comment", Some(r#"{"a":1,"t":"x"}"#)),
    ("line-comment", Some(r#"{"a":1}"#)),
    ("leading-comment", Some(r#"{"a":1}"#)),
    ("mark", Some(r#"{"a":1}"#)),
    ("unquoted", Some(r#"{"a":1,"b-c":{"d":2}}"#)),
    ("utf16le", Some(r#"{"t":"ü"}"#)),
    ("utf16be", Some(r#"{"t":"ü"}"#)),
    ("utf32le", Some(r#"{"t":"ü"}"#)),
    ("brace", None),
    ("two", None),
    ("text", None),
    ("zero", None),
    ("evil", None),
];

#[test]
fn sources_that_are_no_json_are_converted_or_kept_as_failed() {
    let (desk, fixture) = (Desk::new(), fixture("es-1.7.6-loose"));
    let start = ["start", "--local", "--repo", &repo(&fixture), "--index", "loose", "--target", "ndjson:out"];
    desk.backfill(&start).expect(3);
    let exported: Vec<_> =
        desk.exported("out").0.into_iter().map(|(k, source)| (k.index, k.id, source)).collect();
    let listed = desk.backfill(&["failed-documents", "list", "--json"]).expect(0).stdout;
    let records = listed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut failed: Vec<_> = records
        .map(|record| {
            assert_eq!(record["error_type"], "unreadable_source", "{record}");
            assert!(record["source_base64"].is_string(), "the source is kept as it is: {record}");
            record["id"].as_str().unwrap().to_owned()
        })
        .collect();
    failed.sort();
    let mut expected = LOOSE;
    expected.sort();
    let of =
        |(id, source): (&str, Option<&str>)| Some(("loose".to_owned(), id.to_owned(), source?.to_owned()));
    assert_eq!(exported, expected.into_iter().filter_map(of).collect::<Vec<_>>());
    let none = expected.into_iter().filter(|(_, source)| source.is_none()).map(|(id, _)| id);
    assert_eq!(failed, none.collect::<Vec<_>>());
}

#[test]
fn times_beside_a_source_are_kept_and_put_into_fields() {
    const CENTURY: i64 = 36_500 * 24 * 3600 * 1000;
    for name in ["es-1.7.6-loose", "es-2.4.6-timed"] {
        let (desk, fixture) = (Desk::new(), fixture(name));
        let repo = repo(&fixture);
        let plan = desk.backfill(&["plan", "--repo", &repo, "--index", "timed"]).expect(0);
        for option in ["--timestamp-field", "--ttl-field"] {
            assert!(plan.stdout.contains(option), "{}", plan.stdout);
        }
        let fields = ["--timestamp-field", "at", "--ttl-field", "end"];
        for (dir, fields) in [("plain", &fields[..0]), ("fields", &fields[..])] {
            let (target, state) = (format!("ndjson:{dir}"), format!("{dir}.sqlite"));
            let start =
                ["start", "--local", "--repo", &repo, "--index", "timed", "--target", &target, "--state"];
            desk.backfill(&[&start[..], &[&state], fields].concat()).expect(0);
            let file = files_below(&desk.path(dir)).pop().unwrap();
            let text = std::fs::read_to_string(file).unwrap();
            let mut lines: Vec<_> = text.lines().collect();
            lines.sort_unstable();
            let line = |id: &str, timestamp: i64, ttl: Option<i64>| {
                let (mut beside, mut inside) =
                    (format!("\"_timestamp\":{timestamp}"), format!("\"at\":{timestamp},"));
                if let Some(ttl) = ttl {
                    beside += &format!(",\"_ttl\":{ttl}");
                    inside += &format!("\"end\":{ttl},");
                }
                let inside = if fields.is_empty() { String::new() } else { inside };
                format!(r#"{{"_index":"timed","_id":"{id}",{beside},"_source":{{{inside}"a":1}}}}"#)
            };
            let begin = 1_420_070_400_000;
            let expected = [
                line("before-1970", -1, None),
                line("both", begin, Some(begin + CENTURY)),
                line("timestamp", 1_433_161_800_123, None),
            ];
            assert_eq!(lines, expected, "{name}");
        }
    }
}

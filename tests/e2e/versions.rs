//! Every version of a source: each document that its fixture holds arrives as the server returned it, in an export and
//! in a real cluster of either major version. Only documents of which the server stored no whole source may fail.

use crate::support::{Desk, Documents, Ended, Key, Target, create_indices, fixture, repo, visible};
use serde_json::Value;
use servers::{ExpectedDoc, Fixture};
use std::collections::{BTreeMap, BTreeSet};

macro_rules! versions {
    ($($test:ident: $fixture:literal,)*) => {
        mod export {
            $(#[test]
            fn $test() {
                super::every_document_is_exported($fixture);
            })*
        }

        mod opensearch_2 {
            $(#[test]
            #[ignore = "needs a real OpenSearch: cargo xtask test"]
            fn $test() {
                super::every_document_arrives($fixture, super::Target::OpenSearch2);
            })*
        }

        mod opensearch_3 {
            $(#[test]
            #[ignore = "needs a real OpenSearch: cargo xtask test"]
            fn $test() {
                super::every_document_arrives($fixture, super::Target::OpenSearch3);
            })*
        }
    };
}

versions! {
    elasticsearch_1_7: "es-1.7.6",
    elasticsearch_1_7_routed_by_source: "es-1.7.6-routed-by-source",
    elasticsearch_2_4: "es-2.4.6",
    elasticsearch_5_6: "es-5.6.16",
    elasticsearch_5_6_single_type: "es-5.6.16-single-type",
    elasticsearch_5_6_resized: "es-5.6.16-resized",
    elasticsearch_6_8: "es-6.8.23",
    elasticsearch_6_8_resized: "es-6.8.23-resized",
    elasticsearch_6_8_from_5_6: "es-6.8.23-from-5.6",
    elasticsearch_7_10_from_6_8: "es-7.10.2-from-6.8",
    elasticsearch_7_10: "es-7.10.2",
    elasticsearch_7_10_resized: "es-7.10.2-resized",
    elasticsearch_7_17: "es-7.17.29",
    elasticsearch_7_17_resized: "es-7.17.29-resized",
    elasticsearch_8_19: "es-8.19.9",
    elasticsearch_8_19_index_modes: "es-8.19.9-modes",
    elasticsearch_8_19_resized: "es-8.19.9-resized",
    elasticsearch_9_2: "es-9.2.4",
    elasticsearch_9_2_resized: "es-9.2.4-resized",
    opensearch_1_3: "os-1.3.20",
    opensearch_1_3_resized: "os-1.3.20-resized",
    opensearch_2_18_star_tree: "os-2.18.0-star-tree",
    opensearch_2_19: "os-2.19.5",
    opensearch_2_19_old_names: "os-2.19.5-old-names",
    opensearch_2_19_zstd: "os-2.19.5-zstd",
    opensearch_2_19_zstd_no_dict: "os-2.19.5-zstd_no_dict",
    opensearch_2_19_hashed_prefix: "os-2.19.5-hashed-prefix",
    opensearch_2_19_resized: "os-2.19.5-resized",
    opensearch_3_5_knn: "os-3.5.0-knn",
    opensearch_3_6: "os-3.6.0",
    opensearch_3_6_hashed_infix: "os-3.6.0-hashed-infix",
    opensearch_3_6_resized: "os-3.6.0-resized",
    opensearch_3_8_resized: "os-3.8.0-resized",
    opensearch_3_7: "os-3.7.0",
    opensearch_3_8: "os-3.8.0",
    opensearch_3_9: "os-3.9.0",
}

/// What a fixture must give.
struct Wanted {
    whole: Documents,
    /// Documents of which the server kept no source, or only a part.
    withheld: BTreeMap<Key, ExpectedDoc>,
    patterns: String,
}

impl Wanted {
    /// `place` says where a document of an index with several types goes.
    fn of(fixture: &Fixture, place: impl Fn(&mut ExpectedDoc)) -> Wanted {
        let mut types: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for doc in &fixture.expected {
            types.entry(&doc.index).or_default().extend(doc.kind.as_deref());
        }
        let (mut whole, mut withheld) = (Documents::default(), BTreeMap::new());
        for expected in visible(fixture) {
            let mut doc = expected.clone();
            if types[expected.index.as_str()].len() > 1 {
                place(&mut doc);
            } else {
                doc.kind = None;
            }
            if ["filtered", "no_source", "vectors"].contains(&doc.index.as_str()) || doc.sent.is_some() {
                withheld.insert(Key::of(&doc), doc);
            } else {
                whole.add(doc);
            }
        }
        // Some fixtures hold fewer indices than their root lists.
        let mut live = fixture.about.live.keys();
        let patterns = match (live.next(), live.next()) {
            (Some(only), None) => only.clone(),
            _ => "*".to_owned(),
        };
        Wanted { whole, withheld, patterns }
    }

    /// Fails unless all whole documents are there, and each of the others either with the source that was sent or
    /// among those that failed, of which the exit code tells.
    #[track_caller]
    fn assert_arrived(&self, desk: &Desk, ended: &Ended, mut found: Documents) {
        let listed =
            desk.backfill(&["failed-documents", "list", "--limit", "100000", "--json"]).expect(0).stdout;
        let failed: BTreeSet<(String, String)> = listed
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|record| {
                assert!(record["error_type"].as_str().unwrap().contains("source"), "{record}");
                let text = |field: &str| record[field].as_str().unwrap().to_owned();
                (text("index"), text("id"))
            })
            .collect();
        let code = if failed.is_empty() { 0 } else { 3 };
        assert_eq!(ended.code, code, "stdout:\n{}\nstderr:\n{}", ended.stdout, ended.stderr);
        for (key, doc) in &self.withheld {
            match (found.0.remove(key), &doc.sent) {
                (Some(source), Some(sent)) => {
                    assert!(source == sent.get() || Some(&*source) == doc.source_text(), "{key:?}: {source}");
                }
                (Some(source), None) => {
                    let whole: Value = serde_json::from_str(&source).unwrap();
                    let part =
                        doc.source_text().map_or(Value::Null, |part| serde_json::from_str(part).unwrap());
                    assert!(holds(&whole, &part), "{key:?}: {whole} of {part}");
                }
                (None, _) => {
                    assert!(failed.contains(&(key.index.clone(), key.id.clone())), "{key:?} is nowhere");
                }
            }
        }
        assert!(failed.len() <= self.withheld.len(), "others failed too: {failed:?}");
        found.assert_same(&self.whole);
    }
}

/// Whether a value holds all members of another one.
fn holds(whole: &Value, part: &Value) -> bool {
    match part {
        Value::Null => true,
        Value::Object(members) => members.iter().all(|(name, part)| holds(&whole[name], part)),
        part => whole == part,
    }
}

fn every_document_is_exported(name: &str) {
    let (desk, fixture) = (Desk::new(), fixture(name));
    // From 5 on, a parent is no stored field: the routing tells its children's shard.
    let parents = ["1.", "2."].iter().any(|old| fixture.about.version.starts_with(old));
    let wanted = Wanted::of(&fixture, |doc| {
        if !parents {
            doc.parent = None;
        }
    });
    let (repo, snapshot) = (repo(&fixture), fixture.about.snapshots.last().unwrap());
    let args = ["start", "--local", "--repo", &repo, "--snapshot", snapshot, "--index", &wanted.patterns];
    let args = [&args[..], &["--target", "ndjson:out"]].concat();
    let ended = desk.backfill(&args);
    wanted.assert_arrived(&desk, &ended, desk.exported("out"));
    assert!(ended.stdout.contains("indexed"), "{}", ended.stdout);
    // Once more does nothing, and says the same.
    let again = desk.backfill(&args).expect(ended.code);
    assert_eq!(again.stdout, ended.stdout);
}

fn every_document_arrives(name: &str, target: Target) {
    let (_alone, url) = target.emptied();
    let (desk, fixture) = (Desk::new(), fixture(name));
    let wanted = Wanted::of(&fixture, |doc| {
        let kind = doc.kind.take().unwrap_or_default();
        doc.index = format!("{}-{kind}", doc.index);
        doc.parent = None;
    });
    // What is empty is created too, as its operator would.
    let mut create: Vec<String> =
        fixture.about.live.keys().filter(|i| !i.starts_with('.')).cloned().collect();
    if fixture.about.live.contains_key("types") {
        create.push("types-unused".to_owned());
    }
    create.extend(wanted.withheld.keys().map(|key| key.index.clone()));
    create_indices(&url, &wanted.whole, &create.iter().map(String::as_str).collect::<Vec<_>>());
    let (repo, snapshot) = (repo(&fixture), fixture.about.snapshots.last().unwrap());
    let args = ["start", "--local", "--repo", &repo, "--snapshot", snapshot, "--index", &wanted.patterns];
    let mut args = [&args[..], &["--target", &url, "--chunk-size", "100kb"]].concat();
    if fixture.expected.iter().any(|doc| doc.kind.is_some()) {
        args.extend(["--types", "split"]);
    }
    let ended = desk.backfill(&args);
    wanted.assert_arrived(&desk, &ended, Documents::in_cluster(&url));
}

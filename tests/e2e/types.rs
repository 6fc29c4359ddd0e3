//! Indices of several types into a real OpenSearch, which has none: what the operator may choose, and what is refused.

use crate::support::{Desk, Documents, Key, create_indices, empty_target, fixture, repo};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The id and the type of each document of the index `types`, with its source.
fn typed(name: &str) -> BTreeMap<(String, String), String> {
    let documents = fixture(name).expected.into_iter().filter(|doc| doc.index == "types");
    documents
        .map(|doc| ((doc.id.clone(), doc.kind.clone().unwrap()), doc.source_text().unwrap().to_owned()))
        .collect()
}

fn args<'a>(repo: &'a str, url: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["start", "--local", "--repo", repo, "--target", url];
    args.extend(rest);
    args
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn documents_that_collide_in_one_index_are_kept_and_told() {
    let (_alone, url) = empty_target();
    let fixture = fixture("es-2.4.6");
    let repo = repo(&fixture);
    let typed = typed("es-2.4.6");
    let ids: BTreeSet<&String> = typed.keys().map(|(id, _)| id).collect();
    let collisions = typed.len() - ids.len();
    assert!(collisions > 2, "the fixture has none");
    for (choice, member) in [("merge", None), ("field=kind", Some("kind"))] {
        let desk = Desk::new();
        servers::Http::new(&url).delete("/types*").unwrap();
        create_indices(&url, &Documents::default(), &["types"]);
        let start = args(&repo, &url, &["--index", "types", "--types", choice, "--json"]);
        let report = desk.backfill(&start).expect(3).json();
        assert_eq!(report["summary"]["documents_failed"], collisions, "{choice}");
        let mut arrived: BTreeMap<(String, String), Value> = BTreeMap::new();
        let found = Documents::in_cluster(&url);
        assert_eq!(found.0.len(), ids.len(), "{choice}");
        for (Key { id, .. }, source) in &found.0 {
            let mut source: Value = serde_json::from_str(source).unwrap();
            let named = member.map(|member| source.as_object_mut().unwrap().remove(member).unwrap());
            let of = |kind: &&(String, String)| {
                let sent: Value = serde_json::from_str(&typed[*kind]).unwrap();
                kind.0 == *id && sent == source && named.as_ref().is_none_or(|named| *named == *kind.1)
            };
            let key = typed.keys().find(of).unwrap_or_else(|| panic!("{choice}: {id} is nobody's: {source}"));
            assert!(arrived.insert(key.clone(), source).is_none());
        }
        // What did not arrive is kept, whole, with the reason.
        let listed = desk.backfill(&["failed-documents", "list", "--json"]).expect(0).stdout;
        for line in listed.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            assert_eq!(record["error_type"], "id_collision", "{record}");
            let id = record["id"].as_str().unwrap();
            let mut source = record["source"].clone();
            if let Some(member) = member {
                source.as_object_mut().unwrap().remove(member);
            }
            let same = |kind: &&(String, String)| {
                kind.0 == id && serde_json::from_str::<Value>(&typed[*kind]).unwrap() == source
            };
            let kind = typed.keys().find(same).unwrap_or_else(|| panic!("{choice}: {record}"));
            assert!(arrived.insert(kind.clone(), source).is_none(), "{record} is there twice");
        }
        assert_eq!(arrived.len(), typed.len(), "{choice}");
        // Again: the same collisions, none of them counted as there.
        let again = desk.backfill(&[&start[..], &["--new"]].concat()).expect(3).json();
        assert_eq!(again["summary"]["documents_failed"], collisions, "{choice}");
        assert_eq!(again["summary"]["documents_already_there"], ids.len(), "{choice}");
    }
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn without_a_choice_several_types_are_refused_and_the_others_go_on() {
    let (_alone, url) = empty_target();
    let (desk, fixture) = (Desk::new(), fixture("es-5.6.16"));
    let repo = repo(&fixture);
    create_indices(&url, &Documents::default(), &["types", "family", "one_type"]);
    let ended = desk.backfill(&args(&repo, &url, &["--index", "types,family,one_type"])).expect(8);
    for told in [
        "Finished, but 2 indices were refused and not migrated.",
        "start again with `--new --index 'family,types'` and the option that the reason names",
        "exclude them by name with `--index '*,-family,-types'`",
    ] {
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
    let told = format!("{}{}", ended.stdout, ended.stderr);
    for name in ["types", "family", "alpha", "beta", "mother", "grandchild", "--types merge"] {
        assert!(told.contains(name), "{name} is not told:\n{told}");
    }
    let arrived = Documents::in_cluster(&url);
    let expected = fixture.expected.iter().filter(|doc| doc.index == "one_type").count();
    assert_eq!(arrived.0.len(), expected);
    assert!(arrived.0.keys().all(|key| key.index == "one_type"));
    let status = desk.backfill(&["status", "--deep-check"]).expect(0).stdout;
    assert!(!status.contains("Everything"), "{status}");
    assert_eq!(json!(expected), desk.backfill(&["status", "--json"]).expect(0).json()["documents_done"]);
}

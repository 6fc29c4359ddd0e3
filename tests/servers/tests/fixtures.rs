//! What the fixtures say of themselves is so.

use std::collections::BTreeMap;

use servers::{fixture, fixtures_dir};

#[test]
fn every_fixture_holds_the_documents_that_it_counts() {
    let mut seen = 0;
    for entry in std::fs::read_dir(fixtures_dir()).unwrap() {
        let path = entry.unwrap().path();
        if !path.join("about.json").exists() {
            continue;
        }
        seen += 1;
        let name = path.file_name().unwrap().to_str().unwrap();
        let fixture = fixture(name).unwrap();
        let mut counts: BTreeMap<String, u64> =
            fixture.about.live.keys().map(|index| (index.clone(), 0)).collect();
        for doc in &fixture.expected {
            *counts.entry(doc.snapshot_index().to_owned()).or_default() += 1;
            assert!(doc.source_text().is_none_or(|text| !text.contains(['\n', '\r'])), "{name}: {doc:?}");
        }
        assert_eq!(counts, fixture.about.live, "{name}");
        let root = ["index.latest", "index"].iter().any(|root| fixture.repo.join(root).exists());
        assert!(root, "{name} has no root");
    }
    assert!(seen >= 7, "only {seen} fixtures");
}

#[test]
fn numbers_keep_their_text() {
    let fixture = fixture("os-2.19.5").unwrap();
    let numbers = fixture.expected.iter().find(|doc| doc.index == "verbatim" && doc.id == "v1").unwrap();
    assert!(numbers.source_text().unwrap().starts_with(r#"{"a":1.10,"b":1E5,"c":-0.0,"#));
}

#[test]
fn a_fixture_that_is_not_there_is_named() {
    assert!(fixture("os-0.0.0").unwrap_err().to_string().contains("os-0.0.0"));
}

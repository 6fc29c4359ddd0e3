use super::*;
use serde_json::{Value, json};
use snapshot::index_metadata::IndexMetadata;
use snapshot::repository::{Contents, RepositoryData};
use snapshot::snapshot_info::SnapshotInfo;

fn index(name: &str, mappings: Value) -> IndexSource {
    index_with(name, mappings, json!({}))
}

fn index_with(name: &str, mappings: Value, mut settings: Value) -> IndexSource {
    settings["index.number_of_shards"] = json!("1");
    let root = RepositoryData::parse("index", br#"{"snapshots":["s"]}"#).unwrap();
    let info = json!({"snapshot": {"name": "s", "state": "SUCCESS", "indices": [name]}});
    let info = SnapshotInfo::parse("snapshot-s", info.to_string().as_bytes()).unwrap();
    let metadata = json!({name: {"settings": settings, "mappings": mappings}});
    IndexSource {
        entry: Contents::of_names(&root.snapshots[0], &info).unwrap().indices.remove(0),
        metadata: IndexMetadata::parse("snapshot-s", metadata.to_string().as_bytes()).unwrap(),
        data_stream: None,
        filtered_aliases: Vec::new(),
        shard_dirs: vec![format!("indices/{name}/0")],
    }
}

fn handling(types: Option<&str>, encoding: Option<Encoding>) -> Handling {
    Handling { types: types.map(|t| t.parse().unwrap()), encoding, ..Handling::default() }
}

fn two(name: &str) -> IndexSource {
    index(name, json!([{"Alpha": {}}, {"beta": {}}, {"_default_": {}}]))
}

#[test]
fn one_type_is_dropped_whatever_was_chosen() {
    for mappings in [json!([]), json!([{"_doc": {}}]), json!([{"_default_": {}}, {"event": {}}])] {
        for types in [None, Some("merge"), Some("split"), Some("field")] {
            let (plans, refused) =
                plan_indices(&[index("i", mappings.clone())], &handling(types, Some(Encoding::Bulk)));
            assert_eq!((&plans[0].documents.types, refused.len()), (&Types::Dropped, 0));
            assert_eq!(
                (plans[0].write_mode(), plans[0].destinations()),
                (crate::model::WriteMode::Index, vec!["i"])
            );
        }
    }
}

#[test]
fn names_that_opensearch_refuses_are_left_out_unless_they_are_exported() {
    for name in ["-books", "_books", "logs:a", "logs#b"] {
        let of = |encoding| plan_indices(&[index(name, json!([]))], &handling(None, encoding));
        let (plans, refused) = of(Some(Encoding::Bulk));
        assert!(plans.is_empty() && refused[0].1.contains(&format!("'*,-{name}'")), "{refused:?}");
        let (plans, refused) = of(Some(Encoding::Export));
        assert!(plans[0].warnings.is_empty() && refused.is_empty());
        let (plans, refused) = of(None);
        assert!(plans[0].warnings[0].contains("leave it out") && refused.is_empty());
    }
    let (plans, refused) =
        plan_indices(&[index(".büch-er_1", json!([]))], &handling(None, Some(Encoding::Bulk)));
    assert_eq!((plans.len(), refused), (1, vec![]));
}

#[test]
fn several_types_need_a_choice_unless_they_are_exported() {
    use crate::model::WriteMode::{Distinct, Index};
    let bulk = Some(Encoding::Bulk);
    for (types, encoding, expected, mode, destinations) in [
        (None, Some(Encoding::Export), "Kept", Index, vec!["i"]),
        (Some("merge"), Some(Encoding::Export), "Kept", Index, vec!["i"]),
        (None, None, "Kept", Index, vec!["i"]),
        (Some("merge"), bulk, "Merged", Distinct, vec!["i"]),
        (Some("field=kind"), bulk, "Field(\"kind\")", Distinct, vec!["i"]),
        (
            Some("split"),
            bulk,
            "Split({\"Alpha\": \"i-alpha\", \"beta\": \"i-beta\"})",
            Index,
            vec!["i-alpha", "i-beta"],
        ),
    ] {
        let (plans, refused) = plan_indices(&[two("i")], &handling(types, encoding));
        assert!(refused.is_empty());
        assert_eq!(format!("{:?}", plans[0].documents.types), expected);
        assert_eq!((plans[0].write_mode(), plans[0].destinations()), (mode, destinations));
        // Whoever only looks is told that a cluster needs a choice.
        assert_eq!(plans[0].warnings.len(), usize::from(encoding.is_none()));
    }
    let (plans, refused) =
        plan_indices(&[index("other", json!([{"a": {}}])), two("i")], &handling(None, bulk));
    assert_eq!(plans.len(), 1);
    assert_eq!(refused[0].0, "i");
    assert!(refused[0].1.contains("the types Alpha, beta") && refused[0].1.contains("i-alpha, i-beta"));
}

#[test]
fn types_that_would_share_an_index_are_refused_while_others_go_on() {
    let split = handling(Some("split"), Some(Encoding::Bulk));
    let same = index("same", json!([{"A": {}}, {"a": {}}]));
    let long = index("long", json!([{"a": {}}, {"b".repeat(260): {}}]));
    let (plans, refused) =
        plan_indices(&[two("i"), index("i-beta", json!([{"x": {}}])), same, long, two("fine")], &split);
    let names: Vec<&str> = plans.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["i-beta", "fine"]);
    let mut why: Vec<String> = refused.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    why.sort();
    assert!(why[0].starts_with("i: ") && why[0].contains("write to i-beta"), "{why:?}");
    assert!(why[1].starts_with("long: ") && why[1].contains("too long"), "{why:?}");
    assert!(why[2].starts_with("same: ") && why[2].contains("write to same-a"), "{why:?}");
}

#[test]
fn what_elasticsearch_leaves_out_by_itself_is_planned_for() {
    let vector = json!([{"_doc": {"properties": {"v": {"type": "dense_vector"}}}}]);
    let without = index_with("i", vector, json!({"index.mapping.exclude_source_vectors": "true"}));
    let series = index_with("s", json!([]), json!({"index.mode": "time_series"}));
    let (plans, _) = plan_indices(&[without, series], &handling(None, Some(Encoding::Bulk)));
    let [vectors, series] = &plans[..] else { panic!("{plans:?}") };
    assert!(vectors.documents.withholds(None, true) && !vectors.documents.time_series);
    assert!(vectors.warnings.concat().contains("exclude_source_vectors"), "{:?}", vectors.warnings);
    assert!(series.documents.time_series && !series.documents.withholds(None, true));
}

#[test]
fn an_index_of_an_unknown_mode_is_refused() {
    let index = |mode: &str| index_with("i", json!([]), json!({"index.mode": mode}));
    for (mode, time_series) in
        [("standard", false), ("LOOKUP", false), ("logsdb", false), ("Time_Series", true)]
    {
        let (plans, refused) = plan_indices(&[index(mode)], &Handling::default());
        assert_eq!((plans[0].documents.time_series, refused.len()), (time_series, 0), "{mode}");
    }
    let (plans, refused) = plan_indices(&[index("logsdb_columnar")], &Handling::default());
    assert!(plans.is_empty() && refused[0].1.contains("logsdb_columnar"), "{refused:?}");
}

#[test]
fn routings_that_are_not_stored_are_told_of() {
    for (routing, told) in [
        (json!({"required": true}), false),
        (json!({"doc_values": true}), true),
        (json!({"store": false}), true),
        (json!({"store": false, "path": "a"}), false),
    ] {
        let (plans, _) =
            plan_indices(&[index("i", json!({"_doc": {"_routing": routing}}))], &Handling::default());
        assert_eq!(plans[0].warnings.concat().contains("_routing"), told, "{:?}", plans[0].warnings);
    }
}

#[test]
fn documents_of_data_streams_are_compared_with_what_is_there() {
    let stream = IndexSource { data_stream: Some("logs".to_owned()), ..index(".ds-logs-1", json!([])) };
    let (plans, _) = plan_indices(&[stream], &handling(None, Some(Encoding::Bulk)));
    assert_eq!(plans[0].write_mode(), crate::model::WriteMode::Distinct);
    assert_eq!(plans[0].destinations(), ["logs"]);
}

#[test]
fn sources_that_are_not_whole_are_told_and_withheld() {
    let source = |value: Value| json!([{"_doc": {"_source": value}}]);
    for (mappings, filtered, warning) in [
        (json!([]), FilteredSources::None, ""),
        (source(json!({"enabled": false})), FilteredSources::None, "disabled"),
        (source(json!({"mode": "synthetic"})), FilteredSources::None, "synthetic"),
        (json!([{"_doc": {"properties": {"v": {"type": "knn_vector"}}}}]), FilteredSources::None, ""),
        (source(json!({"excludes": ["a"]})), FilteredSources::All, "--allow-partial-source"),
        (
            json!([{"a": {"_source": {"includes": ["x"]}}}, {"b": {}}]),
            FilteredSources::OfTypes(["a".to_owned()].into()),
            "_source of type a",
        ),
    ] {
        let how = handling(Some("merge"), Some(Encoding::Bulk));
        let (plans, _) = plan_indices(&[index("i", mappings.clone())], &how);
        assert_eq!(plans[0].documents.filtered, filtered);
        assert!(plans[0].warnings.concat().contains(warning), "{:?}", plans[0].warnings);
        assert!(!plans[0].documents.time_series && !plans[0].documents.copies_filtered);
        let (plans, _) =
            plan_indices(&[index("i", mappings)], &Handling { allow_partial_source: true, ..how });
        assert!(plans[0].documents.send_filtered);
        assert!(!plans[0].warnings.concat().contains("--allow-partial-source"));
    }
}

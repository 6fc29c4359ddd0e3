//! Against a real cluster: `BACKFILL_TEST_TARGET` is its address.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use backfill::model::{Identity, WriteMode};
use backfill::ports::{ItemOutcome, Place, PlaceKind, Refusal, Target, TargetError};
use common::{batch, writer};
use std::sync::atomic::{AtomicU32, Ordering};
use target::{Compression, FetchedDoc, OpenSearchTarget, TargetConfig};

fn endpoint() -> String {
    std::env::var("BACKFILL_TEST_TARGET").unwrap()
}

fn target() -> OpenSearchTarget {
    OpenSearchTarget::new(TargetConfig::new(endpoint())).unwrap()
}

/// A request outside of what the client offers.
async fn admin(method: &str, path: &str, body: impl AsRef<[u8]>) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.request(method, format!("{}/{path}", endpoint())).body(body.as_ref().to_vec());
    let response = request.header("content-type", "application/json").send().await.unwrap();
    assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap());
    response.text().await.unwrap()
}

/// A name that no other test uses.
fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t-{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An index of its own with one shard and no copies.
async fn index(name: &str, mappings: &str) -> String {
    let index = unique(name);
    let settings = r#""settings":{"number_of_shards":1,"number_of_replicas":0}"#;
    admin("PUT", &index, &format!("{{{settings},\"mappings\":{mappings}}}")).await;
    index
}

async fn drop_index(index: &str) {
    admin("DELETE", index, "").await;
}

#[tokio::test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
async fn documents_come_back_byte_for_byte() {
    let index = index("bytes", r#"{"dynamic":false}"#).await;
    let target = target();
    let sources = [
        r#"{"n":0.12345678901234567890123,"m":1.10,"e":1E5,"big":123456789012345678901234567890}"#,
        r#"{ "spaced" : [ 1 , 2 ],"u":"\u00e9é\ud83d\ude00","s":"\/" }"#,
        r#"{"a.b":null,"b":true,"a":{"b":1e-7}}"#,
        "{}",
    ];
    let ids = ["plain", "sp ace/ü%2F\"\\", "_under", "-1"];
    let routing = [None, Some("r/ü"), None, Some("-1")];
    let documents: Vec<_> = (0..4).map(|n| (ids[n], routing[n], sources[n])).collect();
    for (mode, compression) in [(WriteMode::Index, Compression::Off), (WriteMode::Index, Compression::On)] {
        let target = OpenSearchTarget::new(TargetConfig { compression, ..TargetConfig::new(endpoint()) });
        let target = target.unwrap();
        let mut padded = documents.clone();
        let long = format!("{{\"long\":\"{}\"}}", "x".repeat(4000));
        padded.push(("long", None, &long));
        let writer = writer(&target, &index, mode).await;
        let reply = writer.send(&batch(mode, &padded)).await.unwrap();
        assert_eq!(reply.items, vec![ItemOutcome::Indexed; 5]);
        writer.finish().await.unwrap();
    }
    let mut wanted: Vec<_> = documents.iter().map(|(id, routing, _)| (*id, *routing)).collect();
    wanted.push(("absent", None));
    let fetched = target.cluster().fetch(&index, &wanted).await.unwrap();
    for (document, (id, routing, source)) in fetched.iter().zip(&documents) {
        let document = document.as_ref().unwrap();
        assert_eq!((document.id.as_str(), document.routing.as_deref()), (*id, *routing));
        assert_eq!(document.source.as_deref(), Some(source.as_bytes()));
    }
    assert!(fetched[4].is_none());
    assert_eq!(target.cluster().count(&index, true).await.unwrap(), 5);
    drop_index(&index).await;
}

#[tokio::test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
async fn documents_of_one_id_are_told_apart() {
    let index = index("distinct", "{}").await;
    let target = target();
    let writer = writer(&target, &index, WriteMode::Distinct).await;
    let first = batch(WriteMode::Distinct, &[("1", None, r#"{"n":1.10}"#), ("2", Some("r"), "{}")]);
    assert_eq!(writer.send(&first).await.unwrap().items, [ItemOutcome::Indexed, ItemOutcome::Indexed]);
    // A repetition finds what it wrote, however it is spaced; another document of the same id has no place.
    let second = batch(
        WriteMode::Distinct,
        &[
            ("1", None, r#"{ "n": 1.10 }"#),
            ("3", None, "{}"),
            ("1", None, r#"{"n":1.1}"#),
            ("2", Some("r"), "{}"),
        ],
    );
    let items = writer.send(&second).await.unwrap().items;
    assert_eq!(items[0], ItemOutcome::AlreadyThere);
    assert_eq!(items[1], ItemOutcome::Indexed);
    let ItemOutcome::Failed { error_type, reason } = &items[2] else { panic!("{:?}", items[2]) };
    assert_eq!(error_type, "id_collision");
    assert!(reason.contains("another source"), "{reason}");
    assert_eq!(items[3], ItemOutcome::AlreadyThere);
    let found = target.cluster().fetch(&index, &[("1", None)]).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().source.as_deref(), Some(&br#"{"n":1.10}"#[..]));
    drop_index(&index).await;
}

/// Servers store what they take for JSON as it was sent, and copy it into their answers, which are none then.
#[tokio::test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
async fn sources_that_are_no_json_are_fetched_beside_others() {
    let (index, other) = (index("nojson", "{}").await, index("nojson2", "{}").await);
    let alias = format!("{index}-alias");
    let actions: Vec<_> = [&index, &other]
        .map(|index| format!("{{\"add\":{{\"index\":\"{index}\",\"alias\":\"{alias}\"}}}}"))
        .into();
    admin("POST", "_aliases", &format!("{{\"actions\":[{}]}}", actions.join(","))).await;
    let utf16: Vec<u8> = "{\"t\":\"ü\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut documents: Vec<(String, Vec<u8>)> =
        (0..20).map(|n| (format!("n{n}"), format!("{{\"n\":{n}}}").into_bytes())).collect();
    documents.insert(3, ("comment".to_owned(), br#"{"n":1, /* "_source":{}}]} */ "t":"a"}"#.to_vec()));
    documents.insert(17, ("utf16".to_owned(), utf16));
    documents.insert(18, ("surrogate".to_owned(), b"{\"t\":\"\xed\xa0\x80\"}".to_vec()));
    let mut body = Vec::new();
    for (id, source) in &documents {
        body.extend(format!("{{\"index\":{{\"_id\":\"{id}\"}}}}\n").into_bytes());
        body.extend([source, &b"\n"[..]].concat());
    }
    let reply = admin("POST", &format!("{index}/_bulk?refresh=true"), &body).await;
    assert!(reply.contains("\"errors\":false"), "{reply}");
    let mut wanted: Vec<(&str, Option<&str>)> = documents.iter().map(|(id, _)| (&**id, None)).collect();
    wanted.insert(5, ("absent", None));
    // By its own name, and by one behind which several are.
    for name in [&index, &alias] {
        let mut fetched = target().cluster().fetch(name, &wanted).await.unwrap();
        assert!(fetched.remove(5).is_none());
        for (found, (id, source)) in fetched.iter().zip(&documents) {
            let found = found.as_ref().unwrap();
            assert_eq!((&found.id, found.source.as_ref()), (id, Some(source)), "{name}");
        }
    }
    drop_index(&index).await;
    drop_index(&other).await;
}

#[tokio::test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
async fn documents_that_do_not_fit_fail_with_the_reason() {
    let mappings = r#"{"dynamic":"strict","properties":{"n":{"type":"integer"}}}"#;
    let index = index("fail", mappings).await;
    let target = target();
    let documents = [
        ("1", None, r#"{"n":"seven"}"#),
        ("2", None, r#"{"n":7}"#),
        ("3", None, r#"{"x":7}"#),
        ("4", None, r#"{"n":7,}"#),
    ];
    let writer = writer(&target, &index, WriteMode::Index).await;
    let items = writer.send(&batch(WriteMode::Index, &documents)).await.unwrap().items;
    assert_eq!(items[1], ItemOutcome::Indexed);
    for (item, kind, word) in [
        (&items[0], "mapper_parsing_exception", "seven"),
        (&items[2], "strict_dynamic_mapping_exception", "[x]"),
        (&items[3], "mapper_parsing_exception", "field name"),
    ] {
        let ItemOutcome::Failed { error_type, reason } = item else { panic!("{item:?}") };
        assert!(error_type == kind && reason.contains(word), "{error_type}: {reason}");
    }
    drop_index(&index).await;
}

#[tokio::test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
async fn an_index_that_takes_no_writes_refuses_for_now() {
    let target = target();
    let one = batch(WriteMode::Index, &[("1", None, "{}")]);
    for block in ["index.blocks.write", "index.blocks.read_only_allow_delete"] {
        let index = index("block", "{}").await;
        admin("PUT", &format!("{index}/_settings"), &format!("{{\"{block}\":true}}")).await;
        let reply = writer(&target, &index, WriteMode::Index).await.send(&one).await.unwrap();
        let [ItemOutcome::Refused(Refusal::Blocked(reason))] = &reply.items[..] else { panic!("{reply:?}") };
        assert!(reason.contains("cluster_block_exception"), "{reason}");
        drop_index(&index).await;
    }
    let index = index("closed", "{}").await;
    admin("POST", &format!("{index}/_close"), "").await;
    let reply = writer(&target, &index, WriteMode::Index).await.send(&one).await.unwrap();
    assert!(matches!(&reply.items[..], [ItemOutcome::Refused(Refusal::Blocked(_))]), "{reply:?}");
    drop_index(&index).await;
}

#[tokio::test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
async fn an_index_that_may_not_be_made_refuses_for_now() {
    let index = unique("noauto");
    let setting = |value: &str| format!("{{\"transient\":{{\"action.auto_create_index\":{value}}}}}");
    admin("PUT", "_cluster/settings", &setting("\"-t-noauto-*,+*\"")).await;
    let target = target();
    let one = batch(WriteMode::Index, &[("1", None, "{}")]);
    let reply = writer(&target, &index, WriteMode::Index).await.send(&one).await.unwrap();
    admin("PUT", "_cluster/settings", &setting("null")).await;
    let [ItemOutcome::Refused(Refusal::Blocked(reason))] = &reply.items[..] else { panic!("{reply:?}") };
    assert!(reason.contains("no such index"), "{reason}");
}

#[tokio::test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
async fn data_streams_take_create_only_and_give_their_documents_back() {
    let stream = unique("stream");
    let template = format!("{{\"index_patterns\":[\"{stream}\"],\"data_stream\":{{}}}}");
    admin("PUT", &format!("_index_template/{stream}"), &template).await;
    let target = target();
    let source = r#"{"@timestamp":"2020-01-01T00:00:00Z","n":1.10}"#;
    let documents = [("1", None, source), ("2", None, source)];
    let distinct = writer(&target, &stream, WriteMode::Distinct).await;
    let items = distinct.send(&batch(WriteMode::Distinct, &documents)).await.unwrap().items;
    assert_eq!(items, vec![ItemOutcome::Indexed; 2]);
    // Each index of the source's stream may have a document of an id.
    let of_another_index = r#"{"@timestamp":"2020-01-02T00:00:00Z","n":1.10}"#;
    let again = [("1", None, source), ("2", None, of_another_index)];
    let items = distinct.send(&batch(WriteMode::Distinct, &again)).await.unwrap().items;
    assert_eq!(items[0], ItemOutcome::AlreadyThere);
    assert!(
        matches!(&items[1], ItemOutcome::Failed { error_type, .. } if error_type == "id_collision"),
        "{items:?}"
    );
    admin("POST", &format!("{stream}/_rollover"), "").await;
    let wanted = [("2", None), ("absent", None), ("1", None)];
    let fetched = target.cluster().fetch(&stream, &wanted).await.unwrap();
    let id_and_source =
        |d: &FetchedDoc| (d.id.clone(), String::from_utf8(d.source.clone().unwrap()).unwrap());
    let ids: Vec<_> = fetched.iter().map(|d| d.as_ref().map(id_and_source)).collect();
    let there = |id: &str| Some((id.to_owned(), source.to_owned()));
    assert_eq!(ids, [there("2"), None, there("1")]);
    let reply = writer(&target, &stream, WriteMode::Index).await;
    let reply = reply.send(&batch(WriteMode::Index, &documents[..1])).await.unwrap();
    assert!(matches!(&reply.items[..], [ItemOutcome::Refused(Refusal::Blocked(_))]), "{reply:?}");
    let place = target.place(&stream).await.unwrap().unwrap();
    assert_eq!(place.kind, PlaceKind::DataStream);
    let Identity::Indices(backing) = &place.identity else { panic!("{place:?}") };
    assert_eq!(backing.len(), 2, "{backing:?}");
    admin("DELETE", &format!("_data_stream/{stream}"), "").await;
    admin("DELETE", &format!("_index_template/{stream}"), "").await;
}

#[tokio::test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
async fn documents_of_one_id_and_two_routings_do_not_replace_each_other() {
    let index = index("routed", r#"{"dynamic":false}"#).await;
    let target = target();
    let mode = WriteMode::PerRouting;
    let writer = writer(&target, &index, mode).await;
    let collides = |item: &ItemOutcome| {
        matches!(item, ItemOutcome::Failed { error_type, reason }
            if error_type == "id_collision" && reason.contains("with the routing \"a\""))
    };
    // In one batch, in a second run, and when the source has changed since: always the same.
    for n in [1, 1, 2] {
        let source = format!("{{\"n\":{n}}}");
        let documents = [("1", Some("a"), &*source), ("1", Some("b"), &*source), ("2", None, &*source)];
        let items = writer.send(&batch(mode, &documents)).await.unwrap().items;
        assert_eq!((&items[0], &items[2]), (&ItemOutcome::Indexed, &ItemOutcome::Indexed));
        assert!(collides(&items[1]), "{items:?}");
        let found = target.cluster().fetch(&index, &[("1", Some("a")), ("2", None)]).await.unwrap();
        let source = Some(source.as_bytes());
        assert!(found.iter().all(|doc| doc.as_ref().unwrap().source.as_deref() == source), "{found:?}");
    }
    drop_index(&index).await;
}

#[tokio::test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
async fn indices_are_listed_counted_and_missed() {
    let index = index("cat", "{}").await;
    let alias = format!("{index}-alias");
    admin("PUT", &format!("{index}/_alias/{alias}"), "").await;
    let target = target();
    target.check().await.unwrap();
    assert!(!target.cluster().version().await.unwrap().number.is_empty());
    let batch = batch(WriteMode::Index, &[("1", None, "{}"), ("2", None, "{}"), ("1", None, "{}")]);
    writer(&target, &index, WriteMode::Index).await.send(&batch).await.unwrap();
    assert_eq!(target.cluster().count(&index, true).await.unwrap(), 2);
    let rows = target.cluster().cat_indices(&format!("{}*", &index[..index.len() - 1])).await.unwrap();
    let row = rows.iter().find(|r| r.index == index).unwrap();
    assert_eq!((row.health.as_str(), row.status.as_str()), ("green", "open"));
    assert_eq!((row.pri.as_str(), row.rep.as_str(), row.docs_count.as_str()), ("1", "0", "2"));
    assert!(!row.uuid.is_empty() && row.store_size.ends_with('b') && row.pri_store_size.ends_with('b'));
    assert!(target.cluster().cat_indices("").await.unwrap().contains(row));
    let identity = Identity::Indices([(index.clone(), row.uuid.clone())].into());
    assert_eq!(target.place(&index).await.unwrap(), Some(Place::index(identity.clone())));
    for (action, routing) in [("", None), (r#"{"routing":"r1"}"#, Some("r1".to_owned()))] {
        admin("PUT", &format!("{index}/_alias/{alias}"), action).await;
        let kind = PlaceKind::Alias { routing };
        assert_eq!(target.place(&alias).await.unwrap(), Some(Place { identity: identity.clone(), kind }));
    }
    assert_eq!(target.place("t-absent-1").await.unwrap(), None);
    assert!(target.cluster().count("t-absent", false).await.is_err());
    assert!(target.cluster().fetch("t-absent", &[("1", None)]).await.is_err());
    drop_index(&index).await;
}

#[tokio::test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
async fn indices_and_data_streams_are_created_as_templates_have_it() {
    let (index, stream) = (unique("made"), unique("made-stream"));
    let template = format!("{{\"index_patterns\":[\"{stream}\"],\"data_stream\":{{}}}}");
    admin("PUT", &format!("_index_template/{stream}"), &template).await;
    let target = target();
    for (name, kind) in [(&index, PlaceKind::Index), (&stream, PlaceKind::DataStream)] {
        // Whatever it was in the source; and again, as by another start at the same time.
        for data_stream in [false, true] {
            assert!(target.create(name, data_stream).await.unwrap());
            assert_eq!(target.place(name).await.unwrap().unwrap().kind, kind, "{name}");
        }
    }
    let error = target.create("T-Capitals", false).await.unwrap_err();
    assert!(error.to_string().contains("must be lowercase"), "{error}");
    admin("DELETE", &format!("_data_stream/{stream}"), "").await;
    admin("DELETE", &format!("_index_template/{stream}"), "").await;
    drop_index(&index).await;
}

#[tokio::test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
async fn a_request_that_is_too_large_is_said_so() {
    let target = target();
    let source = format!("{{\"x\":\"{}\"}}", "x".repeat(101 << 20));
    let one = batch(WriteMode::Index, &[("1", None, &source)]);
    let error = writer(&target, "t-absent", WriteMode::Index).await.send(&one).await.unwrap_err();
    assert_eq!(error, TargetError::TooLarge { target: target.location(), bytes: one.body.len() });
}

#[test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
fn each_runtime_has_its_own_client() {
    let threads = (0..3).map(|_| {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let target = target();
                for _ in 0..20 {
                    target.check().await.unwrap();
                }
            });
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|t| t.join().unwrap());
}

#[tokio::test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
async fn a_primary_shard_that_is_not_active_is_reported_before_the_request_times_out() {
    let index = unique("inactive");
    let settings =
        r#"{"settings":{"number_of_replicas":0,"index.routing.allocation.require._name":"nobody"}}"#;
    admin("PUT", &format!("{index}?wait_for_active_shards=0"), settings).await;
    let config =
        TargetConfig { request_timeout: std::time::Duration::from_secs(10), ..TargetConfig::new(endpoint()) };
    let target = OpenSearchTarget::new(config).unwrap();
    let writer = writer(&target, &index, WriteMode::Index).await;
    let reply = writer.send(&batch(WriteMode::Index, &[("1", None, "{}")])).await.unwrap();
    let [ItemOutcome::Refused(Refusal::Fault(reason))] = &reply.items[..] else { panic!("{reply:?}") };
    assert!(reason.contains("primary shard is not active"), "{reason}");
    drop_index(&index).await;
}

#[tokio::test]
#[ignore = "needs a real OpenSearch: cargo xtask test"]
async fn documents_written_through_an_alias_are_acknowledged() {
    let index = index("aliased", "{}").await;
    let alias = unique("alias");
    admin("POST", &format!("{index}/_alias/{alias}"), "").await;
    let target = target();
    let documents = batch(WriteMode::Index, &[("1", None, "{}"), ("grö\"\n", None, "{}")]);
    let reply = writer(&target, &alias, WriteMode::Index).await.send(&documents).await.unwrap();
    assert_eq!(reply.items, vec![ItemOutcome::Indexed; 2]);
    let found = target.cluster().fetch(&alias, &[("1", None)]).await.unwrap();
    assert!(found[0].is_some());
    drop_index(&index).await;
}

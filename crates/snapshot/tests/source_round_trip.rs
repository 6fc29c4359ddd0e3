//! Sources that independent writers of SMILE and CBOR wrote become the JSON that they were made from.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;

use base64::Engine as _;
use proptest::prelude::*;
use serde::ser::{Serialize, SerializeMap, Serializer};
use snapshot::source::{Rules, to_json};

/// Whatever a document holds.
#[derive(Debug, Clone)]
enum Tree {
    Null,
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f32),
    Double(f64),
    Text(String),
    Binary(Vec<u8>),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Float(value) => serializer.serialize_f32(*value),
            Self::Double(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Binary(value) => serializer.serialize_bytes(value),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl Tree {
    /// The JSON that is expected.
    fn json(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => write!(out, "{value}").unwrap(),
            Self::Integer(value) => write!(out, "{value}").unwrap(),
            Self::Unsigned(value) => write!(out, "{value}").unwrap(),
            Self::Float(value) => out.push_str(&serde_json::to_string(value).unwrap()),
            Self::Double(value) => out.push_str(&serde_json::to_string(value).unwrap()),
            Self::Text(value) => out.push_str(&serde_json::to_string(value).unwrap()),
            Self::Binary(value) => {
                write!(out, "\"{}\"", base64::engine::general_purpose::STANDARD.encode(value)).unwrap();
            }
            Self::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    item.json(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (i, (name, value)) in members.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    out.push_str(&serde_json::to_string(name).unwrap());
                    out.push(':');
                    value.json(out);
                }
                out.push('}');
            }
        }
    }
}

/// A tree of the given leaves; names and texts repeat, so that references occur.
fn tree(leaf: BoxedStrategy<Tree>) -> impl Strategy<Value = Tree> {
    let name = prop_oneof!["[a-c]{0,2}", "[a-z]{50,70}", "[é日]{1,30}", ".*"];
    let inner = leaf.prop_recursive(5, 200, 12, move |tree| {
        prop_oneof![
            prop::collection::vec(tree.clone(), 0..12).prop_map(Tree::Array),
            prop::collection::vec((name.clone(), tree), 0..12).prop_map(Tree::Object),
        ]
    });
    prop::collection::vec(("[a-z]{1,5}", inner), 0..40).prop_map(Tree::Object)
}

fn common() -> BoxedStrategy<Tree> {
    prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::Bool),
        any::<i64>().prop_map(Tree::Integer),
        (-40i64..40).prop_map(Tree::Integer),
        any::<u64>().prop_map(Tree::Unsigned),
        prop_oneof!["[a-c]{0,2}", "[a-z]{20,70}", "[é日]{1,40}", ".*"].prop_map(Tree::Text),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Tree::Binary),
    ]
    .boxed()
}

fn with_floats() -> BoxedStrategy<Tree> {
    prop_oneof![
        common(),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Tree::Double),
        any::<f32>().prop_filter("finite", |f| f.is_finite()).prop_map(Tree::Float),
    ]
    .boxed()
}

fn check(bytes: &[u8], tree: &Tree) {
    let mut expected = String::new();
    tree.json(&mut expected);
    let mut scratch = Vec::new();
    let json = to_json(bytes, &mut scratch, &Rules::default()).unwrap();
    assert_eq!(std::str::from_utf8(json).unwrap(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn smile(tree in tree(with_floats()), raw: bool, strings: bool, names: bool, end: bool) {
        let mut serializer = serde_smile::Serializer::builder()
            .raw_binary(raw)
            .shared_strings(strings)
            .shared_properties(names)
            .build(Vec::new());
        serializer.write_header().unwrap();
        tree.serialize(&mut serializer).unwrap();
        if end {
            serializer.end().unwrap();
        }
        check(&serializer.into_inner(), &tree);
    }

    #[test]
    fn cbor(tree in tree(common())) {
        let mut bytes = Vec::new();
        ciborium::into_writer(&tree, &mut bytes).unwrap();
        check(&bytes, &tree);
    }

    #[test]
    fn cbor_doubles_keep_their_value(value in any::<f64>().prop_filter("finite", |f| f.is_finite())) {
        let mut bytes = Vec::new();
        ciborium::into_writer(&Tree::Object(vec![("v".into(), Tree::Double(value))]), &mut bytes).unwrap();
        let mut scratch = Vec::new();
        let json = to_json(&bytes, &mut scratch, &Rules::default()).unwrap();
        let back: serde_json::Value = serde_json::from_slice(json).unwrap();
        // A float that was shortened is the shortest text of the short form.
        let text = back["v"].to_string();
        prop_assert!(text.parse::<f64>() == Ok(value) || text.parse::<f32>().map(f64::from) == Ok(value));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn smile_tables_start_anew_after_1024_entries(count in 1000usize..2200) {
        let members = (0..count).map(|i| (format!("n{}", i % 1500), Tree::Text(format!("t{}", i % 1300))));
        let tree = Tree::Object(members.collect());
        let mut serializer = serde_smile::Serializer::builder().shared_strings(true).build(Vec::new());
        serializer.write_header().unwrap();
        tree.serialize(&mut serializer).unwrap();
        check(&serializer.into_inner(), &tree);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_json_or_an_error(start in prop_oneof![Just(b":)\n\x01".to_vec()), Just(b"---".to_vec()), Just(vec![0xa3]), Just(vec![b'{']), Just(vec![])], bytes: Vec<u8>) {
        let mut scratch = Vec::new();
        let bytes = [start, bytes].concat();
        if let Ok(json) = to_json(&bytes, &mut scratch, &Rules::default()) {
            prop_assert!(!json.contains(&b'\n') && !json.contains(&b'\r'));
        }
    }
}

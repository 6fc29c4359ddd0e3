//! What becomes of an index's documents on the way: of their types, and of those whose source is not whole.

use super::{IndexPlan, WriteMode};
use crate::encode::write_json_string;
use serde::{Deserialize, Serialize};
use snapshot::document::{Root, Source};
use snapshot::routing_path::routing_at;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// The field of the type, unless another is named.
const FIELD: &str = "type";

/// The name of a field of the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldName(String);

impl FromStr for FieldName {
    type Err = String;

    fn from_str(name: &str) -> Result<FieldName, String> {
        if name.is_empty() || name.starts_with('_') {
            return Err(format!(
                "{name:?} cannot be the name of a field: it is empty, or a name of the cluster's own"
            ));
        }
        if name.contains(|c: char| c.is_control() || c == '*') {
            return Err(format!("{name:?} cannot be the name of a field"));
        }
        Ok(FieldName(name.to_owned()))
    }
}

impl TryFrom<String> for FieldName {
    type Error = String;

    fn try_from(name: String) -> Result<FieldName, String> {
        name.parse()
    }
}

impl From<FieldName> for String {
    fn from(FieldName(name): FieldName) -> String {
        name
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fields that take what documents of Elasticsearch 1 and 2 have beside their source. What has no field is left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeFields {
    /// That of `_timestamp`, the time that the document was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<FieldName>,
    /// That of `_ttl`, the time at which it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<FieldName>,
}

/// What the operator wants to become of the types of indices that have several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypesChoice {
    /// All documents go into one index.
    Merge,
    /// An index for each type.
    Split,
    /// All into one index, with the type in a field of this name.
    Field(String),
}

impl FromStr for TypesChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<TypesChoice, String> {
        match text.split_once('=') {
            None if text == "merge" => Ok(TypesChoice::Merge),
            None if text == "split" => Ok(TypesChoice::Split),
            None if text == "field" => Ok(TypesChoice::Field(FIELD.to_owned())),
            Some(("field", name)) => name.parse().map(|FieldName(name)| TypesChoice::Field(name)),
            _ => Err("it is one of merge, split, field and field=NAME".to_owned()),
        }
    }
}

impl fmt::Display for TypesChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypesChoice::Merge => f.write_str("merge"),
            TypesChoice::Split => f.write_str("split"),
            TypesChoice::Field(name) => write!(f, "field={name}"),
        }
    }
}

/// What becomes of the types of one index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Types {
    /// There is one, or none: it is dropped.
    #[default]
    Dropped,
    /// There are several, and each document carries its own: an export.
    Kept,
    /// There are several, and all go into one index, where their ids may collide.
    Merged,
    /// The index that each type goes to.
    Split(BTreeMap<String, String>),
    /// As with `Merged`, and each document has its type in this field.
    Field(String),
}

/// Which documents of an index have a source of which only a part is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilteredSources {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those of these types.
    OfTypes(BTreeSet<String>),
}

/// What becomes of the documents of one index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DocumentPlan {
    /// Of their types.
    pub types: Types,
    /// Which of them have a source of which only a part is stored.
    pub filtered: FilteredSources,
    /// Whether such documents are sent as they are.
    pub send_filtered: bool,
    /// Whether the copies of sources that servers keep for a while are as incomplete.
    pub copies_filtered: bool,
    /// Whether it is a time series of Elasticsearch: no document is a nested object of another one, and once merged, they store
    /// no ids.
    pub time_series: bool,
    /// The fields that take what documents have beside their source.
    pub time_fields: TimeFields,
    /// Where the sources of a type have the routings that are not stored.
    pub routing_paths: BTreeMap<String, String>,
    /// The fields in whose places masks may stand; see [`snapshot::masked_vectors`].
    pub masked_vectors: Vec<String>,
}

impl DocumentPlan {
    /// The source as it is sent: with the members that are added to it.
    pub fn sent<'a>(&self, root: &Root<'_>, source: &'a [u8]) -> Cow<'a, [u8]> {
        let TimeFields { timestamp, ttl } = &self.time_fields;
        let mut members = Vec::new();
        let mut add = |name: &str, write: &dyn Fn(&mut Vec<u8>)| {
            if !members.is_empty() {
                members.push(b',');
            }
            write_json_string(&mut members, name);
            members.push(b':');
            write(&mut members);
        };
        if let (Types::Field(name), Some(doc_type)) = (&self.types, root.doc_type) {
            add(name, &|out| write_json_string(out, doc_type));
        }
        for (name, time) in [(timestamp, root.timestamp), (ttl, root.expires)] {
            if let (Some(FieldName(name)), Some(time)) = (name, time) {
                add(name, &|out| out.extend_from_slice(time.to_string().as_bytes()));
            }
        }
        if members.is_empty() { Cow::Borrowed(source) } else { with_members(source, &members) }
    }

    /// The routing of a document: the stored one, or that in its source.
    ///
    /// # Errors
    /// When the source must tell it and does not.
    pub fn routing_of<'a>(&self, root: &Root<'a>) -> Result<Option<Cow<'a, str>>, serde_json::Error> {
        if root.routing.is_some() || self.routing_paths.is_empty() {
            return Ok(root.routing.map(Cow::Borrowed));
        }
        match (&root.source, self.routing_paths.get(root.doc_type.unwrap_or_default())) {
            (Source::Json(source), Some(path)) => Ok(routing_at(source, path)?.map(Cow::Owned)),
            _ => Ok(None),
        }
    }

    /// Whether the source of a document of this type must not be passed off as its whole source; `recovered`: its copy.
    pub fn withholds(&self, doc_type: Option<&str>, recovered: bool) -> bool {
        !self.send_filtered
            && (!recovered || self.copies_filtered)
            && match &self.filtered {
                FilteredSources::None => false,
                FilteredSources::All => true,
                FilteredSources::OfTypes(types) => doc_type.is_some_and(|t| types.contains(t)),
            }
    }
}

impl IndexPlan {
    /// Everything that is written to.
    pub fn destinations(&self) -> Vec<&str> {
        match &self.documents.types {
            Types::Split(indices) => indices.values().map(String::as_str).collect(),
            _ => vec![&self.destination],
        }
    }

    /// Where a document of this type goes; `None` if there is no place for it.
    pub fn destination_of(&self, doc_type: Option<&str>) -> Option<&str> {
        match &self.documents.types {
            Types::Split(indices) => doc_type.and_then(|t| indices.get(t)).map(String::as_str),
            _ => Some(&self.destination),
        }
    }

    /// How its documents are written, unless they have routings: see [`Run::write_mode`](super::Run::write_mode).
    pub fn write_mode(&self) -> WriteMode {
        match &self.documents.types {
            _ if self.data_stream => WriteMode::Distinct,
            Types::Merged | Types::Field(_) => WriteMode::Distinct,
            Types::Dropped | Types::Kept | Types::Split(_) => WriteMode::Index,
        }
    }
}

/// The name of the index for a type of `index`, of such characters as names of indices may have.
pub fn index_of_type(index: &str, doc_type: &str) -> String {
    let allowed =
        |c: char| if c.is_whitespace() || c.is_control() || "\\/*?\"<>|,#:".contains(c) { '_' } else { c };
    format!("{index}-{}", doc_type.to_lowercase()).chars().map(allowed).collect()
}

/// `source`, an object in JSON, with more members before the others; all other bytes are as they were.
fn with_members<'a>(source: &'a [u8], members: &[u8]) -> Cow<'a, [u8]> {
    let Some(brace) = source.iter().position(|b| *b == b'{') else { return Cow::Borrowed(source) };
    let (before, after) = source.split_at(brace + 1);
    let empty = after.trim_ascii_start().first().is_none_or(|b| *b == b'}');
    let comma: &[u8] = if empty { b"" } else { b"," };
    Cow::Owned([before, members, comma, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapshot::document::Source;

    #[test]
    fn choices_are_read_as_they_are_shown() {
        for text in ["merge", "split", "field=kind", "field=meta.type"] {
            assert_eq!(text.parse::<TypesChoice>().unwrap().to_string(), text);
        }
        assert_eq!("field".parse(), Ok(TypesChoice::Field("type".to_owned())));
        for bad in ["", "Merge", "field=", "field=_type", "field=a*", "split=a", "merge=b"] {
            assert!(bad.parse::<TypesChoice>().is_err(), "{bad}");
        }
    }

    #[test]
    fn types_become_names_of_indices() {
        for (index, doc_type, name) in [
            ("logs", "Event", "logs-event"),
            ("logs", "a b/c:d", "logs-a_b_c_d"),
            ("größe", "ÜBER", "größe-über"),
            (".x", ".hidden", ".x-.hidden"),
        ] {
            assert_eq!(index_of_type(index, doc_type), name);
        }
    }

    #[test]
    fn a_member_is_added_and_nothing_else_changes() {
        for (source, expected) in [
            ("{}", "{\"t\":1}"),
            ("{ }", "{\"t\":1 }"),
            ("{\"a\":1.10}", "{\"t\":1,\"a\":1.10}"),
            ("  { \"a\" : \"{}\" } ", "  {\"t\":1, \"a\" : \"{}\" } "),
        ] {
            assert_eq!(with_members(source.as_bytes(), b"\"t\":1"), expected.as_bytes(), "{source}");
        }
        let root = Root {
            id: "1",
            routing: None,
            doc_type: Some("a\n"),
            parent: None,
            timestamp: Some(-1),
            expires: Some(2),
            source: Source::Missing,
            recovered: false,
        };
        let field = |name: &str| Some(FieldName(name.to_owned()));
        let sent = |types: Types, timestamp, ttl| {
            let time_fields = TimeFields { timestamp, ttl };
            let plan = DocumentPlan { types, time_fields, ..DocumentPlan::default() };
            String::from_utf8(plan.sent(&root, b"{\"a\":1}").into_owned()).unwrap()
        };
        assert_eq!(sent(Types::Dropped, None, None), r#"{"a":1}"#);
        assert_eq!(sent(Types::Field("k\"".to_owned()), None, None), r#"{"k\"":"a\u000a","a":1}"#);
        assert_eq!(sent(Types::Dropped, None, field("end")), r#"{"end":2,"a":1}"#);
        let all = sent(Types::Field("t".to_owned()), field("at"), field("end"));
        assert_eq!(all, r#"{"t":"a\u000a","at":-1,"end":2,"a":1}"#);
    }

    #[test]
    fn filtered_sources_are_withheld_unless_they_may_go() {
        let types = FilteredSources::OfTypes(BTreeSet::from(["a".to_owned()]));
        for (filtered, doc_type, withheld) in [
            (FilteredSources::None, Some("a"), false),
            (FilteredSources::All, None, true),
            (types.clone(), Some("a"), true),
            (types.clone(), Some("b"), false),
            (types, None, false),
        ] {
            let plan = DocumentPlan { filtered, ..DocumentPlan::default() };
            assert_eq!(plan.withholds(doc_type, false), withheld);
            // A copy that a server keeps for a while is whole, or lacks the same.
            assert!(!plan.withholds(doc_type, true));
            let plan = DocumentPlan { copies_filtered: true, ..plan };
            assert_eq!(plan.withholds(doc_type, true), withheld);
            assert!(!DocumentPlan { send_filtered: true, ..plan }.withholds(doc_type, true));
        }
    }
}

//! What an index's mappings mean for reading its documents.

use std::cell::Cell;
use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::MAX_KEPT;
use crate::container;
use crate::error::{Error, Result};
use crate::pairs::{as_text, for_each_member, is_object};
use crate::version::{Distribution, VersionId};

/// What is stored of a document's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceHandling {
    /// All of it, as it was sent.
    Enabled,
    /// Nothing.
    Disabled,
    /// Only some fields.
    Filtered {
        /// Patterns of the fields that are stored; all when empty.
        includes: Vec<String>,
        /// Patterns of the fields that are not.
        excludes: Vec<String>,
    },
    /// Nothing; Elasticsearch puts it together from other structures when asked (synthetic source).
    Synthetic,
    /// Nothing; OpenSearch puts it together from other structures when asked (derived source).
    Derived,
    /// All of it but the vectors, in whose places stand masks; see [`crate::masked_vectors`].
    WithoutVectors,
    /// All of it but the vectors, of which nothing is left, not even where they were. Nor is it in copies that are kept for a
    /// while.
    ExcludedVectors,
}

/// Fields that Elasticsearch can put into a source again when it is asked for.
const VECTORS: [&str; 3] = ["dense_vector", "sparse_vector", "rank_vectors"];
/// The first version of an index, of Elasticsearch 2.0, that stores each `_timestamp`; before, the mapping has to ask for it.
const TIMESTAMPS_STORED_SINCE: u64 = 2_000_000;
/// The first version of an index, of Elasticsearch 9.2, whose source lacks these unless a setting says otherwise
/// (`IndexVersions.EXCLUDE_SOURCE_VECTORS_DEFAULT`).
const EXCLUDED_SINCE: u64 = 9_035_000;

/// What is stored of something that documents have beside their source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// They have none.
    No,
    /// They have it, but it is not stored.
    Unstored,
    /// It is stored.
    Stored,
}

/// Members of a mapping that say what is stored of documents beside their fields.
const OF_DOCUMENTS: [&str; 4] = ["_routing", "_source", "_timestamp", "_ttl"];
/// Types of an index at most. No server has nearly as many.
const MOST_TYPES: usize = 10_000;
/// How deep fields may lie in each other. Servers allow 20 unless they are told otherwise.
const MAX_DEPTH: usize = 100;

/// What an index's mappings mean for reading its documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mappings {
    /// What is stored of a document's source, by its type; one entry without a name where there are no mappings.
    pub sources: Vec<(String, SourceHandling)>,
    /// Whether copies of sources that are kept for a while (`_recovery_source`) may lack fields, too. Where they do not, such a
    /// copy is whole even if the source is disabled or stored in part.
    pub copies_filtered: bool,
    /// The fields in whose places masks may stand, as [`SourceHandling::WithoutVectors`] says.
    pub masked_vectors: Vec<String>,
    /// Whether documents may have nested children, which are documents of their own in a shard.
    pub has_nested: bool,
    /// Whether every document has a routing.
    pub routing_required: bool,
    /// Where the sources of a type have the routings that are not stored; see [`crate::routing_path`].
    pub routing_paths: BTreeMap<String, String>,
    /// Whether documents may have a routing that cannot be read. It is a stored field unless the mapping says otherwise:
    /// Elasticsearch 1 could do without (`store`), Elasticsearch 9.4 and later can keep it in doc values instead
    /// (`doc_values`).
    pub routing_lost: bool,
    /// What is stored of the time of a document (`_timestamp`), which Elasticsearch 1 and 2 can keep beside its source.
    pub timestamp: Beside,
    /// What is stored of the end of a document (`_ttl`), likewise.
    pub ttl: Beside,
    /// The names of the types: since 7.0 none or `_doc`, before that any.
    pub types: Vec<String>,
}

/// What the mapping of one type says, as far as it matters here. All else is passed over, so that memory does not depend on the
/// number of fields.
#[derive(Debug, Default)]
struct TypeMapping {
    /// What it says of those of [`OF_DOCUMENTS`] that it names.
    of_documents: Map<String, Value>,
    fields: Kinds,
}

impl TypeMapping {
    fn get(&self, name: &str) -> Option<&Value> {
        self.of_documents.get(name)
    }
}

/// Which of the kinds of fields that matter there are.
#[derive(Debug, Default, Clone)]
struct Kinds {
    nested: bool,
    /// One of [`VECTORS`].
    vector: bool,
    /// The paths of the fields of the type `knn_vector`.
    knn_vectors: Vec<String>,
}

/// The path of a field: its name, and the object that it is in. It becomes a text only where that is kept, because the names
/// of objects may be long and their fields many.
struct Path<'a> {
    above: Option<&'a Path<'a>>,
    name: &'a str,
    /// How many names there are.
    depth: usize,
}

impl Path<'_> {
    /// Bytes of the text, with a dot behind each name.
    fn len(&self) -> usize {
        std::iter::successors(Some(self), |path| path.above).map(|path| path.name.len() + 1).sum()
    }
}

/// Mappings by type.
type ByType = Vec<(String, TypeMapping)>;

impl Mappings {
    /// Reads the member `mappings`, in each of the forms in which it is written. When it is decompressed it may have `limit`
    /// bytes.
    pub(super) fn parse(
        file: &str,
        mappings: Option<&RawValue>,
        settings: &BTreeMap<String, String>,
        limit: usize,
    ) -> Result<Self> {
        let reader = Reader {
            file,
            limit,
            room: &Cell::new(MAX_KEPT),
            source_only: settings.get("index.source_only").is_some_and(|v| v == "true"),
        };
        let mut by_type = ByType::new();
        match mappings.map(RawValue::get) {
            None | Some("null") => {}
            Some(text) if text.starts_with('[') => {
                let items: Vec<&RawValue> = container::from_json(file, text.as_bytes())?;
                items.into_iter().try_for_each(|item| reader.add(item, &mut by_type))?;
            }
            Some(_) => mappings.into_iter().try_for_each(|item| reader.add(item, &mut by_type))?,
        }
        let types = || by_type.iter().filter(|(name, _)| name != "_default_");
        let mappings = || by_type.iter().map(|(_, mapping)| mapping);
        let by_settings = || source_by_settings(settings);
        let setting = |key: &str| settings.get(key).map(String::as_str);
        let created = || setting("index.version.created").and_then(|v| v.parse().ok()).map(VersionId);
        let masks = match setting("index.knn.derived_source.enabled") {
            Some(set) => set == "true",
            // The default of k-NN 3.
            None => {
                let of_opensearch_3 = |version: VersionId| {
                    version.distribution() == Distribution::OpenSearch && version.major() >= 3
                };
                setting("index.knn") == Some("true") && created().is_some_and(of_opensearch_3)
            }
        };
        let excludes = match setting("index.mapping.exclude_source_vectors") {
            Some(set) => set == "true",
            None => created().is_some_and(|version| {
                version.0 >= EXCLUDED_SINCE && version.distribution() == Distribution::Elasticsearch
            }),
        };
        let created_before_2 = created().is_some_and(|version| version.0 < TIMESTAMPS_STORED_SINCE);
        let handling =
            |mapping: &TypeMapping| match source(mapping.get("_source")).unwrap_or_else(by_settings) {
                SourceHandling::Enabled | SourceHandling::Filtered { .. }
                    if excludes && mapping.fields.vector =>
                {
                    SourceHandling::ExcludedVectors
                }
                SourceHandling::Enabled if masks && !mapping.fields.knn_vectors.is_empty() => {
                    SourceHandling::WithoutVectors
                }
                own => own,
            };
        let mut sources: Vec<_> = types().map(|(name, m)| (name.clone(), handling(m))).collect();
        if sources.is_empty() {
            sources.push((String::new(), by_settings()));
        }
        let whole = |name: &str| {
            sources.iter().any(|(own, source)| own == name && *source == SourceHandling::Enabled)
        };
        let mut routing_paths = BTreeMap::new();
        let mut routing_lost = false;
        for (name, mapping) in types() {
            match routing(mapping, "path").and_then(Value::as_str) {
                _ if is_true(routing(mapping, "doc_values")) => routing_lost = true,
                _ if !is_false(routing(mapping, "store")) => {}
                Some(path) if whole(name) => drop(routing_paths.insert(name.clone(), path.to_owned())),
                _ => routing_lost = true,
            }
        }
        let excluded = sources.iter().any(|(_, source)| *source == SourceHandling::ExcludedVectors);
        Ok(Self {
            sources,
            copies_filtered: excluded || mappings().any(|mapping| filters_copies(mapping.get("_source"))),
            masked_vectors: if masks {
                mappings().flat_map(|mapping| mapping.fields.knn_vectors.iter().cloned()).collect()
            } else {
                Vec::new()
            },
            has_nested: mappings().any(|m| m.fields.nested),
            routing_required: mappings().any(|m| is_true(routing(m, "required"))),
            routing_paths,
            routing_lost,
            timestamp: beside(mappings(), "_timestamp", created_before_2),
            ttl: beside(mappings(), "_ttl", false),
            types: types().map(|(name, _)| name.clone()).collect(),
        })
    }
}

/// Reads mappings.
struct Reader<'a> {
    file: &'a str,
    limit: usize,
    /// Bytes that the paths of fields may still take, together.
    room: &'a Cell<usize>,
    /// Whether a repository of the type `source` wrote the index.
    source_only: bool,
}

impl Reader<'_> {
    /// Adds mappings by type: an object, or compressed bytes in Base64, within them JSON or SMILE.
    fn add(&self, item: &RawValue, by_type: &mut ByType) -> Result<()> {
        if is_object(item) {
            return self.types(item, by_type);
        }
        let Some(packed) = as_text(item) else {
            return Err(self.unreadable("the mappings are neither objects nor compressed"));
        };
        let bad = |what: String| self.unreadable(format!("the compressed mappings are not valid: {what}"));
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(packed)
            .map_err(|e| bad(format!("Base64: {e}")))?;
        let json = container::json(self.file, &bytes, self.limit).map_err(|e| match e {
            Error::TooLarge { .. } => e,
            other => bad(other.to_string()),
        })?;
        self.types(container::from_json(self.file, &json).map_err(|e| bad(e.to_string()))?, by_type)
    }

    fn types(&self, object: &RawValue, by_type: &mut ByType) -> Result<()> {
        if !is_object(object) {
            return Err(self.unreadable("the mappings are neither objects nor compressed"));
        }
        self.members(object, |name, mapping| {
            if !is_object(mapping) {
                return Err(self.unreadable("the mappings are not objects by type"));
            }
            self.mapping(name, mapping, by_type)
        })
    }

    fn mapping(&self, name: &str, mapping: &RawValue, by_type: &mut ByType) -> Result<()> {
        if by_type.len() >= MOST_TYPES {
            return Err(self.unreadable(format!("the mappings are of more than {MOST_TYPES} types")));
        }
        let (mut read, mut own) = (TypeMapping::default(), None);
        self.members(mapping, |name, value| {
            match name {
                _ if OF_DOCUMENTS.contains(&name) => {
                    read.of_documents.insert(name.to_owned(), self.small(name, value)?);
                }
                "properties" => self.fields(value, &mut read.fields, None)?,
                // The mappings of the index, which such a repository puts here, below one that is not enabled.
                "_meta" if self.source_only => {
                    let mut all = ByType::new();
                    let mut objects = is_object(value);
                    self.members(value, |_, mapping| {
                        objects &= is_object(mapping);
                        Ok(())
                    })?;
                    if objects {
                        let inner = Reader { source_only: false, ..*self };
                        self.members(value, |name, mapping| inner.mapping(name, mapping, &mut all))?;
                    }
                    own = Some(all).filter(|all| !all.is_empty());
                }
                _ => {}
            }
            Ok(())
        })?;
        match own {
            Some(own) => by_type.extend(own),
            None => by_type.push((name.to_owned(), read)),
        }
        Ok(())
    }

    /// Notes the kinds of all fields below an object, in objects within it as well.
    fn fields(&self, properties: &RawValue, kinds: &mut Kinds, object: Option<&Path<'_>>) -> Result<()> {
        if object.is_some_and(|object| object.depth > MAX_DEPTH) {
            return Err(self.unreadable(format!("fields lie more than {MAX_DEPTH} deep in each other")));
        }
        self.members(properties, |own, field| {
            let path = Path { above: object, name: own, depth: object.map_or(1, |above| above.depth + 1) };
            self.members(field, |name, value| {
                match name {
                    "properties" => return self.fields(value, kinds, Some(&path)),
                    "type" => {
                        let kind = as_text(value).unwrap_or_default();
                        kinds.nested |= kind == "nested";
                        kinds.vector |= VECTORS.contains(&kind.as_str());
                        if kind == "knn_vector" {
                            kinds.knn_vectors.push(self.kept(&path)?);
                        }
                    }
                    _ => {}
                }
                Ok(())
            })
        })
    }

    /// The text of a path, for which there must be room.
    fn kept(&self, path: &Path<'_>) -> Result<String> {
        let left = self.room.get().checked_sub(path.len() + size_of::<String>());
        let left = left.ok_or_else(|| {
            self.unreadable(format!("the paths of the vector fields have more than {MAX_KEPT} bytes"))
        })?;
        self.room.set(left);
        let mut names: Vec<&str> =
            std::iter::successors(Some(path), |path| path.above).map(|p| p.name).collect();
        names.reverse();
        Ok(names.join("."))
    }

    /// A value that is kept.
    fn small(&self, name: &str, value: &RawValue) -> Result<Value> {
        if value.get().len() > MAX_KEPT {
            return Err(self.unreadable(format!("{name} of the mappings has more than {MAX_KEPT} bytes")));
        }
        container::from_json(self.file, value.get().as_bytes())
    }

    fn members(&self, object: &RawValue, mut see: impl FnMut(&str, &RawValue) -> Result<()>) -> Result<()> {
        for_each_member(object, |name, value| see(name, value).map_err(Stop::Refused)).map_err(|stop| {
            match stop {
                Stop::Refused(error) => error,
                Stop::NotJson(error) => self.unreadable(format!("the mappings are not as expected: {error}")),
            }
        })
    }

    fn unreadable(&self, what: impl Into<String>) -> Error {
        Error::corrupt(self.file, what)
    }
}

/// Why the members of an object are not read on.
enum Stop {
    Refused(Error),
    NotJson(serde_json::Error),
}

impl From<serde_json::Error> for Stop {
    fn from(error: serde_json::Error) -> Self {
        Self::NotJson(error)
    }
}

/// A parameter of `_routing`.
fn routing<'a>(mapping: &'a TypeMapping, parameter: &str) -> Option<&'a Value> {
    mapping.get("_routing").and_then(|routing| routing.get(parameter))
}

/// What is stored of a field beside the source; `asks`: only where the mapping asks for it.
fn beside<'a>(mappings: impl Iterator<Item = &'a TypeMapping>, name: &str, asks: bool) -> Beside {
    let of_one = |mapping: &TypeMapping| {
        let parameter = |key| mapping.get(name).and_then(|field| field.get(key));
        let stored = parameter("store").map_or(!asks, |store| is_true(Some(store)) || store == "yes");
        match parameter("enabled") {
            None => Beside::No,
            enabled if is_false(enabled) => Beside::No,
            Some(_) if stored => Beside::Stored,
            Some(_) => Beside::Unstored,
        }
    };
    mappings.map(of_one).max_by_key(|beside| *beside as u8).unwrap_or(Beside::No)
}

/// As servers before 6.0 read it, in which what says no is no.
fn is_false(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Bool(false))) || matches!(value.and_then(Value::as_str), Some("false" | "no"))
}

fn is_true(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Bool(true))) || value.and_then(Value::as_str) == Some("true")
}

/// What the mapping itself says; `None` when it says nothing.
fn source(value: Option<&Value>) -> Option<SourceHandling> {
    let value = value?;
    let enabled = value.get("enabled");
    if is_false(enabled) {
        return Some(SourceHandling::Disabled);
    }
    match value.get("mode").and_then(Value::as_str) {
        Some("synthetic") => return Some(SourceHandling::Synthetic),
        Some("disabled") => return Some(SourceHandling::Disabled),
        _ => {}
    }
    let (includes, excludes) = (patterns(value, "includes"), patterns(value, "excludes"));
    if !includes.is_empty() || !excludes.is_empty() {
        return Some(SourceHandling::Filtered { includes, excludes });
    }
    let stored = value.get("mode").and_then(Value::as_str) == Some("stored") || is_true(enabled);
    stored.then_some(SourceHandling::Enabled)
}

/// Whether the copies of sources that servers keep for a while have fields of their own choice (OpenSearch since 2.15).
fn filters_copies(source: Option<&Value>) -> bool {
    ["recovery_source_includes", "recovery_source_excludes"]
        .iter()
        .any(|key| source.is_some_and(|source| !patterns(source, key).is_empty()))
}

fn patterns(value: &Value, key: &str) -> Vec<String> {
    match value.get(key) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    }
}

/// What follows from the settings when the mapping says nothing.
fn source_by_settings(settings: &BTreeMap<String, String>) -> SourceHandling {
    let setting = |key: &str| settings.get(key).map(String::as_str);
    if setting("index.derived_source.enabled") == Some("true") {
        return SourceHandling::Derived;
    }
    match setting("index.mapping.source.mode").map(str::to_ascii_lowercase).as_deref() {
        Some("synthetic") => return SourceHandling::Synthetic,
        Some("disabled") => return SourceHandling::Disabled,
        Some("stored") => return SourceHandling::Enabled,
        _ => {}
    }
    match super::mode(settings).as_deref() {
        Some("time_series" | "logsdb") => SourceHandling::Synthetic,
        _ => SourceHandling::Enabled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write;

    fn parse(mappings: &Value, settings: &[(&str, &str)]) -> Result<Mappings> {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let text = RawValue::from_string(mappings.to_string()).unwrap();
        Mappings::parse("f", Some(&text), &settings, 1 << 20)
    }

    #[test]
    fn how_the_source_is_stored() {
        let filtered = |includes: &[&str], excludes: &[&str]| SourceHandling::Filtered {
            includes: includes.iter().map(|s| (*s).to_owned()).collect(),
            excludes: excludes.iter().map(|s| (*s).to_owned()).collect(),
        };
        type Case<'a> = (Value, &'a [(&'a str, &'a str)], SourceHandling);
        let cases: Vec<Case<'_>> = vec![
            (json!({}), &[], SourceHandling::Enabled),
            (json!({"enabled": false}), &[], SourceHandling::Disabled),
            (json!({"enabled": true}), &[("index.mode", "logsdb")], SourceHandling::Enabled),
            (json!({"includes": ["a*"], "excludes": []}), &[], filtered(&["a*"], &[])),
            (json!({"excludes": "b"}), &[], filtered(&[], &["b"])),
            (json!({"mode": "synthetic"}), &[], SourceHandling::Synthetic),
            (json!({"mode": "disabled"}), &[], SourceHandling::Disabled),
            (json!({"mode": "stored"}), &[("index.mode", "time_series")], SourceHandling::Enabled),
            (json!({}), &[("index.mode", "time_series")], SourceHandling::Synthetic),
            (json!({}), &[("index.mode", "Time_Series")], SourceHandling::Synthetic),
            (
                json!({}),
                &[("index.mode", "logsdb"), ("index.mapping.source.mode", "STORED")],
                SourceHandling::Enabled,
            ),
            (json!({}), &[("index.mapping.source.mode", "synthetic")], SourceHandling::Synthetic),
            (json!({}), &[("index.derived_source.enabled", "true")], SourceHandling::Derived),
        ];
        for (value, settings, handling) in cases {
            let mappings = parse(&json!([{"_doc": {"_source": value}}]), settings).unwrap();
            assert_eq!(mappings.sources, [("_doc".to_owned(), handling)], "{value} {settings:?}");
        }
    }

    #[test]
    fn the_paths_of_vector_fields_are_bounded_together() {
        let knn = ("index.knn.derived_source.enabled", "true");
        let vectors = |object: &str, fields: usize| {
            let vector = |n| (format!("v{n}"), json!({"type": "knn_vector"}));
            let fields: Map<String, Value> = (0..fields).map(vector).collect();
            json!({"properties": {object: {"properties": fields}}})
        };
        let of_type = |mapping| json!({"_doc": mapping});
        let few = parse(&of_type(vectors("o", 1000)), &[knn]).unwrap();
        assert_eq!((few.masked_vectors.len(), few.masked_vectors[7].as_str()), (1000, "o.v7"));
        for many in [vectors("o", 100_000), vectors(&"o".repeat(1 << 18), 5)] {
            let error = parse(&of_type(many), &[knn]).unwrap_err().to_string();
            assert!(error.contains("the paths of the vector fields have more than 1048576 bytes"), "{error}");
        }
        // Nor do several types have more room than one.
        let types = json!({"a": vectors("o", 20_000), "b": vectors("o", 20_000)});
        assert!(parse(&types, &[knn]).is_err());
        // Long names of objects cost nothing where no vector is.
        let long = json!({"properties": {"o".repeat(1 << 20): {"properties": {"n": {"type": "long"}}}}});
        assert!(parse(&of_type(long), &[knn]).is_ok());
    }

    #[test]
    fn sources_of_indices_with_vectors_may_lack_them() {
        let vector = json!({"properties": {"o": {"properties": {"v": {"type": "knn_vector"}}}}});
        let masks = ("index.knn.derived_source.enabled", "true");
        let (knn, three, two) = (
            ("index.knn", "true"),
            ("index.version.created", "137277827"),
            ("index.version.created", "136408227"),
        );
        type Case<'a> = (&'a Value, &'a [(&'a str, &'a str)], &'a [&'a str]);
        let cases: [Case<'_>; 6] = [
            (&vector, &[masks], &["o.v"]),
            (&vector, &[knn, three], &["o.v"]),
            (&vector, &[knn, two], &[]),
            (&vector, &[three], &[]),
            (&vector, &[knn, three, (masks.0, "false")], &[]),
            (&json!({"properties": {}}), &[masks], &[]),
        ];
        for (mapping, settings, fields) in cases {
            let found = parse(&json!({"_doc": mapping}), settings).unwrap();
            let masked = found.sources[0].1 == SourceHandling::WithoutVectors;
            assert_eq!(
                (masked, found.masked_vectors),
                (!fields.is_empty(), fields.iter().map(|f| (*f).to_owned()).collect()),
                "{settings:?}"
            );
        }
    }

    #[test]
    fn sources_lack_vectors_from_elasticsearch_9_2_on() {
        let vector = |kind: &str| json!({"properties": {"o": {"properties": {"v": {"type": kind}}}}});
        let (created, setting) = ("index.version.created", "index.mapping.exclude_source_vectors");
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);
        let cases: [Case<'_>; 9] = [
            ("dense_vector", &[(created, "9035000")], true),
            ("sparse_vector", &[(created, "9039003")], true),
            ("rank_vectors", &[(created, "9034000"), (setting, "true")], true),
            ("dense_vector", &[(created, "9034000")], false),
            ("dense_vector", &[(created, "9039003"), (setting, "false")], false),
            ("keyword", &[(created, "9039003")], false),
            // OpenSearch 3.6.0.
            ("dense_vector", &[(created, "137277827")], false),
            ("dense_vector", &[], false),
            ("dense_vector", &[(created, "9039003"), ("index.mode", "logsdb")], false),
        ];
        for (kind, settings, excluded) in cases {
            let expected = match excluded {
                true => SourceHandling::ExcludedVectors,
                false if settings.iter().any(|(key, _)| *key == "index.mode") => SourceHandling::Synthetic,
                false => SourceHandling::Enabled,
            };
            let mappings = parse(&json!({"_doc": vector(kind)}), settings).unwrap();
            assert_eq!(mappings.sources[0].1, expected, "{kind} {settings:?}");
            assert_eq!(mappings.copies_filtered, excluded);
        }
    }

    #[test]
    fn copies_of_sources_may_be_filtered_by_themselves() {
        for (source, filtered) in [
            (json!({"excludes": ["v"], "recovery_source_excludes": ["v"]}), true),
            (json!({"enabled": false, "recovery_source_includes": "a"}), true),
            (json!({"excludes": ["v"], "recovery_source_excludes": []}), false),
            (json!({"excludes": ["v"]}), false),
            (json!({}), false),
        ] {
            let mappings = parse(&json!({"_doc": {"_source": source}}), &[]).unwrap();
            assert_eq!(mappings.copies_filtered, filtered, "{source}");
        }
    }

    #[test]
    fn mappings_of_source_only_snapshots_are_those_of_the_index() {
        let mapping = json!({"_source": {"excludes": ["a"]}, "properties": {"n": {"type": "nested"}}});
        let packed = json!({"_doc": {"enabled": false, "_meta": {"_doc": mapping}}});
        let found = parse(&packed, &[("index.source_only", "true")]).unwrap();
        assert_eq!(found, parse(&json!({"_doc": mapping}), &[]).unwrap());
        assert_eq!(parse(&packed, &[]).unwrap().sources[0].1, SourceHandling::Enabled);
    }

    #[test]
    fn nested_routing_and_types() {
        let mappings = parse(
            &json!([{"a": {"properties": {"x": {"properties": {"type": {"type": "keyword"}}}}}},
                {"_default_": {"_routing": {"required": true}}},
                {"b": {"properties": {"x": {"properties": {"y": {"type": "nested"}}}}}}]),
            &[],
        )
        .unwrap();
        assert!(mappings.has_nested && mappings.routing_required && !mappings.routing_lost);
        for (routing, source, path, lost) in [
            (json!({}), json!({}), None, false),
            (json!({"store": true, "doc_values": false, "path": "a"}), json!({}), None, false),
            (json!({"doc_values": true}), json!({}), None, true),
            (json!({"store": "no"}), json!({}), None, true),
            (json!({"store": false, "path": "a.b"}), json!({}), Some("a.b"), false),
            (json!({"store": false, "path": "a.b"}), json!({"excludes": ["a"]}), None, true),
        ] {
            let own = parse(&json!({"t": {"_routing": routing, "_source": source}}), &[]).unwrap();
            let found = own.routing_paths.get("t").map(String::as_str);
            assert_eq!((found, own.routing_lost), (path, lost), "{routing}");
        }
        assert_eq!(mappings.types, ["a", "b"]);
        // A field that is named "nested" or "type" is none.
        let plain = parse(
            &json!({"_doc": {"properties": {"nested": {"properties": {"type": {"type": "text"}}}}}}),
            &[],
        );
        assert!(!plain.unwrap().has_nested);
        let none = parse(&json!([]), &[]).unwrap();
        assert_eq!((none.types.len(), none.sources), (0, vec![(String::new(), SourceHandling::Enabled)]));
        // What a type begins with is not what it is.
        let types = parse(
            &json!([{"_default_": {"_source": {"enabled": false}}}, {"a": {}}, {"b": {"_source": {"enabled": "false"}}}]),
            &[],
        );
        assert_eq!(
            types.unwrap().sources,
            [("a".to_owned(), SourceHandling::Enabled), ("b".to_owned(), SourceHandling::Disabled)]
        );
    }

    #[test]
    fn compressed_mappings() {
        let pack = |plain: &[u8]| {
            let mut encoder =
                flate2::write::DeflateEncoder::new(b"DFL\0".to_vec(), flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            Value::String(base64::engine::general_purpose::STANDARD.encode(encoder.finish().unwrap()))
        };
        let json = pack(b"{\"_doc\":{\"_source\":{\"enabled\":false}}}");
        assert_eq!(parse(&json!([json]), &[]).unwrap().sources[0].1, SourceHandling::Disabled);
        let smile = pack(b":)\n\x01\xfa\x83_doc\xfa\xfb\xfb");
        assert_eq!(parse(&smile, &[]).unwrap().types, ["_doc"]);
        for bad in [
            json!(["!"]),
            json!("REZMAP8="),
            json!("AAAA"),
            pack(b"{"),
            pack(b"[]"),
            json!([1]),
            json!({"_doc": 1}),
        ] {
            assert!(parse(&bad, &[]).is_err(), "{bad}");
        }
    }
}

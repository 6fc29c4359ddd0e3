//! The metadata of an index at the time of a snapshot: `indices/<id>/meta-<blob>.dat`.

mod mappings;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use mappings::{Beside, Mappings, SourceHandling};

use crate::container;
use crate::error::{Error, Result};
use crate::pairs::{as_text, for_each_member, is_object};
use crate::selection::Alias;
use crate::version::VersionId;

/// More shards than any server lets an index have.
const MOST_SHARDS: u32 = 1 << 16;

/// What is kept of an index's metadata at most, in bytes.
const MAX_KEPT: usize = 1 << 20;
/// Settings of analyzers begin with this.
const ANALYSIS: &str = "index.analysis";

/// Whether an index was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IndexState {
    /// It took requests.
    Open,
    /// It was closed.
    Close,
}

/// What there is to know about an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexMetadata {
    /// The blob that this was read from.
    pub file: String,
    /// Its name.
    pub name: String,
    /// Its unique id in its cluster; not that of its folder in the repository.
    pub uuid: Option<String>,
    /// Whether it was open.
    pub state: IndexState,
    /// All settings, flat; the values of lists are joined by commas.
    pub settings: BTreeMap<String, String>,
    /// How many shards it has.
    pub number_of_shards: u32,
    /// The version that created it.
    pub created: Option<VersionId>,
    /// Whether wildcards pass it over.
    pub hidden: bool,
    /// Whether it serves the cluster itself: marked so, or named with a dot and no part of a data stream.
    pub system: bool,
    /// Its aliases.
    pub aliases: Vec<Alias>,
    /// What its mappings mean for reading its documents.
    pub mappings: Mappings,
}

#[derive(Deserialize)]
struct Body<'a> {
    state: Option<IndexState>,
    #[serde(borrow)]
    settings: Option<&'a RawValue>,
    #[serde(borrow)]
    mappings: Option<&'a RawValue>,
    #[serde(borrow)]
    aliases: Option<&'a RawValue>,
    system: Option<bool>,
}

impl<'de> Deserialize<'de> for IndexState {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "open" => Ok(Self::Open),
            "close" => Ok(Self::Close),
            other => Err(serde::de::Error::custom(format!("an index is open or close, not {other:?}"))),
        }
    }
}

fn mode(settings: &BTreeMap<String, String>) -> Option<String> {
    settings.get("index.mode").map(|mode| mode.to_ascii_lowercase())
}

impl IndexMetadata {
    /// Reads `meta-<blob>.dat` of an index; `file` is its path, for errors.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        Self::parse_with_limit(file, bytes, container::DEFAULT_LIMIT)
    }

    /// Like [`Self::parse`]; what is compressed may become `limit` bytes.
    pub fn parse_with_limit(file: &str, bytes: &[u8], limit: usize) -> Result<Self> {
        let json = container::text(file, bytes, container::INDEX_METADATA, limit)?;
        let mut kept = Kept { file, bytes: 0 };
        let mut index = None;
        kept.members(container::from_json(file, &json)?, |_, name, body| {
            match index.replace((name.to_owned(), body)) {
                None => Ok(()),
                Some(_) => Err(not_one_index(file)),
            }
        })?;
        let (name, body) = index.ok_or_else(|| not_one_index(file))?;
        let body: Body<'_> = container::from_json(file, body.get().as_bytes())?;
        let mut settings = BTreeMap::new();
        if let Some(all) = body.settings {
            flatten(None, all, &mut settings, &mut kept)?;
        }
        let number_of_shards = settings
            .get("index.number_of_shards")
            .and_then(|n| n.parse::<u32>().ok())
            .filter(|n| (1..=MOST_SHARDS).contains(n))
            .ok_or_else(|| Error::corrupt(file, format!("index {name:?} has no valid number of shards")))?;
        let created = settings.get("index.version.created").and_then(|v| v.parse().ok()).map(VersionId);
        let mappings = Mappings::parse(file, body.mappings, &settings, limit)?;
        Ok(Self {
            file: file.to_owned(),
            uuid: settings.get("index.uuid").cloned(),
            state: body.state.unwrap_or(IndexState::Open),
            number_of_shards,
            created,
            hidden: settings.get("index.hidden").is_some_and(|v| v == "true"),
            system: body.system == Some(true) || (name.starts_with('.') && !name.starts_with(".ds-")),
            aliases: aliases(body.aliases, &mut kept)?,
            mappings,
            name,
            settings,
        })
    }

    /// Its mode (`index.mode`) in small letters, if it has one: servers take it in any.
    pub fn mode(&self) -> Option<String> {
        mode(&self.settings)
    }

    /// Refuses an index that has no data of its own in this repository, and says what to do.
    pub fn ensure_own_data(&self) -> Result<()> {
        let setting = |key: &str| self.settings.get(key).map(String::as_str);
        let store = setting("index.store.type").unwrap_or_default();
        let mounted = matches!(store, "snapshot" | "remote_snapshot")
            || self.settings.keys().any(|k| {
                k.starts_with("index.store.snapshot.") || k.starts_with("index.searchable_snapshot.")
            });
        if !mounted {
            return Ok(());
        }
        let name = ["index.store.snapshot.index_name", "index.searchable_snapshot.index.id"]
            .into_iter()
            .find_map(setting)
            .unwrap_or("the original index");
        let origin = [
            "index.store.snapshot.repository_name",
            "index.searchable_snapshot.repository",
            "index.store.snapshot.snapshot_name",
            "index.searchable_snapshot.snapshot_id.name",
        ]
        .into_iter()
        .filter_map(setting)
        .collect::<Vec<_>>()
        .join("/");
        Err(Error::unsupported(
            &self.name,
            format!(
                "it is a searchable snapshot and holds no data of its own; read {name} from the snapshot that it is \
                 mounted from{}{origin}",
                if origin.is_empty() { "" } else { ": " }
            ),
        ))
    }
}

fn not_one_index(file: &str) -> Error {
    Error::corrupt(file, "the metadata of exactly one index was expected")
}

/// Counts what is kept of an index's metadata.
struct Kept<'a> {
    file: &'a str,
    bytes: usize,
}

impl Kept<'_> {
    fn add(&mut self, texts: [&str; 2]) -> Result<()> {
        /// About what an entry takes beside its texts.
        const ENTRY: usize = 64;
        self.bytes += ENTRY + texts[0].len() + texts[1].len();
        if self.bytes > MAX_KEPT {
            return Err(Error::TooLarge { file: self.file.to_owned(), limit: MAX_KEPT as u64 });
        }
        Ok(())
    }

    /// Shows each member of an object.
    fn members<'j>(
        &mut self,
        object: &'j RawValue,
        mut see: impl FnMut(&mut Self, &str, &'j RawValue) -> Result<()>,
    ) -> Result<()> {
        enum Stop {
            Refused(Error),
            NotJson(serde_json::Error),
        }
        impl From<serde_json::Error> for Stop {
            fn from(error: serde_json::Error) -> Self {
                Self::NotJson(error)
            }
        }
        let file = self.file;
        for_each_member(object, |name, value| see(self, name, value).map_err(Stop::Refused)).map_err(|stop| {
            match stop {
                Stop::Refused(error) => error,
                Stop::NotJson(error) => {
                    Error::corrupt(file, format!("the content is not as expected: {error}"))
                }
            }
        })
    }
}

/// Nested objects become names with dots.
fn flatten(
    key: Option<&str>,
    value: &RawValue,
    out: &mut BTreeMap<String, String>,
    kept: &mut Kept<'_>,
) -> Result<()> {
    // Long lists of synonyms and the like, which do not matter here.
    if key
        .is_some_and(|key| key == ANALYSIS || key.strip_prefix(ANALYSIS).is_some_and(|k| k.starts_with('.')))
    {
        return Ok(());
    }
    if is_object(value) {
        return kept.members(value, |kept, name, value| {
            let key = key.map_or_else(|| name.to_owned(), |key| format!("{key}.{name}"));
            if key.len() > MAX_KEPT {
                return Err(Error::TooLarge { file: kept.file.to_owned(), limit: MAX_KEPT as u64 });
            }
            flatten(Some(&key), value, out, kept)
        });
    }
    let (Some(key), false) = (key, value.get() == "null") else { return Ok(()) };
    kept.add([key, value.get()])?;
    let text = |value: &RawValue| as_text(value).unwrap_or_else(|| value.get().to_owned());
    let text = match value.get().starts_with('[') {
        true => {
            let items: Vec<&RawValue> = container::from_json(kept.file, value.get().as_bytes())?;
            items.into_iter().map(text).collect::<Vec<_>>().join(",")
        }
        false => text(value),
    };
    out.insert(key.to_owned(), text);
    Ok(())
}

/// An object by name, or a list of such objects.
fn aliases(aliases: Option<&RawValue>, kept: &mut Kept<'_>) -> Result<Vec<Alias>> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Body<'a> {
        #[serde(borrow)]
        is_hidden: Option<&'a RawValue>,
        #[serde(borrow)]
        filter: Option<&'a RawValue>,
    }
    let mut found = Vec::new();
    let mut add = |kept: &mut Kept<'_>, name: &str, value: &RawValue| {
        kept.add([name, ""])?;
        let body = match is_object(value) {
            true => container::from_json(kept.file, value.get().as_bytes())?,
            false => Body::default(),
        };
        found.push(Alias {
            name: name.to_owned(),
            hidden: body.is_hidden.is_some_and(|hidden| hidden.get() == "true"),
            filtered: body.filter.is_some(),
        });
        Ok(())
    };
    match aliases {
        Some(list) if list.get().starts_with('[') => {
            let items: Vec<&RawValue> = container::from_json(kept.file, list.get().as_bytes())?;
            for item in items {
                kept.members(item, &mut add)?;
            }
        }
        Some(object) => kept.members(object, add)?,
        None => {}
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::build;
    use serde_json::{Value, json};

    fn parse(value: &Value) -> Result<IndexMetadata> {
        IndexMetadata::parse("indices/I/meta-B.dat", &build::json(container::INDEX_METADATA, value))
    }

    fn minimal() -> Value {
        json!({"logs": {"version": 5, "state": "open", "system": false, "mappings": [],
            "settings": {"index.number_of_shards": "3", "index.uuid": "U", "index.version.created": "7100299"},
            "aliases": {"all": {"is_write_index": true}, "b": {"filter": "AAAA", "is_hidden": true}}}})
    }

    #[test]
    fn everything_that_is_said_is_read() {
        let index = parse(&minimal()).unwrap();
        assert_eq!(
            (index.name.as_str(), index.uuid.as_deref(), index.number_of_shards),
            ("logs", Some("U"), 3)
        );
        assert_eq!(index.created.unwrap().to_string(), "Elasticsearch 7.10.2");
        assert_eq!((index.state, index.hidden, index.system), (IndexState::Open, false, false));
        let alias = |name: &str, yes| Alias { name: name.into(), hidden: yes, filtered: yes };
        assert_eq!(index.aliases, [alias("all", false), alias("b", true)]);
        assert!(index.ensure_own_data().is_ok());
    }

    #[test]
    fn settings_become_flat() {
        let mut value = minimal();
        value["logs"]["settings"]["index"] =
            json!({"hidden": true, "sort": {"field": ["a", "b"]}, "x": null});
        value["logs"]["state"] = "close".into();
        let index = parse(&value).unwrap();
        assert!(index.hidden);
        assert_eq!(index.settings["index.sort.field"], "a,b");
        assert!(!index.settings.contains_key("index.x"));
        assert_eq!(index.state, IndexState::Close);
    }

    #[test]
    fn names_with_a_dot_look_like_the_systems() {
        for (name, marked, system) in [
            (".kibana_1", false, true),
            (".ds-logs-1", false, false),
            ("kibana", true, true),
            ("a.b", false, false),
        ] {
            let mut body = minimal()["logs"].clone();
            body["system"] = marked.into();
            assert_eq!(parse(&json!({name: body})).unwrap().system, system, "{name}");
        }
    }

    #[test]
    fn searchable_snapshots_are_refused_with_advice() {
        for (settings, text) in [
            (
                json!({"index.store.type": "snapshot", "index.store.snapshot.repository_name": "r",
                "index.store.snapshot.snapshot_name": "s", "index.store.snapshot.index_name": "old"}),
                "read old from the snapshot that it is mounted from: r/s",
            ),
            (
                json!({"index.searchable_snapshot.repository": "r", "index.store.type": "remote_snapshot"}),
                "mounted from: r",
            ),
            (json!({"index.store.type": "remote_snapshot"}), "mounted from"),
        ] {
            let mut value = minimal();
            for (key, v) in settings.as_object().unwrap() {
                value["logs"]["settings"][key] = v.clone();
            }
            let error = parse(&value).unwrap().ensure_own_data().unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }));
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let edits: [fn(&mut Value); 6] = [
            |v| *v = json!({}),
            |v| v["second"] = v["logs"].clone(),
            |v| v["logs"]["settings"]["index.number_of_shards"] = "0".into(),
            |v| v["logs"]["settings"]["index.number_of_shards"] = "4000000000".into(),
            |v| v["logs"]["settings"] = Value::Null,
            |v| v["logs"]["state"] = "ajar".into(),
        ];
        for (i, edit) in edits.iter().enumerate() {
            let mut value = minimal();
            edit(&mut value);
            assert!(parse(&value).is_err(), "edit {i}");
        }
    }
}

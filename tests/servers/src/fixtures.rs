//! Reads the fixtures of `tests/fixtures`: snapshot repositories that real servers wrote, with the documents that
//! those servers returned for them. `cargo xtask fixtures` makes them.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Error, error::At};

/// A snapshot repository with what it should give.
#[derive(Debug)]
pub struct Fixture {
    /// The repository, exactly as the server wrote it.
    pub repo: PathBuf,
    /// Every live document of the newest snapshot.
    pub expected: Vec<ExpectedDoc>,
    /// Where it comes from.
    pub about: About,
}

/// A live document, as the server returned it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpectedDoc {
    /// The index; for a data stream, the stream.
    #[serde(rename = "_index")]
    pub index: String,
    /// The index of the data stream that holds the document.
    #[serde(rename = "_backing_index", default, skip_serializing_if = "Option::is_none")]
    pub backing_index: Option<String>,
    /// Its type, where the server's version has types.
    #[serde(rename = "_type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The document's id.
    #[serde(rename = "_id")]
    pub id: String,
    /// Its routing, if it was indexed with one.
    #[serde(rename = "_routing", default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<String>,
    /// The id of its parent, if it was indexed with one.
    #[serde(rename = "_parent", default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The text of its source; none where the index does not keep it.
    #[serde(rename = "_source", default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Box<RawValue>>,
    /// The source that was sent, where the index does not keep all of it, or not as a text.
    #[serde(rename = "_sent", default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Box<RawValue>>,
}

impl ExpectedDoc {
    /// The text of the source.
    #[must_use]
    pub fn source_text(&self) -> Option<&str> {
        self.source.as_deref().map(RawValue::get)
    }

    /// The index in the snapshot: that behind the data stream, if it is of one.
    #[must_use]
    pub fn snapshot_index(&self) -> &str {
        self.backing_index.as_deref().unwrap_or(&self.index)
    }
}

/// Where a fixture comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// `elasticsearch` or `opensearch`.
    pub product: String,
    /// The server's version.
    pub version: String,
    /// The version of its Lucene.
    pub lucene: String,
    /// The snapshots in the repository, the oldest first.
    pub snapshots: Vec<String>,
    /// The live documents of each index in the newest snapshot.
    pub live: BTreeMap<String, u64>,
    /// What the documents were made from.
    pub seed: u64,
}

/// The directory of all fixtures.
#[must_use]
pub fn fixtures_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// Reads the fixture `name`, such as `os-2.19.5`.
///
/// # Errors
/// When there is none of that name, or it can not be read.
pub fn fixture(name: &str) -> Result<Fixture, Error> {
    let dir = fixtures_dir().join(name);
    let about_file = dir.join("about.json");
    let bad = |path: &Path, e: serde_json::Error| Error::Content {
        place: path.display().to_string(),
        reason: e.to_string(),
    };
    let about =
        serde_json::from_slice(&fs::read(&about_file).at(&about_file)?).map_err(|e| bad(&about_file, e))?;
    let packed = dir.join("expected.ndjson.gz");
    let mut text = String::new();
    let file = fs::File::open(&packed).at(&packed)?;
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).at(&packed)?;
    let expected = text
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|e| bad(&packed, e)))
        .collect::<Result<_, _>>()?;
    Ok(Fixture { repo: dir.join("repo"), expected, about })
}

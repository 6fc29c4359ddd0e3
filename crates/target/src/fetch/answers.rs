//! The forms of a cluster's answers with documents. Pure: bytes in, documents out.

use crate::cluster::Shards;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What stands before a source in an answer. No string can hold it, since a quote in a string has a backslash before it.
const BEFORE_SOURCE: &[u8] = b"\"_source\":";
/// What stands behind the source of the only document of an answer.
const AFTER_SOURCE: &[u8] = b"}]}";

#[derive(Deserialize)]
struct MultiGot {
    docs: Vec<Raw>,
}

/// A document of an answer to `_mget`, as it is there.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "_index")]
    index: String,
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_routing", default)]
    routing: Option<String>,
    #[serde(default)]
    found: bool,
    #[serde(rename = "_source", default)]
    source: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<Box<RawValue>>,
}

/// A document of an answer to `_mget`.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) index: String,
    pub(crate) id: String,
    pub(crate) routing: Option<String>,
    pub(crate) found: bool,
    /// `_source`, byte for byte.
    pub(crate) source: Option<Vec<u8>>,
    /// Whether there is an error instead: the name that was asked stands for more than one index.
    pub(crate) failed: bool,
}

impl From<Raw> for Got {
    fn from(raw: Raw) -> Got {
        let source = raw.source.map(|source| Box::<str>::from(source).into_string().into_bytes());
        let Raw { index, id, routing, found, error, .. } = raw;
        Got { index, id, routing, found, source, failed: error.is_some() }
    }
}

/// Reads the answer to an `_mget` of so many documents. If it was asked for only one, its source need not be JSON.
pub(crate) fn documents(answer: &[u8], asked: usize) -> Result<Vec<Got>, serde_json::Error> {
    match serde_json::from_slice::<MultiGot>(answer) {
        Ok(got) => Ok(got.docs.into_iter().map(Got::from).collect()),
        Err(error) if asked == 1 => Ok(vec![cut_out(answer).ok_or(error)?]),
        Err(error) => Err(error),
    }
}

/// Whether these are the documents with these ids, in the same order.
pub(crate) fn are_those<'a>(got: &[Got], ids: impl ExactSizeIterator<Item = &'a str>) -> bool {
    got.len() == ids.len() && got.iter().zip(ids).all(|(got, id)| got.id == id)
}

/// The answer to a search for documents.
#[derive(Deserialize)]
pub(crate) struct Found {
    pub(crate) timed_out: bool,
    #[serde(rename = "_shards")]
    pub(crate) shards: Shards,
    pub(crate) hits: Hits,
}

/// What it found.
#[derive(Deserialize)]
pub(crate) struct Hits {
    pub(crate) hits: Vec<Hit>,
}

/// Where a document is.
#[derive(Deserialize)]
pub(crate) struct Hit {
    #[serde(rename = "_index")]
    pub(crate) index: String,
    #[serde(rename = "_id")]
    pub(crate) id: String,
    #[serde(rename = "_routing", default)]
    pub(crate) routing: Option<String>,
}

/// Returns the only document of an answer that is not JSON because of its source.
fn cut_out(answer: &[u8]) -> Option<Got> {
    let at = memchr::memmem::find(answer, BEFORE_SOURCE)? + BEFORE_SOURCE.len();
    let (before, rest) = answer.split_at(at);
    let source = rest.trim_ascii_end().strip_suffix(AFTER_SOURCE)?;
    let without = [before, b"null", AFTER_SOURCE].concat();
    let mut got: MultiGot = serde_json::from_slice(&without).ok()?;
    let document = got.docs.pop().filter(|_| got.docs.is_empty())?;
    Some(Got { source: Some(source.to_vec()), ..document.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_no_json_is_cut_out() {
        let source = b"{\"a\":1, /* \"_source\":}]} */ \"b\":\"\xed\xa0\x80\"}";
        let id = r#"\"_source\":"#;
        let before =
            format!(r#"{{"docs":[{{"_index":"i","_id":"{id}","_routing":"r","found":true,"_source":"#);
        let answer = [before.as_bytes(), source, b"}]}\n"].concat();
        let got = cut_out(&answer).unwrap();
        assert_eq!((got.id.as_str(), got.routing.as_deref(), got.found), ("\"_source\":", Some("r"), true));
        assert_eq!(got.source.as_deref(), Some(&source[..]));
        for other in ["<html>", "{\"docs\":[{\"_id\":\"1\",\"found\":false}]}", "\"_source\":{}}]}"] {
            assert!(cut_out(other.as_bytes()).is_none(), "{other}");
        }
    }
}

//! Routings that Elasticsearch 1 took from a field of the source (`_routing.path`) and did not store (`store: false`).
//!
//! The server looked for the first member at the path, whose names are separated by dots and are each a member of an object;
//! it looked into no array. It took the text of a string, number or boolean, and no routing from `null`. It refused a document
//! whose request gave another routing, so the source tells the routing of every document.

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The routing at a path of a source; `None` where the document has none.
///
/// # Errors
/// When the source is not a JSON object, or an object or array stands at the path, which no server took.
pub fn routing_at(source: &[u8], path: &str) -> Result<Option<String>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(source);
    let found = At(path).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(found.flatten())
}

/// Finds the value at this path of an object; the outer option is `None` where nothing is there.
struct At<'p>(&'p str);

type Found = Option<Option<String>>;

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Found;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Found, A::Error> {
        let (name, rest) = match self.0.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (self.0, None),
        };
        let mut found = None;
        while let Some(member) = members.next_key::<Cow<'de, str>>()? {
            if found.is_some() || member != name {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = members.next_value::<&'de RawValue>()?.get();
            found = match rest {
                None => Some(text(value).map_err(A::Error::custom)?),
                Some(rest) if value.starts_with('{') => {
                    let mut inner = serde_json::Deserializer::from_str(value);
                    inner.deserialize_map(At(rest)).map_err(A::Error::custom)?
                }
                Some(_) => None,
            };
        }
        Ok(found)
    }
}

/// The text of a value.
fn text(value: &str) -> Result<Option<String>, String> {
    match value.as_bytes().first() {
        Some(b'"') => serde_json::from_str(value).map(Some).map_err(|e| e.to_string()),
        Some(b'{' | b'[') => Err("an object or array stands where the routing is expected".to_owned()),
        _ if value == "null" => Ok(None),
        _ => Ok(Some(value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_at_the_path_is_the_routing() {
        for (source, path, routing) in [
            (r#"{"a":"x","b":"y"}"#, "b", Some("y")),
            (r#"{"a":{"b":"x"},"b":"y"}"#, "a.b", Some("x")),
            (r#"{"a":{"c":1},"a":{"b":"\u00e9"}}"#, "a.b", Some("é")),
            (r#"{"a":1.50}"#, "a", Some("1.50")),
            (r#"{"a":true}"#, "a", Some("true")),
            (r#"{"a":"x","a":"y"}"#, "a", Some("x")),
            (r#"{"a":null,"a":"y"}"#, "a", None),
            // Neither arrays nor names with dots are looked into.
            (r#"{"a":[{"b":"x"}],"a.b":"y"}"#, "a.b", None),
            ("{}", "a", None),
        ] {
            assert_eq!(routing_at(source.as_bytes(), path).unwrap().as_deref(), routing, "{source}");
        }
        for source in [r#"{"a":["x"]}"#, r#"{"a":{}}"#, r#"{"a":"x""#, r#"{"a":"x"} 1"#, "7", ""] {
            assert!(routing_at(source.as_bytes(), "a").is_err(), "{source}");
        }
    }
}

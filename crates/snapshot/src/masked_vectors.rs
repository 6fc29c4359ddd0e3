//! Vectors that OpenSearch's plugin k-NN (in indices with `index.knn.derived_source.enabled`) keeps out of the stored
//! `_source`, and puts in again when it is asked for a source.
//!
//! From 3.0 on a 1 stands in the place of each vector, and each segment says in the attributes of its `.si` file which fields
//! these are. Segments of 2.19 say it in the attributes of the fields, and nothing stands in the place of a vector there.

use std::collections::BTreeMap;

use serde_json::Value;

/// Names of the attributes, whose values are names of fields with commas between them.
const ATTRIBUTES: [&str; 2] = ["derived_vector_fields", "nested_derived_vector_fields"];
/// The attribute of a field whose vectors left nothing behind.
const REMOVED: &str = "knn-derived-source-enabled";

/// The fields of a segment whose vectors are not in its sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MaskedVectors {
    fields: Vec<String>,
    removed: bool,
}

impl MaskedVectors {
    /// Those of a segment with these attributes, whose fields have those; mostly none.
    pub fn of<'a>(
        attributes: &BTreeMap<String, String>,
        of_fields: impl IntoIterator<Item = &'a BTreeMap<String, String>>,
    ) -> Self {
        let lists = ATTRIBUTES.iter().filter_map(|name| attributes.get(*name));
        let fields = lists.flat_map(|list| list.split(',')).filter(|name| !name.is_empty());
        let removed = of_fields.into_iter().any(|own| own.get(REMOVED).is_some_and(|v| v == "true"));
        Self { fields: fields.map(str::to_owned).collect(), removed }
    }

    /// Whether any source may lack vectors without a trace of them.
    pub fn leave_no_trace(&self) -> bool {
        self.removed
    }

    /// A field whose vector is not in this source although it has one. A source that cannot be parsed may lack any.
    pub fn missing_in(&self, source: &[u8]) -> Option<&str> {
        let first = self.fields.first()?;
        match serde_json::from_slice::<Value>(source) {
            Ok(source) => self.fields.iter().find(|field| has(&source, field)).map(String::as_str),
            Err(_) => Some(first),
        }
    }
}

/// Whether an object, or any in a list, has a value at this path. Names may have dots in them.
fn has(value: &Value, path: &str) -> bool {
    match value {
        Value::Object(members) => {
            members.iter().any(|(name, value)| match path.strip_prefix(name.as_str()) {
                Some("") => !value.is_null(),
                Some(rest) => rest.strip_prefix('.').is_some_and(|rest| has(value, rest)),
                None => false,
            })
        }
        Value::Array(items) => items.iter().any(|item| has(item, path)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_lack_a_vector_are_told_from_those_that_have_none() {
        let list = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let none = MaskedVectors::of(&BTreeMap::from([list("mode", "BEST_SPEED")]), [&BTreeMap::new()]);
        assert_eq!((none.missing_in(b"{\"v\":1}"), none.leave_no_trace()), (None, false));
        let removed = [&BTreeMap::new(), &BTreeMap::from([list("knn-derived-source-enabled", "true")])];
        assert!(MaskedVectors::of(&BTreeMap::new(), removed).leave_no_trace());
        let attributes =
            [list("derived_vector_fields", "v,o.w"), list("nested_derived_vector_fields", "n.x")];
        let masked = MaskedVectors::of(&BTreeMap::from(attributes), []);
        for (source, missing) in [
            (&b"{\"v\":1}"[..], Some("v")),
            (b"{\"a\":1,\"o\":{\"w\":1}}", Some("o.w")),
            (b"{\"o.w\":1}", Some("o.w")),
            (b"{\"n\":[{\"y\":1},{\"x\":1}]}", Some("n.x")),
            (b"{\"v\":null,\"w\":1,\"o\":{\"v\":1},\"n\":[]}", None),
            (b"{\"o\":1,\"x\":1}", None),
            (b"no object", Some("v")),
        ] {
            assert_eq!(masked.missing_in(source), missing, "{}", String::from_utf8_lossy(source));
        }
    }
}

//! Vectors that OpenSearch's plugin k-NN (in indices with `index.knn.derived_source.enabled`) keeps out of the stored
//! `_source`, and puts in again when it is asked for a source.
//!
//! From 3.0 on a 1 stands in the place of each vector, and each segment says in the attributes of its `.si` file which fields
//! these are. Segments of 2.19 say it in the attributes of the fields, and nothing stands in the place of a vector there.
//!
//! k-NN 3.6 writes the names in lower case, whatever the fields are called, and then does not find fields with capitals itself:
//! the server answers with the mask, and the segments that it merges do not name these fields any more. So names are compared
//! without regard to case, and a 1 in the place of any field that the mapping has as a vector is a mask, too. That can only
//! withhold a document too many: one with a field whose name differs from that of a vector by nothing but its case.

use std::collections::BTreeMap;

use serde_json::Value;

/// Names of the attributes, whose values are names of fields with commas between them.
const ATTRIBUTES: [&str; 2] = ["derived_vector_fields", "nested_derived_vector_fields"];
/// The attribute of a field whose vectors left nothing behind.
const REMOVED: &str = "knn-derived-source-enabled";

/// The fields of a segment whose vectors are not in its sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MaskedVectors {
    /// Fields that the segment names, in lower case.
    fields: Vec<String>,
    /// Fields that the mapping has as vectors, in lower case.
    declared: Vec<String>,
    removed: bool,
}

impl MaskedVectors {
    /// Those of a segment with these attributes, whose fields have those, in an index with such fields `declared` (see
    /// [`Mappings::masked_vectors`](crate::index_metadata::Mappings::masked_vectors)); mostly none.
    pub fn of<'a>(
        attributes: &BTreeMap<String, String>,
        of_fields: impl IntoIterator<Item = &'a BTreeMap<String, String>>,
        declared: &[String],
    ) -> Self {
        let lists = ATTRIBUTES.iter().filter_map(|name| attributes.get(*name));
        let fields = lists.flat_map(|list| list.split(',')).filter(|name| !name.is_empty());
        let removed = of_fields.into_iter().any(|own| own.get(REMOVED).is_some_and(|v| v == "true"));
        let declared = declared.iter().map(|name| name.to_lowercase()).collect();
        Self { fields: fields.map(str::to_lowercase).collect(), declared, removed }
    }

    /// Whether any source may lack vectors without a trace of them.
    pub fn leave_no_trace(&self) -> bool {
        self.removed
    }

    /// A field whose vector is not in this source although it has one, its name in lower case. A source that cannot be
    /// parsed may lack any.
    pub fn missing_in(&self, source: &[u8]) -> Option<&str> {
        let first = self.fields.first().or(self.declared.first())?;
        let found = match serde_json::from_slice::<Value>(source) {
            Ok(source) => {
                let any = |value: &Value| !value.is_null();
                let mask = |value: &Value| value.as_u64() == Some(1);
                let mut named = self.fields.iter().filter(|field| has(&source, field, &any));
                let mut declared = self.declared.iter().filter(|field| has(&source, field, &mask));
                named.next().or_else(|| declared.next())
            }
            Err(_) => Some(first),
        };
        found.map(String::as_str)
    }
}

/// Whether an object, or any in a list, has such a value at this path, which is in lower case. Names may have dots in them.
fn has(value: &Value, path: &str, such: &impl Fn(&Value) -> bool) -> bool {
    match value {
        Value::Object(members) => {
            members.iter().any(|(name, value)| match path.strip_prefix(name.to_lowercase().as_str()) {
                Some("") => such(value),
                Some(rest) => rest.strip_prefix('.').is_some_and(|rest| has(value, rest, such)),
                None => false,
            })
        }
        Value::Array(items) => items.iter().any(|item| has(item, path, such)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_lack_a_vector_are_told_from_those_that_have_none() {
        let list = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let none = MaskedVectors::of(&BTreeMap::from([list("mode", "BEST_SPEED")]), [&BTreeMap::new()], &[]);
        assert_eq!((none.missing_in(b"{\"v\":1}"), none.leave_no_trace()), (None, false));
        let removed = [&BTreeMap::new(), &BTreeMap::from([list("knn-derived-source-enabled", "true")])];
        assert!(MaskedVectors::of(&BTreeMap::new(), removed, &[]).leave_no_trace());
        let attributes =
            [list("derived_vector_fields", "v,o.w"), list("nested_derived_vector_fields", "n.x")];
        let masked = MaskedVectors::of(&BTreeMap::from(attributes), [], &[]);
        let capitals = MaskedVectors::of(&BTreeMap::from([list("derived_vector_fields", "O.W")]), [], &[]);
        assert_eq!(capitals.missing_in(b"{\"O\":{\"W\":1}}"), Some("o.w"));
        let declared = MaskedVectors::of(&BTreeMap::new(), [], &["O.W".to_owned()]);
        assert_eq!(declared.missing_in(b"{\"O\":[{},{\"W\":1}]}"), Some("o.w"));
        assert_eq!(declared.missing_in(b"{\"O\":{\"W\":[1,1]}}"), None);
        for (source, missing) in [
            (&b"{\"v\":1}"[..], Some("v")),
            (b"{\"a\":1,\"o\":{\"w\":1}}", Some("o.w")),
            (b"{\"o.w\":1}", Some("o.w")),
            (b"{\"n\":[{\"y\":1},{\"x\":1}]}", Some("n.x")),
            (b"{\"v\":null,\"w\":1,\"o\":{\"v\":1},\"n\":[]}", None),
            (b"{\"o\":1,\"x\":1}", None),
            (b"no object", Some("v")),
            (b"{\"V\":1}", Some("v")),
            (b"{\"N\":{\"X\":1}}", Some("n.x")),
        ] {
            assert_eq!(masked.missing_in(source), missing, "{}", String::from_utf8_lossy(source));
        }
    }
}

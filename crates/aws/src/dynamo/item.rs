//! Items: how values are written to the table and read back from it.

use super::keys::Key;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use backfill::ports::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt::Display;
use std::io::Read;
use std::str::FromStr;

/// Names and values, as the SDK has them.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The version of all items; what has another one is not understood.
const VERSION: u64 = 1;

/// The largest item that DynamoDB takes, names included.
pub(super) const MAX_ITEM: usize = 400 << 10;

/// What a compressed record unpacks to, at most: a run over a hundred thousand indices is a tenth of it.
const MAX_RECORD: u64 = 512 << 20;

/// A text.
pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number.
pub(super) fn number(value: impl Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Bytes.
pub(super) fn bytes(value: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// An item of the current version with this key, which expires at `ttl` (seconds since the epoch).
pub(super) fn new_item(key: &Key, ttl: u64) -> Item {
    let mut item = key.attributes();
    item.insert("v".to_owned(), number(VERSION));
    item.insert("ttl".to_owned(), number(ttl));
    item
}

/// A record as compressed JSON.
pub(super) fn pack<T: Serialize>(what: &str, record: &T) -> Result<Vec<u8>, StoreError> {
    let invalid = |reason: String| StoreError::Invalid { what: what.to_owned(), reason };
    let json = serde_json::to_vec(record).map_err(|e| invalid(e.to_string()))?;
    zstd::bulk::compress(&json, 3).map_err(|e| invalid(e.to_string()))
}

/// The reverse of [`pack`].
pub(super) fn unpack<T: DeserializeOwned>(what: &str, packed: &[u8]) -> Result<T, StoreError> {
    let damaged = |reason: String| StoreError::Invalid {
        what: what.to_owned(),
        reason: format!("its record cannot be understood ({reason}); it is damaged or of another version"),
    };
    let mut json = Vec::new();
    let mut reader =
        zstd::stream::read::Decoder::new(packed).map_err(|e| damaged(e.to_string()))?.take(MAX_RECORD);
    reader.read_to_end(&mut json).map_err(|e| damaged(e.to_string()))?;
    serde_json::from_slice(&json).map_err(|e| damaged(e.to_string()))
}

/// The size of an item as DynamoDB counts it.
pub(super) fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(number) => number.len().div_ceil(2) + 1,
        AttributeValue::B(blob) => blob.as_ref().len(),
        AttributeValue::L(list) => 3 + list.iter().map(|v| 1 + value_size(v)).sum::<usize>(),
        AttributeValue::M(map) => 3 + map.iter().map(|(k, v)| 1 + k.len() + value_size(v)).sum::<usize>(),
        _ => 1,
    }
}

/// Refuses an item that DynamoDB would refuse, with what to do.
pub(super) fn check_size(what: &str, item: &Item, advice: &str) -> Result<(), StoreError> {
    let size = size(item);
    if size <= MAX_ITEM {
        return Ok(());
    }
    Err(StoreError::Invalid {
        what: what.to_owned(),
        reason: format!(
            "its record has {size} bytes, more than the {MAX_ITEM} of an item in DynamoDB; {advice}"
        ),
    })
}

/// Reads the attributes of one item.
pub(super) struct Reader<'a> {
    item: &'a Item,
    table: &'a str,
}

impl<'a> Reader<'a> {
    /// A reader of an item of the table, if it is of a version that is understood.
    pub(super) fn new(item: &'a Item, table: &'a str) -> Result<Reader<'a>, StoreError> {
        let reader = Reader { item, table };
        match reader.number::<u64>("v") {
            Ok(VERSION) => Ok(reader),
            Ok(other) => Err(reader.invalid(&format!(
                "it has version {other}, where {VERSION} was expected; a newer version of this program wrote it"
            ))),
            Err(error) => Err(error),
        }
    }

    /// The key, for messages.
    pub(super) fn name(&self) -> String {
        let part = |name: &str| match self.item.get(name) {
            Some(AttributeValue::S(text)) => text.clone(),
            _ => "?".to_owned(),
        };
        format!("the item {} / {} of table {}", part("pk"), part("sk"), self.table)
    }

    /// An error about the item.
    pub(super) fn invalid(&self, reason: &str) -> StoreError {
        StoreError::Invalid { what: self.name(), reason: reason.to_owned() }
    }

    /// The sort key.
    pub(super) fn sort_key(&self) -> Result<&'a str, StoreError> {
        self.text("sk")
    }

    /// A text that must be there.
    pub(super) fn text(&self, name: &str) -> Result<&'a str, StoreError> {
        self.optional_text(name)?.ok_or_else(|| self.invalid(&format!("{name} is missing")))
    }

    /// A text, if it is there.
    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&'a str>, StoreError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(_) => Err(self.invalid(&format!("{name} is not a text"))),
        }
    }

    /// A number that must be there.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<T, StoreError> {
        self.optional_number(name)?.ok_or_else(|| self.invalid(&format!("{name} is missing")))
    }

    /// A number, if it is there.
    pub(super) fn optional_number<T: FromStr>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let wrong = || self.invalid(&format!("{name} is not a number of the kind that was expected"));
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(number)) => number.parse().map(Some).map_err(|_| wrong()),
            Some(_) => Err(wrong()),
        }
    }

    /// Bytes, if they are there.
    pub(super) fn optional_bytes(&self, name: &str) -> Result<Option<&'a [u8]>, StoreError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::B(blob)) => Ok(Some(blob.as_ref())),
            Some(_) => Err(self.invalid(&format!("{name} is not bytes"))),
        }
    }

    /// Bytes that must be there.
    pub(super) fn bytes(&self, name: &str) -> Result<&'a [u8], StoreError> {
        self.optional_bytes(name)?.ok_or_else(|| self.invalid(&format!("{name} is missing")))
    }

    /// A list of texts; empty if it is not there.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, StoreError> {
        let wrong = || self.invalid(&format!("{name} is not a list of texts"));
        match self.item.get(name) {
            None => Ok(Vec::new()),
            Some(AttributeValue::L(list)) => {
                list.iter().map(|value| value.as_s().cloned().map_err(|_| wrong())).collect()
            }
            Some(_) => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_documentation() {
        let item: Item = [
            ("pk".to_owned(), text("run")),
            ("n".to_owned(), number(12_345)),
            ("l".to_owned(), AttributeValue::L(vec![text("ab")])),
            ("b".to_owned(), bytes(vec![0; 7])),
        ]
        .into();
        assert_eq!(size(&item), (2 + 3) + (1 + 4) + (1 + 3 + 1 + 2) + (1 + 7));
        let large: Item = [("b".to_owned(), bytes(vec![0; MAX_ITEM]))].into();
        let error = check_size("the plan of [i][0]", &large, "choose larger chunks").unwrap_err().to_string();
        assert!(error.contains("409601 bytes") && error.ends_with("choose larger chunks"), "{error}");
    }

    #[test]
    fn records_are_packed_and_damage_is_told() {
        let record = vec!["a".repeat(1000); 10];
        let packed = pack("x", &record).unwrap();
        assert!(packed.len() < 100);
        assert_eq!(unpack::<Vec<String>>("x", &packed).unwrap(), record);
        for damaged in [&packed[..20], b"", b"plain"] {
            let error = unpack::<Vec<String>>("run 7", damaged).unwrap_err().to_string();
            assert!(error.starts_with("run 7: its record cannot be understood"), "{error}");
        }
    }

    #[test]
    fn items_of_other_versions_or_kinds_are_refused() {
        let key = Key { pk: "p".to_owned(), sk: "s".to_owned() };
        let mut item = new_item(&key, 5);
        item.insert("t".to_owned(), text("x"));
        let reader = Reader::new(&item, "table").unwrap();
        assert_eq!((reader.number::<u64>("ttl").unwrap(), reader.text("t").unwrap()), (5, "x"));
        for error in [
            reader.text("v").map(drop),
            reader.text("absent").map(drop),
            reader.number::<u8>("t").map(drop),
            reader.bytes("t").map(drop),
            reader.texts("t").map(drop),
        ] {
            assert!(error.unwrap_err().to_string().starts_with("the item p / s of table table: "));
        }
        item.insert("v".to_owned(), number(2));
        let newer = Reader::new(&item, "table").err().unwrap().to_string();
        assert!(newer.contains("it has version 2"), "{newer}");
        item.remove("v");
        assert!(Reader::new(&item, "table").is_err());
    }
}

//! The table that a store of checkpoints in DynamoDB needs.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// An item of a table.
pub type Item = HashMap<String, AttributeValue>;

/// An item in the JSON of DynamoDB's protocol, from the kinds of values that a checkpoint has.
pub fn item_to_json(item: &Item) -> Value {
    let mut members: Vec<_> = item.iter().collect();
    members.sort_by_key(|(name, _)| name.as_str());
    members
        .into_iter()
        .map(|(name, value)| (name.clone(), value_to_json(value)))
        .collect::<Map<_, _>>()
        .into()
}

fn value_to_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::B(bytes) => json!({"B": STANDARD.encode(bytes.as_ref())}),
        AttributeValue::L(list) => json!({"L": list.iter().map(value_to_json).collect::<Vec<_>>()}),
        other => panic!("no checkpoint has {other:?}"),
    }
}

/// The reverse of [`item_to_json`].
pub fn item_from_json(item: &Value) -> Item {
    let members = item.as_object().unwrap().iter();
    members.map(|(name, value)| (name.clone(), value_from_json(value))).collect()
}

fn value_from_json(value: &Value) -> AttributeValue {
    let (kind, content) = value.as_object().unwrap().iter().next().unwrap();
    match (kind.as_str(), content) {
        ("S", Value::String(text)) => AttributeValue::S(text.clone()),
        ("N", Value::String(number)) => AttributeValue::N(number.clone()),
        ("B", Value::String(bytes)) => AttributeValue::B(Blob::new(STANDARD.decode(bytes).unwrap())),
        ("L", Value::Array(list)) => AttributeValue::L(list.iter().map(value_from_json).collect()),
        other => panic!("no checkpoint has {other:?}"),
    }
}

/// Writes these items to a table.
pub async fn put_items(client: &Client, table: &str, items: &[Value]) {
    for item in items {
        let request = client.put_item().table_name(table).set_item(Some(item_from_json(item)));
        request.send().await.unwrap();
    }
}

/// All items of a small table, by their keys.
pub async fn all_items(client: &Client, table: &str) -> Vec<Value> {
    let page = client.scan().table_name(table).send().await.unwrap();
    let mut items: Vec<Value> = page.items().iter().map(item_to_json).collect();
    items.sort_by_key(|item| (item["pk"]["S"].to_string(), item["sk"]["S"].to_string()));
    items
}

/// Makes a table of this name, with the keys that the template gives it.
pub async fn create_table(client: &Client, name: &str) {
    let mut request = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    for (attribute, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
        let definition = AttributeDefinition::builder()
            .attribute_name(attribute)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .unwrap();
        let key = KeySchemaElement::builder().attribute_name(attribute).key_type(kind).build().unwrap();
        request = request.attribute_definitions(definition).key_schema(key);
    }
    request.send().await.unwrap();
}

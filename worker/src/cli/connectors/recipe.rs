//! The recipe of a built-in connector: the Connector resource that applies where no object has its name.

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{credential, roles, yaml};
use crate::connectors::{CONNECTORS, Connector};

/// The recipes of all connectors, as one file.
pub(super) fn all() -> String {
    let head = "# The recipes of the built-in connectors, as `millrace connectors --recipes` prints them.\n";
    let recipes: Vec<String> = CONNECTORS.iter().map(yaml).collect();
    format!("{head}{}", recipes.join("---\n"))
}

/// The recipe of one connector.
pub(super) fn yaml(connector: &Connector) -> String {
    let mut spec =
        json!({ "type": connector.name, "description": connector.summary, "roles": roles(connector) });
    if !connector.credentials.is_empty() {
        spec["credentials"] = connector
            .credentials
            .iter()
            .map(|(name, variable)| credential(name, *variable))
            .collect();
    }
    spec["configSchema"] = Value::Object(config_schema(connector));
    let recipe = json!({
        "apiVersion": millrace_crds::API_VERSION,
        "kind": "Connector",
        "metadata": { "name": connector.name },
        "spec": spec,
    });
    recipe
        .as_object()
        .map(|recipe| yaml::block(recipe, 0))
        .unwrap_or_default()
}

/// The settings of the reading side.
pub(super) fn source_schema(connector: &Connector) -> Option<Map<String, Value>> {
    connector.source.as_ref().map(|side| schema(side.config))
}

/// The settings of the writing side.
pub(super) fn destination_schema(connector: &Connector) -> Option<Map<String, Value>> {
    connector.destination.as_ref().map(|side| schema(side.config))
}

/// One schema for both sides, since a recipe has one: what either side takes, and needs what both need. Each side
/// refuses what it does not know when it is opened.
fn config_schema(connector: &Connector) -> Map<String, Value> {
    match (source_schema(connector), destination_schema(connector)) {
        (Some(source), Some(destination)) => union(source, &destination),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => Map::new(),
    }
}

fn schema(of: fn(&mut SchemaGenerator) -> Schema) -> Map<String, Value> {
    let mut generator = SchemaSettings::draft07()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    let mut schema = of(&mut generator).to_value();
    simplify(&mut schema);
    match schema {
        Value::Object(mut schema) => {
            schema.entry("additionalProperties").or_insert(Value::Bool(false));
            schema.remove("description");
            schema.remove("title");
            schema.remove("$schema");
            schema
        }
        _ => Map::new(),
    }
}

/// Drops what says nothing to a person or a validator: widths of integers, defaults of null.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let width = |format: &Value| {
                format
                    .as_str()
                    .is_some_and(|f| f.starts_with("uint") || f.starts_with("int") || f == "double")
            };
            if map.get("format").is_some_and(width) {
                map.remove("format");
            }
            if map.get("default") == Some(&Value::Null) {
                map.remove("default");
            }
            map.values_mut().for_each(simplify);
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        _ => {}
    }
}

fn union(mut one: Map<String, Value>, other: &Map<String, Value>) -> Map<String, Value> {
    let needed = |schema: &Map<String, Value>| -> Vec<Value> {
        schema
            .get("required")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let both: Vec<Value> = needed(&one)
        .into_iter()
        .filter(|name| needed(other).contains(name))
        .collect();
    one.remove("required");
    let mut merged = Map::new();
    for (key, value) in one {
        if key == "properties" && !both.is_empty() {
            merged.insert("required".to_owned(), Value::Array(both.clone()));
        }
        merged.insert(key, value);
    }
    if let Some(properties) = merged.get_mut("properties").and_then(Value::as_object_mut) {
        let others = other
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        for (name, property) in others {
            match properties.get_mut(name) {
                Some(known) if !same(known, property) => {
                    *known = json!({ "anyOf": [known.clone(), property] })
                }
                Some(_) => {}
                None => {
                    properties.insert(name.clone(), property.clone());
                }
            }
        }
    }
    merged
}

/// The same values are allowed; what is said of them may differ.
fn same(one: &Value, other: &Value) -> bool {
    let bare = |value: &Value| {
        let mut value = value.clone();
        if let Some(map) = value.as_object_mut() {
            ["description", "title", "default"].iter().for_each(|key| {
                map.remove(*key);
            });
        }
        value
    };
    bare(one) == bare(other)
}

/// A manifest that uses the connector, with another one at the far end.
pub(super) fn manifest(connector: &Connector) -> String {
    let mut text = String::new();
    let name = yaml::flow(&connector.name.into());
    let source = if connector.source.is_some() {
        text += &format!(
            "apiVersion: {}\nkind: Source\nmetadata: {{ name: my-source }}\nspec:\n  connector: {{ name: {name} }}\n  connection: {}\n---\n",
            millrace_crds::API_VERSION,
            connector.example
        );
        "my-source"
    } else {
        "some-source"
    };
    let (destination, connection) = match &connector.destination {
        Some(_) => (name.as_str(), connector.example),
        None => ("stdout", ""),
    };
    text += &format!(
        "apiVersion: {}\nkind: Flow\nmetadata: {{ name: my-flow }}\nspec:\n  source: {{ name: {source} }}\n  destination:\n    connector: {{ name: {destination} }}\n",
        millrace_crds::API_VERSION
    );
    if !connection.is_empty() {
        text += &format!("    connection: {connection}\n");
    }
    text
}

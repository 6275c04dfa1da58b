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
    let (source, destination) = (source_schema(connector), destination_schema(connector));
    let own = source.is_some() && source != destination;
    spec["configSchema"] = Value::Object(source.or_else(|| destination.clone()).unwrap_or_default());
    if let Some(destination) = destination.filter(|_| own) {
        spec["destinationConfigSchema"] = Value::Object(destination);
    }
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

/// Drops what says nothing to a person: defaults of null, and the widths of integers, which become bounds. No bound
/// is beyond what a cluster's whole numbers hold.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let width = map.get("format").and_then(Value::as_str).unwrap_or_default();
            let most = match width {
                "uint8" | "uint16" => None,
                "uint32" => Some(u64::from(u32::MAX)),
                _ if width.starts_with("uint") => Some(i64::MAX.unsigned_abs()),
                _ => None,
            };
            if width.starts_with("uint") || width.starts_with("int") || width == "double" {
                map.remove("format");
            }
            if let Some(most) = most {
                map.entry("maximum").or_insert_with(|| most.into());
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

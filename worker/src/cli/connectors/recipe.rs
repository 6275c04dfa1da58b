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

/// Manifests that use the connector, each whole by itself, with a plain one at the far end: what it shows, and its text.
pub(super) fn manifests(connector: &Connector) -> Vec<(&'static str, String)> {
    let name = yaml::flow(&connector.name.into());
    let source = connector.source.as_ref().map(|side| {
        let from = (name.as_str(), side.example);
        ("A manifest that reads from it", manifest(from, ("stdout", "")))
    });
    let destination = connector.destination.as_ref().map(|side| {
        let from = ("generator", "{ rows: 1000 }");
        let to = (name.as_str(), side.example);
        ("A manifest that writes to it", manifest(from, to))
    });
    source.into_iter().chain(destination).collect()
}

/// A Source and a Flow from it: of each end the connector, and its connection.
fn manifest((source, from): (&str, &str), (destination, to): (&str, &str)) -> String {
    let api = millrace_crds::API_VERSION;
    let mut text = format!(
        "apiVersion: {api}\nkind: Source\nmetadata: {{ name: my-source }}\nspec:\n  connector: {{ name: {source} }}\n  connection: {from}\n---\n\
         apiVersion: {api}\nkind: Flow\nmetadata: {{ name: my-flow }}\nspec:\n  source: {{ name: my-source }}\n  destination:\n    connector: {{ name: {destination} }}\n"
    );
    if !to.is_empty() {
        text += &format!("    connection: {to}\n");
    }
    text
}

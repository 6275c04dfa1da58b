//! The table itself: names, schemas, examples, recipes.

use std::collections::BTreeSet;

use millrace_crds::{builtin, connector::Role};
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::ground::system;
use crate::{
    connector::System,
    connectors::{CONNECTORS, Connector},
    error::Result,
};

fn schema(config: fn(&mut SchemaGenerator) -> Schema) -> Value {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let mut schema = config(&mut generator).to_value();
    let definitions = generator.take_definitions(true);
    schema["$defs"] = Value::Object(definitions.into_iter().collect::<Map<_, _>>());
    schema
}

fn schemas(connector: &'static Connector) -> Vec<Value> {
    sides(connector).into_iter().map(|(schema, ..)| schema).collect()
}

type Open = Box<dyn Fn(System) -> Result<()>>;

/// Of each side its schema, its example, and whether it can be made.
fn sides(connector: &'static Connector) -> Vec<(Value, Map<String, Value>, Open)> {
    let example = |text: &str| -> Map<String, Value> {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", connector.name))
    };
    let source = connector.source.as_ref().map(|side| {
        let open: Open = Box::new(|system| (side.open)(system).map(drop));
        (schema(side.config), example(side.example), open)
    });
    let destination = connector.destination.as_ref().map(|side| {
        let open: Open = Box::new(|system| (side.open)(system).map(drop));
        (schema(side.config), example(side.example), open)
    });
    source.into_iter().chain(destination).collect()
}

#[test]
fn names_are_unique_and_lower_case() {
    let names: BTreeSet<_> = CONNECTORS.iter().map(|connector| connector.name).collect();
    assert_eq!(names.len(), CONNECTORS.len());
    for connector in CONNECTORS {
        assert!(
            connector
                .name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
            "{}",
            connector.name
        );
        assert!(
            !connector.summary.is_empty() && !connector.summary.ends_with('.'),
            "{}",
            connector.name
        );
        assert!(
            connector.source.is_some() || connector.destination.is_some(),
            "{}",
            connector.name
        );
    }
}

#[test]
fn every_field_of_a_configuration_is_explained() {
    fn check(connector: &str, path: &str, value: &Value) {
        let fields = value
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        for (name, field) in fields {
            let text = field
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or_default();
            assert!(!text.is_empty(), "{connector}: {path}{name} has no doc comment");
            check(connector, &format!("{path}{name}."), field);
        }
        for (name, definition) in value
            .get("$defs")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            check(connector, &format!("{name}."), definition);
        }
    }
    for connector in CONNECTORS {
        schemas(connector)
            .iter()
            .for_each(|schema| check(connector.name, "", schema));
    }
}

#[test]
fn examples_fit_their_schemas_and_open() {
    for connector in CONNECTORS {
        for (schema, example, open) in sides(connector) {
            let value = Value::Object(example.clone());
            let fits = jsonschema::draft202012::new(&schema).unwrap().is_valid(&value);
            assert!(fits, "{}: {value}", connector.name);
            let opened = open(system(connector.name, example));
            assert!(opened.is_ok(), "{}: {opened:?}", connector.name);
        }
    }
}

#[test]
fn an_unknown_setting_is_refused_by_name() {
    for connector in CONNECTORS {
        for (schema, mut example, open) in sides(connector) {
            example.insert("colour".to_owned(), "blue".into());
            let value = Value::Object(example.clone());
            if jsonschema::draft202012::new(&schema).unwrap().is_valid(&value) {
                // A system whose settings are read by several parts says itself which it does not know.
                continue;
            }
            if let Err(error) = open(system(connector.name, example)) {
                assert!(error.message.contains("colour"), "{}: {error}", connector.name);
            }
        }
    }
}

#[test]
fn every_connector_has_a_recipe_with_its_roles_and_credentials() {
    for connector in CONNECTORS {
        let recipe = builtin()
            .iter()
            .find(|recipe| recipe.metadata.name.as_deref() == Some(connector.name));
        let spec = &recipe
            .unwrap_or_else(|| panic!("{} has no recipe", connector.name))
            .spec;
        assert_eq!(
            spec.roles.contains(&Role::Source),
            connector.source.is_some(),
            "{}: source",
            connector.name
        );
        assert_eq!(
            spec.roles.contains(&Role::Destination),
            connector.destination.is_some(),
            "{}: destination",
            connector.name
        );
        let asked = spec.credentials.iter().map(|credential| credential.name.as_str());
        for name in asked {
            assert!(
                connector.credentials.iter().any(|(known, _)| *known == name),
                "{}: {name}",
                connector.name
            );
        }
    }
}

//! The table, the recipes and the pages that are made from it.

use serde_json::{Value, json};

use super::{kind, markdown, page, recipe, wrapped};
use crate::connectors::CONNECTORS;

#[test]
fn every_recipe_is_a_connector_that_a_cluster_would_take() {
    for connector in CONNECTORS {
        let text = recipe::yaml(connector);
        let read = millrace_crds::manifest::parse("recipe.yaml", &text);
        assert!(read.is_ok(), "{}: {:?}\n{text}", connector.name, read.err());
    }
}

#[test]
fn the_recipes_that_come_with_the_resolver_are_these() {
    let kept = include_str!("../../../../crds/recipes.yaml");
    assert!(
        kept == recipe::all(),
        "crds/recipes.yaml is old: write `millrace connectors --recipes` to it"
    );
}

#[test]
fn every_setting_is_described() {
    for connector in CONNECTORS {
        for schema in [
            recipe::source_schema(connector),
            recipe::destination_schema(connector),
        ]
        .into_iter()
        .flatten()
        {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                assert!(property["description"].is_string(), "{}: {name}", connector.name);
            }
        }
    }
}

#[test]
fn every_connector_has_a_page_and_a_line() {
    for connector in CONNECTORS {
        assert!(page(connector).contains("kind: Flow"), "{}", connector.name);
        assert!(markdown().contains(&format!("| `{}` |", connector.name)));
    }
}

#[test]
fn types_are_told_in_words() {
    let words = |schema: Value| kind(&schema);
    assert_eq!(words(json!({ "type": ["string", "null"] })), "string");
    assert_eq!(
        words(json!({ "type": "array", "items": { "type": "string" } })),
        "list of string"
    );
    assert_eq!(
        words(json!({ "oneOf": [{ "const": "csv", "type": "string" }, { "const": "parquet" }] })),
        "csv | parquet"
    );
    assert_eq!(
        words(json!({ "anyOf": [{ "enum": ["zstd", "gzip"] }, { "type": "null" }] })),
        "zstd | gzip"
    );
}

#[test]
fn long_descriptions_are_wrapped() {
    let text = wrapped(&"word ".repeat(40));
    assert!(
        text.lines().count() > 2 && text.lines().all(|line| line.len() <= 70),
        "{text}"
    );
}

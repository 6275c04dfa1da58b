//! The kinds as a cluster sees them: names, columns, schemas and rules.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::draft7;
use serde_json::{Value, json};

use super::*;

/// One resource of each kind, with every field that there is.
pub(crate) const EXAMPLE: &str = include_str!("tests/example.yaml");

/// The environment in which [`EXAMPLE`] resolves at a desk.
pub(crate) fn environment() -> Setting {
    let names = ["PGPASSWORD", "AWS_SECRET_ACCESS_KEY"];
    Setting::Local {
        environment: names.map(|name| (name.to_owned(), "canary".to_owned())).into(),
    }
}

#[test]
fn kinds_have_their_names() {
    let names = |crd: &CustomResourceDefinition| {
        let names = &crd.spec.names;
        let categories = names.categories.clone().unwrap_or_default();
        (
            names.kind.clone(),
            names.plural.clone(),
            names.short_names.clone().unwrap_or_default(),
            crd.spec.scope.clone(),
            categories,
        )
    };
    let all: Vec<_> = crds().iter().map(names).collect();
    let expected = [
        ("Connector", "connectors", "mrc", "Cluster"),
        ("Source", "sources", "mrs", "Namespaced"),
        ("Flow", "flows", "mrf", "Namespaced"),
        ("Job", "jobs", "mrj", "Namespaced"),
    ]
    .map(|(kind, plural, short, scope)| {
        (
            kind.to_owned(),
            plural.to_owned(),
            vec![short.to_owned()],
            scope.to_owned(),
            vec!["millrace".to_owned()],
        )
    });
    assert_eq!(all, expected);
    for crd in crds() {
        assert_eq!(crd.spec.group, GROUP);
        assert_eq!(crd.spec.versions[0].name, VERSION);
        assert!(
            crd.spec.versions[0]
                .subresources
                .as_ref()
                .unwrap()
                .status
                .is_some()
        );
    }
}

#[test]
fn columns_say_whether_it_is_well_how_far_and_how_late() {
    let columns = |crd: &CustomResourceDefinition| -> Vec<String> {
        crd.spec.versions[0]
            .additional_printer_columns
            .iter()
            .flatten()
            .map(|column| column.name.clone())
            .collect()
    };
    let all: BTreeMap<_, _> = crds()
        .iter()
        .map(|crd| (crd.spec.names.kind.clone(), columns(crd).join(", ")))
        .collect();
    assert_eq!(all["Connector"], "Type, Roles, Engine, Ready, Reason, Age");
    assert_eq!(
        all["Source"],
        "Ready, Connector, Engine, Streams, Flows, Full, Delta, Reason, Age"
    );
    assert_eq!(
        all["Flow"],
        "Ready, Source, Mode, Guarantee, Last Run, Loaded, Next, Reason, Schedule, Age"
    );
    assert_eq!(
        all["Job"],
        "Flow, Load, Succeeded, Reason, Read, Refused, Started, Completed, Age"
    );
}

#[test]
fn every_field_is_described() {
    fn walk(schema: &Value, path: &str) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(
                field["description"].as_str().is_some_and(|text| text.len() > 5),
                "{path} has no description"
            );
            walk(field, &path);
            walk(&field["items"], &path);
        }
    }
    for crd in crds() {
        walk(
            &strict::structural(&crd)["properties"]["spec"],
            &crd.spec.names.kind,
        );
        walk(
            &strict::structural(&crd)["properties"]["status"],
            &crd.spec.names.kind,
        );
    }
}

#[test]
fn schemas_are_structural() {
    fn walk(schema: &Value, path: &str) {
        let Some(map) = schema.as_object() else { return };
        assert!(!map.contains_key("$ref") && !map.contains_key("oneOf"), "{path}");
        let open = map.contains_key("x-kubernetes-preserve-unknown-fields")
            || map.contains_key("x-kubernetes-int-or-string");
        assert!(map.contains_key("type") || open, "{path} has no type");
        schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .for_each(|(name, field)| walk(field, &format!("{path}.{name}")));
        walk(&schema["items"], &format!("{path}[]"));
        walk(&schema["additionalProperties"], &format!("{path}.*"));
    }
    for crd in crds() {
        walk(&strict::structural(&crd), &crd.spec.names.kind);
    }
}

#[test]
fn the_crds_stay_small() {
    for crd in crds() {
        let size = serde_json::to_vec(&crd).unwrap().len();
        assert!(
            size < 200_000,
            "{} has {size} bytes, and kubectl apply keeps a copy in an annotation",
            crd.spec.names.kind
        );
    }
}

#[test]
fn editors_get_one_schema_for_all_kinds() {
    let schema = json_schema();
    let validator = draft7::new(&schema).unwrap();
    for text in EXAMPLE.split("\n---\n") {
        let value: Value = serde_saphyr::from_str(text).unwrap();
        assert!(validator.is_valid(&value), "{}", value["kind"]);
    }
    let wrong = json!({ "apiVersion": API_VERSION, "kind": "Flow", "metadata": { "name": "a" }, "spec": { "sourse": {} } });
    assert!(!validator.is_valid(&wrong));
}

#[test]
fn recipes_are_sound_and_go_back_to_clean_yaml() {
    let names: BTreeSet<_> = builtin()
        .iter()
        .filter_map(|recipe| recipe.metadata.name.as_deref())
        .collect();
    assert_eq!(names.len(), builtin().len(), "each has a name of its own");
    assert!(names.contains("file"), "{names:?}");
    for recipe in builtin() {
        let text = serde_saphyr::to_string(recipe).unwrap();
        assert!(
            !text.contains("null\n") || recipe.metadata.name.as_deref() == Some("null"),
            "{text}"
        );
        assert_eq!(
            manifest::parse("recipe.yaml", &text).unwrap().connectors[0].object,
            *recipe
        );
    }
}

mod rules;

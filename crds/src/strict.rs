//! JSON Schemas of the kinds, as strict as `kubectl apply`: a field that no kind has is an error.
//!
//! In: the structural schemas of the custom resource definitions, which the API server prunes by. Out:
//! one schema a kind for checking manifests, and one for editors.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};

use crate::{API_VERSION, crds};

/// One JSON Schema for all kinds, for editors: completion, descriptions, and marks under mistakes.
#[must_use]
pub fn json_schema() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Millrace resources",
        "oneOf": crds().iter().map(strict).collect::<Vec<_>>(),
    })
}

/// The structural schema of a kind, as the API server has it.
pub(crate) fn structural(crd: &CustomResourceDefinition) -> Value {
    let schema = crd
        .spec
        .versions
        .first()
        .and_then(|version| version.schema.as_ref());
    schema.map_or(Value::Null, |schema| json!(schema.open_api_v3_schema))
}

/// The strict schema of a kind.
pub(crate) fn strict(crd: &CustomResourceDefinition) -> Value {
    let mut schema = structural(crd);
    tighten(&mut schema);
    let kind = &crd.spec.names.kind;
    schema["properties"]["apiVersion"] = json!({ "type": "string", "const": API_VERSION });
    schema["properties"]["kind"] = json!({ "type": "string", "const": kind });
    schema["properties"]["metadata"] = metadata(kind);
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    schema
}

/// Closes objects, and says what is nullable in the words of JSON Schema.
fn tighten(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(tighten);
            close(map);
            nullable(map);
            map.retain(|key, _| !key.starts_with("x-kubernetes-") && key != "format");
        }
        Value::Array(items) => items.iter_mut().for_each(tighten),
        _ => {}
    }
}

fn close(map: &mut Map<String, Value>) {
    let open = map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if map.get("type") == Some(&json!("object")) && !open {
        map.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    if map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        map.insert("type".to_owned(), json!(["integer", "string"]));
    }
}

fn nullable(map: &mut Map<String, Value>) {
    if map.remove("nullable") != Some(Value::Bool(true)) {
        return;
    }
    if let Some(Value::String(name)) = map.get("type").cloned() {
        map.insert("type".to_owned(), json!([name, "null"]));
    }
    if let Some(Value::Array(options)) = map.get_mut("enum") {
        options.push(Value::Null);
    }
}

/// What a manifest's metadata may hold. Fields that the API server fills in are let through, so that
/// what `kubectl get -o yaml` prints can be read.
fn metadata(kind: &str) -> Value {
    let text = json!({ "type": ["string", "null"] });
    let texts = json!({ "type": ["object", "null"], "additionalProperties": { "type": "string" } });
    let required = if kind == "Job" { json!([]) } else { json!(["name"]) };
    json!({
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": {
            "name": name(253),
            "generateName": { "type": "string", "minLength": 1, "maxLength": 247, "pattern": "^[a-z0-9]([-a-z0-9.]*)$" },
            "namespace": name(63),
            "labels": texts, "annotations": texts, "finalizers": {}, "ownerReferences": {}, "managedFields": {},
            "uid": text, "resourceVersion": text, "creationTimestamp": text, "deletionTimestamp": text,
            "deletionGracePeriodSeconds": {}, "generation": {}, "selfLink": {},
        }
    })
}

fn name(longest: u32) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": longest, "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" })
}

//! `Secret`s and `ConfigMap`s among the manifests, for local runs. No finding quotes a value.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde_json::Value;

use crate::problem::{Reason, Report, below};
use crate::suggest;

const SECRET: [&str; 7] = [
    "apiVersion",
    "kind",
    "metadata",
    "type",
    "immutable",
    "data",
    "stringData",
];
const CONFIG_MAP: [&str; 6] = [
    "apiVersion",
    "kind",
    "metadata",
    "immutable",
    "data",
    "binaryData",
];

/// The values of a Secret; `stringData` lies over `data`, as in a cluster.
pub(super) fn secret(value: &Value, report: &mut Report<'_>) -> BTreeMap<String, Vec<u8>> {
    unknown_fields(value, &SECRET, report);
    let mut values = part(value, "data", report, encoded);
    values.extend(part(value, "stringData", report, plain));
    values
}

/// The texts of a ConfigMap.
pub(super) fn config_map(value: &Value, report: &mut Report<'_>) -> BTreeMap<String, Vec<u8>> {
    unknown_fields(value, &CONFIG_MAP, report);
    let mut values = part(value, "data", report, plain);
    values.extend(part(value, "binaryData", report, encoded));
    values
}

fn unknown_fields(value: &Value, known: &[&str], report: &mut Report<'_>) {
    for key in value.as_object().into_iter().flat_map(|map| map.keys()) {
        if !known.contains(&key.as_str()) {
            let advice = suggest::advice(key, known.iter().copied(), "known here are");
            report.error(Reason::InvalidSpec, key, "there is no such field", advice);
        }
    }
}

fn plain(value: &Value) -> Result<Vec<u8>, &'static str> {
    value
        .as_str()
        .map(|text| text.as_bytes().to_vec())
        .ok_or("the value is not text; write it in quotes")
}

fn encoded(value: &Value) -> Result<Vec<u8>, &'static str> {
    let bytes: Result<ByteString, _> = serde_json::from_value(value.clone());
    bytes
        .map(|bytes| bytes.0)
        .map_err(|_| "the value is not base64; write plain text under stringData")
}

fn part(
    value: &Value,
    field: &str,
    report: &mut Report<'_>,
    decode: fn(&Value) -> Result<Vec<u8>, &'static str>,
) -> BTreeMap<String, Vec<u8>> {
    let mut values = BTreeMap::new();
    for (key, value) in value[field].as_object().into_iter().flatten() {
        match decode(value) {
            Ok(bytes) => drop(values.insert(key.clone(), bytes)),
            Err(problem) => {
                let (message, advice) = problem.split_once("; ").unwrap_or((problem, ""));
                report.error(Reason::InvalidSpec, &below(field, key), message, advice);
            }
        }
    }
    values
}

//! Every rule of the kinds, once accepted and once refused, without an API server.

use kube::core::cel::Validator;
use serde_json::{Map, Value, json};

use super::*;

fn spec(kind: &str, spec: &Value) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": kind, "metadata": { "name": "a" }, "spec": spec })
}

/// The messages of the rules that an object breaks, or a change from an older one.
fn broken(kind: &str, new: &Value, old: Option<&Value>) -> Vec<String> {
    let crd = crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)
        .unwrap();
    let old = old.map(|old| spec(kind, old));
    let result =
        Validator::new().validate_with_defaults(&strict::structural(&crd), &spec(kind, new), old.as_ref());
    result
        .err()
        .into_iter()
        .flat_map(kube::core::cel::ValidationErrors::into_vec)
        .map(|error| error.message)
        .collect()
}

/// `base` with some fields over it.
fn with(base: &Value, over: &Value) -> Value {
    let fields = [base, over]
        .into_iter()
        .flat_map(|value| value.as_object().unwrap().clone());
    Value::Object(fields.collect::<Map<_, _>>())
}

fn accepts(kind: &str, specs: &[Value]) {
    for spec in specs {
        assert_eq!(broken(kind, spec, None), [""; 0], "{spec}");
    }
}

fn refuses(kind: &str, message: &str, specs: &[Value]) {
    for spec in specs {
        assert_eq!(broken(kind, spec, None), [message], "{spec}");
    }
}

#[test]
fn a_connector_runs_by_an_engine_that_it_has() {
    let base = json!({ "type": "x", "roles": ["source"] });
    let over = |engine: &str| {
        with(
            &base,
            &json!({ "defaultEngine": engine, "engines": { "native": {} } }),
        )
    };
    accepts("Connector", &[base.clone(), over("native")]);
    refuses(
        "Connector",
        "defaultEngine must be one of the keys of engines",
        &[over("singer")],
    );
}

#[test]
fn a_rate_is_more_than_nothing() {
    let limited = |rate: Value| json!({ "type": "x", "roles": ["source"], "rateLimit": { "requestsPerSecond": rate, "burst": 1 } });
    accepts("Connector", &[limited(json!(0.5)), limited(json!(20))]);
    refuses(
        "Connector",
        "must be more than zero; leave rateLimit out for no limit",
        &[limited(json!(0.0))],
    );
}

#[test]
fn a_source_names_what_reads() {
    accepts(
        "Source",
        &[
            json!({ "connector": { "name": "file" } }),
            json!({ "reader": "a.py:A" }),
        ],
    );
    refuses(
        "Source",
        "name a connector, a custom reader, or a reader on top of a connector",
        &[json!({ "connection": {} })],
    );
}

#[test]
fn a_credential_has_one_place() {
    let given = |over: Value| json!({ "reader": "a.py:A", "credentials": [with(&json!({ "name": "password" }), &over)] });
    let secret = json!({ "name": "a", "key": "b" });
    accepts(
        "Source",
        &[
            given(json!({ "secret": secret })),
            given(json!({ "env": "A" })),
            given(json!({ "file": "a" })),
        ],
    );
    let message =
        "say where the credential is found by exactly one of secret, env (local runs) and file (local runs)";
    refuses(
        "Source",
        message,
        &[
            given(json!({})),
            given(json!({ "env": "A", "file": "a" })),
            given(json!({ "env": "A", "secret": secret })),
        ],
    );
}

#[test]
fn intervals_are_more_than_zero() {
    let given = |field: &str, text: &str| json!({ "reader": "a.py:A", field: text });
    for (field, word) in [("fullLoadInterval", "full"), ("deltaLoadInterval", "delta")] {
        accepts(
            "Source",
            &[
                given(field, "500ms"),
                given(field, "1h30m"),
                given(field, "999999h"),
            ],
        );
        let message = format!("must be more than zero; leave the field out for no {word} loads by interval");
        refuses("Source", &message, &[given(field, "0s"), given(field, "0h0m")]);
    }
}

#[test]
fn a_stream_rule_is_of_one_mind() {
    let given = |stream: Value| json!({ "reader": "a.py:A", "streams": [stream] });
    let schema = json!([{ "name": "id", "logicalType": "integer" }]);
    accepts(
        "Source",
        &[
            given(json!({ "name": "a", "schema": schema, "cursorField": "x" })),
            given(json!({ "match": "a.*", "schemaRef": "a.yaml#a", "cursorFields": ["x", "y"] })),
        ],
    );
    let which = "say which streams by exactly one of name and match";
    refuses(
        "Source",
        which,
        &[given(json!({})), given(json!({ "name": "a", "match": "b" }))],
    );
    let both = given(json!({ "name": "a", "schema": schema, "schemaRef": "a.yaml" }));
    refuses(
        "Source",
        "give the schema by at most one of schema and schemaRef",
        &[both],
    );
    let both = given(json!({ "name": "a", "cursorField": "x", "cursorFields": ["y"] }));
    refuses(
        "Source",
        "give the cursor by at most one of cursorField and cursorFields",
        &[both],
    );
}

fn flow(over: &Value) -> Value {
    with(
        &json!({ "source": { "name": "shop" }, "destination": { "connector": { "name": "file" } } }),
        over,
    )
}

#[test]
fn a_flow_names_what_writes() {
    accepts(
        "Flow",
        &[
            flow(&json!({})),
            flow(&json!({ "destination": { "writer": "a.py:A" } })),
        ],
    );
    let message = "name a connector, a custom writer, or a writer on top of a connector";
    refuses(
        "Flow",
        message,
        &[flow(&json!({ "destination": { "writeMode": "append" } }))],
    );
}

#[test]
fn a_schedule_is_for_bounded_runs() {
    let schedule = "0 3 * * *";
    accepts(
        "Flow",
        &[
            flow(&json!({ "mode": "Continuous" })),
            flow(&json!({ "schedule": schedule, "scheduleLoad": "Full", "timeZone": "Europe/Stockholm" })),
        ],
    );
    let message = "a Continuous flow has no schedule; leave schedule out, or write mode: Batch";
    refuses(
        "Flow",
        message,
        &[flow(&json!({ "mode": "Continuous", "schedule": schedule }))],
    );
    refuses(
        "Flow",
        "scheduleLoad needs a schedule",
        &[flow(&json!({ "scheduleLoad": "Full" }))],
    );
    refuses(
        "Flow",
        "timeZone needs a schedule",
        &[flow(&json!({ "timeZone": "UTC" }))],
    );
}

#[test]
fn state_has_one_store_and_keeps_its_name() {
    let state = |state: Value| flow(&json!({ "state": state }));
    accepts(
        "Flow",
        &[
            state(json!({})),
            state(json!({ "configMap": {} })),
            state(json!({ "s3": { "bucket": "b" } })),
        ],
    );
    let message = "choose at most one of configMap, s3 and directory (local runs)";
    refuses(
        "Flow",
        message,
        &[state(json!({ "configMap": {}, "directory": "d" }))],
    );
    let message =
        "state.id cannot change, since the positions lie under it; make a new Flow to start under another";
    let (a, b, none) = (
        state(json!({ "id": "a" })),
        state(json!({ "id": "b" })),
        flow(&json!({})),
    );
    assert_eq!(broken("Flow", &a, Some(&a)), [""; 0]);
    assert_eq!(broken("Flow", &none, Some(&none)), [""; 0]);
    for (new, old) in [(&b, &a), (&none, &a), (&a, &none)] {
        assert_eq!(broken("Flow", new, Some(old)), [message]);
    }
}

#[test]
fn a_job_runs_one_flow() {
    let named = json!({ "flow": { "name": "lake" }, "load": "Full" });
    let inline = json!({ "flowTemplate": { "spec": flow(&json!({})) }, "load": "Delta" });
    accepts("Job", &[named.clone(), inline]);
    let message = "say what to run by exactly one of flow and flowTemplate";
    let both = with(&named, &json!({ "flowTemplate": { "spec": flow(&json!({})) } }));
    refuses("Job", message, &[json!({ "load": "Full" }), both]);
    let backfill = json!({ "load": "Backfill", "backfill": { "from": "1", "to": "2" } });
    accepts("Job", &[with(&named, &backfill)]);
    let message = "load: Backfill needs backfill with from and to";
    refuses("Job", message, &[with(&named, &json!({ "load": "Backfill" }))]);
    accepts("Job", &[with(&named, &json!({ "deadline": "2h" }))]);
    let message = "must be at least 1s; leave the field out for no deadline";
    refuses("Job", message, &[with(&named, &json!({ "deadline": "500ms" }))]);
}

#[test]
fn a_job_stays_the_run_that_it_is() {
    let job = json!({ "flow": { "name": "lake" }, "load": "Full" });
    assert_eq!(
        broken("Job", &with(&job, &json!({ "ttl": "1h" })), Some(&job)),
        [""; 0]
    );
    let other = with(&job, &json!({ "load": "Delta" }));
    assert_eq!(
        broken("Job", &other, Some(&job)),
        ["load cannot change: a Job is one run; create another"]
    );
    let other = with(&job, &json!({ "flow": { "name": "sea" } }));
    assert_eq!(
        broken("Job", &other, Some(&job)),
        ["flow cannot change: a Job is one run; create another"]
    );
}

#[test]
fn no_rule_is_left_untested() {
    fn count(schema: &Value) -> usize {
        let own = schema["x-kubernetes-validations"].as_array().map_or(0, Vec::len);
        let parts = schema
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| *key != "x-kubernetes-validations");
        own + parts.map(|(_, part)| count(part)).sum::<usize>()
            + schema.as_array().into_iter().flatten().map(count).sum::<usize>()
    }
    let rules: Vec<_> = crds().iter().map(|crd| count(&strict::structural(crd))).collect();
    // A new rule belongs in a test above, and then here. A Job holds all rules of a Flow once more.
    assert_eq!(rules, [2, 7, 8, 13]);
}

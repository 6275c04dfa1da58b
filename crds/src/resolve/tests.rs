use serde_json::{Value, json};

use super::*;
use crate::common::Settings;
use crate::job::Load;
use crate::manifest::parse;
use crate::plan::{Credential, CredentialPlace, StateStorePlan, StreamSelect};
use crate::source::RecipeOrigin;
use crate::tests::{EXAMPLE, environment};
use crate::{Duration, builtin};

/// A Source on lines 1 to 5 and a Flow on lines 7 to 12, to which tests add fields.
const SOURCE: &str = "apiVersion: millrace.dev/v1alpha1\nkind: Source\nmetadata: { name: shop }\nspec:\n";
const FLOW: &str = "apiVersion: millrace.dev/v1alpha1\nkind: Flow\nmetadata: { name: lake, labels: { team: sea } }\nspec:\n  source: { name: shop }\n";
const JOB: &str = "apiVersion: millrace.dev/v1alpha1\nkind: Job\nmetadata: { name: run }\nspec:\n";
const FROM: &str = "  connector: { name: file }\n  connection: { url: /in }\n";
const TO: &str = "  destination: { connector: { name: file }, connection: { url: \"/out/{stream}\" } }\n";

fn local(text: &str) -> Resolution {
    let environment = [("SET", "a value"), ("PORT", "5433"), ("PGPASSWORD", "canary")];
    let environment = environment
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    resolve(
        &parse("m.yaml", text).unwrap(),
        builtin(),
        &Setting::Local { environment },
    )
}

fn cluster(text: &str) -> Resolution {
    resolve(&parse("m.yaml", text).unwrap(), builtin(), &Setting::Cluster)
}

fn told(resolution: &Resolution) -> Vec<String> {
    resolution.problems.iter().map(ToString::to_string).collect()
}

fn source(fields: &str) -> String {
    format!("{SOURCE}{fields}")
}

/// A good Source of two streams, and a Flow with some more fields; those begin on line 13.
fn flow(fields: &str) -> String {
    format!("{SOURCE}{FROM}  streams: [{{ name: a }}, {{ match: 'b\\..*' }}]\n---\n{FLOW}{fields}")
}

fn job(fields: &str) -> String {
    format!("{}---\n{JOB}{fields}", flow(TO))
}

#[test]
fn the_example_resolves_at_a_desk() {
    let resolution = resolve(&parse("dir/m.yaml", EXAMPLE).unwrap(), builtin(), &environment());
    assert_eq!(
        told(&resolution),
        [
            "dir/m.yaml:84: Job/shop-reload-*: spec.backfill: is not used by load: Full; write load: Backfill, or remove it"
        ]
    );
    let plan = &resolution.plans[0];
    assert_eq!(
        (
            plan.flow.namespace.as_str(),
            plan.flow.name.as_str(),
            plan.flow.uid.as_str()
        ),
        ("acme", "shop-to-lake", "local:acme/shop-to-lake")
    );
    let system = &plan.source.system;
    assert_eq!(
        Value::Object(system.connection.clone()),
        json!({ "port": 6432, "sslMode": "prefer", "fetchRows": 100_000, "host": "db.acme", "database": "shop", "user": "reader" })
    );
    assert_eq!(
        (system.connector.as_str(), system.recipe, system.engine.as_str()),
        ("postgres", RecipeOrigin::Connector, "python")
    );
    assert_eq!(system.plugin.as_deref(), Some("./plugins/my_reader.py:MyReader"));
    assert_eq!(
        Value::Object(system.engine_config.clone()),
        json!({ "requirements": ["psycopg==3.2"] })
    );
    assert_eq!(system.base_dir.as_deref(), Some("dir"));
    assert_eq!(
        system.credentials,
        [Credential {
            name: "password".into(),
            from: CredentialPlace::Env("PGPASSWORD".into())
        }]
    );
    assert_eq!(plan.source.streams[0].primary_key, ["id"]);
    assert_eq!(plan.source.streams[0].cursor_field, ["updated_at"]);
    assert_eq!(
        plan.source.streams[1].select,
        StreamSelect::Match("public\\.order.*".into())
    );
    assert_eq!(
        plan.source.full_load_interval,
        Some("24h".parse::<Duration>().unwrap())
    );
    assert_eq!(plan.state.id, "acme/shop-to-lake");
    assert_eq!(plan.state.store, StateStorePlan::ConfigMap);
    assert_eq!(plan.dead_letter.as_deref(), Some("s3://lake/_refused/{stream}"));
    assert_eq!(plan.destination.system.recipe, RecipeOrigin::BuiltIn);
    let job = &resolution.jobs[0];
    assert_eq!(
        (job.name.as_str(), job.load, job.parallelism, job.retries),
        ("shop-reload-", Load::Full, 4, 3)
    );
    assert_eq!(
        (job.streams.as_slice(), &job.backfill),
        (["public.users".to_owned()].as_slice(), &None)
    );
    assert_eq!(&job.plan, plan);
}

#[test]
fn the_example_resolves_in_a_cluster_but_for_what_needs_s3() {
    let resolution = cluster(EXAMPLE);
    let errors: Vec<_> = resolution
        .problems
        .iter()
        .filter(|problem| problem.is_error())
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        errors,
        [
            "m.yaml:85: Job/shop-reload-*: spec.parallelism: 4 pods can share a load only through state in S3; write parallelism: 1, or state.s3 in the Flow"
        ]
    );
    assert_eq!(resolution.plans[0].source.system.base_dir, None);
    let place = CredentialPlace::Secret {
        name: "shop-db".into(),
        key: "password".into(),
    };
    assert_eq!(resolution.plans[0].source.system.credentials[0].from, place);
}

#[test]
fn a_plan_goes_to_json_and_back_without_a_secret() {
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: { name: shop-db, namespace: acme }\nstringData: { password: canary }\n";
    let resolution = resolve(
        &parse("m.yaml", &format!("{EXAMPLE}{secret}")).unwrap(),
        builtin(),
        &environment(),
    );
    let text = serde_json::to_string(&resolution.jobs[0]).unwrap();
    assert!(!text.contains("canary") && !format!("{resolution:?}").contains("canary"));
    assert_eq!(
        serde_json::from_str::<JobPlan>(&text).unwrap(),
        resolution.jobs[0]
    );
    assert!(matches!(
        resolution.plans[0].source.system.credentials[0].from,
        CredentialPlace::Secret { .. }
    ));
}

#[test]
fn the_later_layer_wins_and_empty_stays_empty() {
    let connector = "apiVersion: millrace.dev/v1alpha1\nkind: Connector\nmetadata: { name: c }\nspec:\n  type: c\n  roles: [source]\n  configs:\n    default: { a: 1, b: 1, c: 1, d: { x: 1 }, e: 1, f: 1 }\n    fast: { b: 2, c: 2, d: { y: 2 } }\n---\n";
    let text = format!(
        "{connector}{}---\n{FLOW}{TO}",
        source("  connector: { name: c, config: fast }\n  connection: { c: 3, e: '', f: null }\n")
    );
    let resolution = local(&text);
    assert_eq!(told(&resolution), [""; 0]);
    let connection = &resolution.plans[0].source.system.connection;
    assert_eq!(
        Value::Object(connection.clone()),
        json!({ "a": 1, "b": 2, "c": 3, "d": { "y": 2 }, "e": "", "f": null })
    );
    let text = text.replace(", config: fast", "");
    let connection: &Settings = &local(&text).plans[0].source.system.connection.clone();
    assert_eq!(
        (&connection["b"], &connection["d"]),
        (&json!(1), &json!({ "x": 1 }))
    );
}

#[test]
fn the_environment_is_for_local_runs() {
    let connection = |value: &str| {
        source(&format!(
            "  connector: {{ name: postgres }}\n  connection: {{ host: '{value}', port: '${{PORT}}', database: d, user: u }}\n"
        ))
    };
    let host = |value: &str| {
        let resolution = local(&format!("{}---\n{FLOW}{TO}", connection(value)));
        assert_eq!(told(&resolution), [""; 0]);
        resolution.plans[0].source.system.connection.clone()
    };
    assert_eq!(host("x-${SET}-${SET}")["host"], json!("x-a value-a value"));
    assert_eq!(host("$${SET} $ {a} ${")["host"], json!("${SET} $ {a} ${"));
    assert_eq!(host("h")["port"], json!(5433));
    assert_eq!(
        told(&local(&connection("${UNSET}"))),
        [
            "m.yaml:6: Source/shop: spec.connection.host: the environment variable UNSET is not set; set it, or write $${UNSET} for the text itself"
        ]
    );
    assert_eq!(
        told(&cluster(&connection("h"))),
        [
            "m.yaml:6: Source/shop: spec.connection.port: ${PORT} is for local runs only; write the value itself, or keep it in a Secret"
        ]
    );
}

#[test]
fn a_credential_is_found_where_it_is() {
    let place = |given: &str, more: &str| {
        let fields = format!(
            "  connector: {{ name: postgres }}\n  connection: {{ host: h, database: d, user: u }}\n{given}"
        );
        let resolution = local(&format!("{}---\n{FLOW}{TO}{more}", source(&fields)));
        assert_eq!(told(&resolution), [""; 0]);
        resolution.plans[0]
            .source
            .system
            .credentials
            .first()
            .map(|one| one.from.clone())
    };
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: { name: db }\nstringData: { p: canary }\n";
    let given = "  credentials: [{ name: password, secret: { name: db, key: p } }]\n";
    assert_eq!(
        place(given, secret),
        Some(CredentialPlace::Secret {
            name: "db".into(),
            key: "p".into()
        })
    );
    assert_eq!(place(given, ""), Some(CredentialPlace::Env("PGPASSWORD".into())));
    assert_eq!(place("", ""), Some(CredentialPlace::Env("PGPASSWORD".into())));
    assert_eq!(
        place("  credentials: [{ name: password, env: SET }]\n", ""),
        Some(CredentialPlace::Env("SET".into()))
    );
    assert_eq!(
        place("  credentials: [{ name: password, file: pw }]\n", ""),
        Some(CredentialPlace::File("pw".into()))
    );
}

#[test]
fn a_plugin_needs_no_connector() {
    let resolution = local(&format!(
        "{}---\n{FLOW}  destination: {{ writer: 'libw.so:make' }}\n",
        source("  reader: a.py:A\n")
    ));
    assert_eq!(told(&resolution), [""; 0]);
    let plan = &resolution.plans[0];
    assert_eq!(
        (
            plan.source.system.engine.as_str(),
            plan.source.system.type_.as_str()
        ),
        ("python", "plugin")
    );
    assert_eq!(plan.destination.system.engine, "library");
}

#[test]
fn a_job_can_hold_its_flow() {
    let template = "  load: Full\n  flowTemplate:\n    spec:\n      source: { name: shop }\n";
    let text = format!("{}---\n{JOB}{template}    {TO}", source(FROM));
    let resolution = local(&text);
    assert_eq!(told(&resolution), [""; 0]);
    assert_eq!(
        (resolution.plans.len(), resolution.jobs[0].plan.flow.name.as_str()),
        (0, "run")
    );
    let wrong = text.replace("name: shop }\n      dest", "name: sho }\n      dest");
    assert_eq!(
        told(&local(&wrong)),
        [
            "m.yaml:15: Job/run: spec.flowTemplate.spec.source.name: there is no Source sho in namespace default; did you mean shop?"
        ]
    );
}

#[test]
fn a_source_is_told_about_once_however_many_flows_read_it() {
    let text = format!(
        "{}---\n{FLOW}{TO}---\n{}{TO}",
        source("  connector: { name: file }\n"),
        FLOW.replace("lake", "sea")
    );
    assert_eq!(
        told(&local(&text)),
        ["m.yaml:4: Source/shop: spec.connection.url: is missing; add it"]
    );
    assert_eq!(local(&text).plans, []);
}

#[test]
fn a_contract_gives_the_schema_and_the_key() {
    let contract = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: c }\ndata:\n  o.yaml: |\n    kind: DataContract\n    schema:\n      - name: orders\n        physicalName: public.orders\n        properties:\n          - { name: b, logicalType: integer, primaryKey: true, primaryKeyPosition: 2 }\n          - { name: a, logicalType: string, primaryKey: true, primaryKeyPosition: 1, tags: [x], logicalTypeOptions: { maxLength: 9 } }\n";
    let text = |stream: &str| {
        format!(
            "{}---\n{FLOW}{TO}{contract}",
            source(&format!("{FROM}  streams: [{stream}]\n"))
        )
    };
    let resolution = cluster(&text("{ name: public.orders, schemaRef: 'configmap:c/o.yaml' }"));
    assert!(resolution.is_sound());
    assert_eq!(
        told(&resolution),
        [
            "m.yaml:7: Source/shop: spec.streams[0].schemaRef[1].logicalTypeOptions.maxLength: is not looked at"
        ]
    );
    let rule = &resolution.plans[0].source.streams[0];
    assert_eq!(
        (rule.primary_key.as_slice(), rule.schema.as_ref().map(Vec::len)),
        (["a".to_owned(), "b".to_owned()].as_slice(), Some(2))
    );
    assert_eq!(
        told(&cluster(&text(
            "{ name: orderz, schemaRef: 'configmap:c/o.yaml' }"
        ))),
        [
            "m.yaml:7: Source/shop: spec.streams[0].schemaRef: the contract has no schema object orderz; did you mean orders?"
        ]
    );
    assert_eq!(
        told(&cluster(&text("{ name: a, schemaRef: ./o.yaml }"))),
        [
            "m.yaml:7: Source/shop: spec.streams[0].schemaRef: a path is for local runs only; keep the contract in a ConfigMap and write configmap:NAME/KEY"
        ]
    );
    assert_eq!(
        told(&cluster(&text("{ name: a, schemaRef: 'configmap:d/o.yaml' }"))),
        [
            "m.yaml:7: Source/shop: spec.streams[0].schemaRef: the contract configmap:d/o.yaml cannot be used: there is no ConfigMap d"
        ]
    );
}

mod refusals;

#[test]
fn every_built_in_destination_takes_options_about_the_columns_that_are_added() {
    let connections = [
        ("file", "url: /out"),
        ("memory", ""),
        ("null", ""),
        ("postgres", "host: h, user: u"),
        ("stdout", ""),
    ];
    for (name, connection) in connections {
        for options in ["", "_millrace_op: false, _millrace_loaded_at: false"] {
            let text = flow(&format!(
                "  destination: {{ connector: {{ name: \"{name}\" }}, connection: {{ {connection} }}, options: {{ {options} }} }}\n"
            ));
            assert_eq!(told(&local(&text)), [""; 0], "{name}: {options}");
        }
    }
}

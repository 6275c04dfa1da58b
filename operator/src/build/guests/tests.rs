//! What a connector brings into a pod, and what it does not.

use k8s_openapi::api::core::v1::PodSpec;
use millrace_crds::{Plan, Resolver, Resources, Setting, Source, builtin};
use serde_json::{Value, json};

use super::Guests;
use crate::settings::Settings;

fn settings(more: &[(&str, &str)]) -> Settings {
    let known = [
        ("POD_NAMESPACE", "millrace"),
        ("MILLRACE_WORKER_IMAGE", "worker:1"),
        ("MILLRACE_WORKER_PYTHON_IMAGE", "python:1"),
    ];
    let all: Vec<_> = known.iter().chain(more).copied().collect();
    Settings::read(|name| {
        let found = all.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    })
    .unwrap()
}

/// The plan of a Flow whose Source is read by one engine.
fn plan(engine: &str, of_engine: &Value) -> Plan {
    let connector = json!({
        "apiVersion": "millrace.dev/v1alpha1", "kind": "Connector", "metadata": { "name": "own" },
        "spec": { "type": "own", "roles": ["source"], "defaultEngine": engine, "engines": { engine: of_engine } },
    });
    let source = json!({
        "apiVersion": "millrace.dev/v1alpha1", "kind": "Source",
        "metadata": { "name": "shop", "namespace": "acme" },
        "spec": { "connector": { "name": "own" } },
    });
    let mut flow = crate::tests::world::flow(&json!({}));
    flow["metadata"]["namespace"] = json!("acme");
    let resources = Resources {
        connectors: vec![
            serde_json::from_value::<millrace_crds::Connector>(connector)
                .unwrap()
                .into(),
        ],
        sources: vec![serde_json::from_value::<Source>(source).unwrap().into()],
        ..Resources::default()
    };
    let resolver = Resolver {
        resources: &resources,
        recipes: builtin(),
        setting: &Setting::Cluster,
    };
    let flow: millrace_crds::Flow = serde_json::from_value(flow).unwrap();
    let (plan, problems) = resolver.flow(&flow.into());
    plan.unwrap_or_else(|| panic!("{problems:?}"))
}

/// The pod of a worker with one container, joined by the plan's connectors.
fn pod(settings: &Settings, engine: &str, of_engine: &Value) -> Value {
    let bare: PodSpec = serde_json::from_value(json!({
        "containers": [{ "name": "worker", "image": settings.worker_image }],
    }))
    .unwrap();
    serde_json::to_value(Guests::of_plan(&plan(engine, of_engine)).join(settings, bare)).unwrap()
}

fn has_mount(container: &Value, path: &str) -> bool {
    let mounts = container["volumeMounts"].as_array().unwrap();
    mounts.iter().any(|mount| mount["mountPath"] == path)
}

#[test]
fn a_pod_of_built_in_connectors_is_left_alone() {
    let found = pod(&settings(&[]), "native", &json!({}));
    assert_eq!(
        found,
        json!({ "containers": [{ "name": "worker", "image": "worker:1" }] })
    );
}

#[test]
fn the_image_follows_the_engine() {
    let image = "acme/tap:1";
    for (engine, of_engine, wanted) in [
        ("python", json!({ "reader": "s3://a/r.py:R" }), "python:1"),
        ("library", json!({ "reader": "s3://a/r.so:r" }), "worker:1"),
        ("adbc", json!({ "driver": "volume:drivers/libpg.so" }), "worker:1"),
        ("airbyte", json!({ "command": ["source-x"] }), "python:1"),
        ("airbyte", json!({ "image": image }), "worker:1"),
        (
            "airbyte",
            json!({ "image": image, "command": ["source-x"] }),
            "worker:1",
        ),
        (
            "singer",
            json!({ "command": ["tap-x"], "requirements": ["tap-x==1"] }),
            "python:1",
        ),
        (
            "singer",
            json!({ "command": ["tap-x"], "image": image }),
            "worker:1",
        ),
        (
            "meltano",
            json!({ "project": "/m", "plugin": "tap-x" }),
            "python:1",
        ),
    ] {
        let found = pod(&settings(&[]), engine, &of_engine);
        assert_eq!(found["containers"][0]["image"], wanted, "{engine} {of_engine}");
        assert_eq!(
            found["containers"].as_array().unwrap().len(),
            1,
            "sidecars are no containers that a Job waits for"
        );
        assert!(has_mount(&found["containers"][0], "/var/cache/millrace"));
    }
}

#[test]
fn what_is_installed_is_kept_where_the_chart_names_a_claim() {
    let of_engine = json!({ "reader": "s3://a/r.py:R" });
    let found = pod(&settings(&[]), "python", &of_engine);
    assert_eq!(
        found["volumes"][0],
        json!({ "name": "plugin-cache", "emptyDir": {} })
    );
    let found = pod(
        &settings(&[("MILLRACE_WORKER_PLUGIN_CACHE", "plugins")]),
        "python",
        &of_engine,
    );
    assert_eq!(
        found["volumes"][0],
        json!({ "name": "plugin-cache", "persistentVolumeClaim": { "claimName": "plugins" } })
    );
}

#[test]
fn a_plugin_on_the_claim_of_the_cache_needs_no_volume_of_its_own() {
    let settings = settings(&[("MILLRACE_WORKER_PLUGIN_CACHE", "plugins")]);
    let found = pod(
        &settings,
        "library",
        &json!({ "reader": "volume:plugins/r.so:r" }),
    );
    let volumes = found["volumes"].as_array().unwrap();
    let of_claims = volumes
        .iter()
        .filter(|volume| volume.get("persistentVolumeClaim").is_some());
    assert_eq!(of_claims.count(), 1, "{volumes:?}");
    let mounts = found["containers"][0]["volumeMounts"].as_array().unwrap();
    let wanted = json!({
        "name": "plugin-cache", "mountPath": "/var/run/millrace/plugins/volume/plugins", "readOnly": true,
    });
    assert!(mounts.contains(&wanted), "{mounts:?}");
}

#[test]
fn a_plugin_in_a_volume_is_mounted_to_be_read() {
    for (engine, of_engine, volume, path) in [
        (
            "python",
            json!({ "reader": "configmap:readers/r.py:R" }),
            json!({ "configMap": { "name": "readers", "optional": true } }),
            "/var/run/millrace/plugins/configmap/readers",
        ),
        (
            "adbc",
            json!({ "driver": "volume:drivers/x/libpg.so" }),
            json!({ "persistentVolumeClaim": { "claimName": "drivers", "readOnly": true } }),
            "/var/run/millrace/plugins/volume/drivers",
        ),
    ] {
        let found = pod(&settings(&[]), engine, &of_engine);
        let mut mounted = found["volumes"][1].clone();
        let name = mounted.as_object_mut().unwrap().remove("name").unwrap();
        assert_eq!(mounted, volume);
        let mount = json!({ "name": name, "mountPath": path, "readOnly": true });
        assert!(
            found["containers"][0]["volumeMounts"]
                .as_array()
                .unwrap()
                .contains(&mount)
        );
    }
}

#[test]
fn a_connector_in_its_container_has_its_configuration_and_nothing_else() {
    let of_engine = json!({
        "image": "acme/source:1", "runAsUser": 1000, "resources": { "requests": { "cpu": "1" }, "limits": { "memory": "2Gi" } },
    });
    let found = pod(&settings(&[]), "airbyte", &of_engine);
    let (shim, sidecar) = (&found["initContainers"][0], &found["initContainers"][1]);
    assert_eq!(
        (&shim["image"], &sidecar["image"]),
        (&json!("worker:1"), &json!("acme/source:1"))
    );
    assert_eq!(
        (&shim["restartPolicy"], &sidecar["restartPolicy"]),
        (&Value::Null, &json!("Always"))
    );
    assert_eq!(sidecar["securityContext"]["runAsUser"], 1000);
    assert_eq!(sidecar["resources"]["limits"], json!({ "memory": "2Gi" }));
    for container in [shim, sidecar] {
        let security = &container["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }));
        assert_eq!(security["seccompProfile"], json!({ "type": "RuntimeDefault" }));
    }
    let shared = "/var/run/millrace/connectors/source";
    assert!(has_mount(&found["containers"][0], shared) && has_mount(sidecar, "/tmp"));
    assert_eq!(
        sidecar["volumeMounts"].as_array().unwrap().len(),
        2,
        "no token, no Secret, no cache"
    );
    assert_eq!(sidecar["env"], json!([{ "name": "HOME", "value": "/tmp" }]));
    let volumes = found["volumes"].as_array().unwrap();
    let memory = volumes
        .iter()
        .find(|volume| volume["name"] == "connector-source")
        .unwrap();
    assert_eq!(memory["emptyDir"]["medium"], "Memory");
}

//! What is promised of every pod and of every right.

use millrace_crds::channel::child;
use millrace_crds::{Flow, Plan, Resolver, Resources, Setting, builtin};
use serde_json::{Value, json};

use super::{guests::Guests, pod, rights, run, secrets::Secrets, stateful};
use crate::owner::Owner;
use crate::settings::Settings;

fn settings() -> Settings {
    Settings::read(|name| match name {
        "POD_NAMESPACE" => Some("millrace".to_owned()),
        "MILLRACE_WORKER_IMAGE" => Some("worker@sha256:abc".to_owned()),
        "MILLRACE_WORKER_PULL_SECRETS" => Some("registry".to_owned()),
        _ => None,
    })
    .unwrap()
}

fn object(name: &str, pod: &Value) -> Flow {
    let mut flow = crate::tests::world::flow(&json!({ "pod": pod }));
    flow["metadata"] =
        json!({ "name": name, "namespace": "acme", "uid": "uid-1", "labels": { "team": "x" } });
    serde_json::from_value(flow).unwrap()
}

fn plan(flow: &Flow) -> Plan {
    let mut source = crate::tests::world::source();
    source["metadata"]["namespace"] = json!("acme");
    let source: millrace_crds::Source = serde_json::from_value(source).unwrap();
    let resources = Resources {
        sources: vec![source.into()],
        ..Resources::default()
    };
    let resolver = Resolver {
        resources: &resources,
        recipes: builtin(),
        setting: &Setting::Cluster,
    };
    let (plan, problems) = resolver.flow(&flow.clone().into());
    plan.unwrap_or_else(|| panic!("{problems:?}"))
}

fn pods(name: &str, own: &Value) -> [Value; 2] {
    let flow = object(name, own);
    let owner = Owner::of(&flow);
    let plan = plan(&flow);
    let work = pod::Work {
        owner: &owner,
        args: vec!["--run".to_owned(), "1".to_owned()],
        secrets: Secrets::of_plan(&plan),
        guests: Guests::of_plan(&plan),
        pod: flow.spec.pod.as_ref(),
        annotations: [].into(),
        serves: true,
    };
    let terms = run::Terms {
        name: "x".to_owned(),
        run: Some(1),
        retries: 3,
        ..run::Terms::default()
    };
    let job = serde_json::to_value(run::job(&settings(), &terms, &work)).unwrap();
    let set = serde_json::to_value(stateful::stateful_set(&settings(), 1, &work)).unwrap();
    [job["spec"]["template"].clone(), set["spec"]["template"].clone()]
}

#[test]
fn every_pod_is_restricted() {
    for template in pods("lake", &json!({})) {
        let spec = &template["spec"];
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!(spec["enableServiceLinks"], false);
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            spec["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        assert_eq!(spec["terminationGracePeriodSeconds"], 60);
        for container in spec["containers"].as_array().unwrap() {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["privileged"], false);
            assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }));
            assert_eq!(container["resources"]["limits"]["memory"], "512Mi");
        }
        for forbidden in [
            "hostNetwork",
            "hostPID",
            "hostIPC",
            "hostPath",
            "privileged\":true",
        ] {
            assert!(!spec.to_string().contains(forbidden), "{forbidden}");
        }
    }
}

#[test]
fn secrets_are_files_and_never_variables() {
    for template in pods("lake", &json!({})) {
        let text = template.to_string();
        assert!(!text.contains("secretKeyRef") && !text.contains("subPath") && !text.contains("envFrom"));
        let volumes = template["spec"]["volumes"].as_array().unwrap().clone();
        let secret = volumes.iter().find(|volume| !volume["secret"].is_null()).unwrap();
        let wanted = json!({
            "secretName": "shop-db", "optional": true, "defaultMode": 0o440,
            "items": [{ "key": "password", "path": "password" }],
        });
        assert_eq!(secret["secret"], wanted);
        let mounts = template["spec"]["containers"][0]["volumeMounts"]
            .as_array()
            .unwrap()
            .clone();
        assert!(
            mounts
                .iter()
                .any(|mount| mount["mountPath"] == "/var/run/millrace/secrets/shop-db")
        );
    }
}

#[test]
fn a_flow_sets_its_pods_within_bounds() {
    let own = json!({
        "resources": { "requests": { "memory": "2Gi" } }, "nodeSelector": { "disk": "fast" },
        "tolerations": [{ "key": "gpu", "operator": "Exists" }], "priorityClassName": "low",
        "imagePullSecrets": [{ "name": "own" }],
    });
    for template in pods("lake", &own) {
        let spec = &template["spec"];
        assert_eq!(spec["containers"][0]["resources"]["limits"]["memory"], "2Gi");
        assert_eq!(spec["nodeSelector"]["disk"], "fast");
        assert_eq!(spec["tolerations"][0]["key"], "gpu");
        assert_eq!(spec["priorityClassName"], "low");
        assert_eq!(
            spec["imagePullSecrets"],
            json!([{ "name": "registry" }, { "name": "own" }])
        );
        assert!(
            template["metadata"]["labels"]["team"].is_null(),
            "labels of the Flow are its own"
        );
    }
}

#[test]
fn names_fit_whatever_the_owner_is_called() {
    for name in ["a", "a.b", &"x".repeat(253), &format!("{}.y", "z".repeat(60))] {
        for template in pods(name, &json!({})) {
            let labels = template["metadata"]["labels"].as_object().unwrap().clone();
            assert!(labels.values().all(|label| label.as_str().unwrap().len() <= 63));
            for volume in template["spec"]["volumes"].as_array().unwrap() {
                assert!(volume["name"].as_str().unwrap().len() <= 63);
            }
            assert!(template["spec"]["serviceAccountName"].as_str().unwrap().len() <= 63);
            let args: Vec<&str> = template["spec"]["containers"][0]["args"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            assert_eq!(
                args,
                ["worker", "--namespace", "acme", "--flow", name, "--run", "1"]
            );
        }
    }
}

#[test]
fn a_drained_node_fails_no_run_and_a_wrong_manifest_is_not_tried_again() {
    let flow = object("lake", &json!({}));
    let owner = Owner::of(&flow);
    let work = pod::Work {
        owner: &owner,
        args: Vec::new(),
        secrets: Secrets::default(),
        guests: Guests::default(),
        pod: None,
        annotations: [].into(),
        serves: false,
    };
    let terms = run::Terms {
        name: "x".to_owned(),
        retries: 3,
        deadline: "1500ms".parse().ok(),
        ..run::Terms::default()
    };
    let spec = serde_json::to_value(run::job(&settings(), &terms, &work)).unwrap()["spec"].clone();
    assert_eq!(spec["podReplacementPolicy"], "Failed");
    assert_eq!(spec["backoffLimit"], 3);
    assert_eq!(spec["activeDeadlineSeconds"], 2);
    let rules = &spec["podFailurePolicy"]["rules"];
    assert_eq!(rules[0]["action"], "Ignore");
    assert_eq!(rules[1]["onExitCodes"]["values"], json!([2, 3]));
    assert_eq!(spec["template"]["spec"]["restartPolicy"], "Never");
}

#[test]
fn every_right_names_its_object() {
    let flow = object("lake", &json!({}));
    let owner = Owner::of(&flow);
    let state = child("lake", "state");
    let rights = rights::rights(&owner, Some(state));
    let rules = rights.role.rules.unwrap();
    let all = |suffixes: &[&str]| {
        Some(
            suffixes
                .iter()
                .map(|suffix| child("lake", suffix))
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(rules.len(), 2);
    assert_eq!(
        (rules[0].resource_names.clone(), rules[0].verbs.join(" ")),
        (all(&["plan", "triggers"]), "get list watch".to_owned())
    );
    assert_eq!(
        (rules[1].resource_names.clone(), rules[1].verbs.join(" ")),
        (all(&["report", "state"]), "get update".to_owned())
    );
    assert_eq!(
        rights.binding.subjects.unwrap()[0].name,
        rights.account.metadata.name.unwrap()
    );
}

use super::*;
use crate::tests::EXAMPLE;

/// Heads of a good Flow and a good Source, to which tests add what is wrong, from line 6 on.
const FLOW: &str = "apiVersion: millrace.dev/v1alpha1\nkind: Flow\nmetadata: { name: lake }\nspec:\n  source: { name: shop }\n";
const SOURCE: &str = "apiVersion: millrace.dev/v1alpha1\nkind: Source\nmetadata: { name: shop }\nspec:\n  connector: { name: file }\n";
const TO: &str = "  destination: { connector: { name: file } }\n";

fn problems(text: &str) -> Vec<String> {
    parse("m.yaml", text)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_example_is_read_whole() {
    let resources = parse("m.yaml", EXAMPLE).unwrap();
    assert_eq!(resources.connectors.len(), 1);
    assert_eq!(resources.sources.len(), 1);
    assert_eq!(resources.flows.len(), 1);
    assert_eq!(resources.jobs.len(), 1);
    let flow = &resources.flows[0];
    assert_eq!(flow.place.line("spec.destination.writeMode"), Some(59));
    assert_eq!(flow.place.line("spec.destination.connection.url"), Some(57));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_to_write() {
    let deep = "  streams: [{ name: a, schema: [{ name: b, logicalType: text }] }]\n";
    for (text, expected) in [
        (
            format!("{FLOW}{TO}  sourse: x\n"),
            "m.yaml:7: Flow/lake: spec.sourse: there is no such field; did you mean source?",
        ),
        (
            format!("{FLOW}  destination:\n    connector: {{ name: file }}\n    writeMode: merge\n"),
            "m.yaml:8: Flow/lake: spec.destination.writeMode: \"merge\" is not allowed; write append, upsert or overwrite",
        ),
        (
            FLOW.to_owned(),
            "m.yaml:4: Flow/lake: spec.destination: is missing; add it",
        ),
        (
            format!("{FLOW}{TO}  suspend: \"true\"\n"),
            "m.yaml:7: Flow/lake: spec.suspend: text stands where true or false is wanted; write it without quotes",
        ),
        (
            format!("{FLOW}{TO}  maxDeleteFraction: 2\n"),
            "m.yaml:7: Flow/lake: spec.maxDeleteFraction: 2 is too large; write 1 or less",
        ),
        (
            format!("{FLOW}  destination: {{ connector: file }}\n"),
            "m.yaml:6: Flow/lake: spec.destination.connector: text stands where a map is wanted; write { name: file }",
        ),
        (
            format!("{SOURCE}  streams: [\"my orders\"]\n"),
            "m.yaml:6: Source/shop: spec.streams[0]: text stands where a map is wanted; write { name: \"my orders\" }",
        ),
        (
            format!("{FLOW}{TO}  mode: batch\n"),
            "m.yaml:7: Flow/lake: spec.mode: \"batch\" is not allowed; write Batch or Continuous",
        ),
        (
            format!("{FLOW}{TO}  pod: {{ hostNetwork: true }}\n"),
            "m.yaml:7: Flow/lake: spec.pod.hostNetwork: there is no such field; known here are imagePullSecrets, nodeSelector, priorityClassName, replicas, resources and tolerations",
        ),
        (
            format!("{FLOW}{TO}  pod: {{ resources: {{ limits: {{ memory: 1e100 }} }} }}\n"),
            "m.yaml:7: Flow/lake: spec.pod.resources.limits.memory: 1e+100 is too large; write 9007199254740991 or less",
        ),
        (
            format!("{FLOW}{TO}  pod: {{ resources: {{ limits: {{ memory: '1e100' }} }} }}\n"),
            "m.yaml:7: Flow/lake: spec.pod.resources.limits.memory: \"1e100\" is not a quantity; write a number and a unit, as in 500m, 2 or 512Mi",
        ),
        (
            format!("{FLOW}{TO}  pod: {{ resources: {{ limits: {{ memory: INVALID }} }} }}\n"),
            "m.yaml:7: Flow/lake: spec.pod.resources.limits.memory: \"INVALID\" is not a quantity; write a number and a unit, as in 500m, 2 or 512Mi",
        ),
        (
            format!("{FLOW}{TO}  mode: Continuous\n  schedule: \"0 3 * * *\"\n"),
            "m.yaml:4: Flow/lake: spec: a Continuous flow has no schedule; leave schedule out, or write mode: Batch",
        ),
        (
            format!("{SOURCE}  deltaLoadInterval: 1d\n"),
            "m.yaml:6: Source/shop: spec.deltaLoadInterval: \"1d\" is not a duration; write hours, minutes, seconds or milliseconds, as in 24h, 1h30m, 30s or 500ms",
        ),
        (
            format!("{SOURCE}  deltaLoadInterval: 30\n"),
            "m.yaml:6: Source/shop: spec.deltaLoadInterval: a number stands where text is wanted; write it in quotes",
        ),
        (
            format!("{SOURCE}  deltaLoadInterval: 0s\n"),
            "m.yaml:6: Source/shop: spec.deltaLoadInterval: must be more than zero; leave the field out for no delta loads by interval",
        ),
        (
            format!("{SOURCE}  concurrency: 0\n"),
            "m.yaml:6: Source/shop: spec.concurrency: 0 is too small; write 1 or more",
        ),
        (
            format!("{SOURCE}  concurrency: 5.5\n"),
            "m.yaml:6: Source/shop: spec.concurrency: a number stands where a whole number is wanted; write a whole number",
        ),
        (
            format!("{SOURCE}  bufferLength:\n"),
            "m.yaml:6: Source/shop: spec.bufferLength: nothing stands where a whole number is wanted; write one, or leave the field out",
        ),
        (
            format!("{SOURCE}  streams:\n    - name: a\n    - {{ name: a, match: b }}\n"),
            "m.yaml:8: Source/shop: spec.streams[1]: say which streams by exactly one of name and match",
        ),
        (
            format!("{SOURCE}{deep}"),
            "m.yaml:6: Source/shop: spec.streams[0].schema[0].logicalType: \"text\" is not allowed; write string, date, timestamp, time, number, integer, object, array or boolean",
        ),
        (
            format!("{SOURCE}  credentials: [{{ name: a, env: A, file: b }}]\n"),
            "m.yaml:6: Source/shop: spec.credentials[0]: say where the credential is found by exactly one of secret, env (local runs) and file (local runs)",
        ),
    ] {
        assert_eq!(problems(&text), [expected]);
    }
}

#[test]
fn what_is_no_resource_is_told_as_well() {
    for (text, expected) in [
        (
            SOURCE.replace("shop", "Shop"),
            "m.yaml:3: Source/Shop: metadata.name: \"Shop\" has not the right form; write lower-case letters, digits, - and ., with a letter or digit first and last",
        ),
        (
            SOURCE.replace("v1alpha1", "v1"),
            "m.yaml:1: Source/shop: apiVersion: Source has no version \"millrace.dev/v1\"; write millrace.dev/v1alpha1",
        ),
        (
            SOURCE.replace("Source", "Sorce"),
            "m.yaml:2: Sorce/shop: kind: \"Sorce\" is not a kind that Millrace reads; did you mean Source?",
        ),
        (
            format!("{SOURCE}---\n{SOURCE}"),
            "m.yaml:9: Source/shop: metadata.name: is declared before, at m.yaml:1; remove one of the two, or rename it",
        ),
        (
            format!("{SOURCE}  connector: {{ name: a }}\n"),
            "m.yaml:6: duplicate mapping key: connector",
        ),
        (
            "kind: Source\n  a: b\n".to_owned(),
            "m.yaml:2: mapping values are not allowed in this context",
        ),
        (
            "- a\n".to_owned(),
            "m.yaml:1: (no name): apiVersion: is missing; write millrace.dev/v1alpha1",
        ),
    ] {
        assert_eq!(problems(&text), [expected]);
    }
}

#[test]
fn images_are_named_by_tag_or_digest() {
    let named = |image: &str| {
        format!(
            "apiVersion: millrace.dev/v1alpha1\nkind: Connector\nmetadata: {{ name: a }}\nspec:\n  type: a\n  roles: [source]\n  engines:\n    airbyte: {{ image: \"{image}\" }}\n"
        )
    };
    for image in [
        "a/b:latest".to_owned(),
        format!("registry:5000/a/b@sha256:{}", "0a".repeat(32)),
    ] {
        assert!(parse("m.yaml", &named(&image)).is_ok(), "{image}");
    }
    let expected = "m.yaml:8: Connector/a: spec.engines.airbyte.image: \"a/b@sha256:0\" has not the right form; write the image with its tag, IMAGE:TAG, or its digest, IMAGE@sha256: and 64 hexadecimal digits";
    assert_eq!(problems(&named("a/b@sha256:0")), [expected]);
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_lines() {
    let text = format!(
        "{FLOW}  destination: {{ connector: {{ nam: file }} }}\n  suspend: maybe\n---\n{SOURCE}  readr: x\n"
    );
    assert_eq!(
        problems(&text),
        [
            "m.yaml:6: Flow/lake: spec.destination.connector.nam: there is no such field; did you mean name?",
            "m.yaml:6: Flow/lake: spec.destination.connector.name: is missing; add it",
            "m.yaml:7: Flow/lake: spec.suspend: text stands where true or false is wanted; write true or false",
            "m.yaml:14: Source/shop: spec.readr: there is no such field; did you mean reader?",
        ]
    );
}

#[test]
fn secrets_and_config_maps_are_read_for_local_runs() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: { name: db, namespace: acme }\ndata: { user: Y2FuYXJ5 }\nstringData: { password: canary }\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: c }\ndata: { a: b }\n";
    let resources = parse("m.yaml", text).unwrap();
    let secret = resources.secret("acme", "db").unwrap();
    assert_eq!(
        (secret.get("user"), secret.get("password")),
        (Some(&b"canary"[..]), Some(&b"canary"[..]))
    );
    assert_eq!(resources.config_map("default", "c").unwrap().values["a"], b"b");
    assert!(!format!("{resources:?}").contains("canary"));
}

#[test]
fn findings_about_secrets_quote_no_value() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: { name: db }\ndata:\n  a: canary!\nstringData:\n  b: 7\nstringdata: { c: canary }\n";
    assert_eq!(
        problems(text),
        [
            "m.yaml:5: Secret/db: data.a: the value is not base64; write plain text under stringData",
            "m.yaml:7: Secret/db: stringData.b: the value is not text; write it in quotes",
            "m.yaml:8: Secret/db: stringdata: there is no such field; did you mean stringData?",
        ]
    );
}

#[test]
fn jobs_with_made_names_never_clash() {
    let job = "apiVersion: millrace.dev/v1alpha1\nkind: Job\nmetadata: { generateName: again- }\nspec: { flow: { name: lake }, load: Full }\n";
    assert_eq!(
        parse("m.yaml", &format!("{job}---\n{job}")).unwrap().jobs.len(),
        2
    );
}

#[test]
fn what_kubectl_prints_can_be_read() {
    let text = SOURCE.replace("{ name: shop }", "{ name: shop, uid: u, resourceVersion: \"7\", generation: 2, creationTimestamp: \"2026-01-01T00:00:00Z\" }");
    let text = format!("{text}status: {{ observedGeneration: 2, flowCount: 1 }}\n");
    assert_eq!(
        parse("m.yaml", &text).unwrap().sources[0]
            .object
            .metadata
            .uid
            .as_deref(),
        Some("u")
    );
}

#[test]
fn directories_are_read_in_the_order_of_names() {
    let dir = std::env::temp_dir().join(format!("millrace-manifest-{}", std::process::id()));
    fs::create_dir_all(dir.join("below.yaml")).unwrap();
    fs::write(dir.join("b.yaml"), FLOW.to_owned() + TO).unwrap();
    fs::write(
        dir.join("a.yml"),
        SOURCE.to_owned() + "  streams: [{ name: orders, schemaRef: orders.odcs }]\n",
    )
    .unwrap();
    fs::write(
        dir.join("orders.odcs"),
        "schema: [{ name: orders, properties: [{ name: id, logicalType: integer }] }]",
    )
    .unwrap();
    fs::write(
        dir.join("c.json"),
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}"#,
    )
    .unwrap();
    fs::write(dir.join("notes.txt"), "not: [yaml").unwrap();
    let resources = read(std::slice::from_ref(&dir)).unwrap();
    assert_eq!(
        (
            resources.sources.len(),
            resources.flows.len(),
            resources.config_maps.len()
        ),
        (1, 1, 1)
    );
    assert_eq!(resources.contracts.len(), 1);
    let missing = read(&[dir.join("none.yaml")]).unwrap_err();
    assert!(
        missing[0].to_string().contains("none.yaml: cannot be read: "),
        "{}",
        missing[0]
    );
    fs::remove_dir_all(dir).unwrap();
}

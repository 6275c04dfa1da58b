use millrace_crds::manifest::parse;

use super::annotate;

const KEY: &str = "millrace.dev/full_load";

/// Annotates the Source of a manifest; the spec and another document stand after it.
fn edited(metadata: &str) -> Option<String> {
    let text = format!(
        "# the shop\napiVersion: millrace.dev/v1alpha1\nkind: Source\n{metadata}\nspec: # what is read\n  connector: {{ name: file }}\n  connection: {{ url: a.csv }}\n"
    );
    let before = parse("a.yaml", &text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    let new = annotate(&text, &before.sources[0].place, KEY, "2;tables=a,b")?;
    let after = parse("a.yaml", &new).unwrap_or_else(|problems| panic!("{problems:?}\n{new}"));
    let mut expected = before.sources[0].object.clone();
    let annotations = expected.metadata.annotations.get_or_insert_default();
    annotations.insert(KEY.to_owned(), "2;tables=a,b".to_owned());
    assert_eq!(after.sources[0].object, expected, "{new}");
    let comments = |text: &str| text.matches('#').count();
    assert_eq!(comments(&new), comments(&text), "{new}");
    Some(new)
}

#[test]
fn the_first_annotation_comes_after_the_name() {
    let new = edited("metadata:\n  name: shop # ours\n  labels: { a: b }").unwrap();
    let expected = "metadata:\n  name: shop # ours\n  annotations:\n    millrace.dev/full_load: \"2;tables=a,b\"\n  labels: { a: b }";
    assert!(new.contains(expected), "{new}");
    let new = edited("metadata: { name: shop } # ours").unwrap();
    let expected =
        r#"metadata: { name: shop, annotations: { "millrace.dev/full_load": "2;tables=a,b" } } # ours"#;
    assert!(new.contains(expected), "{new}");
    edited("metadata: {\n  name: shop,\n  labels: { a: \"}\" }\n}").unwrap();
}

#[test]
fn one_more_annotation_stands_beside_the_others() {
    for metadata in [
        "metadata:\n  annotations:\n      # who did it\n      x/y: '1' # one\n  name: shop",
        "metadata:\n  name: shop\n  annotations: { x/y: \"}\", z: 'it''s' } # all",
        "metadata:\n  name: shop\n  annotations: {}",
        "metadata: { annotations: { x: \"1\" }, name: shop }",
    ] {
        assert!(edited(metadata).is_some(), "{metadata}");
    }
}

#[test]
fn a_known_annotation_gets_another_value() {
    for metadata in [
        "metadata:\n  name: shop\n  annotations:\n    millrace.dev/full_load: \"1, no}\"   # set by Ada",
        "metadata:\n  name: shop\n  annotations:\n    millrace.dev/full_load: abc # set by Ada\n    x: z",
        "metadata:\n  name: shop\n  annotations:\n    'millrace.dev/full_load': 'it''s'",
        "metadata: { name: shop, annotations: { millrace.dev/full_load: abc, x: z } }",
        "metadata: { name: shop, annotations: { \"millrace.dev/full_load\": \"a\\\"b\" } }",
    ] {
        assert!(edited(metadata).is_some(), "{metadata}");
    }
}

#[test]
fn json_stays_json() {
    let text = r#"{"apiVersion": "millrace.dev/v1alpha1", "kind": "Source", "metadata": {"name": "shop"},
        "spec": {"connector": {"name": "file"}, "connection": {"url": "a.csv"}}}"#;
    let before = parse("a.json", text).unwrap();
    let new = annotate(text, &before.sources[0].place, KEY, "1").unwrap();
    let value: serde_json::Value = serde_json::from_str(&new).unwrap();
    assert_eq!(value["metadata"]["annotations"][KEY], "1");
}

#[test]
fn what_cannot_be_followed_is_left_alone() {
    let folded = "metadata:\n  name: shop\n  annotations:\n    millrace.dev/full_load: >-\n      abc";
    assert_eq!(edited(folded), None);
}

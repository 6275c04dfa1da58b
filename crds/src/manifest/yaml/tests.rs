use serde_json::json;

use super::*;

#[test]
fn values_and_lines_are_kept() {
    let text = "# comment\na: 1\nb:\n  c: [x, 2.5]\n  d:\n    - e: true\n    - null\n\"f.g/h\": 'no'\n---\n---\nz: yes\n";
    let documents = documents(text).unwrap();
    assert_eq!(documents.len(), 2);
    let first = &documents[0];
    assert_eq!(
        first.value,
        json!({"a": 1, "b": {"c": ["x", 2.5], "d": [{"e": true}, null]}, "f.g/h": "no"})
    );
    let lines: Vec<_> = first
        .lines
        .iter()
        .map(|(path, line)| (path.as_str(), *line))
        .collect();
    assert_eq!(
        lines,
        [
            ("", 2),
            ("[\"f.g/h\"]", 8),
            ("a", 2),
            ("b", 3),
            ("b.c", 4),
            ("b.c[0]", 4),
            ("b.c[1]", 4),
            ("b.d", 5),
            ("b.d[0]", 6),
            ("b.d[0].e", 6),
            ("b.d[1]", 7)
        ]
    );
    println!("{}", documents[1].value);
    assert_eq!(documents[1].lines["z"], 11);
}

#[test]
fn json_is_read_too() {
    let documents = documents("{\n\t\"a\": {\n\t\t\"b\": [1, \"\\u00e5\"]\n\t}\n}\n").unwrap();
    assert_eq!(documents[0].value, json!({"a": {"b": [1, "å"]}}));
    assert_eq!(documents[0].lines["a.b"], 3);
}

#[test]
fn errors_have_a_line_and_quote_nothing() {
    for text in [
        "a: 1\nstringData:\n  password: \"canary\n",
        "password: canary\npassword: canary2\n",
        "a: [canary\n",
        "a: b: canary\n",
        "a: *canary\n",
    ] {
        let error = documents(text).unwrap_err();
        println!("{:?} {}", error.line, error.message);
        assert!(error.line.is_some());
        assert!(!error.message.contains("canary"), "{}", error.message);
    }
}

//! JSON values as the YAML that a person would write: blocks, and what is short on one line.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The longest line that is still made of a nested value.
const WIDTH: usize = 110;
/// Words that YAML, one version or another, takes for something other than text.
const WORDS: [&str; 12] = [
    "true", "false", "null", "yes", "no", "on", "off", "y", "n", "~", ".nan", ".inf",
];

/// A mapping in block style, each line behind `indent` spaces.
pub(super) fn block(map: &Map<String, Value>, indent: usize) -> String {
    let mut text = String::new();
    mapping(map, indent, &mut text);
    text
}

/// Any value on one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{}: {}", scalar(key), flow(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

fn mapping(map: &Map<String, Value>, indent: usize, text: &mut String) {
    for (key, value) in map {
        entry(&format!("{:indent$}{}:", "", scalar(key)), value, indent, text);
    }
}

/// What stands behind a key or a dash: on the same line where it fits.
fn entry(start: &str, value: &Value, indent: usize, text: &mut String) {
    let line = format!("{start} {}", flow(value));
    let short = line.chars().count() <= WIDTH;
    match value {
        Value::Object(map) if !short => {
            let _ = writeln!(text, "{start}");
            mapping(map, indent + 2, text);
        }
        Value::Array(items) if !short => {
            let _ = writeln!(text, "{start}");
            items.iter().for_each(|item| list_item(item, indent + 2, text));
        }
        _ => {
            let _ = writeln!(text, "{line}");
        }
    }
}

fn list_item(item: &Value, indent: usize, text: &mut String) {
    let line = format!("{:indent$}- {}", "", flow(item));
    match item {
        Value::Object(map) if line.chars().count() > WIDTH => {
            let mut inner = String::new();
            mapping(map, indent + 2, &mut inner);
            let _ = write!(text, "{:indent$}- {}", "", inner.trim_start());
        }
        _ => {
            let _ = writeln!(text, "{line}");
        }
    }
}

/// Text without quotes where every reader takes it for text.
fn scalar(text: &str) -> String {
    let letter = |c: char| c.is_alphanumeric() || "_-./ ()+@".contains(c);
    let plain = text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && text.chars().all(letter)
        && !text.ends_with(' ')
        && !text.contains(" #")
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{block, flow};

    #[test]
    fn text_is_quoted_only_where_it_must_be() {
        assert_eq!(
            flow(&json!({ "name": "public.users", "no": "1", "on": "a: b", "n": 2 })),
            r#"{ name: public.users, "no": "1", "on": "a: b", "n": 2 }"#
        );
        assert_eq!(
            flow(&json!(["a", "", "#x", "null", "ä b"])),
            r##"[a, "", "#x", "null", ä b]"##
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let value = json!({
            "kind": "Connector",
            "metadata": { "name": "null" },
            "spec": {
                "description": "Files: local, S3, and \"quoted\" \\ things\nover lines",
                "list": ["x".repeat(60), "y".repeat(60), { "deep": "z".repeat(100), "more": [1, 2.5, true, null] }],
                "empty": {}, "none": [],
            },
        });
        let text = block(value.as_object().unwrap(), 0);
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, value, "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 130), "{text}");
    }
}

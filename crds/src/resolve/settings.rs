//! Free-form settings: what lies over what, the environment, and secrets that do not belong there.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::common::Settings;
use crate::problem::{Reason, Report, below, item};

/// Keys, in lower case without `-` and `_`, whose value is a secret.
const SECRET_KEYS: [&str; 15] = [
    "accesstoken",
    "apikey",
    "apitoken",
    "authorization",
    "authtoken",
    "bearertoken",
    "passphrase",
    "passwd",
    "privatekey",
    "pwd",
    "refreshtoken",
    "secretaccesskey",
    "secretkey",
    "sessiontoken",
    "token",
];

/// The later settings over the earlier ones, key by key; an explicit empty value stays empty.
pub(super) fn merge<'a>(layers: impl IntoIterator<Item = &'a Settings>) -> Settings {
    let mut merged = Settings::new();
    for (key, value) in layers.into_iter().flatten() {
        merged.insert(key.clone(), value.clone());
    }
    merged
}

/// Refuses values that are secrets: everyone who may read the resource could read them.
pub(super) fn refuse_secrets(settings: &Settings, path: &str, report: &mut Report<'_>) {
    for (key, value) in settings {
        let path = below(path, key);
        match value {
            Value::String(_) | Value::Number(_) if is_secret(key) => {
                let advice = format!(
                    "remove it, and name a Secret under credentials, as in {{ name: {key}, secret: {{ name: ..., key: ... }} }}"
                );
                report.error(
                    Reason::LiteralSecret,
                    &path,
                    "a secret must not stand here",
                    advice,
                );
            }
            other => refuse_nested(other, &path, report),
        }
    }
}

fn refuse_nested(value: &Value, path: &str, report: &mut Report<'_>) {
    match value {
        Value::Object(map) => refuse_secrets(map, path, report),
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                refuse_nested(value, &item(path, index), report);
            }
        }
        Value::String(text) => refuse_password(text, path, report),
        _ => {}
    }
}

fn is_secret(key: &str) -> bool {
    let folded: String = key
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    SECRET_KEYS.contains(&folded.as_str()) || folded.ends_with("password") || folded.ends_with("secret")
}

/// Refuses a text with a password in it.
pub(super) fn refuse_password(text: &str, path: &str, report: &mut Report<'_>) {
    if has_password(text) {
        let advice = "remove it from the address, and name a Secret under credentials";
        report.error(
            Reason::LiteralSecret,
            path,
            "the address holds a password",
            advice,
        );
    }
}

/// Whether a text is an address with a password: `scheme://user:password@host`, `...?token=...`, or
/// `host=... password=...`.
fn has_password(text: &str) -> bool {
    let filled = |(key, value): (&str, &str)| is_secret(key) && !value.is_empty();
    let Some((_, rest)) = text.split_once("://") else {
        let words = text.split(|c: char| c.is_whitespace() || c == ';');
        let passwords = words.filter(|word| word.to_lowercase().starts_with("passw"));
        return passwords.filter_map(|word| word.split_once('=')).any(filled);
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let user = place
        .split('/')
        .next()
        .and_then(|authority| authority.rsplit_once('@'))
        .map(|(user, _)| user);
    let in_user = user
        .and_then(|user| user.split_once(':'))
        .is_some_and(|(_, password)| !password.is_empty());
    in_user
        || query
            .split('&')
            .filter_map(|part| part.split_once('='))
            .any(filled)
}

/// `${NAME}` from the environment, `$${` for a text that is to stay. In a cluster there is none.
pub(super) struct Expander<'a> {
    /// The environment; `None` in a cluster.
    pub(super) environment: Option<&'a BTreeMap<String, String>>,
}

impl Expander<'_> {
    /// All settings with variables filled in. A value that is one variable and nothing else takes the
    /// type that `schema` wants, since the environment holds text alone.
    pub(super) fn settings(
        &self,
        settings: &Settings,
        schema: &Value,
        path: &str,
        report: &mut Report<'_>,
    ) -> Settings {
        let one = |(key, value): (&String, &Value)| {
            let filled = self.value(value, &below(path, key), report);
            (
                key.clone(),
                retype(value, filled, &schema["properties"][key]["type"]),
            )
        };
        settings.iter().map(one).collect()
    }

    fn value(&self, value: &Value, path: &str, report: &mut Report<'_>) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text, path, report)),
            Value::Array(values) => {
                let parts = values.iter().enumerate();
                Value::Array(
                    parts
                        .map(|(index, value)| self.value(value, &item(path, index), report))
                        .collect(),
                )
            }
            Value::Object(map) => Value::Object(self.settings(map, &Value::Null, path, report)),
            other => other.clone(),
        }
    }

    /// A text with variables filled in.
    pub(super) fn text(&self, text: &str, path: &str, report: &mut Report<'_>) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find("${") {
            let (before, after) = (&rest[..at], &rest[at + 2..]);
            let Some(end) = after.find('}') else { break };
            match before.strip_suffix('$') {
                Some(before) => out.extend([before, "${", &after[..=end]]),
                None => out.extend([before, self.variable(&after[..end], path, report)]),
            }
            rest = &after[end + 1..];
        }
        out + rest
    }

    fn variable(&self, name: &str, path: &str, report: &mut Report<'_>) -> &str {
        let Some(environment) = self.environment else {
            let message = format!("${{{name}}} is for local runs only");
            report.error(
                Reason::LocalOnly,
                path,
                message,
                "write the value itself, or keep it in a Secret",
            );
            return "";
        };
        environment.get(name).map_or_else(
            || {
                let advice = format!("set it, or write $${{{name}}} for the text itself");
                report.error(
                    Reason::VariableNotSet,
                    path,
                    format!("the environment variable {name} is not set"),
                    advice,
                );
                ""
            },
            String::as_str,
        )
    }
}

fn retype(given: &Value, filled: Value, wanted: &Value) -> Value {
    let whole = given
        .as_str()
        .is_some_and(|text| text.starts_with("${") && text.find('}') == Some(text.len() - 1));
    let wants = |name: &str| match wanted {
        Value::Array(names) => names.iter().any(|one| one == name),
        one => one == name,
    };
    let plain = ["integer", "number", "boolean"].into_iter().any(wants) && !wants("string");
    match filled.as_str() {
        Some(text) if whole && plain => serde_json::from_str(text).unwrap_or(filled),
        _ => filled,
    }
}

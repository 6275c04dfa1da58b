//! Findings of a JSON Schema in words for the author of a manifest: what is wrong, and what to write.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::types::{JsonType, JsonTypeSet};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use crate::common;
use crate::duration;
use crate::problem::{below, item};
use crate::suggest;
use crate::template::{Template, TemplateError};

/// One finding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The path of the value, from the root that the caller names.
    pub(crate) path: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What to write.
    pub(crate) advice: String,
}

/// Whether a finding may show the value. Connections may hold text from the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// It may.
    Value,
    /// It may not.
    Nothing,
}

impl Show {
    fn of(self, value: &Value) -> String {
        match self {
            Self::Value => shorten(value),
            Self::Nothing => "the value".to_owned(),
        }
    }
}

/// The most findings about one value: nobody reads more, and each costs time that others wait for.
const MOST: usize = 100;

/// What a schema finds wrong with a value that stands at `root`, as far as anybody would read it.
pub(crate) fn findings(
    validator: &Validator,
    schema: &Value,
    value: &Value,
    root: &str,
    show: Show,
) -> Vec<Finding> {
    validator
        .iter_errors(value)
        .flat_map(|error| explain(&error, schema, root, show))
        .take(MOST)
        .collect()
}

fn explain(error: &ValidationError<'_>, schema: &Value, root: &str, show: Show) -> Vec<Finding> {
    let at = path(error.instance_path(), root);
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = siblings(error.schema_path(), schema);
            unexpected
                .iter()
                .take(MOST)
                .map(|key| unknown(&at, key, &known))
                .collect()
        }
        ValidationErrorKind::Required { property } => {
            let path = below(&at, property.as_str().unwrap_or_default());
            vec![Finding {
                path,
                message: "is missing".to_owned(),
                advice: "add it".to_owned(),
            }]
        }
        kind @ (ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. }) => {
            let rule = schema
                .pointer(error.schema_path().as_str())
                .unwrap_or(&Value::Null);
            let (message, advice) = alternatives(rule, show, error.instance())
                .unwrap_or_else(|| words(kind, error.instance(), show));
            vec![Finding {
                path: at,
                message,
                advice,
            }]
        }
        kind => {
            let (message, advice) = words(kind, error.instance(), show);
            let named = named(error, schema).filter(|_| show == Show::Value);
            let advice = named.unwrap_or(advice);
            vec![Finding {
                path: at,
                message,
                advice,
            }]
        }
    }
}

/// What to write where a bare text stands for a map that has a name: most often it is the name.
fn named(error: &ValidationError<'_>, schema: &Value) -> Option<String> {
    let ValidationErrorKind::Type { .. } = error.kind() else {
        return None;
    };
    let text = error.instance().as_str().filter(|text| !text.is_empty())?;
    let rule = schema.pointer(error.schema_path().as_str().strip_suffix("/type")?)?;
    rule["properties"].get("name")?;
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let name = if word {
        text.to_owned()
    } else {
        shorten(&Value::from(text))
    };
    Some(format!("write {{ name: {name} }}"))
}

/// The path of a place in a value, below `root`.
fn path(location: &Location, root: &str) -> String {
    location
        .segments()
        .fold(root.to_owned(), |path, segment| match segment {
            LocationSegment::Property(key) => below(&path, &key),
            LocationSegment::Index(index) => item(&path, index),
        })
}

/// The properties that are known beside an `additionalProperties`.
fn siblings<'a>(location: &Location, schema: &'a Value) -> Vec<&'a str> {
    let parent = location
        .as_str()
        .rsplit_once('/')
        .map_or("", |(parent, _)| parent);
    let properties = schema
        .pointer(parent)
        .and_then(|schema| schema["properties"].as_object());
    properties
        .into_iter()
        .flat_map(|map| map.keys().map(String::as_str))
        .collect()
}

fn unknown(at: &str, key: &str, known: &[&str]) -> Finding {
    let advice = suggest::advice(key, known.iter().copied(), "known here are");
    let advice = if known.is_empty() {
        "remove it".to_owned()
    } else {
        advice
    };
    Finding {
        path: below(at, key),
        message: "there is no such field".to_owned(),
        advice,
    }
}

fn words(kind: &ValidationErrorKind, value: &Value, show: Show) -> (String, String) {
    let shown = show.of(value);
    match kind {
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> = options
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(option)
                .collect();
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            (
                format!("{shown} is not allowed"),
                format!("write {}", suggest::list(&options, "or")),
            )
        }
        ValidationErrorKind::Constant { expected_value } => (
            format!("{shown} is not allowed"),
            format!("write {}", option(expected_value).unwrap_or_default()),
        ),
        ValidationErrorKind::Format { format } if format == TEMPLATE => mistemplated(value, show),
        ValidationErrorKind::Type { kind } => mistyped(kind, value),
        ValidationErrorKind::Minimum { limit } => (
            format!("{shown} is too small"),
            format!("write {} or more", bound(limit)),
        ),
        ValidationErrorKind::Maximum { limit } => (
            format!("{shown} is too large"),
            format!("write {} or less", bound(limit)),
        ),
        ValidationErrorKind::MinLength { limit: 1 } => (
            "is empty".to_owned(),
            "write something, or leave it out".to_owned(),
        ),
        ValidationErrorKind::MaxLength { limit } => (
            "is too long".to_owned(),
            format!("write at most {limit} characters"),
        ),
        ValidationErrorKind::MinItems { limit } => {
            ("has too few entries".to_owned(), format!("write {limit} or more"))
        }
        ValidationErrorKind::MaxItems { limit } => (
            "has too many entries".to_owned(),
            format!("write at most {limit}"),
        ),
        ValidationErrorKind::Pattern { pattern } => misshapen(pattern, value, show),
        _ if show == Show::Nothing => (
            format!("breaks the rule `{}`", kind.keyword()),
            "see the connector's configSchema".to_owned(),
        ),
        _ => (
            format!("{shown} breaks the rule `{}`", kind.keyword()),
            String::new(),
        ),
    }
}

/// Words for alternatives that are all constants, or all fields of which one is needed.
fn alternatives(rule: &Value, show: Show, value: &Value) -> Option<(String, String)> {
    let rules = rule.as_array()?;
    let needed: Option<Vec<&str>> = rules.iter().map(|rule| rule["required"][0].as_str()).collect();
    if let Some(names) = needed {
        let names = suggest::list(&names, "or");
        return Some((format!("{names} is missing"), "add it".to_owned()));
    }
    let mut options = Vec::new();
    rules.iter().all(|rule| constants(rule, &mut options)).then(|| {
        words(
            &ValidationErrorKind::Enum {
                options: Value::Array(options).into(),
            },
            value,
            show,
        )
    })
}

/// Collects the constants that a schema allows; `false` where it allows more than constants.
fn constants(rule: &Value, to: &mut Vec<Value>) -> bool {
    if let Some(one) = rule.get("const") {
        to.push(one.clone());
        return true;
    }
    if let Some(several) = rule["enum"].as_array() {
        to.extend(several.iter().cloned());
        return true;
    }
    let nested = rule["anyOf"].as_array().or(rule["oneOf"].as_array());
    nested.map_or(rule["type"] == "null", |rules| {
        rules.iter().all(|rule| constants(rule, to))
    })
}

/// The format that marks a text as a template.
pub(crate) const TEMPLATE: &str = "template";

fn mistemplated(value: &Value, show: Show) -> (String, String) {
    let error = value.as_str().unwrap_or_default().parse::<Template>().err();
    error.map_or_else(<_>::default, |error| no_template(&error, show))
}

/// Words for a text that is not a template.
pub(crate) fn no_template(error: &TemplateError, show: Show) -> (String, String) {
    if show == Show::Nothing {
        let advice = "known are {namespace}, {flow}, {stream}, {label:NAME}, {date} and {date:FORMAT}; write {{ or }} for a brace that is text";
        return ("the value is not a template".to_owned(), advice.to_owned());
    }
    let error = error.to_string();
    let (message, advice) = error.split_once("; ").unwrap_or((&error, ""));
    (message.to_owned(), advice.to_owned())
}

/// A bound without the fraction that schemas of whole numbers carry.
fn bound(limit: &Value) -> String {
    let text = limit.to_string();
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// A value as a manifest would write it, cut to a readable length.
fn shorten(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= MOST {
        text
    } else {
        text.chars().take(MOST).chain("...".chars()).collect()
    }
}

fn option(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn mistyped(wanted: &TypeKind, value: &Value) -> (String, String) {
    let set = match wanted {
        TypeKind::Single(one) => JsonTypeSet::from(*one),
        TypeKind::Multiple(set) => *set,
    };
    let names: Vec<&str> = set
        .iter()
        .filter(|name| *name != JsonType::Null)
        .map(type_name)
        .collect();
    let wanted = suggest::list(&names, "or");
    let advice = match value {
        Value::Null => "write one, or leave the field out".to_owned(),
        Value::Number(_) | Value::Bool(_) if set.contains(JsonType::String) => {
            "write it in quotes".to_owned()
        }
        Value::String(text) if unquoted(text, set) => "write it without quotes".to_owned(),
        _ => format!("write {wanted}"),
    };
    (
        format!(
            "{} stands where {wanted} is wanted",
            type_name(JsonType::from(value))
        ),
        advice,
    )
}

/// Whether a quoted text would fit without its quotes.
fn unquoted(text: &str, wanted: JsonTypeSet) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| match value {
        Value::Bool(_) => wanted.contains(JsonType::Boolean),
        Value::Number(number) => {
            wanted.contains(JsonType::Number) || (wanted.contains(JsonType::Integer) && !number.is_f64())
        }
        _ => false,
    })
}

const fn type_name(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Null => "nothing",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "text",
        JsonType::Array => "a list",
        JsonType::Object => "a map",
    }
}

/// Advice by the pattern, since a regular expression tells few people what to write.
fn misshapen(pattern: &str, value: &Value, show: Show) -> (String, String) {
    let shown = show.of(value);
    if pattern == duration::PATTERN {
        return (format!("{shown} is not a duration"), duration::ADVICE.to_owned());
    }
    if pattern.contains("[KMGTPE]i") {
        let advice = "write a number and a unit, as in 500m, 2 or 512Mi".to_owned();
        return (format!("{shown} is not a quantity"), advice);
    }
    let advice = match pattern {
        _ if pattern.contains("@sha256:") => {
            "write the image with its tag, IMAGE:TAG, or its digest, IMAGE@sha256: and 64 hexadecimal digits"
                .to_owned()
        }
        "^[a-f0-9]{64}$" => "write 64 lower-case hexadecimal digits".to_owned(),
        _ if pattern.starts_with("^[a-z0-9]([-a-z0-9.]*") => {
            "write lower-case letters, digits, - and ., with a letter or digit first and last".to_owned()
        }
        common::KEY => "write letters, digits, -, _ and ., and no two dots first".to_owned(),
        _ if pattern.contains(r"\x00") => "write one line of text".to_owned(),
        _ if pattern.contains(r"\.py:") => "write MODULE.py:Class".to_owned(),
        _ => format!("write what matches {pattern}"),
    };
    (format!("{shown} has not the right form"), advice)
}

//! YAML and JSON text to values, with the line of every field.
//!
//! In: the text of one file. Out: its documents, each a JSON value beside a table from field path to
//! line. Error messages never quote the text, since a Secret may stand in it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use crate::problem::{below, item};

/// One document of a file.
#[derive(Debug)]
pub(crate) struct Document {
    /// What it says.
    pub(crate) value: Value,
    /// Lines by field path.
    pub(crate) lines: BTreeMap<String, u32>,
}

/// Why a text is not YAML, and where.
#[derive(Debug)]
pub(crate) struct YamlError {
    /// The line, where it is known.
    pub(crate) line: Option<u32>,
    /// What is wrong.
    pub(crate) message: String,
}

/// All documents of a text; empty ones are passed over.
pub(crate) fn documents(text: &str) -> Result<Vec<Document>, YamlError> {
    let nodes: Vec<Spanned<Node>> = serde_saphyr::from_multiple(text).map_err(|error| explain(&error))?;
    Ok(nodes
        .into_iter()
        .map(|node| {
            let mut lines = BTreeMap::from([(String::new(), line(node.referenced))]);
            let value = node.value.into_value("", &mut lines);
            Document { value, lines }
        })
        .collect())
}

fn explain(error: &serde_saphyr::Error) -> YamlError {
    let line = error.location().map(line).filter(|line| *line > 0);
    // The first line tells what is wrong; what follows would show the text around it. The place is told
    // once, by us, and the parser's own settings are no advice to the author of a manifest.
    let text = error.without_snippet().render();
    let first = text.lines().next().unwrap_or_default();
    let message = first
        .split(" at line ")
        .next()
        .unwrap_or_default()
        .split(", set ")
        .next()
        .unwrap_or_default();
    YamlError {
        line,
        message: message.to_owned(),
    }
}

fn line(location: serde_saphyr::Location) -> u32 {
    u32::try_from(location.line()).unwrap_or(u32::MAX)
}

/// A value with the lines of its parts.
#[derive(Debug)]
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl Node {
    /// The plain value; the lines of its parts are added to the table. A key's line stands for its
    /// value, which may begin on a later one.
    fn into_value(self, path: &str, lines: &mut BTreeMap<String, u32>) -> Value {
        match self {
            Self::Scalar(value) => value,
            Self::List(nodes) => {
                let parts = nodes.into_iter().enumerate().map(|(index, node)| {
                    let path = item(path, index);
                    lines.insert(path.clone(), line(node.referenced));
                    node.value.into_value(&path, lines)
                });
                Value::Array(parts.collect())
            }
            Self::Map(entries) => {
                let parts = entries.into_iter().map(|(key, node)| {
                    let path = below(path, &key.value);
                    lines.insert(path.clone(), line(key.referenced));
                    (key.value, node.into_value(&path, lines))
                });
                Value::Object(parts.collect::<Map<_, _>>())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(
            Number::from_f64(value).map_or(Value::Null, Value::Number),
        ))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            nodes.push(entry);
        }
        Ok(Node::Map(nodes))
    }
}

#[cfg(test)]
mod tests;

//! Every built-in connector. To add one: write its file, add its line.
//!
//! In: the plan of a system. Out: its source or destination. The command line, the recipes, the schemas of the
//! configurations, the table in the README and the behaviour tests all follow from [`CONNECTORS`].

pub mod file;
pub mod generator;
pub mod memory;
pub mod null;
pub mod postgres;
pub mod stdout;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use crate::{
    connector::{Destination, Source, System},
    engines::Engine,
    error::{Error, Result},
};

/// All of them, by name.
pub static CONNECTORS: &[Connector] = &[
    file::CONNECTOR,
    generator::CONNECTOR,
    memory::CONNECTOR,
    null::CONNECTOR,
    postgres::CONNECTOR,
    stdout::CONNECTOR,
];

/// One built-in connector.
pub struct Connector {
    /// Its name, which is the `type` of its recipe.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// The reading side.
    pub source: Option<Side<dyn Source>>,
    /// The writing side.
    pub destination: Option<Side<dyn Destination>>,
    /// The credentials that it knows, each with the environment variable where a local run finds it.
    pub credentials: &'static [(&'static str, Option<&'static str>)],
}

/// One side of a connector.
pub struct Side<T: ?Sized> {
    /// Makes it from its settings; sends nothing yet.
    pub open: fn(System) -> Result<Arc<T>>,
    /// The schema of its `connection`.
    pub config: fn(&mut SchemaGenerator) -> Schema,
    /// A `connection:` to start from, as YAML.
    pub example: &'static str,
}

impl<T: ?Sized> Side<T> {
    /// A side with settings of type `C`, and a `connection:` to start from.
    pub const fn new<C: JsonSchema>(example: &'static str, open: fn(System) -> Result<Arc<T>>) -> Self {
        Self {
            open,
            config: C::json_schema,
            example,
        }
    }
}

/// The settings of a system.
///
/// # Errors
/// `config`, naming the field.
pub fn config<C: DeserializeOwned>(system: &System) -> Result<C> {
    serde_json::from_value(serde_json::Value::Object(system.plan.settings())).map_err(|error| {
        Error::config(format!("connection: {}", misfit(&error))).advice(format!(
            "`millrace connectors {}` shows what it takes",
            system.plan.type_
        ))
    })
}

/// What is wrong with settings, without any value: it may come from the environment.
fn misfit(error: &serde_json::Error) -> String {
    let told = error.to_string();
    if told.starts_with("missing field") || told.starts_with("unknown field") {
        return told;
    }
    // What serde expects stands last, after the value.
    let kinds = [
        "invalid type",
        "invalid value",
        "invalid length",
        "unknown variant",
    ];
    let expected = told.rsplit_once(", expected ").map(|(_, expected)| expected);
    match expected.filter(|_| kinds.iter().any(|kind| told.starts_with(kind))) {
        Some(expected) => format!("a value does not fit: expected {expected}"),
        None => "a value has not the right form".to_owned(),
    }
}

/// The connector of this name.
///
/// # Errors
/// `config`, listing those that there are.
pub fn find(name: &str) -> Result<&'static Connector> {
    CONNECTORS
        .iter()
        .find(|connector| connector.name == name)
        .ok_or_else(|| {
            let names: Vec<_> = CONNECTORS.iter().map(|connector| connector.name).collect();
            Error::config(format!("there is no built-in connector `{name}`"))
                .advice(format!("there are {}", names.join(", ")))
        })
}

/// The engine that runs them.
pub const ENGINE: Engine = Engine {
    name: "native",
    source: Some(source),
    destination: Some(destination),
};

fn source(system: System) -> Result<Arc<dyn Source>> {
    let connector = find(&system.plan.type_)?;
    let side = connector
        .source
        .as_ref()
        .ok_or_else(|| Error::config(format!("`{}` cannot be read from", connector.name)))?;
    (side.open)(system)
}

fn destination(system: System) -> Result<Arc<dyn Destination>> {
    let connector = find(&system.plan.type_)?;
    let side = connector
        .destination
        .as_ref()
        .ok_or_else(|| Error::config(format!("`{}` cannot be written to", connector.name)))?;
    (side.open)(system)
}

//! `millrace connectors`: what can be read and written, and how it is configured.
//!
//! In: the table of built-in connectors. Out: that table for people, for the README, and as the recipes that the
//! resolver falls back on; for one connector its settings, credentials and manifests to start from.

mod recipe;

use clap::Args;
use serde_json::{Map, Value};

use super::{closing::Output, exit::Exit, out, yaml};
use crate::{
    connectors::{CONNECTORS, Connector, find},
    error::Result,
};

/// The options of `millrace connectors`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "one for each option")]
pub(super) struct ConnectorsArgs {
    /// Show this connector: its settings, its credentials, manifests to start from
    name: Option<String>,
    /// Print its recipe, the Connector resource: to change it, put it among your manifests
    #[arg(long, requires = "name")]
    recipe: bool,
    /// Print the recipes of all of them, as one file
    #[arg(long, conflicts_with_all = ["name", "markdown"])]
    recipes: bool,
    /// Print the table as Markdown
    #[arg(long, conflicts_with = "name")]
    markdown: bool,
    /// How it is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// Prints.
///
/// # Errors
/// `config` where there is no such connector.
pub(super) fn run(args: &ConnectorsArgs) -> Result<Exit> {
    match &args.name {
        None if args.recipes => out::line(recipe::all().trim_end())?,
        None if args.markdown => out::line(markdown().trim_end())?,
        None if args.output == Output::Json => out::json(&CONNECTORS.iter().map(as_json).collect())?,
        None => out::line(table())?,
        Some(name) => one(find(name)?, args)?,
    }
    Ok(Exit::Done)
}

fn one(connector: &Connector, args: &ConnectorsArgs) -> Result<()> {
    match args.output {
        _ if args.recipe => out::line(recipe::yaml(connector).trim_end()),
        Output::Json => out::json(&as_json(connector)),
        Output::Text => out::line(page(connector).trim_end()),
    }
}

/// `source`, `destination` or both.
fn roles(connector: &Connector) -> Vec<&'static str> {
    let reads = connector.source.as_ref().map(|_| "source");
    let writes = connector.destination.as_ref().map(|_| "destination");
    reads.into_iter().chain(writes).collect()
}

fn table() -> String {
    let mut table = out::table(&["connector", "use as", "what it is"]);
    for connector in CONNECTORS {
        table.add_row([connector.name, &roles(connector).join(", "), connector.summary]);
    }
    format!(
        "{}\n`millrace connectors NAME` shows the settings of one.",
        table.trim_fmt()
    )
}

/// The table of the README.
fn markdown() -> String {
    let mut text = "| connector | source | destination | what it is |\n|---|:-:|:-:|---|\n".to_owned();
    for connector in CONNECTORS {
        let mark = |there: bool| if there { "✓" } else { "" };
        let (source, destination) = (
            mark(connector.source.is_some()),
            mark(connector.destination.is_some()),
        );
        text += &format!(
            "| `{}` | {source} | {destination} | {} |\n",
            connector.name, connector.summary
        );
    }
    text
}

fn as_json(connector: &Connector) -> Value {
    let mut value = serde_json::json!({
        "name": connector.name,
        "summary": connector.summary,
        "roles": roles(connector),
        "credentials": connector.credentials.iter().map(|(name, variable)| credential(name, *variable)).collect::<Vec<_>>(),
    });
    if let Some(schema) = recipe::source_schema(connector) {
        value["sourceSchema"] = Value::Object(schema);
    }
    if let Some(schema) = recipe::destination_schema(connector) {
        value["destinationSchema"] = Value::Object(schema);
    }
    value
}

fn credential(name: &str, variable: Option<&str>) -> Map<String, Value> {
    let variable = variable.map(|variable| ("fromEnv".to_owned(), variable.into()));
    std::iter::once(("name".to_owned(), name.into()))
        .chain(variable)
        .collect()
}

fn page(connector: &Connector) -> String {
    let mut text = format!("{}: {}\n", connector.name, connector.summary);
    for (title, schema) in [
        ("source", recipe::source_schema(connector)),
        ("destination", recipe::destination_schema(connector)),
    ] {
        if let Some(schema) = schema {
            text += &format!("\n`connection:` as a {title}\n{}\n", settings(&schema));
        }
    }
    if !connector.credentials.is_empty() {
        text += "\n`credentials:`\n";
        for (name, variable) in connector.credentials {
            let found = variable
                .map(|variable| format!(" (a local run finds it in {variable})"))
                .unwrap_or_default();
            text += &format!("  {name}{found}\n");
        }
    }
    for (what, manifest) in recipe::manifests(connector) {
        text += &format!("\n{what}:\n\n{manifest}");
    }
    text
}

fn settings(schema: &Map<String, Value>) -> String {
    let mut table = out::table(&["name", "type", "default", "what it is"]);
    let required = schema.get("required").and_then(Value::as_array);
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let needed = required.is_some_and(|names| names.iter().any(|known| known == name));
        let default = match property.get("default") {
            _ if needed => "(needed)".to_owned(),
            Some(default) if !default.is_null() => yaml::flow(default),
            _ => String::new(),
        };
        let description = property
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        table.add_row([name.as_str(), &kind(property), &default, &wrapped(description)]);
    }
    table.trim_fmt()
}

/// The type of a property in a word or two.
fn kind(property: &Value) -> String {
    let choices = ["enum", "oneOf", "anyOf"]
        .iter()
        .find_map(|key| property.get(key)?.as_array());
    let Some(choices) = choices else {
        return type_of(property);
    };
    let mut words: Vec<String> = Vec::new();
    for choice in choices {
        let word = match choice.get("const").unwrap_or(choice) {
            Value::String(text) => text.clone(),
            Value::Object(_) => kind(choice),
            other => other.to_string(),
        };
        if word != "null" && !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(" | ")
}

fn type_of(property: &Value) -> String {
    let of = |value: &Value| match value.as_str() {
        Some("array") => format!("list of {}", property.get("items").map(kind).unwrap_or_default()),
        Some(word) => word.to_owned(),
        None => String::new(),
    };
    match property.get("type") {
        Some(Value::Array(types)) => types
            .iter()
            .filter(|word| *word != "null")
            .map(of)
            .collect::<Vec<_>>()
            .join(" | "),
        Some(word) => of(word),
        None => "any".to_owned(),
    }
}

/// Lines of at most 70 letters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines
            .last_mut()
            .filter(|line| line.is_empty() || line.chars().count() + word.chars().count() < 70);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;

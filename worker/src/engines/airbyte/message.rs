//! What a line of an Airbyte connector says.
//!
//! Rows are by far the most: their JSON is sliced out of the line and not understood here. Everything else is rare.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::{
    engines::messages::{INCOMPLETE, Said},
    error::{Error, ErrorKind},
    formats::json::{raw, string},
};

/// The name by which a stream is known: with its namespace, where it has one.
pub(super) fn full_name(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}.{name}"),
        None => name.to_owned(),
    }
}

/// Understands a line.
pub(super) fn hear(line: &str) -> Said<'_> {
    if let Some(row) = row(line) {
        return row;
    }
    let Ok(message) = serde_json::from_str::<Value>(line) else {
        return Said::Noise;
    };
    match message["type"].as_str() {
        Some("STATE") => state(&message["state"]),
        // Some write the state without what goes around it.
        Some("STREAM" | "GLOBAL" | "LEGACY") => state(&message),
        Some("TRACE") => trace(&message["trace"]),
        Some("LOG") => Said::Log {
            level: level(message["log"]["level"].as_str().unwrap_or_default()),
            message: Cow::Owned(message["log"]["message"].as_str().unwrap_or_default().to_owned()),
        },
        Some("CONTROL") => match message["control"].pointer("/connectorConfig/config") {
            Some(config) => Said::Config(config.clone()),
            None => Said::Nothing,
        },
        Some(_) => Said::Nothing,
        None => Said::Noise,
    }
}

/// A row, if the line is one.
fn row(line: &str) -> Option<Said<'_>> {
    let (mut type_, mut record) = ("", None);
    raw::members(line, |name, value| match &*name {
        "type" => type_ = value,
        "record" => record = Some(value),
        _ => {}
    })?;
    if type_ != "\"RECORD\"" {
        return None;
    }
    let (mut stream, mut namespace, mut data) = (None, None, None);
    raw::members(record?, |name, value| match &*name {
        "stream" => stream = string(value),
        "namespace" => namespace = string(value),
        "data" => data = Some(value),
        _ => {}
    })?;
    let stream = match namespace.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => Cow::Owned(full_name(Some(&namespace), &stream?)),
        None => stream?,
    };
    Some(Said::Row { stream, row: data? })
}

/// A state, as it goes back to the connector.
fn state(state: &Value) -> Said<'static> {
    let told = match state["type"].as_str() {
        Some("STREAM" | "GLOBAL") => json!([without_counts(state)]),
        // Before states had types they were whatever the connector said.
        _ => match state.get("data") {
            Some(data) => data.clone(),
            None => return Said::Nothing,
        },
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count that is written as a float"
    )]
    let rows = state["sourceStats"]["recordCount"]
        .as_f64()
        .map(|rows| rows as u64);
    Said::State { state: told, rows }
}

/// Counts are for who listens, and differ from run to run.
fn without_counts(state: &Value) -> Value {
    let mut state = state.clone();
    if let Some(state) = state.as_object_mut() {
        state.retain(|key, _| !matches!(key.as_str(), "sourceStats" | "destinationStats" | "data"));
    }
    state
}

fn trace(trace: &Value) -> Said<'static> {
    match trace["type"].as_str() {
        Some("ERROR") => Said::Failed(error(&trace["error"])),
        Some("ESTIMATE") => match trace["estimate"]["row_estimate"].as_f64() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an estimate"
            )]
            Some(rows) => Said::Estimate(rows as u64),
            None => Said::Nothing,
        },
        Some("STREAM_STATUS") if trace["stream_status"]["status"] == "INCOMPLETE" => {
            Said::Failed(Error::transient("the stream is incomplete").reason(INCOMPLETE))
        }
        _ => Said::Nothing,
    }
}

fn error(error: &Value) -> Error {
    let text = |key: &str| error[key].as_str().filter(|text| !text.is_empty());
    let kind = match text("failure_type") {
        Some("config_error") => ErrorKind::Config,
        Some("transient_error") => ErrorKind::Transient,
        _ => ErrorKind::Bug,
    };
    let message = text("message")
        .or(text("internal_message"))
        .unwrap_or("it failed and did not say why");
    let inner = text("internal_message").filter(|inner| *inner != message);
    match inner.or_else(|| cause(text("stack_trace")?)) {
        Some(inner) => Error::new(kind, message).advice(inner),
        None => Error::new(kind, message),
    }
}

/// The error that was first in a traceback of Python: the last may say no more than that something failed.
fn cause(trace: &str) -> Option<&str> {
    let mut lines = trace.lines().skip_while(|line| !line.starts_with("Traceback"));
    lines.next()?;
    lines.find(|line| !line.is_empty() && !line.starts_with(' '))
}

fn level(level: &str) -> &'static str {
    match level {
        "FATAL" | "ERROR" => "error",
        "WARN" => "warning",
        "DEBUG" | "TRACE" => "debug",
        _ => "info",
    }
}

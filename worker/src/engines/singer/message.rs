//! What a line of a tap says.
//!
//! Rows are by far the most: their JSON is sliced out of the line and not understood here. Everything else is rare.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    engines::messages::Said,
    formats::json::{raw, string},
};

/// Understands a line.
pub(super) fn hear(line: &str) -> Said<'_> {
    if let Some(row) = row(line) {
        return row;
    }
    let Ok(mut message) = serde_json::from_str::<Value>(line) else {
        return Said::Noise;
    };
    let stream = message["stream"].as_str().unwrap_or_default().to_owned();
    match message["type"].as_str() {
        Some("STATE") => Said::State {
            state: message["value"].take(),
            rows: None,
        },
        Some("SCHEMA") => Said::Schema {
            stream,
            schema: message["schema"].take(),
        },
        Some("BATCH") => Said::Batch {
            stream,
            files: files(&message),
        },
        // Older versions of a table are found to be gone by what a full load does not bring.
        Some(_) => Said::Nothing,
        None => Said::Noise,
    }
}

fn row(line: &str) -> Option<Said<'_>> {
    let (mut type_, mut stream, mut record) = ("", None, None);
    raw::members(line, |name, value| match &*name {
        "type" => type_ = value,
        "stream" => stream = string(value),
        "record" => record = Some(value),
        _ => {}
    })?;
    (type_ == "\"RECORD\"").then_some(())?;
    Some(Said::Row {
        stream: stream?,
        row: record?,
    })
}

/// The files of a batch, on this machine.
fn files(message: &Value) -> Vec<PathBuf> {
    let manifest = message["manifest"].as_array().into_iter().flatten();
    let paths = manifest.filter_map(Value::as_str).filter_map(|url| {
        let path = url
            .strip_prefix("file://")
            .or_else(|| (!url.contains("://")).then_some(url))?;
        Some(PathBuf::from(path))
    });
    paths.collect()
}

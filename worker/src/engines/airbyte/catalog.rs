//! The streams of a catalog, and how one is asked for.

use serde_json::{Value, json};

use crate::stream::StreamSpec;

/// One stream of a catalog.
#[derive(Clone, Debug)]
pub(super) struct Stream(Value);

impl Stream {
    /// `None`: it has no name.
    pub(super) fn new(stream: Value) -> Option<Self> {
        stream["name"].as_str()?;
        Some(Self(stream))
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0[key].as_str().filter(|text| !text.is_empty())
    }

    /// `namespace.name`, or the name alone.
    pub(super) fn full_name(&self) -> String {
        super::message::full_name(self.text("namespace"), self.text("name").unwrap_or_default())
    }

    pub(super) fn schema(&self) -> &Value {
        &self.0["json_schema"]
    }

    /// The key, where all of its parts are columns.
    pub(super) fn primary_key(&self) -> Vec<String> {
        let paths = self.0["source_defined_primary_key"].as_array();
        let column = |path: &Value| match path.as_array()?.as_slice() {
            [one] => one.as_str().map(str::to_owned),
            _ => None,
        };
        paths
            .and_then(|paths| paths.iter().map(column).collect())
            .unwrap_or_default()
    }

    pub(super) fn cursors(&self) -> Vec<String> {
        let path = self.0["default_cursor_field"].as_array().into_iter().flatten();
        path.filter_map(Value::as_str)
            .map(str::to_owned)
            .take(1)
            .collect()
    }

    /// Whether it is read from where it stood: it can be, and somebody says by what.
    pub(super) fn is_incremental(&self, cursor: &[String]) -> bool {
        let modes = self.0["supported_sync_modes"].as_array();
        let can = modes.is_some_and(|modes| modes.iter().any(|mode| mode == "incremental"));
        can && (self.0["source_defined_cursor"] == true || !cursor.is_empty() || !self.cursors().is_empty())
    }

    /// The stream as a configured catalog asks for it.
    pub(super) fn configured(&self, spec: &StreamSpec, incremental: bool) -> Value {
        let cursor = match spec.cursor.as_slice() {
            [] => self.cursors(),
            own => own.to_vec(),
        };
        let key: Vec<[&String; 1]> = spec.primary_key.iter().map(|column| [column]).collect();
        let mut configured = json!({
            "stream": self.0,
            "sync_mode": if incremental { "incremental" } else { "full_refresh" },
            "destination_sync_mode": if incremental { "append" } else { "overwrite" },
        });
        if incremental && !cursor.is_empty() {
            configured["cursor_field"] = json!(cursor);
        }
        if !key.is_empty() {
            configured["primary_key"] = json!(key);
        }
        configured
    }
}

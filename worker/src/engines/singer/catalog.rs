//! The streams of a tap, and how one of them is selected.

use serde_json::{Map, Value, json};

use crate::stream::StreamSpec;

/// What a tap found, or what the manifest names where it cannot look.
pub(super) struct Catalog {
    whole: Value,
    streams: Vec<Stream>,
    found: bool,
}

/// One stream.
#[derive(Clone, Debug)]
pub(super) struct Stream(Value);

impl Catalog {
    /// The catalog in what a tap wrote, whatever it wrote before and after.
    pub(super) fn find(text: &str) -> Option<Self> {
        let starts = text.match_indices('{').map(|(at, _)| at);
        let line_starts = starts.filter(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n');
        let parse = |at: usize| {
            let whole = serde_json::Deserializer::from_str(&text[at..])
                .into_iter::<Value>()
                .next()?
                .ok()?;
            let streams = whole["streams"]
                .as_array()?
                .iter()
                .cloned()
                .filter_map(Stream::new)
                .collect();
            Some(Self {
                whole,
                streams,
                found: true,
            })
        };
        line_starts.into_iter().find_map(parse)
    }

    /// Streams of which nothing but the name is known.
    pub(super) fn of_names(names: &[String]) -> Self {
        let streams = names
            .iter()
            .map(|name| Stream(json!({ "stream": name, "tap_stream_id": name })));
        Self {
            whole: Value::Null,
            streams: streams.collect(),
            found: false,
        }
    }

    /// Whether the tap told it.
    pub(super) fn found(&self) -> bool {
        self.found
    }

    pub(super) fn streams(&self) -> &[Stream] {
        &self.streams
    }

    pub(super) fn stream(&self, name: &str) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.name() == name)
    }

    /// The catalog with one stream selected, in each of the ways that taps look for.
    pub(super) fn select(&self, spec: &StreamSpec) -> Value {
        let mut whole = self.whole.clone();
        for stream in whole["streams"].as_array_mut().into_iter().flatten() {
            let chosen = Stream(stream.clone()).name() == spec.name;
            mark(stream, chosen, spec);
        }
        whole
    }
}

fn mark(stream: &mut Value, chosen: bool, spec: &StreamSpec) {
    let cursor = spec.cursor.first();
    if let Some(schema) = stream["schema"].as_object_mut() {
        schema.insert("selected".to_owned(), json!(chosen));
    }
    stream["selected"] = json!(chosen);
    if chosen && let Some(cursor) = cursor {
        stream["replication_key"] = json!(cursor);
        stream["replication_method"] = json!("INCREMENTAL");
    }
    let has_metadata = stream["metadata"].is_array();
    if !has_metadata {
        stream["metadata"] = json!([]);
    }
    let Some(metadata) = stream["metadata"].as_array_mut() else {
        return;
    };
    let is_root = |one: &Value| one["breadcrumb"].as_array().is_none_or(Vec::is_empty);
    if !metadata.iter().any(is_root) {
        metadata.push(json!({ "breadcrumb": [], "metadata": {} }));
    }
    for one in metadata.iter_mut() {
        let root = is_root(one);
        let Some(said) = one["metadata"].as_object_mut() else {
            continue;
        };
        if root {
            root_of(said, chosen, cursor);
        } else if chosen && said.get("inclusion") != Some(&json!("unsupported")) {
            said.entry("selected").or_insert(json!(true));
        }
    }
}

fn root_of(said: &mut Map<String, Value>, chosen: bool, cursor: Option<&String>) {
    said.insert("selected".to_owned(), json!(chosen));
    if !chosen {
        return;
    }
    let forced = said.get("forced-replication-method").filter(is_said).cloned();
    let method = match (forced, cursor) {
        (Some(forced), _) => forced,
        (None, Some(_)) => json!("INCREMENTAL"),
        (None, None) if said.get("replication-method").as_ref().is_some_and(is_said) => return,
        (None, None) => json!("FULL_TABLE"),
    };
    said.insert("replication-method".to_owned(), method);
    if let Some(cursor) = cursor {
        said.insert("replication-key".to_owned(), json!(cursor));
    }
}

/// Taps write an empty text where they have nothing to say.
fn is_said(value: &&Value) -> bool {
    !value.is_null() && value.as_str() != Some("")
}

impl Stream {
    fn new(stream: Value) -> Option<Self> {
        let stream = Self(stream);
        (!stream.name().is_empty()).then_some(stream)
    }

    /// The name that tells it from others: records may know it by a shorter one.
    pub(super) fn name(&self) -> &str {
        let text = |key: &str| self.0[key].as_str();
        text("tap_stream_id")
            .or_else(|| text("stream"))
            .unwrap_or_default()
    }

    /// All names that its records may have.
    pub(super) fn names(&self) -> Vec<String> {
        let texts = ["tap_stream_id", "stream", "stream_alias", "table_name"]
            .iter()
            .filter_map(|key| self.0[key].as_str());
        texts.map(str::to_owned).collect()
    }

    pub(super) fn schema(&self) -> &Value {
        &self.0["schema"]
    }

    fn root(&self, key: &str) -> Option<&Value> {
        let mut metadata = self.0["metadata"].as_array()?.iter();
        let root = metadata.find(|one| one["breadcrumb"].as_array().is_none_or(Vec::is_empty))?;
        root["metadata"].get(key).filter(is_said)
    }

    pub(super) fn primary_key(&self) -> Vec<String> {
        let lists = [
            Some(&self.0["key_properties"]),
            self.root("table-key-properties"),
            self.root("view-key-properties"),
        ];
        let names = |list: &Value| -> Vec<String> {
            let list = list.as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let mut keys = lists.into_iter().flatten().map(names);
        keys.find(|key| !key.is_empty()).unwrap_or_default()
    }

    pub(super) fn cursors(&self) -> Vec<String> {
        let own = self.0["replication_key"]
            .as_str()
            .or_else(|| self.root("replication-key")?.as_str());
        let valid = self
            .root("valid-replication-keys")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let mut cursors: Vec<String> = own
            .into_iter()
            .chain(valid.filter_map(Value::as_str))
            .map(str::to_owned)
            .collect();
        cursors.dedup();
        cursors
    }

    /// Whether it is read from where it stood.
    pub(super) fn is_incremental(&self, cursor: &[String]) -> bool {
        let method = self
            .root("forced-replication-method")
            .or_else(|| self.root("replication-method"));
        let method = method
            .or_else(|| self.0.get("replication_method").filter(is_said))
            .and_then(Value::as_str);
        match method {
            Some("FULL_TABLE") => !cursor.is_empty() && self.root("forced-replication-method").is_none(),
            Some(_) => true,
            None => !cursor.is_empty() || self.0["metadata"].is_null(),
        }
    }
}

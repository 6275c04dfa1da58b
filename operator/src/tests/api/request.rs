//! Requests, taken apart; answers that refuse.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

/// What is asked of the server.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) collection: String,
    pub(crate) name: Option<String>,
    /// It concerns the status alone.
    pub(crate) status: bool,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Value,
    /// It is a server-side apply.
    pub(crate) apply: bool,
}

impl Asked {
    pub(crate) fn is_watch(&self) -> bool {
        self.query
            .get("watch")
            .is_some_and(|watch| watch == "true" || watch == "1")
    }

    /// In a few words.
    pub(crate) fn text(&self) -> String {
        let verb = match (&self.method, &self.name) {
            (&Method::GET, None) if self.is_watch() => "WATCH",
            (&Method::GET, None) => "LIST",
            (method, _) => method.as_str(),
        };
        let name = self.name.clone().unwrap_or_default();
        let part = if self.status { "/status" } else { "" };
        format!("{verb} {}/{name}{part}", self.collection)
    }

    /// Whether the labels of an object are those that are asked for.
    pub(super) fn selects(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let selector = self.query.get("labelSelector").map_or("", String::as_str);
        let terms = selector.split(',').filter(|term| !term.is_empty());
        terms.into_iter().all(|term| match term.split_once('=') {
            Some((key, value)) => labels[key] == value,
            None => labels.get(term).is_some(),
        })
    }
}

pub(super) fn pairs(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let plain = |text: &str| text.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
    pairs.map(|(key, value)| (key.to_owned(), plain(value))).collect()
}

pub(super) fn parse(parts: &http::request::Parts, body: &[u8]) -> Asked {
    let kind = parts
        .headers
        .get("content-type")
        .and_then(|kind| kind.to_str().ok());
    Asked {
        method: parts.method.clone(),
        query: pairs(parts.uri.query().unwrap_or_default()),
        body: serde_json::from_slice(body).unwrap_or(Value::Null),
        apply: kind.is_some_and(|kind| kind.contains("apply-patch")),
        ..place_of(parts.uri.path())
    }
}

pub(super) fn place_of(path: &str) -> Asked {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let start = if parts[0] == "api" { 2 } else { 3 };
    let plural = match parts.get(start) {
        Some(&"namespaces") if parts.len() > start + 2 => start + 2,
        _ => start,
    };
    Asked {
        method: Method::GET,
        collection: parts[..=plural].join("/"),
        name: parts.get(plural + 1).map(|name| (*name).to_owned()),
        status: parts.get(plural + 2) == Some(&"status"),
        query: BTreeMap::new(),
        body: Value::Null,
        apply: false,
    }
}

/// An answer that refuses.
pub(crate) fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    (code, status)
}

/// The same, with the time after which it may be asked again.
pub(crate) fn throttled(seconds: u32) -> (u16, Value) {
    let (code, mut status) = failure(
        429,
        "TooManyRequests",
        "too many requests, please try again later",
    );
    status["details"] = json!({ "retryAfterSeconds": seconds });
    (code, status)
}

pub(crate) fn conflict(why: &str) -> (u16, Value) {
    failure(409, "Conflict", why)
}

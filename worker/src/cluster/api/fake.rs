//! An API server in memory, as far as one `ConfigMap` by name goes, that misbehaves on request.
//!
//! It stands where the real one cannot be told to fail: each PUT takes the next [`Fault`] of the script.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Client, client::Body};
use serde_json::{Value, json};

use super::Maps;

/// What becomes of one PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing special.
    None,
    /// Applied; the connection breaks without an answer.
    ApplyThenCut,
    /// Not applied; the connection breaks without an answer.
    Cut,
    /// Applied; the answer is 500.
    ApplyThen500,
    /// Another writer comes in between, to another entry.
    Other,
    /// Not applied; the answer is this.
    Answer(u16),
}

#[derive(Default)]
pub(crate) struct State {
    maps: BTreeMap<String, ConfigMap>,
    versions: u64,
    /// Other objects, by path: they can be read, and patched by a merge.
    pub(crate) objects: BTreeMap<String, Value>,
    pub(crate) script: VecDeque<Fault>,
    /// GETs that are answered with 503 before one is served.
    pub(crate) failing_gets: usize,
    /// Every request, method and query.
    pub(crate) requests: Vec<String>,
}

/// The server's memory, to look into and to prepare.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

impl Fake {
    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A `ConfigMap` appears, or is replaced by somebody else.
    pub(crate) fn put(&self, mut map: ConfigMap) {
        let mut state = self.state();
        state.versions += 1;
        map.metadata.resource_version = Some(state.versions.to_string());
        map.metadata
            .uid
            .get_or_insert_with(|| uuid::Uuid::new_v4().to_string());
        state
            .maps
            .insert(map.metadata.name.clone().unwrap_or_default(), map);
    }

    pub(crate) fn get(&self, name: &str) -> Option<ConfigMap> {
        self.state().maps.get(name).cloned()
    }

    pub(crate) fn delete(&self, name: &str) {
        self.state().maps.remove(name);
    }

    pub(crate) fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { fake.serve(request).await }
        });
        Client::new(service, "default")
    }

    /// The `ConfigMap`s of one namespace, with hardly a pause between attempts.
    pub(crate) fn maps(&self) -> Maps {
        let mut maps = Maps::new(self.client(), "acme");
        maps.backoff.first = std::time::Duration::from_millis(1);
        maps.backoff.most = std::time::Duration::from_millis(2);
        maps
    }

    async fn serve(&self, request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(std::io::Error::other)?;
        let path = parts.uri.path().to_owned();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut state = self.state();
        state.requests.push(format!(
            "{} {}",
            parts.method,
            parts.uri.query().unwrap_or_default()
        ));
        match parts.method {
            Method::GET if state.failing_gets > 0 => {
                state.failing_gets -= 1;
                Ok(status(503))
            }
            Method::GET if state.objects.contains_key(&path) => Ok(answer(200, &state.objects[&path])),
            Method::GET if !path.contains("/configmaps/") => Ok(status(404)),
            Method::PATCH => Ok(state.patch(&path, &body)),
            Method::GET => Ok(match state.maps.get(&name) {
                Some(map) => answer(200, map),
                None => status(404),
            }),
            Method::PUT => {
                let map = serde_json::from_slice(&body).map_err(std::io::Error::other)?;
                state.replace(&name, map)
            }
            _ => Ok(status(405)),
        }
    }
}

impl State {
    fn replace(&mut self, name: &str, map: ConfigMap) -> Result<Response<Body>, std::io::Error> {
        let broken = || std::io::Error::other("the connection broke");
        let fault = self.script.pop_front().unwrap_or(Fault::None);
        match fault {
            Fault::Cut => return Err(broken()),
            Fault::Answer(code) => return Ok(status(code)),
            Fault::Other => {
                self.versions += 1;
                let version = self.versions.to_string();
                if let Some(there) = self.maps.get_mut(name) {
                    there.metadata.resource_version = Some(version);
                    let data = there.data.get_or_insert_default();
                    data.insert("other".to_owned(), "writer".to_owned());
                }
            }
            _ => {}
        }
        let answer = self.apply(name, map);
        match fault {
            Fault::ApplyThenCut => Err(broken()),
            Fault::ApplyThen500 => Ok(status(500)),
            _ => Ok(answer),
        }
    }

    fn patch(&mut self, path: &str, body: &[u8]) -> Response<Body> {
        let Some(object) = self.objects.get_mut(path) else {
            return status(404);
        };
        let patch: Value = serde_json::from_slice(body).unwrap();
        for (key, value) in patch["metadata"]["annotations"].as_object().unwrap() {
            object["metadata"]["annotations"][key] = value.clone();
        }
        answer(200, object)
    }

    fn apply(&mut self, name: &str, mut map: ConfigMap) -> Response<Body> {
        let Some(there) = self.maps.get(name) else {
            return status(404);
        };
        let same = |of: fn(&ConfigMap) -> &Option<String>| of(&map) == of(there);
        if !same(|map| &map.metadata.uid) || !same(|map| &map.metadata.resource_version) {
            return status(409);
        }
        self.versions += 1;
        map.metadata.resource_version = Some(self.versions.to_string());
        let response = answer(200, &map);
        self.maps.insert(name.to_owned(), map);
        response
    }
}

fn answer(code: u16, body: &impl serde::Serialize) -> Response<Body> {
    let mut response = Response::new(Body::from(serde_json::to_vec(body).unwrap()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn status(code: u16) -> Response<Body> {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "Test",
    };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "message": format!("answered {code}"), "reason": reason,
    });
    answer(code, &body)
}

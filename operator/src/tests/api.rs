//! An API server in memory, as far as the operator needs one.
//!
//! In: requests. Out: what a server would answer: UIDs, resource versions and generations, preconditions, server-side
//! apply, finalizers, and children that go with their owners. It keeps a list of writes, notes what must never be asked,
//! and can break off at the n-th write, before it or after it. Reads can be of the past, answers can be refusals, and
//! watches can fail.

mod merge;
pub(crate) mod request;
mod verbs;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Body as Answer;
use http::{Method, Request, Response};
use kube::client::{Body, retry::RetryPolicy};
use serde_json::Value;
use tower::BoxError;

use request::{Asked, failure, pairs, parse, place_of};
use watch::Change;
pub(crate) use watch::Watching;

/// The place of an object: its collection and its name.
type Place = (String, String);

/// When the process that asks breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// Before the n-th write is done.
    Before(usize),
    /// After it is done, and before its answer comes.
    After(usize),
}

/// What answers in place of the server.
pub(crate) type Trouble = Box<dyn FnMut(&Asked) -> Option<(u16, Value)> + Send>;

#[derive(Default)]
struct State {
    objects: BTreeMap<Place, Value>,
    applied: BTreeMap<(Place, String), Value>,
    version: u64,
    uid: u64,
    writes: Vec<String>,
    counted: usize,
    break_at: Option<Break>,
    dead: bool,
    refusals: BTreeMap<String, (u16, String)>,
    trouble: Option<Trouble>,
    shaken: Option<fastrand::Rng>,
    reads: Vec<String>,
    log: Vec<Change>,
    news: tokio::sync::watch::Sender<u64>,
    watching: Watching,
    past: Option<BTreeMap<Place, Value>>,
    violations: BTreeSet<String>,
}

/// The server.
#[derive(Clone, Default)]
pub(crate) struct Server(Arc<Mutex<State>>);

impl Server {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let asked = parse(&parts, &body.collect_bytes().await?);
                server.pause().await;
                server.respond(asked)
            }
        });
        // As the real client does: it waits as long as the server asks it to.
        let service = tower::retry::Retry::new(RetryPolicy::server_retry(), service);
        kube::Client::new(service, "default")
    }

    fn respond(&self, asked: Asked) -> Result<Response<Answer>, BoxError> {
        let (code, value) = self.lock().answer(&asked).ok_or("connection reset")?;
        let mut response = Response::builder().status(code);
        if let Some(seconds) = value["details"]["retryAfterSeconds"].as_u64() {
            response = response.header("Retry-After", seconds);
        }
        let body = match asked.is_watch() && code == 200 {
            true => watch::watch(self.clone(), asked),
            false => Answer::from(serde_json::to_vec(&value)?),
        };
        Ok(response.body(body)?)
    }

    /// Lets others go first, as chance has it.
    async fn pause(&self) {
        let steps = self.lock().shaken.as_mut().map_or(0, |chance| chance.u8(0..4));
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
    }

    /// From now on requests overtake each other.
    pub(crate) fn shake(&self, seed: u64) {
        self.lock().shaken = Some(fastrand::Rng::with_seed(seed));
    }

    /// From now on this answers where it has something to say.
    pub(crate) fn trouble(&self, trouble: impl FnMut(&Asked) -> Option<(u16, Value)> + Send + 'static) {
        self.lock().trouble = Some(Box::new(trouble));
    }

    /// How watches fare from now on.
    pub(crate) fn watching(&self, watching: Watching) {
        let mut state = self.lock();
        state.watching = watching;
        // Those that wait look up.
        let version = state.version;
        state.news.send_replace(version);
    }

    /// From now on everything that is read is as it was after so many changes.
    pub(crate) fn show_past(&self, changes: usize) {
        let mut state = self.lock();
        let mut past = BTreeMap::new();
        for change in &state.log[..changes] {
            match change.type_ {
                "DELETED" => drop(past.remove(&change.place)),
                _ => drop(past.insert(change.place.clone(), change.object.clone())),
            }
        }
        state.past = Some(past);
    }

    pub(crate) fn changes(&self) -> usize {
        self.lock().log.len()
    }

    /// All requests that only read.
    pub(crate) fn reads(&self) -> Vec<String> {
        self.lock().reads.clone()
    }

    /// What has no owner any more goes, as the garbage collector has it.
    pub(crate) fn collect_orphans(&self) {
        self.lock().collect_orphans();
    }

    /// Breaks off at a write, counted from now.
    pub(crate) fn break_at(&self, at: Break) {
        let mut state = self.lock();
        (state.counted, state.break_at, state.dead) = (0, Some(at), false);
    }

    /// The process is started again; says whether it had broken off.
    pub(crate) fn revive(&self) -> bool {
        let mut state = self.lock();
        state.break_at = None;
        std::mem::take(&mut state.dead)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// From now on a collection takes nothing new.
    pub(crate) fn refuse(&self, collection: &str, code: u16, message: &str) {
        self.lock()
            .refusals
            .insert(collection.to_owned(), (code, message.to_owned()));
    }

    pub(crate) fn accept(&self) {
        let mut state = self.lock();
        state.refusals.clear();
        state.trouble = None;
        state.past = None;
    }

    pub(crate) fn writes(&self) -> usize {
        self.lock().writes.len()
    }

    pub(crate) fn writes_since(&self, start: usize) -> Vec<String> {
        self.lock().writes[start..].to_vec()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.iter().cloned().collect()
    }

    /// All objects of a plural, in the order of their names.
    pub(crate) fn all(&self, plural: &str) -> Vec<Value> {
        let suffix = format!("/{plural}");
        let state = self.lock();
        let found = state
            .objects
            .iter()
            .filter(|((collection, _), _)| collection.ends_with(&suffix));
        found.map(|(_, object)| object.clone()).collect()
    }

    /// Every collection and name.
    pub(crate) fn places(&self) -> BTreeSet<String> {
        let state = self.lock();
        let places = state
            .objects
            .keys()
            .filter(|(collection, _)| !collection.ends_with("/events"));
        places
            .map(|(collection, name)| format!("{collection}/{name}"))
            .collect()
    }

    /// The text of everything that is kept.
    pub(crate) fn text(&self) -> String {
        let state = self.lock();
        state.objects.values().map(ToString::to_string).collect()
    }

    /// Somebody other than the operator does something: it counts as no write of its own.
    pub(crate) fn outside(&self, method: Method, path: &str, body: &Value) -> Value {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut asked = place_of(path);
        asked.method = method;
        asked.body = body.clone();
        asked.query = pairs(query);
        let mut state = self.lock();
        let (code, value) = state.act(&asked);
        assert!(code < 300, "{path}: {value}");
        value
    }
}

impl State {
    /// The answer to the operator; `None`: the connection breaks.
    fn answer(&mut self, asked: &Asked) -> Option<(u16, Value)> {
        if self.dead {
            return None;
        }
        if asked.collection.ends_with("/secrets") {
            self.violations
                .insert(format!("{} {}", asked.method, asked.collection));
        }
        if asked.method == Method::GET {
            self.reads.push(asked.text());
        }
        let refused = self.trouble.as_mut().and_then(|trouble| trouble(asked));
        if refused.is_some() {
            return refused;
        }
        if asked.method == Method::GET {
            return Some(self.read(asked));
        }
        self.counted += 1;
        if self.break_at == Some(Break::Before(self.counted)) {
            self.dead = true;
            return None;
        }
        self.writes.push(asked.text());
        let refused = self
            .refusals
            .iter()
            .find(|(end, _)| asked.collection.ends_with(end.as_str()));
        if let Some((_, (code, message))) = refused.filter(|_| asked.method != Method::DELETE) {
            let reason = if *code == 403 { "Forbidden" } else { "Invalid" };
            return Some(failure(*code, reason, message));
        }
        self.check(asked);
        let answer = self.act(asked);
        if self.break_at == Some(Break::After(self.counted)) {
            self.dead = true;
            return None;
        }
        Some(answer)
    }

    /// What is deleted or replaced must be the object that was looked at, as it was.
    fn check(&mut self, asked: &Asked) {
        let given = match asked.method {
            Method::DELETE => &asked.body["preconditions"],
            Method::PUT => &asked.body["metadata"],
            _ => return,
        };
        if given["uid"].as_str().is_none() || given["resourceVersion"].as_str().is_none() {
            self.violations.insert(format!(
                "{} {} without preconditions",
                asked.method, asked.collection
            ));
        }
    }

    fn read(&mut self, asked: &Asked) -> (u16, Value) {
        if asked.name.is_none()
            && let Some(deaf) = self.deaf(asked)
        {
            return deaf;
        }
        match self.past.take() {
            None => self.act(asked),
            Some(past) => {
                let now = std::mem::replace(&mut self.objects, past);
                let answer = self.act(asked);
                self.past = Some(std::mem::replace(&mut self.objects, now));
                answer
            }
        }
    }
}

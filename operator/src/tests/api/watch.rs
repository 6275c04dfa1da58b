//! Watches, and what can go wrong with them.
//!
//! In: the log of changes. Out: events, one a line, from a version on. A watch can end early, tell everything twice, or
//! answer that the version is gone; while the server keeps silent, nobody learns of anything.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream;
use serde_json::{Value, json};

use super::request::{Asked, failure};
use super::{Place, Server, State};

/// How watches fare.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watching {
    /// They end after this time.
    pub(crate) life: Option<Duration>,
    /// Everything is told twice.
    pub(crate) twice: bool,
    /// No old version can be watched from: what happened while nobody watched is told by the next list alone.
    pub(crate) forgets: bool,
    /// Nothing is told and nothing listed.
    pub(crate) silent: bool,
}

/// One change.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) place: Place,
    pub(super) type_: &'static str,
    pub(super) object: Value,
}

impl State {
    pub(super) fn log(&mut self, place: Place, type_: &'static str, object: Value) {
        let version = self.version;
        self.log.push(Change {
            version,
            place,
            type_,
            object,
        });
        self.news.send_replace(version);
    }

    /// Why a watch or a list is not answered.
    pub(super) fn deaf(&self, asked: &Asked) -> Option<(u16, Value)> {
        let watching = &self.watching;
        let from = asked
            .query
            .get("resourceVersion")
            .and_then(|from| from.parse::<u64>().ok());
        if watching.silent {
            return Some(failure(500, "InternalError", "etcdserver: request timed out"));
        }
        let old = from.is_some_and(|from| from < self.version);
        (watching.forgets && asked.is_watch() && old)
            .then(|| failure(410, "Expired", "too old resource version"))
    }

    /// The next change from a version on, as a line.
    fn next(&self, asked: &Asked, from: u64) -> Option<(u64, String)> {
        let start = self.log.partition_point(|change| change.version <= from);
        for (at, change) in self.log.iter().enumerate().skip(start) {
            if change.place.0 != asked.collection {
                continue;
            }
            let before = self.log[..at]
                .iter()
                .rev()
                .find(|before| before.place == change.place);
            let was = before.is_some_and(|before| before.type_ != "DELETED" && asked.selects(&before.object));
            let type_ = match (was, asked.selects(&change.object)) {
                (_, true) => change.type_,
                (true, false) => "DELETED",
                (false, false) => continue,
            };
            let line = format!("{}\n", json!({ "type": type_, "object": change.object }));
            return Some((change.version, line));
        }
        None
    }
}

/// The answer to a watch.
pub(super) fn watch(server: Server, asked: Asked) -> Body {
    let (news, watching) = {
        let state = server.lock();
        (state.news.subscribe(), state.watching.clone())
    };
    let from = asked
        .query
        .get("resourceVersion")
        .and_then(|from| from.parse().ok());
    let life = watching.life.unwrap_or(Duration::from_hours(1));
    let end = tokio::time::Instant::now() + life;
    let start = (server, asked, from.unwrap_or_default(), news);
    Body::from_stream(stream::unfold(
        start,
        move |(server, asked, mut from, mut news)| async move {
            loop {
                let (next, silent) = {
                    let state = server.lock();
                    (state.next(&asked, from), state.watching.silent)
                };
                if silent {
                    return None;
                }
                if let Some((version, line)) = next {
                    from = version;
                    let line = if watching.twice { line.repeat(2) } else { line };
                    return Some((
                        Ok::<_, Infallible>(Bytes::from(line)),
                        (server, asked, from, news),
                    ));
                }
                if tokio::time::timeout_at(end, news.changed()).await.is_err() {
                    return None;
                }
            }
        },
    ))
}

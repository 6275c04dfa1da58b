//! Watching: which changes of an object are news.
//!
//! In: the events of a watch. Out: the objects that changed in a way that matters: spec, labels, annotations (a trigger
//! is one), finalizers, deletion; never a status, which is what we write ourselves. What a restarted watch no longer
//! lists is gone. A watch that breaks is made again by itself, so that none waits for another.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::{
    Api, Resource,
    api::ObjectMeta,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{Config, DefaultBackoff, Error, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

use crate::index::Key;

/// Where kubectl keeps a copy of the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The longest wait before a watch that broke is made again: so late may a change be seen after the API server was away.
const LONGEST: Duration = Duration::from_secs(10);

/// A watch of the metadata of a kind; what breaks it is told, and it goes on.
pub fn watching<K>(
    api: Api<PartialObjectMeta<K>>,
    which: Config,
) -> impl Stream<Item = Result<Event<PartialObjectMeta<K>>, Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(api, which).backoff(Pause::default()).modify(strip)
}

/// The waits between attempts to make a watch again.
#[derive(Default)]
struct Pause(DefaultBackoff);

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(LONGEST))
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// No waits: each watch of a controller has its own, and what one of them waits for must not hold back the others.
pub struct NoPause;

impl Iterator for NoPause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

impl Backoff for NoPause {
    fn reset(&mut self) {}
}

/// What happened to an object.
#[derive(Clone, Debug)]
pub struct News<K> {
    /// The object.
    pub object: PartialObjectMeta<K>,
    /// It is no longer there.
    pub gone: bool,
}

/// The news among the events of a watch.
pub fn news<K>(
    events: impl Stream<Item = Result<Event<PartialObjectMeta<K>>, Error>> + Send,
) -> impl Stream<Item = Result<News<K>, Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + 'static,
{
    let mut seen = Seen::default();
    events.flat_map(move |event| {
        let news = match event {
            Ok(event) => seen.take(event).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(news)
    })
}

/// Leaves out what is long and says nothing.
fn strip<K>(object: &mut PartialObjectMeta<K>) {
    object.metadata.managed_fields = None;
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// What was last seen of each object.
#[derive(Debug, Default)]
struct Seen {
    known: HashMap<Key, u64>,
    listed: HashSet<Key>,
}

impl Seen {
    fn take<K: Resource<DynamicType = ()> + Clone>(
        &mut self,
        event: Event<PartialObjectMeta<K>>,
    ) -> Vec<News<K>> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listed.insert(Key::of(&object));
                self.changed(object)
            }
            Event::Apply(object) => self.changed(object),
            Event::Delete(object) => {
                self.known.remove(&Key::of(&object));
                vec![News { object, gone: true }]
            }
            Event::InitDone => self.unlisted(),
        }
    }

    fn changed<K: Resource<DynamicType = ()>>(&mut self, object: PartialObjectMeta<K>) -> Vec<News<K>> {
        let mark = mark(&object.metadata);
        match self.known.insert(Key::of(&object), mark) {
            Some(before) if before == mark => Vec::new(),
            _ => vec![News { object, gone: false }],
        }
    }

    fn unlisted<K>(&mut self) -> Vec<News<K>> {
        let listed = std::mem::take(&mut self.listed);
        let gone: Vec<Key> = self
            .known
            .keys()
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect();
        let tell = |key: Key| {
            self.known.remove(&key);
            let metadata = ObjectMeta {
                name: Some(key.name),
                namespace: Some(key.namespace).filter(|namespace| !namespace.is_empty()),
                ..ObjectMeta::default()
            };
            let object = PartialObjectMeta {
                types: None,
                metadata,
                _phantom: std::marker::PhantomData,
            };
            News { object, gone: true }
        };
        gone.into_iter().map(tell).collect()
    }
}

/// What matters of an object, as a number. Another object of the same name is another one.
fn mark(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    meta.generation.hash(&mut hasher);
    meta.labels.hash(&mut hasher);
    meta.annotations.hash(&mut hasher);
    meta.finalizers.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{ResourceExt, core::PartialObjectMetaExt};

    use super::*;

    fn object(name: &str, annotation: &str, version: &str) -> PartialObjectMeta<ConfigMap> {
        let meta = ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(format!("uid-{name}")),
            generation: Some(1),
            resource_version: Some(version.to_owned()),
            annotations: Some([("a".to_owned(), annotation.to_owned())].into()),
            ..ObjectMeta::default()
        };
        meta.into_response_partial()
    }

    #[test]
    fn an_annotation_is_news_and_a_status_is_not() {
        let mut seen = Seen::default();
        assert_eq!(seen.take(Event::Apply(object("x", "1", "1"))).len(), 1);
        assert!(seen.take(Event::Apply(object("x", "1", "2"))).is_empty());
        assert_eq!(seen.take(Event::Apply(object("x", "2", "3"))).len(), 1);
        let gone = seen.take(Event::Delete(object("x", "2", "4")));
        assert!(gone[0].gone);
    }

    #[test]
    fn what_a_new_list_does_not_hold_is_gone() {
        let mut seen = Seen::default();
        seen.take(Event::Apply(object("x", "1", "1")));
        seen.take(Event::Apply(object("y", "1", "2")));
        assert!(seen.take(Event::<PartialObjectMeta<ConfigMap>>::Init).is_empty());
        assert!(seen.take(Event::InitApply(object("y", "1", "2"))).is_empty());
        let gone = seen.take(Event::<PartialObjectMeta<ConfigMap>>::InitDone);
        assert_eq!(gone.len(), 1);
        assert!(gone[0].gone && gone[0].object.name_any() == "x");
    }
}

//! Watching children: which owners are to be looked at.
//!
//! In: a watch over the children of one kind of owner, by their metadata alone. Out: children that have changed in a
//! way that their owner did not bring about, are new or are gone, also while nobody watched; and what is known of all.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use kube::{
    Api, Resource, ResourceExt,
    api::ObjectMeta,
    core::PartialObjectMeta,
    runtime::watcher::{self, Error, Event},
};
use millrace_crds::channel::{MANAGER, NAME_ANNOTATION};
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::index::Key;
use crate::known::{Scope, owner_name};
use crate::watch::watching;

/// Children of one kind of owner.
pub(crate) fn of_owners(label: &str) -> watcher::Config {
    watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER},{label}"))
}

/// The children of one kind, of owners of one kind, that are to be looked at; `namespace`: only there.
pub(crate) fn heard<K>(
    context: &Arc<Context>,
    api: Api<PartialObjectMeta<K>>,
    label: &'static str,
    namespace: Option<&String>,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, Error>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let events = watching(api, of_owners(label));
    let mut heard = Heard {
        scope: Scope::new::<K>(label, namespace),
        listed: HashSet::new(),
    };
    let context = context.clone();
    context.known.watch(&heard.scope);
    events.flat_map(move |event| {
        let news = match event {
            Ok(event) => heard.take(&context, event).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(news)
    })
}

/// The owner of a child, by its full name.
pub(crate) fn owner_key<K: Resource>(child: &K) -> Key {
    Key::new(&child.namespace().unwrap_or_default(), &owner_name(child))
}

struct Heard {
    scope: Scope,
    listed: HashSet<Key>,
}

impl Heard {
    fn take<K: Resource<DynamicType = ()> + Clone>(
        &mut self,
        context: &Context,
        event: Event<PartialObjectMeta<K>>,
    ) -> Vec<PartialObjectMeta<K>> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(child) => {
                self.listed.insert(Key::of(&child));
                self.changed(context, child)
            }
            Event::Apply(child) => self.changed(context, child),
            Event::Delete(child) => {
                context.known.gone(&self.scope, Key::of(&child));
                vec![child]
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let gone = context.known.complete(&self.scope, &listed);
                gone.into_iter()
                    .map(|(key, owner)| remembered(key, owner))
                    .collect()
            }
        }
    }

    fn changed<K: Resource<DynamicType = ()>>(
        &self,
        context: &Context,
        child: PartialObjectMeta<K>,
    ) -> Vec<PartialObjectMeta<K>> {
        let version = child.resource_version().unwrap_or_default();
        let news = context
            .known
            .tell(&self.scope, Key::of(&child), &owner_name(&child), &version);
        news.then_some(child).into_iter().collect()
    }
}

/// What is left of a child that went while nobody watched.
fn remembered<K>(key: Key, owner: String) -> PartialObjectMeta<K> {
    PartialObjectMeta {
        types: None,
        metadata: ObjectMeta {
            name: Some(key.name),
            namespace: Some(key.namespace),
            annotations: Some(BTreeMap::from([(NAME_ANNOTATION.to_owned(), owner)])),
            ..ObjectMeta::default()
        },
        _phantom: std::marker::PhantomData,
    }
}

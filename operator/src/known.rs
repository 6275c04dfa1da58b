//! What watches tell of children: enough to see that one is as it was when it was last compared.
//!
//! In: versions, as watches tell them, and as they were when a child was compared with what it is to be. Out: whether a
//! child needs no look. It only ever saves a read: what is written or deleted is read anew before. A watch that lags
//! behind tells of a change later, and the owner is looked at then.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::{Resource, ResourceExt};

use crate::index::Key;

/// A child: its kind and its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    kind: &'static str,
    key: Key,
}

impl Place {
    /// The place of a name in a namespace.
    pub(crate) fn new<K: Resource<DynamicType = ()>>(namespace: &str, name: &str) -> Self {
        Self {
            kind: std::any::type_name::<K>(),
            key: Key::new(namespace, name),
        }
    }
}

/// What one watch covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    kind: &'static str,
    /// The label of the owners.
    label: &'static str,
    /// The namespace; `None`: all.
    namespace: Option<String>,
}

impl Scope {
    pub(crate) fn new<K: Resource<DynamicType = ()>>(
        label: &'static str,
        namespace: Option<&String>,
    ) -> Self {
        Self {
            kind: std::any::type_name::<K>(),
            label,
            namespace: namespace.cloned(),
        }
    }

    fn covers(&self, place: &Place, label: &str) -> bool {
        let here = self
            .namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == place.key.namespace);
        self.kind == place.kind && self.label == label && here
    }
}

/// One child, as it was told of.
#[derive(Clone, Debug)]
struct Told {
    label: &'static str,
    owner: String,
    version: String,
}

#[derive(Debug, Default)]
struct Inner {
    told: HashMap<Place, Told>,
    compared: HashMap<Place, (String, String)>,
    watched: HashSet<Scope>,
    complete: HashSet<Scope>,
}

/// What is known of children.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Inner>);

impl Known {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A child is there in this version; says whether that is news.
    pub(crate) fn tell(&self, scope: &Scope, key: Key, owner: &str, version: &str) -> bool {
        let place = Place {
            kind: scope.kind,
            key,
        };
        let told = Told {
            label: scope.label,
            owner: owner.to_owned(),
            version: version.to_owned(),
        };
        let mut inner = self.lock();
        let ours = inner
            .compared
            .get(&place)
            .is_some_and(|(compared, _)| compared == version);
        let before = inner.told.insert(place, told);
        !ours && before.is_none_or(|before| before.version != version)
    }

    /// A child is gone.
    pub(crate) fn gone(&self, scope: &Scope, key: Key) {
        let place = Place {
            kind: scope.kind,
            key,
        };
        let mut inner = self.lock();
        // One that is another kind of owner's by now is told of by another watch.
        if inner
            .told
            .get(&place)
            .is_some_and(|told| told.label == scope.label)
        {
            inner.told.remove(&place);
            inner.compared.remove(&place);
        }
    }

    /// All that there is has been listed. Gives back what is not among it, with its owners.
    pub(crate) fn complete(&self, scope: &Scope, listed: &HashSet<Key>) -> Vec<(Key, String)> {
        let mut inner = self.lock();
        inner.complete.insert(scope.clone());
        let gone = inner
            .told
            .iter()
            .filter(|(place, child)| scope.covers(place, child.label) && !listed.contains(&place.key))
            .map(|(place, child)| (place.clone(), child.owner.clone()));
        let gone: Vec<(Place, String)> = gone.collect();
        for (place, _) in &gone {
            inner.told.remove(place);
            inner.compared.remove(place);
        }
        gone.into_iter()
            .map(|(place, owner)| (place.key, owner))
            .collect()
    }

    /// There is a watch that tells of these.
    pub(crate) fn watch(&self, scope: &Scope) {
        self.lock().watched.insert(scope.clone());
    }

    /// In its version now a child is what has this hash. Where no watch would tell of its end, nothing is noted.
    pub(crate) fn compared<K: Resource>(&self, place: Place, child: &K, hash: String) {
        let mut inner = self.lock();
        let mut labels = child.labels().keys();
        let is_watched = labels.any(|label| inner.watched.iter().any(|scope| scope.covers(&place, label)));
        if let Some(version) = child.resource_version().filter(|_| is_watched) {
            inner.compared.insert(place, (version, hash));
        }
    }

    /// Whether a child is what has this hash, as far as was told.
    pub(crate) fn is(&self, place: &Place, hash: &str) -> bool {
        let inner = self.lock();
        let both = inner.told.get(place).zip(inner.compared.get(place));
        both.is_some_and(|(told, (version, compared))| told.version == *version && compared == hash)
    }

    /// Whether a child is there, as far as was told.
    pub(crate) fn is_there(&self, place: &Place) -> bool {
        self.lock().told.contains_key(place)
    }

    /// Whether a child of such an owner is not there, as far as was told; not so where nobody tells.
    pub(crate) fn is_absent(&self, place: &Place, label: &'static str) -> bool {
        let inner = self.lock();
        let scope = |namespace: Option<String>| Scope {
            kind: place.kind,
            label,
            namespace,
        };
        let told = [scope(None), scope(Some(place.key.namespace.clone()))];
        told.iter().any(|scope| inner.complete.contains(scope)) && !inner.told.contains_key(place)
    }
}

/// The name of the owner of a child: as its owner reference has it, or as it is noted on one that has none.
pub(crate) fn owner_name<K: Resource>(child: &K) -> String {
    let owners = child.owner_references().iter();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    let noted = || {
        child
            .annotations()
            .get(millrace_crds::channel::NAME_ANNOTATION)
            .cloned()
    };
    let named = controllers.next().map(|owner| owner.name.clone());
    named.or_else(noted).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn scope() -> Scope {
        Scope::new::<ConfigMap>("flow", None)
    }

    fn place() -> Place {
        Place::new::<ConfigMap>("acme", "x")
    }

    fn child(label: &str, version: &str) -> ConfigMap {
        let mut child = ConfigMap::default();
        child.labels_mut().insert(label.to_owned(), "lake".to_owned());
        child.metadata.resource_version = Some(version.to_owned());
        child
    }

    #[test]
    fn a_child_needs_no_look_while_its_version_is_the_compared_one() {
        let known = Known::default();
        let key = Key::new("acme", "x");
        known.watch(&scope());
        assert!(known.tell(&scope(), key.clone(), "lake", "1"));
        assert!(!known.is(&place(), "h"), "it was never compared");
        known.compared(place(), &child("flow", "2"), "h".to_owned());
        assert!(!known.is(&place(), "h"), "the watch lags behind");
        assert!(
            !known.tell(&scope(), key.clone(), "lake", "2"),
            "our own write is no news"
        );
        assert!(known.is(&place(), "h") && !known.is(&place(), "other"));
        assert!(
            known.tell(&scope(), key.clone(), "lake", "3"),
            "somebody else's is"
        );
        assert!(!known.is(&place(), "h"));
        known.gone(&scope(), key);
        assert!(!known.is_there(&place()));
    }

    #[test]
    fn of_what_nobody_watches_nothing_is_kept() {
        let known = Known::default();
        known.watch(&scope());
        known.compared(place(), &child("source", "1"), "h".to_owned());
        assert!(known.lock().compared.is_empty());
    }

    #[test]
    fn what_a_list_does_not_hold_is_gone_and_absent_only_after_a_list() {
        let known = Known::default();
        assert!(!known.is_absent(&place(), "flow"), "nobody has told of anything");
        known.tell(&scope(), Key::new("acme", "x"), "lake", "1");
        let gone = known.complete(&scope(), &HashSet::new());
        assert_eq!(gone, [(Key::new("acme", "x"), "lake".to_owned())]);
        assert!(known.is_absent(&place(), "flow"));
        assert!(!known.is_absent(&place(), "source"), "that watch has not told");
    }
}

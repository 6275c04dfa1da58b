//! The resources that a resolver looks into, from files or from a cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use kube::Resource;

use crate::problem::{Located, Place};
use crate::schema::Contract;
use crate::{Connector, Flow, Job, Source};

/// All resources at hand.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// The Connectors.
    pub connectors: Vec<Located<Connector>>,
    /// The Sources.
    pub sources: Vec<Located<Source>>,
    /// The Flows.
    pub flows: Vec<Located<Flow>>,
    /// The Jobs.
    pub jobs: Vec<Located<Job>>,
    /// The Secrets among the manifests, for local runs; always empty in a cluster.
    pub secrets: Vec<LocalSecret>,
    /// The `ConfigMap`s at hand.
    pub config_maps: Vec<LocalConfigMap>,
    /// The data contracts that Sources refer to, by path.
    pub contracts: BTreeMap<PathBuf, Contract>,
}

/// Values by key, of a namespace and name.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalSecret {
    /// The namespace; `default` where the manifest names none.
    pub namespace: String,
    /// The name.
    pub name: String,
    values: BTreeMap<String, Vec<u8>>,
}

impl LocalSecret {
    /// A Secret of these values.
    #[must_use]
    pub fn new(namespace: &str, name: &str, values: BTreeMap<String, Vec<u8>>) -> Self {
        Self {
            namespace: self::namespace(Some(namespace)).to_owned(),
            name: name.to_owned(),
            values,
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key).map(Vec::as_slice)
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

// By hand, so that no log line or panic shows a value.
impl fmt::Debug for LocalSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.values.keys().collect();
        write!(f, "Secret {}/{} {keys:?}", self.namespace, self.name)
    }
}

/// A ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalConfigMap {
    /// The namespace; `default` where the manifest names none.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Its values by key.
    pub values: BTreeMap<String, Vec<u8>>,
}

impl LocalConfigMap {
    /// A ConfigMap of these values.
    #[must_use]
    pub fn new(namespace: &str, name: &str, values: BTreeMap<String, Vec<u8>>) -> Self {
        Self {
            namespace: self::namespace(Some(namespace)).to_owned(),
            name: name.to_owned(),
            values,
        }
    }
}

impl Resources {
    /// The Secret of a name.
    #[must_use]
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&LocalSecret> {
        self.secrets
            .iter()
            .find(|secret| secret.namespace == namespace && secret.name == name)
    }

    /// The ConfigMap of a name.
    #[must_use]
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&LocalConfigMap> {
        self.config_maps
            .iter()
            .find(|map| map.namespace == namespace && map.name == name)
    }

    /// The Source of a name.
    #[must_use]
    pub fn source(&self, namespace: &str, name: &str) -> Option<&Located<Source>> {
        find(&self.sources, namespace, name)
    }

    /// The Flow of a name.
    #[must_use]
    pub fn flow(&self, namespace: &str, name: &str) -> Option<&Located<Flow>> {
        find(&self.flows, namespace, name)
    }
}

fn find<'a, T: Resource>(all: &'a [Located<T>], namespace: &str, name: &str) -> Option<&'a Located<T>> {
    all.iter()
        .find(|one| namespace_of(&one.object) == namespace && one.object.meta().name.as_deref() == Some(name))
}

/// The namespace of a resource; `default` where it names none.
pub fn namespace_of<T: Resource>(object: &T) -> &str {
    namespace(object.meta().namespace.as_deref())
}

/// A namespace, or `default`.
pub(crate) fn namespace(name: Option<&str>) -> &str {
    name.filter(|name| !name.is_empty()).unwrap_or("default")
}

/// The directory against which a manifest's relative paths are meant.
pub(crate) fn base_dir(place: &Place) -> PathBuf {
    let file = place.file.as_deref().map(std::path::Path::new);
    file.and_then(std::path::Path::parent)
        .map(PathBuf::from)
        .unwrap_or_default()
}

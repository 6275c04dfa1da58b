//! Who uses what, so that a change of a Source or a Connector wakes up those that depend on it.
//!
//! In: what each reconcile finds its object to use, noted before it is read. Out: the objects to look at when something
//! changes, and counts for statuses. It is memory only: each start fills it anew, as every object is reconciled once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use millrace_crds::{Flow, Job, Source};
use tokio::sync::broadcast;

use crate::run::Reconcile;

/// An object, by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self::new(&object.namespace().unwrap_or_default(), &object.name_any())
    }

    /// The key of a name in a namespace.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The key as the controllers have it.
    #[must_use]
    pub fn reference<K: Resource<DynamicType = ()>>(&self) -> ObjectRef<K> {
        ObjectRef::new(&self.name).within(&self.namespace)
    }
}

/// What one Flow uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowUses {
    /// Its Source.
    pub source: String,
    /// The Connector of its destination.
    pub connector: Option<String>,
}

/// The names of the kinds whose users are counted.
const FLOW: &str = <Flow as Reconcile>::KIND;
const SOURCE: &str = <Source as Reconcile>::KIND;

/// Changes that may wait to be heard of, at one time.
const WAITING: usize = 4096;

/// Who uses what.
#[derive(Debug)]
pub struct Index {
    uses: Mutex<Uses>,
    sources: broadcast::Sender<Key>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            uses: Mutex::default(),
            sources: broadcast::Sender::new(WAITING),
        }
    }
}

/// Objects of a kind that are there and have not been noted yet.
#[derive(Debug, Default)]
struct Awaited {
    /// Watches that have not listed them yet.
    lists: usize,
    left: BTreeSet<Key>,
}

impl Awaited {
    fn is_over(&self) -> bool {
        self.lists == 0 && self.left.is_empty()
    }
}

#[derive(Debug, Default)]
struct Uses {
    awaited: HashMap<&'static str, Awaited>,
    sources: HashMap<Key, Option<String>>,
    flows: HashMap<Key, FlowUses>,
    jobs: HashMap<Key, String>,
}

impl Index {
    fn lock(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Objects of a kind are about to be listed: until all of them have been noted, counts are too low.
    pub fn await_list(&self, kind: &'static str) {
        self.lock().awaited.entry(kind).or_default().lists += 1;
    }

    /// They are listed.
    pub fn listed(&self, kind: &'static str, keys: impl IntoIterator<Item = Key>) {
        let mut uses = self.lock();
        let noted = |key: &Key| match kind {
            SOURCE => uses.sources.contains_key(key),
            _ => uses.flows.contains_key(key),
        };
        let left: Vec<Key> = keys.into_iter().filter(|key| !noted(key)).collect();
        let awaited = uses.awaited.entry(kind).or_default();
        awaited.lists = awaited.lists.saturating_sub(1);
        awaited.left.extend(left);
        self.tell_all(&uses, kind);
    }

    /// Whether every Flow that there is has been noted.
    pub fn knows_flows(&self) -> bool {
        self.lock().awaited.get(FLOW).is_none_or(Awaited::is_over)
    }

    /// Whether every Flow and every Source has been noted.
    pub fn knows_all(&self) -> bool {
        self.lock().awaited.values().all(Awaited::is_over)
    }

    /// An object that is there cannot be read, so that it is never noted.
    pub fn pass_over(&self, kind: &'static str, key: &Key) {
        self.noted(&mut self.lock(), kind, key);
    }

    fn noted(&self, uses: &mut Uses, kind: &'static str, key: &Key) {
        let Some(awaited) = uses.awaited.get_mut(kind) else {
            return;
        };
        if awaited.left.remove(key) {
            self.tell_all(uses, kind);
        }
    }

    /// Counts that waited for the last Flow can be told now.
    fn tell_all(&self, uses: &Uses, kind: &'static str) {
        if kind == FLOW && uses.awaited.get(kind).is_some_and(Awaited::is_over) {
            let read: BTreeSet<(&str, &str)> = uses
                .flows
                .iter()
                .map(|(flow, uses)| (flow.namespace.as_str(), uses.source.as_str()))
                .collect();
            read.iter()
                .for_each(|(namespace, source)| self.tell(namespace, source));
        }
    }

    /// The Sources that are read by others than before.
    pub fn changed_sources(&self) -> broadcast::Receiver<Key> {
        self.sources.subscribe()
    }

    /// Nobody may listen yet: then every Source is still to be looked at for the first time.
    fn tell(&self, namespace: &str, source: &str) {
        let _ = self.sources.send(Key::new(namespace, source));
    }

    /// A Source reads with this Connector.
    pub fn note_source(&self, source: &Source) {
        let connector = source
            .spec
            .connector
            .as_ref()
            .map(|connector| connector.name.clone());
        let (key, mut uses) = (Key::of(source), self.lock());
        uses.sources.insert(key.clone(), connector);
        self.noted(&mut uses, SOURCE, &key);
    }

    /// A Flow uses this Source and this Connector.
    pub fn note_flow(&self, flow: &Flow) {
        let connector = &flow.spec.destination.connector;
        let uses = FlowUses {
            source: flow.spec.source.name.clone(),
            connector: connector.as_ref().map(|connector| connector.name.clone()),
        };
        let (key, now) = (Key::of(flow), uses.source.clone());
        let before = {
            let mut all = self.lock();
            let before = all.flows.insert(key.clone(), uses).map(|uses| uses.source);
            self.noted(&mut all, FLOW, &key);
            before
        };
        if before.as_ref() != Some(&now) {
            before
                .iter()
                .chain([&now])
                .for_each(|source| self.tell(&key.namespace, source));
        }
    }

    /// A Job runs this Flow.
    pub fn note_job(&self, job: &Job) {
        match &job.spec.flow {
            Some(flow) => self.lock().jobs.insert(Key::of(job), flow.name.clone()),
            None => self.lock().jobs.remove(&Key::of(job)),
        };
    }

    /// An object is gone.
    pub fn forget(&self, label: &str, key: &Key) {
        let mut uses = self.lock();
        match label {
            millrace_crds::channel::SOURCE_LABEL => {
                drop(uses.sources.remove(key));
                self.noted(&mut uses, SOURCE, key);
            }
            millrace_crds::channel::JOB_LABEL => drop(uses.jobs.remove(key)),
            _ => {
                let gone = uses.flows.remove(key);
                self.noted(&mut uses, FLOW, key);
                drop(uses);
                gone.iter()
                    .for_each(|gone| self.tell(&key.namespace, &gone.source));
            }
        }
    }

    /// The Flows that read a Source.
    pub fn flows_of_source(&self, source: &Key) -> Vec<Key> {
        let uses = self.lock();
        let flows = uses.flows.iter();
        flows
            .filter(|(flow, uses)| flow.namespace == source.namespace && uses.source == source.name)
            .map(|(flow, _)| flow.clone())
            .collect()
    }

    /// The Flow that a Job runs.
    pub fn flow_of_job(&self, job: &Key) -> Option<Key> {
        let uses = self.lock();
        let flow = uses.jobs.get(job)?;
        Some(Key::new(&job.namespace, flow))
    }

    /// The Jobs that run a Flow.
    pub fn jobs_of_flow(&self, flow: &Key) -> Vec<Key> {
        let uses = self.lock();
        let jobs = uses.jobs.iter();
        jobs.filter(|(job, name)| job.namespace == flow.namespace && **name == flow.name)
            .map(|(job, _)| job.clone())
            .collect()
    }

    /// The Sources that read with a Connector.
    pub fn sources_of_connector(&self, connector: &str) -> Vec<Key> {
        let uses = self.lock();
        let sources = uses.sources.iter();
        sources
            .filter(|(_, used)| used.as_deref() == Some(connector))
            .map(|(source, _)| source.clone())
            .collect()
    }

    /// The Flows that read or write with a Connector.
    pub fn flows_of_connector(&self, connector: &str) -> Vec<Key> {
        let sources: BTreeSet<Key> = self.sources_of_connector(connector).into_iter().collect();
        let uses = self.lock();
        let reads = |flow: &Key, uses: &FlowUses| sources.contains(&Key::new(&flow.namespace, &uses.source));
        let flows = uses.flows.iter();
        flows
            .filter(|(flow, uses)| uses.connector.as_deref() == Some(connector) || reads(flow, uses))
            .map(|(flow, _)| flow.clone())
            .collect()
    }

    /// How many Sources read with a Connector, and how many Flows write with it.
    pub fn uses_of_connector(&self, connector: &str) -> (u32, u32) {
        let uses = self.lock();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let sources = uses
            .sources
            .values()
            .filter(|used| used.as_deref() == Some(connector));
        let flows = uses.flows.values();
        let flows = flows.filter(|uses| uses.connector.as_deref() == Some(connector));
        (count(sources.count()), count(flows.count()))
    }
}

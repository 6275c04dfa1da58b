//! What every reconcile has at hand.
//!
//! In: a client and the settings. Out: one [`Context`], shared by all controllers. Nothing in it decides what is
//! written: that is read from the API server each time.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource,
    runtime::events::{Recorder, Reporter},
};
use millrace_crds::channel::MANAGER;

use crate::backoff::Backoff;
use crate::index::Index;
use crate::known::Known;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// The time, which tests can turn.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What every reconcile has at hand.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The settings.
    pub settings: Settings,
    /// Where events go.
    pub recorder: Recorder,
    /// How often objects have failed in a row.
    pub backoff: Backoff,
    /// Who uses what: where a change must be looked at.
    pub index: Index,
    /// What watches tell of children: where no look is needed.
    pub(crate) known: Known,
    /// Counts and durations.
    pub metrics: Metrics,
    clock: Clock,
}

impl Context {
    /// A context that asks this API server.
    #[must_use]
    pub fn new(client: Client, settings: Settings, clock: Clock) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(settings.pod.clone()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            settings,
            backoff: Backoff::default(),
            index: Index::default(),
            known: Known::default(),
            metrics: Metrics::default(),
            clock,
        }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The objects of a kind in a namespace.
    #[must_use]
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

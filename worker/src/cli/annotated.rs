//! The objects whose annotations are triggers of a Flow: the Flow, its Source, and the Connector that it reads through.

use kube::{Resource, ResourceExt};
use millrace_crds::{Plan, resources::namespace_of};

use super::manifests::Loaded;
use crate::engine::ledger::Annotated;

/// One of them.
pub(super) struct Object {
    /// `flow`, `source` or `connector`.
    kind: &'static str,
    /// Its name.
    name: String,
    /// Its namespace; empty for a Connector.
    namespace: String,
    /// What the ledger looks at.
    pub(super) annotated: Annotated,
}

impl Object {
    /// Whether this is meant by `KIND/NAME`, the kind in any case.
    pub(super) fn is(&self, kind: &str, name: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && (self.name == name || format!("{}/{}", self.namespace, self.name) == name)
    }
}

/// The objects of a Flow, as the manifests have them now.
pub(super) fn of(loaded: &Loaded, plan: &Plan) -> Vec<Object> {
    let resources = &loaded.resources;
    let namespace = &plan.flow.namespace;
    let flow = resources.flow(namespace, &plan.flow.name).map(|flow| object("flow", "Flow", &flow.object));
    let source = resources.source(namespace, &plan.source.name).map(|source| object("source", "Source", &source.object));
    let connectors = resources.connectors.iter().filter(|connector| connector.object.name_any() == plan.source.system.connector);
    let connectors = connectors.map(|connector| object("connector", "Connector", &connector.object));
    flow.into_iter().chain(source).chain(connectors).collect()
}

fn object<K: Resource>(kind: &'static str, title: &str, object: &K) -> Object {
    let (name, namespace) = (object.name_any(), namespace_of(object).to_owned());
    let uid = object.uid().unwrap_or_else(|| format!("local:{title}/{namespace}/{name}"));
    Object {
        kind,
        annotated: Annotated { object: format!("{title}/{name}"), uid, annotations: object.annotations().clone() },
        name,
        namespace,
    }
}

//! The objects whose annotations are triggers of a Flow: the Flow, its Source, and the Connector that it reads through.

use millrace_crds::{
    Plan, ledger::Annotated, problem::Place, resources::namespace_of, triggers::ADOPT_STATE,
};

use super::manifests::Loaded;

/// One object from its metadata; a macro, since the kinds share fields and no type of ours.
macro_rules! object {
    ($kind:literal, $title:literal, $found:expr) => {{
        let metadata = &$found.object.metadata;
        let name = metadata.name.clone().unwrap_or_default();
        let namespace = namespace_of(&$found.object).to_owned();
        let local = || format!(concat!("local:", $title, "/{}/{}"), namespace, name);
        Object {
            kind: $kind,
            annotated: Annotated {
                object: format!(concat!($title, "/{}"), name),
                uid: metadata.uid.clone().unwrap_or_else(local),
                annotations: metadata.annotations.clone().unwrap_or_default(),
            },
            name,
            namespace,
            place: $found.place.clone(),
        }
    }};
}

/// One of them.
pub(super) struct Object {
    /// `flow`, `source` or `connector`.
    kind: &'static str,
    /// Its name.
    name: String,
    /// Its namespace; empty for a Connector.
    namespace: String,
    /// Where it is written.
    pub(super) place: Place,
    /// What the ledger looks at.
    pub(super) annotated: Annotated,
}

impl Object {
    /// Its namespace, as a manifest means it that names none.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether this is meant by `KIND/NAME`, the kind in any case.
    pub(super) fn is(&self, kind: &str, name: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind)
            && (self.name == name || format!("{}/{}", self.namespace, self.name) == name)
    }
}

/// The UID whose state the Flow takes over, as its annotation says.
pub(super) fn adopts(loaded: &Loaded, plan: &Plan) -> Option<String> {
    let flow = loaded.resources.flow(&plan.flow.namespace, &plan.flow.name)?;
    let annotations = flow.object.metadata.annotations.as_ref()?;
    annotations.get(ADOPT_STATE).cloned()
}

/// The objects of a Flow, as the manifests have them now.
pub(super) fn of(loaded: &Loaded, plan: &Plan) -> Vec<Object> {
    let resources = &loaded.resources;
    let namespace = &plan.flow.namespace;
    let flow = resources
        .flow(namespace, &plan.flow.name)
        .map(|flow| object!("flow", "Flow", flow));
    let source = resources
        .source(namespace, &plan.source.name)
        .map(|source| object!("source", "Source", source));
    let connector = &plan.source.system.connector;
    let connectors = resources
        .connectors
        .iter()
        .filter(|found| found.object.metadata.name.as_ref() == Some(connector))
        .map(|found| object!("connector", "Connector", found));
    flow.into_iter().chain(source).chain(connectors).collect()
}

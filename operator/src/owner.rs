//! An object of ours and what its children have from it: names, labels, the owner reference.
//!
//! In: a Flow, a Source or a Job. Out: the metadata of its children. Labels and annotations of the object itself are
//! never copied to them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use millrace_crds::{
    Flow, Job, Source,
    channel::{self, FLOW_LABEL, JOB_LABEL, NAME_ANNOTATION, SOURCE_LABEL},
};

/// The component of everything that runs a worker: its pods, and what makes them.
pub const WORKER: &str = "worker";

/// The owner of children.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The label that names it: one of [`FLOW_LABEL`], [`SOURCE_LABEL`], [`JOB_LABEL`].
    pub label: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    reference: Option<OwnerReference>,
}

/// A kind that has children.
pub trait Parent: Resource<DynamicType = ()> {
    /// The label that names an object of this kind in its children.
    const LABEL: &'static str;
}

impl Parent for Flow {
    const LABEL: &'static str = FLOW_LABEL;
}

impl Parent for Source {
    const LABEL: &'static str = SOURCE_LABEL;
}

impl Parent for Job {
    const LABEL: &'static str = JOB_LABEL;
}

impl Owner {
    /// The object as an owner.
    #[must_use]
    pub fn of<K: Parent>(object: &K) -> Self {
        Self {
            label: K::LABEL,
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            reference: object.controller_owner_ref(&()),
        }
    }

    /// The name of its child of this suffix.
    #[must_use]
    pub fn child(&self, suffix: &str) -> String {
        channel::child_of(self.label, &self.name, suffix)
    }

    /// The labels of its children of this component.
    #[must_use]
    pub fn labels(&self, component: &str) -> BTreeMap<String, String> {
        channel::labels(self.label, &self.name, component)
    }

    /// A selector of its children of this component.
    #[must_use]
    pub fn selector(&self, component: &str) -> String {
        let pairs = self.labels(component);
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        pairs.join(",")
    }

    /// The metadata of a child that goes when its owner goes.
    #[must_use]
    pub fn meta(&self, name: String, component: &str) -> ObjectMeta {
        ObjectMeta {
            owner_references: self.reference.clone().map(|reference| vec![reference]),
            ..self.lasting(name, component)
        }
    }

    /// The metadata of a child that stays when its owner goes.
    #[must_use]
    pub fn lasting(&self, name: String, component: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels(component)),
            annotations: Some([(NAME_ANNOTATION.to_owned(), self.name.clone())].into()),
            ..ObjectMeta::default()
        }
    }
}

//! The resource types of Millrace, and the pure function that resolves resources into a [`plan::Plan`].
//!
//! ```text
//! files ── manifest ──> Resources ── resolve ──> Plan, JobPlan, Problems
//! API objects ─────────────┘            ^
//! recipes.yaml ── connector::builtin ───┘
//! ```
//!
//! The operator and the worker share this crate, so what a file says means the same in a cluster.
//! Nothing here talks to a network, and no secret value ever enters a plan.

#![allow(
    unreachable_pub,
    reason = "the schema derive makes a private copy of each public struct"
)]
#![allow(
    clippy::duplicated_attributes,
    reason = "printer columns are lists in which a type occurs often"
)]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub mod channel;
pub mod common;
pub mod connector;
pub mod duration;
mod explain;
pub mod flow;
pub mod job;
pub mod ledger;
pub mod manifest;
pub mod mounted;
pub mod plan;
pub mod problem;
pub mod resolve;
pub mod resources;
pub mod schedule;
pub mod schema;
pub mod source;
mod strict;
pub mod suggest;
pub mod template;
pub mod triggers;

pub use connector::{Connector, builtin};
pub use duration::Duration;
pub use flow::Flow;
pub use job::Job;
pub use mounted::Mounted;
pub use plan::{JobPlan, Plan};
pub use problem::Problem;
pub use resolve::{Resolution, Resolver, Setting, resolve};
pub use resources::Resources;
pub use source::Source;
pub use strict::json_schema;

/// The API group of all kinds.
pub const GROUP: &str = "millrace.dev";
/// The version of all kinds.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` as it is written in a manifest.
pub const API_VERSION: &str = "millrace.dev/v1alpha1";

/// The custom resource definitions of the four kinds.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![Connector::crd(), Source::crd(), Flow::crd(), Job::crd()]
}

/// The custom resource definitions as one file of YAML: what the chart holds, and `kubectl apply` takes.
///
/// # Errors
/// Never for these kinds, which a test proves.
pub fn crds_yaml() -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string_multiple(&crds())
}

#[cfg(test)]
mod tests;

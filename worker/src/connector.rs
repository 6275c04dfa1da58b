//! What a connector is: the traits that every system is read and written through.
//!
//! In: a resolved [`SystemPlan`] and its secrets. Out: a [`Source`] that lists streams and opens loads, or a
//! [`Destination`] that stages batches and commits them under the protocol of [`crate::protocol`]. Retry, limits,
//! differences, dead letters, metrics and checkpoints belong to the engine, never to a connector.

mod destination;
mod payload;
mod source;
mod stage;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use millrace_crds::{
    flow::WriteMode,
    plan::{FlowRef, Plan, SourcePlan, StreamSelect, SystemPlan},
};

pub use self::{
    destination::{Authority, Destination, Rewritten, Shard},
    payload::{Op, Payload, Position, Refused, UnfitRow},
    source::{Estimate, Intervals, Load, PushReader, PushSource, Range, Reader, Source, StreamInfo},
    stage::{IndexColumns, Rows, Stage, StageRequest, Staged},
};
use crate::{
    error::Result,
    rate::RateLimiter,
    secrets::{LocalSecrets, Secrets},
};

/// All that a connector is made from.
#[derive(Clone)]
pub struct System {
    /// The merged configuration.
    pub plan: SystemPlan,
    /// The values of its credentials, read anew at each connection.
    pub secrets: Secrets,
    /// Requests a second, held across all streams of the Flow; waits where the plan has a limit.
    pub limiter: RateLimiter,
    /// The Flow, for templates.
    pub flow: FlowRef,
    /// The exact stream names in the manifest; empty at a destination.
    pub streams: Vec<String>,
    /// What the Source says beside its system; `None` at a destination.
    pub source: Option<Arc<SourcePlan>>,
    /// How rows are written; `None` at a source.
    pub write_mode: Option<WriteMode>,
    /// Where a connector's own changes of its configuration outlive a pod; `None` at a desk, and at a destination.
    pub note: Option<Arc<dyn Note>>,
}

/// A text that outlives the process. Others can read it: what is secret is sealed before it comes here.
#[async_trait]
pub trait Note: Send + Sync {
    /// What was written last.
    ///
    /// # Errors
    /// Where the place does not answer.
    async fn read(&self) -> Result<Option<String>>;

    /// Writes it in place of what is there.
    ///
    /// # Errors
    /// Where it cannot be kept.
    async fn write(&self, text: String) -> Result<()>;
}

impl System {
    /// The reading end of a plan.
    #[must_use]
    pub fn of_source(flow: FlowRef, source: &SourcePlan, local: &Arc<LocalSecrets>) -> Self {
        let names = source.streams.iter().filter_map(|rule| match &rule.select {
            StreamSelect::Name(name) => Some(name.clone()),
            StreamSelect::Match(_) => None,
        });
        Self {
            streams: names.collect(),
            source: Some(Arc::new(source.clone())),
            ..Self::new(flow, &source.system, local)
        }
    }

    /// The writing end of a plan.
    #[must_use]
    pub fn of_destination(plan: &Plan, local: &Arc<LocalSecrets>) -> Self {
        Self {
            write_mode: Some(plan.destination.write_mode),
            ..Self::new(plan.flow.clone(), &plan.destination.system, local)
        }
    }

    fn new(flow: FlowRef, plan: &SystemPlan, local: &Arc<LocalSecrets>) -> Self {
        let base = PathBuf::from(plan.base_dir.as_deref().unwrap_or("."));
        Self {
            secrets: Secrets::new(plan.credentials.clone(), local.clone(), base),
            limiter: RateLimiter::new(plan.rate_limit),
            plan: plan.clone(),
            flow,
            streams: Vec::new(),
            source: None,
            write_mode: None,
            note: None,
        }
    }
}

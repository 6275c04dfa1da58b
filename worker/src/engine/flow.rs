//! One Flow, opened: its source, its destination, its state; and a run of it.
//!
//! In: a plan and a [`Request`]. Out: a [`Report`] with the counts of each stream. Streams run side by side, and one
//! stream's failure does not stop the others; the run has failed then, and says which and why.

mod report;
mod request;
mod run;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use millrace_crds::{
    flow::{DeliveryGuarantee, Mode, WriteMode},
    plan::Plan,
};

pub use self::{
    report::{LEFT_OUT, OUTCOME, Report, StreamReport},
    request::{Request, Wanted},
    run::Observer,
};
use super::{indexed::Indexed, streams};
use crate::{
    backoff::Backoff,
    connector::{Authority, Destination, Source, System},
    engines,
    error::{Context, Error, Result},
    protocol::ShardId,
    secrets::LocalSecrets,
    state::{self, Store},
    stream::StreamSpec,
};

/// A Flow, opened.
pub struct Flow {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The source.
    pub source: Arc<dyn Source>,
    /// The destination.
    pub destination: Arc<dyn Destination>,
    /// The state store.
    pub store: Arc<dyn Store>,
    destination_system: System,
    /// A delta may miss rows that are committed late, as far as the source has told by now.
    misses: AtomicBool,
    backoff: Backoff,
}

impl Flow {
    /// Opens the ends and the store; sends nothing yet.
    ///
    /// # Errors
    /// `config` where a connector cannot be made from its settings.
    pub async fn open(plan: Plan, local: &Arc<LocalSecrets>) -> Result<Self> {
        let source = System::of_source(plan.flow.clone(), &plan.source, local);
        let source = engines::source(source).context("source")?;
        Self::with_source(plan, local, source).await
    }

    /// As [`Flow::open`], with a source that is there already.
    ///
    /// # Errors
    /// `config` where a connector cannot be made from its settings.
    pub async fn with_source(plan: Plan, local: &Arc<LocalSecrets>, source: Arc<dyn Source>) -> Result<Self> {
        let system = System::of_destination(&plan, local);
        let destination = engines::destination(system.clone()).context("destination")?;
        Self::with_ends(plan, local, source, destination, system).await
    }

    /// As [`Flow::open`], with both ends there already, and what the destination was made from: refused rows go there, too,
    /// under the same rate limit.
    ///
    /// # Errors
    /// `config` where the state store cannot be made from its settings.
    pub async fn with_ends(
        plan: Plan,
        local: &Arc<LocalSecrets>,
        source: Arc<dyn Source>,
        destination: Arc<dyn Destination>,
        destination_system: System,
    ) -> Result<Self> {
        // The state is the Flow's, and so is the destination: its place is the Flow's manifest.
        let base = PathBuf::from(plan.destination.system.base_dir.as_deref().unwrap_or("."));
        let store = state::open(&plan.state, local, &base).await.context("state")?;
        Ok(Self::with_store(
            plan,
            source,
            destination,
            destination_system,
            store,
        ))
    }

    /// As [`Flow::with_ends`], with the state store there already, too.
    #[must_use]
    pub fn with_store(
        plan: Plan,
        source: Arc<dyn Source>,
        destination: Arc<dyn Destination>,
        destination_system: System,
        store: Arc<dyn Store>,
    ) -> Self {
        Self {
            source,
            destination: Indexed::destination(destination, &store),
            store,
            plan: Arc::new(plan),
            destination_system,
            misses: AtomicBool::new(false),
            backoff: Backoff {
                tries: 4,
                first: Duration::from_millis(500),
                most: Duration::from_secs(20),
            },
        }
    }

    /// Lets both ends find out what they are, which some must be started for: a wrong plugin is told before anything is read.
    ///
    /// # Errors
    /// What they say.
    pub async fn prepare(&mut self) -> Result<()> {
        self.source
            .prepare()
            .await
            .context(format!("source {}", self.plan.source.name))?;
        let destination = &self.plan.destination.system.connector;
        self.destination
            .prepare()
            .await
            .context(format!("destination {destination}"))?;
        let own = self.source.intervals();
        let source = &self.plan.source;
        let full = source.full_load_interval.or(own.full.map(whole));
        let delta = source.delta_load_interval.or(own.delta.map(whole));
        if (full, delta) != (source.full_load_interval, source.delta_load_interval) {
            let plan = Arc::make_mut(&mut self.plan);
            (plan.source.full_load_interval, plan.source.delta_load_interval) = (full, delta);
        }
        Ok(())
    }

    /// `namespace/name`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.plan.flow.namespace, self.plan.flow.name)
    }

    /// Its source sends by itself, and it follows. A source that is read is loaded by intervals, schedules and triggers,
    /// whatever the mode.
    #[must_use]
    pub fn is_continuous(&self) -> bool {
        self.plan.run.mode == Mode::Continuous && self.source.push().is_some()
    }

    /// The guarantee of this Flow, as it is now: what only the source can tell counts once [`Flow::streams`] has asked it.
    #[must_use]
    pub fn guarantee(&self) -> DeliveryGuarantee {
        match self.destination.authority() {
            _ if self.misses.load(Ordering::Relaxed) => DeliveryGuarantee::MayMissLateCommits,
            Authority::Store => DeliveryGuarantee::AtLeastOnce,
            _ if !self.source.replayable() => DeliveryGuarantee::AtLeastOnce,
            Authority::Destination => DeliveryGuarantee::ExactlyOnce,
            Authority::StoreKeyed => DeliveryGuarantee::EffectivelyOnce,
        }
    }

    /// Whether the guarantee is the one that the Flow asks for.
    ///
    /// # Errors
    /// `config` with the reason `GuaranteeNotSupported` where it is less.
    pub fn require(&self) -> Result<()> {
        match self.plan.require {
            Some(least) if self.guarantee() < least => Err(Error::config(format!(
                "{} requires {least:?}, and {} into {} gives {:?}",
                self.name(),
                self.plan.source.system.connector,
                self.plan.destination.system.connector,
                self.guarantee()
            ))
            .reason("GuaranteeNotSupported")
            .advice(match self.guarantee() {
                DeliveryGuarantee::MayMissLateCommits => {
                    "the source's documents say what deltas need; or lower delivery.require, or leave the cursor out"
                }
                _ => "lower delivery.require, or choose another destination",
            })),
            _ => Ok(()),
        }
    }

    /// The streams that a request speaks of.
    ///
    /// # Errors
    /// `config` where one does not exist.
    pub async fn streams(&self, only: &[String]) -> Result<Vec<StreamSpec>> {
        let source = self.source.as_ref();
        let streams = self
            .backoff
            .retry(|| streams::settle(&self.plan, source, only))
            .await
            .context(format!("source {}", self.plan.source.name))?;
        let misses = streams.iter().any(|stream| {
            let deltas = !stream.cursor.is_empty() && stream.write_mode != WriteMode::Overwrite;
            deltas && !source.late_commits_safe(stream)
        });
        self.misses.store(misses, Ordering::Relaxed);
        Ok(streams)
    }

    /// The id of a stream's shard.
    #[must_use]
    pub fn shard_id(&self, stream: &str) -> ShardId {
        ShardId {
            state: self.plan.state.id.clone(),
            stream: stream.to_owned(),
        }
    }

    /// How often a load is tried again.
    pub(super) fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// Readers at work at once.
    pub(super) fn concurrency(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.plan
            .source
            .concurrency
            .map_or(cores, |concurrency| concurrency as usize)
            .max(1)
    }
}

/// An interval in whole seconds, one at least.
fn whole(interval: Duration) -> millrace_crds::Duration {
    millrace_crds::Duration::from_secs(interval.as_secs().max(1))
}

#[cfg(test)]
pub(in crate::engine) mod tests;

//! What a worker counts, as Prometheus reads it. The names are in `docs/metrics.md`.
//!
//! In: the counters that loads move as they go, and where the streams stand. Out: text, made when it is asked for.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64},
    },
};

use jiff::Timestamp;
use millrace_crds::{Plan, channel::StreamStand};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{
    engine::{progress::Progress, task::Done},
    error::Result,
};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct StreamLabels {
    namespace: String,
    flow: String,
    stream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    namespace: String,
    flow: String,
    result: &'static str,
}

type Count = Family<StreamLabels, Counter<u64, AtomicU64>>;
type Value = Family<StreamLabels, Gauge<i64, AtomicI64>>;

/// The counters of one process; clones share them.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

#[derive(Default)]
struct Inner {
    read: Count,
    written: Count,
    refused: Count,
    last_success: Value,
    lag: Value,
    state_bytes: Value,
    runs: Family<RunLabels, Counter<u64, AtomicU64>>,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    loads: Vec<Load>,
    /// When each stream was last loaded.
    loaded: BTreeMap<StreamLabels, Timestamp>,
}

/// A load at work, and what of it is counted already.
struct Load {
    stream: StreamLabels,
    progress: Progress,
    counted: (u64, u64, u64),
}

impl Metrics {
    /// The text, as of now.
    #[must_use]
    pub fn text(&self) -> String {
        self.refresh();
        let inner = &self.0;
        let mut registry = Registry::with_prefix("millrace");
        let rows = "as the loads of this process have counted them";
        registry.register(
            "rows_read",
            format!("Rows read from the source, {rows}"),
            inner.read.clone(),
        );
        registry.register(
            "rows_written",
            format!("Rows delivered (inserts, updates, deletes), {rows}"),
            inner.written.clone(),
        );
        registry.register(
            "rows_refused",
            format!("Rows that went to the dead letter, {rows}"),
            inner.refused.clone(),
        );
        registry.register(
            "stream_last_success_timestamp_seconds",
            "When the last load of the stream was committed",
            inner.last_success.clone(),
        );
        registry.register(
            "stream_lag_seconds",
            "Seconds since the last load of the stream was committed",
            inner.lag.clone(),
        );
        registry.register(
            "stream_state_bytes",
            "Bytes of the stream's record in the state store",
            inner.state_bytes.clone(),
        );
        registry.register("runs", "Runs that are over, by result", inner.runs.clone());
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = text::encode(&mut text, &registry);
        text
    }

    /// A run is over.
    pub fn run(&self, plan: &Plan, well: bool) {
        let labels = RunLabels {
            namespace: plan.flow.namespace.clone(),
            flow: plan.flow.name.clone(),
            result: if well { "succeeded" } else { "failed" },
        };
        self.0.runs.get_or_create(&labels).inc();
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Live> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what loads have done since the last look.
    fn refresh(&self) {
        let mut live = self.live();
        let Live { loads, loaded } = &mut *live;
        for load in loads {
            self.count(load, loaded);
        }
        let now = Timestamp::now();
        for (stream, at) in loaded.iter() {
            let lag = now.duration_since(*at).as_secs().max(0);
            self.0.lag.get_or_create(stream).set(lag);
            self.0.last_success.get_or_create(stream).set(at.as_second());
        }
    }

    fn count(&self, load: &mut Load, loaded: &mut BTreeMap<StreamLabels, Timestamp>) {
        let (read, _) = load.progress.so_far();
        let (written, refused) = load.progress.delivered();
        let before = std::mem::replace(&mut load.counted, (read, written, refused));
        let families = [
            (&self.0.read, read - before.0.min(read)),
            (&self.0.written, written - before.1.min(written)),
            (&self.0.refused, refused - before.2.min(refused)),
        ];
        for (family, more) in families {
            family.get_or_create(&load.stream).inc_by(more);
        }
        if let Some(at) = load.progress.last_load() {
            note(loaded, &load.stream, at);
        }
    }
}

fn note(loaded: &mut BTreeMap<StreamLabels, Timestamp>, stream: &StreamLabels, at: Timestamp) {
    let known = loaded.entry(stream.clone()).or_insert(at);
    *known = at.max(*known);
}

/// The loads of one task.
pub struct Seen {
    metrics: Metrics,
    namespace: String,
    flow: String,
    loads: Mutex<Vec<Progress>>,
}

impl Seen {
    /// Of a Flow.
    #[must_use]
    pub fn new(metrics: &Metrics, plan: &Plan) -> Self {
        Self {
            metrics: metrics.clone(),
            namespace: plan.flow.namespace.clone(),
            flow: plan.flow.name.clone(),
            loads: Mutex::default(),
        }
    }

    /// What the engine calls as each stream begins.
    pub fn observer(&self) -> impl Fn(&str, &Progress) + Sync + '_ {
        |stream, progress| {
            tracing::info!(flow = self.flow, stream, "begins");
            self.loads().push(progress.clone());
            self.metrics.live().loads.push(Load {
                stream: self.labels(stream),
                progress: progress.clone(),
                counted: (0, 0, 0),
            });
        }
    }

    /// Every load that has begun.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        self.loads().clone()
    }

    /// Rows read, delivered and refused by now.
    #[must_use]
    pub fn so_far(&self) -> (u64, u64, u64) {
        let sum = |sum: (u64, u64, u64), progress: &Progress| {
            let (written, refused) = progress.delivered();
            (sum.0 + progress.so_far().0, sum.1 + written, sum.2 + refused)
        };
        self.loads().iter().fold((0, 0, 0), sum)
    }

    /// The task has ended: its loads are counted to the last row, and told.
    pub fn ended(&self, done: &Result<Done>) {
        let report = done.as_ref().ok().and_then(|done| done.report.as_ref());
        for stream in report.iter().flat_map(|report| &report.streams) {
            stream.log(&self.flow);
        }
        self.metrics.refresh();
        let mine = self.loads();
        let is_mine = |load: &Load| mine.iter().any(|progress| progress.is(&load.progress));
        self.metrics.live().loads.retain(|load| !is_mine(load));
    }

    /// Where the streams stand.
    pub fn stand(&self, stands: &[StreamStand]) {
        for stand in stands {
            let labels = self.labels(&stand.name);
            if let Some(bytes) = stand.state_bytes {
                let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                self.metrics.0.state_bytes.get_or_create(&labels).set(bytes);
            }
            if let Some(at) = stand.last_full_load.max(stand.last_delta_load) {
                note(&mut self.metrics.live().loaded, &labels, at);
            }
        }
    }

    fn labels(&self, stream: &str) -> StreamLabels {
        StreamLabels {
            namespace: self.namespace.clone(),
            flow: self.flow.clone(),
            stream: stream.to_owned(),
        }
    }

    fn loads(&self) -> std::sync::MutexGuard<'_, Vec<Progress>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

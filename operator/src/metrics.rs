//! What the operator counts.
//!
//! In: each reconcile and how it ended, and what reports say of runs. Out: the text that `/metrics` serves.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Which kind, and how a reconcile of it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    kind: &'static str,
    result: &'static str,
}

/// Which kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// Which Flow.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Which {
    namespace: String,
    flow: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Run {
    namespace: String,
    flow: String,
    result: &'static str,
}

/// How a Flow fares, as its reports have it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FlowStand {
    /// It can do its work.
    pub ready: bool,
    /// When any of its streams was last loaded, in seconds since 1970.
    pub last_load: Option<f64>,
    /// The stream that waits longest: when it was last loaded, in seconds since 1970.
    pub oldest_load: Option<f64>,
    /// Whether the last run that is over ended well; `None`: there was none.
    pub last_run: Option<bool>,
}

type GaugeOf<L> = Family<L, Gauge<f64, std::sync::atomic::AtomicU64>>;

/// What the operator counts.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Outcome, Counter>,
    durations: Family<Kind, Histogram>,
    runs: Family<Run, Counter>,
    ready: GaugeOf<Which>,
    last_load: GaugeOf<Which>,
    oldest_load: GaugeOf<Which>,
    last_run: GaugeOf<Which>,
    leads: Gauge,
}

fn buckets() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
    ])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("millrace"),
            reconciles: Family::default(),
            durations: Family::new_with_constructor(buckets),
            runs: Family::default(),
            ready: Family::default(),
            last_load: Family::default(),
            oldest_load: Family::default(),
            last_run: Family::default(),
            leads: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let mut add = |name: &str, help: &str, metric: GaugeOf<Which>| registry.register(name, help, metric);
        add("flow_ready", "Whether a Flow is Ready", self.ready.clone());
        add(
            "flow_last_load_timestamp_seconds",
            "When any stream of a Flow was last loaded",
            self.last_load.clone(),
        );
        add(
            "flow_oldest_load_timestamp_seconds",
            "When the stream of a Flow that waits longest was last loaded",
            self.oldest_load.clone(),
        );
        add(
            "flow_last_run_succeeded",
            "Whether the last run of a Flow that is over ended well",
            self.last_run.clone(),
        );
        registry.register(
            "operator_reconciles",
            "Reconciles, by kind and by how they ended",
            self.reconciles.clone(),
        );
        registry.register(
            "operator_reconcile_duration_seconds",
            "How long reconciles took",
            self.durations.clone(),
        );
        registry.register(
            "flow_runs",
            "Runs that are over, by how they ended",
            self.runs.clone(),
        );
        registry.register(
            "operator_leader",
            "Whether this operator leads",
            self.leads.clone(),
        );
    }

    /// A reconcile is over; `result` is `ok` or the category of an error.
    pub fn reconciled(&self, kind: &'static str, result: &'static str, took: Duration) {
        self.reconciles.get_or_create(&Outcome { kind, result }).inc();
        self.durations
            .get_or_create(&Kind { kind })
            .observe(took.as_secs_f64());
    }

    /// A run is over.
    pub fn ran(&self, namespace: &str, flow: &str, well: bool) {
        let run = Run {
            namespace: namespace.to_owned(),
            flow: flow.to_owned(),
            result: if well { "succeeded" } else { "failed" },
        };
        self.runs.get_or_create(&run).inc();
    }

    /// How a Flow fares.
    pub fn stands(&self, namespace: &str, flow: &str, stand: FlowStand) {
        let which = Which {
            namespace: namespace.to_owned(),
            flow: flow.to_owned(),
        };
        self.ready.get_or_create(&which).set(number(stand.ready));
        let seen = [
            (&self.last_load, stand.last_load),
            (&self.oldest_load, stand.oldest_load),
            (&self.last_run, stand.last_run.map(number)),
        ];
        for (family, value) in seen {
            match value {
                Some(value) => drop(family.get_or_create(&which).set(value)),
                None => drop(family.remove(&which)),
            }
        }
    }

    /// A Flow is gone.
    pub fn forget(&self, namespace: &str, flow: &str) {
        let which = Which {
            namespace: namespace.to_owned(),
            flow: flow.to_owned(),
        };
        for family in [&self.ready, &self.last_load, &self.oldest_load, &self.last_run] {
            family.remove(&which);
        }
        for result in ["succeeded", "failed"] {
            self.runs.remove(&Run {
                namespace: namespace.to_owned(),
                flow: flow.to_owned(),
                result,
            });
        }
    }

    /// Whether this operator leads.
    pub fn leads(&self, leads: bool) {
        self.leads.set(i64::from(leads));
    }

    /// All of it as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn number(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_what_is_counted_and_forgets_flows_that_are_gone() {
        let metrics = Metrics::default();
        metrics.reconciled("Flow", "ok", Duration::from_millis(20));
        metrics.ran("acme", "lake", false);
        let stand = FlowStand {
            ready: true,
            last_load: Some(12.0),
            last_run: Some(false),
            ..FlowStand::default()
        };
        metrics.stands("acme", "lake", stand);
        let text = metrics.text();
        for line in [
            "millrace_operator_reconciles_total{kind=\"Flow\",result=\"ok\"} 1",
            "millrace_flow_ready{namespace=\"acme\",flow=\"lake\"} 1.0",
            "millrace_flow_last_run_succeeded{namespace=\"acme\",flow=\"lake\"} 0.0",
            "millrace_flow_runs_total{namespace=\"acme\",flow=\"lake\",result=\"failed\"} 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        metrics.forget("acme", "lake");
        assert!(!metrics.text().contains("lake"));
    }
}

//! What a worker tells the operator.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{flow::DeliveryGuarantee, job::StreamCounts, schema::Field};

/// Runs that a report remembers.
const RUNS: usize = 50;
/// Streams whose counts a run keeps in a report that is too long otherwise.
const STREAMS: usize = 100;
/// The number of the only run that a Job of ours has.
pub const PLAN_RUN: u64 = 1;

/// What one worker tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// The worker's version.
    pub version: String,
    /// The worker's pod.
    pub pod: String,
    /// Its UID: the pod that takes the place of another in a `StatefulSet` has the same name.
    pub pod_uid: String,
    /// The generation of the plan that it works by.
    pub generation: i64,
    /// The guarantee that the Flow has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guarantee: Option<DeliveryGuarantee>,
    /// Its streams.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamStand>,
    /// The number of its streams, where not all are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_count: Option<usize>,
    /// Its last runs, by number.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub runs: BTreeMap<u64, RunReport>,
    /// What keeps it from its work now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Failure>,
    /// The streams of a Source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
}

/// Where one stream stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamStand {
    /// Its name.
    pub name: String,
    /// The generation of its table.
    pub generation: u64,
    /// The epoch of its last worker.
    pub epoch: u64,
    /// When it was last loaded in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_full_load: Option<Timestamp>,
    /// When it was last loaded by a delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delta_load: Option<Timestamp>,
    /// Its watermark, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<String>,
    /// The bytes of its record in the state store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_bytes: Option<u64>,
}

/// How one run fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// Whether it is over, and how.
    pub state: RunState,
    /// How many workers share it: each has done the streams that are dealt to it among so many.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub workers: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When the first row was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_read_at: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Rows delivered.
    #[serde(default)]
    pub rows: u64,
    /// What was done, by stream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamCounts>,
    /// The number of its streams, where not all are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_count: Option<usize>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RunState {
    /// It is at work.
    Running,
    /// All is committed.
    Succeeded,
    /// It failed.
    Failed,
}

/// What went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Failure {
    /// Who must act: `config`, `transient`, `data`, `bug`, `state` or `fenced`.
    pub kind: String,
    /// A fixed word, such as `StateLost`; may be empty.
    pub reason: String,
    /// What went wrong.
    pub message: String,
    /// What to do; may be empty.
    pub advice: String,
}

/// The streams of a Source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Discovery {
    /// The streams, in the source's order.
    pub streams: Vec<Discovered>,
    /// How many there are.
    pub total: usize,
    /// Whether schemas, or whole streams, are left out since they do not fit.
    pub truncated: bool,
    /// When the source was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// One stream of a Source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Discovered {
    /// Its exact name.
    pub name: String,
    /// The key that the source declares; empty: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub primary_key: Vec<String>,
    /// Its columns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(workers: &u32) -> bool {
    *workers == 1
}

impl RunReport {
    /// A run that begins, shared by so many workers.
    #[must_use]
    pub fn begun(now: Timestamp, workers: u32) -> Self {
        Self {
            state: RunState::Running,
            workers,
            started_at: now,
            first_read_at: None,
            finished_at: None,
            rows: 0,
            streams: Vec::new(),
            stream_count: None,
            error: None,
        }
    }

    /// Whether nothing more will come of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state != RunState::Running
    }

    /// Whether nothing more will come of it where so many workers share it.
    #[must_use]
    pub fn is_over_among(&self, workers: u32) -> bool {
        self.is_over() && self.workers == workers
    }

    /// Begins it anew where its streams are dealt among another number of workers now: what each has done is no longer
    /// what each has to do.
    pub fn deal(&mut self, workers: u32) {
        if self.workers != workers {
            *self = Self {
                state: RunState::Running,
                workers,
                finished_at: None,
                error: None,
                ..self.clone()
            };
        }
    }

    /// A run that several pods share, of what they tell, a place for each: it is over once every pod's part is. `None`: none
    /// has begun.
    #[must_use]
    pub fn shared(told: &[Option<&Self>]) -> Option<Self> {
        let workers = u32::try_from(told.len()).unwrap_or(u32::MAX);
        let known: Vec<&Self> = told
            .iter()
            .copied()
            .flatten()
            .filter(|run| run.workers == workers)
            .collect();
        let over = known.len() == told.len() && known.iter().all(|run| run.is_over());
        let failed = known.iter().find(|run| run.state == RunState::Failed);
        let cut = known.iter().any(|run| run.stream_count.is_some());
        let count = |run: &&Self| run.stream_count.unwrap_or(run.streams.len());
        Some(Self {
            state: match failed {
                _ if !over => RunState::Running,
                Some(_) => RunState::Failed,
                None => RunState::Succeeded,
            },
            workers,
            started_at: known.iter().map(|run| run.started_at).min()?,
            first_read_at: known.iter().filter_map(|run| run.first_read_at).min(),
            finished_at: known
                .iter()
                .filter_map(|run| run.finished_at)
                .max()
                .filter(|_| over),
            rows: known.iter().map(|run| run.rows).sum(),
            streams: known.iter().flat_map(|run| run.streams.clone()).collect(),
            stream_count: cut.then(|| known.iter().map(count).sum()),
            error: failed.and_then(|run| run.error.clone()),
        })
    }

    fn shorten(&mut self, most: usize) {
        if self.streams.len() > most {
            self.stream_count.get_or_insert(self.streams.len());
            self.streams.truncate(most);
        }
    }
}

impl Failure {
    /// The longest text of each part, in characters.
    const LONGEST: usize = 2000;

    /// What went wrong, each part cut where it is too long.
    #[must_use]
    pub fn new(kind: &str, reason: &str, message: &str, advice: &str) -> Self {
        let cut = |text: &str| text.chars().take(Self::LONGEST).collect();
        Self {
            kind: cut(kind),
            reason: cut(reason),
            message: cut(message),
            advice: cut(advice),
        }
    }
}

impl Report {
    /// The report as it lies in its `ConfigMap`, in at most so many bytes: what is oldest and longest goes first.
    #[must_use]
    pub fn to_text(&self, limit: usize) -> String {
        let mut report = self.clone();
        while report.runs.len() > RUNS {
            report.runs.pop_first();
        }
        let mut step = 0;
        loop {
            let text = serde_json::to_string(&report).unwrap_or_default();
            if text.len() <= limit || !report.shed(step) {
                return text;
            }
            step += 1;
        }
    }

    /// Leaves out a part; `false`: there is nothing left to leave out.
    fn shed(&mut self, step: usize) -> bool {
        match step {
            0 => self.runs.values_mut().for_each(|run| run.shorten(STREAMS)),
            1 => {
                if let Some(discovery) = &mut self.discovery {
                    discovery.truncated = true;
                    discovery
                        .streams
                        .iter_mut()
                        .for_each(|stream| stream.fields.clear());
                }
            }
            2 => {
                let last = self.runs.len().saturating_sub(1);
                self.runs.values_mut().take(last).for_each(|run| run.shorten(0));
            }
            _ => return self.halve(),
        }
        true
    }

    fn halve(&mut self) -> bool {
        let longest_discovery = self.discovery.as_ref().map_or(0, |found| found.streams.len());
        if self.streams.len().max(longest_discovery) + self.runs.len() <= 1 {
            return false;
        }
        if self.streams.len() > 1 {
            self.stream_count.get_or_insert(self.streams.len());
            self.streams.truncate(self.streams.len() / 2);
        }
        if let Some(found) = self.discovery.as_mut().filter(|found| found.streams.len() > 1) {
            found.truncated = true;
            found.streams.truncate(found.streams.len() / 2);
        }
        let gone = self.runs.len() / 2;
        for _ in 0..gone {
            self.runs.pop_first();
        }
        true
    }
}

//! The ledger of a Flow: which trigger tokens it has seen, and what became of each.
//!
//! In: annotations of the Flow, its Source and its Connector, and the Jobs of its manifests. Out: which load to run
//! next, for which tokens at once; entries for `status`. It is kept in the state store, so that a restart repeats
//! nothing and loses nothing: a token is `Running` before its load begins, and one that is found so after a crash goes
//! on under the number of the same run.

mod store;

use std::collections::BTreeMap;

use jiff::Timestamp;
use millrace_crds::{
    flow::TriggerState,
    job::Load,
    plan::JobPlan,
    triggers::{self, PREFIX, Trigger},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::store::{Books, run_id};

/// Entries of runs that are over which the ledger keeps.
const KEPT: usize = 100;

/// Everything that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// Runs that triggers have started; the number of the last one.
    #[serde(default)]
    pub runs: u64,
    /// The last value seen of each annotation, by the UID of its object and its name.
    #[serde(default)]
    pub seen: BTreeMap<String, String>,
    /// What became of each token, oldest first.
    #[serde(default)]
    pub entries: Vec<Entry>,
}

/// One token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The object that carries it: `Flow/lake`.
    pub object: String,
    /// The trigger's name: `full_load_orders`.
    pub name: String,
    /// The token.
    pub token: String,
    /// What to load; `None`: it could not be understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// The Job that is to be run, where it is none of the annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The streams, by exact name; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<String>,
    /// The full load may delete more than the Flow's limit.
    #[serde(default)]
    pub allow_deletes: bool,
    /// What became of it.
    pub state: TriggerState,
    /// The number of its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// When it was first seen.
    pub requested_at: Timestamp,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Rows that were delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// An object and its annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotated {
    /// `Flow/lake`, `Source/shop`, `Connector/postgres`.
    pub object: String,
    /// Its UID.
    pub uid: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// One load that serves one or several tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The number of the run.
    pub run: u64,
    /// The objects that asked for it: `Flow/lake`.
    pub objects: Vec<String>,
    /// What to load.
    pub load: Load,
    /// The Job that says more, where there is one.
    pub job: Option<String>,
    /// The streams, by exact name; empty: all.
    pub streams: Vec<String>,
    /// The full load may delete more than the Flow's limit.
    pub allow_deletes: bool,
    /// It was begun before, and something ended it.
    pub resumed: bool,
}

impl Batch {
    /// Whether it asks for what is new, and no Job says more.
    #[must_use]
    pub fn is_delta(&self) -> bool {
        self.load == Load::Delta && self.job.is_none()
    }
}

/// How a batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Its load is committed; so many rows were delivered.
    Done(u64),
    /// It failed.
    Failed(String),
    /// It was not begun, and waits on.
    Stopped,
}

impl Ledger {
    /// The ledger of a Flow that is seen for the first time: what is annotated already is not run.
    #[must_use]
    pub fn born(annotated: &[Annotated], now: Timestamp) -> Self {
        let mut ledger = Self::default();
        ledger.look(annotated, now);
        ledger
            .entries
            .iter_mut()
            .filter(|entry| entry.state == TriggerState::Waiting)
            .for_each(|entry| entry.state = TriggerState::Initial);
        ledger
    }

    /// Looks at annotations: each value that is new becomes an entry. Gives back what a person should hear.
    pub fn look(&mut self, annotated: &[Annotated], now: Timestamp) -> Vec<String> {
        let mut told = Vec::new();
        for object in annotated {
            for found in triggers::parse(&object.annotations) {
                let name = found
                    .as_ref()
                    .map_or_else(|error| error.name.clone(), |trigger| trigger.name.clone());
                let value = object
                    .annotations
                    .get(&format!("{PREFIX}{name}"))
                    .cloned()
                    .unwrap_or_default();
                let key = format!("{} {name}", object.uid);
                if self.seen.get(&key) == Some(&value) {
                    continue;
                }
                self.seen.insert(key, value);
                match found {
                    Ok(trigger) => self.wait(&object.object, trigger, now),
                    Err(error) => {
                        told.push(format!("{}: {error}", object.object));
                        self.entries.push(misunderstood(&object.object, &error, now));
                    }
                }
            }
        }
        self.prune();
        told
    }

    /// Looks at Jobs: one that is new is run once, and again only when it says something else.
    pub fn look_at_jobs(&mut self, jobs: &[JobPlan], now: Timestamp) {
        for job in jobs {
            let (key, token) = (format!("Job {}", job.name), fingerprint(job));
            if self.seen.insert(key, token.clone()).as_ref() == Some(&token) {
                continue;
            }
            self.entries.push(Entry {
                job: Some(job.name.clone()),
                ..waiting(&format!("Job/{}", job.name), job.load, &job.streams, token, now)
            });
        }
    }

    /// A token that waits for its turn.
    fn wait(&mut self, object: &str, trigger: Trigger, now: Timestamp) {
        self.entries.push(Entry {
            name: trigger.name,
            allow_deletes: trigger.allow_deletes,
            ..waiting(object, trigger.load, &trigger.streams, trigger.token, now)
        });
    }

    /// The run that comes next, begun: what a crash has left, else the oldest token and all that wait for the same.
    pub fn begin(&mut self) -> Option<Batch> {
        if let Some(left) = self
            .entries
            .iter()
            .find(|entry| entry.state == TriggerState::Running)
        {
            return left.run.and_then(|run| self.batch(run, true));
        }
        let first = self
            .entries
            .iter()
            .find(|entry| entry.state == TriggerState::Waiting)?
            .clone();
        self.runs += 1;
        let run = self.runs;
        let joined = self
            .entries
            .iter_mut()
            .filter(|entry| entry.state == TriggerState::Waiting && entry.asks_the_same(&first));
        for entry in joined {
            entry.state = TriggerState::Running;
            entry.run = Some(run);
        }
        self.batch(run, false)
    }

    fn batch(&self, run: u64, resumed: bool) -> Option<Batch> {
        let running = |entry: &&Entry| entry.run == Some(run) && entry.state == TriggerState::Running;
        let entries: Vec<&Entry> = self.entries.iter().filter(running).collect();
        let first = entries.first()?;
        Some(Batch {
            run,
            objects: entries.iter().map(|entry| entry.object.clone()).collect(),
            load: first.load?,
            job: first.job.clone(),
            streams: first.streams.clone(),
            allow_deletes: entries.iter().any(|entry| entry.allow_deletes),
            resumed,
        })
    }

    /// A run is over: every token that it served is closed.
    pub fn end(&mut self, run: u64, end: &End, now: Timestamp) {
        for entry in self
            .entries
            .iter_mut()
            .filter(|entry| entry.run == Some(run) && entry.state == TriggerState::Running)
        {
            match end {
                End::Stopped => {
                    entry.state = TriggerState::Waiting;
                    entry.run = None;
                    continue;
                }
                End::Done(rows) => {
                    entry.state = TriggerState::Succeeded;
                    entry.rows = Some(*rows);
                }
                End::Failed(message) => {
                    entry.state = TriggerState::Failed;
                    entry.message = Some(message.chars().take(500).collect());
                }
            }
            entry.finished_at = Some(now);
        }
        self.prune();
    }

    /// Whether a token waits.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry.state, TriggerState::Waiting | TriggerState::Running))
    }

    /// Drops the oldest entries that are over.
    fn prune(&mut self) {
        let over = |entry: &Entry| !matches!(entry.state, TriggerState::Waiting | TriggerState::Running);
        let mut surplus = self
            .entries
            .iter()
            .filter(|entry| over(entry))
            .count()
            .saturating_sub(KEPT);
        self.entries.retain(|entry| {
            let drop = surplus > 0 && over(entry);
            surplus -= usize::from(drop);
            !drop
        });
    }
}

impl Entry {
    /// The same load of the same streams.
    fn asks_the_same(&self, other: &Self) -> bool {
        let sorted = |entry: &Self| {
            let mut streams = entry.streams.clone();
            streams.sort_unstable();
            streams
        };
        self.load == other.load && self.job == other.job && sorted(self) == sorted(other)
    }
}

fn waiting(object: &str, load: Load, streams: &[String], token: String, now: Timestamp) -> Entry {
    Entry {
        object: object.to_owned(),
        name: "job".to_owned(),
        token,
        load: Some(load),
        job: None,
        streams: streams.to_vec(),
        allow_deletes: false,
        state: TriggerState::Waiting,
        run: None,
        requested_at: now,
        finished_at: None,
        rows: None,
        message: None,
    }
}

fn misunderstood(object: &str, error: &triggers::TriggerError, now: Timestamp) -> Entry {
    Entry {
        name: error.name.clone(),
        load: None,
        state: TriggerState::Failed,
        finished_at: Some(now),
        message: Some(error.problem.to_string()),
        ..waiting(object, Load::Full, &[], String::new(), now)
    }
}

/// What a Job asks for; how often it is tried and for how long changes nothing of that.
fn fingerprint(job: &JobPlan) -> String {
    let asked = serde_json::json!([job.load, job.streams, job.backfill]);
    let hash = format!("{:x}", Sha256::digest(asked.to_string()));
    hash[..10].to_owned()
}

#[cfg(test)]
mod tests;

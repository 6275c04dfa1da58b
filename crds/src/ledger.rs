//! The ledger of a Flow: which trigger tokens it has seen, and what became of each.
//!
//! In: annotations of the Flow, its Source and its Connector, and the Jobs of its manifests. Out: which load to run
//! next, for which tokens at once; entries for `status`. It is kept where a restart finds it (locally in the state store, in
//! a cluster in a `ConfigMap`), so that a restart repeats nothing and loses nothing: a token is `Running` before its load
//! begins, and one that is found so after a crash goes on under the number of the same run. In a cluster the ticks of the
//! clock are tokens too.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Duration,
    channel::{Failure, short},
    flow::{ScheduleLoad, TriggerState},
    job::Load,
    plan::{BackfillPlan, JobPlan},
    triggers::{self, PREFIX},
};

/// Entries of runs that are over which the ledger keeps.
const KEPT: usize = 100;
/// Tokens that may wait at one time: the ledger must fit where it is kept.
const WAITING: usize = 200;
/// The longest value of an annotation that is remembered as it is, in bytes.
const REMEMBERED: usize = 64;

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
    /// What to load; `None`: what each stream needs, or, where it has failed, that it could not be understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// The Job that is to be run, where it is none of the annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// What else that Job says.
    #[serde(default, skip_serializing_if = "Terms::is_empty")]
    pub terms: Terms,
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
    /// Who must act then, and a fixed word for it, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// What sort of failure ended a run: of its [`Failure`] that which decides what is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cause {
    /// As in [`Failure`].
    pub kind: String,
    /// As in [`Failure`]; may be empty.
    pub reason: String,
}

/// What a Job says beyond its load and its streams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terms {
    /// The range of the cursor, for a backfill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfill: Option<BackfillPlan>,
    /// How often it is tried again after a failure that may pass.
    pub retries: u32,
    /// The time after which it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// Pods that share it; 0 is one, as where nobody says.
    #[serde(skip_serializing_if = "is_alone")]
    pub parallelism: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_alone(pods: &u32) -> bool {
    *pods < 2
}

impl Terms {
    /// What a Job says.
    #[must_use]
    pub fn of(job: &JobPlan) -> Self {
        Self {
            backfill: job.backfill.clone(),
            retries: job.retries,
            deadline: job.deadline,
            parallelism: job.parallelism,
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
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
    /// What to load; `None`: what each stream needs.
    pub load: Option<Load>,
    /// The Job that says more, where there is one.
    pub job: Option<String>,
    /// What that Job says.
    pub terms: Terms,
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
        self.load == Some(Load::Delta) && self.job.is_none()
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
                let mark = mark(&value);
                let before = self.seen.insert(key, mark.clone());
                if before.is_some_and(|before| before == mark || before == value) {
                    continue;
                }
                match found {
                    Ok(trigger) => self.ask(Entry {
                        name: trigger.name,
                        allow_deletes: trigger.allow_deletes,
                        ..waiting(
                            &object.object,
                            Some(trigger.load),
                            &trigger.streams,
                            trigger.token,
                            now,
                        )
                    }),
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
            self.ask_for(job, token, now);
        }
        self.prune();
    }

    /// Looks at one Job of a cluster: its UID is its token, so that it is run once, whatever is edited.
    pub fn look_at_job(&mut self, uid: &str, job: &JobPlan, now: Timestamp) {
        let key = format!("{uid} job");
        if self.seen.insert(key, String::new()).is_none() {
            self.ask_for(job, uid.to_owned(), now);
            self.prune();
        }
    }

    /// Forgets what is remembered of objects that are gone for good: theirs is no UID of these.
    pub fn keep(&mut self, uids: &[&str]) {
        self.seen.retain(|key, _| match key.split_once(' ') {
            Some(("Tick" | "Job", _)) | None => true,
            Some((uid, _)) => uids.contains(&uid),
        });
    }

    /// The clock asks for a load: by the `schedule`, by the `full_interval` or the `delta_interval`; `first` is the first of
    /// all. The moment of the tick is its token, and one that is not later than the last is no news.
    pub fn tick(
        &mut self,
        object: &str,
        name: &str,
        load: Option<ScheduleLoad>,
        at: Timestamp,
        now: Timestamp,
    ) {
        let key = format!("Tick {name}");
        let last = self
            .seen
            .get(&key)
            .and_then(|last| last.parse::<Timestamp>().ok());
        if last.is_some_and(|last| at <= last) {
            return;
        }
        self.seen.insert(key, at.to_string());
        let load = load.map(|load| match load {
            ScheduleLoad::Full => Load::Full,
            ScheduleLoad::Delta => Load::Delta,
        });
        self.ask(Entry {
            name: name.to_owned(),
            ..waiting(object, load, &[], at.to_string(), now)
        });
        self.prune();
    }

    fn ask_for(&mut self, job: &JobPlan, token: String, now: Timestamp) {
        self.ask(Entry {
            job: Some(job.name.clone()),
            terms: Terms::of(job),
            ..waiting(
                &format!("Job/{}", job.name),
                Some(job.load),
                &job.streams,
                token,
                now,
            )
        });
    }

    /// A token that waits for its turn, unless too many wait already.
    fn ask(&mut self, mut entry: Entry) {
        let waiting = |entry: &&Entry| entry.state == TriggerState::Waiting;
        if self.entries.iter().filter(waiting).count() >= WAITING {
            entry.state = TriggerState::Failed;
            entry.finished_at = Some(entry.requested_at);
            entry.message = Some(format!(
                "{WAITING} tokens wait already; write it again once they have been served"
            ));
        }
        self.entries.push(entry);
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

    /// The numbers of the runs that are at work, the oldest first.
    #[must_use]
    pub fn at_work(&self) -> Vec<u64> {
        let running = |entry: &&Entry| entry.state == TriggerState::Running;
        let mut runs: Vec<u64> = self
            .entries
            .iter()
            .filter(running)
            .filter_map(|entry| entry.run)
            .collect();
        runs.sort_unstable();
        runs.dedup();
        runs
    }

    /// How many pods share a run.
    #[must_use]
    pub fn pods(&self, run: u64) -> u32 {
        let entry = self.entries.iter().find(|entry| entry.run == Some(run));
        entry.map_or(1, |entry| entry.terms.parallelism.max(1))
    }

    /// A run that is at work, for whoever does it; `resumed`: it was begun by another process before. `None`: it is over,
    /// or was never begun.
    #[must_use]
    pub fn running(&self, run: u64, resumed: bool) -> Option<Batch> {
        self.batch(run, resumed)
    }

    fn batch(&self, run: u64, resumed: bool) -> Option<Batch> {
        let running = |entry: &&Entry| entry.run == Some(run) && entry.state == TriggerState::Running;
        let entries: Vec<&Entry> = self.entries.iter().filter(running).collect();
        let first = entries.first()?;
        Some(Batch {
            run,
            objects: entries.iter().map(|entry| entry.object.clone()).collect(),
            load: first.load,
            job: first.job.clone(),
            terms: first.terms.clone(),
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

    /// Notes what sort of failure ended a run.
    pub fn explain(&mut self, run: u64, failure: &Failure) {
        let cause = Cause {
            kind: failure.kind.clone(),
            reason: failure.reason.clone(),
        };
        let failed = |entry: &&mut Entry| entry.run == Some(run) && entry.state == TriggerState::Failed;
        self.entries
            .iter_mut()
            .filter(failed)
            .for_each(|entry| entry.cause = Some(cause.clone()));
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
        self.load == other.load
            && self.job == other.job
            && self.terms == other.terms
            && sorted(self) == sorted(other)
    }
}

fn waiting(object: &str, load: Option<Load>, streams: &[String], token: String, now: Timestamp) -> Entry {
    Entry {
        object: object.to_owned(),
        name: "job".to_owned(),
        token,
        load,
        job: None,
        terms: Terms::default(),
        streams: streams.to_vec(),
        allow_deletes: false,
        state: TriggerState::Waiting,
        run: None,
        requested_at: now,
        finished_at: None,
        rows: None,
        message: None,
        cause: None,
    }
}

fn misunderstood(object: &str, error: &triggers::TriggerError, now: Timestamp) -> Entry {
    Entry {
        name: error.name.clone(),
        state: TriggerState::Failed,
        finished_at: Some(now),
        message: Some(error.problem.to_string()),
        ..waiting(object, None, &[], String::new(), now)
    }
}

/// What a Job asks for; how often it is tried and for how long changes nothing of that.
fn fingerprint(job: &JobPlan) -> String {
    let asked = serde_json::json!([job.load, job.streams, job.backfill]);
    let hash = format!("{:x}", Sha256::digest(asked.to_string()));
    hash[..10].to_owned()
}

/// What is remembered of a value: itself, or, where it is long, its hash.
fn mark(value: &str) -> String {
    match value.len() > REMEMBERED {
        true => format!("sha256:{:x}", Sha256::digest(value)),
        false => value.to_owned(),
    }
}

/// The name of a run that triggers started: the same after a crash, another for each run of each Flow. It can be the name
/// of a Job of Kubernetes.
#[must_use]
pub fn run_id(flow: &str, flow_uid: &str, run: u64) -> String {
    let hash = format!("{:x}", Sha256::digest(format!("{flow_uid}#{run}")));
    format!("{}-{}", short(flow), &hash[..10])
}

#[cfg(test)]
mod tests;

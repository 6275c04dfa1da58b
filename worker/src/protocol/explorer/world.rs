//! What is true: the record in the store, the rows at the destination, and the first invariant that broke.
//!
//! Operations are applied here, one after the other, in the order in which they arrive.

use serde_json::{Value, json};

use super::Defect;
use crate::{
    connector::Authority,
    protocol::{Commit, Committed, Epoch},
    state::Record,
};

/// One call of a worker, as it travels.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Load,
    Create(Box<Record>),
    Swap(Box<Record>, u64),
    Last,
    Fence(Epoch, String),
    Commit(Epoch, Box<Commit>),
    Acknowledge(u64),
}

impl Op {
    pub(super) fn writes(&self) -> bool {
        !matches!(self, Self::Load | Self::Last)
    }
}

/// What the other side answers.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Loaded(Box<Option<(Record, u64)>>),
    Written(u64),
    Refused,
    Found(Box<Option<Committed>>),
    Done,
    /// Surely not applied.
    Failed,
    /// Nobody knows.
    Lost,
}

/// Store, destination and source.
#[derive(Debug)]
pub(super) struct World {
    authority: Authority,
    defect: Defect,
    pub(super) record: Option<(Record, u64)>,
    writes: u64,
    /// The greatest epoch that fenced.
    fenced: Epoch,
    pub(super) last: Option<Committed>,
    /// The rows that a reader of the destination sees, in order.
    pub(super) rows: Vec<u64>,
    pub(super) state_lost: bool,
    pub(super) broken: Option<String>,
}

impl World {
    pub(super) fn new(authority: Authority, defect: Defect) -> Self {
        Self {
            authority,
            defect,
            record: None,
            writes: 0,
            fenced: 0,
            last: None,
            rows: Vec::new(),
            state_lost: false,
            broken: None,
        }
    }

    /// Notes what broke; the first one counts.
    pub(super) fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(what());
        }
    }

    /// Whether this owner was overtaken, as one who says so must be.
    pub(super) fn is_overtaken(&self, owner: &str) -> bool {
        self.record
            .as_ref()
            .is_none_or(|(record, _)| record.owner != owner)
    }

    /// Applies an operation. `torn`: the process at the other side dies over it.
    pub(super) fn apply(&mut self, op: &Op, torn: bool) -> Answer {
        match op {
            Op::Load => Answer::Loaded(Box::new(self.record.clone())),
            Op::Create(record) => self.write(record, None),
            Op::Swap(record, version) => self.write(record, Some(*version)),
            Op::Last => Answer::Found(Box::new(self.last.clone())),
            Op::Fence(epoch, nonce) => self.fence(*epoch, nonce),
            Op::Commit(epoch, commit) => self.commit(*epoch, commit, torn),
            Op::Acknowledge(to) => {
                let there = self.rows.len() as u64;
                self.check(*to <= there, || {
                    format!("I7: {to} rows acknowledged, {there} delivered")
                });
                Answer::Done
            }
        }
    }

    fn write(&mut self, record: &Record, expected: Option<u64>) -> Answer {
        let version = self.record.as_ref().map(|(_, version)| *version);
        let careless = self.defect == Defect::NoVersionCheck && version.is_some() && expected.is_some();
        if version != expected && !careless {
            return Answer::Refused;
        }
        self.inspect(record);
        self.writes += 1;
        self.record = Some((record.clone(), self.writes));
        Answer::Written(self.writes)
    }

    fn inspect(&mut self, record: &Record) {
        let delivered = self.rows.len() as u64;
        if let Some((old, _)) = self.record.clone() {
            self.check(record.epoch >= old.epoch, || {
                format!("I8: epoch {} after {}", record.epoch, old.epoch)
            });
            self.check(record.epoch > old.epoch || record.owner == old.owner, || {
                format!(
                    "two owners of epoch {}: {} and {}",
                    record.epoch, old.owner, record.owner
                )
            });
            self.check(record.committed.at() >= old.committed.at(), || {
                format!(
                    "I8: commit {:?} after {:?}",
                    record.committed.at(),
                    old.committed.at()
                )
            });
        }
        let claims = position(&record.committed.offset);
        self.check(claims <= delivered, || {
            format!("I14: the state claims {claims} rows, {delivered} are there")
        });
    }

    fn fence(&mut self, epoch: Epoch, nonce: &str) -> Answer {
        if self.authority != Authority::Destination {
            return Answer::Found(Box::default());
        }
        if epoch < self.fenced {
            return Answer::Refused;
        }
        let again = epoch == self.fenced && self.defect != Defect::FenceRewrites;
        if self.defect != Defect::NoFence && !again {
            self.fenced = epoch;
            match &mut self.last {
                // As a database does that has one row for both: the fence overwrites the mark of the last commit.
                Some(last) => (last.epoch, last.nonce) = (epoch, nonce.to_owned()),
                None => self.last = Some(Committed::nothing(epoch, nonce)),
            }
        }
        Answer::Found(Box::new(self.last.clone()))
    }

    fn commit(&mut self, epoch: Epoch, commit: &Commit, torn: bool) -> Answer {
        let (from, to) = range(commit);
        if self.authority != Authority::Destination {
            return self.push(from, to);
        }
        let (generation, seq) = self.last.as_ref().map_or((0, 0), Committed::at);
        let follows = (commit.generation, commit.seq) == (generation.max(1), seq + 1);
        let owned = epoch == self.fenced || matches!(self.defect, Defect::NoEpochCheck | Defect::NoFence);
        if !follows || !owned {
            return Answer::Refused;
        }
        let fenced = self.fenced;
        self.check(epoch >= fenced, || {
            format!("I5: epoch {epoch} committed after the fence of {fenced}")
        });
        let there = self.rows.len() as u64;
        self.check(from == there, || {
            format!("I1, I2: rows {from}..{to} were committed after {there}")
        });
        self.rows.extend(from..to);
        if torn && self.defect == Defect::TornCommit {
            return Answer::Done;
        }
        let last = self.last.replace(Committed {
            epoch,
            generation: commit.generation,
            seq: commit.seq,
            offset: commit.offset.clone(),
            nonce: commit.nonce.clone(),
        });
        let before = last.map_or(0, |last| last.epoch);
        self.check(before <= epoch, || {
            format!("I8: epoch {epoch} committed after {before}")
        });
        Answer::Done
    }

    /// A destination that keeps no offset: rows by key show once, others as often as they come. None is skipped.
    fn push(&mut self, from: u64, to: u64) -> Answer {
        let there = self.rows.iter().max().map_or(0, |last| last + 1);
        self.check(from <= there, || {
            format!("I1: rows {from}..{to} were delivered after {there}")
        });
        for row in from..to {
            if self.authority == Authority::Store || !self.rows.contains(&row) {
                self.rows.push(row);
            }
        }
        Answer::Done
    }
}

/// An offset, as the workers store it.
pub(super) fn offset(position: u64) -> Value {
    json!({ "position": position })
}

/// The position in an offset; nothing: the beginning.
pub(super) fn position(offset: &Value) -> u64 {
    offset.get("position").and_then(Value::as_u64).unwrap_or(0)
}

fn range(commit: &Commit) -> (u64, u64) {
    let token = &commit.staged[0].token;
    (token["from"].as_u64().unwrap(), token["to"].as_u64().unwrap())
}

//! The store and the destination as a worker sees them: each call waits until the scheduler answers it.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex},
    task::Poll,
};

use async_trait::async_trait;

use super::{
    Defect,
    world::{Answer, Op, World},
};
use crate::{
    connector::{Shard, Stage, StageRequest},
    error::{Error, Result},
    protocol::{Commit, Committed, Epoch, Outcome, Permit, ShardId},
    state::{Cas, Record, Store, Version},
};

/// What workers and scheduler share.
pub(super) type Shared = Arc<Mutex<Desk>>;

/// The world, and the open call of each worker.
pub(super) struct Desk {
    pub(super) world: World,
    pub(super) calls: Vec<Call>,
}

/// Where a worker's call stands.
pub(super) enum Call {
    None,
    Open(Op),
    Answered(Answer),
}

/// One worker's line to store, destination and source.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) shared: Shared,
    pub(super) worker: usize,
    pub(super) defect: Defect,
}

impl Line {
    pub(super) async fn call(&self, op: Op) -> Answer {
        self.shared.lock().unwrap().calls[self.worker] = Call::Open(op);
        poll_fn(|_| {
            let call = &mut self.shared.lock().unwrap().calls[self.worker];
            match std::mem::replace(call, Call::None) {
                Call::Answered(answer) => Poll::Ready(answer),
                open => {
                    *call = open;
                    Poll::Pending
                }
            }
        })
        .await
    }

    async fn write(&self, op: Op) -> Result<Cas> {
        match self.call(op).await {
            Answer::Written(version) => Ok(Cas::Done(Version(version.to_string()))),
            Answer::Refused if self.defect == Defect::RefusalIsSuccess => {
                Ok(Cas::Done(Version("0".to_owned())))
            }
            Answer::Refused => Ok(Cas::Conflict),
            Answer::Failed => Err(failed()),
            answer => Ok(Cas::Unknown(format!("{answer:?}"))),
        }
    }

    /// A worker with this defect believes in a new beginning where there is no state.
    fn hides(&self) -> bool {
        self.defect == Defect::MissingIsEmpty && self.shared.lock().unwrap().world.state_lost
    }
}

fn failed() -> Error {
    Error::transient("out of reach")
}

#[async_trait]
impl Store for Line {
    async fn load(&self, _shard: &ShardId) -> Result<Option<(Record, Version)>> {
        match self.call(Op::Load).await {
            Answer::Loaded(found) => {
                Ok(found.map(|(record, version)| (record, Version(version.to_string()))))
            }
            _ => Err(failed()),
        }
    }
    async fn create(&self, _shard: &ShardId, record: &Record) -> Result<Cas> {
        self.write(Op::Create(Box::new(record.clone()))).await
    }
    async fn swap(&self, _shard: &ShardId, record: &Record, version: &Version) -> Result<Cas> {
        self.write(Op::Swap(Box::new(record.clone()), version.0.parse().unwrap()))
            .await
    }
    async fn list(&self, _state: Option<&str>) -> Result<Vec<ShardId>> {
        panic!("no decision comes from a list")
    }
    fn place(&self) -> String {
        "the model".to_owned()
    }
    async fn probe(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Shard for Line {
    async fn last_committed(&self) -> Result<Option<Committed>> {
        match self.call(Op::Last).await {
            Answer::Found(_) if self.hides() => Ok(None),
            Answer::Found(found) => Ok(*found),
            _ => Err(failed()),
        }
    }
    async fn fence(&self, epoch: Epoch, nonce: &str) -> Result<Option<Committed>> {
        match self.call(Op::Fence(epoch, nonce.to_owned())).await {
            Answer::Found(_) if self.hides() => Ok(None),
            Answer::Found(found) => Ok(*found),
            Answer::Refused => Err(Error::fenced("a greater epoch is there")),
            _ => Err(failed()),
        }
    }
    async fn stage(&self, _permit: &Permit, _request: StageRequest) -> Result<Box<dyn Stage>> {
        Err(Error::bug("the model stages nothing"))
    }
    async fn commit(&self, permit: &Permit, commit: &Commit) -> Outcome {
        match self
            .call(Op::Commit(permit.epoch(), Box::new(commit.clone())))
            .await
        {
            Answer::Done => Outcome::Done,
            Answer::Refused if self.defect == Defect::RefusalIsSuccess => Outcome::Done,
            Answer::Refused => Outcome::Fenced,
            Answer::Failed => Outcome::Failed(failed()),
            Answer::Lost if self.defect == Defect::UnknownIsSuccess => Outcome::Done,
            answer => Outcome::Unknown(format!("{answer:?}")),
        }
    }
}

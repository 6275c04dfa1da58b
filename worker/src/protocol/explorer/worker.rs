//! What a worker does with its life: acquire, commit row after row, acknowledge.

use std::time::Duration;

use serde_json::json;

use super::{
    Defect,
    model::Line,
    world::{Op, offset, position},
};
use crate::{
    backoff::Backoff,
    connector::{Authority, Shard, Staged},
    error::{Error, ErrorKind, Result},
    protocol::{Claim, Commit, Outcome, Permit, ShardId, acquire, commit, nonce},
    state::Run,
};

/// How a worker ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// Everything is delivered.
    Finished,
    /// It gave up; started again, it may get further.
    Failed,
    /// A newer one owns the shard.
    Fenced,
    /// A person must decide, or something is wrong.
    Stopped(Error),
}

/// One life, from the start of the process to its end.
pub(super) async fn live(line: Line, owner: String, authority: Authority, rows: u64) -> End {
    match work(&line, &owner, authority, rows).await {
        Ok(()) => End::Finished,
        Err(error) => match error.kind {
            ErrorKind::Transient => End::Failed,
            ErrorKind::Fenced => End::Fenced,
            _ => End::Stopped(error),
        },
    }
}

async fn work(line: &Line, owner: &str, authority: Authority, rows: u64) -> Result<()> {
    let id = ShardId {
        state: "s".to_owned(),
        stream: "t".to_owned(),
    };
    let run = Run {
        id: owner.to_owned(),
        cause: "delta".to_owned(),
    };
    let claim = Claim {
        flow_uid: "flow".to_owned(),
        owner: owner.to_owned(),
        run: run.clone(),
        adopt: None,
        authority,
        backoff: Backoff {
            tries: 3,
            first: Duration::ZERO,
            most: Duration::ZERO,
        },
    };
    let mut permit = acquire(line, line, &id, claim).await?;
    while position(&permit.last().offset) < rows {
        let from = position(&permit.last().offset);
        if line.defect == Defect::AcknowledgeFirst {
            line.call(Op::Acknowledge(from + 1)).await;
        }
        match one(line, &mut permit, from, &run).await {
            // Surely not applied: the same permit may try again, with a new mark.
            Err(error) if error.kind == ErrorKind::Transient && permit.check().is_ok() => {
                one(line, &mut permit, from, &run).await?;
            }
            result => result?,
        }
        line.call(Op::Acknowledge(from + 1)).await;
    }
    Ok(())
}

async fn one(line: &Line, permit: &mut Permit, from: u64, run: &Run) -> Result<()> {
    let (generation, seq) = permit.next(false);
    let staged = Staged {
        rows: 1,
        token: json!({ "from": from, "to": from + 1 }),
        ..Staged::default()
    };
    let whole = Commit {
        generation,
        seq,
        nonce: nonce(),
        offset: offset(from + 1),
        staged: vec![staged],
        dead: std::collections::BTreeMap::new(),
        replace: false,
    };
    if line.defect == Defect::NoReadBack {
        return naive(line, permit, &whole).await;
    }
    commit(permit, line, line, whole, run).await
}

/// As one would write it first: a refusal means that somebody else was faster.
async fn naive(line: &Line, permit: &mut Permit, whole: &Commit) -> Result<()> {
    for _ in 0..3 {
        match line.commit(permit, whole).await {
            Outcome::Done => {
                permit.advance(whole);
                return Ok(());
            }
            Outcome::Fenced => return Err(Error::fenced("refused")),
            Outcome::Unknown(_) => {}
            Outcome::Failed(error) | Outcome::Lost(error) => return Err(error),
        }
    }
    Err(Error::transient("no answer"))
}

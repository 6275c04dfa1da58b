//! One load of one stream, read by the pods that share a Job.
//!
//! ```text
//! leader: permit, load, index -> notice ---------------------------------> committed, as any other load
//!                                  |  deals itself parts, too                   ^ compares all parts, stages
//!                                  v                                            |
//! helpers:                 claim a part -> read, prepare, match, hash -> part's objects -> announced
//! ```
//!
//! In: a load that others can join, and a place in S3. Out: the parts of others, as if this process had read them. The
//! pod that a stream is dealt to leads its load, and alone holds the permit; the others have no right to anything but
//! objects of their own names. What they write is immutable, lies under the leader's attempt (epoch and nonce), and
//! counts only once it is announced by a conditional write. So a helper that dies, lags or comes back from the dead costs
//! time and nothing else: a part that is not announced in time is read by the leader itself, which would get through the
//! whole load with no helper at all. A leader that dies takes its attempt with it: the next one has a greater epoch and a
//! nonce of its own, and removes what the old attempt has left.

mod board;
mod help;
mod lead;
mod notice;
mod part;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use arrow::datatypes::Schema;

use self::notice::Notice;
pub(crate) use self::part::{Fetched, Gather};
pub use self::{board::Board, help::help, lead::Lead};
use super::offset::Offset;
use crate::{
    connector::{Load, Range},
    error::Result,
    protocol::Permit,
    stream::StreamSpec,
};

/// How long a part that somebody else has claimed may take before the leader, with nothing else left to do, reads it too.
const PATIENCE: Duration = Duration::from_mins(1);

/// Parts for each pod, where the manifest does not say how many there are: so the slowest pod holds up the others little.
const PARTS: usize = 4;
/// Parts that can be told apart from lanes by their numbers.
const MOST: usize = 60_000;

/// What a pod needs to share its loads, and to help with those of others.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// Where they meet.
    pub board: Arc<Board>,
    /// Which of the pods this is, from 0.
    pub index: u32,
    /// How many there are.
    pub pods: u32,
    /// How long the leader waits for a part that it could read itself.
    pub patience: Duration,
}

impl Sharing {
    /// Pod `index` of `pods`, which meet at a board.
    #[must_use]
    pub fn new(board: Board, index: u32, pods: u32) -> Self {
        Self {
            board: Arc::new(board),
            index,
            pods: pods.max(1),
            patience: PATIENCE,
        }
    }
}

/// A load that could be shared.
pub(crate) struct Wish<'a> {
    /// The run.
    pub(crate) run: &'a str,
    /// The stream.
    pub(crate) stream: &'a StreamSpec,
    /// What of it is read.
    pub(crate) range: &'a Range,
    /// The load, open.
    pub(crate) load: &'a dyn Load,
    /// The right to commit it.
    pub(crate) permit: &'a Permit,
    /// By which rows are prepared.
    pub(crate) offset: &'a Offset,
    /// The columns that are delivered.
    pub(crate) delivered: &'a Schema,
    /// Rows are looked for in the index on the way.
    pub(crate) matching: bool,
    /// The destination keeps the index and the last commit, where helpers see them.
    pub(crate) held: bool,
}

impl Sharing {
    /// How many parts to ask for, where the source made some by itself, and too few for all pods.
    pub(crate) fn parts(&self, stream: &StreamSpec, load: &dyn Load) -> Option<usize> {
        let wanted = self.pods as usize * PARTS;
        let few = load.ticket().is_some() && (2..wanted).contains(&load.partitions());
        (few && stream.partitions.is_none()).then_some(wanted)
    }

    /// Puts up a notice of a load; `None`, with the reason in the log: this pod reads it alone.
    ///
    /// # Errors
    /// What the board says.
    pub(crate) async fn lead(&self, wish: Wish<'_>) -> Result<Option<Arc<Lead>>> {
        let alone = |why: &str| {
            tracing::info!(
                stream = wish.stream.name,
                "this pod alone reads the stream: {why}"
            );
            Ok(None)
        };
        let Some(ticket) = wish.load.ticket() else {
            return alone("no other can join a load of this source");
        };
        match wish.load.partitions() {
            0 | 1 => return alone("it has a single part"),
            2..=MOST => {}
            _ => return alone("it has too many parts"),
        }
        if !wish.held {
            return alone("its destination does not keep what was delivered");
        }
        let read = wish.load.schema();
        let notice = Notice {
            run: wish.run.to_owned(),
            leader: self.index,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stream: wish.stream.name.clone(),
            range: wish.range.clone(),
            epoch: wish.permit.epoch(),
            at: wish.permit.last().at(),
            ticket,
            partitions: wish.load.partitions(),
            matching: wish.matching,
            offset: wish.offset.clone(),
            columns: Notice::columns(&read, wish.delivered),
        };
        Lead::open(self, &notice).await.map(Some)
    }
}

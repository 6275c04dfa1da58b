//! A model checker for the protocol: workers that run the real `acquire` and `commit` against a store and a
//! destination in memory, under a scheduler that decides what happens to each of their calls.
//!
//! A call is delivered, fails, is applied without an answer, is applied twice, arrives long after its sender gave up, or
//! its worker dies before, in or after it; between any two calls another worker may go on. [`schedule::run`] plays one
//! course of events and names the first invariant that broke. [`exhaustive`] plays every course with a few deviations
//! from the smooth one, [`sampled`] many with any number of them. With a [`Defect`] in the model a violation must be
//! found: that shows that the checker can see.

mod choice;
mod model;
mod schedule;
mod tests;
mod worker;
mod world;

use self::{
    choice::{Paths, Seeded},
    schedule::Setting,
};
use crate::connector::Authority;

/// One deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    None,
    /// The destination does not compare epochs.
    NoEpochCheck,
    /// The store swaps whatever the version.
    NoVersionCheck,
    /// A refusal counts as success.
    RefusalIsSuccess,
    /// A refusal counts as failure, and nothing is read back.
    NoReadBack,
    /// The source is acknowledged before the commit.
    AcknowledgeFirst,
    /// A missing state is taken for an empty one.
    MissingIsEmpty,
    /// The fence does not reach the destination.
    NoFence,
    /// A fence that arrives twice, the second time after a commit, takes the mark of that commit away.
    FenceRewrites,
    /// An answer that did not come counts as success.
    UnknownIsSuccess,
    /// Rows and offset are not one transaction.
    TornCommit,
}

/// The first course that broke an invariant.
struct Violation {
    /// How to play it again.
    course: String,
    what: String,
}

/// Plays every course with at most `deviations` from the smooth one; tells how many there were.
fn exhaustive(setting: &Setting, deviations: usize) -> (usize, Option<Violation>) {
    let mut paths = Paths::new(deviations);
    let mut played = 0;
    while paths.next_course() {
        played += 1;
        if let Err(what) = schedule::run(setting, &mut paths) {
            return (
                played,
                Some(Violation {
                    course: format!("{paths:?}"),
                    what,
                }),
            );
        }
    }
    (played, None)
}

/// Plays one course for each seed.
fn sampled(setting: &Setting, seeds: std::ops::Range<u64>) -> (usize, Option<Violation>) {
    let mut played = 0;
    for seed in seeds {
        played += 1;
        if let Err(what) = schedule::run(setting, &mut Seeded::new(seed)) {
            return (
                played,
                Some(Violation {
                    course: format!("seed {seed}"),
                    what,
                }),
            );
        }
    }
    (played, None)
}

fn setting(authority: Authority, workers: usize) -> Setting {
    Setting {
        authority,
        workers,
        rows: 2,
        restarts: 2,
        loses_state: false,
        defect: Defect::None,
    }
}

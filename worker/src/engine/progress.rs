//! How far a load is, for people: counters that the engine moves and a display reads.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use crate::connector::Estimate;

/// What a load is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// It has not begun.
    Waiting,
    /// Rows come in.
    Reading,
    /// Rows are compared with what was delivered.
    Comparing,
    /// Rows that changed are written.
    Writing,
    /// The commit is on its way.
    Committing,
    /// It has ended.
    Done,
}

const PHASES: [Phase; 6] = [
    Phase::Waiting,
    Phase::Reading,
    Phase::Comparing,
    Phase::Writing,
    Phase::Committing,
    Phase::Done,
];

/// The counters of one stream; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    rows: AtomicU64,
    bytes: AtomicU64,
    phase: AtomicU8,
    estimate: OnceLock<Estimate>,
}

impl Progress {
    /// Counts rows and the source's bytes.
    pub fn read(&self, rows: u64, bytes: u64) {
        self.0.rows.fetch_add(rows, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }
    /// Notes what is to come.
    pub fn expect(&self, estimate: Estimate) {
        let _ = self.0.estimate.set(estimate);
    }
    /// Rows and bytes read so far.
    #[must_use]
    pub fn so_far(&self) -> (u64, u64) {
        (
            self.0.rows.load(Ordering::Relaxed),
            self.0.bytes.load(Ordering::Relaxed),
        )
    }
    /// The phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        PHASES
            .get(usize::from(self.0.phase.load(Ordering::Relaxed)))
            .copied()
            .unwrap_or(Phase::Done)
    }
    /// What is to come, where known.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        self.0.estimate.get().copied().unwrap_or_default()
    }
}

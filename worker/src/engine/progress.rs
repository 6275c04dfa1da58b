//! How far a load is, for people: counters that the engine moves and a display reads.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering},
};

use jiff::Timestamp;

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
    first_read: OnceLock<Timestamp>,
    written: AtomicU64,
    refused: AtomicU64,
    /// Milliseconds since 1970; 0: never.
    last_load: AtomicI64,
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
        if phase == Phase::Reading {
            self.0.first_read.get_or_init(Timestamp::now);
        }
    }
    /// A load is committed: it has delivered and refused so many rows.
    pub fn loaded(&self, written: u64, refused: u64) {
        self.0.written.fetch_add(written, Ordering::Relaxed);
        self.0.refused.fetch_add(refused, Ordering::Relaxed);
        let now = Timestamp::now().as_millisecond();
        self.0.last_load.store(now, Ordering::Relaxed);
    }
    /// Rows delivered and refused by the loads that are committed.
    #[must_use]
    pub fn delivered(&self) -> (u64, u64) {
        (
            self.0.written.load(Ordering::Relaxed),
            self.0.refused.load(Ordering::Relaxed),
        )
    }
    /// When the last load was committed.
    #[must_use]
    pub fn last_load(&self) -> Option<Timestamp> {
        let millis = self.0.last_load.load(Ordering::Relaxed);
        Timestamp::from_millisecond(millis).ok().filter(|_| millis > 0)
    }
    /// Whether these are the same counters.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
    /// When the source was first asked for rows.
    #[must_use]
    pub fn first_read(&self) -> Option<Timestamp> {
        self.0.first_read.get().copied()
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

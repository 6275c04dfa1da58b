//! What a run is asked for.

use millrace_crds::flow::ScheduleLoad;

use crate::engine::{channel::Budget, drain::Drain, shared::Sharing};

/// What to load; what is not asked is what the stream needs: a full load first, then deltas where there is a cursor.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The load, where one is asked for.
    pub load: Option<Wanted>,
    /// Exact names; empty: all streams of the Flow.
    pub streams: Vec<String>,
    /// Count what would be done, and do nothing.
    pub dry_run: bool,
    /// Full loads may delete more than the Flow's limit.
    pub allow_deletes: bool,
    /// Take over the state of the Flow with this UID.
    pub adopt: Option<String>,
    /// The run's id; empty: a new one.
    pub run: String,
    /// Once the end is asked for, no further stream begins.
    pub drain: Drain,
    /// Bytes that may wait: one limit for all runs whose requests are clones of one.
    pub budget: Budget,
    /// Other pods help with the loads.
    pub sharing: Option<Sharing>,
}

/// A load that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything, compared with what was delivered.
    Full,
    /// What came since the last load; everything, the first time.
    Delta,
    /// `from <= cursor < to`; the watermark stays.
    Backfill {
        /// The first value.
        from: String,
        /// The first value that is not wanted.
        to: String,
    },
}

impl From<ScheduleLoad> for Wanted {
    fn from(load: ScheduleLoad) -> Self {
        match load {
            ScheduleLoad::Full => Self::Full,
            ScheduleLoad::Delta => Self::Delta,
        }
    }
}

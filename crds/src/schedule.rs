//! When a Flow is due: intervals, schedules, and what becomes of ticks that were missed. No clock: the time comes in.
//!
//! In: a plan, when its streams were last loaded, and the time. Out: what is due, and when the next thing will be.
//!
//! - A Flow with a `schedule` runs by it alone; one with intervals by these; one with neither once, at the start.
//! - After a restart nothing is loaded in full; a delta comes within its interval.
//! - Missed ticks are one tick. After a failure the next tick is a whole interval away.

mod cron;

use jiff::{SignedDuration, Timestamp};

use self::cron::Cron;
use crate::{
    Plan,
    flow::{ConcurrencyPolicy, ScheduleLoad, WriteMode},
    plan::SourcePlan,
};

/// A schedule that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("schedule `{schedule}` ({zone}): {problem}")]
pub struct ScheduleError {
    /// The expression.
    pub schedule: String,
    /// The time zone.
    pub zone: String,
    /// What is wrong.
    pub problem: String,
}

/// When the streams of a Flow were last loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// All of them have been loaded, at one time or another.
    pub complete: bool,
    /// The last full load of any stream.
    pub full: Option<Timestamp>,
    /// The last load of any kind of any stream.
    pub any: Option<Timestamp>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The first load.
    First,
    /// A full load, by its interval.
    Full,
    /// A delta load, by its interval.
    Delta,
    /// What the schedule asks for.
    Scheduled,
}

/// When one Flow is due.
#[derive(Debug)]
pub struct Schedule {
    first: Option<Timestamp>,
    full: Option<Timer>,
    delta: Option<Timer>,
    cron: Option<Cron>,
    load: Option<ScheduleLoad>,
    policy: ConcurrencyPolicy,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    every: SignedDuration,
    next: Timestamp,
}

impl Schedule {
    /// The schedule of a Flow from now on.
    ///
    /// # Errors
    /// [`ScheduleError`] where the cron expression or the time zone is none.
    pub fn new(plan: &Plan, last: Last, now: Timestamp) -> Result<Self, ScheduleError> {
        let run = &plan.run;
        let cron = run
            .schedule
            .as_ref()
            .map(|text| Cron::new(text, &run.time_zone, now))
            .transpose()?;
        let (full, delta) = if cron.is_some() {
            (None, None)
        } else {
            intervals(&plan.source, plan.destination.write_mode)
        };
        let timed = cron.is_some() || full.is_some() || delta.is_some();
        let first = cron.is_none() && (!last.complete || !timed);
        Ok(Self {
            first: first.then_some(now),
            full: full.map(|every| Timer {
                every,
                next: on_grid(last.full.unwrap_or(now), every, now),
            }),
            delta: delta.map(|every| Timer {
                every,
                next: last.any.map_or(now, |last| after(last, every)).max(now),
            }),
            cron,
            load: run.schedule_load,
            policy: run.concurrency_policy,
        })
    }

    /// Whether a clock has a say: there is a schedule or an interval.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.cron.is_some() || self.full.is_some() || self.delta.is_some()
    }

    /// When the next thing is due; `None`: nothing ever is.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        if let Some(first) = self.first {
            return Some(first);
        }
        let timers = [self.full, self.delta]
            .into_iter()
            .flatten()
            .map(|timer| timer.next);
        timers.chain(self.cron.as_ref().and_then(Cron::next)).min()
    }

    /// What is due now. A full load is a delta too, so that one of them is enough.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<Due> {
        let has_come = |timer: Option<Timer>| timer.is_some_and(|timer| timer.next <= now);
        match () {
            () if self.first.is_some() => self.first.filter(|first| *first <= now).map(|_| Due::First),
            () if self
                .cron
                .as_ref()
                .and_then(Cron::next)
                .is_some_and(|next| next <= now) =>
            {
                Some(Due::Scheduled)
            }
            () if has_come(self.full) => Some(Due::Full),
            () if has_come(self.delta) => Some(Due::Delta),
            () => None,
        }
    }

    /// When the next tick of the schedule takes the place of the load at work; `None`: it never does.
    #[must_use]
    pub fn replaces_at(&self) -> Option<Timestamp> {
        let next = self.cron.as_ref().and_then(Cron::next);
        next.filter(|_| self.policy == ConcurrencyPolicy::Replace)
    }

    /// The load to ask for; `None`: what each stream needs.
    #[must_use]
    pub fn load(&self, due: Due) -> Option<ScheduleLoad> {
        match (due, self.load) {
            (Due::First, _) | (Due::Scheduled, None) => None,
            (Due::Full, _) | (Due::Scheduled, Some(ScheduleLoad::Full)) => Some(ScheduleLoad::Full),
            (Due::Delta, _) | (Due::Scheduled, Some(ScheduleLoad::Delta)) => Some(ScheduleLoad::Delta),
        }
    }

    /// A tick is being taken.
    pub fn began(&mut self, due: Due, now: Timestamp) {
        if due == Due::Scheduled
            && let Some(cron) = &mut self.cron
        {
            cron.pass(now);
        }
    }

    /// What was due has ended. `began`: when it began.
    pub fn ended(&mut self, due: Due, began: Timestamp, now: Timestamp, well: bool) {
        if let Some(cron) = self
            .cron
            .as_mut()
            .filter(|_| self.policy == ConcurrencyPolicy::Forbid)
        {
            // Ticks that came while the load was at work are left out. One that replaces it comes now.
            cron.skip(now);
        }
        let loads_all = matches!(due, Due::First | Due::Full);
        if let Some(timer) = self.full.as_mut().filter(|_| loads_all) {
            timer.ended(began, now, well);
        }
        if let Some(timer) = self.delta.as_mut().filter(|_| well || due != Due::Full) {
            timer.ended(began, now, well);
        }
        if due == Due::First {
            // Without an interval only a person starts it again.
            let again = [self.delta, self.full]
                .into_iter()
                .flatten()
                .map(|timer| timer.next)
                .min();
            self.first = again.filter(|_| !well);
        }
    }
}

impl Timer {
    /// The tick that was taken is over. The next may be due already, once, however many were missed.
    fn ended(&mut self, began: Timestamp, now: Timestamp, well: bool) {
        let from = match (well, self.next <= began) {
            (false, _) => now,
            // From tick to tick, so that late starts do not add up; from the start where a whole tick was missed.
            (true, true) if after(self.next, self.every) > began => self.next,
            (true, _) => began,
        };
        self.next = after(from, self.every).max(now);
    }
}

/// The intervals that a Flow follows: a table that is replaced as a whole has no deltas.
fn intervals(source: &SourcePlan, mode: WriteMode) -> (Option<SignedDuration>, Option<SignedDuration>) {
    let length = |interval: Option<crate::Duration>| {
        interval
            .and_then(|interval| SignedDuration::try_from(interval.get()).ok())
            .filter(SignedDuration::is_positive)
    };
    let delta = length(source.delta_load_interval).filter(|_| mode != WriteMode::Overwrite);
    (length(source.full_load_interval), delta)
}

fn after(time: Timestamp, every: SignedDuration) -> Timestamp {
    time.saturating_add(every).unwrap_or(Timestamp::MAX)
}

/// The first tick after now, counted from the last one that was taken.
fn on_grid(last: Timestamp, every: SignedDuration, now: Timestamp) -> Timestamp {
    let passed = now.duration_since(last).as_millis().max(0) / every.as_millis().max(1);
    let ticks = i64::try_from(passed).unwrap_or(i64::MAX).saturating_add(1);
    let millis = i64::try_from(every.as_millis())
        .unwrap_or(i64::MAX)
        .saturating_mul(ticks);
    after(last, SignedDuration::from_millis(millis)).max(now)
}

#[cfg(test)]
mod tests;

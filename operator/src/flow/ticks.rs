//! When the clock asks a Batch Flow for a load.
//!
//! In: the plan, the ledger, the operator's notes on the clock, the time. Out: the tick that is due, and when to look
//! again. It keeps nothing: all that it knows of the past stands in the ledger, so that a restart changes nothing.
//!
//! - Missed ticks are one tick. Ticks while the Flow was suspended are none.
//! - The first load comes before all others, and is repeated until it has ended well: at the next interval, or, where
//!   there is none, after a growing while as long as its failure may pass.

use jiff::{SignedDuration, Timestamp};
use millrace_crds::{
    Plan,
    flow::{ConcurrencyPolicy, ScheduleLoad, TriggerState},
    ledger::{Entry, Ledger},
    schedule::{Due, Last, Schedule, ScheduleError},
};

use crate::apply::short_hash;
use crate::ledger::Clock;

/// The schedule ticks.
pub(crate) const SCHEDULE: &str = "schedule";
/// The interval of full loads is over.
pub(crate) const FULL: &str = "full_interval";
/// The interval of delta loads is over.
pub(crate) const DELTA: &str = "delta_interval";
/// The first load of all.
pub(crate) const FIRST: &str = "first";

/// How often a first load that fails is tried again where no interval does so.
const TRIES: usize = 6;
/// The longest wait before the first repetition, and before any.
const WAIT: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(30), SignedDuration::from_secs(1800));

/// Whether an entry of the ledger came from the clock.
#[must_use]
pub(crate) fn is_tick(entry: &Entry) -> bool {
    entry.job.is_none() && [SCHEDULE, FULL, DELTA, FIRST].contains(&entry.name.as_str())
}

/// A tick that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    /// Which.
    pub name: &'static str,
    /// What to load; `None`: what each stream needs.
    pub load: Option<ScheduleLoad>,
    /// Its moment.
    pub at: Timestamp,
}

/// What the clock says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    /// What is due now.
    pub due: Option<Tick>,
    /// When the next thing is due.
    pub next: Option<Timestamp>,
    /// The first load has failed and is not tried again by itself.
    pub spent: bool,
}

/// How the last first load failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It may pass.
    MayPass,
    /// It may pass, but only by what somebody does elsewhere: it is tried without end.
    Elsewhere,
    /// Only a change of the Flow helps.
    ForGood,
}

/// All that the clock goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Its hash.
    pub hash: &'a str,
    /// The ledger.
    pub ledger: &'a Ledger,
    /// The notes.
    pub clock: &'a Clock,
    /// How the last first load failed, if it did.
    pub failed: Failed,
    /// The time.
    pub now: Timestamp,
}

/// The notes to keep: as they are, or new ones where the schedule has changed or the Flow was suspended.
#[must_use]
pub(crate) fn notes(plan: &Plan, kept: Option<&Clock>, created: Timestamp, now: Timestamp) -> Clock {
    let of = match (plan.run.suspend, &plan.run.schedule) {
        (true, _) => "suspended".to_owned(),
        (false, Some(schedule)) => format!("{schedule} {}", plan.run.time_zone),
        (false, None) => String::new(),
    };
    match kept {
        Some(kept) if kept.of == of => kept.clone(),
        Some(kept) => Clock {
            of,
            since: now,
            first: kept.first.clone(),
            run: kept.run.clone(),
        },
        None => Clock {
            of,
            since: created,
            first: None,
            run: None,
        },
    }
}

impl Given<'_> {
    /// What the clock says now.
    ///
    /// # Errors
    /// Where the schedule is none.
    pub(crate) fn ticks(&self) -> Result<Ticks, ScheduleError> {
        if self.plan.run.schedule.is_some() {
            return self.by_schedule();
        }
        match self.first()? {
            Some(ticks) => Ok(ticks),
            None => self.by_intervals(),
        }
    }

    fn by_schedule(&self) -> Result<Ticks, ScheduleError> {
        let mut from = self
            .clock
            .since
            .max(self.last(SCHEDULE).unwrap_or(self.clock.since));
        if self.plan.run.concurrency_policy == ConcurrencyPolicy::Forbid {
            // Ticks that came while a load was at work are left out.
            from = from.max(self.last_end().unwrap_or(from));
        }
        let schedule = |from| Schedule::new(self.plan, Last::default(), from);
        let load = schedule(from)?.load(Due::Scheduled);
        let (mut at, mut next) = (None, schedule(from)?.next());
        // Of several that were missed only the last counts; after very many, any does.
        for _ in 0..2000 {
            let Some(moment) = next.filter(|next| *next <= self.now) else {
                break;
            };
            at = Some(moment);
            next = schedule(moment)?.next();
        }
        if next.is_some_and(|next| next <= self.now) {
            (at, next) = (Some(self.now), schedule(self.now)?.next());
        }
        let due = at.map(|at| Tick {
            name: SCHEDULE,
            load,
            at,
        });
        Ok(Ticks {
            due,
            next,
            spent: false,
        })
    }

    fn by_intervals(&self) -> Result<Ticks, ScheduleError> {
        let ticks = [self.last(FIRST), self.last(FULL), self.last(DELTA)];
        let from = ticks.into_iter().flatten().fold(self.clock.since, Timestamp::max);
        let last = Last {
            complete: true,
            full: self.last(FIRST).max(self.last(FULL)).max(self.failure(&[FULL])),
            any: ticks
                .into_iter()
                .flatten()
                .max()
                .max(self.failure(&[FULL, DELTA])),
        };
        let schedule = Schedule::new(self.plan, last, from)?;
        if !schedule.is_timed() {
            return Ok(Ticks::default());
        }
        let (next, due) = (schedule.next(), schedule.due(self.now));
        // From tick to tick, so that late starts do not add up; from now where a whole one was missed.
        let on_time = |moment: &Timestamp| {
            let full = if due == Some(Due::Full) {
                Some(*moment)
            } else {
                last.full
            };
            let any = Some(*moment);
            let after = Schedule::new(self.plan, Last { full, any, ..last }, *moment);
            *moment > from && after.is_ok_and(|after| after.due(self.now).is_none())
        };
        let at = next.filter(on_time).unwrap_or(self.now);
        let due = due.map(|due| Tick {
            name: if due == Due::Full { FULL } else { DELTA },
            load: schedule.load(due),
            at,
        });
        Ok(Ticks {
            due,
            next,
            spent: false,
        })
    }

    /// What is to be said of the first load; `None`: it is behind us.
    fn first(&self) -> Result<Option<Ticks>, ScheduleError> {
        let now = Ticks {
            due: Some(Tick {
                name: FIRST,
                load: None,
                at: self.now,
            }),
            next: Some(self.now),
            spent: false,
        };
        if self.last(FIRST).is_none() {
            return Ok(Some(now));
        }
        let tries: Vec<&Entry> = self
            .ledger
            .entries
            .iter()
            .filter(|entry| entry.name == FIRST)
            .collect();
        let Some(failed) = tries.last().filter(|last| last.state == TriggerState::Failed) else {
            return Ok(None);
        };
        if self.clock.first.as_deref() != Some(self.hash) {
            return Ok(Some(now));
        }
        let end = failed.finished_at.unwrap_or(self.now);
        let Some(wait) = self.wait(tries.len(), end)? else {
            let spent = Ticks {
                spent: true,
                ..Ticks::default()
            };
            return Ok(Some(spent));
        };
        Ok(Some(match wait <= self.now {
            true => now,
            false => Ticks {
                next: Some(wait),
                ..Ticks::default()
            },
        }))
    }

    /// When a first load that has failed is tried again; `None`: it is not.
    fn wait(&self, tries: usize, end: Timestamp) -> Result<Option<Timestamp>, ScheduleError> {
        let last = Last {
            complete: true,
            full: Some(end),
            any: Some(end),
        };
        let interval = Schedule::new(self.plan, last, end)?;
        if interval.is_timed() {
            return Ok(interval.next());
        }
        let goes_on = match self.failed {
            Failed::MayPass => tries <= TRIES,
            Failed::Elsewhere => true,
            Failed::ForGood => false,
        };
        let doubled = 1_i32
            .checked_shl(u32::try_from(tries).unwrap_or(16).min(16))
            .unwrap_or(1);
        let whole = (WAIT.0 * doubled / 2).min(WAIT.1);
        let wait = whole.mul_f64(self.spread(tries));
        Ok(goes_on.then(|| end.saturating_add(wait).unwrap_or(Timestamp::MAX)))
    }

    /// Flows that failed together do not come back together: a number from a half to one, the same each time it is asked.
    fn spread(&self, tries: usize) -> f64 {
        let hash = short_hash(&format!("{} {tries}", self.hash));
        let number = u16::from_str_radix(&hash[..4], 16).unwrap_or_default();
        0.5 + f64::from(number) / 131_072.0
    }

    /// The last tick of a name.
    fn last(&self, name: &str) -> Option<Timestamp> {
        self.ledger.seen.get(&format!("Tick {name}"))?.parse().ok()
    }

    /// When the last load of any of these names failed, unless one has ended well since.
    fn failure(&self, names: &[&str]) -> Option<Timestamp> {
        let of_names = |entry: &&Entry| entry.job.is_none() && names.contains(&entry.name.as_str());
        let last = self.ledger.entries.iter().rev().find(of_names)?;
        last.finished_at.filter(|_| last.state == TriggerState::Failed)
    }

    /// When the last run of any kind was over.
    fn last_end(&self) -> Option<Timestamp> {
        let ran = self.ledger.entries.iter().filter(|entry| entry.run.is_some());
        ran.filter_map(|entry| entry.finished_at).max()
    }
}

#[cfg(test)]
mod tests;

//! A cron expression in its time zone.
//!
//! In: five fields and the name of a zone. Out: the moments when it fires, one after another. When clocks go back, an
//! hour comes twice: what is meant for a time of day fires in the first of them alone.

use cronexpr::{Crontab, MakeTimestamp, parse_crontab};
use jiff::{Timestamp, Zoned, tz::TimeZone};

use super::ScheduleError;

/// A schedule and its next moment.
#[derive(Debug)]
pub(super) struct Cron {
    crontab: Crontab,
    zone: TimeZone,
    /// Fires at fixed hours, as opposed to every hour.
    by_hour: bool,
    next: Option<Timestamp>,
}

impl Cron {
    /// The moments after `now`.
    ///
    /// # Errors
    /// [`ScheduleError`] where it is no cron expression or no time zone.
    pub(super) fn new(text: &str, zone: &str, now: Timestamp) -> Result<Self, ScheduleError> {
        let wrong = |error: &dyn std::fmt::Display| ScheduleError {
            schedule: text.to_owned(),
            zone: zone.to_owned(),
            problem: error.to_string(),
        };
        let crontab = parse_crontab(&format!("{text} {zone}")).map_err(|error| wrong(&error))?;
        let zone = TimeZone::get(zone).map_err(|error| wrong(&error))?;
        let by_hour = text
            .split_whitespace()
            .nth(1)
            .is_some_and(|hours| !hours.starts_with('*'));
        let mut cron = Self {
            crontab,
            zone,
            by_hour,
            next: None,
        };
        cron.next = cron.after(now);
        Ok(cron)
    }

    /// The next moment; `None`: it never comes.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// The moment at hand is being taken; so is every other that has passed.
    pub(super) fn pass(&mut self, now: Timestamp) {
        self.next = self.after(now.max(self.next.unwrap_or(now)));
    }

    /// Leaves out what has passed.
    pub(super) fn skip(&mut self, now: Timestamp) {
        if self.next.is_some_and(|next| next <= now) {
            self.next = self.after(now);
        }
    }

    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let mut found = self.crontab.find_next(MakeTimestamp(time)).ok()?;
        while self.by_hour && self.comes_again(&found) {
            found = self.crontab.find_next(MakeTimestamp(found.timestamp())).ok()?;
        }
        Some(found.timestamp())
    }

    /// Whether the same time of day has been before, an hour ago or so.
    fn comes_again(&self, time: &Zoned) -> bool {
        let first = self.zone.to_ambiguous_timestamp(time.datetime()).earlier();
        first.is_ok_and(|first| first < time.timestamp())
    }
}

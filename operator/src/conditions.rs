//! The conditions of a status: `Ready` always, others only while they say something.
//!
//! In: the conditions as they are, and what is true now. Out: the conditions to write. The time of a condition moves
//! only when its status does, so that a reconcile that finds nothing new writes nothing.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// It is as it should be.
pub const READY: &str = "Ready";
/// Work towards it is under way.
pub const RECONCILING: &str = "Reconciling";
/// A person must do something.
pub const STALLED: &str = "Stalled";
/// How the last run that is over ended.
pub const LAST_RUN: &str = "LastRunSucceeded";
/// How a Job ended.
pub const SUCCEEDED: &str = "Succeeded";

/// Those that are ours; others may write others.
pub const OURS: [&str; 5] = [READY, RECONCILING, STALLED, LAST_RUN, SUCCEEDED];

/// The longest message, in characters.
const LONGEST: usize = 1000;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody knows yet.
    Unknown,
}

impl Truth {
    const fn text(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// The conditions of one object, being made.
#[derive(Debug)]
pub struct Conditions<'a> {
    before: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    after: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// From what the object has; `generation`: that of the spec which was looked at.
    #[must_use]
    pub fn new(before: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self {
            before,
            generation,
            // As the API server writes times: in whole seconds.
            now: Timestamp::from_second(now.as_second()).unwrap_or(now),
            after: Vec::new(),
        }
    }

    /// Says that a condition is so, in place of what was said of it here before.
    pub fn set(&mut self, type_: &str, truth: Truth, reason: impl Into<Cow<'static, str>>, message: &str) {
        let old = self.before.iter().find(|old| old.type_ == type_);
        let since = old
            .filter(|old| old.status == truth.text())
            .map_or(Time(self.now), |old| old.last_transition_time.clone());
        self.after.retain(|one| one.type_ != type_);
        self.after.push(Condition {
            type_: type_.to_owned(),
            status: truth.text().to_owned(),
            reason: reason.into().into_owned(),
            message: short(message),
            last_transition_time: since,
            observed_generation: self.generation,
        });
    }

    /// Leaves a condition as it is, if it is there.
    pub fn keep(&mut self, type_: &str) {
        let old = self.before.iter().find(|old| old.type_ == type_).cloned();
        self.after.retain(|one| one.type_ != type_);
        self.after.extend(old);
    }

    /// The conditions to write, in the order in which they are there.
    #[must_use]
    pub fn finish(mut self) -> Vec<Condition> {
        let place = |one: &Condition| self.before.iter().position(|old| old.type_ == one.type_);
        self.after.sort_by_key(|one| place(one).unwrap_or(usize::MAX));
        self.after
    }
}

/// The condition of a type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether a condition of the type holds for a reason.
#[must_use]
pub fn has(conditions: &[Condition], type_: &str, reason: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.reason == reason)
}

fn short(message: &str) -> String {
    if message.chars().count() <= LONGEST {
        return message.to_owned();
    }
    let mut short: String = message.chars().take(LONGEST - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: Timestamp = Timestamp::constant(100, 0);
    const T2: Timestamp = Timestamp::constant(200, 0);

    fn ready(before: &[Condition], truth: Truth, reason: &'static str, now: Timestamp) -> Vec<Condition> {
        let mut conditions = Conditions::new(before, Some(3), now);
        conditions.set(READY, truth, reason, "");
        conditions.finish()
    }

    #[test]
    fn the_time_moves_only_when_the_status_does() {
        let first = ready(&[], Truth::True, "Valid", T1);
        assert_eq!(first, ready(&first, Truth::True, "Valid", T2));
        let other = ready(&first, Truth::True, "Suspended", T2);
        assert_eq!(other[0].last_transition_time, Time(T1));
        let gone = ready(&first, Truth::False, "RefNotFound", T2);
        assert_eq!(gone[0].last_transition_time, Time(T2));
    }

    #[test]
    fn what_is_not_said_again_is_gone_unless_it_is_kept() {
        let mut conditions = Conditions::new(&[], None, T1);
        conditions.set(LAST_RUN, Truth::True, "Succeeded", "");
        conditions.set(STALLED, Truth::True, "InvalidSpec", "");
        let before = conditions.finish();
        let mut conditions = Conditions::new(&before, None, T2);
        conditions.keep(LAST_RUN);
        let after = conditions.finish();
        assert!(has(&after, LAST_RUN, "Succeeded") && find(&after, STALLED).is_none());
    }
}

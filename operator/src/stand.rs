//! How an object stands, before it is written as conditions.
//!
//! In: what a reconcile has found. Out: `Ready`, and `Reconciling` and `Stalled` only while they are true.

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::controller::Action;

use crate::conditions::{Conditions, READY, RECONCILING, STALLED, Truth};
use crate::error::Error;
use crate::reasons;
use crate::resolve::Wrong;

/// When what a person must put right is looked at again, since not all of it changes something that is watched.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// How an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Whether it is as it should be.
    pub ready: Truth,
    /// The word for it.
    pub reason: Cow<'static, str>,
    /// The sentence.
    pub message: String,
    /// Work towards it is under way.
    pub reconciling: bool,
    /// A person must do something.
    pub stalled: bool,
    /// When to look again, though nothing that is watched changes.
    pub again: Option<Duration>,
}

impl Stand {
    /// All is well.
    #[must_use]
    pub fn ready(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            ready: Truth::True,
            reason: reason.into(),
            message: message.into(),
            reconciling: false,
            stalled: false,
            again: None,
        }
    }

    /// It is on its way.
    #[must_use]
    pub fn under_way(ready: Truth, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            ready,
            reconciling: true,
            ..Self::ready(reason, message)
        }
    }

    /// A person must do something.
    #[must_use]
    pub fn stalled(wrong: Wrong) -> Self {
        Self {
            ready: Truth::False,
            reason: wrong.reason.into(),
            message: wrong.message,
            reconciling: false,
            stalled: true,
            again: None,
        }
    }

    /// What a person must do about an error, if it is of that sort; every other error is tried again.
    ///
    /// # Errors
    /// The error, where it is not.
    pub fn of_error(error: Error) -> Result<Self, Error> {
        let reason = match &error {
            Error::Foreign { .. } => reasons::NAME_TAKEN,
            Error::Content { .. } => reasons::UNREADABLE,
            Error::Api { .. } if error.refusal().is_some() => reasons::REFUSED,
            _ => return Err(error),
        };
        Ok(Self {
            again: Some(LOOK_AGAIN),
            ..Self::stalled(Wrong::new(reason, error.to_string()))
        })
    }

    /// Looked at again after this time, or earlier.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.again = Some(self.again.map_or(time, |again| again.min(time)));
        self
    }

    /// As conditions.
    pub fn set(&self, conditions: &mut Conditions<'_>) {
        conditions.set(READY, self.ready, self.reason.clone(), &self.message);
        if self.reconciling {
            conditions.set(RECONCILING, Truth::True, self.reason.clone(), &self.message);
        }
        if self.stalled {
            conditions.set(STALLED, Truth::True, self.reason.clone(), &self.message);
        }
    }

    /// What the controller does next.
    #[must_use]
    pub fn action(&self) -> Action {
        self.again.map_or_else(Action::await_change, Action::requeue)
    }
}

/// Whether an object has been looked at before.
#[must_use]
pub fn is_new(conditions: &[Condition]) -> bool {
    conditions.is_empty()
}

//! What can go wrong while the operator works: a few kinds, each with what it was doing.
//!
//! In: errors of the API server and of data found there. Out: a line for the log, a label for metrics, and how to go
//! on: all of these may pass, and are tried again. What a person must put right is no error but a condition.

use std::fmt::Display;

use kube::runtime::watcher;

/// Why a reconcile could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused a request or could not be reached.
    #[error("{doing}: {}", brief(error))]
    Api {
        /// What was asked for, with kind and name.
        doing: String,
        /// What came back.
        error: Box<kube::Error>,
    },
    /// An object of a name that is ours belongs to somebody else, or to an owner that is being deleted.
    #[error("{kind} {name} belongs to {owner}; it is left alone until that is gone")]
    Foreign {
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// The owner, as far as it is known.
        owner: String,
    },
    /// What an object holds cannot be read, or cannot be written.
    #[error("{what}: {why}")]
    Content {
        /// The object and the key.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody changed an object while it was being changed here.
    #[error("{0} was changed meanwhile")]
    Changed(String),
    /// The reconcile took too long.
    #[error("no answer within {0} s")]
    Late(u64),
}

/// The result of what may fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The error's kind, for metrics and log lines.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Api { error, .. } => match &**error {
                kube::Error::Api(_) if is_going(error) => "going",
                kube::Error::Api(status) if status.is_conflict() => "conflict",
                kube::Error::Api(status) if status.is_forbidden() => "forbidden",
                kube::Error::Api(status) if status.code == 429 => "throttled",
                kube::Error::Api(status) if status.is_invalid() || status.code == 400 => "invalid",
                kube::Error::Api(_) => "api",
                kube::Error::SerdeError(_) => "unreadable",
                _ => "network",
            },
            Self::Foreign { .. } => "foreign",
            Self::Content { .. } => "content",
            Self::Changed(_) => "conflict",
            Self::Late(_) => "late",
        }
    }

    /// What the API server says against an object that it does not accept: `None` for every other error.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Api { error, .. } => match &**error {
                kube::Error::Api(_) if is_going(error) => None,
                kube::Error::Api(status)
                    if status.is_invalid() || status.is_forbidden() || status.code == 400 =>
                {
                    Some(&status.message)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether nothing can be made any more, since the namespace is being deleted.
    #[must_use]
    pub fn is_going(&self) -> bool {
        matches!(self, Self::Api { error, .. } if is_going(error))
    }

    /// Something in an object that is not as it must be.
    pub(crate) fn content(what: impl Into<String>, why: impl Display) -> Self {
        Self::Content {
            what: what.into(),
            why: why.to_string(),
        }
    }
}

/// Whether the API server refuses to make something in a namespace that is being deleted.
pub(crate) fn is_going(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.is_forbidden()
        && (causes
            .into_iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
            || status.message.contains("because it is being terminated"))
}

/// An error of the client in a few words: its own text repeats the whole answer, field by field.
fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.message.is_empty() => format!("{} {}", status.code, status.reason),
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// An error with its causes, as far as they say more than it does.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let (mut text, mut next) = (String::new(), Some(error));
    while let Some(error) = next {
        let answer = error.downcast_ref::<kube::Error>();
        // What an answer is made of says the same once more.
        next = if answer.is_some() { None } else { error.source() };
        let said = match (answer, error.downcast_ref::<watcher::Error>()) {
            (Some(error), _) => brief(error),
            (_, Some(watcher::Error::InitialListFailed(_))) => "the objects could not be listed".to_owned(),
            (_, Some(watcher::Error::WatchStartFailed(_))) => "the watch could not be started".to_owned(),
            (_, Some(watcher::Error::WatchFailed(_))) => "the watch broke off".to_owned(),
            _ => error.to_string(),
        };
        if !text.contains(&said) {
            text = if text.is_empty() {
                said
            } else {
                format!("{text}: {said}")
            };
        }
    }
    text
}

/// Adds what was being done to an answer of the API server.
pub(crate) trait Doing<T> {
    /// With the words for what was done.
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Doing<T> for Result<T, kube::Error> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| Error::Api {
            doing: doing().into(),
            error: Box::new(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    #[test]
    fn an_answer_is_told_by_its_message_alone() {
        let answer: Result<()> =
            Err(refused(403, "Forbidden", "pods is forbidden: no")).doing(|| "list the pods");
        let error = answer.unwrap_err();
        assert_eq!(chain(&error), "list the pods: pods is forbidden: no");
        let watch = watcher::Error::InitialListFailed(refused(410, "Expired", "too old"));
        assert_eq!(chain(&watch), "the objects could not be listed: too old");
    }

    #[test]
    fn a_namespace_that_goes_is_told_from_a_right_that_is_missing() {
        let of = |message: &str| refused(403, "Forbidden", message);
        assert!(is_going(&of(
            "unable to create new content in namespace x because it is being terminated"
        )));
        assert!(!is_going(&of("cannot create resource pods in the namespace x")));
    }
}

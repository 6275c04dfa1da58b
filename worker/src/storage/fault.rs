//! What a store's error means: who must act, in words without URLs that may be signed.

use std::{error::Error as StdError, sync::LazyLock};

use object_store::client::{HttpError, HttpErrorKind};
use regex::Regex;

use crate::error::{Error, ErrorKind};

/// The status and the body of a refused request, as `object_store` words it; its own type for it is private.
#[expect(clippy::unwrap_used, reason = "a fixed pattern that a test compiles")]
static STATUS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)status code: (\d{3})[^:]*:?(.*)").unwrap());

#[expect(clippy::unwrap_used, reason = "a fixed pattern that a test compiles")]
static CODE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"<Code>([A-Za-z0-9]+)</Code>").unwrap());

/// The error of doing `what` to `place`.
pub(super) fn explain(place: &str, what: &str, error: object_store::Error) -> Error {
    use object_store::Error as Store;
    let cause = cause(&error);
    let say = |kind: ErrorKind, words: &str| match cause.as_str() {
        "" => Error::new(kind, format!("cannot {what} {place}: {words}")),
        cause => Error::new(kind, format!("cannot {what} {place}: {words} ({cause})")),
    };
    match &error {
        Store::NotFound { .. } => say(ErrorKind::Config, "not found")
            .reason("NotFound")
            .advice("check the name of the bucket and the path"),
        Store::PermissionDenied { .. } => say(ErrorKind::Config, "permission denied")
            .reason("PermissionDenied")
            .advice("check the credentials and what they may do there"),
        Store::Unauthenticated { source, .. } => match source.downcast_ref::<Error>() {
            Some(inner) => Error {
                message: format!("cannot {what} {place}: {}", inner.message),
                ..inner.clone()
            },
            None => say(ErrorKind::Config, "the credentials are not accepted")
                .reason("Unauthenticated")
                .advice("check the credentials"),
        },
        Store::Precondition { .. } | Store::NotModified { .. } => {
            say(ErrorKind::Transient, "it changed meanwhile").reason("ObjectChanged")
        }
        Store::AlreadyExists { .. } => say(ErrorKind::Transient, "another write is at work there"),
        Store::InvalidPath { .. } => say(ErrorKind::Config, "a store cannot hold an object of this name"),
        Store::NotSupported { .. } | Store::NotImplemented { .. } | Store::UnknownConfigurationKey { .. } => {
            say(ErrorKind::Config, "the store cannot do this")
        }
        _ => generic(&error, say),
    }
}

fn generic(error: &object_store::Error, say: impl Fn(ErrorKind, &str) -> Error) -> Error {
    if let Some(status) = status(error) {
        return match status {
            408 | 409 | 425 | 429 | 500..=599 => say(ErrorKind::Transient, "the store is busy"),
            _ => say(ErrorKind::Config, "the store refused"),
        };
    }
    match http_kind(error) {
        Some(HttpErrorKind::Timeout) => say(ErrorKind::Transient, "no answer in time"),
        Some(HttpErrorKind::Connect) => say(ErrorKind::Transient, "no connection"),
        Some(_) => say(ErrorKind::Transient, "the connection broke"),
        None if is_io(error) => say(ErrorKind::Transient, "the connection broke"),
        None => say(ErrorKind::Config, "the store's settings are wrong"),
    }
}

fn chain(error: &object_store::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

fn http_kind(error: &object_store::Error) -> Option<HttpErrorKind> {
    chain(error)
        .find_map(|error| error.downcast_ref::<HttpError>())
        .map(HttpError::kind)
}

fn is_io(error: &object_store::Error) -> bool {
    chain(error).any(<dyn std::error::Error + 'static>::is::<std::io::Error>)
}

fn status(error: &object_store::Error) -> Option<u16> {
    STATUS
        .captures(&error.to_string())
        .and_then(|found| found[1].parse().ok())
}

/// What the server said, in a few words: its error code, its status, or the innermost reason.
fn cause(error: &object_store::Error) -> String {
    let text = error.to_string();
    if let Some(code) = CODE.captures(&text) {
        return code[1].to_owned();
    }
    if let Some(status) = status(error) {
        return format!("status {status}");
    }
    chain(error)
        .last()
        .map(|last| scrub(&last.to_string()))
        .unwrap_or_default()
}

/// A text without anything that may hold a credential, and not too long.
fn scrub(text: &str) -> String {
    text.split_whitespace()
        .map(|word| {
            if word.contains("://") || word.contains("X-Amz-") {
                "<url>"
            } else {
                word
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(300)
        .collect()
}

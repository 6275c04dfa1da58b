//! What the driver reports, as the worker's one error: who must act, and no secret.

use tokio_postgres::error::{DbError, SqlState};

use crate::error::{Error, ErrorKind};

/// The error of a statement or a connection.
pub(super) fn failure(error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(answer) => answered(answer),
        None => unanswered(error),
    }
}

/// The server said no. Its detail is left out: it may quote a row.
fn answered(answer: &DbError) -> Error {
    let kind = kind(answer.code());
    let message = format!("{} ({})", answer.message(), answer.code().code());
    let error = Error::new(kind, message);
    match answer.hint() {
        Some(hint) => error.advice(hint),
        None => error,
    }
}

/// Who must act on an answer of the server, by the class of its code.
fn kind(code: &SqlState) -> ErrorKind {
    match (code, &code.code()[..2]) {
        (&SqlState::QUERY_CANCELED | &SqlState::LOCK_NOT_AVAILABLE | &SqlState::OBJECT_IN_USE, _)
        // Resources, operators, connections, rollbacks by conflict.
        | (_, "08" | "40" | "53" | "57" | "58" | "25") => ErrorKind::Transient,
        (_, "21" | "22" | "23" | "54") => ErrorKind::Data,
        (_, "XX") => ErrorKind::Bug,
        _ => ErrorKind::Config,
    }
}

/// No answer came, or the connection never stood.
fn unanswered(error: &tokio_postgres::Error) -> Error {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let text = inner.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        source = inner.source();
    }
    let lower = message.to_lowercase();
    if lower.contains("tls") || lower.contains("certificate") || lower.contains("password missing") {
        Error::config(message)
    } else if lower.contains("deserializing") || lower.contains("serializing parameter") {
        Error::bug(message)
    } else {
        Error::transient(message)
    }
}

/// The server answered that the transaction is not there any more, and nothing of it remains.
pub(super) fn rolled_back(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        matches!(&code.code()[..2], "22" | "23" | "42" | "44" | "53" | "54")
            || (code.code().starts_with("40") && *code != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN)
    })
}

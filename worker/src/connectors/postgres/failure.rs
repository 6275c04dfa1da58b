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
    match answer.hint().or_else(|| what_to_do(answer.code())) {
        Some(advice) => error.advice(advice),
        None => error,
    }
}

/// What a person can do, where the server does not say it.
fn what_to_do(code: &SqlState) -> Option<&'static str> {
    Some(match *code {
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "grant it: to read, USAGE on the schema and SELECT on the table; to write, USAGE and CREATE on the schema \
             (or CREATE on the database, where the schema is to be made), and for a table that another role owns \
             SELECT, INSERT, UPDATE and DELETE"
        }
        SqlState::INVALID_PASSWORD => "look at `user`, and at the credential `password`",
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "look at `user`, at the credential `password` and at the server's pg_hba.conf"
        }
        SqlState::INVALID_CATALOG_NAME => "look at `database`, or create it",
        SqlState::TOO_MANY_CONNECTIONS => {
            "lower the Source's `concurrency`, or raise max_connections of the server"
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            "write to the primary server: this one is a standby, or read-only"
        }
        SqlState::DISK_FULL => "free space on the server; the next run goes on from the last commit",
        _ => return None,
    })
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

//! The one error of the worker: a kind that says who must act, and a sentence that says what to do.
//!
//! In: failures of systems, plugins, stores. Out: what the runner decides on (retry, dead letter, stop) and
//! what a person reads. An error never carries a secret: connectors redact before they wrap.

use std::fmt;

/// The result of anything that can fail in the worker.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A person must change a manifest, a right or a credential. Never retried.
    Config,
    /// The system was busy or out of reach. Retried with backoff.
    Transient,
    /// A row or a file is not what it should be. Dead letter, or stop, by contract.
    Data,
    /// Millrace or a plugin broke a promise. Stops, with all that is known.
    Bug,
    /// State and destination tell different stories, or another owner holds them. A person must decide.
    State,
    /// A newer worker owns the shard. This one never acquires again.
    Fenced,
}

impl ErrorKind {
    /// The word used in logs, statuses and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Transient => "transient",
            Self::Data => "data",
            Self::Bug => "bug",
            Self::State => "state",
            Self::Fenced => "fenced",
        }
    }
}

/// What went wrong, where, and what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Error {
    /// Who must act.
    pub kind: ErrorKind,
    /// A fixed word for programs, such as `StateLost`; empty where the kind says it all.
    pub reason: &'static str,
    /// What went wrong, innermost last.
    pub message: String,
    /// What to do.
    pub advice: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.reason.is_empty() {
            write!(f, " [{}]", self.reason)?;
        }
        match &self.advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl Error {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            reason: "",
            message: message.to_string(),
            advice: None,
        }
    }
    /// A person must change something.
    pub fn config(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Config, message)
    }
    /// Worth another try.
    pub fn transient(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Transient, message)
    }
    /// The data is not what it should be.
    pub fn data(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Data, message)
    }
    /// A broken promise.
    pub fn bug(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Bug, message)
    }
    /// State and destination disagree; `reason` is the fixed word.
    pub fn state(reason: &'static str, message: impl fmt::Display) -> Self {
        Self {
            reason,
            ..Self::new(ErrorKind::State, message)
        }
    }
    /// A newer worker owns the shard.
    pub fn fenced(message: impl fmt::Display) -> Self {
        Self {
            reason: "Fenced",
            ..Self::new(ErrorKind::Fenced, message)
        }
    }
    /// Adds the fixed word for programs.
    #[must_use]
    pub fn reason(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }
    /// Adds what to do.
    #[must_use]
    pub fn advice(mut self, advice: impl fmt::Display) -> Self {
        self.advice = Some(advice.to_string());
        self
    }
}

/// Adds where it happened, in front.
pub trait Context<T> {
    /// `context: message`.
    ///
    /// # Errors
    /// The same, so told.
    fn context(self, context: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context(self, context: impl fmt::Display) -> Result<T> {
        self.map_err(|error| {
            let mut error = error.into();
            error.message = format!("{context}: {}", error.message);
            error
        })
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        match error {
            arrow::error::ArrowError::IoError(message, error) => Self::from(error).prefixed(&message),
            other => Self::data(other),
        }
    }
}

impl From<parquet::errors::ParquetError> for Error {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::data(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        match error.kind() {
            Io::NotFound
            | Io::PermissionDenied
            | Io::IsADirectory
            | Io::NotADirectory
            | Io::ReadOnlyFilesystem => Self::config(error),
            Io::StorageFull | Io::QuotaExceeded => Self::transient(error)
                .reason("DiskFull")
                .advice("free space; the next run goes on from the last commit"),
            Io::InvalidData | Io::UnexpectedEof => Self::data(error),
            _ => Self::transient(error),
        }
    }
}

impl From<millrace_crds::schedule::ScheduleError> for Error {
    fn from(error: millrace_crds::schedule::ScheduleError) -> Self {
        Self::config(error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::data(error)
    }
}

impl Error {
    fn prefixed(mut self, context: &str) -> Self {
        if !context.is_empty() && !self.message.contains(context) {
            self.message = format!("{context}: {}", self.message);
        }
        self
    }
}

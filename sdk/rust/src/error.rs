//! What went wrong in a plugin, and who must act.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A person must change a manifest, a right or a credential. Never tried again.
    Config,
    /// The system was busy or out of reach. Tried again.
    Transient,
    /// The data is not what it should be.
    Data,
    /// The plugin has a fault.
    Bug,
}

/// What went wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// Who must act.
    pub kind: Kind,
    /// What went wrong. Never a secret.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Error {
    fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
            advice: None,
        }
    }
    /// A person must change something.
    pub fn config(message: impl fmt::Display) -> Self {
        Self::new(Kind::Config, message)
    }
    /// Worth another try.
    pub fn transient(message: impl fmt::Display) -> Self {
        Self::new(Kind::Transient, message)
    }
    /// The data is not what it should be.
    pub fn data(message: impl fmt::Display) -> Self {
        Self::new(Kind::Data, message)
    }
    /// A fault of the plugin.
    pub fn bug(message: impl fmt::Display) -> Self {
        Self::new(Kind::Bug, message)
    }
    /// Adds what to do.
    #[must_use]
    pub fn advice(mut self, advice: impl fmt::Display) -> Self {
        self.advice = Some(advice.to_string());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.advice {
            Some(advice) => write!(f, "{}; {advice}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::transient(error)
    }
}

impl From<arrow_schema::ArrowError> for Error {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::data(error)
    }
}

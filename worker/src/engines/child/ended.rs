//! How a program ended, as a sentence for people.
//!
//! In: its exit status and the last lines of its standard error. Out: an error that says what it was doing, how it ended,
//! and what it said of that.

use std::process::ExitStatus;

use crate::error::Error;

/// How a program ended.
#[derive(Clone, Debug)]
pub(in crate::engines) struct Ended {
    pub(super) name: String,
    /// `None`: nobody knows.
    pub(super) status: Option<ExitStatus>,
    /// The last lines of its standard error.
    pub(super) said: Vec<String>,
}

impl Ended {
    /// Whether it ended with 0.
    #[must_use]
    pub(in crate::engines) fn well(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Its end as an error, where it should not have ended so; `what` it was doing.
    #[must_use]
    pub(in crate::engines) fn error(&self, what: &str) -> Error {
        use std::os::unix::process::ExitStatusExt;
        let how = match self.status {
            None => "ended, and nobody knows how".to_owned(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(0), _) => "ended with 0 before it was done".to_owned(),
                (Some(code), _) => format!("ended with {code}"),
                (None, Some(9)) => "was killed (signal 9), perhaps for want of memory".to_owned(),
                (None, signal) => format!("died of signal {}", signal.unwrap_or_default()),
            },
        };
        let message = format!("{} {how} while {what}", self.name);
        // A kill from outside passes; what ends by itself would do so again.
        let killed = self
            .status
            .is_some_and(|status| matches!(status.signal(), Some(9 | 15)));
        let error = if killed {
            Error::transient(message)
        } else {
            Error::bug(message)
        };
        match last_words(&self.said).as_slice() {
            [] => error.advice("it said nothing on its standard error"),
            words => error.advice(format!(
                "its last words: {}{}",
                words.join(" | "),
                missing(words).unwrap_or_default()
            )),
        }
    }
}

/// What it said, and of a Python traceback what was raised, not the way there, which is in the log.
fn last_words(said: &[String]) -> Vec<&str> {
    let is_frame = |line: &str| line.starts_with("Traceback (most recent") || line.starts_with("  File \"");
    // The first line that was kept may be one in the middle.
    let mut within = said.iter().any(|line| is_frame(line));
    let is_said = |line: &&str| {
        within = is_frame(line) || within && line.starts_with(' ');
        !within
    };
    let words: Vec<&str> = said.iter().map(String::as_str).filter(is_said).collect();
    match words.is_empty() {
        true => said.iter().map(String::as_str).collect(),
        false => words,
    }
}

/// What to do about a Python module that is not there.
fn missing(words: &[&str]) -> Option<String> {
    let module = words
        .iter()
        .find_map(|line| line.strip_prefix("ModuleNotFoundError: No module named "))?;
    Some(match module.trim_matches('\'') {
        // Packages from before Python 3.12 take it for a part of Python.
        "pkg_resources" => {
            "; install `setuptools<81` beside it, or name that in its `requirements`".to_owned()
        }
        module => {
            format!(
                "; install the package that holds `{module}` beside it, or name that in its `requirements`"
            )
        }
    })
}

#[cfg(test)]
mod tests;

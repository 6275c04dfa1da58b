//! How the work of a pod ended, for its exit code and for the kubelet.

use super::report;
use crate::error::Error;

/// Where the kubelet takes the last word of a container from.
const LAST_WORD: &str = "/dev/termination-log";
/// What it takes of it.
const LONGEST: usize = 4096;

/// How the work of a pod ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// What went wrong.
    pub errors: Vec<Error>,
    /// Something was loaded nonetheless.
    pub loaded: bool,
    /// A signal came before all had begun: the next pod goes on.
    pub interrupted: bool,
}

impl Ended {
    /// It ended with one error.
    #[must_use]
    pub fn failed(error: Error) -> Self {
        Self {
            errors: vec![error],
            ..Self::default()
        }
    }
}

/// Leaves the first error where `kubectl describe pod` shows it, and where the operator finds it of a pod that could not
/// even report.
pub fn tell_kubelet(errors: &[Error]) {
    let Some(error) = errors.first() else { return };
    let mut failure = report::failure(error);
    failure.message = failure.message.chars().take(1000).collect();
    failure.advice = failure.advice.chars().take(500).collect();
    let text = serde_json::to_string(&failure).unwrap_or_default();
    if text.len() <= LONGEST && std::path::Path::new(LAST_WORD).is_file() {
        // The exit code tells the most of it.
        let _ = std::fs::write(LAST_WORD, text);
    }
}

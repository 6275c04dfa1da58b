//! What a run says that did not begin: sentences on standard error, and for programs a closing report beside them.
//!
//! In: problems of manifests, or errors of what was opened. Out: all of them, and how the program ends.

use millrace_crds::Problem;
use serde_json::{Value, json};

use super::{
    closing::{Output, error_json},
    exit::Exit,
    manifests, out,
};
use crate::error::{Error, Result};

/// Why nothing was read.
pub(super) enum Refusal {
    /// The manifests are wrong.
    Manifests(Vec<Problem>),
    /// What they name cannot be used, or what was asked for is not there.
    Errors(Vec<Error>),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Errors(vec![error])
    }
}

impl Refusal {
    /// Tells it. `one_line`: of a report that is one line of JSON among others; `to_stderr`: standard output is for rows.
    ///
    /// # Errors
    /// The error to end with; or where standard output cannot be written.
    pub(super) fn tell(self, output: Output, one_line: bool, to_stderr: bool) -> Result<Exit> {
        match (output, to_stderr, one_line) {
            (Output::Text, ..) => {}
            (Output::Json, true, _) => out::note(self.as_json()),
            (Output::Json, false, true) => out::line(self.as_json())?,
            (Output::Json, false, false) => out::json(&self.as_json())?,
        }
        match self {
            Self::Manifests(problems) => Err(manifests::refused(&problems)),
            Self::Errors(mut errors) if errors.len() == 1 => Err(errors.remove(0)),
            Self::Errors(errors) => {
                errors.iter().for_each(out::error);
                Ok(Exit::of(&errors, false))
            }
        }
    }

    fn as_json(&self) -> Value {
        let errors: Vec<Value> = match self {
            Self::Manifests(problems) => {
                let errors = problems.iter().filter(|problem| problem.is_error());
                errors.map(problem_json).collect()
            }
            Self::Errors(errors) => errors.iter().map(error_json).collect(),
        };
        json!({ "flows": [], "errors": errors })
    }
}

/// As any other error, and the place by its parts.
fn problem_json(problem: &Problem) -> Value {
    let bare = Problem {
        advice: String::new(),
        ..problem.clone()
    };
    let mut value = error_json(&Error::config(bare));
    value["reason"] = json!(problem.reason);
    for (name, text) in [
        ("advice", &problem.advice),
        ("resource", &problem.resource),
        ("field", &problem.field),
    ] {
        if !text.is_empty() {
            value[name] = json!(text);
        }
    }
    if let Some(file) = &problem.file {
        value["file"] = json!(file);
        value["line"] = json!(problem.line);
    }
    value
}

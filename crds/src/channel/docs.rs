//! The documents that the operator writes for its workers.

use serde::{Deserialize, Serialize};

use super::LIMIT;
use crate::plan::{JobPlan, Plan, SourcePlan};

/// What a worker needs to run a Flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanDoc {
    /// The plan.
    pub plan: Plan,
    /// The generation of the Flow that it was made from.
    pub generation: i64,
    /// The UID of the Flow whose state this one takes over: what `millrace.dev/adopt-state` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<String>,
}

/// What a worker needs to run one Job of ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobDoc {
    /// The Job, with the plan of its Flow.
    pub job: JobPlan,
    /// The UID of the Job, from which its run has its name.
    pub uid: String,
    /// The generation of the Job that it was made from.
    pub generation: i64,
    /// As in [`PlanDoc::adopt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<String>,
}

/// What a worker needs to list the streams of a Source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceDoc {
    /// The Source's namespace.
    pub namespace: String,
    /// The Source.
    pub source: SourcePlan,
    /// The UID of the Source.
    pub uid: String,
    /// The generation of the Source that it was made from.
    pub generation: i64,
}

/// A document that does not fit into a `ConfigMap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it would take {0} bytes, and a ConfigMap takes {LIMIT}; name fewer streams, leave declared schemas out, or use several Flows"
)]
pub struct TooLarge(pub usize);

/// A document as it lies in its `ConfigMap`.
///
/// # Errors
/// [`TooLarge`] where it does not fit.
pub fn to_text<T: Serialize>(document: &T) -> Result<String, TooLarge> {
    // What cannot be written as JSON has no text at all, and none of the documents is such.
    let text = serde_json::to_string(document).map_err(|_| TooLarge(usize::MAX))?;
    match text.len() > LIMIT {
        true => Err(TooLarge(text.len())),
        false => Ok(text),
    }
}

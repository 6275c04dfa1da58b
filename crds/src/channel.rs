//! What operator and worker say to each other: the names of the objects that lie between them, and the documents in them.
//!
//! ```text
//! operator --- NAME-plan: plan.json, NAME-triggers: ledger.json ---> worker
//!          <-- NAME-report: report-N.json ------------------------- worker of ordinal N
//! ```
//!
//! Each key has one writer. A `ConfigMap` holds 1 MiB, so what could grow has a limit: a report sheds its oldest and
//! longest parts and says how many there were, and a plan that does not fit is refused.

mod docs;
mod report;

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

pub use self::{
    docs::{JobDoc, PlanDoc, SourceDoc, TooLarge, to_text},
    report::{Discovered, Discovery, Failure, PLAN_RUN, Report, RunReport, RunState, StreamStand},
};

/// The suffix of the `ConfigMap` that holds a plan.
pub const PLAN: &str = "plan";
/// The suffix of the `ConfigMap` that holds the ledger.
pub const TRIGGERS: &str = "triggers";
/// The suffix of the `ConfigMap` that workers report into.
pub const REPORT: &str = "report";
/// The suffix of the `ConfigMap` that holds the state, where that is kept so.
pub const STATE: &str = "state";

/// The suffix of the `ConfigMap` of a Source in which its connector's own changes of its configuration are kept, sealed.
pub const KEPT_CONFIG: &str = "kept";

/// The key of a plan: a [`PlanDoc`], a [`SourceDoc`] or a [`JobDoc`].
pub const PLAN_KEY: &str = "plan.json";
/// The key of a plan that is tried before the workers of a Continuous Flow go by it: a [`PlanDoc`].
pub const TRIAL_KEY: &str = "trial.json";
/// The key of the ledger: a [`crate::ledger::Ledger`].
pub const LEDGER_KEY: &str = "ledger.json";

/// The key of a changed configuration.
pub const KEPT_KEY: &str = "config.sealed";

/// The most that is written into one `ConfigMap`, in bytes of all its values: 1 MiB is its limit, names and labels
/// included.
pub const LIMIT: usize = 900 * 1024;

/// The label that names the Flow of a child.
pub const FLOW_LABEL: &str = "millrace.dev/flow";
/// The label that names the Source of a child.
pub const SOURCE_LABEL: &str = "millrace.dev/source";
/// The label that names the Job of a child.
pub const JOB_LABEL: &str = "millrace.dev/job";
/// The annotation of a child that holds its owner's full name, where the label cannot.
pub const NAME_ANNOTATION: &str = "millrace.dev/name";
/// The annotation of a `ConfigMap` of state: the UID of the Flow that it was made for.
pub const FLOW_UID_ANNOTATION: &str = "millrace.dev/flow-uid";
/// The annotation of a `ConfigMap` of state: the name of the state, `state.id`.
pub const STATE_ID_ANNOTATION: &str = "millrace.dev/state-id";
/// The annotation of a Job: the number of its run.
pub const RUN_ANNOTATION: &str = "millrace.dev/run";

/// `app.kubernetes.io/name` of all children.
pub const APP: &str = "millrace";
/// `app.kubernetes.io/managed-by` of all children; the operator's field manager.
pub const MANAGER: &str = "millrace-operator";

/// The environment variable that names the directory of mounted Secrets.
pub const SECRETS_DIR: &str = "MILLRACE_SECRETS_DIR";
/// Where the kubelet mounts them: a directory for each Secret, a file for each key.
pub const SECRETS_PLACE: &str = "/var/run/millrace/secrets";
/// The environment variable that names the directory of the volumes that plugins lie in.
pub const PLUGINS_DIR: &str = "MILLRACE_PLUGINS_DIR";
/// Where they are mounted, as [`crate::Mounted`] says.
pub const PLUGINS_PLACE: &str = "/var/run/millrace/plugins";
/// The environment variable that names the directory which the worker shares with connectors in containers of their own.
pub const CONNECTORS_DIR: &str = "MILLRACE_CONNECTORS_DIR";
/// Where it lies in both: below it a directory for each role, `source` or `destination`.
pub const CONNECTORS_PLACE: &str = "/var/run/millrace/connectors";
/// The port of metrics and probes.
pub const PORT: u16 = 8080;

/// The characters of its owner's name that a child's name keeps: with its hash and `-worker` a StatefulSet's name has 52
/// then, to which Kubernetes adds 11 for a label of its pods.
const KEPT: usize = 34;
/// The longest value of a label.
const LABEL: usize = 63;

/// The key of a pod's report: its ordinal, 0 where it has none.
#[must_use]
pub fn report_key(ordinal: u32) -> String {
    format!("report-{ordinal}.json")
}

/// The ordinal of a report's key.
#[must_use]
pub fn report_ordinal(key: &str) -> Option<u32> {
    key.strip_prefix("report-")?.strip_suffix(".json")?.parse().ok()
}

/// The ordinal of the worker that a stream is dealt to, of so many workers: the same for whoever asks.
#[must_use]
pub fn dealt(stream: &str, workers: u32) -> u32 {
    let hash = Sha256::digest(stream);
    let number = hash
        .iter()
        .take(8)
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    u32::try_from(number % u64::from(workers.max(1))).unwrap_or(0)
}

/// The name of a child: it tells people whose it is, no two owners share it, and it can be the name of a pod.
#[must_use]
pub fn child(name: &str, suffix: &str) -> String {
    format!("{}-{}-{suffix}", short(name), hash(name))
}

/// The name of a child of an owner of the kind [`FLOW_LABEL`], [`SOURCE_LABEL`] or [`JOB_LABEL`]: a Flow, a Source and a
/// Job of one name have children of their own.
#[must_use]
pub fn child_of(kind: &str, name: &str, suffix: &str) -> String {
    match kind {
        FLOW_LABEL => child(name, suffix),
        _ => format!("{}-{}-{suffix}", short(name), hash(&format!("{kind} {name}"))),
    }
}

/// A name as the value of a label: itself, or, where it is too long, its beginning and its hash.
#[must_use]
pub fn label(name: &str) -> String {
    match name.len() > LABEL {
        true => format!("{}-{}", short(name), hash(name)),
        false => name.to_owned(),
    }
}

/// The labels of a child of the kind `flow`, `source` or `job`: one of [`FLOW_LABEL`], [`SOURCE_LABEL`], [`JOB_LABEL`].
#[must_use]
pub fn labels(kind: &str, owner: &str, component: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", APP),
        ("app.kubernetes.io/managed-by", MANAGER),
        ("app.kubernetes.io/component", component),
        (kind, &label(owner)),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The beginning of a name, without dots: what the name of a pod can hold.
pub(crate) fn short(name: &str) -> String {
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => c,
        _ => '-',
    };
    let short: String = name.chars().take(KEPT).map(plain).collect();
    short.trim_end_matches('-').to_owned()
}

fn hash(name: &str) -> String {
    let hash = format!("{:x}", Sha256::digest(name));
    hash[..10].to_owned()
}

#[cfg(test)]
mod tests;

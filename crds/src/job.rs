//! The Job: one bounded run of a Flow.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{NameRef, StreamName};
use crate::duration::Duration;
use crate::flow::FlowSpec;

/// One bounded run of a Flow: by reference, or with the Flow inline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "millrace.dev",
    version = "v1alpha1",
    kind = "Job",
    doc = "One bounded run of a Flow.",
    namespaced,
    status = "JobStatus",
    shortname = "mrj",
    category = "millrace",
    derive = "PartialEq",
    cel,
    printcolumn(name = "Flow", type_ = "string", json_path = ".spec.flow.name"),
    printcolumn(name = "Load", type_ = "string", json_path = ".spec.load"),
    printcolumn(
        name = "Succeeded",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Succeeded')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Succeeded')].reason"
    ),
    printcolumn(name = "Read", type_ = "integer", json_path = ".status.totals.read"),
    printcolumn(name = "Refused", type_ = "integer", json_path = ".status.totals.refused"),
    printcolumn(name = "Started", type_ = "date", json_path = ".status.startTime"),
    printcolumn(name = "Completed", type_ = "date", json_path = ".status.completionTime"),
    printcolumn(
        name = "Age",
        type_ = "date",
        priority = 1,
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(
    cel,
    validation = ("has(self.flow) != has(self.flowTemplate)", "say what to run by exactly one of flow and flowTemplate"),
    validation = ("self.load != 'Backfill' || has(self.backfill)", "load: Backfill needs backfill with from and to"),
    validation = Rule::new("self.load == oldSelf.load").message("load cannot change: a Job is one run; create another").field_path(".load"),
    validation = Rule::new(
        "has(self.flow) == has(oldSelf.flow) && (!has(self.flow) || self.flow.name == oldSelf.flow.name)"
    ).message("flow cannot change: a Job is one run; create another").field_path(".flow")
)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec {
    /// The Flow to run, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<NameRef>,
    /// The Flow itself, for a run that stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_template: Option<FlowTemplate>,
    /// What to load: everything (Full), what changed (Delta), or a range of the cursor (Backfill).
    pub load: Load,
    /// The streams to load, by exact name; without it, all of the Flow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10_000))]
    pub streams: Vec<StreamName>,
    /// The range of the cursor to load again, with load: Backfill; the watermark stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Backfill>,
    /// Pods that share the load; above 1, the state must be in S3.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub parallelism: u32,
    /// How often the run is tried again after a failure that may pass.
    #[serde(default = "three")]
    #[schemars(range(min = 0, max = 100))]
    pub retries: u32,
    /// The time after which the run is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('1s')", "must be at least 1s; leave the field out for no deadline"))]
    pub deadline: Option<Duration>,
    /// The time after which the finished Job is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
}

const fn one() -> u32 {
    1
}

const fn three() -> u32 {
    3
}

/// A Flow within a Job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlowTemplate {
    /// What a Flow's spec would hold.
    pub spec: FlowSpec,
}

/// What one run loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Load {
    /// Everything, with deletes found by difference.
    Full,
    /// What changed since the watermark.
    Delta,
    /// A range of the cursor, again.
    Backfill,
}

/// A half-open range of the cursor: from the first value up to, and without, the second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backfill {
    /// The first value.
    #[schemars(length(min = 1, max = 256))]
    pub from: String,
    /// The first value that is left out.
    #[schemars(length(min = 1, max = 256))]
    pub to: String,
}

/// How a Job fares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Succeeded` (Unknown, then True or False) and `Ready`; `Stalled` and `Reconciling` only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// When the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// The number of its streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_count: Option<u32>,
    /// The sum over all of its streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totals: Option<Counts>,
    /// The first 100 of its streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub streams: Vec<StreamCounts>,
}

/// What a run did to one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamCounts {
    /// The stream's name.
    pub name: String,
    /// What was done.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Rows, files and bytes of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// Rows read.
    pub read: u64,
    /// Rows that were not there before.
    pub inserted: u64,
    /// Rows that were there with other values.
    pub updated: u64,
    /// Rows that are there no longer.
    pub deleted: u64,
    /// Rows that were there with the same values.
    pub unchanged: u64,
    /// Rows that a later row of the same key took the place of.
    pub superseded: u64,
    /// Rows that a transform left out.
    pub filtered: u64,
    /// Rows that went to the dead letter.
    pub refused: u64,
    /// Files written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
}

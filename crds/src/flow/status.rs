//! How a Flow fares: what the operator reports, and nobody else writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DeliveryGuarantee;

/// How a Flow fares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlowStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` and `LastRunSucceeded`; `Stalled` and `Reconciling` only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The guarantee that this Flow has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_guarantee: Option<DeliveryGuarantee>,
    /// The number of its streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_count: Option<u32>,
    /// The first 100 of its streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub streams: Vec<FlowStreamStatus>,
    /// The latest reload triggers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub triggers: Vec<TriggerStatus>,
    /// When the last load of any stream was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_load: Option<Time>,
    /// When the next scheduled run is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Time>,
}

/// How one stream fares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlowStreamStatus {
    /// The stream's name.
    pub name: String,
    /// The generation of its table at the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// When its last full load was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_full_load: Option<Time>,
    /// When its last delta load was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_delta_load: Option<Time>,
    /// Its watermark, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<String>,
}

/// What became of one reload trigger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerStatus {
    /// The annotation's name, for example `full_load_orders`.
    pub name: String,
    /// The token that it carried.
    pub token: String,
    /// The Job that ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// What became of it.
    pub state: TriggerState,
    /// When it was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<Time>,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Rows that it delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// What became of a reload trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TriggerState {
    /// It was there before the Flow was first seen, and is not run.
    Initial,
    /// It waits for its turn, or for the Flow to be resumed.
    Waiting,
    /// Its load is at work.
    Running,
    /// Its load is committed.
    Succeeded,
    /// Its load failed, or it named nothing that there is.
    Failed,
}

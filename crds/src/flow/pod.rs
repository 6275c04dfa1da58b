//! What a Flow may say of its pods: a safe subset, checked when it is applied.
//!
//! In: `spec.pod`. Out: amounts, labels and tolerations in the form that Kubernetes takes in a pod. What can be refused
//! here would otherwise be refused only when a pod is made.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::common::{NAME, NameRef};

/// Settings of the worker's pods; what is not here cannot be changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Pods of a Continuous Flow, which share its streams; without it, one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: Option<u32>,
    /// Requests and limits of the worker's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceAmounts>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are tolerated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "tolerations")]
    pub tolerations: Vec<Toleration>,
    /// The priority class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub priority_class_name: Option<String>,
    /// Secrets for pulling images of connectors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<NameRef>,
}

/// Requests and limits of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// What is set aside, for example `cpu: 500m` or `memory: 512Mi`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub requests: BTreeMap<String, Quantity>,
    /// What is never exceeded; buffers are sized by the memory limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub limits: BTreeMap<String, Quantity>,
}

/// A map of quantities, none of them negative, and none beyond what a cluster's own quantities hold. A number without
/// quotes is bounded by value: YAML reads `1e100` as one.
fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "minimum": 0,
            "maximum": 9_007_199_254_740_991_i64,
            "pattern": r"^\+?([0-9]{1,19}(\.[0-9]{0,9})?|\.[0-9]{1,9})(([KMGTPE]i)|[numkMGTPE]|([eE]([+]?(1[0-8]|[0-9])|-[0-9])))?$"
        }
    })
}

/// A map of labels, whose values are bounded as those of every label.
fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {
            "type": "string", "maxLength": 63, "pattern": r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
        }
    })
}

/// Tolerations, with the words that Kubernetes knows: it would refuse another only in a pod.
fn tolerations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {
            "type": "object",
            "description": "A taint that is tolerated.",
            "properties": {
                "key": { "type": "string", "maxLength": 317, "description": "The taint's key; without it, all." },
                "operator": {
                    "type": "string", "enum": ["Exists", "Equal"],
                    "description": "How the taint's value is compared: Equal, or Exists for any."
                },
                "value": { "type": "string", "maxLength": 63, "description": "The taint's value." },
                "effect": {
                    "type": "string", "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"],
                    "description": "The taint's effect; without it, all."
                },
                "tolerationSeconds": {
                    "type": "integer", "format": "int64",
                    "description": "How long a taint of NoExecute is tolerated; without it, for ever."
                }
            }
        }
    })
}

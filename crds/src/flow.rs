//! The Flow: from a Source to a destination, how and when.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{ConnectorRef, CredentialRef, Empty, NAME, Settings, StreamName, settings};

mod pod;
mod status;

pub use pod::{PodSpec, ResourceAmounts};
pub use status::{FlowStatus, FlowStreamStatus, TriggerState, TriggerStatus};

/// Moves streams of a Source to a destination: which, in what form, how and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "millrace.dev",
    version = "v1alpha1",
    kind = "Flow",
    doc = "Moves streams of a Source to a destination.",
    namespaced,
    status = "FlowStatus",
    shortname = "mrf",
    category = "millrace",
    derive = "PartialEq",
    cel,
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.source.name"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Guarantee", type_ = "string", json_path = ".status.deliveryGuarantee"),
    printcolumn(
        name = "Last Run",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='LastRunSucceeded')].status"
    ),
    printcolumn(name = "Loaded", type_ = "date", json_path = ".status.lastLoad"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextRun"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(
        name = "Schedule",
        type_ = "string",
        priority = 1,
        json_path = ".spec.schedule"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    cel,
    validation = (
        "!(self.mode == 'Continuous' && has(self.schedule))",
        "a Continuous flow has no schedule; leave schedule out, or write mode: Batch"
    ),
    validation = ("!has(self.scheduleLoad) || has(self.schedule)", "scheduleLoad needs a schedule"),
    validation = ("!has(self.timeZone) || has(self.schedule)", "timeZone needs a schedule"),
    validation = Rule::new(
        "(has(self.state) && has(self.state.id) ? self.state.id : '') == \
         (has(oldSelf.state) && has(oldSelf.state.id) ? oldSelf.state.id : '')"
    ).message("state.id cannot change, since the positions lie under it; make a new Flow to start under another").field_path(".state")
)]
#[serde(rename_all = "camelCase")]
pub struct FlowSpec {
    /// Where to read, and which streams.
    pub source: SourceRef,
    /// Where to write, and how.
    pub destination: DestinationSpec,
    /// Row-wise transforms, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub transforms: Vec<TransformSpec>,
    /// What new tables, new columns and bad values do.
    #[serde(default)]
    pub schema_contract: SchemaContract,
    /// Bounded runs (Batch), or one that goes on (Continuous).
    #[serde(default)]
    pub mode: Mode,
    /// When to run: a cron expression of five fields (minute, hour, day of month, month, day of week).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 256))]
    pub schedule: Option<String>,
    /// What a scheduled run loads; without it, Delta where a cursor exists, else Full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_load: Option<ScheduleLoad>,
    /// The time zone of the schedule, for example Europe/Stockholm; without it, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// What happens when a run is due while one is at work.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,
    /// Nothing starts while this is true. A run at work goes on to its end; the workers of a Continuous Flow stop.
    #[serde(default)]
    pub suspend: bool,
    /// Where positions, watermarks and history live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateSpec>,
    /// What delivery must guarantee.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
    /// A full load that would delete a larger part of the delivered rows stops and asks; 0 to 1.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_delete_fraction: f64,
    /// Where refused rows go; without it, beside the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetterSpec>,
    /// What happens to the state when the Flow is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Settings of the worker's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSpec>,
}

const fn half() -> f64 {
    0.5
}

/// Where to read, and which streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceRef {
    /// The name of a Source in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
    /// The streams to take, by exact name; without it, all of the Source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10_000))]
    pub streams: Vec<StreamName>,
}

/// Where to write, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(cel, validation = (
    "has(self.connector) || has(self.writer)",
    "name a connector, a custom writer, or a writer on top of a connector"
))]
#[serde(rename_all = "camelCase")]
pub struct DestinationSpec {
    /// The Connector to write with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<ConnectorRef>,
    /// A custom writer, `MODULE.py:Class`, `package.module:Class` or `LIBRARY.so:symbol`; the connector then gives metadata
    /// and validation only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub writer: Option<String>,
    /// Where and as whom to connect: lies over the connector's configuration, and is checked by its
    /// configSchema. `${NAME}` is taken from the environment, in local runs only.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    #[schemars(schema_with = "settings")]
    pub connection: Settings,
    /// The credentials that the connector asks for, by reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub credentials: Vec<CredentialRef>,
    /// How to write, as the connector understands it.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    #[schemars(schema_with = "settings")]
    pub options: Settings,
    /// append writes a log of changes, upsert keeps one row a key, overwrite replaces all at the end
    /// of a load.
    #[serde(default)]
    pub write_mode: WriteMode,
}

/// How rows land in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WriteMode {
    /// A log of changes.
    #[default]
    Append,
    /// One row a key.
    Upsert,
    /// A new generation that takes the place of the old one at the end of a load.
    Overwrite,
}

/// A row-wise transform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransformSpec {
    /// The streams it is for, by exact name; without it, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10_000))]
    pub streams: Vec<StreamName>,
    /// `select ... from input [where ...]`: projection, expressions of one row, filter.
    #[schemars(length(min = 1, max = 65_536))]
    pub sql: String,
}

/// What new tables, new columns and bad values do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchemaContract {
    /// A table that was not there before.
    #[serde(default = "evolve")]
    pub tables: ContractMode,
    /// A column that was not there before.
    #[serde(default = "evolve")]
    pub columns: ContractMode,
    /// A value that does not fit its column's type.
    #[serde(default = "freeze")]
    pub data_type: ContractMode,
}

const fn evolve() -> ContractMode {
    ContractMode::Evolve
}

const fn freeze() -> ContractMode {
    ContractMode::Freeze
}

impl Default for SchemaContract {
    fn default() -> Self {
        Self {
            tables: evolve(),
            columns: evolve(),
            data_type: freeze(),
        }
    }
}

/// What happens to something that the schema does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ContractMode {
    /// The schema grows.
    Evolve,
    /// The load stops.
    Freeze,
    /// The row goes to the dead letter.
    DiscardRow,
    /// The value is left out.
    DiscardValue,
}

/// Bounded runs, or one that goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Bounded runs.
    #[default]
    Batch,
    /// One run that goes on.
    Continuous,
}

/// What a scheduled run loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ScheduleLoad {
    /// Everything.
    Full,
    /// What changed.
    Delta,
}

/// What happens when a run is due while one is at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// It waits its turn per stream.
    Allow,
    /// It is left out.
    #[default]
    Forbid,
    /// It takes the place of the one at work.
    Replace,
}

/// What happens to the state when the Flow is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It is deleted.
    Delete,
}

/// What delivery guarantees, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DeliveryGuarantee {
    /// A transaction that commits late at the source may be missed until the next full load.
    MayMissLateCommits,
    /// Nothing is lost; a row may be there twice after a fault.
    AtLeastOnce,
    /// Nothing is lost, and a repeated write has no second effect.
    EffectivelyOnce,
    /// Data and position are committed together.
    ExactlyOnce,
}

/// What delivery must guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliverySpec {
    /// The least that is accepted; checked before anything is read.
    pub require: DeliveryGuarantee,
}

/// Where refused rows go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterSpec {
    /// A location; {namespace}, {flow}, {stream}, {label:NAME} and {date} are filled in.
    #[schemars(length(min = 1, max = 4096))]
    pub url: String,
}

/// Where positions, watermarks and history live.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(cel, validation = (
    "[has(self.configMap), has(self.s3), has(self.directory)].filter(x, x).size() <= 1",
    "choose at most one of configMap, s3 and directory (local runs)"
))]
#[serde(rename_all = "camelCase")]
pub struct StateSpec {
    /// The name of the state; without it, `NAMESPACE/NAME` of the Flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"))]
    pub id: Option<String>,
    /// A ConfigMap beside the Flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<Empty>,
    /// A bucket of an S3 server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Spec>,
    /// A directory of this machine; for local runs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub directory: Option<String>,
}

/// A place in an S3 server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Spec {
    /// The bucket.
    #[schemars(length(min = 1, max = 255))]
    pub bucket: String,
    /// The prefix below which everything lies.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 900))]
    pub prefix: String,
    /// An endpoint other than AWS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub endpoint: Option<String>,
    /// The region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub region: Option<String>,
    /// accessKeyId, secretAccessKey, sessionToken by reference; without it, the pod's own identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub credentials: Vec<CredentialRef>,
}

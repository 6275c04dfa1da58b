//! The Source: one configured place to read, and rules for its streams.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{ConnectorRef, CredentialRef, Settings, StreamName, settings};
use crate::duration::Duration;
use crate::schema::Field;

/// Parts that a stream can be read in, at most: each may be a process of its own.
pub const MOST_PARTITIONS: u32 = 10_000;

/// One configured place to read: a connector, a connection, credentials by reference, and rules for
/// its streams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "millrace.dev",
    version = "v1alpha1",
    kind = "Source",
    doc = "One configured place to read.",
    namespaced,
    status = "SourceStatus",
    shortname = "mrs",
    category = "millrace",
    derive = "PartialEq",
    cel,
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Connector", type_ = "string", json_path = ".spec.connector.name"),
    printcolumn(name = "Engine", type_ = "string", json_path = ".status.connector.engine"),
    printcolumn(name = "Streams", type_ = "integer", json_path = ".status.streamCount"),
    printcolumn(name = "Flows", type_ = "integer", json_path = ".status.flowCount"),
    printcolumn(name = "Full", type_ = "string", json_path = ".spec.fullLoadInterval"),
    printcolumn(name = "Delta", type_ = "string", json_path = ".spec.deltaLoadInterval"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(cel, validation = (
    "has(self.connector) || has(self.reader)",
    "name a connector, a custom reader, or a reader on top of a connector"
))]
#[serde(rename_all = "camelCase")]
pub struct SourceSpec {
    /// The Connector to read with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<ConnectorRef>,
    /// A custom reader, `MODULE.py:Class`, `package.module:Class` or `LIBRARY.so:symbol`; the connector then gives metadata
    /// and validation only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub reader: Option<String>,
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
    /// How to read, as the connector understands it.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    #[schemars(schema_with = "settings")]
    pub options: Settings,
    /// Time between full loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) > duration('0s')", "must be more than zero; leave the field out for no full loads by interval"))]
    pub full_load_interval: Option<Duration>,
    /// Time between delta loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) > duration('0s')", "must be more than zero; leave the field out for no delta loads by interval"))]
    pub delta_load_interval: Option<Duration>,
    /// Readers at work at once; without it, one for each core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: Option<u32>,
    /// Rows that may wait between reader and writer.
    #[serde(default = "buffer_length")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub buffer_length: u32,
    /// Rules for its streams; leave out for all that discovery finds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10_000))]
    pub streams: Vec<StreamSpec>,
}

const fn buffer_length() -> u32 {
    102_400
}

/// Settings for one stream, or for all that a regular expression matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    cel,
    validation = ("has(self.name) != has(self.match)", "say which streams by exactly one of name and match"),
    validation = ("!(has(self.schema) && has(self.schemaRef))", "give the schema by at most one of schema and schemaRef"),
    validation = ("!(has(self.cursorField) && has(self.cursorFields))", "give the cursor by at most one of cursorField and cursorFields")
)]
#[serde(rename_all = "camelCase")]
pub struct StreamSpec {
    /// The exact name of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<StreamName>,
    /// A regular expression over the whole name.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub match_: Option<String>,
    /// The key columns, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)))]
    pub primary_key: Vec<String>,
    /// The column that grows with every change; delta loads need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub cursor_field: Option<String>,
    /// Several columns that together grow with every change, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 1024)))]
    pub cursor_fields: Option<Vec<String>>,
    /// The columns and their types, as the Open Data Contract Standard writes them; without it, what
    /// discovery finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    pub schema: Option<Vec<Field>>,
    /// A data contract that holds the schema: a path from the manifest (local runs) or
    /// `configmap:NAME/KEY`. `#OBJECT` picks the schema object where its name is not the stream's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub schema_ref: Option<String>,
    /// How many parts a full load is read in; without it, the reader decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MOST_PARTITIONS))]
    pub partitions: Option<u32>,
}

/// How a Source fares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`; `Stalled` and `Reconciling` only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The recipe that is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<ConnectorInUse>,
    /// The number of Flows that read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_count: Option<u32>,
    /// The number of streams that discovery found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_count: Option<u32>,
    /// The first 100 streams that are declared, or that discovery found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub streams: Vec<SourceStreamStatus>,
    /// When discovery last ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_discovery: Option<Time>,
}

/// A stream of a Source, and its schema.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStreamStatus {
    /// Its name, one line of text.
    #[serde(default)]
    pub name: String,
    /// The columns of its key; empty: it has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primary_key: Vec<String>,
    /// The number of its columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column_count: Option<u32>,
    /// Its columns, as long as those of all streams are no more than 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnStatus>,
}

/// A column of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ColumnStatus {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its exact type, for example `decimal(15,2)`; else the one without regard to a system.
    #[serde(default, rename = "type")]
    pub type_: String,
}

/// The recipe that a Source or Flow uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorInUse {
    /// The name of the Connector or built-in recipe.
    pub name: String,
    /// The engine that runs it.
    pub engine: String,
    /// Whether a Connector of that name was found.
    pub from: RecipeOrigin,
}

/// Where a recipe came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecipeOrigin {
    /// Millrace's own recipe.
    BuiltIn,
    /// A Connector among the resources.
    Connector,
}

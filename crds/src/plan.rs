//! The plan: all that one worker needs to run one Flow, and no secret.
//!
//! In: nothing but plain data, made by [`crate::resolve`]. Out: the worker reads it, in a pod from a
//! ConfigMap, at a desk straight from the resolver. What only discovery can tell (the streams behind a
//! regular expression) stays a rule here and is settled by the worker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::duration::Duration;
use crate::flow::{
    ConcurrencyPolicy, DeletionPolicy, DeliveryGuarantee, Mode, ScheduleLoad, SchemaContract, WriteMode,
};
use crate::job::Load;
use crate::schema::Field;
use crate::source::RecipeOrigin;

/// One Flow, resolved: where it reads, where it writes, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The Flow this plan was made from.
    pub flow: FlowRef,
    /// Where to read.
    pub source: SourcePlan,
    /// Where to write.
    pub destination: DestinationPlan,
    /// The streams that the Flow takes from the Source, by exact name; empty: all of them.
    pub streams: Vec<String>,
    /// Row-wise transforms, in the order of the manifest.
    pub transforms: Vec<TransformPlan>,
    /// What new tables, new columns and bad values do.
    pub contract: SchemaContract,
    /// How and when the Flow runs.
    pub run: RunPlan,
    /// Where positions, watermarks and history live.
    pub state: StatePlan,
    /// The least guarantee that is accepted; checked before anything is read.
    pub require: Option<DeliveryGuarantee>,
    /// The largest part of the delivered rows that a full load may delete unasked, 0 to 1.
    pub max_delete_fraction: f64,
    /// Where refused rows go (a location template); `None`: beside the data.
    pub dead_letter: Option<String>,
}

/// Name and identity of the Flow; the values that templates can use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowRef {
    /// The namespace; `default` where a local manifest has none.
    pub namespace: String,
    /// The name within the namespace.
    pub name: String,
    /// The UID that the API server gave, or for local runs one derived from namespace and name.
    pub uid: String,
    /// The Flow's labels, for templates.
    pub labels: BTreeMap<String, String>,
}

/// A system to talk to, at either end: the recipe's choice of engine and the merged configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemPlan {
    /// The Connector's name.
    pub connector: String,
    /// Where the recipe of that name came from.
    pub recipe: RecipeOrigin,
    /// The Connector's type: the name of the built-in system, or any word.
    #[serde(rename = "type")]
    pub type_: String,
    /// `native`, `python`, `library`, `airbyte`, `singer`, `meltano` or `adbc`.
    pub engine: String,
    /// The settings of that engine, as the recipe has them.
    pub engine_config: Map<String, Value>,
    /// `default` config, then the named config, then the `connection` of the resource.
    pub connection: Map<String, Value>,
    /// The `options` of the resource.
    pub options: Map<String, Value>,
    /// Where each credential is found; never its value.
    pub credentials: Vec<Credential>,
    /// A custom reader or writer, on top of the connector.
    pub plugin: Option<String>,
    /// Requests a second and burst, held across all streams of the Flow.
    pub rate_limit: Option<RateLimit>,
    /// The directory of the manifest, against which relative paths are meant (local runs only).
    pub base_dir: Option<String>,
}

impl SystemPlan {
    /// What the connector is made from: the connection, with the options laid over it that are not about the columns
    /// which every destination adds.
    #[must_use]
    pub fn settings(&self) -> Map<String, Value> {
        let mut all = self.connection.clone();
        let own = self
            .options
            .iter()
            .filter(|(key, _)| !key.starts_with("_millrace"));
        all.extend(own.map(|(key, value)| (key.clone(), value.clone())));
        all
    }

    /// The plugin that it runs, `part` being `reader` or `writer`: its own, else that of the recipe's engine.
    #[must_use]
    pub fn plugin_of(&self, part: &str) -> Option<&str> {
        let of_engine = || self.engine_config.get(part)?.as_str();
        self.plugin.as_deref().or_else(of_engine)
    }

    /// The image that its connector is run from in a cluster, in a container of its own.
    #[must_use]
    pub fn image(&self) -> Option<&str> {
        let of_engine = matches!(self.engine.as_str(), "airbyte" | "singer");
        self.engine_config.get("image").filter(|_| of_engine)?.as_str()
    }
}

/// The reading end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourcePlan {
    /// The Source's name.
    pub name: String,
    /// What it reads from, and how.
    #[serde(flatten)]
    pub system: SystemPlan,
    /// Rules for its streams; empty: all that discovery finds, without settings.
    pub streams: Vec<StreamRule>,
    /// Time between full loads.
    pub full_load_interval: Option<Duration>,
    /// Time between delta loads.
    pub delta_load_interval: Option<Duration>,
    /// Readers at work at once; `None`: one for each core.
    pub concurrency: Option<u32>,
    /// Rows that may wait between reader and writer.
    pub buffer_length: u32,
}

/// The writing end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationPlan {
    /// What it writes to, and how.
    #[serde(flatten)]
    pub system: SystemPlan,
    /// `append`, `upsert` or `overwrite`.
    pub write_mode: WriteMode,
}

/// Settings for one stream, or for all that a regular expression matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRule {
    /// Which streams this speaks of.
    #[serde(flatten)]
    pub select: StreamSelect,
    /// The key columns, in order; empty: none declared.
    pub primary_key: Vec<String>,
    /// The cursor columns, in order; empty: no delta loads.
    pub cursor_field: Vec<String>,
    /// The declared schema; `None`: what discovery finds.
    pub schema: Option<Vec<Field>>,
    /// How many parts a full load is read in; `None`: the reader decides.
    pub partitions: Option<u32>,
}

/// One stream by its exact name, or many by a regular expression over the whole name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StreamSelect {
    /// The exact name.
    Name(String),
    /// A regular expression that must match the whole name.
    Match(String),
}

/// Where one credential is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// The name that the connector asks for, for example `password`.
    pub name: String,
    /// The place.
    pub from: CredentialPlace,
}

/// A place that holds a secret value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CredentialPlace {
    /// A key of a Secret in the Flow's namespace.
    Secret {
        /// The Secret's name.
        name: String,
        /// The key within it.
        key: String,
    },
    /// An environment variable (local runs only).
    Env(String),
    /// A file, relative to the manifest that names it (local runs only).
    File(String),
}

/// Requests a second, with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Sustained requests a second.
    pub requests_per_second: f64,
    /// Requests that may come at once after a pause.
    pub burst: u32,
}

/// One transform and the streams it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransformPlan {
    /// Exact stream names; empty: all.
    pub streams: Vec<String>,
    /// `select ... from input [where ...]`.
    pub sql: String,
}

/// How and when a Flow runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunPlan {
    /// Bounded runs, or one that goes on.
    pub mode: Mode,
    /// A cron expression of five fields.
    pub schedule: Option<String>,
    /// What a scheduled run loads; `None`: Delta where a cursor exists, else Full.
    pub schedule_load: Option<ScheduleLoad>,
    /// The IANA time zone of the schedule; `UTC` where none was given.
    pub time_zone: String,
    /// What happens when a run is due while one is at work.
    pub concurrency_policy: ConcurrencyPolicy,
    /// Suspended: nothing starts.
    pub suspend: bool,
}

/// Where state lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatePlan {
    /// The name of this state: by default `namespace/name` of the Flow.
    pub id: String,
    /// The store.
    pub store: StateStorePlan,
    /// What happens to the state when the Flow is deleted.
    pub deletion_policy: DeletionPolicy,
}

/// The kind of state store and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StateStorePlan {
    /// The default: a ConfigMap in a cluster, the default local directory at a desk.
    Default,
    /// A ConfigMap beside the Flow.
    ConfigMap,
    /// A directory of this machine (local runs only).
    Directory(String),
    /// A bucket of an S3 server.
    S3(S3Plan),
}

/// A place in an S3 server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Plan {
    /// The bucket.
    pub bucket: String,
    /// The prefix below which everything lies; may be empty.
    pub prefix: String,
    /// An endpoint other than AWS's own.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// `accessKeyId`, `secretAccessKey`, `sessionToken`; none: the environment's own.
    pub credentials: Vec<Credential>,
}

/// One bounded run of a Flow, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobPlan {
    /// The Job's name; the `generateName` where it has none yet.
    pub name: String,
    /// The Flow that it runs.
    pub plan: Plan,
    /// What it loads.
    pub load: Load,
    /// The streams that it loads, by exact name; empty: all of the Flow.
    pub streams: Vec<String>,
    /// The range of the cursor, for a backfill.
    pub backfill: Option<BackfillPlan>,
    /// Pods that share the load.
    pub parallelism: u32,
    /// How often it is tried again after a failure that may pass.
    pub retries: u32,
    /// The time after which it is stopped.
    pub deadline: Option<Duration>,
}

/// A half-open range of the cursor; the watermark stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackfillPlan {
    /// The first value.
    pub from: String,
    /// The first value that is left out.
    pub to: String,
}

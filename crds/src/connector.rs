//! The Connector: a recipe that belongs to no tenant and holds no secret.
//!
//! Where no object has a name, the built-in recipe of that name applies; an object overrides it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{Empty, Engine, Settings, settings, settings_by_name};
use crate::flow::ResourceAmounts;

/// A recipe for talking to one type of system: the engines that can run it, named configurations,
/// the configuration it accepts and the credentials it asks for. It never holds a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "millrace.dev",
    version = "v1alpha1",
    kind = "Connector",
    doc = "A recipe for talking to one type of system. It belongs to no tenant and never holds a secret.",
    status = "ConnectorStatus",
    shortname = "mrc",
    category = "millrace",
    derive = "PartialEq",
    cel,
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Roles", type_ = "string", json_path = ".spec.roles"),
    printcolumn(name = "Engine", type_ = "string", json_path = ".spec.defaultEngine"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(cel, validation = (
    "!has(self.defaultEngine) || !has(self.engines) \
         || (self.defaultEngine == 'native' && has(self.engines.native)) \
         || (self.defaultEngine == 'python' && has(self.engines.python)) \
         || (self.defaultEngine == 'library' && has(self.engines.library)) \
         || (self.defaultEngine == 'airbyte' && has(self.engines.airbyte)) \
         || (self.defaultEngine == 'singer' && has(self.engines.singer)) \
         || (self.defaultEngine == 'meltano' && has(self.engines.meltano)) \
         || (self.defaultEngine == 'adbc' && has(self.engines.adbc))",
    "defaultEngine must be one of the keys of engines"
))]
#[serde(rename_all = "camelCase")]
pub struct ConnectorSpec {
    /// The built-in system that this is a recipe for, or any word when only plugins serve it.
    #[serde(rename = "type")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$")
    )]
    pub type_: String,
    /// What it connects to, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub description: Option<String>,
    /// What it can be used as.
    #[schemars(length(min = 1, max = 2))]
    pub roles: Vec<Role>,
    /// The engine to use where a Source or Flow names none; needed when there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_engine: Option<Engine>,
    /// The ways to run it; without this field `native` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engines: Option<Engines>,
    /// Named configurations. `default` is used when a Source or Flow names none, and lies beneath
    /// the named one otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "settings_by_name")]
    pub configs: BTreeMap<String, Settings>,
    /// The credentials that it asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub credentials: Vec<CredentialSpec>,
    /// The most requests that one Flow may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitSpec>,
    /// A JSON Schema that the merged configuration and connection must meet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "settings")]
    pub config_schema: Option<Settings>,
    /// The JSON Schema for destinations, where it is not that of `configSchema`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "settings")]
    pub destination_config_schema: Option<Settings>,
}

impl ConnectorSpec {
    /// The schema of the configuration of one role.
    #[must_use]
    pub fn schema(&self, role: Role) -> Option<&Settings> {
        let own = match role {
            Role::Source => None,
            Role::Destination => self.destination_config_schema.as_ref(),
        };
        own.or(self.config_schema.as_ref())
    }
}

/// What a Connector can be used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It can be read from.
    Source,
    /// It can be written to.
    Destination,
}

impl Role {
    /// The name as manifests write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

/// The ways to run a connector, each with its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Engines {
    /// Within the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Empty>,
    /// A Python class in a subprocess.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<PythonEngine>,
    /// A shared library that speaks the Arrow C interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<LibraryEngine>,
    /// An Airbyte connector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub airbyte: Option<AirbyteEngine>,
    /// A Singer tap or target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub singer: Option<SingerEngine>,
    /// A plugin of a Meltano project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meltano: Option<MeltanoEngine>,
    /// An ADBC driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adbc: Option<AdbcEngine>,
}

/// A Python class in a subprocess.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PythonEngine {
    /// The class that reads: `MODULE.py:Class`, from a path, `s3://` or `gs://`; in a cluster also
    /// `configmap:NAME/MODULE.py:Class` or `volume:CLAIM/PATH/MODULE.py:Class`, from the namespace of the Source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 4096),
        regex(
            pattern = r"^(((configmap|volume):)?[^:]*(://)?[^:]+\.py|[A-Za-z_][A-Za-z0-9_.]*):[A-Za-z_][A-Za-z0-9_]*$"
        )
    )]
    pub reader: Option<String>,
    /// The class that writes, from the same places; in a cluster the namespace is that of the Flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 4096),
        regex(
            pattern = r"^(((configmap|volume):)?[^:]*(://)?[^:]+\.py|[A-Za-z_][A-Za-z0-9_.]*):[A-Za-z_][A-Za-z0-9_]*$"
        )
    )]
    pub writer: Option<String>,
    /// The SHA-256 of the module; another content is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-f0-9]{64}$"))]
    pub sha256: Option<String>,
    /// Python packages that it needs, with versions; what begins with `-` is an option of pip, for example
    /// `--index-url=https://pypi.example.com/simple`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 4096)))]
    pub requirements: Vec<String>,
    /// Fetch the module again at each start, in place of using the cached one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<bool>,
    /// The S3 server that `s3://` means, where it is not AWS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub endpoint: Option<String>,
    /// The region of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub region: Option<String>,
}

/// A shared library that speaks the Arrow C interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LibraryEngine {
    /// The function that makes a reader: `LIBRARY.so:symbol`, from a path, `s3://` or `gs://`; in a cluster also
    /// `configmap:NAME/LIBRARY.so:symbol` or `volume:CLAIM/PATH/LIBRARY.so:symbol`, from the namespace of the Source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 4096),
        regex(pattern = r"^((configmap|volume):)?[^:]*(://)?[^:]+:[A-Za-z_][A-Za-z0-9_]*$")
    )]
    pub reader: Option<String>,
    /// The function that makes a writer, from the same places; in a cluster the namespace is that of the Flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 4096),
        regex(pattern = r"^((configmap|volume):)?[^:]*(://)?[^:]+:[A-Za-z_][A-Za-z0-9_]*$")
    )]
    pub writer: Option<String>,
    /// The SHA-256 of the library; another content is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-f0-9]{64}$"))]
    pub sha256: Option<String>,
    /// The S3 server that `s3://` means, where it is not AWS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub endpoint: Option<String>,
    /// The region of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub region: Option<String>,
}

/// An Airbyte connector: a command, and an image for a cluster, where that is what runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AirbyteEngine {
    /// The program and its first arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// Python packages that it needs, with versions; what begins with `-` is an option of pip, for example
    /// `--index-url=https://pypi.example.com/simple`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 4096)))]
    pub requirements: Vec<String>,
    /// The container image, by tag or by digest. In a cluster it is a container of its own beside the worker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = r"^[^\s@]+(@sha256:[a-f0-9]{64})?$"))]
    pub image: Option<String>,
    /// The program in the image, and its first arguments; without it what the image says in `AIRBYTE_ENTRYPOINT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub entrypoint: Vec<String>,
    /// The user that the image wants to run as, by number; without it that of the worker. Never root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_user: Option<i64>,
    /// Requests and limits of the image's container; without limits, 1Gi of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceAmounts>,
}

/// A Singer tap or target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SingerEngine {
    /// The program and its first arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// Python packages that it needs, with versions; what begins with `-` is an option of pip, for example
    /// `--index-url=https://pypi.example.com/simple`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 4096)))]
    pub requirements: Vec<String>,
    /// The container image, by tag or by digest. In a cluster it is a container of its own beside the worker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = r"^[^\s@]+(@sha256:[a-f0-9]{64})?$"))]
    pub image: Option<String>,
    /// The program in the image, and its first arguments; without it `command`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub entrypoint: Vec<String>,
    /// The user that the image wants to run as, by number; without it that of the worker. Never root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_user: Option<i64>,
    /// Requests and limits of the image's container; without limits, 1Gi of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceAmounts>,
}

/// A plugin of a Meltano project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeltanoEngine {
    /// The directory of the project.
    #[schemars(length(min = 1, max = 4096))]
    pub project: String,
    /// The plugin's name in the project, for example `tap-postgres`.
    #[schemars(length(min = 1, max = 253))]
    pub plugin: String,
}

/// An ADBC driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdbcEngine {
    /// The driver's library.
    #[schemars(length(min = 1, max = 4096))]
    pub driver: String,
    /// The driver's entry point, where it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub entrypoint: Option<String>,
}

/// One credential that the connector asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialSpec {
    /// The name by which a Source or Flow gives it, for example `password`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The environment variable in which a local run finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub from_env: Option<String>,
    /// Whether nothing works without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// What it is, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub description: Option<String>,
}

/// The most requests that one Flow may send.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitSpec {
    /// Sustained requests a second.
    // The API server compares a whole number with the whole part of the bound, and lets 0 pass.
    #[schemars(range(min = 0.001, max = 1_000_000.0))]
    #[x_kube(validation = ("self > 0.0", "must be more than zero; leave rateLimit out for no limit"))]
    pub requests_per_second: f64,
    /// Requests that may come at once after a pause.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: u32,
}

const fn one() -> u32 {
    1
}

/// How a Connector fares. It holds counts alone, so that no tenant learns of another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`; `Stalled` and `Reconciling` only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Uses as each operator counts them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["operator".into()]))]
    pub uses: Vec<ConnectorUses>,
}

/// How many resources use a Connector, as one operator counts them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorUses {
    /// The operator, by an opaque name.
    pub operator: String,
    /// The number of Sources.
    pub sources: u32,
    /// The number of Flows that write through it.
    pub flows: u32,
}

/// The recipes that come with Millrace.
#[must_use]
pub fn builtin() -> &'static [Connector] {
    // A test proves that the file parses; a broken one would leave every built-in name unknown.
    static RECIPES: LazyLock<Vec<Connector>> =
        LazyLock::new(|| serde_saphyr::from_multiple(include_str!("../recipes.yaml")).unwrap_or_default());
    &RECIPES
}

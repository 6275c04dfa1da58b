//! The Connector: a recipe that belongs to no tenant and holds no secret.
//!
//! Where no object has a name, the built-in recipe of that name applies; an object overrides it.

mod engines;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::engines::{AdbcEngine, Engines, LibraryEngine, MeltanoEngine, ProgramEngine, PythonEngine};
use crate::common::{Engine, Settings, settings, settings_by_name};

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

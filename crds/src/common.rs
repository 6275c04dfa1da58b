//! What several kinds share: references, credentials, free-form settings, conditions.
//!
//! References have no namespace: a resource reaches only what lies in its own.

use std::borrow::Cow;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The names that objects can have. One that none can have is refused before it is looked for.
pub(crate) const NAME: &str = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";

/// The keys that a Secret can have: the kubelet makes files of them, so none leads out of its directory.
pub(crate) const KEY: &str = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$";

/// Free-form settings, whose keys the connector gives meaning.
pub type Settings = Map<String, Value>;

/// Schema of [`Settings`]: an object with any keys, which the API server must not prune. No connector has as many as are
/// allowed here.
pub(crate) fn settings(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "maxProperties": 500, "x-kubernetes-preserve-unknown-fields": true })
}

/// Schema of a map from a name to [`Settings`].
pub(crate) fn settings_by_name(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": settings(generator) })
}

/// Which Connector to use, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorRef {
    /// The name of a Connector, or of a built-in recipe where no Connector has that name.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
    /// The named configuration to start from; without it `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub config: Option<String>,
    /// The engine that runs the connector; without it the Connector's `defaultEngine`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
}

/// The ways in which a connector can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Within the worker.
    Native,
    /// A Python class in a subprocess.
    Python,
    /// A shared library that speaks the Arrow C interface.
    Library,
    /// An Airbyte connector.
    Airbyte,
    /// A Singer tap or target.
    Singer,
    /// A plugin of a Meltano project.
    Meltano,
    /// An ADBC driver.
    Adbc,
}

impl Engine {
    /// The name as manifests write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Python => "python",
            Self::Library => "library",
            Self::Airbyte => "airbyte",
            Self::Singer => "singer",
            Self::Meltano => "meltano",
            Self::Adbc => "adbc",
        }
    }
}

/// One credential that the connector asks for, and the place that holds its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(cel, validation = (
    "[has(self.secret), has(self.env), has(self.file)].filter(x, x).size() == 1",
    "say where the credential is found by exactly one of secret, env (local runs) and file (local runs)"
))]
#[serde(rename_all = "camelCase")]
pub struct CredentialRef {
    /// The name that the connector asks for, for example `password`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// A key of a Secret in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretKey>,
    /// An environment variable; for local runs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub env: Option<String>,
    /// A file, relative to the manifest; for local runs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub file: Option<String>,
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
    /// The key within it.
    #[schemars(length(min = 1, max = 253), regex(pattern = KEY))]
    pub key: String,
}

/// A reference to a resource of the same namespace by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameRef {
    /// The name.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
}

/// Nothing to set: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// A stream's name: what discovery shows, one line of text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamName(pub String);

impl JsonSchema for StreamName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StreamName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 1024, "pattern": r"^[^\x00-\x1f\x7f]+$" })
    }
}

/// The plain texts of a list of stream names.
#[must_use]
pub fn texts(names: &[StreamName]) -> Vec<String> {
    names.iter().map(|name| name.0.clone()).collect()
}

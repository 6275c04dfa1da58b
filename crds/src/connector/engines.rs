//! The engines of a Connector, each with its settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{common::Empty, flow::ResourceAmounts};

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
    pub airbyte: Option<ProgramEngine>,
    /// A Singer tap or target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub singer: Option<ProgramEngine>,
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

/// A connector that is a program: a command, and an image for a cluster, where that is what runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgramEngine {
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
    /// The program in the image, and its first arguments; without it what an image of Airbyte says in
    /// `AIRBYTE_ENTRYPOINT`, or `command`.
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

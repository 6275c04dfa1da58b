//! What a plugin is configured with.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::Error;

/// The settings of the Source, or of the Flow's destination.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// The Source's or Flow's name.
    pub name: String,
    /// The Connector's name.
    pub connector: String,
    /// Its `connection`, over the named configuration of the Connector.
    pub connection: Map<String, Value>,
    /// Its credentials, by name.
    pub credentials: BTreeMap<String, String>,
    /// Its streams by exact name; empty: all.
    pub objects: Vec<String>,
    /// The engine, with its `options`.
    pub engine: Map<String, Value>,
    /// The columns that the manifest declares, by stream: `name`, `logicalType` and what narrows it. The worker makes these types
    /// of what a reader gives; one whose source holds texts gives those, so that none is guessed wrong on the way.
    pub schema: BTreeMap<String, Vec<Map<String, Value>>>,
    /// The directory of the manifest, from which paths are meant; `None` in a cluster.
    pub directory: Option<PathBuf>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Credentials are never shown.
        f.debug_struct("Config")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The connection, with the options over it, as a type of your own.
    ///
    /// # Errors
    /// `config` where it does not fit.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let mut all = self.connection.clone();
        let options = self.engine.get("options").and_then(Value::as_object);
        all.extend(
            options
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        serde_json::from_value(Value::Object(all))
            .map_err(|error| Error::config(format!("connection: {error}")))
    }

    /// Whether the manifest declares a column.
    #[must_use]
    pub fn declares(&self, stream: &str, column: &str) -> bool {
        let columns = self.schema.get(stream).into_iter().flatten();
        columns
            .filter_map(|one| one.get("name"))
            .any(|name| name == column)
    }

    /// A path of the settings, meant from the manifest.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.clone().unwrap_or_default().join(path)
    }
}

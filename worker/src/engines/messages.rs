//! Connectors that speak in messages, one a line: of Airbyte, of Singer.
//!
//! In: a [`Dialect`], which says how a load is asked for and what a line means. Out: a load of one stream, read from one
//! process: rows in the columns of its schema, and the connector's last state as the position after them. In [`write`]:
//! those that hear messages.

mod believed;
mod files;
mod load;
mod settings;
mod source;
pub(super) mod write;

use std::{borrow::Cow, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use serde_json::Value;

use self::load::MessageLoad;
pub(super) use self::{
    believed::Believed,
    settings::{Settings, config},
    source::Spoken,
};
use super::child::Program;
use crate::{
    connector::{Position, StreamInfo},
    error::{Error, Result},
    secrets::Mask,
    stream::StreamSpec,
};

/// The reason of a failure that says no more than that not all was read.
pub(super) const INCOMPLETE: &str = "Incomplete";

/// What one line says.
pub(super) enum Said<'a> {
    /// A row of a stream, as the JSON that it was written in.
    Row {
        /// The stream.
        stream: Cow<'a, str>,
        /// The row.
        row: &'a str,
    },
    /// Files of rows, one a line.
    Batch {
        /// The stream.
        stream: String,
        /// The files.
        files: Vec<PathBuf>,
    },
    /// The columns of a stream, as a JSON Schema.
    Schema {
        /// The stream.
        stream: String,
        /// The schema.
        schema: Value,
    },
    /// Where it stands after all rows so far.
    State {
        /// What goes back to it.
        state: Value,
        /// The rows since its last state, as it counts them.
        rows: Option<u64>,
    },
    /// A line of its log.
    Log {
        /// `error`, `warning`, `info`, `debug`.
        level: &'static str,
        /// The line.
        message: Cow<'a, str>,
    },
    /// Rows to come.
    Estimate(u64),
    /// It failed, and says why.
    Failed(Error),
    /// Its configuration has changed.
    Config(Value),
    /// Something that means nothing here.
    Nothing,
    /// No message.
    Noise,
}

/// How one family of connectors is spoken with.
#[async_trait]
pub(super) trait Dialect: Send + Sync {
    /// What is hidden of what a connector says.
    fn mask(&self) -> Result<Mask>;
    /// The streams that there are.
    async fn streams(&self) -> Result<Vec<StreamInfo>>;
    /// Tries the settings; without a way of its own, asks for the streams.
    async fn check(&self) -> Result<()> {
        self.streams().await.map(drop)
    }
    /// The program that reads one stream, from where it stood `after` an earlier load; the state is given to it by others.
    async fn read(&self, stream: &StreamSpec, after: Option<Position>) -> Result<Reading>;
    /// What a line says; `stream` is the one that is read.
    fn hear<'a>(&self, line: &'a str) -> Said<'a>;
    /// The state after `last`, as it goes back to the connector; `None`: the next load begins anew.
    fn position(&self, reading: &Reading, last: Option<Value>) -> Option<Position>;
    /// Keeps a configuration that the connector has changed.
    ///
    /// # Errors
    /// `config` where it cannot be kept.
    async fn keep(&self, _config: Value) -> Result<()> {
        Ok(())
    }
}

/// A load that is to be read.
pub(super) struct Reading {
    /// The program.
    pub(super) program: Program,
    /// What it is given lies here, for as long as it reads.
    pub(super) settings: Settings,
    /// The JSON Schema of the stream, as far as it is known.
    pub(super) schema: Value,
    /// The names by which its rows may be told: records and catalogs do not always agree.
    pub(super) names: Vec<String>,
    /// It tells where it stands.
    pub(super) incremental: bool,
    /// Where it stood before.
    pub(super) before: Option<Position>,
}

/// A dialect, which all loads of a source share.
pub(super) type Shared = Arc<dyn Dialect>;

/// Logs what a connector says.
fn log(plugin: &str, level: &str, message: &str) {
    match level {
        "error" => tracing::error!(plugin, "{message}"),
        "warning" => tracing::warn!(plugin, "{message}"),
        "noise" => tracing::info!(plugin, "{message}"),
        // Connectors tell of every step that they take.
        _ => tracing::debug!(plugin, "{message}"),
    }
}

//! `generator`: rows made up by rule, the same each time, for trials, tests and benchmarks.
//!
//! In: a seed, a number of rows and a version. Out: streams whose rows follow from (seed, stream, id, version) alone.
//! Each version inserts, updates and deletes an exact share of the rows, and deltas hold just those ([`history`]).
//! With `mode: push` it sends numbered messages by itself, in which gaps, repeats and damage can be seen ([`push`]).

mod history;
mod load;
mod push;
mod rows;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::history::{History, Share};
use super::{Connector, Side, config};
use crate::{
    connector::{Load, Position, PushSource, Range, Source, StreamInfo, System},
    error::{Error, Result},
    rate::RateLimiter,
    stream::StreamSpec,
};

/// The table's line.
pub const CONNECTOR: Connector = Connector {
    name: "generator",
    summary: "Rows made up by rule, the same each time, with inserts, updates and deletes between versions",
    source: Some(Side::new::<GeneratorConfig>(
        "{ rows: 100000, version: 0, updateFraction: 0.01, deleteFraction: 0.01, insertFraction: 0.01 }",
        |system| Ok(Arc::new(Generator::new(&system)?)),
    )),
    destination: None,
    credentials: &[],
};

/// What is made up.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GeneratorConfig {
    /// Another seed gives other rows.
    #[serde(default)]
    pub seed: u64,
    /// The names of the streams; the rows of each are different.
    #[serde(default = "streams")]
    #[schemars(length(min = 1))]
    pub streams: Vec<String>,
    /// Rows of each stream in version 0; with `mode: push` all messages of a stream, without it they never end.
    #[schemars(range(max = 1_099_511_627_776_u64))]
    pub rows: Option<u64>,
    /// How often the rows have changed. Raise it, and the next load finds what one more version changed.
    #[serde(default)]
    #[schemars(range(max = 1_000_000))]
    pub version: u64,
    /// The share of `rows` that each version updates.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub update_fraction: f64,
    /// The share of `rows` that each version deletes.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub delete_fraction: f64,
    /// The share of `rows` that each version inserts.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub insert_fraction: f64,
    /// Deltas tell of deleted rows, as a change log does. Without it only a full load finds them.
    #[serde(default)]
    pub delta_deletes: bool,
    /// Whether rows are read, or messages sent.
    #[serde(default)]
    pub mode: GeneratorMode,
    /// With `mode: push`: messages a second of each stream; without it as many as are taken.
    #[schemars(range(min = 0.001))]
    pub rate_per_second: Option<f64>,
    /// With `mode: push`: series of numbers that the messages of a stream are dealt to in turn.
    #[serde(default = "shards")]
    #[schemars(range(min = 1))]
    pub shards: u64,
    /// Rows in one batch.
    #[serde(default = "batch_rows")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub batch_rows: usize,
}

/// How rows leave.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GeneratorMode {
    /// They are read.
    #[default]
    Pull,
    /// They are sent.
    Push,
}

fn streams() -> Vec<String> {
    vec!["rows".to_owned()]
}

fn shards() -> u64 {
    1
}

fn batch_rows() -> usize {
    8192
}

/// Rows of version 0 where nothing is said.
const ROWS: u64 = 1000;

/// A generator as a source.
pub struct Generator {
    config: GeneratorConfig,
    limiter: RateLimiter,
}

impl Generator {
    /// Checks the settings.
    ///
    /// # Errors
    /// `config`, naming the field.
    pub fn new(system: &System) -> Result<Self> {
        let config: GeneratorConfig = config(system)?;
        let wrong = |what: &str| Err(Error::config(format!("connection.{what}")));
        let names: BTreeSet<_> = config.streams.iter().collect();
        if names.len() != config.streams.len() || names.iter().any(|name| name.is_empty()) || names.is_empty()
        {
            return wrong("streams: each stream needs a name of its own");
        }
        let fractions = [
            config.update_fraction,
            config.delete_fraction,
            config.insert_fraction,
        ];
        if !fractions.iter().all(|fraction| (0.0..=1.0).contains(fraction)) {
            return wrong("updateFraction, deleteFraction, insertFraction: each is a share, from 0 to 1");
        }
        if config.batch_rows == 0 || config.shards == 0 {
            return wrong("batchRows, shards: at least 1");
        }
        if config.rows.is_some_and(|rows| rows > 1 << 40) || config.version > 1_000_000 {
            return wrong("rows, version: at most 2^40 rows and 1000000 versions");
        }
        if config
            .rate_per_second
            .is_some_and(|rate| !rate.is_finite() || rate < 0.001)
        {
            return wrong("ratePerSecond: at least 0.001");
        }
        let limiter = system.limiter.clone();
        Ok(Self { config, limiter })
    }

    fn known(&self, stream: &str) -> Result<()> {
        match self.config.streams.iter().any(|name| name == stream) {
            true => Ok(()),
            false => Err(Error::config(format!("the generator has no stream `{stream}`"))
                .advice(format!("it has {}", self.config.streams.join(", ")))),
        }
    }

    fn pushes(&self) -> bool {
        self.config.mode == GeneratorMode::Push
    }

    /// A number of which everything in a stream follows.
    fn seed_of(&self, stream: &str) -> u64 {
        xxh3_64_with_seed(stream.as_bytes(), self.config.seed)
    }

    fn history(&self, stream: &str) -> History {
        let config = &self.config;
        let share = Share {
            updates: config.update_fraction,
            deletes: config.delete_fraction,
            inserts: config.insert_fraction,
        };
        History::new(self.seed_of(stream), config.rows.unwrap_or(ROWS), share)
    }

    fn schema(&self) -> SchemaRef {
        match self.config.mode {
            GeneratorMode::Pull => rows::schema(),
            GeneratorMode::Push => push::schema(),
        }
    }
}

#[async_trait]
impl Source for Generator {
    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let info = |name: &String| StreamInfo {
            name: name.clone(),
            schema: self.schema(),
            primary_key: texts(if self.pushes() { &["shard", "seq"] } else { &["id"] }),
            cursors: texts(if self.pushes() { &[] } else { &[rows::CURSOR] }),
            rows: match self.pushes() {
                true => self.config.rows,
                false => Some(self.history(name).live(self.config.version)),
            },
            trouble: None,
        };
        Ok(self.config.streams.iter().map(info).collect())
    }

    async fn load(&self, stream: &StreamSpec, range: &Range) -> Result<Arc<dyn Load>> {
        self.known(&stream.name)?;
        if self.pushes() {
            return push::bounded(self, &stream.name, range);
        }
        if let Some(other) = stream.cursor.iter().find(|column| *column != rows::CURSOR) {
            let message = format!("stream {}: generated rows have no cursor `{other}`", stream.name);
            return Err(Error::config(message).advice(format!("write cursorField: {}", rows::CURSOR)));
        }
        load::settle(self, stream, range)
    }

    async fn join(&self, stream: &StreamSpec, range: &Range, ticket: &Position) -> Result<Arc<dyn Load>> {
        let stream = StreamSpec {
            partitions: ticket["partitions"]
                .as_u64()
                .and_then(|parts| usize::try_from(parts).ok()),
            ..stream.clone()
        };
        let load = self.load(&stream, range).await?;
        match load.ticket().as_ref() == Some(ticket) {
            true => Ok(load),
            false => Err(Error::transient(format!(
                "stream {} is at another version by now",
                stream.name
            ))),
        }
    }

    fn push(&self) -> Option<&dyn PushSource> {
        self.pushes().then_some(self as &dyn PushSource)
    }
}

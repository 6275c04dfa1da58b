//! A source that a host reads: plugins in Python, libraries, ADBC drivers.
//!
//! In: a [`Guest`], which knows the program and the plugin's name, and the Source's settings. Out: a [`Source`] like any
//! other. Each part of a load has a host of its own; one that has answered a question waits for the next.

mod decode;
mod found;
mod load;
mod push;
mod staging;
mod write;

use std::{sync::Arc, time::Duration};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use millrace_crds::{plan::StreamSelect, source::MOST_PARTITIONS};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, OnceCell};

use self::load::HostLoad;
pub(super) use self::write::Written;
use super::{
    child::Program,
    host::{Host, Ready},
};
use crate::{
    connector::{Intervals, Load, Position, PushReader, PushSource, Range, Source, StreamInfo, System},
    error::{Context, Error, Result},
    secrets::Mask,
    settings,
    stream::StreamSpec,
    types::arrow_schema,
};

/// How long a plugin that reads may be silent.
const PATIENCE: Duration = Duration::from_mins(15);

/// A program that speaks the plugin protocol, and the plugin that it is to load.
#[async_trait]
pub(super) trait Guest: Send + Sync {
    /// Finds both; what has to be fetched or installed is, once.
    async fn launch(&self) -> Result<Launch>;
}

/// How a host is started.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// The program.
    pub program: Program,
    /// The plugin, as the program finds it.
    pub plugin: String,
}

/// A source behind a host.
pub(super) struct Hosted {
    opener: Arc<Opener>,
    ready: OnceCell<Ready>,
    /// A host that was asked something, and waits.
    idle: Mutex<Option<Host>>,
}

/// Starts hosts.
pub(super) struct Opener {
    guest: Box<dyn Guest>,
    launch: OnceCell<Launch>,
    system: System,
    role: &'static str,
}

impl Opener {
    pub(super) fn new(system: System, guest: impl Guest + 'static, role: &'static str) -> Self {
        Self {
            guest: Box::new(guest),
            launch: OnceCell::new(),
            system,
            role,
        }
    }

    pub(super) async fn host(&self) -> Result<Host> {
        let launch = self.launch.get_or_try_init(|| self.guest.launch()).await?;
        let start = json!({
            "type": "start",
            "protocol": 1,
            "role": self.role,
            "plugin": launch.plugin,
            "config": self.config()?,
        });
        Host::start(&launch.program, &start, Mask::of(&self.system.secrets)?).await
    }

    /// What the plugin is configured with.
    fn config(&self) -> Result<Value> {
        let plan = &self.system.plan;
        let rules = self.system.source.iter().flat_map(|source| &source.streams);
        let (mut schema, mut keys, mut cursors) = (Map::new(), Map::new(), Map::new());
        for rule in rules {
            let (StreamSelect::Name(name) | StreamSelect::Match(name)) = &rule.select;
            schema.extend(rule.schema.as_ref().map(|fields| (name.clone(), json!(fields))));
            keys.insert(name.clone(), json!(rule.primary_key));
            cursors.insert(name.clone(), json!(rule.cursor_field));
        }
        Ok(json!({
            "name": self.system.source.as_ref().map_or(&plan.connector, |source| &source.name),
            "connector": plan.connector,
            "type": plan.type_,
            "connection": plan.connection,
            "credentials": self.system.secrets.for_plugin()?,
            "objects": self.system.streams,
            "engine": { "type": plan.engine, "options": plan.options },
            "schema": schema,
            "primaryKey": keys,
            "cursor": cursors,
            "directory": std::path::absolute(plan.base_dir.as_deref().unwrap_or(".")).ok(),
        }))
    }
}

/// One stream, as a host tells of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    name: String,
    #[serde(default)]
    primary_key: Vec<String>,
    #[serde(default)]
    cursors: Vec<String>,
    rows: Option<u64>,
    partitions: Option<usize>,
    schema: Option<String>,
}

impl Told {
    /// In how many parts it can be read. Each is a process.
    fn parts(&self) -> Result<usize> {
        match self.partitions.unwrap_or(1) {
            parts if parts <= MOST_PARTITIONS as usize => Ok(parts),
            parts => Err(Error::config(format!(
                "stream {}: the plugin says that it has {parts} parts, and {MOST_PARTITIONS} are the most",
                self.name
            ))
            .advice("let it say fewer, or name the number in the manifest: `partitions` of the stream")),
        }
    }
}

impl Hosted {
    /// The source of a guest; starts nothing yet.
    #[must_use]
    pub(super) fn source(system: System, guest: impl Guest + 'static) -> Arc<dyn Source> {
        Arc::new(Self {
            opener: Arc::new(Opener::new(system, guest, "reader")),
            ready: OnceCell::new(),
            idle: Mutex::new(None),
        })
    }

    /// A host that is to be asked something.
    async fn host(&self) -> Result<Host> {
        if let Some(host) = self.idle.lock().await.take() {
            return Ok(host);
        }
        let host = self.opener.host().await?;
        // Every one says the same.
        let _ = self.ready.set(host.ready.clone());
        Ok(host)
    }

    /// What it says of its streams; `only`: of this one at least.
    async fn told(&self, only: Option<&str>) -> Result<Vec<Told>> {
        let mut host = self.host().await?;
        let question = json!({ "type": "discover", "stream": only });
        let answer = host
            .ask(
                &question,
                &[],
                "streams",
                "it was asked for its streams",
                Some(patience()),
            )
            .await?;
        let streams = answer.header.get("streams").cloned().unwrap_or_default();
        let told = serde_json::from_value(streams);
        let told = told.map_err(|error| host.broken(format!("`streams` cannot be read: {error}")))?;
        *self.idle.lock().await = Some(host);
        Ok(told)
    }

    fn info(&self, told: Told) -> Result<StreamInfo> {
        let declared = self.declared(&told.name)?;
        let schema = match told.schema.map(|text| schema(&text)).transpose()? {
            Some(schema) => schema,
            None => declared.unwrap_or_else(|| Arc::new(Schema::empty())),
        };
        Ok(StreamInfo {
            schema,
            primary_key: told.primary_key,
            cursors: told.cursors,
            rows: told.rows,
            ..StreamInfo::named(told.name)
        })
    }

    /// The columns that the manifest declares.
    fn declared(&self, stream: &str) -> Result<Option<SchemaRef>> {
        let mut rules = self
            .opener
            .system
            .source
            .iter()
            .flat_map(|source| &source.streams);
        let rule = rules.find(|rule| matches!(&rule.select, StreamSelect::Name(name) if name == stream));
        rule.and_then(|rule| rule.schema.as_deref())
            .map(arrow_schema)
            .transpose()
    }
}

/// A schema as a host sends it.
fn schema(text: &str) -> Result<SchemaRef> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| Error::bug(format!("the schema of a stream is no base64: {error}")))?;
    decode::schema(&bytes)
}

/// How long a plugin may be silent.
pub(super) fn patience() -> Duration {
    settings::seconds("MILLRACE_PLUGIN_PATIENCE").unwrap_or(PATIENCE)
}

#[async_trait]
impl Source for Hosted {
    async fn prepare(&self) -> Result<()> {
        if self.ready.initialized() {
            return Ok(());
        }
        let host = self.host().await?;
        *self.idle.lock().await = Some(host);
        Ok(())
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let told = self.told(None).await?;
        told.into_iter().map(|told| self.info(told)).collect()
    }

    async fn check(&self) -> Result<()> {
        let mut host = self.host().await?;
        let question = json!({ "type": "check" });
        host.ask(&question, &[], "ok", "its connection was tried", Some(patience()))
            .await?;
        *self.idle.lock().await = Some(host);
        Ok(())
    }

    async fn load(&self, stream: &StreamSpec, range: &Range) -> Result<Arc<dyn Load>> {
        let told = self.told(Some(&stream.name)).await?;
        let told = told.into_iter().find(|told| told.name == stream.name);
        let told =
            told.ok_or_else(|| Error::config(format!("the source has no stream `{}`", stream.name)))?;
        let partitions = match range {
            _ if self.ready.get().is_some_and(|ready| !ready.numbered) => 1,
            Range::Full => stream.partitions.map_or_else(|| told.parts(), Ok)?,
            Range::Delta { after: Some(after) } => load::parts_of(after),
            _ => told.parts()?,
        };
        let schema = self.info(told)?.schema;
        let host = self.host().await?;
        let load = HostLoad::open(
            self.opener.clone(),
            host,
            stream,
            range,
            partitions.max(1),
            schema,
        )
        .await;
        Ok(Arc::new(load.context(format!("stream {}", stream.name))?))
    }

    fn push(&self) -> Option<&dyn PushSource> {
        self.ready
            .get()
            .filter(|ready| ready.push)
            .map(|_| self as &dyn PushSource)
    }

    fn declares_keys(&self) -> bool {
        self.ready.get().is_none_or(|ready| ready.declares_keys)
    }

    fn replayable(&self) -> bool {
        self.ready.get().is_none_or(|ready| ready.replayable)
    }

    fn intervals(&self) -> Intervals {
        let seconds =
            |seconds: Option<f64>| seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let ready = self.ready.get();
        Intervals {
            full: ready.and_then(|ready| seconds(ready.full_load_interval)),
            delta: ready.and_then(|ready| seconds(ready.delta_load_interval)),
        }
    }

    fn resumes(&self) -> bool {
        true
    }
}

#[async_trait]
impl PushSource for Hosted {
    async fn open(&self, stream: &StreamSpec, from: Option<&Position>) -> Result<Box<dyn PushReader>> {
        let info = self
            .told(Some(&stream.name))
            .await?
            .into_iter()
            .find(|told| told.name == stream.name);
        let schema = info
            .map(|told| self.info(told))
            .transpose()?
            .map(|info| info.schema);
        let host = self.host().await?;
        let reader = push::Pushed::open(host, stream, from, schema).await;
        Ok(Box::new(reader.context(format!("stream {}", stream.name))?))
    }
}

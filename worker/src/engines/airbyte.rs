//! `airbyte`: any source and any destination that speaks the Airbyte protocol, as a program.
//!
//! In: the program, and the settings of Source or destination, which are the connector's configuration. Out: a source like
//! any other: the catalog's streams, each read by a process of its own, full or incremental, with the connector's own
//! state; in [`write`] a destination.
//!
//! The protocol: <https://docs.airbyte.com/platform/understanding-airbyte/airbyte-protocol>.

mod catalog;
mod keep;
mod message;
mod seal;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use self::{catalog::Stream, keep::Kept};
use super::{
    Engine,
    child::{Child, Program},
    command, hosted, json_schema,
    lines::Lines,
    messages::{Believed, Dialect, Reading, Said, Settings, Spoken, config, write::Heard},
};
use crate::{
    connector::{Position, StreamInfo, System},
    error::{Context, Error, Result},
    secrets::Mask,
    stream::StreamSpec,
};

/// The table's line.
pub(super) const ENGINE: Engine = Engine {
    name: "airbyte",
    source: Some(|system| Ok(Spoken::source(Connector::new(system)))),
    destination: Some(|system| Ok(Heard::destination(write::Written::new(Connector::new(system))))),
};

/// The verb that asks for what a connector can do.
const SPEC: &str = "spec";

/// A connector, to be run with one verb or another.
struct Connector {
    system: System,
    kept: Kept,
    catalog: Believed<Vec<Stream>>,
}

impl Connector {
    fn new(system: System) -> Self {
        Self {
            kept: Kept::of(&system),
            system,
            catalog: Believed::default(),
        }
    }

    /// The program with a verb, and its configuration where that takes one.
    async fn program(&self, verb: &str, settings: &Settings) -> Result<Program> {
        let mut program = command::program(&self.system).await?;
        program.args.push(verb.into());
        if verb == SPEC {
            return Ok(program);
        }
        let config = self.kept.over(config(&self.system)?).await?;
        let path = settings.write("config.json", &config)?;
        program.args.extend(["--config".into(), path.into()]);
        Ok(program)
    }

    /// Runs a verb that gives one answer.
    async fn ask<T>(&self, verb: &str, mut answer: impl FnMut(&Value) -> Option<T>) -> Result<T> {
        let settings = Settings::of(&self.system)?;
        let program = self.program(verb, &settings).await?;
        let (mut child, input, output) = Child::start(&program, self.mask()?)?;
        drop(input);
        let (mut lines, mut found, mut failed) = (Lines::new(output)?, None, None);
        let patience = hosted::patience();
        loop {
            let line = tokio::time::timeout(patience, lines.next()).await;
            let line = line.map_err(|_| child.silent(format!("it was asked to {verb}"), patience))?;
            let Some(line) = line.context(&program.name)? else {
                break;
            };
            match message::hear(line) {
                Said::Failed(error) => failed = failed.or(Some(error)),
                Said::Config(config) => self.kept.keep(config).await?,
                _ => {
                    let told = serde_json::from_str(line).ok().and_then(|value| answer(&value));
                    found = found.or(told);
                }
            }
        }
        let ended = child.end().await?;
        match (found, failed) {
            (Some(found), _) => Ok(found),
            (None, Some(error)) => {
                Err(self.mask()?.hide_in(error)).context(format!("{} {verb}", program.name))
            }
            (None, None) => Err(ended.error(&format!("it was asked to {verb}"))),
        }
    }

    async fn catalog(&self) -> Result<Arc<Vec<Stream>>> {
        let discover = async || {
            let streams = self.ask("discover", |message| {
                Some(message["catalog"]["streams"].as_array()?.clone())
            });
            Ok(streams.await?.into_iter().filter_map(Stream::new).collect())
        };
        self.catalog.or_ask(discover).await
    }

    async fn stream(&self, name: &str) -> Result<Stream> {
        let catalog = self.catalog().await?;
        let stream = catalog.iter().find(|stream| stream.full_name() == name).cloned();
        stream.ok_or_else(|| Error::config(format!("the source has no stream `{name}`")))
    }
}

#[async_trait]
impl Dialect for Connector {
    fn mask(&self) -> Result<Mask> {
        Ok(Mask::of(&self.system.secrets)?.and(self.kept.learned()))
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let info = |stream: &Stream| StreamInfo {
            schema: json_schema::columns(stream.schema(), &[]),
            primary_key: stream.primary_key(),
            cursors: stream.cursors(),
            ..StreamInfo::named(stream.full_name())
        };
        Ok(self.catalog().await?.iter().map(info).collect())
    }

    /// Lets it try its configuration.
    async fn check(&self) -> Result<()> {
        let status = self
            .ask("check", |message| Some(message.get("connectionStatus")?.clone()))
            .await?;
        match status["status"].as_str() {
            Some("SUCCEEDED") => Ok(()),
            _ => {
                let why = status["message"].as_str().unwrap_or("it does not say why");
                let why = self.mask()?.hide(why);
                Err(Error::config(format!(
                    "{}: the check failed: {why}",
                    self.system.plan.connector
                )))
            }
        }
    }

    async fn read(&self, stream: &StreamSpec, after: Option<Position>) -> Result<Reading> {
        let known = self.stream(&stream.name).await?;
        let settings = Settings::of(&self.system)?;
        let mut program = self.program("read", &settings).await?;
        let incremental = known.is_incremental(&stream.cursor);
        let configured = json!({ "streams": [known.configured(stream, incremental)] });
        let catalog = settings.write("catalog.json", &configured)?;
        program.args.extend(["--catalog".into(), catalog.into()]);
        Ok(Reading {
            program,
            settings,
            schema: known.schema().clone(),
            names: vec![known.full_name()],
            incremental,
            before: after.filter(|_| incremental),
        })
    }

    fn hear<'a>(&self, line: &'a str) -> Said<'a> {
        message::hear(line)
    }

    /// The marker that a full refresh leaves says that it is complete: given back, the next would read nothing.
    fn position(&self, reading: &Reading, last: Option<Value>) -> Option<Position> {
        match reading.incremental {
            true => last.or_else(|| reading.before.clone()),
            false => None,
        }
    }

    async fn keep(&self, config: Value) -> Result<()> {
        self.kept.keep(config).await
    }
}

//! `singer`: any tap and any target, as a program.
//!
//! In: the program, and the settings of Source or destination, which are its configuration. Out: a source like any other: the
//! catalog's streams, each read by a process of its own, with the tap's own state; in [`write`] a destination.
//!
//! The protocol: <https://github.com/singer-io/getting-started/blob/master/docs/SPEC.md>.

mod catalog;
mod message;
mod write;

use std::{ffi::OsString, sync::Arc};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::OnceCell;

use self::catalog::{Catalog, Stream};
use super::{
    Engine,
    child::{Child, Program},
    command, hosted, json_schema,
    messages::{Believed, Dialect, Reading, Said, Settings, Spoken, config, write::Heard},
};
use crate::{
    connector::{Destination, Position, Source, StreamInfo, System},
    error::{Context, Error, Result},
    secrets::Mask,
    stream::StreamSpec,
};

/// The table's line.
pub(super) const ENGINE: Engine = Engine {
    name: "singer",
    source: Some(|system| Ok(source(Command(system)))),
    destination: Some(|system| Ok(destination(Command(system)))),
};

/// Finds a tap or a target.
#[async_trait]
pub(super) trait Origin: Send + Sync {
    /// The system that it reads or writes.
    fn system(&self) -> &System;
    /// Its program.
    async fn program(&self) -> Result<Program>;
    /// Its configuration.
    async fn config(&self) -> Result<Value>;
    /// What is hidden of what it says.
    fn mask(&self) -> Result<Mask> {
        Mask::of(&self.system().secrets)
    }
}

/// A tap or a target that the recipe names.
struct Command(System);

#[async_trait]
impl Origin for Command {
    fn system(&self) -> &System {
        &self.0
    }

    async fn program(&self) -> Result<Program> {
        command::program(&self.0).await
    }

    async fn config(&self) -> Result<Value> {
        config(&self.0)
    }
}

/// The source of a tap.
pub(super) fn source(origin: impl Origin + 'static) -> Arc<dyn Source> {
    Spoken::source(Tap {
        origin: Box::new(origin),
        catalog: Believed::default(),
        help: OnceCell::new(),
    })
}

/// The destination of a target.
pub(super) fn destination(origin: impl Origin + 'static) -> Arc<dyn Destination> {
    Heard::destination(write::Written(Box::new(origin)))
}

/// The options by which taps take their catalog: today's, and the one before it.
const CATALOG_OPTIONS: [&str; 2] = ["--catalog", "--properties"];

struct Tap {
    origin: Box<dyn Origin>,
    catalog: Believed<Catalog>,
    help: OnceCell<String>,
}

/// What a program wrote before it ended.
struct Output {
    text: String,
    ended: super::child::Ended,
}

impl Tap {
    /// Runs a tap that writes one text.
    async fn output(&self, args: Vec<OsString>) -> Result<Output> {
        const LONGEST: usize = 256 << 20;
        let mut program = self.origin.program().await?;
        program.args.extend(args);
        let (mut child, input, output) = Child::start(&program, self.mask()?)?;
        drop(input);
        let patience = hosted::patience();
        let text = tokio::time::timeout(patience, output.whole(LONGEST)).await;
        let silent = |_| child.silent("it was asked about itself", patience);
        let text = text.map_err(silent)?.context(&program.name)?;
        Ok(Output {
            text: String::from_utf8_lossy(&text).into_owned(),
            ended: child.end().await?,
        })
    }

    /// What it says of its options.
    async fn help(&self) -> Result<&str> {
        let ask = async || Ok(self.output(vec!["--help".into()]).await?.text);
        self.help.get_or_try_init(ask).await.map(String::as_str)
    }

    /// Whether it may know discovery. One that cannot tell, such as one that cannot even start, is not believed to know none.
    async fn may_discover(&self) -> Result<bool> {
        let help = self.help().await?;
        Ok(help.trim().is_empty() || help.contains("--discover"))
    }

    /// The options by which it takes its catalog: every one that it tells of. The library that most taps are made of tells
    /// of both, whichever of them the tap looks at; one that is given the other reads nothing, and says that all is well.
    async fn options(&self) -> Result<Vec<&'static str>> {
        let help = self.help().await?;
        if help.trim().is_empty() {
            // One that does not tell may still take one; it is asked only where it found a catalog.
            return Ok(vec!["--catalog"]);
        }
        let known = CATALOG_OPTIONS.into_iter();
        Ok(known.filter(|option| help.contains(*option)).collect())
    }

    async fn catalog(&self) -> Result<Arc<Catalog>> {
        self.catalog.or_ask(|| self.discover()).await
    }

    async fn discover(&self) -> Result<Catalog> {
        let settings = Settings::of(self.origin.system())?;
        let config = settings.write("config.json", &self.origin.config().await?)?;
        let discover = self.output(vec!["--config".into(), config.into(), "--discover".into()]);
        // What is asked next anyway: both take about as long as an interpreter takes to start. A failure is told where
        // the help is needed.
        let (found, _) = tokio::join!(discover, self.help());
        let found = found?;
        match Catalog::find(&found.text) {
            Some(catalog) => Ok(catalog),
            // Some taps know no discovery: what the manifest names is what there is.
            None if !self.named().is_empty() && (found.ended.well() || !self.may_discover().await?) => {
                Ok(Catalog::of_names(self.named()))
            }
            None => Err(found.ended.error("it was asked for its streams")),
        }
    }

    fn named(&self) -> &[String] {
        &self.origin.system().streams
    }
}

#[async_trait]
impl Dialect for Tap {
    fn mask(&self) -> Result<Mask> {
        self.origin.mask()
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let info = |stream: &Stream| StreamInfo {
            schema: json_schema::columns(stream.schema(), &[]),
            primary_key: stream.primary_key(),
            cursors: stream.cursors(),
            ..StreamInfo::named(stream.name().to_owned())
        };
        Ok(self.catalog().await?.streams().iter().map(info).collect())
    }

    async fn read(&self, stream: &StreamSpec, after: Option<Position>) -> Result<Reading> {
        let catalog = self.catalog().await?;
        let known = catalog
            .stream(&stream.name)
            .ok_or_else(|| Error::config(format!("the source has no stream `{}`", stream.name)))?;
        let settings = Settings::of(self.origin.system())?;
        let mut program = self.origin.program().await?;
        let config = settings.write("config.json", &self.origin.config().await?)?;
        program.args.extend(["--config".into(), config.into()]);
        let options = match catalog.found() {
            true => self.options().await?,
            false => Vec::new(),
        };
        if !options.is_empty() {
            let selected = settings.write("catalog.json", &catalog.select(stream))?;
            for option in options {
                program.args.extend([option.into(), selected.clone().into()]);
            }
        }
        Ok(Reading {
            program,
            settings,
            schema: known.schema().clone(),
            names: known.names(),
            incremental: known.is_incremental(&stream.cursor),
            before: after,
        })
    }

    fn hear<'a>(&self, line: &'a str) -> Said<'a> {
        message::hear(line)
    }

    /// What a tap says of itself is all that anybody knows of where it stands. One that reads in full says so by an empty
    /// state, or by a mark that it is complete.
    fn position(&self, reading: &Reading, last: Option<Value>) -> Option<Position> {
        let told =
            last.filter(|state| state.as_object().is_none_or(|state| !state.is_empty()) && !state.is_null());
        match reading.incremental {
            true => told.or_else(|| reading.before.clone()),
            false => None,
        }
    }
}

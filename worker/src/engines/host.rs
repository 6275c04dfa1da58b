//! One host at work: the worker's side of the plugin protocol.
//!
//! In: a program that speaks it, and what the plugin is configured with. Out: answers, one at a time; errors of the plugin as
//! errors of ours, with its name. The protocol is described in `docs/plugins/protocol.md`.

use std::time::Duration;

use millrace_crds::schema::Field;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{process::ChildStdin, sync::mpsc, time::timeout};

use super::{
    child::{Child, Program},
    frame::{self, Frame},
};
use crate::{
    error::{Error, ErrorKind, Result},
    secrets::Mask,
};

/// The version of the protocol that is spoken.
const PROTOCOL: u64 = 1;
/// Frames that wait between host and worker.
const AHEAD: usize = 2;
/// How long a host may take to find its plugin.
const START: Duration = Duration::from_mins(2);

/// What a plugin says of itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ready {
    /// The protocol that it speaks.
    pub(super) protocol: u64,
    /// What it is: `reader`, `data_source`, `generic`, `stateful`, `push`, `writer`.
    pub(super) kind: String,
    /// It sends by itself.
    #[serde(default)]
    pub(super) push: bool,
    /// A second read of the same range gives the same rows.
    #[serde(default = "yes")]
    pub(super) replayable: bool,
    /// A load can be split by number: each host is told which part of how many it reads.
    #[serde(default = "yes")]
    pub(super) numbered: bool,
    /// Its streams may have keys of their own.
    #[serde(default)]
    pub(super) declares_keys: bool,
    /// Seconds between full loads, as its class says.
    #[serde(default)]
    pub(super) full_load_interval: Option<f64>,
    /// Seconds between delta loads, as its class says.
    #[serde(default)]
    pub(super) delta_load_interval: Option<f64>,
    /// A writer that bears a repeated commit.
    #[serde(default)]
    pub(super) idempotent: bool,
}

const fn yes() -> bool {
    true
}

/// A host, with its plugin loaded.
pub(super) struct Host {
    child: Child,
    input: ChildStdin,
    frames: mpsc::Receiver<Result<Frame>>,
    mask: Mask,
    /// What its plugin is.
    pub(super) ready: Ready,
}

impl Host {
    /// Starts a program, and hands it the plugin's configuration, which may hold secrets: they go through the pipe alone.
    ///
    /// # Errors
    /// What keeps the plugin from being loaded.
    pub(super) async fn start(program: &Program, start: &Value, mask: Mask) -> Result<Self> {
        let (child, input, output) = Child::start(program, mask.clone())?;
        let mut broken = false;
        // Where what comes is no frame, nothing that follows is.
        let frames = output.each(AHEAD, move |pipe| {
            let next = if broken {
                None
            } else {
                frame::read(pipe).transpose()
            };
            broken = next.as_ref().is_some_and(Result::is_err);
            next
        })?;
        let ready = Ready {
            protocol: 0,
            kind: String::new(),
            push: false,
            replayable: true,
            numbered: true,
            declares_keys: false,
            full_load_interval: None,
            delta_load_interval: None,
            idempotent: false,
        };
        let mut host = Self {
            child,
            input,
            frames,
            mask,
            ready,
        };
        let found = host
            .ask(start, &[], "ready", "its plugin was loaded", Some(START))
            .await?;
        let ready = serde_json::from_value(found.header);
        host.ready = ready.map_err(|error| host.broken(format!("`ready` cannot be read: {error}")))?;
        if host.ready.protocol != PROTOCOL {
            return Err(host
                .broken(format!(
                    "it speaks protocol {} and not {PROTOCOL}",
                    host.ready.protocol
                ))
                .advice("use the release of the `millrace` package that belongs to this worker"));
        }
        Ok(host)
    }

    /// Sends a request whose answers are read with [`Host::next`].
    ///
    /// # Errors
    /// How the host ended, where it has.
    pub(super) async fn send(&mut self, header: &Value, body: &[u8], doing: &str) -> Result<()> {
        match frame::write(&mut self.input, header, body).await {
            Err(error) if error.kind == ErrorKind::Transient => Err(self.gone(doing).await),
            other => other,
        }
    }

    /// Sends a request, and takes the one frame that answers it.
    ///
    /// # Errors
    /// What the plugin says; how the host ended; that it takes nothing or is silent for too long; `bug` where another
    /// answer comes.
    pub(super) async fn ask(
        &mut self,
        header: &Value,
        body: &[u8],
        answer: &str,
        doing: &str,
        patience: Option<Duration>,
    ) -> Result<Frame> {
        let sent = self.send(header, body, doing);
        match patience {
            None => sent.await?,
            Some(patience) => match timeout(patience, sent).await {
                Ok(sent) => sent?,
                Err(_) => return Err(self.silent(doing, patience)),
            },
        }
        let found = self.next(doing, patience).await?;
        match found.kind == answer {
            true => Ok(found),
            false => Err(self.broken(format!(
                "it answered `{}` and not `{answer}` while {doing}",
                found.kind
            ))),
        }
    }

    /// The next frame that is none of the log. Safe to be given up: nothing is lost.
    ///
    /// # Errors
    /// What the plugin says; how the host ended; that it is silent for too long.
    pub(super) async fn next(&mut self, doing: &str, patience: Option<Duration>) -> Result<Frame> {
        loop {
            let next = match patience {
                None => self.frames.recv().await,
                Some(patience) => match timeout(patience, self.frames.recv()).await {
                    Ok(next) => next,
                    Err(_) => return Err(self.silent(doing, patience)),
                },
            };
            let frame = match next {
                Some(Ok(frame)) => frame,
                Some(Err(error)) if error.kind == ErrorKind::Bug => {
                    self.child.kill();
                    return Err(self.broken(error.message));
                }
                Some(Err(_)) | None => return Err(self.gone(doing).await),
            };
            match frame.kind.as_str() {
                "log" => self.log(&frame.header),
                "error" => return Err(self.said(&frame.header, doing)),
                _ => return Ok(frame),
            }
        }
    }

    fn silent(&self, doing: &str, patience: Duration) -> Error {
        self.child
            .silent(doing, patience)
            .advice("let it yield what it has from time to time, or raise MILLRACE_PLUGIN_PATIENCE (seconds)")
    }

    fn log(&self, header: &Value) {
        let message = self.mask.hide(header["message"].as_str().unwrap_or_default());
        let plugin = self.child.name();
        match header["level"].as_str().unwrap_or_default() {
            "error" | "critical" => tracing::error!(plugin, "{message}"),
            "warning" => tracing::warn!(plugin, "{message}"),
            "debug" => tracing::debug!(plugin, "{message}"),
            _ => tracing::info!(plugin, "{message}"),
        }
    }

    /// What the plugin says went wrong.
    fn said(&self, header: &Value, doing: &str) -> Error {
        let text = |name: &str| {
            let text = header[name].as_str().unwrap_or_default();
            Some(self.mask.hide(text)).filter(|text| !text.is_empty())
        };
        let kind = match header["kind"].as_str().unwrap_or_default() {
            "config" => ErrorKind::Config,
            "transient" => ErrorKind::Transient,
            "data" => ErrorKind::Data,
            _ => ErrorKind::Bug,
        };
        let name = self.child.name();
        let place = match header["batch"].as_u64() {
            Some(batch) => format!("{doing}, at batch {batch}"),
            None => doing.to_owned(),
        };
        let message = text("message").unwrap_or_else(|| "it failed and said nothing".to_owned());
        let error = Error::new(kind, format!("{name}, while {place}: {message}"));
        match (text("advice"), text("traceback")) {
            (None, None) => error,
            (Some(advice), None) => error.advice(advice),
            (advice, Some(traceback)) => {
                let advice = advice.as_deref().unwrap_or("look where it was raised");
                error.advice(format!("{advice}\n{}", traceback.trim_end()))
            }
        }
    }

    /// A promise of the protocol that was not kept.
    pub(super) fn broken(&self, what: impl std::fmt::Display) -> Error {
        Error::bug(format!("{}: {what}", self.child.name()))
    }

    async fn gone(&mut self, doing: &str) -> Error {
        match self.child.end().await {
            Ok(ended) => ended.error(doing),
            Err(error) => error,
        }
    }

    /// Lets it end by itself: its input is closed.
    pub(super) async fn finish(self) {
        let Self { mut child, input, .. } = self;
        drop(input);
        // Its work is done, however it ends.
        let _ = child.end().await;
    }
}

/// The columns of rows that come as JSON.
///
/// # Errors
/// `bug` where they are none.
pub(super) fn columns(header: &Value) -> Result<Vec<Field>> {
    serde_json::from_value(header.get("columns").cloned().unwrap_or_else(|| json!([])))
        .map_err(|error| Error::bug(format!("`columns` of a batch: {error}")))
}

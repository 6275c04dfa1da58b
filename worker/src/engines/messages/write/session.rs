//! One load, spoken to one process.
//!
//! In: messages. Out: they are written, or why they were not. What the process says is heard all the while, or both sides would
//! wait for each other. One that neither takes anything nor says anything for too long is ended.

use std::sync::{
    Arc, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::{
    io::AsyncWriteExt,
    process::ChildStdin,
    sync::{Mutex, watch},
    time::timeout,
};

use super::{Opened, Recipient, Settings, Table};
use crate::{
    engines::{
        child::Child,
        hosted::patience,
        lines::Lines,
        messages::{INCOMPLETE, Said, log},
    },
    error::{Context, Error, ErrorKind, Result},
    failpoint,
    secrets::Mask,
};

/// What the connector does, for errors.
const WRITING: &str = "it wrote";
/// Lines that are no messages and are logged; the others are counted.
const NOISE: u64 = 20;

/// A load on its way to one process, which is started with its first row, or at its end.
pub(super) struct Session {
    recipient: Arc<dyn Recipient>,
    pub(super) table: Table,
    talk: Mutex<Option<Talk>>,
    rows: AtomicU64,
    /// A part of the load was given up.
    broken: AtomicBool,
}

/// A process at work.
struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    heard: Arc<Heard>,
    /// Says that its output has ended.
    silent: watch::Receiver<bool>,
    _settings: Settings,
}

/// What it has said.
#[derive(Default)]
struct Heard {
    lines: AtomicU64,
    confirmed: AtomicBool,
    failed: std::sync::Mutex<Option<Error>>,
}

impl Session {
    pub(super) fn new(recipient: Arc<dyn Recipient>, table: Table) -> Self {
        Self {
            recipient,
            table,
            talk: Mutex::default(),
            rows: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// What stands around a row that is written at this time.
    pub(super) fn around(&self, at: i64) -> (String, &'static str) {
        self.recipient.around(&self.table, at)
    }

    /// The column that tells when a row was deleted.
    pub(super) fn deleted(&self) -> &'static str {
        self.recipient.deleted()
    }

    /// Writes the messages of so many rows.
    pub(super) async fn write(&self, messages: &[u8], rows: u64) -> Result<()> {
        let mut talk = self.talk.lock().await;
        if talk.is_none() {
            *talk = Some(self.start().await?);
        }
        if let Some(talk) = talk.as_mut() {
            talk.write(messages).await?;
        }
        self.rows.fetch_add(rows, Ordering::Relaxed);
        Ok(())
    }

    /// A lane has failed: the process gets no more, and takes what it has with it.
    pub(super) fn give_up(&self) {
        self.broken.store(true, Ordering::Relaxed);
        if let Ok(talk) = self.talk.try_lock()
            && let Some(talk) = talk.as_ref()
        {
            talk.child.kill();
        }
    }

    /// Ends the load, and waits for the process to end, too. `idle`: where it has not begun, it need not.
    pub(super) async fn end(&self, idle: bool) -> Result<()> {
        let mut talk = self.talk.lock().await;
        if self.broken.load(Ordering::Relaxed) {
            return Err(Error::bug(
                "a load of which a part was given up came to its commit",
            ));
        }
        let mut talk = match talk.take() {
            Some(talk) => talk,
            None if idle => return Ok(()),
            None => self.start().await?,
        };
        let rows = self.rows.load(Ordering::Relaxed);
        talk.write(&messages(&self.recipient.last(&self.table, rows)))
            .await?;
        drop(talk.input.take());
        talk.end().await?;
        if self.recipient.confirms_always() && !talk.heard.confirmed.load(Ordering::Relaxed) {
            return Err(Error::bug(format!(
                "{} ended well and did not give back the state that came after {rows} rows",
                talk.child.name()
            ))
            .reason("NotConfirmed")
            .advice("nothing tells whether they are safe, so they are read again; its log may say more"));
        }
        Ok(())
    }

    async fn start(&self) -> Result<Talk> {
        let Opened {
            program,
            settings,
            first,
        } = self.recipient.open(&self.table).await?;
        let mask = self.recipient.mask()?;
        let name = program.name.clone();
        let started = {
            // A process ends with the thread that has started it: a lane's ends before the load is committed, one of the
            // runtime with the worker.
            let mask = mask.clone();
            tokio::spawn(async move { Child::start(&program, mask) }).await
        };
        let (child, input, output) =
            started.map_err(|error| Error::bug(format!("the start of {name} died: {error}")))??;
        let (told, silent) = watch::channel(false);
        let listener = Listener {
            name,
            recipient: self.recipient.clone(),
            table: self.table.clone(),
            mask,
            heard: Arc::default(),
        };
        let heard = listener.heard.clone();
        let lines = Lines::new(output)?;
        tokio::spawn(async move {
            listener.listen(lines).await;
            // Nobody may wait any more.
            let _ = told.send(true);
        });
        let mut talk = Talk {
            child,
            input: Some(input),
            heard,
            silent,
            _settings: settings,
        };
        talk.write(&messages(&first)).await?;
        Ok(talk)
    }
}

/// Messages, one a line.
fn messages(messages: &[serde_json::Value]) -> Vec<u8> {
    messages
        .iter()
        .flat_map(|message| format!("{message}\n").into_bytes())
        .collect()
}

impl Talk {
    /// Everything by which it shows that it is at work.
    fn signs(&self) -> (u64, u64) {
        (self.heard.lines.load(Ordering::Relaxed), self.child.logged())
    }

    /// Writes all of it; what the process says meanwhile is heard by who listens.
    async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        failpoint::hit("stage.write")?;
        let patience = patience();
        while !bytes.is_empty() {
            let signs = self.signs();
            let Some(input) = self.input.as_mut() else {
                return Err(Error::bug("rows came after the end of their load"));
            };
            let taken = async {
                tokio::select! {
                    taken = input.write(bytes) => taken.unwrap_or(0),
                    // Nobody hears it any more, or it has ended.
                    _ = self.silent.wait_for(|silent| *silent) => 0,
                }
            };
            match timeout(patience, taken).await {
                Ok(0) => return Err(self.gone().await),
                Ok(taken) => bytes = &bytes[taken..],
                Err(_) if self.signs() == signs => return Err(self.child.silent(WRITING, patience)),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Waits for its end.
    async fn end(&mut self) -> Result<()> {
        let patience = patience();
        loop {
            let signs = self.signs();
            let silent = timeout(patience, self.silent.wait_for(|silent| *silent))
                .await
                .is_ok();
            if silent {
                break;
            }
            if self.signs() == signs {
                return Err(self.child.silent(WRITING, patience));
            }
        }
        let ended = self.child.end().await?;
        let failed = self
            .heard
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match (failed, ended.well()) {
            (Some(error), _) => Err(error).context(format!("{}, while {WRITING}", self.child.name())),
            (None, true) => Ok(()),
            // What kind of failure it was it has not said: another try costs little.
            (None, false) => Err(match ended.error(WRITING) {
                error if error.kind == ErrorKind::Bug => Error {
                    kind: ErrorKind::Transient,
                    ..error
                },
                error => error,
            }),
        }
    }

    /// It has closed its input; why, its end tells.
    async fn gone(&mut self) -> Error {
        drop(self.input.take());
        match self.end().await {
            Err(error) => error,
            Ok(()) => Error::transient(format!(
                "{} ended with 0 before it had taken all rows",
                self.child.name()
            )),
        }
    }
}

/// Hears what a process says.
struct Listener {
    name: String,
    recipient: Arc<dyn Recipient>,
    table: Table,
    mask: Mask,
    heard: Arc<Heard>,
}

impl Listener {
    async fn listen(&self, mut lines: Lines) {
        let mut noise = 0;
        loop {
            match lines.next().await {
                Ok(Some(line)) => {
                    self.heard.lines.fetch_add(1, Ordering::Relaxed);
                    self.take(line, &mut noise);
                }
                Ok(None) => break,
                Err(error) => {
                    // Nobody reads on, so it may not go on.
                    self.failed(error);
                    break;
                }
            }
        }
        if noise > NOISE {
            tracing::warn!(
                plugin = self.name,
                lines = noise,
                "lines that are no messages were passed over"
            );
        }
    }

    fn take(&self, line: &str, noise: &mut u64) {
        match self.recipient.hear(line) {
            Said::State { state, .. } if self.recipient.confirms(&self.table, &state) => {
                self.heard.confirmed.store(true, Ordering::Relaxed);
            }
            Said::Log { level, message } => log(&self.name, level, &self.mask.hide(&message)),
            Said::Failed(error) => self.failed(error),
            Said::Noise => {
                *noise += 1;
                if *noise <= NOISE && !line.trim().is_empty() {
                    log(&self.name, "noise", &self.mask.hide(line));
                }
            }
            _ => {}
        }
    }

    fn failed(&self, error: Error) {
        let error = self.mask.hide_in(error);
        let mut failed = self.heard.failed.lock().unwrap_or_else(PoisonError::into_inner);
        // That a stream is incomplete says less than why.
        let known = failed.take().filter(|known| known.reason != INCOMPLETE);
        *failed = Some(known.unwrap_or(error));
    }
}

//! A program that works for a Flow: its pipes, its log, its end.
//!
//! In: a command. Out: its standard input and output for who speaks with it; every line of its standard error in the log;
//! and, when it has ended, a sentence that says how. It leads a process group of its own, all of which ends with the
//! [`Child`]: nothing that it has started outlives it.

mod beside;
mod ended;
mod log;

use std::{
    ffi::OsString,
    fmt::Display,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    pipe::fcntl_setpipe_size,
    process::{Pid, Signal, kill_process_group, set_parent_process_death_signal},
};
use tokio::{
    process::{ChildStdin, Command},
    task::JoinHandle,
    time::timeout,
};

pub(super) use self::ended::Ended;
use self::{
    beside::Beside,
    log::{Heard, Tail, log},
};
use super::output::Output;
use crate::{
    error::{Error, Result},
    secrets::Mask,
};

/// How long a program that was told to end may take.
const GRACE: Duration = Duration::from_secs(10);

/// Bytes that its output may be ahead of its reader: what Linux allows everybody.
const ROOM: usize = 1 << 20;

/// A program and what it is given.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    /// What people call it: `tap-postgres`, `readers/pg.py:Reader`.
    pub(super) name: String,
    /// The file, or a name in `PATH`.
    pub(super) program: OsString,
    /// Its arguments; never a secret.
    pub(super) args: Vec<OsString>,
    /// Variables that it has beside those of the worker.
    pub(super) env: Vec<(OsString, OsString)>,
    /// It reads its standard input to its end, and ends then: also where the worker was killed.
    pub(super) listens: bool,
    /// Its working directory; `None`: that of the worker.
    pub(super) directory: Option<PathBuf>,
    /// The socket of the container that it runs in, where that is not the worker's; it then has its own directory and
    /// variables, and `program` may be empty: that of its image.
    pub(super) beside: Option<PathBuf>,
}

/// A program at work.
pub(super) struct Child {
    name: String,
    process: Process,
    tail: Tail,
    log: Option<JoinHandle<()>>,
}

/// Where it runs.
enum Process {
    /// In this container, as the leader of a group.
    Here(tokio::process::Child, Option<Pid>),
    /// In the one beside it.
    Beside(Beside),
}

impl Child {
    /// Starts a program. What it logs is masked.
    ///
    /// # Errors
    /// `config` where there is no such program; `transient` where the machine has no room for it.
    pub(super) fn start(program: &Program, mask: Mask) -> Result<(Self, ChildStdin, Output)> {
        let tail = Tail::default();
        let hear = |errors| tokio::spawn(log(program.clone(), errors, mask, tail.clone()));
        let (process, input, output, log) = match &program.beside {
            Some(socket) => {
                let (beside, input, output, errors) = Beside::start(program, socket)?;
                (Process::Beside(beside), input, output, hear(errors))
            }
            None => {
                let mut process = spawn(program)?;
                let pipe = || Error::bug(format!("{} was started without its pipes", program.name));
                let input = process.stdin.take().ok_or_else(pipe)?;
                let output = process.stdout.take().ok_or_else(pipe)?;
                let output = output
                    .into_owned_fd()
                    .map_err(|error| failed(program, &error))?
                    .into();
                let errors = process.stderr.take().ok_or_else(pipe)?;
                let group = process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
                (Process::Here(process, group), input, output, hear(errors))
            }
        };
        let child = Self {
            name: program.name.clone(),
            process,
            tail,
            log: Some(log),
        };
        Ok((child, input, output))
    }

    /// What people call it.
    #[must_use]
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many lines it has logged: one that logs is at work.
    pub(super) fn logged(&self) -> u64 {
        self.heard().lines
    }

    /// Waits for its end, which has begun: its output is closed, or it was told. One that does not end is killed.
    ///
    /// # Errors
    /// Where the system cannot tell.
    pub(super) async fn end(&mut self) -> Result<Ended> {
        let status = match timeout(GRACE, self.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.kill();
                // One that hangs in the system, or whose container stands still, is not waited for.
                timeout(GRACE, self.wait()).await.unwrap_or_default()
            }
        };
        self.kill();
        if let Process::Here(_, group) = &mut self.process {
            // From here on its number may be another's.
            *group = None;
        }
        if let Some(log) = self.log.take() {
            // Something that it has left behind may hold the pipe.
            let _ = timeout(Duration::from_secs(1), log).await;
        }
        let last: Vec<String> = self.heard().last.iter().cloned().collect();
        Ok(Ended {
            name: self.name.clone(),
            status,
            said: last.into_iter().chain(self.refusal()).collect(),
        })
    }

    async fn wait(&mut self) -> Option<ExitStatus> {
        match &mut self.process {
            Process::Here(process, _) => process.wait().await.ok(),
            Process::Beside(beside) => beside.wait().await,
        }
    }

    /// Why it was not started at all.
    fn refusal(&self) -> Option<String> {
        match &self.process {
            Process::Here(..) => None,
            Process::Beside(beside) => beside.refusal(),
        }
    }

    /// Ends one that has said nothing for as long as it may; `doing`: what it was at.
    pub(super) fn silent(&self, doing: impl Display, patience: Duration) -> Error {
        self.kill();
        let (name, seconds) = (&self.name, patience.as_secs());
        Error::transient(format!(
            "{name} was silent for {seconds} s while {doing}, and was ended"
        ))
        .reason("PluginHangs")
        .advice("raise MILLRACE_PLUGIN_PATIENCE (seconds) where it needs longer")
    }

    /// Ends all of its group at once.
    pub(super) fn kill(&self) {
        match &self.process {
            Process::Here(_, Some(group)) => {
                // It may be gone by now.
                let _ = kill_process_group(*group, Signal::KILL);
            }
            Process::Here(_, None) => {}
            Process::Beside(beside) => beside.kill(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(program: &Program) -> Result<tokio::process::Child> {
    let mut command = Command::new(&program.program);
    command
        .args(&program.args)
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(directory) = &program.directory {
        command.current_dir(directory);
    }
    if !program.listens {
        dies_with_us(&mut command);
    }
    let process = command.spawn().map_err(|error| failed(program, &error))?;
    if let Some(output) = &process.stdout {
        // Fewer turns between writer and reader. A system that allows no more has the usual room.
        let _ = fcntl_setpipe_size(output, ROOM);
    }
    Ok(process)
}

/// Lets a program end when the worker does, however that ends.
#[expect(
    unsafe_code,
    reason = "only the new process itself can say so, between fork and exec"
)]
fn dies_with_us(command: &mut Command) {
    let ask = || Ok(set_parent_process_death_signal(Some(Signal::KILL))?);
    // SAFETY: the closure makes one system call, and takes no lock and no memory.
    unsafe { command.pre_exec(ask) };
}

fn failed(program: &Program, error: &std::io::Error) -> Error {
    let name = program.program.to_string_lossy();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::config(format!("{}: there is no program `{name}`", program.name))
                .reason("ProgramMissing")
                .advice("install it, or write its whole path")
        }
        std::io::ErrorKind::PermissionDenied => {
            Error::config(format!("{}: `{name}` may not be run", program.name)).advice("`chmod +x` it")
        }
        _ => Error::transient(format!(
            "{}: `{name}` could not be started: {error}",
            program.name
        )),
    }
}

//! A process in the container beside the worker's, which the shim there runs.
//!
//! In: a program, and the shim's socket. Out: its standard streams, as those of a process of our own, and how it ended. It
//! ends with the connection.

use std::{
    ffi::OsString,
    io::{PipeReader, PipeWriter, pipe},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream as Std, process::ExitStatusExt},
    },
    path::Path,
    process::{self, ExitStatus},
};

use millrace_shim::Answer;
use rustix::net::{Shutdown, shutdown};
use tokio::{
    io::AsyncReadExt,
    net::UnixStream,
    process::{ChildStderr, ChildStdin},
};

use super::{super::output::Output, Program};
use crate::error::{Error, Result};

/// Killed: what the end of its container comes to.
const KILLED: i32 = 9;
/// A program that could not be run, as shells say it.
const NOT_RUN: i32 = 127 << 8;
/// The longest answer.
const ANSWER: u64 = 64 << 10;

/// A connection that stands for a process.
pub(super) struct Beside {
    stream: UnixStream,
    answer: Option<Answer>,
}

impl Beside {
    /// Asks for a process.
    ///
    /// # Errors
    /// `transient` where its container does not answer.
    pub(super) fn start(program: &Program, socket: &Path) -> Result<(Self, ChildStdin, Output, ChildStderr)> {
        let gone = |error: std::io::Error| {
            Error::transient(format!(
                "{}: its container does not answer: {error}",
                program.name
            ))
        };
        let begin = || -> std::io::Result<_> {
            let stream = Std::connect(socket)?;
            let (input, ours): (PipeReader, PipeWriter) = pipe()?;
            let ((output, written), (errors, said)) = (pipe()?, pipe()?);
            let command: Vec<OsString> = [&program.program]
                .into_iter()
                .chain(&program.args)
                .cloned()
                .collect();
            millrace_shim::ask(&stream, &command, [input.as_fd(), written.as_fd(), said.as_fd()])?;
            stream.set_nonblocking(true)?;
            Ok((
                UnixStream::from_std(stream)?,
                ChildStdin::from_std(process::ChildStdin::from(OwnedFd::from(ours)))?,
                Output::from(OwnedFd::from(output)),
                ChildStderr::from_std(process::ChildStderr::from(OwnedFd::from(errors)))?,
            ))
        };
        let (stream, input, output, errors) = begin().map_err(gone)?;
        Ok((Self { stream, answer: None }, input, output, errors))
    }

    /// How it ended.
    pub(super) async fn wait(&mut self) -> Option<ExitStatus> {
        if self.answer.is_none() {
            let mut bytes = Vec::new();
            // A connection that breaks says no more than one that is closed.
            let _ = (&mut self.stream).take(ANSWER).read_to_end(&mut bytes).await;
            self.answer = Answer::from_bytes(&bytes).or(Some(Answer::Ended(KILLED)));
        }
        let status = match self.answer.as_ref()? {
            Answer::Ended(status) => *status,
            Answer::Failed(_) => NOT_RUN,
        };
        Some(ExitStatus::from_raw(status))
    }

    /// Why it could not be started.
    pub(super) fn refusal(&self) -> Option<String> {
        match &self.answer {
            Some(Answer::Failed(why)) => Some(why.clone()),
            _ => None,
        }
    }

    /// Ends it, with all that it has started.
    pub(super) fn kill(&self) {
        // It may have ended by itself.
        let _ = shutdown(&self.stream, Shutdown::Write);
    }
}

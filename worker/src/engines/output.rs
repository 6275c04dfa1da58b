//! What a program writes to its standard output, read on a thread of its own.
//!
//! In: a pipe. Out: what was made of it, in order, and only so far ahead of who takes it. A thread that waits in `read` is
//! woken once for what has come; the runtime is told of it, asks for it, asks for more, and is told to wait.

use std::{
    io::{self, PipeReader, Read},
    os::fd::OwnedFd,
    thread,
    time::Duration,
};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use crate::error::{Error, Result};

/// Bytes that are read at once, and pieces that wait.
const PIECE: usize = 256 << 10;
const AHEAD: usize = 4;
/// What less than this came at once, is followed by more: connectors write each row by itself, and to be woken for each of
/// them costs more than to read it.
const MUCH: usize = 64 << 10;
/// How long is waited for more.
const PAUSE: Duration = Duration::from_millis(2);
/// Seconds after which a thread that waits looks whether anybody waits for it: what a program has left behind may hold
/// its pipe for ever.
const LOOK: i64 = 5;

/// A program's standard output.
pub(super) struct Output(PipeReader);

impl From<OwnedFd> for Output {
    fn from(pipe: OwnedFd) -> Self {
        Self(pipe.into())
    }
}

impl Output {
    /// What `read` makes of it, until that gives nothing or nobody takes it any more.
    ///
    /// # Errors
    /// `transient` where the machine has no room for a thread.
    pub(super) fn each<T: Send + 'static>(
        self,
        ahead: usize,
        mut read: impl FnMut(&mut PipeReader) -> Option<T> + Send + 'static,
    ) -> Result<mpsc::Receiver<T>> {
        let (sender, receiver) = mpsc::channel(ahead);
        let Self(mut pipe) = self;
        let work = move || {
            while comes(&pipe, &sender) {
                let Some(one) = read(&mut pipe) else { return };
                if sender.blocking_send(one).is_err() {
                    return;
                }
            }
        };
        let spawned = thread::Builder::new().name("output".to_owned()).spawn(work);
        spawned.map_err(|error| Error::transient(format!("a thread could not be started: {error}")))?;
        Ok(receiver)
    }

    /// It as it comes.
    ///
    /// # Errors
    /// As [`Output::each`].
    pub(super) fn pieces(self) -> Result<mpsc::Receiver<io::Result<Bytes>>> {
        let (mut room, mut little) = (vec![0; PIECE], false);
        self.each(AHEAD, move |pipe| {
            if little {
                thread::sleep(PAUSE);
            }
            let read = match pipe.read(&mut room) {
                Ok(0) => return None,
                Ok(read) => read,
                Err(error) => return Some(Err(error)),
            };
            little = read < MUCH;
            Some(Ok(Bytes::copy_from_slice(&room[..read])))
        })
    }

    /// All of it, of which no more is kept than its first `most` bytes.
    ///
    /// # Errors
    /// `transient` where the pipe breaks; as [`Output::each`].
    pub(super) async fn whole(self, most: usize) -> Result<Vec<u8>> {
        let (mut pieces, mut whole) = (self.pieces()?, Vec::new());
        while let Some(piece) = pieces.recv().await {
            let piece = piece.map_err(|error| broken(&error))?;
            whole.extend_from_slice(&piece[..piece.len().min(most - whole.len())]);
        }
        Ok(whole)
    }
}

/// A pipe that cannot be read.
pub(super) fn broken(error: &io::Error) -> Error {
    Error::transient(format!("the pipe is broken: {error}"))
}

/// Waits for something to read; `false`: nobody wants it any more.
fn comes<T>(pipe: &PipeReader, sender: &mpsc::Sender<T>) -> bool {
    let look = Timespec {
        tv_sec: LOOK,
        tv_nsec: 0,
    };
    while let Ok(0) = poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&look)) {
        if sender.is_closed() {
            return false;
        }
    }
    true
}

//! The first process of the container: it takes in what others leave behind, and ends when it is told to.
//!
//! In: signals. Out: a process that serves the socket, for as long as the container lives. When the first process ends, the
//! kernel ends all others of the container.

use std::{
    io,
    path::Path,
    process::{Child, Command},
};

use rustix::process::{WaitOptions, wait};
use signal_hook::{
    consts::{SIGCHLD, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::run;

/// Serves until it is told to end.
pub(crate) fn serve(socket: &Path) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGCHLD])?;
    // The connectors are children of another process, so that here any child may be waited for.
    let server = Command::new(std::env::current_exe()?)
        .arg(run::VERB)
        .arg(socket)
        .spawn()?;
    loop {
        if is_gone(&server) {
            return Err(io::Error::other("what serves the socket has ended"));
        }
        for signal in signals.wait() {
            if signal != SIGCHLD {
                return Ok(());
            }
        }
    }
}

/// Takes in all processes that have ended; whether the server is one of them.
fn is_gone(server: &Child) -> bool {
    let mut gone = false;
    while let Ok(Some((id, _))) = wait(WaitOptions::NOHANG) {
        gone |= u32::try_from(id.as_raw_nonzero().get()) == Ok(server.id());
    }
    gone
}

//! Ctrl-C and SIGTERM: the first drains, the second aborts.

use tokio::signal::unix::{SignalKind, signal};

use super::out;
use crate::{engine::drain::Drain, error::Result};

const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// Waits for signals: asks for the end at the first, and returns the number of the second.
///
/// # Errors
/// Where the system does not let this process listen.
pub(super) async fn listen(drain: &Drain) -> Result<u8> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => SIGINT,
            _ = terminate.recv() => SIGTERM,
        }
    };
    let first = next().await;
    drain.ask();
    let again = if first == SIGINT {
        "press Ctrl-C again"
    } else {
        "send the signal again"
    };
    out::note(format_args!(
        "stopping: loads that have begun are finished and committed; {again} to end at once"
    ));
    Ok(next().await)
}

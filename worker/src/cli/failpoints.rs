//! `millrace failpoints`: the places where `MILLRACE_FAILPOINT` can stop the program, one a line.

use super::{exit::Exit, out};
use crate::{error::Result, failpoint::FAILPOINTS};

/// Prints.
///
/// # Errors
/// Where standard output cannot be written.
pub(super) fn run() -> Result<Exit> {
    FAILPOINTS.iter().try_for_each(out::line)?;
    Ok(Exit::Done)
}

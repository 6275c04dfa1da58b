//! `millrace schema`: the JSON Schema of the four kinds, for editors.

use super::{exit::Exit, out};
use crate::error::Result;

/// Prints.
///
/// # Errors
/// Where standard output cannot be written.
pub(super) fn run() -> Result<Exit> {
    out::json(&millrace_crds::json_schema())?;
    Ok(Exit::Done)
}

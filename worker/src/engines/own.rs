//! This program itself as a host.

use super::child::Program;
use crate::{
    connector::System,
    error::{Error, Result},
};

/// `millrace plugin-host`, for one kind of plugin.
///
/// # Errors
/// `transient` where the system does not tell which program this is.
pub(super) fn host(name: String, kind: &str, system: &System) -> Result<Program> {
    let program = std::env::current_exe()
        .map_err(|error| Error::transient(format!("which program this is cannot be told: {error}")))?;
    Ok(Program {
        name,
        program: program.into_os_string(),
        args: vec!["plugin-host".into(), kind.into()],
        listens: true,
        directory: system.plan.base_dir.as_ref().map(Into::into),
        ..Program::default()
    })
}

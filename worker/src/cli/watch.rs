//! `millrace run --watch`.
use super::{exit::Exit, manifests::Loaded, run::RunArgs};
use crate::{
    engine::drain::Drain,
    error::{Error, Result},
};
pub(super) async fn run(_args: RunArgs, _loaded: Loaded, _drain: Drain) -> Result<Exit> {
    Err(Error::config("--watch is not there yet"))
}

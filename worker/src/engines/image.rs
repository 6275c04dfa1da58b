//! A connector that is a container of its own, beside the worker's.
//!
//! In: the plan of a system that names an image. Out: in a pod, the directory that both containers share, and the program as
//! the shim there runs it. At a desk there is no such container.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use millrace_crds::channel::CONNECTORS_DIR;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep},
};

use super::{child::Program, python::strings};
use crate::{
    connector::System,
    error::{Error, Result},
};

/// How long its container may take to start, once the image is there.
const START: Duration = Duration::from_mins(1);

/// The directory that is shared with the connector's container; `None`: it has none.
#[must_use]
pub(super) fn directory(system: &System) -> Option<PathBuf> {
    system.plan.image()?;
    let all = std::env::var_os(CONNECTORS_DIR).filter(|all| !all.is_empty())?;
    let role = if system.source.is_some() {
        "source"
    } else {
        "destination"
    };
    Some(PathBuf::from(all).join(role))
}

/// The program in the connector's container; `None`: it has none.
///
/// # Errors
/// `transient` where the container does not start.
pub(super) async fn program(system: &System) -> Result<Option<Program>> {
    let (Some(directory), Some(image)) = (directory(system), system.plan.image()) else {
        return Ok(None);
    };
    let config = &system.plan.engine_config;
    let mut command = strings(config.get("entrypoint"));
    // The image of a tap says nowhere what is to be run; that of an Airbyte connector does.
    if command.is_empty() && system.plan.engine == "singer" {
        command = strings(config.get("command"));
        if command.is_empty() {
            return Err(Error::config(format!(
                "the engine singer of {} names no program in its image",
                system.plan.connector
            ))
            .advice("write `engines.singer.entrypoint`"));
        }
    }
    let name = called(image);
    let socket = directory.join(millrace_shim::SOCKET);
    let since = Instant::now();
    while let Err(error) = UnixStream::connect(&socket).await {
        if since.elapsed() > START {
            return Err(
                Error::transient(format!("{name}: its container does not start: {error}"))
                    .advice("look at the pod's events, and at the log of its container"),
            );
        }
        sleep(Duration::from_millis(50)).await;
    }
    let mut parts = command.into_iter().map(OsString::from);
    Ok(Some(Program {
        name,
        program: parts.next().unwrap_or_default(),
        args: parts.collect(),
        beside: Some(socket),
        ..Program::default()
    }))
}

/// What people call an image: its name without registry, tag and digest.
fn called(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let name = name.rsplit('/').next().unwrap_or(name);
    name.split(':').next().unwrap_or(name).to_owned()
}

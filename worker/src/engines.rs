//! The ways to run a connector: within the worker, or beside it.
//!
//! In: the plan of a system, which names its engine. Out: its source or destination. To add an engine: write its file, add
//! its line. Whatever the engine, streams, state, limits, dead letters and guarantees are the same.

mod adbc;
mod airbyte;
mod cache;
mod child;
mod command;
mod environment;
mod fetch;
pub(crate) mod frame;
mod host;
mod hosted;
mod image;
mod json_schema;
mod library;
mod lines;
mod meltano;
mod messages;
mod output;
mod own;
mod python;
mod singer;

use std::sync::Arc;

pub(crate) use self::cache::digest;

use crate::{
    connector::{Destination, Source, System},
    connectors,
    error::{Error, Result},
};

/// All of them, by the name in `engines` of a Connector.
static ENGINES: &[Engine] = &[
    connectors::ENGINE,
    adbc::ENGINE,
    airbyte::ENGINE,
    library::ENGINE,
    meltano::ENGINE,
    python::ENGINE,
    singer::ENGINE,
];

/// Makes one end of a system; sends and starts nothing yet.
pub type Open<T> = fn(System) -> Result<Arc<T>>;

/// One engine.
pub struct Engine {
    /// Its name.
    pub name: &'static str,
    /// The reading end.
    pub source: Option<Open<dyn Source>>,
    /// The writing end.
    pub destination: Option<Open<dyn Destination>>,
}

fn find(system: &System) -> Result<&'static Engine> {
    let name = &system.plan.engine;
    ENGINES.iter().find(|engine| engine.name == name).ok_or_else(|| {
        let names: Vec<_> = ENGINES.iter().map(|engine| engine.name).collect();
        Error::config(format!("engine `{name}` cannot be run by this release"))
            .advice(format!("there are {}", names.join(", ")))
    })
}

fn lacks(system: &System, what: &str) -> Error {
    Error::config(format!(
        "`{}` by the engine {} cannot be {what}",
        system.plan.connector, system.plan.engine
    ))
}

/// The source of a plan.
///
/// # Errors
/// `config` where it cannot be read from, or its settings are wrong.
pub fn source(system: System) -> Result<Arc<dyn Source>> {
    let open = find(&system)?.source.ok_or_else(|| lacks(&system, "read from"))?;
    open(system)
}

/// The destination of a plan.
///
/// # Errors
/// `config` where it cannot be written to, or its settings are wrong.
pub fn destination(system: System) -> Result<Arc<dyn Destination>> {
    let open = find(&system)?
        .destination
        .ok_or_else(|| lacks(&system, "written to"))?;
    open(system)
}

//! `library`: a shared library of the user's own, over the Arrow C Data Interface.
//!
//! In: `libmine.so:create_reader`. Out: a source like any other. The library runs in a process of its own, so that what takes
//! it down takes nothing else with it.

use async_trait::async_trait;

use super::{
    Engine, fetch,
    hosted::{Guest, Hosted, Launch, Written},
    own,
};
use crate::{connector::System, error::Result};

/// The table's line.
pub(super) const ENGINE: Engine = Engine {
    name: "library",
    source: Some(|system| Ok(Hosted::source(system.clone(), Symbol(system, "reader")))),
    destination: Some(|system| Ok(Written::destination(system.clone(), Symbol(system, "writer")))),
};

/// A function of a library, to be found.
struct Symbol(System, &'static str);

#[async_trait]
impl Guest for Symbol {
    async fn launch(&self) -> Result<Launch> {
        let found = fetch::find(&self.0, self.1).await?;
        let name = fetch::named(&self.0.plan, self.1)?;
        Ok(Launch {
            program: own::host(name, "library", &self.0)?,
            plugin: format!("{}:{}", found.file, found.symbol),
        })
    }
}

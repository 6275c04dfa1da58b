//! `adbc`: any ADBC driver library.
//!
//! In: the driver, and the options of its database as the connection. Out: a source, or a destination, like any other.

use async_trait::async_trait;

use super::{
    Engine, fetch,
    hosted::{Guest, Hosted, Launch, Written},
    own,
};
use crate::{
    connector::System,
    error::{Error, Result},
};

/// The table's line.
pub(super) const ENGINE: Engine = Engine {
    name: "adbc",
    source: Some(|system| Ok(Hosted::source(system.clone(), Driver(system)))),
    destination: Some(|system| Ok(Written::destination(system.clone(), Driver(system)))),
};

struct Driver(System);

#[async_trait]
impl Guest for Driver {
    async fn launch(&self) -> Result<Launch> {
        let config = &self.0.plan.engine_config;
        let text = |key: &str| config.get(key).and_then(serde_json::Value::as_str);
        let Some(driver) = text("driver") else {
            return Err(Error::config(format!(
                "the engine adbc of {} names no driver",
                self.0.plan.connector
            )));
        };
        // A name alone is for the loader to find.
        let path = match driver.contains('/') {
            true => fetch::local(&self.0.plan, driver)?,
            false => driver.to_owned(),
        };
        Ok(Launch {
            program: own::host(driver.to_owned(), "adbc", &self.0)?,
            plugin: match text("entrypoint") {
                Some(entrypoint) => format!("{path}::{entrypoint}"),
                None => path,
            },
        })
    }
}

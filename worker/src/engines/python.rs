//! `python`: a class of the user's own, in an interpreter of its own.
//!
//! In: `module.py:Class` of a reader or writer, and the packages that it needs. Out: a source or destination like any other.

use async_trait::async_trait;
use serde_json::Value;

use super::{
    Engine,
    child::Program,
    environment, fetch,
    hosted::{Guest, Hosted, Launch, Written},
};
use crate::{connector::System, error::Result};

/// The table's line.
pub(super) const ENGINE: Engine = Engine {
    name: "python",
    source: Some(|system| Ok(Hosted::source(system.clone(), Class(system, "reader")))),
    destination: Some(|system| Ok(Written::destination(system.clone(), Class(system, "writer")))),
};

/// A class, to be found.
struct Class(System, &'static str);

#[async_trait]
impl Guest for Class {
    async fn launch(&self) -> Result<Launch> {
        let found = fetch::find(&self.0, self.1).await?;
        let python = environment::with(&strings(self.0.plan.engine_config.get("requirements"))).await?;
        let mut path = environment::package().await?.into_os_string();
        if let Some(own) = std::env::var_os("PYTHONPATH").filter(|own| !own.is_empty()) {
            path.push(":");
            path.push(own);
        }
        let name = fetch::named(&self.0.plan, self.1)?;
        Ok(Launch {
            program: Program {
                name,
                program: python.interpreter,
                args: ["-u", "-m", "millrace.host"].map(Into::into).to_vec(),
                env: vec![("PYTHONPATH".into(), path)],
                listens: true,
                directory: self.0.plan.base_dir.as_ref().map(Into::into),
                ..Program::default()
            },
            plugin: format!("{}:{}", found.file, found.symbol),
        })
    }
}

/// The strings of a list.
pub(super) fn strings(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

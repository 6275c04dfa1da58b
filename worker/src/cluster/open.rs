//! From a plan to an open Flow, in a cluster: the same ends as anywhere, and the state where the operator made its place.

use std::{path::Path, sync::Arc};

use millrace_crds::{
    Plan,
    channel::{STATE, child},
    plan::StateStorePlan,
};

use super::{api::Maps, note::KeptNote};
use crate::{
    connector::{Note, System},
    engine::flow::Flow,
    engines,
    error::{Context, Error, Result},
    secrets::LocalSecrets,
    state::{self, Objects, Store},
    storage::cas::ConfigMapCas,
};

/// Opens both ends and the store, and lets the source find out what it is.
///
/// # Errors
/// `config` where a connector or the store cannot be made from its settings.
pub async fn flow(maps: &Maps, plan: Plan, adopt: Option<&str>, secrets: &Arc<LocalSecrets>) -> Result<Flow> {
    let note: Arc<dyn Note> = Arc::new(KeptNote::of_source(maps, &plan.source.name));
    let from = System {
        note: Some(note),
        ..System::of_source(plan.flow.clone(), &plan.source, secrets)
    };
    let source = engines::source(from).context("source")?;
    let to = System::of_destination(&plan, secrets);
    let destination = engines::destination(to.clone()).context("destination")?;
    let store = store(maps, &plan, adopt, secrets).await.context("state")?;
    let mut flow = Flow::with_store(plan, source, destination, to, store);
    flow.prepare().await?;
    Ok(flow)
}

/// The state store of a plan: without a choice, a `ConfigMap` beside the Flow.
///
/// # Errors
/// `config` where a credential is missing, or the plan is for local runs.
pub async fn store(
    maps: &Maps,
    plan: &Plan,
    adopt: Option<&str>,
    secrets: &Arc<LocalSecrets>,
) -> Result<Arc<dyn Store>> {
    match &plan.state.store {
        StateStorePlan::Default | StateStorePlan::ConfigMap => {
            let name = child(&plan.flow.name, STATE);
            let place = ConfigMapCas::new(maps.clone(), &name, &plan.flow.uid, adopt);
            Ok(Arc::new(Objects::new(Arc::new(place))))
        }
        StateStorePlan::S3(_) => state::open(&plan.state, secrets, Path::new("/")).await,
        StateStorePlan::Directory(path) => Err(Error::config(format!(
            "the state would lie in the directory {path} of a pod, which is gone with it"
        ))
        .reason("LocalOnly")
        .advice("use `state: { configMap: {} }` or `state: { s3: ... }`")),
    }
}

//! `millrace worker --flow F --preflight`: a trial of a plan before it rolls out, with the rights, the network and the
//! Secrets of the pods that would run it. Nothing is loaded; the exit code and the last word of the container tell.

use std::sync::Arc;

use millrace_crds::channel::{PLAN, PLAN_KEY, PlanDoc, TRIAL_KEY};

use super::{Share, end::Ended, open, pod::Pod};
use crate::{
    engine::{history, pipeline, trial},
    error::{Context, Error, Result},
    secrets::LocalSecrets,
};

/// Tries the plan.
///
/// # Errors
/// What keeps it from opening the Flow.
pub async fn preflight(pod: &Pod, name: &str) -> Result<Ended> {
    let channel = pod.of_flow(name, Share::ALONE);
    // Beside the plan that workers go by may lie the one that they are to go by next.
    let doc: PlanDoc = match channel.find(PLAN, TRIAL_KEY).await? {
        Some(doc) => doc,
        None => channel.document(PLAN, PLAN_KEY).await?,
    };
    let secrets = Arc::new(LocalSecrets::new());
    let flow = open::flow(&pod.maps(), doc.plan, doc.adopt.as_deref(), &secrets).await?;
    let mut tried = trial::tried(&flow).await;
    tried.remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
    tried.errors.extend(flow.require().err());
    if tried.errors.is_empty() {
        let standing = history::standing(&flow).await.context("state")?;
        for stream in &tried.streams {
            let before = standing.iter().find(|known| known.name == stream.name);
            let offset = before.and_then(|known| known.offset.clone()).unwrap_or_default();
            let columns = stream
                .discovered
                .as_ref()
                .filter(|schema| !schema.fields().is_empty());
            let misfit =
                columns.and_then(|columns| pipeline::check(&flow.plan, stream, columns, &offset).err());
            tried
                .errors
                .extend(misfit.map(|misfit| with_stream(misfit.error, &stream.name)));
        }
    }
    Ok(Ended {
        errors: tried.errors,
        ..Ended::default()
    })
}

fn with_stream(mut error: Error, stream: &str) -> Error {
    error.message = format!("stream {stream}: {}", error.message);
    error
}

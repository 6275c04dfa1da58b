//! `millrace worker --job J`: one Job of ours, in a pod of its own.
//!
//! In: the Job, with the plan of its Flow. Out: the report of its only run.

use millrace_crds::{
    channel::{JobDoc, PLAN, PLAN_KEY, PLAN_RUN},
    ledger::{Batch, Terms, run_id},
};

use super::{
    Share,
    end::Ended,
    pod::Pod,
    run::{Begun, Order, begin, perform},
};
use crate::{engine::flow::Request, error::Result};

/// Does a Job.
///
/// # Errors
/// What keeps it from reporting.
pub async fn job(pod: &Pod, name: &str) -> Result<Ended> {
    let JobDoc {
        job,
        uid,
        generation,
        adopt,
    } = pod.of_job(name, Share::ALONE).document(PLAN, PLAN_KEY).await?;
    let share = Share {
        ordinal: pod.index,
        workers: job.parallelism.max(1),
    };
    let channel = pod.of_job(name, share);
    let resumed = match begin(pod, &channel, PLAN_RUN, generation).await? {
        Begun::Over(ended) => return Ok(ended),
        Begun::Now { resumed, .. } => resumed,
    };
    let order = Order {
        share,
        request: Request {
            // Of its own, so that it is none of the runs of its Flow.
            run: run_id(&job.name, &uid, PLAN_RUN),
            ..pod.request(adopt.as_deref())
        },
        adopt,
        plan: job.plan.clone(),
        batch: Batch {
            run: PLAN_RUN,
            objects: vec![format!("Job/{}", job.name)],
            load: Some(job.load),
            job: Some(job.name.clone()),
            terms: Terms::of(&job),
            streams: job.streams.clone(),
            allow_deletes: false,
            resumed,
        },
        jobs: vec![job],
        // Its Flow's report tells of that, and is the Flow's workers' own.
        reported: Vec::new(),
    };
    perform(pod, &channel, order).await
}

//! From what the engine knows to what the operator is told.

use jiff::Timestamp;
use millrace_crds::{
    channel::{Failure, RunReport, RunState, StreamStand},
    job::{Counts, StreamCounts},
};

use super::Share;
use crate::{
    engine::{
        counts,
        flow::{Flow, Report},
        history::{self, Standing},
        progress::Progress,
        streams,
        task::Done,
    },
    error::{Error, ErrorKind, Result},
};

/// An error, as it is told. It holds no secret, since no error does.
pub(super) fn failure(error: &Error) -> Failure {
    Failure::new(
        error.kind.as_str(),
        error.reason,
        &error.message,
        error.advice.as_deref().unwrap_or_default(),
    )
}

/// Where the streams of a Flow stand that are dealt to one worker.
///
/// # Errors
/// What the store says.
pub(super) async fn stands(flow: &Flow, share: Share) -> Result<Vec<StreamStand>> {
    let standing = history::standing(flow).await?;
    let own = standing.iter().filter(|standing| share.has(&standing.name));
    Ok(own.map(stand).collect())
}

fn stand(standing: &Standing) -> StreamStand {
    let offset = standing.offset.as_ref();
    let watermark = offset.and_then(|offset| serde_json::to_value(offset.watermark.as_ref()?).ok());
    StreamStand {
        name: standing.name.clone(),
        generation: standing.at.0,
        epoch: standing.epoch,
        last_full_load: offset.and_then(Standing::full),
        last_delta_load: offset.and_then(Standing::delta),
        watermark: watermark.map(text),
        state_bytes: Some(standing.bytes),
    }
}

/// A position as text: the same for the same position, whatever order its keys came in. PostgreSQL, for one, gives them
/// back in an order of its own.
fn text(position: serde_json::Value) -> String {
    match position {
        serde_json::Value::String(text) => text,
        mut other => {
            other.sort_all_objects();
            other.to_string()
        }
    }
}

/// Whether the state knows every stream that was reported with a commit: one that was lost would be begun from nothing, and
/// not every destination would notice.
///
/// # Errors
/// `StateLost`, naming the stream.
pub(super) async fn guard(flow: &Flow, reported: &[StreamStand]) -> Result<()> {
    let mut known = reported.iter().filter(|stand| stand.generation > 0).peekable();
    if known.peek().is_none() {
        return Ok(());
    }
    let there = history::standing(flow).await?;
    for stand in known {
        let is_there = there.iter().any(|stream| stream.name == stand.name);
        if !is_there && streams::takes(&flow.plan, &stand.name)? {
            let message = format!(
                "stream {} was at generation {}, and {} has no record of it",
                stand.name,
                stand.generation,
                flow.store.place()
            );
            return Err(Error::state("StateLost", message).advice(format!(
                "bring the state back from a backup; if it is gone for good, `millrace state restore --flow {} --stream {} \
                 --from-destination` takes the destination's word, or delete the Flow and make it again",
                flow.name(),
                stand.name
            )));
        }
    }
    Ok(())
}

/// What a batch has come to, written into its run: what an earlier pod did of it adds up. Gives back whether the run is
/// over; it goes on in the next pod where this one was told to end, or a newer one has taken over.
pub(super) fn close(
    run: &mut RunReport,
    done: &Result<Done>,
    progress: &[Progress],
    drained: bool,
    now: Timestamp,
) -> bool {
    let first = progress.iter().filter_map(Progress::first_read).min();
    run.first_read_at = run.first_read_at.or(first);
    let report = done.as_ref().ok().and_then(|done| done.report.as_ref());
    if let Some(report) = report {
        add(run, report);
    }
    let failed = errors(done);
    let left = report.is_some_and(|report| !report.left.is_empty());
    let fenced = failed.iter().any(|error| error.kind == ErrorKind::Fenced);
    if fenced || (drained && (left || done.is_err())) {
        return false;
    }
    run.finished_at = Some(now);
    run.state = match failed.first() {
        None => RunState::Succeeded,
        Some(error) => {
            run.error = Some(failure(error));
            RunState::Failed
        }
    };
    true
}

/// Everything that went wrong with a task.
pub(super) fn errors(done: &Result<Done>) -> Vec<Error> {
    match done {
        Err(error) => vec![error.clone()],
        Ok(done) => {
            let first = done.report.as_ref().and_then(Report::error);
            let fenced = done.report.iter().flat_map(|report| &report.streams);
            let fenced = fenced
                .filter_map(|stream| stream.outcome.as_ref().err())
                .find(|error| error.kind == ErrorKind::Fenced);
            let all = [first, fenced.cloned(), done.unknown.clone()];
            all.into_iter().flatten().collect()
        }
    }
}

fn add(run: &mut RunReport, report: &Report) {
    for stream in &report.streams {
        let Ok(counts) = &stream.outcome else { continue };
        run.rows += counts.delivered();
        let counts = told(counts);
        match run.streams.iter_mut().find(|known| known.name == stream.name) {
            Some(known) => known.counts = counts,
            None => run.streams.push(StreamCounts {
                name: stream.name.clone(),
                counts,
            }),
        }
    }
}

fn told(counts: &counts::Counts) -> Counts {
    Counts {
        read: counts.read,
        inserted: counts.inserted,
        updated: counts.updated,
        deleted: counts.deleted,
        unchanged: counts.unchanged,
        superseded: counts.superseded,
        filtered: counts.filtered,
        refused: counts.refused,
        files: counts.files,
        bytes: counts.bytes,
    }
}

#[cfg(test)]
mod tests;

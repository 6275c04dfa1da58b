//! What has become of each stream since the start: counts, or its last failure.

use std::sync::{Mutex, PoisonError};

use crate::{
    cli::{
        closing::{self, Ended, Output},
        log, out,
    },
    engine::flow::{Report, StreamReport},
    error::{Error, ErrorKind, Result},
};

/// The counts of all Flows, and how each load is told as it ends.
pub(super) struct Tally {
    output: Output,
    /// Standard output belongs to a Flow that writes its rows there.
    to_stderr: bool,
    ended: Mutex<Vec<Kept>>,
}

/// One Flow's streams, and why its last load did not even begin, where that is so.
struct Kept {
    ended: Ended,
    error: Option<Error>,
}

/// Everything, for the closing table.
pub(in crate::cli) struct Closing {
    /// What each stream has come to.
    pub(in crate::cli) ended: Vec<Ended>,
    /// Flows whose last load did not begin.
    pub(in crate::cli) errors: Vec<(String, Error)>,
    /// How it is written.
    pub(in crate::cli) output: Output,
    /// Standard output belongs to a Flow.
    pub(in crate::cli) to_stderr: bool,
}

impl Tally {
    pub(super) fn new(output: Output, to_stderr: bool) -> Self {
        Self {
            output,
            to_stderr,
            ended: Mutex::default(),
        }
    }

    /// A load has ended: it is told, and added.
    pub(super) fn add(&self, load: Ended) {
        self.tell(&load);
        let (report, error) = match load.result {
            Some(Err(error)) => (None, Some(error)),
            Some(Ok(report)) => (Some(report), None),
            None => (None, None),
        };
        let mut all = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all
            .iter_mut()
            .find(|known| (&known.ended.namespace, &known.ended.flow) == (&load.namespace, &load.flow));
        match known {
            Some(known) => {
                known.ended.result = merge(known.ended.result.take(), report);
                known.error = error;
            }
            None => all.push(Kept {
                ended: Ended {
                    job: None,
                    result: report.map(Ok),
                    ..load
                },
                error,
            }),
        }
    }

    fn tell(&self, load: &Ended) {
        let told = match self.output {
            Output::Json if self.to_stderr => {
                out::note(closing::as_json(std::slice::from_ref(load), false));
                Ok(())
            }
            Output::Json => out::line(closing::as_json(std::slice::from_ref(load), false)),
            // Elsewhere than on a terminal the log lines say it.
            Output::Text if log::is_watched() => {
                closing::sentences(load).iter().for_each(out::note);
                Ok(())
            }
            Output::Text => Ok(()),
        };
        if let Err(error) = told {
            out::error(error);
        }
        if log::is_watched() {
            let failed = load.failed_streams();
            failed
                .iter()
                .for_each(|(place, error)| out::error(format_args!("{place}: {error}")));
        }
    }

    /// Everything, for the closing table.
    pub(super) fn close(self) -> Closing {
        let kept = self.ended.into_inner().unwrap_or_else(PoisonError::into_inner);
        let name = |ended: &Ended| format!("{}/{}", ended.namespace, ended.flow);
        let errors = kept
            .iter()
            .filter_map(|kept| Some((name(&kept.ended), kept.error.clone()?)));
        Closing {
            errors: errors.collect(),
            ended: kept.into_iter().map(|kept| kept.ended).collect(),
            output: self.output,
            to_stderr: self.to_stderr,
        }
    }
}

/// The last word on each stream counts; what was delivered adds up.
fn merge(before: Option<Result<Report>>, now: Option<Report>) -> Option<Result<Report>> {
    let Some(now) = now else { return before };
    let Some(Ok(mut whole)) = before else {
        return Some(Ok(now));
    };
    for stream in now.streams {
        match whole.streams.iter_mut().find(|known| known.name == stream.name) {
            Some(known) => *known = sum(known, stream),
            None => whole.streams.push(stream),
        }
    }
    whole.gone = now.gone;
    Some(Ok(whole))
}

fn sum(before: &StreamReport, mut now: StreamReport) -> StreamReport {
    if let (Ok(before), Ok(counts)) = (&before.outcome, &mut now.outcome) {
        counts.add(before);
    }
    now
}

/// Whether a newer worker has taken a stream over: then nothing more is for this one to do.
pub(super) fn is_fenced(result: &Result<Report>) -> bool {
    let is_fenced = |error: &Error| error.kind == ErrorKind::Fenced;
    match result {
        Err(error) => is_fenced(error),
        Ok(report) => report
            .streams
            .iter()
            .any(|stream| stream.outcome.as_ref().is_err_and(is_fenced)),
    }
}

#[cfg(test)]
mod tests;

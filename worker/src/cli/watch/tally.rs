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
    ended: Mutex<Vec<Ended>>,
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
        let mut all = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all
            .iter_mut()
            .find(|known| (&known.namespace, &known.flow) == (&load.namespace, &load.flow));
        match known {
            Some(known) => {
                let before = known.result.take();
                known.result = load.result.map(|result| merge(before, result));
            }
            None => all.push(Ended { job: None, ..load }),
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
            Output::Text if !log::bars().is_hidden() => {
                closing::sentences(load).iter().for_each(out::note);
                Ok(())
            }
            Output::Text => Ok(()),
        };
        if let Err(error) = told {
            out::error(error);
        }
    }

    /// Everything, for the closing table.
    pub(super) fn close(self) -> (Vec<Ended>, Output, bool) {
        let ended = self.ended.into_inner().unwrap_or_else(PoisonError::into_inner);
        (ended, self.output, self.to_stderr)
    }
}

/// The last word on each stream counts; what was delivered adds up.
fn merge(before: Option<Result<Report>>, now: Result<Report>) -> Result<Report> {
    let now = now?;
    let Some(Ok(mut whole)) = before else {
        return Ok(now);
    };
    for stream in now.streams {
        match whole.streams.iter_mut().find(|known| known.name == stream.name) {
            Some(known) => *known = sum(known, stream),
            None => whole.streams.push(stream),
        }
    }
    Ok(whole)
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

//! When a pod that stays reports: as it starts, as a problem comes or goes, and else at most twice a minute.

use std::time::Duration;

use millrace_crds::channel::Failure;
use tokio::time::Instant;

use crate::{
    cluster::{channel::Channel, metrics::Seen, pod::Pod, report, run::introduce},
    engine::flow::Flow,
    error::{Error, Result},
};

/// The time between two reports of where the streams stand.
pub(super) const EVERY: Duration = Duration::from_secs(30);

/// What is to be told, and when something was told last.
#[derive(Default)]
pub(super) struct Telling {
    problem: Option<Failure>,
    /// Something has changed since.
    noted: bool,
    /// A problem has come or gone since.
    urgent: bool,
    last: Option<Instant>,
}

impl Telling {
    /// The pod has said that it is there: what its first load does is told at once.
    pub(super) fn begin(&mut self) {
        self.last = None;
    }

    /// A load has ended, well or with a problem.
    pub(super) fn note(&mut self, problem: Option<Failure>) {
        self.urgent |= problem != self.problem;
        self.problem = problem;
        self.noted = true;
    }

    /// Somebody else has just reported all of it.
    pub(super) fn told(&mut self) {
        *self = Self {
            last: Some(Instant::now()),
            ..Self::default()
        };
    }

    /// Whether something has changed since the last report.
    pub(super) fn is_noted(&self) -> bool {
        self.noted
    }

    /// Whether it is to be reported now.
    pub(super) fn is_due(&self) -> bool {
        self.due_in().is_some_and(|left| left.is_zero())
    }

    /// When it is to be reported; `None`: nothing has changed.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let left = self
            .last
            .map_or(Duration::ZERO, |last| EVERY.saturating_sub(last.elapsed()));
        self.noted
            .then_some(if self.urgent { Duration::ZERO } else { left })
    }

    /// Reports where the streams stand, and the problem.
    ///
    /// # Errors
    /// What the store or the API server says.
    pub(super) async fn tell(
        &mut self,
        channel: &Channel,
        pod: &Pod,
        flow: &Flow,
        generation: i64,
        seen: Option<&Seen>,
    ) -> Result<()> {
        // Whatever comes of it, the next one has its time.
        (self.last, self.urgent) = (Some(Instant::now()), false);
        let stands = report::stands(flow, channel.share()).await?;
        match seen {
            Some(seen) => seen.stand(&stands),
            None => Seen::new(&pod.metrics, &flow.plan).stand(&stands),
        }
        let guarantee = flow.guarantee();
        channel
            .update(|report| {
                introduce(report, pod, generation);
                report.guarantee = Some(guarantee);
                report.streams.clone_from(&stands);
                report.stream_count = None;
                report.problem.clone_from(&self.problem);
            })
            .await?;
        self.noted = false;
        Ok(())
    }
}

/// Reports what keeps the Flow from being opened.
pub(super) async fn problem(channel: &Channel, pod: &Pod, error: &Error) {
    let problem = report::failure(error);
    let told = channel
        .update(|report| {
            report.pod.clone_from(&pod.name);
            report.pod_uid.clone_from(&pod.uid);
            report.problem = Some(problem.clone());
        })
        .await;
    if let Err(error) = told {
        tracing::error!("the problem could not be reported: {error}");
    }
}

#[cfg(test)]
mod tests {
    use millrace_crds::channel::Failure;
    use tokio::time::Instant;

    use super::{EVERY, Telling};

    #[test]
    fn news_waits_and_a_problem_does_not() {
        let mut telling = Telling::default();
        assert!(!telling.is_due());
        telling.told();
        telling.note(None);
        assert!(telling.is_noted() && !telling.is_due());
        telling.last = Instant::now().checked_sub(EVERY);
        assert!(telling.is_due());
        telling.told();
        assert_eq!(telling.due_in(), None);
        let problem = Some(Failure::new("transient", "", "away", ""));
        telling.note(problem.clone());
        assert!(telling.is_due(), "it comes");
        telling.urgent = false;
        telling.note(problem);
        assert!(!telling.is_due(), "it stays");
        telling.note(None);
        assert!(telling.is_due(), "it goes");
    }
}

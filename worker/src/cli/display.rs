//! How far the loads are: progress bars on a terminal, log lines elsewhere.
//!
//! In: the counters of each stream, as it begins. Out: a picture that is drawn again several times a second, or a line
//! as a stream begins, every ten seconds, and as it ends.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{human, log};
use crate::engine::{
    flow::Report,
    progress::{Phase, Progress},
};

const FRAME: Duration = Duration::from_millis(100);
const LINE: Duration = Duration::from_secs(10);

/// All streams at work; clones share them.
#[derive(Clone, Default)]
pub(super) struct Display(Arc<Mutex<Vec<Entry>>>);

struct Entry {
    flow: String,
    stream: String,
    progress: Progress,
    begun: Instant,
    told: Instant,
    bar: Option<ProgressBar>,
}

impl Display {
    /// A display that is drawn until it is dropped by whoever drives it.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A stream begins.
    pub(super) fn begin(&self, flow: &str, stream: &str, progress: &Progress) {
        let bar = (!log::bars().is_hidden()).then(|| log::bars().add(bar(flow, stream)));
        if bar.is_none() {
            tracing::info!(flow, stream, "begins");
        }
        let now = Instant::now();
        let entry = Entry {
            flow: flow.to_owned(),
            stream: stream.to_owned(),
            progress: progress.clone(),
            begun: now,
            told: now,
            bar,
        };
        self.entries().push(entry);
    }

    /// A Flow has ended, well or not: its bars go, and where there is a report its lines come.
    pub(super) fn end(&self, flow: &str, report: Option<&Report>) {
        self.entries().retain(|entry| {
            if entry.flow == flow
                && let Some(bar) = &entry.bar
            {
                log::bars().remove(bar);
            }
            entry.flow != flow
        });
        if let Some(report) = report {
            report.streams.iter().for_each(|stream| stream.log(flow));
        }
    }

    /// Draws for ever.
    pub(super) async fn draw(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(FRAME).await;
            self.entries().iter_mut().for_each(Entry::draw);
        }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn draw(&mut self) {
        let (rows, bytes) = self.progress.so_far();
        match &self.bar {
            Some(bar) => {
                if let Some((done, all)) = self.part() {
                    bar.set_length(all);
                    bar.set_position(done.min(all));
                }
                bar.set_message(self.words());
            }
            None if self.told.elapsed() >= LINE && self.progress.phase() != Phase::Done => {
                self.told = Instant::now();
                let phase = word(self.progress.phase());
                tracing::info!(
                    flow = self.flow,
                    stream = self.stream,
                    rows,
                    bytes,
                    phase,
                    "at work"
                );
            }
            None => {}
        }
    }

    /// What is done, of all there is, where the reader knows: by rows, else by bytes.
    fn part(&self) -> Option<(u64, u64)> {
        let (rows, bytes) = self.progress.so_far();
        let estimate = self.progress.estimate();
        let by_rows = estimate.rows.map(|all| (rows, all));
        by_rows
            .or_else(|| estimate.bytes.map(|all| (bytes, all)))
            .filter(|(_, all)| *all > 0)
    }

    fn words(&self) -> String {
        let (rows, bytes) = self.progress.so_far();
        let mut words = format!("{} rows", human::count(rows));
        if bytes > 0 {
            words += &format!(", {}", human::bytes(bytes));
        }
        if self.progress.phase() != Phase::Reading {
            return words + ", " + word(self.progress.phase());
        }
        words += &format!(", {} rows/s", human::count(rate(rows, self.begun.elapsed())));
        if let Some(left) = self
            .part()
            .and_then(|(done, all)| left(done, all, self.begun.elapsed()))
        {
            words += &format!(", {} left", human::clock(left));
        }
        words
    }
}

fn bar(flow: &str, stream: &str) -> ProgressBar {
    // The template is fixed, so that it cannot fail; without it the bar is plainer.
    let style = ProgressStyle::with_template("{prefix:.bold} {bar:24.cyan/dim} {msg}");
    let name = flow.split_once('/').map_or(flow, |(_, name)| name);
    let bar = ProgressBar::no_length().with_prefix(format!("{name} {stream}"));
    match style {
        Ok(style) => bar.with_style(style.progress_chars("━╸─")),
        Err(_) => bar,
    }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waiting",
        Phase::Reading => "reading",
        Phase::Comparing => "comparing",
        Phase::Writing => "writing",
        Phase::Committing => "committing",
        Phase::Done => "done",
    }
}

fn rate(rows: u64, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from(u128::from(rows) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

/// The time that is left at the pace so far; `None` while that says nothing yet.
fn left(done: u64, all: u64, time: Duration) -> Option<Duration> {
    let open = all.checked_sub(done)?;
    (done > 0 && time > Duration::from_secs(1))
        .then(|| time.mul_f64(human::to_float(open) / human::to_float(done)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{left, rate};

    #[test]
    fn the_rate_is_rows_a_second() {
        assert_eq!(rate(1000, Duration::from_millis(500)), 2000);
        assert_eq!(rate(0, Duration::ZERO), 0);
    }

    #[test]
    fn what_is_left_is_told_only_when_known() {
        let ten = Duration::from_secs(10);
        assert_eq!(left(50, 100, ten), Some(ten));
        assert_eq!(left(0, 100, ten), None);
        assert_eq!(left(120, 100, ten), None);
        assert_eq!(left(1, 100, Duration::from_millis(10)), None);
    }
}

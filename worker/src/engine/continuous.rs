//! Streams that push: one load after another from a source that never ends.
//!
//! In: a [`PushReader`], which sends by itself. Out: loads of what came within a moment, each taken through the same
//! engine as any other delta; the position after its last row is its watermark. While nothing comes, nothing is loaded,
//! but for the first load, by which the stream is known. After a failure the reader is rewound to the last commit:
//! nothing is lost, and nothing is delivered twice.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::future::join_all;
use tokio::{sync::watch, time::Instant};

use super::{
    counts::Counts,
    flow::{Flow, Observer, Report, Request, StreamReport},
    load,
    progress::Progress,
};
use crate::{
    connector::{Load, Payload, Position, PushReader, Range, Reader},
    error::{Error, ErrorKind, Result},
    stream::StreamSpec,
};

/// How long rows are gathered before they are committed together.
const MOMENT: Duration = Duration::from_secs(1);

impl Flow {
    /// Runs all streams of a pushing source until `stop` turns true; what has come by then is committed.
    ///
    /// # Errors
    /// `config` where the source does not push; what keeps every stream from starting.
    pub async fn run_continuous(
        &self,
        request: &Request,
        observe: Observer<'_>,
        stop: watch::Receiver<bool>,
    ) -> Result<Report> {
        if self.source.push().is_none() {
            return Err(
                Error::config(format!("source {} does not push", self.plan.source.name))
                    .advice("use `mode: Batch` with intervals or a schedule"),
            );
        }
        let streams = self.streams(&request.streams).await?;
        self.require()?;
        let setting = self.setting(request, streams.len());
        let runs = streams.iter().map(|stream| async {
            let progress = Progress::default();
            observe(&stream.name, &progress);
            let outcome = self
                .follow(&setting, stream, request, &progress, stop.clone())
                .await;
            StreamReport {
                name: stream.name.clone(),
                load: "continuous",
                outcome,
            }
        });
        let streams = join_all(runs).await;
        Ok(Report {
            flow: self.name(),
            guarantee: self.guarantee(),
            streams,
            left: Vec::new(),
            gone: Vec::new(),
        })
    }

    async fn follow(
        &self,
        setting: &load::Setting,
        stream: &StreamSpec,
        request: &Request,
        progress: &Progress,
        stop: watch::Receiver<bool>,
    ) -> Result<Counts> {
        let source = self
            .source
            .push()
            .ok_or_else(|| Error::bug("a source stopped pushing"))?;
        if self.leaves_out(stream).await? {
            return Ok(Counts::default());
        }
        let mut held = self.hold(setting, stream, request).await?;
        let position = held.offset.as_ref().and_then(|offset| offset.watermark.clone());
        let reader = source.open(stream, position.as_ref()).await?;
        let window = Arc::new(Window::new(
            reader,
            setting.limits.buffer_rows as usize,
            stop.clone(),
        ));
        let (mut counts, mut attempt) = (Counts::default(), 0);
        while !*stop.borrow() && !window.has_ended() {
            let after = held.offset.as_ref().and_then(|offset| offset.watermark.clone());
            window.begin(after.clone());
            let range = Range::Delta { after: after.clone() };
            let known = held.offset.is_some();
            let mut target = held.target(stream, progress);
            let load = async {
                if known && !window.wait().await? {
                    return Ok(Counts::default());
                }
                load::run(setting, &mut target, &range, window.clone()).await
            };
            match load.await {
                Ok(loaded) => {
                    counts.add(&loaded);
                    attempt = 0;
                    let safe = held.offset.as_ref().and_then(|offset| offset.watermark.as_ref());
                    if let Some(safe) = safe.filter(|safe| after.as_ref() != Some(*safe))
                        && let Err(error) = window.acknowledge(safe).await
                    {
                        // Whoever cannot hear that will not be read either, which the next load tells.
                        tracing::warn!(flow = self.name(), stream = stream.name, "acknowledging: {error}");
                    }
                }
                Err(error) if error.kind == ErrorKind::Transient => {
                    tracing::warn!(
                        flow = self.name(),
                        stream = stream.name,
                        attempt,
                        "{error}; going on from the last commit"
                    );
                    held.check()?;
                    self.backoff().pause(attempt).await;
                    attempt += 1;
                    window.rewind(after.as_ref()).await?;
                }
                Err(error) => return Err(error),
            }
        }
        window.close().await?;
        held.clean().await;
        Ok(counts)
    }
}

/// What a pushing reader sends within a moment, as a load of one part.
struct Window {
    reader: Arc<tokio::sync::Mutex<Box<dyn PushReader>>>,
    schema: SchemaRef,
    rows: usize,
    state: Arc<Mutex<State>>,
    stop: watch::Receiver<bool>,
}

#[derive(Default)]
struct State {
    position: Option<Position>,
    /// What came before the load was begun.
    first: Option<Payload>,
    ended: bool,
}

impl State {
    /// What the reader gave: its position is reached, or there is no more.
    fn note(&mut self, next: Option<&Payload>) {
        match next {
            None => self.ended = true,
            Some(payload) if payload.position.is_some() => self.position.clone_from(&payload.position),
            Some(_) => (),
        }
    }
}

impl Window {
    fn new(reader: Box<dyn PushReader>, rows: usize, stop: watch::Receiver<bool>) -> Self {
        let schema = reader.schema();
        Self {
            reader: Arc::new(tokio::sync::Mutex::new(reader)),
            schema,
            rows,
            state: Arc::default(),
            stop,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, after: Option<Position>) {
        self.state().position = after;
    }

    fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Waits until there is something to load; `false`: nothing comes any more, or the end was asked for.
    async fn wait(&self) -> Result<bool> {
        let (mut reader, mut stop) = (self.reader.lock().await, self.stop.clone());
        loop {
            let next = tokio::select! {
                biased;
                () = stopped(&mut stop) => return Ok(false),
                next = reader.next() => next?,
            };
            let mut state = self.state();
            match next {
                None => {
                    state.note(None);
                    return Ok(false);
                }
                Some(payload) if payload.batch.num_rows() == 0 && payload.refused.is_empty() => {
                    state.note(Some(&payload));
                }
                first => {
                    state.first = first;
                    return Ok(true);
                }
            }
        }
    }

    async fn rewind(&self, to: Option<&Position>) -> Result<()> {
        {
            let mut state = self.state();
            (state.ended, state.first) = (false, None);
        }
        self.reader
            .lock()
            .await
            .rewind(to.unwrap_or(&Position::Null))
            .await
    }

    async fn acknowledge(&self, position: &Position) -> Result<()> {
        self.reader.lock().await.acknowledge(position).await
    }

    async fn close(&self) -> Result<()> {
        let mut reader = self.reader.lock().await;
        reader.pause().await?;
        reader.close().await
    }
}

#[async_trait]
impl Load for Window {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn partitions(&self) -> usize {
        1
    }

    /// Known once the part has been read, which is when the engine asks.
    fn watermark(&self) -> Option<Position> {
        self.state().position.clone()
    }

    /// What was committed is never sent again, and equal rows are events of their own.
    fn repeats(&self) -> bool {
        false
    }

    async fn read(&self, _partition: usize) -> Result<Box<dyn Reader>> {
        Ok(Box::new(Moment {
            reader: self.reader.clone(),
            state: self.state.clone(),
            stop: self.stop.clone(),
            left: self.rows,
            until: None,
        }))
    }
}

/// Waits until the end is asked for: for ever, where nobody is left to ask.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Reads until enough rows or enough time have passed; the moment begins with the first row.
struct Moment {
    reader: Arc<tokio::sync::Mutex<Box<dyn PushReader>>>,
    state: Arc<Mutex<State>>,
    stop: watch::Receiver<bool>,
    left: usize,
    until: Option<Instant>,
}

impl Moment {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Reader for Moment {
    async fn next(&mut self) -> Result<Option<Payload>> {
        let until = *self.until.get_or_insert_with(|| Instant::now() + MOMENT);
        let first = self.state().first.take();
        let next = match first {
            Some(first) => Some(first),
            None if self.left == 0 => return Ok(None),
            None => {
                let mut reader = self.reader.lock().await;
                tokio::select! {
                    biased;
                    () = stopped(&mut self.stop) => return Ok(None),
                    () = tokio::time::sleep_until(until) => return Ok(None),
                    next = reader.next() => next?,
                }
            }
        };
        self.state().note(next.as_ref());
        let rows = next.as_ref().map_or(0, |payload| payload.batch.num_rows());
        self.left = self.left.saturating_sub(rows);
        Ok(next)
    }
}

#[cfg(test)]
mod tests;

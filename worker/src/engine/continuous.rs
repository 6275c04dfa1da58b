//! Streams that push: one load after another from a source that never ends.
//!
//! In: a [`PushReader`], which sends by itself. Out: loads of what came within a moment, each taken through the same
//! engine as any other delta; the position after its last row is its watermark. After a failure the reader is rewound
//! to the last commit: nothing is lost, and nothing is delivered twice.

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
            match load::run(
                setting,
                &mut held.target(stream, progress),
                &range,
                window.clone(),
            )
            .await
            {
                Ok(loaded) => {
                    counts.add(&loaded);
                    attempt = 0;
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
    ended: bool,
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

    async fn rewind(&self, to: Option<&Position>) -> Result<()> {
        self.state().ended = false;
        self.reader
            .lock()
            .await
            .rewind(to.unwrap_or(&Position::Null))
            .await
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

/// Reads until enough rows or enough time have passed; the moment begins with the first row.
struct Moment {
    reader: Arc<tokio::sync::Mutex<Box<dyn PushReader>>>,
    state: Arc<Mutex<State>>,
    stop: watch::Receiver<bool>,
    left: usize,
    until: Option<Instant>,
}

#[async_trait]
impl Reader for Moment {
    async fn next(&mut self) -> Result<Option<Payload>> {
        if self.left == 0 || *self.stop.borrow() {
            return Ok(None);
        }
        let until = self.until.unwrap_or_else(|| Instant::now() + MOMENT);
        let mut reader = self.reader.lock().await;
        // A reader must bear that its `next` is given up between two payloads.
        let next = tokio::select! {
            next = reader.next() => next?,
            () = tokio::time::sleep_until(until) => return Ok(None),
            _ = self.stop.changed() => return Ok(None),
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match next {
            None => {
                state.ended = true;
                Ok(None)
            }
            Some(payload) => {
                self.until = Some(until);
                self.left = self.left.saturating_sub(payload.batch.num_rows());
                if let Some(position) = &payload.position {
                    state.position = Some(position.clone());
                }
                Ok(Some(payload))
            }
        }
    }
}

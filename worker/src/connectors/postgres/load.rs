//! One load: the snapshot that keeps it fixed, and the readers of its parts.
//!
//! In: the queries of the parts. Out: payloads, decoded by the thread that asks for them. Connections that have
//! read one part read the next.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context as TaskContext, Poll},
};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::Stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_postgres::CopyOutStream;

use super::{
    connect::Server,
    decode::{Decoded, Decoder},
    failure::failure,
    link::Link,
    source::{SESSION, join},
    types::Column,
};
use crate::{
    connector::{Estimate, Load, Payload, Position, Reader, UnfitRow},
    error::{Context, Error, ErrorKind, Result},
};

/// Bytes on the wire after which a batch is complete, however few rows it has.
const BATCH_BYTES: u64 = 8 << 20;

/// What a load is made of.
pub(super) struct Frame {
    pub(super) server: Arc<Server>,
    pub(super) schema: SchemaRef,
    pub(super) columns: Arc<[Column]>,
    /// One `COPY` a part.
    pub(super) queries: Vec<String>,
    pub(super) snapshot: String,
    pub(super) watermark: Option<Position>,
    pub(super) estimate: Estimate,
    pub(super) stream: String,
    pub(super) null_cursors: u64,
    /// The connection that keeps the snapshot. It is idle; the lock only makes it shareable.
    #[expect(dead_code, reason = "the snapshot lives as long as it is held")]
    pub(super) keeper: Mutex<Link>,
}

/// What another process needs to read the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ticket {
    pub(super) snapshot: String,
    pub(super) queries: Vec<String>,
    pub(super) null_cursors: u64,
}

/// A load that is open.
pub(super) struct PostgresLoad(Arc<Frame>, Arc<Pool>);

/// Connections that are within the snapshot and idle.
#[derive(Default)]
struct Pool(Mutex<Vec<Link>>);

impl Pool {
    fn take(&self) -> Option<Link> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give(&self, link: Link) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(link);
    }
}

impl PostgresLoad {
    pub(super) fn new(frame: Frame) -> Self {
        Self(Arc::new(frame), Arc::default())
    }
}

impl Frame {
    async fn connect(&self) -> Result<Link> {
        let mut link = self.server.connect().await?;
        link.run(SESSION).await?;
        enter(&mut link, &self.snapshot).await?;
        Ok(link)
    }
}

/// Begins to see what the load sees.
pub(super) async fn enter(link: &mut Link, snapshot: &str) -> Result<()> {
    link.run(&join(snapshot)).await.map_err(|error| {
        // The snapshot is gone with the connection that kept it.
        Error {
            kind: ErrorKind::Transient,
            ..error
        }
        .advice("the load begins anew")
    })
}

#[async_trait]
impl Load for PostgresLoad {
    fn schema(&self) -> SchemaRef {
        self.0.schema.clone()
    }

    fn partitions(&self) -> usize {
        self.0.queries.len()
    }

    fn watermark(&self) -> Option<Position> {
        self.0.watermark.clone()
    }

    fn estimate(&self) -> Estimate {
        self.0.estimate
    }

    /// Others can see the snapshot for as long as the keeper lives.
    fn ticket(&self) -> Option<Value> {
        let Frame {
            snapshot,
            queries,
            null_cursors,
            ..
        } = &*self.0;
        let ticket = Ticket {
            snapshot: snapshot.clone(),
            queries: queries.clone(),
            null_cursors: *null_cursors,
        };
        serde_json::to_value(ticket).ok()
    }

    async fn read(&self, partition: usize) -> Result<Box<dyn Reader>> {
        let Self(frame, pool) = self;
        let context = || format!("{}: stream {}", frame.server.place(), frame.stream);
        let query = frame
            .queries
            .get(partition)
            .ok_or_else(|| Error::bug(format!("stream {} has no part {partition}", frame.stream)))?;
        let mut link = match pool.take() {
            Some(link) => link,
            None => frame.connect().await.context(context())?,
        };
        frame.server.limiter.wait().await;
        let copy = link.copy_out(query).await.context(context())?;
        Ok(Box::new(PostgresReader {
            decoder: Decoder::new(frame.columns.clone(), frame.schema.clone()),
            copy: Some((Box::pin(copy), link)),
            frame: frame.clone(),
            pool: pool.clone(),
            partition,
            null_cursors: if partition == 0 { frame.null_cursors } else { 0 },
        }))
    }
}

struct PostgresReader {
    frame: Arc<Frame>,
    pool: Arc<Pool>,
    decoder: Decoder,
    /// `None` once all was read.
    copy: Option<(Pin<Box<CopyOutStream>>, Link)>,
    partition: usize,
    null_cursors: u64,
}

#[async_trait]
impl Reader for PostgresReader {
    async fn next(&mut self) -> Result<Option<Payload>> {
        if self.copy.is_none() {
            return Ok(None);
        }
        let batch_rows = self.frame.server.config.batch_rows as usize;
        let ended = poll_fn(|task| self.fill(task, batch_rows))
            .await
            .context(format!(
                "{}: stream {}",
                self.frame.server.place(),
                self.frame.stream
            ))?;
        if ended && let Some((copy, link)) = self.copy.take() {
            drop(copy);
            self.pool.give(link);
        }
        let decoded = self.decoder.finish()?;
        let nothing = decoded.batch.num_rows() == 0;
        if ended && nothing && self.null_cursors == 0 {
            return Ok(None);
        }
        Ok(Some(self.payload(decoded)))
    }
}

impl PostgresReader {
    /// Decodes until a batch is full (false) or all was read (true).
    fn fill(&mut self, task: &mut TaskContext<'_>, batch_rows: usize) -> Poll<Result<bool>> {
        let Some((copy, link)) = &mut self.copy else {
            return Poll::Ready(Ok(true));
        };
        let mut polled = false;
        loop {
            match copy.as_mut().poll_next(task) {
                Poll::Ready(Some(Ok(bytes))) => self.decoder.take(&bytes)?,
                Poll::Ready(None) => return Poll::Ready(Ok(true)),
                Poll::Ready(Some(Err(error))) => {
                    let last_words = link.ended().filter(|_| error.is_closed());
                    return Poll::Ready(Err(last_words.unwrap_or_else(|| failure(&error))));
                }
                Poll::Pending if polled => {
                    return link
                        .ended()
                        .map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
                }
                Poll::Pending => {
                    link.poll_wire(task);
                    polled = true;
                    continue;
                }
            }
            polled = false;
            if self.decoder.rows() >= batch_rows || self.decoder.bytes() >= BATCH_BYTES {
                return Poll::Ready(Ok(false));
            }
        }
    }

    fn payload(&mut self, decoded: Decoded) -> Payload {
        let mut metadata: BTreeMap<&'static str, Value> = BTreeMap::from([
            ("table", json!(self.frame.stream)),
            ("partition", json!(self.partition)),
        ]);
        let nulls = std::mem::take(&mut self.null_cursors);
        if nulls > 0 {
            metadata.insert("nullCursors", json!(nulls));
        }
        let mut unfit = decoded.unfit;
        for UnfitRow { letter, .. } in &mut unfit {
            letter.place.insert("table".to_owned(), json!(self.frame.stream));
            letter.place.insert("partition".to_owned(), json!(self.partition));
        }
        Payload {
            metadata,
            unfit,
            bytes: decoded.bytes,
            ..Payload::new(decoded.batch)
        }
    }
}

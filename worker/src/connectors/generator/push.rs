//! The pushing side of `generator`: messages that are numbered and sealed, at a rate.
//!
//! In: a stream and a position `{"offset": n}`. Out: rows of `shard`, `seq` (1, 2, 3, ... in each shard), `payload` and
//! `sha256`, which is the hexadecimal SHA-256 of the text `shard/seq/payload`. Whoever reads them back finds gaps,
//! repeats and damage without knowing the seed. The message at an offset is the same each time it is sent.

#[cfg(test)]
mod tests;

use std::{fmt::Write, sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, Int64Array, StringBuilder},
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use async_trait::async_trait;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Generator, history::mixed};
use crate::{
    connector::{Estimate, Load, Payload, Position, PushReader, PushSource, Range, Reader},
    error::{Error, Result},
    rate::RateLimiter,
    stream::StreamSpec,
};

/// The columns of a message.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("shard", DataType::Int64, false),
        Field::new("seq", DataType::Int64, false),
        Field::new("payload", DataType::Utf8, false),
        Field::new("sha256", DataType::Utf8, false),
    ]))
}

/// The messages of one stream, by offset.
#[derive(Clone)]
struct Messages {
    seed: u64,
    shards: u64,
    batch_rows: u64,
    end: u64,
    limiter: RateLimiter,
}

impl Messages {
    fn of(generator: &Generator, stream: &str) -> Self {
        let config = &generator.config;
        Self {
            seed: generator.seed_of(stream),
            shards: config.shards,
            batch_rows: config.batch_rows as u64,
            // Offsets are stored as JSON numbers and delivered as int64.
            end: config.rows.unwrap_or(i64::MAX.cast_unsigned()),
            limiter: generator.limiter.clone(),
        }
    }

    /// The messages from `offset` on.
    fn payload(&self, offset: u64, count: u64) -> Result<Payload> {
        let len = usize::try_from(count).unwrap_or_default();
        let mut payloads = StringBuilder::with_capacity(len, len * 40);
        let mut seals = StringBuilder::with_capacity(len, len * 64);
        let (mut text, mut seal) = (String::new(), String::new());
        let place = |offset: u64| (offset % self.shards, offset / self.shards + 1);
        for offset in offset..offset + count {
            text.clear();
            seal.clear();
            let (shard, seq) = place(offset);
            // Writing to a String cannot fail.
            let _ = write!(text, "{shard}/{seq}/");
            let prefix = text.len();
            self.content(offset, &mut text);
            for byte in Sha256::digest(&text) {
                let _ = write!(seal, "{byte:02x}");
            }
            payloads.append_value(&text[prefix..]);
            seals.append_value(&seal);
        }
        let numbers = |number: fn((u64, u64)) -> u64| {
            let numbers = (offset..offset + count).map(|offset| number(place(offset)).cast_signed());
            Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef
        };
        let columns: Vec<ArrayRef> = vec![
            numbers(|(shard, _)| shard),
            numbers(|(_, seq)| seq),
            Arc::new(payloads.finish()),
            Arc::new(seals.finish()),
        ];
        let batch = RecordBatch::try_new(schema(), columns)?;
        let mut payload = Payload::new(batch);
        payload.bytes = payload.batch.get_array_memory_size() as u64;
        payload.position = Some(position(offset + count));
        payload.metadata.insert("offset", offset.into());
        Ok(payload)
    }

    /// Letters and digits, 16 to 64 of them.
    fn content(&self, offset: u64, into: &mut String) {
        let mut word = mixed(self.seed ^ mixed(offset));
        for _ in 0..=word % 4 {
            let _ = write!(into, "{word:016x}");
            word = mixed(word);
        }
    }
}

fn position(offset: u64) -> Position {
    json!({ "offset": offset })
}

fn offset_of(position: &Position) -> Result<u64> {
    position.get("offset").and_then(Position::as_u64).ok_or_else(|| {
        Error::config(format!("the position {position} is none of a pushing generator"))
            .advice("write it as {\"offset\": 0}")
    })
}

/// A load of messages that end: all of them, or those after a watermark.
pub(super) fn bounded(generator: &Generator, stream: &str, range: &Range) -> Result<Arc<dyn Load>> {
    if generator.config.rows.is_none() {
        let message = format!("stream {stream} of the generator never ends, and cannot be loaded as a whole");
        return Err(
            Error::config(message).advice("set connection.rows, or run the Flow with mode: Continuous")
        );
    }
    let messages = Messages::of(generator, stream);
    let from = match range {
        Range::Full | Range::Delta { after: None } => 0,
        Range::Delta { after: Some(after) } => offset_of(after)?,
        Range::Backfill { .. } => {
            return Err(Error::config(format!(
                "stream {stream}: messages have no cursor to backfill by"
            )));
        }
    };
    Ok(Arc::new(MessageLoad { messages, from }))
}

struct MessageLoad {
    messages: Messages,
    from: u64,
}

#[async_trait]
impl Load for MessageLoad {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn partitions(&self) -> usize {
        1
    }

    fn watermark(&self) -> Option<Position> {
        Some(position(self.messages.end.max(self.from)))
    }

    fn estimate(&self) -> Estimate {
        Estimate {
            rows: Some(self.messages.end.saturating_sub(self.from)),
            bytes: None,
        }
    }

    async fn read(&self, _partition: usize) -> Result<Box<dyn Reader>> {
        Ok(Box::new(Sender::new(self.messages.clone(), self.from, None)))
    }
}

#[async_trait]
impl PushSource for Generator {
    async fn open(&self, stream: &StreamSpec, from: Option<&Position>) -> Result<Box<dyn PushReader>> {
        self.known(&stream.name)?;
        let from = from.map(offset_of).transpose()?.unwrap_or(0);
        let messages = Messages::of(self, &stream.name);
        Ok(Box::new(Sender::new(messages, from, self.config.rate_per_second)))
    }
}

/// Sends messages, no faster than its rate.
struct Sender {
    messages: Messages,
    next: u64,
    pace: Option<Pace>,
    closed: bool,
}

/// A rate since a moment; `None`: from the next call on.
struct Pace {
    per_second: f64,
    since: Option<(Instant, u64)>,
}

impl Pace {
    /// How long to wait, and how many messages are due then: at most a hundredth of a second's at once, so that a high
    /// rate does not come one by one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rate needs no more than 52 bits"
    )]
    fn due(&mut self, now: Instant, next: u64) -> (Duration, u64) {
        let (start, first) = *self.since.get_or_insert((now, next));
        let passed = now.duration_since(start);
        let sent = next.saturating_sub(first);
        let overdue = ((passed.as_secs_f64() * self.per_second) as u64).saturating_sub(sent);
        if overdue > 0 {
            return (Duration::ZERO, overdue);
        }
        let at_once = (self.per_second / 100.0).ceil().max(1.0) as u64;
        let at = Duration::try_from_secs_f64((sent + at_once) as f64 / self.per_second);
        (at.unwrap_or(Duration::MAX).saturating_sub(passed), at_once)
    }
}

impl Sender {
    fn new(messages: Messages, next: u64, per_second: Option<f64>) -> Self {
        Self {
            messages,
            next,
            pace: per_second.map(|per_second| Pace {
                per_second,
                since: None,
            }),
            closed: false,
        }
    }

    /// The time that passes from here on until the next call counts for nothing: no burst makes up for it.
    fn restart(&mut self) {
        if let Some(pace) = &mut self.pace {
            pace.since = None;
        }
    }
}

#[async_trait]
impl Reader for Sender {
    async fn next(&mut self) -> Result<Option<Payload>> {
        if self.closed {
            return Err(Error::bug("a closed stream was asked for more"));
        }
        let left = self.messages.end.saturating_sub(self.next);
        if left == 0 {
            return Ok(None);
        }
        self.messages.limiter.wait().await;
        let due = match &mut self.pace {
            Some(pace) => {
                let (wait, due) = pace.due(Instant::now(), self.next);
                tokio::time::sleep(wait).await;
                due
            }
            None => u64::MAX,
        };
        let count = due.min(left).min(self.messages.batch_rows);
        let payload = self.messages.payload(self.next, count)?;
        self.next += count;
        Ok(Some(payload))
    }
}

#[async_trait]
impl PushReader for Sender {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    async fn pause(&mut self) -> Result<()> {
        self.restart();
        Ok(())
    }

    async fn rewind(&mut self, position: &Position) -> Result<()> {
        self.next = offset_of(position)?;
        self.restart();
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.closed = true;
        Ok(())
    }
}

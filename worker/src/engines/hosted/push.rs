//! A plugin that sends by itself, followed.
//!
//! In: a host that was asked to read on from a position. Out: payloads, each with the position after it: rows that a plugin
//! sends before it says where it stands wait for the rows with which it does.

use std::{collections::VecDeque, sync::Arc};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    super::{frame::Frame, host::Host},
    decode::{self, Refusals},
    load::Start,
};
use crate::{
    connector::{Payload, Position, PushReader, Reader},
    error::{Error, Result},
    stream::StreamSpec,
};

/// What a host does, for errors.
const FOLLOWING: &str = "it was followed";
/// Rows that may wait for a position, and their bytes.
const WAITING: (usize, u64) = (4 << 20, 256 << 20);

/// An open stream.
pub(super) struct Pushed {
    host: Host,
    schema: SchemaRef,
    /// Each commit needs a position.
    positions: bool,
    /// Sent already.
    held: VecDeque<Frame>,
    /// Rows without a position yet.
    waiting: Vec<Payload>,
    /// Of the batch to come.
    refused: Refusals,
    ended: bool,
    paused: bool,
}

impl Pushed {
    pub(super) async fn open(
        mut host: Host,
        stream: &StreamSpec,
        from: Option<&Position>,
        known: Option<SchemaRef>,
    ) -> Result<Self> {
        let request = json!({
            "type": "read",
            "stream": stream.name,
            "range": { "delta": { "after": from } },
            "position": from,
            "instance": 0,
            "instances": 1,
            "primaryKey": stream.primary_key,
            "cursor": stream.cursor,
        });
        host.send(&request, &[], FOLLOWING).await?;
        let (schema, held) = match known.filter(|schema| !schema.fields().is_empty()) {
            Some(schema) => (decode::nullable(&schema), VecDeque::new()),
            None => {
                let start = Start::of(&mut host, &Arc::new(Schema::empty()), FOLLOWING, None).await?;
                (start.schema, start.held)
            }
        };
        Ok(Self {
            positions: host.ready.kind == "stateful",
            host,
            schema,
            held,
            waiting: Vec::new(),
            refused: Refusals::default(),
            ended: false,
            paused: false,
        })
    }

    /// All that waits, as one payload.
    fn together(&mut self) -> Result<Option<Payload>> {
        let mut all = std::mem::take(&mut self.waiting).into_iter();
        let Some(first) = all.next() else { return Ok(None) };
        all.try_fold(first, decode::join).map(Some)
    }
}

#[async_trait]
impl Reader for Pushed {
    async fn next(&mut self) -> Result<Option<Payload>> {
        if self.paused {
            self.paused = false;
            self.host
                .send(&json!({ "type": "resume" }), &[], FOLLOWING)
                .await?;
        }
        while !self.ended {
            let frame = match self.held.pop_front() {
                Some(frame) => frame,
                None => self.host.next(FOLLOWING, None).await?,
            };
            match frame.kind.as_str() {
                "batch" => {
                    let payload = decode::payload(&frame, &self.schema, &mut self.refused)?;
                    let whole = !self.positions || payload.position.is_some();
                    self.waiting.push(payload);
                    if whole {
                        return self.together();
                    }
                    let rows: usize = self.waiting.iter().map(|payload| payload.batch.num_rows()).sum();
                    let bytes: u64 = self.waiting.iter().map(|payload| payload.bytes).sum();
                    if rows > WAITING.0 || bytes > WAITING.1 {
                        return Err(
                            Error::config(format!("{rows} rows came, and no position with them"))
                                .advice("call flush() more often"),
                        );
                    }
                }
                "refused" => self.refused.take(&frame)?,
                "end" => {
                    let rest = self.refused.rest(&self.schema)?;
                    self.waiting.extend(rest);
                    self.ended = true;
                    // What came after the last position was never said to be whole.
                    if let Some(last) = self.waiting.last_mut() {
                        last.position = frame.header.get("position").cloned().filter(|end| !end.is_null());
                    }
                    return self.together();
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl PushReader for Pushed {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    async fn pause(&mut self) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.paused = true;
        self.host.send(&json!({ "type": "pause" }), &[], FOLLOWING).await
    }

    async fn rewind(&mut self, position: &Position) -> Result<()> {
        (self.waiting, self.held, self.ended, self.paused) = (Vec::new(), VecDeque::new(), false, false);
        self.refused.forget();
        let position = Some(position).filter(|position| **position != Value::Null);
        let request = json!({ "type": "rewind", "position": position });
        self.host.send(&request, &[], FOLLOWING).await?;
        // What was sent before it heard of this is void.
        while self.host.next(FOLLOWING, Some(super::patience())).await?.kind != "rewound" {}
        Ok(())
    }

    async fn acknowledge(&mut self, position: &Position) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let told = json!({ "type": "acknowledge", "position": position });
        self.host.send(&told, &[], FOLLOWING).await
    }

    async fn close(&mut self) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        self.host
            .send(&json!({ "type": "close" }), &[], FOLLOWING)
            .await?;
        while self.host.next(FOLLOWING, Some(super::patience())).await?.kind != "end" {}
        Ok(())
    }
}

//! A load that hosts read, a host for each part.
//!
//! In: a host that was asked to read, whose first batch tells the columns where nobody else does. Out: payloads, and, once all
//! parts are read, the position after them. A host may answer with parts of its own: [`super::found`].

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    super::{frame::Frame, host::Host},
    Opener,
    decode::{self, Refusals},
    found::{Found, Hosts},
    patience,
};
use crate::{
    connector::{Estimate, Load, Payload, Position, Range, Reader},
    error::{Error, Result},
    stream::StreamSpec,
};

/// One load.
pub(super) struct HostLoad {
    opener: Arc<Opener>,
    stream: StreamSpec,
    range: Range,
    schema: SchemaRef,
    parts: Parts,
    estimate: Estimate,
    /// Where each part has ended.
    ends: Arc<Mutex<BTreeMap<usize, Position>>>,
}

/// A host at work, and what it has sent already.
struct Begun {
    host: Host,
    held: VecDeque<Frame>,
}

impl Begun {
    /// One that was asked, and has sent nothing yet.
    fn anew(host: Host) -> Self {
        Self {
            host,
            held: VecDeque::new(),
        }
    }
}

/// How a load is split.
enum Parts {
    /// By number.
    Numbered {
        count: usize,
        /// The hosts of the first parts.
        begun: Mutex<BTreeMap<usize, Begun>>,
    },
    /// By the host that began it.
    Found(Found),
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HostLoad {
    /// Begins to read, as far as the columns: that of the first part which has rows, where nobody else tells them.
    pub(super) async fn open(
        opener: Arc<Opener>,
        host: Host,
        stream: &StreamSpec,
        range: &Range,
        count: usize,
        known: SchemaRef,
    ) -> Result<Self> {
        let (mut schema, mut estimate, mut first) =
            (decode::nullable(&known), Estimate::default(), Some(host));
        let (mut begun, mut found) = (BTreeMap::new(), None);
        for part in 0..count {
            let mut host = match first.take() {
                Some(host) => host,
                None => opener.host().await?,
            };
            ask(&mut host, stream, range, part, count).await?;
            let start = Start::of(&mut host, &schema, READING, Some(patience())).await?;
            schema = start.schema;
            if part == 0 {
                estimate = start.estimate;
            }
            if let Some(parts) = start.found {
                found = Some(parts.read_by(host));
                break;
            }
            let held = start.held;
            begun.insert(part, Begun { host, held });
            if !schema.fields().is_empty() {
                break;
            }
        }
        let begun = Mutex::new(begun);
        Ok(Self {
            opener,
            stream: stream.clone(),
            range: range.clone(),
            schema,
            parts: found.map_or(Parts::Numbered { count, begun }, Parts::Found),
            estimate,
            ends: Arc::new(Mutex::new(begins(range, count))),
        })
    }
}

/// What a host says before its first rows, or its end.
pub(super) struct Start {
    pub(super) schema: SchemaRef,
    found: Option<Found>,
    estimate: Estimate,
    /// Frames that are to be read again: what comes after the columns, and what is refused before they are known.
    pub(super) held: VecDeque<Frame>,
}

impl Start {
    fn new(known: &SchemaRef) -> Self {
        Self {
            schema: known.clone(),
            found: None,
            estimate: Estimate::default(),
            held: VecDeque::new(),
        }
    }

    pub(super) async fn of(
        host: &mut Host,
        known: &SchemaRef,
        doing: &str,
        patience: Option<Duration>,
    ) -> Result<Self> {
        let mut start = Self::new(known);
        loop {
            let frame = host.next(doing, patience).await?;
            match frame.kind.as_str() {
                "estimate" => start.estimate.rows = frame.header["rows"].as_u64(),
                "schema" => {
                    start.schema = decode::schema_of(&frame)?;
                    start.found = Found::of(host, &frame)?;
                }
                _ => {
                    if !start.hold(frame)? {
                        return Ok(start);
                    }
                }
            }
        }
    }

    /// Holds a frame; `false`: the columns are known, or nothing is left to wait for.
    fn hold(&mut self, frame: Frame) -> Result<bool> {
        let alone = |frame: &Frame| frame.kind == "batch" && frame.body.is_empty();
        if frame.kind == "batch" && self.schema.fields().is_empty() && !alone(&frame) {
            self.schema = decode::schema_of(&frame)?;
        }
        let told = !frame.header["position"].is_null();
        if told && alone(&frame) && self.held.back().is_some_and(alone) {
            // A position takes the place of the one before it: a plugin may send any number of them before its first row.
            self.held.pop_back();
        }
        let more = ["refused", "batch"].contains(&frame.kind.as_str()) && self.held.len() < MOST_HELD;
        self.held.push_back(frame);
        Ok(more && self.schema.fields().is_empty())
    }
}

/// Frames of refused rows that wait for the first row that fits, and tells the columns.
const MOST_HELD: usize = 2000;

/// What a host does, for errors.
const READING: &str = "it read";

/// Asks a host for a part.
async fn ask(host: &mut Host, stream: &StreamSpec, range: &Range, part: usize, parts: usize) -> Result<()> {
    let (range, position) = match range {
        Range::Full => (json!({ "full": true }), Value::Null),
        Range::Delta { after } => {
            let after = of_part(after.as_ref(), part, parts);
            (json!({ "delta": { "after": after } }), after)
        }
        Range::Backfill { from, to } => (json!({ "backfill": { "from": from, "to": to } }), Value::Null),
    };
    let request = json!({
        "type": "read",
        "stream": stream.name,
        "range": range,
        "position": position,
        "instance": part,
        "instances": parts,
        "primaryKey": stream.primary_key,
        "cursor": stream.cursor,
    });
    host.send(&request, &[], READING).await
}

/// In how many parts that was read which a position tells of: a delta goes on in as many, each from its own.
pub(super) fn parts_of(position: &Position) -> usize {
    let of = position["of"]
        .as_u64()
        .filter(|_| position["instances"].is_object());
    of.and_then(|of| usize::try_from(of).ok()).unwrap_or(1)
}

/// Where the parts begin: one that finds nothing ends there, too.
fn begins(range: &Range, parts: usize) -> BTreeMap<usize, Position> {
    let Range::Delta { after } = range else {
        return BTreeMap::new();
    };
    let begins = (0..parts).map(|part| (part, of_part(after.as_ref(), part, parts)));
    begins.filter(|(_, begin)| !begin.is_null()).collect()
}

/// The position of one of several parts.
fn of_part(position: Option<&Position>, part: usize, parts: usize) -> Value {
    match position {
        None => Value::Null,
        Some(position) if parts == 1 => position.clone(),
        Some(position) => position["instances"][part.to_string()].clone(),
    }
}

#[async_trait]
impl Load for HostLoad {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn partitions(&self) -> usize {
        match &self.parts {
            Parts::Numbered { count, .. } => *count,
            Parts::Found(found) => found.count(),
        }
    }

    /// Known once the parts have been read, which is when the engine asks.
    fn watermark(&self) -> Option<Position> {
        let count = match &self.parts {
            Parts::Numbered { count, .. } => *count,
            Parts::Found(found) => return found.position.clone(),
        };
        let ends = lock(&self.ends);
        match count {
            _ if ends.is_empty() => None,
            1 => ends.get(&0).cloned(),
            _ => Some(json!({ "instances": *ends, "of": count })),
        }
    }

    fn estimate(&self) -> Estimate {
        self.estimate
    }

    async fn read(&self, partition: usize) -> Result<Box<dyn Reader>> {
        let (begun, hosts) = match &self.parts {
            Parts::Numbered { count, begun } => {
                let begun = lock(begun).remove(&partition);
                let begun = match begun {
                    Some(begun) => begun,
                    None => {
                        let mut host = self.opener.host().await?;
                        ask(&mut host, &self.stream, &self.range, partition, *count).await?;
                        Begun::anew(host)
                    }
                };
                (begun, None)
            }
            Parts::Found(found) => {
                let mut host = match found.hosts.take() {
                    Some(host) => host,
                    None => self.opener.host().await?,
                };
                let request = found.request(&self.stream.name, partition);
                host.send(&request, &[], READING).await?;
                (Begun::anew(host), Some(found.hosts.clone()))
            }
        };
        Ok(Box::new(Part {
            host: Some(begun.host),
            held: begun.held,
            refused: Refusals::default(),
            part: partition,
            schema: self.schema.clone(),
            ends: self.ends.clone(),
            hosts,
        }))
    }
}

struct Part {
    host: Option<Host>,
    held: VecDeque<Frame>,
    refused: Refusals,
    part: usize,
    schema: SchemaRef,
    ends: Arc<Mutex<BTreeMap<usize, Position>>>,
    /// Those that read the other parts, too.
    hosts: Option<Arc<Hosts>>,
}

impl Part {
    fn note(&self, position: Option<&Position>) {
        if let Some(position) = position.filter(|position| !position.is_null()) {
            lock(&self.ends).insert(self.part, position.clone());
        }
    }
}

#[async_trait]
impl Reader for Part {
    async fn next(&mut self) -> Result<Option<Payload>> {
        loop {
            let Some(host) = &mut self.host else {
                return Ok(None);
            };
            let frame = match self.held.pop_front() {
                Some(frame) => frame,
                None => host.next(READING, Some(patience())).await?,
            };
            match frame.kind.as_str() {
                "batch" => {
                    let payload = decode::payload(&frame, &self.schema, &mut self.refused)?;
                    self.note(payload.position.as_ref());
                    return Ok(Some(payload));
                }
                "refused" => self.refused.take(&frame)?,
                "end" => {
                    self.note(frame.header.get("position"));
                    match (self.host.take(), &self.hosts) {
                        (Some(host), Some(hosts)) => hosts.give_back(host, self.part).await,
                        (Some(host), None) => host.finish().await,
                        (None, _) => {}
                    }
                    return self.refused.rest(&self.schema);
                }
                "schema" | "estimate" => {}
                other => return Err(Error::bug(format!("it answered `{other}` while it read"))),
            }
        }
    }
}

#[cfg(test)]
mod tests;

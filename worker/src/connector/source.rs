//! The reading end: what a source says of its streams, and the loads that it opens.
//!
//! In: a stream and a [`Range`]. Out: a [`Load`], read in parts, or a [`PushReader`] of a source that sends by itself.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Payload, Position};
use crate::{
    error::{Error, Result},
    stream::StreamSpec,
};

/// A system that can be read.
#[async_trait]
pub trait Source: Send + Sync {
    /// Finds out what it is, where only it can tell: whether it pushes, whether its rows can be read again.
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }
    /// Every stream that can be read now. One whose data are damaged keeps no other from being found.
    async fn discover(&self) -> Result<Vec<StreamInfo>>;
    /// Fixes one load of one stream.
    async fn load(&self, stream: &StreamSpec, range: &Range) -> Result<Arc<dyn Load>>;
    /// Opens a load that another process holds, to read parts of it: the same parts under the same numbers, with the same
    /// rows. A joined load has no watermark; that is whose it is.
    ///
    /// # Errors
    /// `transient` where the load is not there any more.
    async fn join(&self, stream: &StreamSpec, _range: &Range, _ticket: &Value) -> Result<Arc<dyn Load>> {
        Err(Error::bug(format!(
            "loads of stream {} cannot be joined",
            stream.name
        )))
    }
    /// Tries the connection and the rights, and reads nothing.
    async fn check(&self) -> Result<()> {
        let trouble = self.discover().await?.into_iter().find_map(|info| info.trouble);
        trouble.map_or(Ok(()), Err)
    }
    /// Tells the source that everything up to `position` is safe at the destination. Always the last step.
    async fn acknowledge(&self, _stream: &StreamSpec, _position: &Position) -> Result<()> {
        Ok(())
    }
    /// The pushing side, where the system has one.
    fn push(&self) -> Option<&dyn PushSource> {
        None
    }
    /// Streams may have a key of their own, which discovery tells.
    fn declares_keys(&self) -> bool {
        true
    }
    /// The times between full and between delta loads, where the system itself has an opinion and the manifest has none.
    fn intervals(&self) -> Intervals {
        Intervals::default()
    }
    /// A position tells it what is new, with no cursor column: after a load that left one, the next is a delta.
    fn resumes(&self) -> bool {
        false
    }
    /// A second read of the same range yields the same rows.
    fn replayable(&self) -> bool {
        true
    }
    /// Rows that are committed late cannot be missed by a delta of this stream, as far as the last discovery tells.
    fn late_commits_safe(&self, _stream: &StreamSpec) -> bool {
        true
    }
}

/// What discovery tells of one stream.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    /// The exact name, as manifests and triggers use it.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// The key that the source itself declares; empty: none.
    pub primary_key: Vec<String>,
    /// Columns that could serve as a cursor, best first.
    pub cursors: Vec<String>,
    /// Rows, where the source knows without reading.
    pub rows: Option<u64>,
    /// Why nothing but its name can be told: its load will meet the same, and no other stream's.
    pub trouble: Option<Error>,
}

impl StreamInfo {
    /// A stream of which nothing but the name is known.
    #[must_use]
    pub fn named(name: String) -> Self {
        Self {
            name,
            schema: Arc::new(Schema::empty()),
            primary_key: Vec::new(),
            cursors: Vec::new(),
            rows: None,
            trouble: None,
        }
    }
}

/// Which rows a load wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Range {
    /// All rows.
    Full,
    /// Rows after a watermark; `None`: from the beginning, and no deletes are found.
    Delta {
        /// Where the last load ended.
        after: Option<Position>,
    },
    /// Rows with `from <= cursor < to`, as text in the cursor's own type.
    Backfill {
        /// The first value.
        from: String,
        /// The first value that is not wanted.
        to: String,
    },
}

/// One load, fixed before it is read: what one attempt sees, another attempt of the same load may see again.
#[async_trait]
pub trait Load: Send + Sync {
    /// The columns of every payload.
    fn schema(&self) -> SchemaRef;
    /// How many parts can be read side by side; at least 1. Parts are numbered in source order.
    fn partitions(&self) -> usize;
    /// Where the next delta starts once this load is committed. Taken before reading, and never past a row that
    /// may still appear; `None`: no delta can follow, or each payload carries its own.
    fn watermark(&self) -> Option<Position> {
        None
    }
    /// Rows of earlier loads may come again, as where a changed file is read anew: those without a key are compared
    /// with what was delivered. `false`: equal rows are rows of their own.
    fn repeats(&self) -> bool {
        true
    }
    /// A part can be read a second time, and gives the same rows.
    fn rereads(&self) -> bool {
        true
    }
    /// Rows and bytes to come, where known.
    fn estimate(&self) -> Estimate {
        Estimate::default()
    }
    /// It was read to a position in its middle; the rest comes in a load of its own.
    fn goes_on(&self) -> bool {
        false
    }
    /// Opens one part.
    async fn read(&self, partition: usize) -> Result<Box<dyn Reader>>;
    /// What another process needs to read parts of this same load ([`Source::join`]), for as long as it is held here.
    /// `None`: none can.
    fn ticket(&self) -> Option<Value> {
        None
    }
}

/// What is known of a load before it is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate {
    /// Rows.
    pub rows: Option<u64>,
    /// Bytes as read from the source.
    pub bytes: Option<u64>,
}

/// Yields payloads in order. `Ok(None)` is the explicit end: a failed read is never an empty one.
#[async_trait]
pub trait Reader: Send {
    /// The next payload.
    async fn next(&mut self) -> Result<Option<Payload>>;
}

/// How often a source wants to be loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intervals {
    /// Between full loads.
    pub full: Option<std::time::Duration>,
    /// Between delta loads.
    pub delta: Option<std::time::Duration>,
}

/// A source that sends by itself (broker, webhook, change log).
#[async_trait]
pub trait PushSource: Send + Sync {
    /// Opens a stream; it sends from `from` on, or from its beginning.
    async fn open(&self, stream: &StreamSpec, from: Option<&Position>) -> Result<Box<dyn PushReader>>;
}

/// One open pushing stream. `next` of [`Reader`] waits for what is pushed, and is safe to cancel: a call that is given
/// up while it waits has taken nothing, and the next call gives what it would have given. What a reader takes in over
/// more than one `await` it keeps in itself.
#[async_trait]
pub trait PushReader: Reader {
    /// Its columns.
    fn schema(&self) -> SchemaRef;
    /// Stops sending until `next` is called again.
    async fn pause(&mut self) -> Result<()>;
    /// Goes back: what follows `position` is sent again.
    async fn rewind(&mut self, position: &Position) -> Result<()>;
    /// Hears that all up to `position` is safe at the destination: it will never be asked for again.
    ///
    /// # Errors
    /// Where it cannot be told; nothing depends on it.
    async fn acknowledge(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }
    /// Ends the stream and gives back its resources.
    async fn close(&mut self) -> Result<()>;
}

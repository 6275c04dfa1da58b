//! Connectors that hear messages, one a line: Airbyte destinations, Singer targets.
//!
//! In: a [`Recipient`], which says how a table is opened, what a row looks like and how a load ends. Out: a destination like
//! any other. Such a connector hides nothing until a commit, so rows go to it as they come, and the state store decides
//! what was delivered: a load is committed where the connector has ended well and, if it is of those that do, has given
//! back the state that came after the rows. Otherwise the load is read again.

mod session;
mod stage;

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Mutex;

use self::{session::Session, stage::Written};
use super::{Said, Settings};
use crate::{
    connector::{Authority, Destination, Shard, Stage, StageRequest, Staged, System},
    engines::child::Program,
    error::{Context, Error, Result},
    formats::lines,
    protocol::{Commit, Committed, Epoch, Outcome, Permit, ShardId, nonce},
    secrets::Mask,
    stream::StreamSpec,
};

/// How one family of connectors is written through.
#[async_trait]
pub(in crate::engines) trait Recipient: Send + Sync {
    /// The system that it writes.
    fn system(&self) -> &System;
    /// What is hidden of what it says.
    fn mask(&self) -> Result<Mask> {
        Mask::of(&self.system().secrets)
    }
    /// Finds out what it can do.
    async fn prepare(&self) -> Result<()>;
    /// Whether a repeated delivery does harm.
    fn authority(&self) -> Authority;
    /// Tries its settings.
    async fn check(&self) -> Result<()>;
    /// The program that takes the rows of one load.
    async fn open(&self, table: &Table) -> Result<Opened>;
    /// What stands around the JSON of a row that was read at this time (milliseconds since 1970).
    fn around(&self, table: &Table, at: i64) -> (String, &'static str);
    /// The last messages of a load.
    fn last(&self, table: &Table, rows: u64) -> Vec<Value>;
    /// What a line says.
    fn hear<'a>(&self, line: &'a str) -> Said<'a>;
    /// Whether a state is the one that ends this load.
    fn confirms(&self, table: &Table, state: &Value) -> bool;
    /// It gives the last state back once all is safe.
    fn confirms_always(&self) -> bool;
    /// The column that tells when a row was deleted.
    fn deleted(&self) -> &'static str;
}

/// A table as one load writes it.
#[derive(Clone, Debug)]
pub(in crate::engines) struct Table {
    /// The stream.
    pub(in crate::engines) stream: StreamSpec,
    /// The columns of its rows.
    pub(in crate::engines) schema: SchemaRef,
    /// The load takes the place of all before it.
    pub(in crate::engines) replace: bool,
    /// The build of the destination that it belongs to.
    pub(in crate::engines) generation: u64,
    /// A number of its own, greater than those before: milliseconds since 1970.
    pub(in crate::engines) version: i64,
    /// A word of its own, by which its state is known.
    pub(in crate::engines) mark: String,
}

/// A program to be started, and what it is told first.
pub(in crate::engines) struct Opened {
    /// The program.
    pub(in crate::engines) program: Program,
    /// What it is given lies here, for as long as it writes.
    pub(in crate::engines) settings: Settings,
    /// Messages before the first row.
    pub(in crate::engines) first: Vec<Value>,
}

/// A destination by messages.
pub(in crate::engines) struct Heard(Arc<dyn Recipient>);

impl Heard {
    /// The destination of a recipient; starts nothing yet.
    pub(in crate::engines) fn destination(recipient: impl Recipient + 'static) -> Arc<dyn Destination> {
        Arc::new(Self(Arc::new(recipient)))
    }
}

#[async_trait]
impl Destination for Heard {
    async fn prepare(&self) -> Result<()> {
        self.0.prepare().await
    }

    fn authority(&self) -> Authority {
        self.0.authority()
    }

    fn lacks_index(&self) -> bool {
        true
    }

    async fn shard(&self, _id: &ShardId, stream: &StreamSpec) -> Result<Arc<dyn Shard>> {
        Ok(Arc::new(Target {
            recipient: self.0.clone(),
            stream: stream.clone(),
            session: Mutex::default(),
        }))
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }
}

/// One stream of it.
struct Target {
    recipient: Arc<dyn Recipient>,
    stream: StreamSpec,
    /// The load that is being written.
    session: Mutex<Option<Arc<Session>>>,
}

impl Target {
    fn session(&self, schema: SchemaRef, replace: bool, generation: u64) -> Arc<Session> {
        let table = Table {
            stream: self.stream.clone(),
            schema: stage::columns(&self.stream, &schema, replace, self.recipient.deleted()),
            replace,
            generation,
            version: jiff::Timestamp::now().as_millisecond(),
            mark: nonce(),
        };
        Arc::new(Session::new(self.recipient.clone(), table))
    }

    /// The load to be committed; `None`: it is not there any more.
    async fn open(&self, permit: &Permit, commit: &Commit) -> Option<Arc<Session>> {
        if let Some(session) = self.session.lock().await.take() {
            return Some(session);
        }
        let rows: u64 = commit.staged.iter().map(|staged| staged.rows).sum();
        // A load without rows may never have been staged; what was delivered before the crash of a worker is gone.
        let schema = match (&self.stream.discovered, permit.last().generation) {
            _ if rows > 0 => return None,
            (Some(schema), _) => schema.clone(),
            (None, _) => Arc::new(Schema::empty()),
        };
        Some(self.session(schema, commit.replace, commit.generation))
    }
}

#[async_trait]
impl Shard for Target {
    async fn last_committed(&self) -> Result<Option<Committed>> {
        Ok(None)
    }

    // An older worker is refused where it announces its commit.
    async fn fence(&self, _epoch: Epoch, _nonce: &str) -> Result<Option<Committed>> {
        Ok(None)
    }

    /// Nobody can ask such a connector what it holds: every load that replaces is committed.
    async fn whole(&self) -> Result<()> {
        Err(Error::state(
            "Unknown",
            "the connector tells nothing of what it holds",
        ))
    }

    fn unfit(&self, batch: &RecordBatch) -> Result<Vec<(usize, String)>> {
        Ok(lines::unfit(batch))
    }

    async fn stage(&self, permit: &Permit, request: StageRequest) -> Result<Box<dyn Stage>> {
        let mut session = self.session.lock().await;
        // All lanes of a load speak to one process; what an earlier attempt has left ends here.
        if request.lane == 0 {
            *session = None;
        }
        let (generation, _) = permit.next(request.replace);
        let session =
            session.get_or_insert_with(|| self.session(request.schema, request.replace, generation));
        Ok(Box::new(Written::new(session.clone())))
    }

    async fn discard(&self, _permit: &Permit, _staged: &[Staged]) -> Result<()> {
        *self.session.lock().await = None;
        Ok(())
    }

    async fn commit(&self, permit: &Permit, commit: &Commit) -> Outcome {
        let Some(session) = self.open(permit, commit).await else {
            return Outcome::Failed(
                Error::data("the rows went with the process that wrote them")
                    .advice("nothing is to be done: they are read again"),
            );
        };
        // The first load makes the table, be it empty.
        let idle = !commit.replace && permit.last().generation > 0;
        match session
            .end(idle)
            .await
            .context(format!("stream {}", self.stream.name))
        {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Lost(error),
        }
    }
}
